// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Where a run writes what came out of it: all of it, or nothing that looks whole.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "nestwalk/traces/partial.hpp"

namespace nestwalk::sim {

class RunDirectory {
 public:
  static constexpr std::array kFiles = {"config.resolved.json", "stats.json", "stats.txt",
                                        "run.json"};

  /// A directory that is new, empty, or may be overwritten (`force`), and that no other run is
  /// going to write: better tried now than after the run. Throws UsageError.
  RunDirectory(const std::string& path, bool force);
  /// Without `write`: as it was.
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  /// In the order of kFiles.
  void write(const std::array<std::string, kFiles.size()>& texts);

 private:
  /// The public one delegates to it, so that the destructor runs where that one throws.
  explicit RunDirectory(const std::string& path) : path_(path) {}
  bool make();
  void lock();

  std::filesystem::path path_;
  std::vector<std::unique_ptr<traces::Partial>> made_;  ///< an inner folder after its outer one
  int lock_ = -1;
};

}  // namespace nestwalk::sim
