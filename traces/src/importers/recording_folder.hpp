// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What lies beside the stream of a recording (traces/recorder/README.md), and has to agree with it.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "importers/recording_stream.hpp"
#include "nestwalk/traces/container.hpp"

namespace nestwalk::traces::recording {

class RecordingFolder {
 public:
  using Notes = std::vector<std::pair<std::string, std::string>>;
  using RegisterList = std::vector<std::pair<std::string, u64>>;

  RecordingFolder(std::filesystem::path path, const StreamHeader& stream)
      : path_(std::move(path)), stream_(stream) {}

  const std::filesystem::path& path() const { return path_; }
  std::string stream_name() const { return path_ / "stream"; }
  Notes provenance() const;
  /// Throws InputError at registers of vCPUs that the stream does not have, and at those of a
  /// program.
  void check_registers() const;
  /// None where there is no such file.
  RegisterList registers(When when, u32 vcpu) const;
  std::vector<TablePage> tables(When when, Stage stage) const;

 private:
  void check_note(const std::string& name, const std::string& value) const;

  std::filesystem::path path_;
  StreamHeader stream_;
};

}  // namespace nestwalk::traces::recording
