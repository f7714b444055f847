// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What many runs say of one number: its range, and what it goes with.
#pragma once

#include <vector>

namespace nestwalk::sim {

/// Of a value and what it is in draws. A percentile is the least value that so many of all, the
/// first one included, do not exceed.
struct Spread {
  double own;  ///< without a draw
  double least, p5, median, p95, most;
};
Spread spread_of(double own, const std::vector<double>& draws);

/// Spearman's rank correlation, from -1 to 1; equal values have the mean of their ranks. 0 where
/// all values of a list are equal.
double rank_correlation(const std::vector<double>& one, const std::vector<double>& other);

/// Of numbers that have nothing to do with each other, about one correlation in 2000 is beyond it.
double noise_of_correlations(std::size_t draws);

}  // namespace nestwalk::sim
