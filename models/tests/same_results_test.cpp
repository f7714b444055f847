// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What comes of a run depends on nothing but its input: not on how far run_until runs at a time,
// nor on what ran before. (That it does not depend on the compiler either, scripts/test checks.)

#include <gtest/gtest.h>

#include "mixed_run.hpp"

namespace nestwalk::models::same_results_test {
namespace {

class SameResults : public testing::TestWithParam<const char*> {};

TEST_P(SameResults, WhateverTheQuantum) {
  for (const u64 seed : {u64{1}, u64{2}}) {
    const std::string once = mixed_run(GetParam(), seed, kNever);
    EXPECT_EQ(mixed_run(GetParam(), seed, kNever), once);
    EXPECT_EQ(mixed_run(GetParam(), seed, 1), once);
    EXPECT_EQ(mixed_run(GetParam(), seed, 1000), once);
    EXPECT_NE(mixed_run(GetParam(), seed + 2, kNever), once);
  }
}
INSTANTIATE_TEST_SUITE_P(Presets, SameResults,
                         testing::Values("simple", "skylake-sp", "zen4", "cortex-a53", "cortex-a76",
                                         "rocket-h", "kunminghu"));

}  // namespace
}  // namespace nestwalk::models::same_results_test
