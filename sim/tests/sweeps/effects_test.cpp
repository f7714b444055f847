// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/effects.hpp"

#include <gmock/gmock.h>

namespace nestwalk::sim::effects_test {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pair;

Case point(const char* slots, const char* policy, double time) {
  Case made;
  made.statistics = {{"time.ns", time}};
  made.of = {{"point", "0"}, {"trace", "t"}, {"policy", policy}, {"walker.slots", slots}};
  return made;
}

// Means over the other parameter: of the policies sqrt(8 * 4) and sqrt(2 * 1), 4 : 1; of the slots
// sqrt(8 * 2) and sqrt(4 * 1), 2 : 1.
TEST(Effects, AreMeansOverAllOtherParameters) {
  std::vector<Case> cases = {point("1", "lazy", 8), point("2", "lazy", 4), point("1", "eager", 2),
                             point("2", "eager", 1)};
  const std::vector<Effect> effects = effects_of(cases, "time.ns");
  ASSERT_EQ(effects.size(), 2u);
  EXPECT_EQ(effects[0].key, "policy");
  EXPECT_NEAR(effects[0].ratio(), 4, 1e-9);
  EXPECT_EQ(effects[0].value_of_least(), "eager");
  EXPECT_EQ(effects[1].key, "walker.slots");
  EXPECT_NEAR(effects[1].ratio(), 2, 1e-9);
  EXPECT_THAT(effects[1].means,
              ElementsAre(Pair("1", DoubleNear(4, 1e-9)), Pair("2", DoubleNear(2, 1e-9))));
  // One of them failed: its slots have one point less.
  cases[3].failure = "died";
  EXPECT_NEAR(effects_of(cases, "time.ns")[0].ratio(), 5.656854 / 2, 1e-6);
}

TEST(Effects, AreNoneOfWhatDoesNotVary) {
  EXPECT_TRUE(effects_of({}, "time.ns").empty());
  EXPECT_TRUE(effects_of({point("1", "lazy", 8)}, "time.ns").empty());
  EXPECT_TRUE(effects_of({point("1", "lazy", 8), point("2", "lazy", 0)}, "time.ns").empty());
}

}  // namespace
}  // namespace nestwalk::sim::effects_test
