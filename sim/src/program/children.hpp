// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Work in processes of its own, some at a time: a process elaborates one simulation only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "program/exit_code.hpp"

namespace nestwalk::sim {

struct ChildResult {
  ExitCode code = kDone;
  std::string output;  ///< what the work returned, or why there is nothing
};

/// Pieces of work by their numbers, each in a child; `on_end` gets each result as it comes. A child
/// that dies takes nothing with it but its own result. When this process is interrupted, its
/// children are, and no others start.
void run_children(std::size_t count, const std::function<std::string(std::size_t)>& work,
                  unsigned at_a_time, const std::function<void(std::size_t, ChildResult)>& on_end);
/// The results in the order of the work: what did not start is kIncomplete. `progress` is told how
/// many have ended.
std::vector<ChildResult> run_children(const std::vector<std::function<std::string()>>& work,
                                      unsigned at_a_time,
                                      const std::function<void(std::size_t ended)>& progress = {});

}  // namespace nestwalk::sim
