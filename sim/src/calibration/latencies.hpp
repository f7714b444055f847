// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The latencies that a fit looks for.
#pragma once

#include <array>
#include <vector>

#include "calibration/fit.hpp"

namespace nestwalk::sim {

class Latencies {
 public:
  explicit Latencies(const Configuration& base);

  /// ns of a cycle: what the time of the memory is counted in.
  void set_cycle(double ns) { cycle_ns_ = ns; }
  /// In cycles, by Term; 0 for one that the preset lacks.
  double cycles(Term term) const;
  void reset(Term term);
  bool is_preset(Term term) const;
  /// Moves one by steps of its unit. False at its bounds, or if the preset lacks it.
  bool move(Term term, long steps);
  bool has(Term term) const { return rows_[static_cast<std::size_t>(term)].exists; }
  void apply(Configuration& machine) const;

  /// With what the points say of each.
  std::vector<FittedValue> values(const std::vector<Cost>& costs,
                                  const std::vector<double>& targets, double ns) const;

 private:
  struct Row {
    const char* path = "";
    bool exists = false;
    long unit = 1;  ///< of the preset's value, in a step
    long value = 0, before = 0, least = 0, most = 0;
    bool has_range = false;
    long range_least = 0, range_most = 0;  ///< of the preset's guess
  };
  std::array<Row, kTerms> rows_;
  double cycle_ns_ = 1;
};

/// What the costs would be with other latencies than those that they were counted with.
std::vector<Cost> predicted(std::vector<Cost> costs, const Latencies& ran, const Latencies& other);
/// What is minimised: the mean over points of the error and four times its square, so that large
/// ones count for more. The error is the logarithm of simulated by measured: too short counts as
/// too long does.
double objective(const std::vector<Cost>& costs, const std::vector<double>& targets, double ns);
/// The latencies that are fixed, as bits by Term.
using Terms = unsigned;
inline constexpr Terms bit_of(Term term) { return 1u << static_cast<unsigned>(term); }

/// The best latencies for these costs.
Latencies fitted(const Latencies& ran, const std::vector<Cost>& costs,
                 const std::vector<double>& targets, double ns, u64 seed, Terms fixed = 0);
/// The same with as many as possible of the preset's: a value differs from it only where that
/// makes the objective better by more than the noise.
Latencies sparse(const Latencies& ran, const std::vector<Cost>& costs,
                 const std::vector<double>& targets, double ns, u64 seed);

}  // namespace nestwalk::sim
