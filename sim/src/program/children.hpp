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

/// Runs each piece of work in a child; the results are in its order. A child that dies takes
/// nothing with it but its own result. When this process is interrupted, its children are, and no
/// others start: work that did not start is kIncomplete. `progress` is told how many have ended.
std::vector<ChildResult> run_children(const std::vector<std::function<std::string()>>& work,
                                      unsigned at_a_time,
                                      const std::function<void(std::size_t ended)>& progress = {});

}  // namespace nestwalk::sim
