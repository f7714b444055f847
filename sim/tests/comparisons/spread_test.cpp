// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/spread.hpp"

#include <gmock/gmock.h>

#include <cmath>

namespace nestwalk::sim::spread_test {
namespace {

TEST(Spread, IsOfTheValueItselfAndTheDraws) {
  // 1, 2, 5, 9: 5 % of four are less than one value, half of them two, 95 % more than three.
  const Spread spread = spread_of(5, {9, 1, 2});
  EXPECT_EQ(spread.own, 5);
  EXPECT_EQ(spread.least, 1);
  EXPECT_EQ(spread.p5, 1);
  EXPECT_EQ(spread.median, 2);
  EXPECT_EQ(spread.p95, 9);
  EXPECT_EQ(spread.most, 9);
  // Beyond all draws.
  EXPECT_EQ(spread_of(0, {1, 2}).least, 0);
  EXPECT_EQ(spread_of(3, {1, 2}).most, 3);
}

TEST(Spread, RankCorrelationIsThatOfRanks) {
  EXPECT_EQ(rank_correlation({1, 2, 3, 4}, {10, 100, 1000, 10000}), 1);
  EXPECT_EQ(rank_correlation({1, 2, 3, 4}, {9, 5, 3, -1}), -1);
  // Ranks 1 to 5, and 1, 2, 3.5, 5, 3.5, whose differences to 3 are -2, -1, 0, 1, 2 and
  // -2, -1, 0.5, 2, 0.5. Products: 4 + 1 + 0 + 2 + 1 = 8; squares: 10, and 4 + 1 + 0.25 + 4 + 0.25.
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 3, 4, 5}, {5, 6, 7, 8, 7}), 8 / std::sqrt(10 * 9.5));
  // Without ties 1 - 6 * sum of squares of differences / (n^3 - n): 1, 1, 2 squared are 6 of 60.
  EXPECT_DOUBLE_EQ(rank_correlation({1, 2, 3, 4}, {2, 3, 1, 4}), 1 - 6.0 * 6 / 60);
  EXPECT_EQ(rank_correlation({1, 1, 1}, {1, 2, 3}), 0);
  EXPECT_EQ(rank_correlation({}, {}), 0);
}

// The standard deviation of a rank correlation by chance is 1 / sqrt(n - 1).
TEST(Spread, NoiseIsThreeAndAHalfStandardDeviations) {
  EXPECT_DOUBLE_EQ(noise_of_correlations(197), 3.5 / 14);
  EXPECT_EQ(noise_of_correlations(1), 1);
  EXPECT_EQ(noise_of_correlations(2), 1);
}

}  // namespace
}  // namespace nestwalk::sim::spread_test
