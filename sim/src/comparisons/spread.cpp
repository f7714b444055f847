// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/spread.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

namespace nestwalk::sim {
namespace {

using i64 = std::int64_t;

// Twice the difference of each rank to the mean of all: a whole number, so that sums are exact.
std::vector<i64> doubled_ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<i64> ranks(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t end = first;
    while (end < order.size() && values[order[end]] == values[order[first]]) ++end;
    const i64 rank = static_cast<i64>(first + end) - static_cast<i64>(values.size());
    for (; first < end; ++first) ranks[order[first]] = rank;
  }
  return ranks;
}

i64 product(const std::vector<i64>& one, const std::vector<i64>& other) {
  return std::inner_product(one.begin(), one.end(), other.begin(), i64{0});
}

}  // namespace

Spread spread_of(double own, const std::vector<double>& draws) {
  std::vector<double> all = draws;
  all.push_back(own);
  std::sort(all.begin(), all.end());
  const auto percentile = [&](std::size_t percent) {
    return all[std::max<std::size_t>(1, (all.size() * percent + 99) / 100) - 1];
  };
  return {own, all.front(), percentile(5), percentile(50), percentile(95), all.back()};
}

double rank_correlation(const std::vector<double>& one, const std::vector<double>& other) {
  const std::vector<i64> a = doubled_ranks(one), b = doubled_ranks(other);
  const i64 aa = product(a, a), bb = product(b, b);
  if (aa == 0 || bb == 0) return 0;
  return static_cast<double>(product(a, b)) /
         std::sqrt(static_cast<double>(aa) * static_cast<double>(bb));
}

double noise_of_correlations(std::size_t draws) {
  return draws < 2 ? 1 : std::min(1.0, 3.5 / std::sqrt(static_cast<double>(draws - 1)));
}

}  // namespace nestwalk::sim
