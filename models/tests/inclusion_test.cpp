// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What caches below the first level hold: line by line.

#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "nestwalk/models/memory/memory_hierarchy.hpp"

namespace nestwalk::models::inclusion_test {
namespace {

using CacheId = MemoryHierarchy::CacheId;
using PathId = MemoryHierarchy::PathId;

// A first level of one set, 4 cycles, for data and for instructions, over a second one of one set,
// 10 cycles, and memory, 100.
class TwoLevels : public Actor {
 public:
  TwoLevels(u32 first_ways, u32 second_ways, const Inclusion& inclusion)
      : hierarchy(wheel, {.controller_ps = 100'000}, 64) {
    const PathId memory = hierarchy.add_path({});
    const auto shape = [](u32 ways, const Inclusion& of) {
      return DataCacheShape{1, ways, 0, 4, ReplacementKind::Lru, &of};
    };
    second = hierarchy.add_cache(shape(second_ways, inclusion), 10, Served::L2, memory);
    below = hierarchy.add_path({&second, 1});
    using Holds = MemoryHierarchy::Holds;
    for (const Holds holds : {Holds::Data, Holds::Instructions}) {
      const bool is_data = holds == Holds::Data;
      CacheId& first = is_data ? data : code;
      first = hierarchy.add_cache(shape(first_ways, kNonInclusive), 4, Served::L1, below, holds);
      const CacheId both[] = {first, second};
      (is_data ? data_path : code_path) = hierarchy.add_path(both);
    }
  }
  void on_cycle(u32) override {}
  Served access(PathId path, u64 line, bool write = false) {
    Served served = Served::None;
    hierarchy.access(path, Hpa(line * 64), write, *this, 0, served);
    wheel.run();
    return served;
  }
  Served read(u64 line) { return access(data_path, line); }
  Served write(u64 line) { return access(data_path, line, true); }
  Served fetch(u64 line) { return access(code_path, line); }
  bool in_first(u64 line) const { return hierarchy.holds(data, line); }
  bool in_second(u64 line) const { return hierarchy.holds(second, line); }
  u64 write_backs() const { return hierarchy.dram_counts().write_backs; }

  Wheel wheel;
  MemoryHierarchy hierarchy;
  CacheId second = 0, data = 0, code = 0;
  PathId below = 0, data_path = 0, code_path = 0;
};

TEST(Inclusion, ANonInclusiveCacheHasWhatWasFetchedThroughIt) {
  TwoLevels caches(2, 2, kNonInclusive);
  EXPECT_EQ(caches.read(0), Served::Memory);
  EXPECT_TRUE(caches.in_second(0));
  caches.read(1);
  caches.read(0);  // in the first level: the second one does not see it
  caches.read(2);  // so there, 0 is the oldest, and above, 1
  EXPECT_TRUE(caches.in_first(0));
  EXPECT_FALSE(caches.in_second(0));
  EXPECT_FALSE(caches.in_first(1));
}
// As above, but 0 goes from the first level, too, where it is dirty: it is written to memory.
TEST(Inclusion, AnInclusiveCacheTakesItsLinesFromTheCachesAbove) {
  TwoLevels caches(2, 2, kInclusive);
  caches.write(0);
  caches.read(1);
  caches.read(0);
  EXPECT_EQ(caches.write_backs(), 0u);
  caches.read(2);
  EXPECT_FALSE(caches.in_first(0));
  EXPECT_EQ(caches.write_backs(), 1u);
  EXPECT_EQ(caches.read(0), Served::Memory);
}
TEST(Inclusion, InstructionsMayStay) {
  for (const auto& [inclusion, stays] :
       {std::pair(&kInclusive, false), std::pair(&kInclusiveOfData, true)}) {
    TwoLevels caches(2, 1, *inclusion);
    caches.fetch(0);
    caches.read(1);
    EXPECT_FALSE(caches.in_second(0));
    EXPECT_EQ(caches.hierarchy.holds(caches.code, 0), stays);
    caches.fetch(2);
    EXPECT_FALSE(caches.in_first(1));
  }
}
TEST(Inclusion, AVictimCacheHasWhatHadToGoAbove) {
  TwoLevels caches(1, 2, kVictim);
  caches.read(0);
  EXPECT_FALSE(caches.in_second(0));
  caches.read(1);
  EXPECT_TRUE(caches.in_second(0));  // though it is clean
  EXPECT_FALSE(caches.in_second(1));
  EXPECT_EQ(caches.read(0), Served::L2);
  EXPECT_TRUE(caches.in_second(0));
  EXPECT_TRUE(caches.in_second(1));
}
TEST(Inclusion, AnExclusiveCacheGivesUpWhatIsUsed) {
  TwoLevels caches(1, 2, kExclusive);
  caches.read(0);
  caches.read(1);
  EXPECT_EQ(caches.read(0), Served::L2);
  EXPECT_FALSE(caches.in_second(0));
  EXPECT_TRUE(caches.in_second(1));
  EXPECT_TRUE(caches.in_first(0));
}
// 0 goes down dirty, comes up dirty, goes down again, and to memory when 1 and 2 follow.
TEST(Inclusion, ALineStaysDirtyOnItsWayUpAndDown) {
  TwoLevels caches(1, 2, kExclusive);
  caches.write(0);
  caches.read(1);
  caches.read(0);
  for (const u64 line : {u64{1}, u64{2}, u64{3}}) caches.read(line);
  EXPECT_EQ(caches.write_backs(), 1u);
  EXPECT_FALSE(caches.in_second(0));
}
// A walk that enters at a victim cache leaves the line there: nothing above would have it.
TEST(Inclusion, WhereAnAccessEntersItsLineStays) {
  TwoLevels caches(1, 2, kVictim);
  EXPECT_EQ(caches.access(caches.below, 0), Served::Memory);
  EXPECT_EQ(caches.access(caches.below, 0), Served::L2);
}
// Line 0 is on its way up until 1113, when line 1 has taken its place in the second level at 1110:
// it comes back there, since the first level has it.
TEST(Inclusion, HoldsForLinesOnTheirWay) {
  TwoLevels caches(2, 1, kInclusive);
  caches.fetch(0);
  caches.wheel.run_until(1'000);
  ASSERT_TRUE(caches.wheel.advance(1'000));
  Served served[2] = {};
  caches.hierarchy.access(caches.below, Hpa(64), false, caches, 0, served[0]);  // there at 1110
  caches.wheel.run_until(1'099);
  ASSERT_TRUE(caches.wheel.advance(1'099));
  caches.hierarchy.access(caches.data_path, Hpa(0), false, caches, 0, served[1]);  // hits at 1103
  caches.wheel.run();
  EXPECT_EQ(caches.wheel.now(), 1'113u);
  EXPECT_EQ(served[1], Served::L2);
  EXPECT_TRUE(caches.in_first(0));
  EXPECT_TRUE(caches.in_second(0));
  EXPECT_FALSE(caches.in_second(1));
}

// Random accesses, several at a time, over few lines; one in `fetches` fetches.
template <class Check>
void at_random(const Inclusion& inclusion, u64 fetches, Check&& check) {
  for (u32 seed = 0; seed < 40; ++seed) {
    TwoLevels caches(1 + seed % 3, 2 + seed % 4, inclusion);
    std::mt19937_64 random(seed);
    std::deque<Served> served;
    for (u32 n = 0; n < 400; ++n) {
      caches.wheel.run_until(caches.wheel.now() + random() % 90);
      const u64 line = random() % 12;
      const bool is_fetch = fetches != 0 && random() % fetches == 0;
      const bool write = !is_fetch && random() % 3 == 0;
      caches.hierarchy.access(is_fetch ? caches.code_path : caches.data_path, Hpa(line * 64), write,
                              caches, 0, served.emplace_back());
      for (u64 each = 0; each < 12; ++each) check(caches, each);
    }
    caches.wheel.run();
    for (const Served each : served) ASSERT_NE(each, Served::None);
  }
}
TEST(Inclusion, AnInclusiveCacheHasAllThatIsAbove) {
  at_random(kInclusive, 4, [](const TwoLevels& caches, u64 line) {
    ASSERT_TRUE(!caches.in_first(line) || caches.in_second(line));
    ASSERT_TRUE(!caches.hierarchy.holds(caches.code, line) || caches.in_second(line));
  });
  at_random(kInclusiveOfData, 4, [](const TwoLevels& caches, u64 line) {
    ASSERT_TRUE(!caches.in_first(line) || caches.in_second(line));
  });
}
// Of one cache above. Of two, both may have a line, which comes here when one puts it out.
TEST(Inclusion, AnExclusiveCacheHasNothingThatIsAbove) {
  at_random(kExclusive, 0, [](const TwoLevels& caches, u64 line) {
    ASSERT_FALSE(caches.in_first(line) && caches.in_second(line));
  });
}

}  // namespace
}  // namespace nestwalk::models::inclusion_test
