// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Who has to go: timelines of small sets by the definitions of the papers, and vectors as measured.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "nestwalk/models/memory/key_array.hpp"

namespace nestwalk::models::replacement_test {
namespace {

using testing::ElementsAre;
using Vector = std::vector<u32>;

// A set whose keys are numbers from 1 on; each new one says which way it takes.
class OneSet {
 public:
  OneSet(const char* policy, u32 ways, u32 sets = 1)
      : keys_(sets, ways, ReplacementKind::called(policy), 1) {}
  u32 miss(u32 set = 0) { return keys_.put(set, ++last_).way; }
  void misses(u32 count) {
    while (count-- != 0) miss();
  }
  Vector victims(u32 count, u32 set = 0) {
    Vector ways(count);
    for (u32& way : ways) way = miss(set);
    return ways;
  }
  void hit(u32 way, u32 set = 0) { EXPECT_EQ(keys_.use_again(set, keys_.key(set, way)), way); }

 private:
  KeyArray keys_;
  u64 last_ = 0;
};

// Predictions of four ways (Jaleel et al., ISCA 2010, section 4: two bits, hit priority). Four new
// entries: 2 2 2 2. A hit in way 0: 0 2 2 2. A miss finds no 3, adds one: 1 3 3 3, and takes way 1:
// 1 2 3 3; the next takes way 2: 1 2 2 3. A hit in way 1: 1 0 2 3. A miss takes way 3: 1 0 2 2. The
// next adds one: 2 1 3 3, and takes way 2.
TEST(Srrip, TakesTheFirstOfTheFarthest) {
  OneSet set("srrip", 4);
  EXPECT_THAT(set.victims(4), ElementsAre(0, 1, 2, 3));
  set.hit(0);
  EXPECT_THAT(set.victims(2), ElementsAre(1, 2));
  set.hit(1);
  EXPECT_THAT(set.victims(2), ElementsAre(3, 2));
}
// 2 2; a hit in way 1 at once after its fill: 2 0. A miss: 3 1, way 0: 2 1. The next: 3 2, way 0.
TEST(Srrip, ThatItIsUsedAtOnceCountsAsAHit) {
  OneSet set("srrip", 2);
  set.misses(2);
  set.hit(1);
  EXPECT_THAT(set.victims(2), ElementsAre(0, 0));
}
// 33 ways: the predictions take two words.
TEST(Srrip, TakesMoreWaysThanAWordHas) {
  OneSet set("srrip", 33);
  set.misses(33);
  for (u32 way = 0; way < 32; ++way) set.hit(way);
  EXPECT_THAT(set.victims(2), ElementsAre(32, 32));
}

// A new entry is the first to go again: of the entries 5 to 32 each takes way 0, which the one
// before has just taken; the thirty-second is the long one (2), so the next takes way 1.
TEST(Brrip, KeepsWhatIsThereAndTriesAFewNew) {
  OneSet set("brrip", 4);
  set.misses(4);
  for (const u32 way : set.victims(28)) EXPECT_EQ(way, 0u);
  EXPECT_EQ(set.miss(), 1u);
}

// 128 sets: groups of 128 / 32 = 4, of which set 0 has SRRIP and set 3 BRRIP. In two ways four
// misses take the ways 0 1 0 1 with SRRIP (2 2; 2 3; 2 2), and 0 1 0 0 with BRRIP.
TEST(Drrip, FollowsThePolicyThatMissesLess) {
  OneSet sets("drrip", 2, 128);
  EXPECT_THAT(sets.victims(4, 1), ElementsAre(0, 1, 0, 1));  // neither missed: SRRIP
  sets.miss(0);
  EXPECT_THAT(sets.victims(4, 2), ElementsAre(0, 1, 0, 0));
  sets.miss(3);
  sets.miss(127);  // the last set of the last group
  EXPECT_THAT(sets.victims(4, 5), ElementsAre(0, 1, 0, 1));
  // Those that lead have their own policy, whatever is better.
  EXPECT_THAT(sets.victims(4, 7), ElementsAre(0, 1, 0, 0));
  for (u32 n = 0; n < 20; ++n) sets.miss(8);
  EXPECT_THAT(sets.victims(4, 4), ElementsAre(0, 1, 0, 1));
}

// All are used: the next miss makes them all not recently used, and takes the first. A hit in way 1
// spares that one: ways 2 and 3 follow, then it begins again.
TEST(Nru, TakesTheFirstThatWasNotUsed) {
  OneSet set("nru", 4);
  set.misses(4);
  EXPECT_EQ(set.miss(), 0u);
  set.hit(1);
  EXPECT_THAT(set.victims(4), ElementsAre(2, 3, 0, 1));
}

// Permutation policies (Abel and Reineke): the entries of a set have an order, the first to go
// last. A hit in position i makes entry vector[i][j] the j-th. A miss is a hit in the last
// position.
class Permutations {
 public:
  Permutations(const char* policy, u32 ways)
      : ways_(ways), policy_(ReplacementKind::called(policy).make(ways, 1)) {
    std::vector<u64> turns(policy_->words());
    policy_->prepare(turns.data(), 0, 1);
    for (u32 way = 0; way < ways; ++way) policy_->fill(turns.data(), way);
    for (u32 way = 0; way < ways; ++way) policy_->take_turn(turns.data());
    const Vector before = order_of(turns);
    for (u32 position = 0; position < ways; ++position) {
      std::vector<u64> after = turns;
      policy_->touch(after.data(), before[position]);
      of_hits.push_back(vector_from(before, order_of(after)));
    }
    policy_->take_turn(turns.data());
    of_miss = vector_from(before, order_of(turns));
  }
  std::vector<Vector> of_hits;
  Vector of_miss;

