// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Data caches and memory, by themselves: each access predicted from the rules.

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "nestwalk/models/memory/memory_hierarchy.hpp"

namespace nestwalk::models::memory_hierarchy_test {
namespace {

// One cache of 2 sets and 2 ways, latency 10, two MSHRs; memory: 2 banks, rows of 256 bytes (four
// lines), 100 for the open row (controller 40, tCL 60), tRCD 50 more for none, tRP 50 more for
// another. The bus takes no time.
constexpr DramShape kDram = {.banks = 2,
                             .row_bytes = 256,
                             .controller_ps = 40'000,
                             .tcl_ps = 60'000,
                             .trcd_ps = 50'000,
                             .trp_ps = 50'000,
                             .tras_ps = 100'000,
                             .tccd_ps = 30'000};
class Hierarchy : public testing::Test, public Actor {
 protected:
  Hierarchy() : hierarchy(wheel, kDram, 64) {
    memory = hierarchy.add_path({});
    const auto cache =
        hierarchy.add_cache({2, 2, 10, 2, ReplacementKind::Lru}, 10, Served::L1, memory);
    path = hierarchy.add_path({&cache, 1});
  }
  struct Access {
    Served served = Served::None;
    Cycle done = kNever;
  };
  // Starts an access; its number is that of the last.
  void start(u64 line, bool write = false) {
    accesses.push_back(std::make_unique<Access>());
    const u32 number = static_cast<u32>(accesses.size() - 1);
    if (hierarchy.access(path, Hpa(line * 64), write, *this, number, accesses.back()->served)) {
      on_cycle(number);
    }
  }
  void on_cycle(u32 number) override {
    accesses[number]->done = wheel.now();
    for (const u64 line : after[number]) start(line);
  }
  // Alone, to the end: how long it takes.
  Cycle alone(u64 line, bool write = false) {
    wheel.run();
    const Cycle begin = wheel.now();
    start(line, write);
    wheel.run();
    return accesses.back()->done - begin;
  }
  // These begin now, and what is due runs.
  void together(std::initializer_list<u64> lines) {
    hold_now();
    for (const u64 line : lines) start(line);
    wheel.run();
  }
  void expect_done(std::initializer_list<Cycle> cycles) {
    ASSERT_EQ(accesses.size(), cycles.size());
    for (u32 n = 0; n < cycles.size(); ++n) {
      EXPECT_EQ(accesses[n]->done, cycles.begin()[n]) << "access " << n;
    }
  }
  // Nothing advances beyond the cycle in which several accesses begin.
  void hold_now() { wheel.run_until(wheel.now()); }

  Wheel wheel;
  MemoryHierarchy hierarchy;
  MemoryHierarchy::PathId memory = 0, path = 0;
  std::vector<std::unique_ptr<Access>> accesses;
  std::map<u32, std::vector<u64>> after;  // lines of accesses that begin when one is done
};

TEST_F(Hierarchy, AMissCostsTheLookupAndTheBank) {
  EXPECT_EQ(alone(0), 10u + 150u);
  EXPECT_EQ(accesses[0]->served, Served::Memory);
  EXPECT_EQ(alone(0), 10u);
  EXPECT_EQ(accesses[1]->served, Served::L1);
}
TEST_F(Hierarchy, RowsOpenAndConflict) {
  EXPECT_EQ(alone(0), 160u);  // row 0 of bank 0
  EXPECT_EQ(alone(1), 110u);  // the same
  EXPECT_EQ(alone(4), 160u);  // row 0 of bank 1
  EXPECT_EQ(alone(8), 210u);  // row 1 of bank 0
}
TEST_F(Hierarchy, TheLeastRecentlyUsedLineGoes) {
  alone(0);
  alone(2);  // the same set: even lines
  alone(0);
  alone(4);  // 2 goes
  EXPECT_EQ(alone(0), 10u);
  EXPECT_GT(alone(2), 10u);
}
TEST_F(Hierarchy, TwoMissesToOneLineAreOne) {
  hold_now();
  start(0);
  start(0);
  wheel.run();
  EXPECT_EQ(accesses[0]->done, 160u);
  EXPECT_EQ(accesses[1]->done, 160u);
  EXPECT_EQ(alone(1), 110u);  // the bank was used once, and is free
}
// Their columns follow each other by tCCD: at 10 + 40 + 50, and 30 later.
TEST_F(Hierarchy, TheSecondInARowFollows) {
  hold_now();
  start(0);
  start(1);
  wheel.run();
  EXPECT_EQ(accesses[0]->done, 160u);
  EXPECT_EQ(accesses[1]->done, 190u);
}
TEST_F(Hierarchy, WithoutAnMshrAMissLooksAgainWhenOneIsFree) {
  hold_now();
  start(0);
  start(4);
  start(1);
  wheel.run();
  EXPECT_EQ(accesses[0]->done, 160u);
  EXPECT_EQ(accesses[1]->done, 160u);  // the other bank
  EXPECT_EQ(accesses[2]->done, 160u + 10 + 100);
}
// Lines 0 to 3 are a row of bank 0, 8 to 11 another, and 4 to 7 a row of bank 1. In cycle 0, lines
// 0 and 4 take both MSHRs, and all others wait for one:
//
//   160  0 and 4 are there, and two MSHRs are free, for both accesses to 8
//   160  the first one takes its MSHR; the second one waits for that line and needs none, so 5 has
//   it 170  8 finds another row in bank 0: 370, for both. 5 finds its row in bank 1: 270
TEST_F(Hierarchy, AStalledMissThatJoinsAnotherPassesItsMshrOnInTheSameCycle) {
  together({0, 4, 8, 8, 5});
  expect_done({160, 160, 370, 370, 270});
}

// As above:
//
//   160  0 and 4 are there; the first access to 1, and 8, take their MSHRs, and look until 170
//   170  bank 0 has 1 in its open row: its column at 210, its data at 270. 8 is in another row: it
//        is closed at 210 + tCCD 30, and open 100 later, at 340: 400
//   270  1 is there. The MSHR goes to the second access to 1, which hits: 280; in the same cycle to
//        the third one: 280; in the same cycle to 5, which takes it
//   280  5 is in the open row of bank 1: 380
TEST_F(Hierarchy, StalledMissesThatHitPassTheirMshrOnInTheSameCycle) {
  together({0, 4, 1, 8, 1, 1, 5});
  expect_done({160, 160, 270, 400, 280, 280, 380});
}

// The last ones that wait need no MSHR: it is free again, for the two misses that begin then.
//
//   160  0 and 4 are there; the first access to 1 takes an MSHR, the others wait for its line
//   270  1 is there for all: 170 in bank 0, 100 for the open row
//   270  5 and 2 begin, and find both MSHRs free: 280, and 100 for the open rows of either bank
TEST_F(Hierarchy, AnMshrThatNoStalledMissNeedsIsFree) {
  after[2] = {5, 2};
  together({0, 4, 1, 1, 1});
  expect_done({160, 160, 270, 270, 270, 380, 380});
}

// Lines 0 and 1 follow each other in bank 0, by tCCD.
//
//   160  0 is there, and its MSHR is for 4, which has waited; 8 begins in this cycle, and waits
//   170  4 finds no open row in bank 1: 320
//   190  1 is there, and its MSHR is for 8
//   200  8 finds another row in bank 0: 400
TEST_F(Hierarchy, NoMissOvertakesOneThatIsStalled) {
  after[0] = {8};
  together({0, 1, 4});
  expect_done({160, 190, 320, 400});
}

// 0 and 4 are there in one cycle: one MSHR is for 8, the other is free, and 5 takes it. 6 begins
// with 5 and waits.
//
//   170  8 finds another row in bank 0: 370. 5 is in the open row of bank 1: 270
//   270  6 has the MSHR of 5, and is in that row, too: 380
TEST_F(Hierarchy, AnMshrThatIsKeptForAStalledMissIsTaken) {
  after[1] = {5, 6};
  together({0, 4, 8});
  expect_done({160, 160, 370, 270, 380});
}

// 0 and 4 are there in one cycle, and both MSHRs are for 8 and 12. 5 begins then: no miss is under
// way, but it waits for an MSHR until 370.
//
//   170  8 and 12 find other rows in their banks: 370
//   380  so does 5, in bank 1: 580
TEST_F(Hierarchy, AMissWaitsWhereAllMshrsAreKeptForOthers) {
  after[1] = {5};
  together({0, 4, 8, 12});
  expect_done({160, 160, 370, 370, 580});
}

TEST_F(Hierarchy, AnEvictedLineThatWasWrittenOccupiesItsBank) {
  alone(0, true);
  alone(2);
  // In the same set, from bank 1: 10 + 150. In that cycle the dirty line 0 goes back to bank 0,
  // whose row is open: its column 40 later.
  EXPECT_EQ(alone(4), 160u);
  const Cycle written = wheel.now();
  start(1);  // bank 0: looks for 10, and could read at 50, but reads tCCD after that column
  wheel.run();
  EXPECT_EQ(accesses.back()->done, written + 40 + 30 + 60);
}
TEST_F(Hierarchy, AWriteToALineOnItsWayMarksIt) {
  hold_now();
  start(0);
  start(0, true);
  wheel.run();
  alone(2);
  EXPECT_EQ(alone(4), 160u);
  const Cycle written = wheel.now();
  start(1);
  wheel.run();
  EXPECT_EQ(accesses.back()->done, written + 130);
}

// Two cores with caches of their own (latencies 4 and 10), a shared one (40), the memory from above
// (two lines to a row's bank are eight apart).
class TwoCores : public testing::Test, public Actor {
 protected:
  TwoCores() : hierarchy(wheel, kDram, 64) {
    const MemoryHierarchy::PathId memory = hierarchy.add_path({});
    const DataCacheShape small{1, 1, 4, 4, ReplacementKind::Lru};
    const auto shared =
        hierarchy.add_cache({1, 8, 40, 8, ReplacementKind::Lru}, 40, Served::L3, memory);
    const MemoryHierarchy::PathId from_shared = hierarchy.add_path({&shared, 1});
    for (MemoryHierarchy::PathId& path : paths) {
      const auto second =
          hierarchy.add_cache({1, 2, 10, 4, ReplacementKind::Lru}, 10, Served::L2, from_shared);
      const MemoryHierarchy::CacheId both[] = {second, shared};
      const auto first = hierarchy.add_cache(small, 4, Served::L1, hierarchy.add_path(both));
      const MemoryHierarchy::CacheId all[] = {first, second, shared};
      path = hierarchy.add_path(all);
    }
  }
  void on_cycle(u32 core) override { done[core] = wheel.now(); }
  void start(u32 core, u64 line) {
    done[core] = kNever;
    wheel.run_until(wheel.now());  // nothing is resolved beyond this cycle
    if (hierarchy.access(paths[core], Hpa(line * 64), false, *this, core, served[core])) {
      on_cycle(core);
    }
  }
  // Not a cycle before, but then.
  void expect_done(u32 core, Cycle at) {
    wheel.run_until(at - 1);
    EXPECT_EQ(done[core], kNever);
    wheel.run_until(at);
    EXPECT_EQ(done[core], at);
  }
  void expect_takes(u32 core, u64 line, Cycle cycles, Served by) {
    wheel.run();
    const Cycle begin = wheel.now();
    start(core, line);
    expect_done(core, begin + cycles);
    EXPECT_EQ(served[core], by);
  }

  Wheel wheel;
  MemoryHierarchy hierarchy;
  MemoryHierarchy::PathId paths[2] = {};
  Cycle done[2] = {kNever, kNever};
  Served served[2] = {};
};

TEST_F(TwoCores, AHitCostsEveryLookupDownToIt) {
  expect_takes(0, 0, 4 + 10 + 40 + 150, Served::Memory);
  expect_takes(0, 0, 4, Served::L1);
  expect_takes(0, 1, 4 + 10 + 40 + 100, Served::Memory);  // the first level holds one line
  expect_takes(0, 0, 4 + 10, Served::L2);
  expect_takes(1, 0, 4 + 10 + 40, Served::L3);
}
TEST_F(TwoCores, RowsInTheLastStep) {
  expect_takes(0, 0, 54 + 150, Served::Memory);
  expect_takes(0, 1, 54 + 100, Served::Memory);  // the open row
  expect_takes(0, 8, 54 + 200, Served::Memory);  // another one in that bank
  expect_takes(0, 4, 54 + 150, Served::Memory);  // the other bank
}
// Another row of the same bank, asked for in the same cycle: the first one is opened at 54 + 40,
// and stays open for tRAS, 100.
TEST_F(TwoCores, ABankHasOneRowAfterTheOther) {
  start(0, 0);
  start(1, 8);
  expect_done(0, 54 + 150);
  expect_done(1, 54 + 40 + 100 + 50 + 50 + 60);
  const Cycle begin = wheel.now();
  start(0, 1);  // row 0 again, of bank 0; and the other bank, without a row
  start(1, 4);
  expect_done(1, begin + 54 + 150);
  expect_done(0, begin + 54 + 200);
}

// Caches of few sets and fewer MSHRs than misses, with bursts that begin in one cycle: whatever a
// stalled access finds when it has its turn, the next has one, too.
TEST(Mshrs, OfAnyNumberLetEveryAccessComplete) {
  struct Core final : Actor {
    void on_cycle(u32) override { ++done; }
    u32 done = 0;
  };
  for (u32 mshrs = 1; mshrs <= 4; ++mshrs) {
    for (u32 seed = 0; seed < 50; ++seed) {
      Wheel wheel;
      MemoryHierarchy hierarchy(wheel, kDram, 64);
      const auto memory = hierarchy.add_path({});
      const auto shared =
          hierarchy.add_cache({2, 4, 7, mshrs, ReplacementKind::Lru}, 7, Served::L2, memory);
      const auto below = hierarchy.add_path({&shared, 1});
      MemoryHierarchy::PathId paths[3];
      for (MemoryHierarchy::PathId& path : paths) {
        const auto own = hierarchy.add_cache({1, 2, 3, 1 + mshrs / 2, ReplacementKind::Lru}, 3,
                                             Served::L1, below);
        const MemoryHierarchy::CacheId both[] = {own, shared};
        path = hierarchy.add_path(both);
      }
      std::mt19937_64 random(seed);
      Core core;
      std::deque<Served> served;
      u32 begun = 0;
      for (u32 burst = 0; burst < 60; ++burst) {
        wheel.run_until(wheel.now() + random() % 250);
        wheel.run_until(wheel.now());  // the burst begins in one cycle
        for (u64 left = random() % 16; left != 0; --left, ++begun) {
          const u64 number = random();
          if (hierarchy.access(paths[number % 3], Hpa(number / 8 % 24 * 64), number / 4 % 2 == 0,
                               core, 0, served.emplace_back())) {
            core.on_cycle(0);
          }
        }
      }
      wheel.run();
      EXPECT_EQ(core.done, begun) << mshrs << " MSHRs, seed " << seed;
    }
  }
}

TEST(Divisor, DividesAsTheHostDoes) {
  u64 number = 1;
  for (u64 value = 1; value <= 32'000; value += value < 1024 ? 1 : 97) {
    const Divisor divisor(value);
    for (unsigned n = 0; n < 200; ++n) {
      number = number * 6364136223846793005 + 1442695040888963407;
      const u64 shifted = number >> n % 64;
      const u64 most = ~u64{0} / value;
      for (const u64 each : {shifted, shifted / value * value, shifted / value * value - 1, most,
                             most - 1, most + 1}) {
        const Divisor::Parts parts = divisor.divide(each);
        ASSERT_EQ(parts.quotient, each / value) << each << " / " << value;
        ASSERT_EQ(parts.remainder, each % value) << each << " % " << value;
      }
    }
  }
}

}  // namespace
}  // namespace nestwalk::models::memory_hierarchy_test
