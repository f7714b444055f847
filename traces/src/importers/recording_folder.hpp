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
  /// Throws InputError at registers and page tables that a recording with this stream does not
  /// have.
  void check() const;
  /// The stream goes on until a moment of which anything is here.
  bool has(When when) const;
  /// Of a whole machine. Throws InputError where one that translation depends on is missing.
  RegisterList registers(When when, u32 vcpu) const;
  /// Of a stream in which page tables are followed. Throws InputError where there are none.
  std::vector<TablePage> tables(When when, Stage stage) const;

 private:
  void check_registers(const std::filesystem::path& file) const;
  void check_tables(const std::filesystem::path& file) const;

  std::filesystem::path path_;
  StreamHeader stream_;
};

}  // namespace nestwalk::traces::recording
