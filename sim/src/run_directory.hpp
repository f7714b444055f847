// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Where a run writes what came out of it: all of it, or nothing that looks whole.
#pragma once

#include <array>
#include <filesystem>
#include <string>

namespace nestwalk::sim {

class RunDirectory {
 public:
  static constexpr std::array kFiles = {"config.resolved.json", "stats.json", "stats.txt",
                                        "run.json"};

  /// A directory that is new, empty, or may be overwritten (`force`): better tried now than after
  /// the run. Throws UsageError.
  RunDirectory(const std::string& path, bool force);
  /// Without `write`: as it was.
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  /// In the order of kFiles.
  void write(const std::array<std::string, kFiles.size()>& texts);

 private:
  std::filesystem::path path_;
  bool made_;
};

}  // namespace nestwalk::sim
