// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The probes of `probe.hpp` on a simulated machine: the same lists, as traces.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "calibration/measured.hpp"
#include "configuration/configuration.hpp"
#include "replay/generated_trace.hpp"

namespace nestwalk::sim {

/// Latencies that the time of a load is a sum of.
enum class Term { L1, L2, L3, Memory, SecondTlb, Walk };
inline constexpr std::size_t kTerms = 6;

/// A load at a point, in the mean.
struct Cost {
  double cycles = 0;
  /// How often it had to wait for each: its cycles grow by as much with each cycle of that latency.
  std::array<double, kTerms> counts{};
};

/// Under what a machine was measured.
struct Surroundings {
  bool nested = false;
  u64 host_page_bytes = 4096;
  bool scattered = false;  ///< the guest's small pages lie in any free frames
};

/// As the options of `nestwalk validate`.
std::string text_of(const Surroundings& surroundings);

/// Is it of a kind that is simulated?
bool is_simulated(const Point& point);

class SimulatedProbes {
 public:
  explicit SimulatedProbes(unsigned jobs) : jobs_(jobs) {}

  /// Throws NoResult.
  std::vector<Cost> costs(const Configuration& machine, const Surroundings& surroundings,
                          const std::vector<Point>& points);

 private:
  const std::string& trace_of(const Point& point);

  unsigned jobs_;
  std::map<std::string, std::unique_ptr<GeneratedTrace>> traces_;
};

/// Of a machine's configuration; its clock decides what a cycle is.
double ns_of_cycle(const Configuration& machine);

}  // namespace nestwalk::sim
