// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Finds the values of a preset with which the simulated machine is nearest to a measured one.
//
// Two kinds of values are sought. Latencies: how often a load waits for each is counted in a run,
// so the time of every point is a sum of them, and what other latencies would make of it needs no
// run. Structures (sizes, replacement, the pages beneath the guest): each candidate is run, and
// its latencies are fitted before it is judged. Both are sought by coordinates: one value after
// the other moves within its bounds as long as the objective falls, until none does.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "calibration/agreement.hpp"

namespace nestwalk::sim {

struct FitOptions {
  unsigned jobs = 1;
  u64 seed = 1;         ///< of the latencies that the search starts again from
  unsigned passes = 2;  ///< over all structures; 0: latencies only
  std::function<void(const std::string&)> progress = [](const std::string&) {};
};

/// A value that was sought.
struct FittedValue {
  std::string path;  ///< in the preset
  Json before;
  Json value;
  std::string note = {};  ///< how far the points determine it
  std::string source = "measured";
  /// Of a value that the points do not determine: what it may be.
  std::optional<std::pair<long, long>> range = {};
};

struct Fit {
  std::vector<FittedValue> values;
  Surroundings surroundings;
  Agreement agreement;
};

Fit fit(const MeasuredMachine& measured, const Configuration& base,
        const std::vector<Point>& points, const FitOptions& options);

/// A preset that is `like` another one, with what differs from it as measured.
Json preset_of(const Fit& fit, const MeasuredMachine& measured, const Configuration& base,
               const std::string& name);

}  // namespace nestwalk::sim
