// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Work in processes of its own, some at a time: a process elaborates one simulation only.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace nestwalk::sim {

struct ChildResult {
  bool failed = false;
  bool bad_input = false;  ///< it failed with a traces::InputError
  std::string output;      ///< what the work returned, or the error that it ended with
};

/// Runs each piece of work in a child; the results are in its order. A child that dies takes
/// nothing with it but its own result.
std::vector<ChildResult> run_children(const std::vector<std::function<std::string()>>& work,
                                      unsigned at_a_time);

}  // namespace nestwalk::sim
