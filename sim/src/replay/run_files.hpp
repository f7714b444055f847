// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What came out of a run, as it is printed and as it is written into a directory.
#pragma once

#include "replay/replay.hpp"
#include "results/run_directory.hpp"
#include "results/summary.hpp"

namespace nestwalk::sim {

struct RunFiles {
  std::array<std::string, RunDirectory::kFiles.size()> texts;  ///< in the order of kFiles
  Summary summary;

  const std::string& stats_json() const { return texts[1]; }
  const std::string& stats_txt() const { return texts[2]; }
};
/// `command`: what the user said.
RunFiles files_of(const Replay& run, const std::string& command,
                  const std::vector<std::string>& traces, const Configuration& configuration);

/// What another process needs of a run: its statistics, core, values, resolved configuration, why
/// it ended early, and how long it took.
std::string message_of(const Replay& run, const Configuration& configuration);

}  // namespace nestwalk::sim
