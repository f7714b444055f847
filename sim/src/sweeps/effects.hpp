// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How much each of what varies in a sweep moves a statistic.
#pragma once

#include "comparisons/cases.hpp"

namespace nestwalk::sim {

/// Of a parameter (or of traces, presets, policies): the geometric mean of a statistic over all
/// points that have a value, for each value in the order of the points. In a sweep of all
/// combinations, other parameters have the same part in each of these means.
struct Effect {
  std::string key;
  std::vector<std::pair<std::string, double>> means;

  /// The largest mean in terms of the smallest.
  double ratio() const;
  const std::string& value_of_least() const;
};

/// What of a point differs among the cases: "preset", "policy", paths of parameters.
std::vector<std::string> varied_keys(const std::vector<Case>& cases);
/// The largest first. Cases that are not whole, or where the statistic is 0 or missing, do not
/// count.
std::vector<Effect> effects_of(const std::vector<Case>& cases, const std::string& statistic);

}  // namespace nestwalk::sim
