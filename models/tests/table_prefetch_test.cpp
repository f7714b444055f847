// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Entries of the two lowest levels that a walk fetches ahead where range registers say that they
// are (ASAP), to the cycle: a cache of 4 cycles before a memory of 100, no walk caches.

#include <gtest/gtest.h>

#include "nested_world.hpp"
#include "timed_walk.hpp"

namespace nestwalk::models::table_prefetch_test {
namespace {

using namespace addrspace;

constexpr Cycle kHit = 4, kMiss = kHit + 100;
constexpr u64 kVirtual = (u64{5} << 39) + (u64{3} << 30) + (u64{7} << 21), kData = 4 * kGiB;

class TablePrefetch : public testing::Test {
 protected:
  TablePrefetch() : world(*LongMode::geometry(4), *Ept::geometry(4)) {
    world.map_guest(kVirtual, kData, 0);
    world.map_tables(0);
    world.map_nested(kData, 0);
    world.walk(kVirtual);  // sets the accessed flags
  }

  void begin(u32 mshrs, bool prefetches) {
    DataCacheShape cache;
    cache.latency_cycles = kHit;
    cache.mshrs = mshrs;
    const auto l1 =
        world.hierarchy.add_cache(cache, kHit, Served::L1, world.hierarchy.add_path({}));
    WalkerShape shape;
    shape.prefetches_tables = prefetches;
    walker.emplace(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({&l1, 1}),
                   shape);
  }
  /// What the registers have to say of an address. The run of 512 tables of the lowest level begins
  /// where the table of the area's first 2M would be.
  template <class Table>
  static void note(TableAreas& areas, NestedWorld<LongMode, Ept>& world, const Table& table,
                   u64 address) {
    const u64 upper = align_down(world.slot(table, address, 1), kFrameBytes);
    const u64 lower = align_down(world.slot(table, address, 0), kFrameBytes);
    areas.note(FrameUse::table(align_down(address, kGiB), 1), 0, upper);
    areas.note(FrameUse::table(align_down(address, u64{2} << 20), 0), 0,
               lower - (address >> 21) % 512 * kFrameBytes);
  }
  void note_guest() {
    note(guest_areas, world, world.guest, kVirtual);
    world.regime.guest.areas = &guest_areas;
  }
  // The guest's tables lie in one 2M.
  void note_nested() {
    note(nested_areas, world, world.nested, world.guest.root().value());
    note(nested_areas, world, world.nested, kData);
    world.regime.nested.areas = &nested_areas;
  }
  void expect_walk_takes(Cycle cycles) {
    world.wheel.run_until(world.wheel.now());
    const LoneWalk walk(*walker, {&world.regime, kVirtual, AccessKind::Read, true, false, nullptr});
    expect_takes(world.wheel, walk, cycles);
    EXPECT_EQ(walk->translation().host_of(kVirtual), kData);
  }

  NestedWorld<LongMode, Ept> world;
  TableAreas guest_areas, nested_areas;
  std::optional<Walker> walker;
};

class OneStage : public TablePrefetch {
 protected:
  OneStage() {
    world.regime.nested = {};
    world.regime = world.regime.tagged(world.tags);
  }
};

// Four reads, one after the other.
TEST_F(OneStage, WithoutItEachEntryIsWaitedFor) {
  note_guest();
  begin(8, false);
  expect_walk_takes(4 * kMiss);
  EXPECT_EQ(walker->fetched_ahead(), 0u);
}

// The lower two are asked for with the first. They come in cycle 104, behind the upper two's back.
TEST_F(OneStage, TheUpperLevelsHideTheLowerOnes) {
  note_guest();
  begin(8, true);
  expect_walk_takes(2 * kMiss + 2 * kHit);
  EXPECT_EQ(walker->fetched_ahead(), 2u);
  // Everything is in the cache: nothing is fetched.
  expect_walk_takes(4 * kHit);
  EXPECT_EQ(walker->fetched_ahead(), 2u);
}

TEST_F(OneStage, NothingIsFetchedWhereNoAreaIs) {
  world.regime.guest.areas = &guest_areas;
  begin(8, true);
  expect_walk_takes(4 * kMiss);
  EXPECT_EQ(walker->fetched_ahead(), 0u);
}

// The one MSHR is taken by the second level's entry, and the lowest level's is dropped. The walk's
// own first read waits until it is free.
TEST_F(OneStage, APrefetchNeedsAnMshr) {
  note_guest();
  begin(1, true);
  expect_walk_takes(100 + kHit + 2 * kMiss + kHit + kMiss);
  EXPECT_EQ(walker->fetched_ahead(), 1u);
}

// Another table's lines come, and change nothing but the cache.
TEST_F(OneStage, AWrongRegisterCostsNothing) {
  guest_areas.note(FrameUse::table(align_down(kVirtual, kGiB), 1), 0, world.memory.base().value());
  guest_areas.note(FrameUse::table(kVirtual, 0), 0, 0);  // there is no memory
  world.regime.guest.areas = &guest_areas;
  begin(8, true);
  expect_walk_takes(4 * kMiss);
  EXPECT_EQ(walker->fetched_ahead(), 1u);
}

// A guest's table is found by three entries that all its tables share, and by one of a line of
// eight entries: frames 0 to 7 are the two roots, EPT's tables and the guest's, as they were made.
// EPT's two upper entries for the data lie in the lines of those for the tables, its two lower ones
// do not.
struct Stages {
  const char* name;
  bool guest;
  bool nested;
  Cycle cycles;
};
class BothStages : public TablePrefetch, public testing::WithParamInterface<Stages> {};
constexpr Cycle kAgain = 4 * kHit;  // of EPT, for a table
constexpr Cycle kRoot = 4 * kMiss, kRootAhead = 2 * kMiss + 2 * kHit;
constexpr Cycle kLast = 2 * kHit + 2 * kMiss;
// Asked for in cycle 0 of the four reads; the first is wanted in cycle 8.
constexpr Cycle kLastAhead = kMiss + kHit;
TEST_P(BothStages, HideTheirLowerLevels) {
  if (GetParam().guest) note_guest();
  if (GetParam().nested) note_nested();
  begin(8, true);
  expect_walk_takes(GetParam().cycles);
}
INSTANTIATE_TEST_SUITE_P(
    TablePrefetch, BothStages,
    testing::Values(
        Stages{"None", false, false, kRoot + kMiss + 3 * (kAgain + kMiss) + kLast},
        Stages{"Guest", true, false,
               kRoot + kMiss + (kAgain + kMiss) + 2 * (kAgain + kHit) + kLast},
        Stages{"Nested", false, true, kRootAhead + kMiss + 3 * (kAgain + kMiss) + kLastAhead},
        Stages{"Both", true, true,
               kRootAhead + kMiss + (kAgain + kMiss) + 2 * (kAgain + kHit) + kLastAhead}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nestwalk::models::table_prefetch_test
