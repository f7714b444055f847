// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine's operations at random: checker and adversary, which share no rule, agree. For more of
// them: scripts/storms.

#include <gtest/gtest.h>

#include "storm_run.hpp"

namespace nestwalk::checker {
namespace {

#ifdef NESTWALK_SANITIZED
constexpr u64 kOperations = 1'000;
#else
constexpr u64 kOperations = 5'000;
#endif

template <class Shape>
class Storms : public testing::Test {};
using Shapes = testing::Types<OnEpt, OnStage2, OnGStage>;
TYPED_TEST_SUITE(Storms, Shapes);

TYPED_TEST(Storms, CheckerAndAdversaryAgreeUnderEveryPolicy) {
  for (const FencePolicy* const policy : addrspace::kFencePolicies) {
    SCOPED_TRACE(policy->name);
    const StormResult result = StormRun<TypeParam>(*policy, 1).run(kOperations);
    EXPECT_EQ(result.unexplained, 0u);
    EXPECT_EQ(result.harmed, result.errors != 0);
    EXPECT_TRUE(result.is_as_known(*policy)) << result.hits << " hits\n" << result.findings;
  }
}

}  // namespace
}  // namespace nestwalk::checker
