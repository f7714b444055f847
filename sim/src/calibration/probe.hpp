// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Measures the machine that the program runs on, as any user can.
#pragma once

#include <string>
#include <vector>

#include "calibration/measured.hpp"

namespace nestwalk::sim {

struct ProbeLimits {
  u64 most_bytes = 0;  ///< of a footprint
  double seconds = 60;
};

struct ProbeResult {
  MeasuredMachine machine;
  /// Points whose least value still fell when time was up; the result is not to be used.
  std::vector<std::string> unstable;
  unsigned rounds = 0;
};

/// Ends early when the program is interrupted.
ProbeResult measure(const ProbeLimits& limits);

}  // namespace nestwalk::sim
