// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What `gate` reads: a suite, and its baseline.
#pragma once

#include "comparisons/cases.hpp"

namespace nestwalk::sim {

/// Which of two values of a statistic is the better one.
enum class Direction { Less, More };
/// What a change is, of a statistic that has a direction.
enum class Verdict { None, Better, Worse };
/// Statistics that are said first.
using Headline = std::vector<std::pair<std::string, Direction>>;
Headline standard_headline();

struct Suite {
  std::string baseline;
  std::vector<std::string> files;  ///< that are read: its own, presets and traces
  std::vector<Plan> plans;
  Json tolerances = Json::object();  ///< in percent, by statistic or pattern
  Headline headline = standard_headline();
  bool of_vcpus = false;  ///< the baseline has the statistics of each vCPU, too
};

/// Throws InputError; each trace begins as one.
Suite read_suite(const std::string& file);
struct Baseline {
  Json statistics;      ///< by run
  Json configurations;  ///< by run: values by path; older baselines have none
};
Baseline read_baseline(const std::string& file);
void write_baseline(const std::string& file, const std::vector<Case>& cases);

}  // namespace nestwalk::sim
