// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How people see a sweep.
#pragma once

#include "comparisons/side_by_side.hpp"
#include "sweeps/results_file.hpp"

namespace nestwalk::sim {

/// "tlb: 24 points, 20 done, 1 failed, 3 open", a line.
std::string state_of(ResultsFile& results, const std::string& sweep);
/// What varies and the main statistics, a row for each point; then which point of each trace took
/// least time. Long tables are cut, and say how to see all of `file`.
std::string text_of_points(const std::vector<Case>& cases, const Patterns& patterns,
                           const std::string& file);
/// On standard error, once for each reason.
void warn_of_trouble(const std::vector<Case>& cases);

}  // namespace nestwalk::sim