 private:
  // What as many misses as there are ways take, the last of it in front.
  Vector order_of(std::vector<u64> turns) const {
    Vector order(ways_);
    for (u32& way : order) way = policy_->take_turn(turns.data());
    std::reverse(order.begin(), order.end());
    return order;
  }
  static Vector vector_from(const Vector& before, const Vector& after) {
    Vector vector;
    for (const u32 way : after) {
      vector.push_back(
          static_cast<u32>(std::find(before.begin(), before.end(), way) - before.begin()));
    }
    return vector;
  }

  u32 ways_;
  std::unique_ptr<Replacement> policy_;
};

void expect_vectors(const char* policy, const std::vector<Vector>& published) {
  const Permutations found(policy, static_cast<u32>(published.size()));
  EXPECT_EQ(found.of_hits, published);
  EXPECT_EQ(found.of_miss, published.back());
}
// What TLB;DR (USENIX Security 2022) measured on Skylake's TLBs, from the README of its tool: the
// second level, the data TLB and the instruction TLB.
TEST(PermutationVectors, OfSkylakesSecondTlbAreAsMeasured) {
  expect_vectors("mru+1-plru4", {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
                                 {1, 2, 0, 4, 5, 3, 7, 8, 6, 10, 11, 9},
                                 {2, 0, 1, 5, 3, 4, 8, 6, 7, 11, 9, 10},
                                 {3, 1, 2, 0, 4, 5, 9, 7, 8, 6, 10, 11},
                                 {4, 2, 0, 1, 5, 3, 10, 8, 6, 7, 11, 9},
                                 {5, 0, 1, 2, 3, 4, 11, 6, 7, 8, 9, 10},
                                 {6, 1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11},
                                 {7, 2, 0, 4, 5, 3, 1, 8, 6, 10, 11, 9},
                                 {8, 0, 1, 5, 3, 4, 2, 6, 7, 11, 9, 10},
                                 {9, 1, 2, 0, 4, 5, 3, 7, 8, 6, 10, 11},
                                 {10, 2, 0, 1, 5, 3, 4, 8, 6, 7, 11, 9},
                                 {11, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}});
}
TEST(PermutationVectors, OfSkylakesDataTlbAreAsMeasured) {
  expect_vectors("tree-plru", {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 1, 0, 3}, {3, 0, 1, 2}});
}
TEST(PermutationVectors, OfSkylakesInstructionTlbAreAsMeasured) {
  expect_vectors("tree-plru", {{0, 1, 2, 3, 4, 5, 6, 7},
                               {1, 0, 3, 2, 5, 4, 7, 6},
                               {2, 1, 0, 3, 6, 5, 4, 7},
                               {3, 0, 1, 2, 7, 4, 5, 6},
                               {4, 1, 2, 3, 0, 5, 6, 7},
                               {5, 0, 3, 2, 1, 4, 7, 6},
                               {6, 1, 0, 3, 2, 5, 4, 7},
                               {7, 0, 1, 2, 3, 4, 5, 6}});
}
// LRU by its definition: the one that is hit comes to the front.
TEST(PermutationVectors, OfLruMoveToTheFront) {
  expect_vectors("lru", {{0, 1, 2}, {1, 0, 2}, {2, 0, 1}});
}

// Whatever is used, of any number of ways: the victim is one, and as long as nothing is hit, each
// goes once before one goes twice.
TEST(MruPlru4, TakesAnyNumberOfWays) {
  for (u32 ways = 1; ways <= 17; ++ways) {
    OneSet set("mru+1-plru4", ways);
    set.misses(ways);
    for (u32 n = 0; n < 200; ++n) {
      const u32 way = set.miss();
      ASSERT_LT(way, ways);
      if (n % 3 == 0) set.hit((way + n) % ways);
    }
  }
}
// What was just used never goes next, if there is another way; NRU may have forgotten all uses.
TEST(AllPolicies, SpareWhatWasJustUsed) {
  for (const ReplacementKind::Row* const row : ReplacementKind::all()) {
    const std::string name = row->name;
    if (name == "random" || name == "nru") continue;
    for (const u32 ways : {2u, 3u, 4u, 12u, 20u}) {
      OneSet set(row->name, ways);
      set.misses(ways);
      for (u32 n = 0; n < 100; ++n) {
        const u32 used = n * 7 % ways;
        set.hit(used);
        EXPECT_NE(set.miss(), used) << row->name << ' ' << ways;
      }
    }
  }
}

}  // namespace
}  // namespace nestwalk::models::replacement_test
