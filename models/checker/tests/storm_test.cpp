// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine's operations at random: checker and adversary, which share no rule, agree. For more of
// them: scripts/storms.

#include <gtest/gtest.h>

#include "storm_run.hpp"

namespace nestwalk::checker::storm_test {
namespace {

#ifdef NESTWALK_SANITIZED
constexpr u64 kOperations = 1'000;
constexpr u64 kMostForgotten = 10;
#else
constexpr u64 kOperations = 5'000;
constexpr u64 kMostForgotten = 100;
#endif

template <class Shape>
class Storms : public testing::Test {};
using Shapes = OnEach<testing::Types>;
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

// Frames are freed while processor 1 is outside and has fences to execute; one of them is
// forgotten, in every place in turn.
TYPED_TEST(Storms, CheckerAndAdversaryAgreeAboutProcessorsThatAreKicked) {
  for (const FencePolicy* const policy : {&FencePolicy::Precise, &FencePolicy::Context}) {
    SCOPED_TRACE(policy->name);
    const StormResult right = StormRun<TypeParam>(*policy, 1, {true, 0}).run(kOperations);
    EXPECT_EQ(right.errors, 0u) << right.findings;
    EXPECT_FALSE(right.harmed);
    EXPECT_EQ(right.unexplained, 0u);
    u64 wrong = 0;
    for (u64 forgotten = 1; forgotten <= kMostForgotten; ++forgotten) {
      const StormResult result = StormRun<TypeParam>(*policy, 1, {true, forgotten}).run(100);
      EXPECT_EQ(result.harmed, result.errors != 0) << forgotten << "\n" << result.findings;
      wrong += result.errors != 0 ? 1 : 0;
    }
    EXPECT_EQ(wrong != 0, !TypeParam::kBroadcasts);
  }
}

}  // namespace
}  // namespace nestwalk::checker::storm_test
