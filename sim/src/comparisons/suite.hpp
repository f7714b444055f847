// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What `gate` reads: a suite, and its baseline.
#pragma once

#include "comparisons/cases.hpp"

namespace nestwalk::sim {

struct Suite {
  std::string baseline;
  std::vector<std::string> files;  ///< that are read: its own, presets and traces
  std::vector<Plan> plans;
  Json tolerances = Json::object();  ///< in percent, by statistic
};

/// Throws InputError; each trace begins as one.
Suite read_suite(const std::string& file);
/// Statistics by run.
Json read_baseline(const std::string& file);

}  // namespace nestwalk::sim
