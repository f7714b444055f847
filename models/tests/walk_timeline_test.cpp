// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What each hit in the walker's own structures saves, to the cycle: 4-level tables over 4-level
// EPT, where every read of an entry takes 100 cycles.
//
// The guest's tables lie beside each other, in one 2M of guest-physical addresses; the data in
// another 1G of the same 512G.

#include <gtest/gtest.h>

#include "nested_world.hpp"
#include "nestwalk/models/translation/mmu.hpp"
#include "timed_walk.hpp"

namespace nestwalk::models::walk_timeline_test {
namespace {

using namespace addrspace;

constexpr Cycle kEntry = 100;      // a read or an update
constexpr Cycle kGuestCache = 3;   // guest walk cache
constexpr Cycle kNestedCache = 5;  // nested walk cache
constexpr Cycle kNestedTlb = 7;    // nested TLB
constexpr Cycle kFirst = 2, kSecond = 20;

constexpr u64 kVirtual = u64{1} << 40, kData = 4 * kGiB;
constexpr u64 k2M = u64{1} << 21, k1G = u64{1} << 30, k512G = u64{1} << 39;

class WalkTimeline : public testing::Test {
 protected:
  explicit WalkTimeline(bool hardware_dirty = false)
      : world(*LongMode::geometry(4), *Ept::geometry(4), shape(), hardware_dirty),
        plain(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}), {}) {}

  static CacheShape fully(std::vector<u8> shifts, Cycle latency) {
    return {{{1, 64, std::move(shifts), ReplacementKind::Lru}}, static_cast<u32>(latency)};
  }
  static WalkerShape shape() {
    return {1, fully({21, 30, 39}, kGuestCache), fully({21, 30, 39}, kNestedCache),
            fully({12}, kNestedTlb)};
  }
  // Maps a page; its tables' accessed flags are set by a walker that remembers nothing.
  void map(u64 at, u64 to) {
    world.map_guest(at, to, 0);
    world.map_tables(0);
    world.map_nested(to, 0);
    const LoneWalk walk(plain, {&world.regime, at, AccessKind::Read, true, false, nullptr});
    world.wheel.run();
    EXPECT_FALSE(walk->fault());
  }

  void expect_walk_takes(Cycle cycles, u64 at, AccessKind access = AccessKind::Read) {
    world.wheel.run_until(world.wheel.now());
    const LoneWalk walk(world.walker, {&world.regime, at, access, true, false, nullptr});
    expect_takes(world.wheel, walk, cycles);
    EXPECT_FALSE(walk->fault());
  }
  // Entries of the last levels, of a page that is mapped.
  Hpa entry(u64 at, bool nested) {
    const LoneWalk walk(plain, {&world.regime, at, AccessKind::Read, true, false, nullptr});
    world.wheel.run();
    const WalkRecord& record = walk->record();
    return Hpa(record.references[record.count - (nested ? 1 : 5)].address);
  }

  NestedWorld<LongMode, Ept> world;
  Walker plain;
};

// Guest level 3: its table's address takes four entries. The three tables below are in the same 2M:
// the nested walk cache knows the last table of EPT. The data are in the same 512G: it knows the
// second table.
constexpr Cycle kCold = kGuestCache + (kNestedTlb + kNestedCache + 4 * kEntry + kEntry) +
                        3 * (kNestedTlb + kNestedCache + kEntry + kEntry) +
                        (kNestedTlb + kNestedCache + 3 * kEntry);

TEST_F(WalkTimeline, Cold) {
  map(kVirtual, kData);
  expect_walk_takes(kCold, kVirtual);
}

struct Warm {
  const char* what;
  u64 at;  ///< from the page that was walked before
  u64 to;
  Cycle cycles;
};
class AfterAWalk : public WalkTimeline, public testing::WithParamInterface<Warm> {};
TEST_P(AfterAWalk, HitsSaveReads) {
  map(kVirtual, kData);
  if (GetParam().at != 0) map(kVirtual + GetParam().at, kData + GetParam().to);
  expect_walk_takes(kCold, kVirtual);
  expect_walk_takes(GetParam().cycles, kVirtual + GetParam().at);
}
// A table that is not known yet: its address by the last table of EPT, then its entry.
constexpr Cycle kTable = kNestedTlb + kNestedCache + kEntry + kEntry;
INSTANTIATE_TEST_SUITE_P(
    WalkTimeline, AfterAWalk,
    testing::Values(Warm{"TheSamePage", 0, 0, kGuestCache + kEntry + kNestedTlb},
                    // The guest walk cache knows the table with the leaf, and what it holds is:
                    Warm{"NestedTlb", kFrameBytes, 0, kGuestCache + kEntry + kNestedTlb},
                    Warm{"NestedWalkCache2M", kFrameBytes, kFrameBytes,
                         kGuestCache + kEntry + (kNestedTlb + kNestedCache + kEntry)},
                    Warm{"NestedWalkCache1G", kFrameBytes, k2M,
                         kGuestCache + kEntry + (kNestedTlb + kNestedCache + 2 * kEntry)},
                    Warm{"NestedWalkCache512G", kFrameBytes, k1G,
                         kGuestCache + kEntry + (kNestedTlb + kNestedCache + 3 * kEntry)},
                    Warm{"NestedNothing", kFrameBytes, k512G,
                         kGuestCache + kEntry + (kNestedTlb + kNestedCache + 4 * kEntry)},
                    // The nested TLB knows the data, and the guest walk cache a table further up:
                    Warm{"GuestWalkCache1G", k2M, 0, kGuestCache + kEntry + kTable + kNestedTlb},
                    Warm{"GuestWalkCache512G", k1G, 0,
                         kGuestCache + kEntry + 2 * kTable + kNestedTlb},
                    // Not even the first table; but its page is in the nested TLB.
                    Warm{"GuestNothing", k512G, 0,
                         kGuestCache + (kNestedTlb + kEntry) + 3 * kTable + kNestedTlb}),
    [](const auto& row) { return row.param.what; });

// A leaf without dirty flag: its update is a second access to it. The second stage is known to
// permit that.
TEST_F(WalkTimeline, AWriteSetsTheGuestsDirtyFlag) {
  map(kVirtual, kData);
  expect_walk_takes(kCold, kVirtual);
  const Hpa leaf = entry(kVirtual, false);
  world.memory.store(leaf, world.memory.load(leaf) & ~LongMode::kDirty);
  expect_walk_takes(kGuestCache + kEntry + kEntry + kNestedTlb, kVirtual, AccessKind::Write);
  EXPECT_NE(world.memory.load(leaf) & LongMode::kDirty, 0u);
  expect_walk_takes(kGuestCache + kEntry + kNestedTlb, kVirtual, AccessKind::Write);
}

class EptDirty : public WalkTimeline {
 protected:
  EptDirty() : WalkTimeline(true) {}
};
// The nested TLB's entry does not do for a write: the leaf is read, and updated.
TEST_F(EptDirty, AWriteSetsTheNestedDirtyFlag) {
  map(kVirtual, kData);
  expect_walk_takes(kCold, kVirtual);
  expect_walk_takes(kGuestCache + kEntry + (kNestedTlb + kNestedCache + kEntry + kEntry), kVirtual,
                    AccessKind::Write);
  EXPECT_NE(world.memory.load(entry(kVirtual, true)) & Ept::kDirty, 0u);
  expect_walk_takes(kGuestCache + kEntry + kNestedTlb, kVirtual, AccessKind::Write);
}

struct Access : Actor {
  explicit Access(const Wheel& running) : wheel(running) {}
  void on_cycle(u32) override { at = wheel.now(); }
  const Wheel& wheel;
  Mmu::Outcome outcome;
  Cycle at = kNever;
};
TEST_F(WalkTimeline, AWriteThroughACleanTlbEntryWalksAgain) {
  map(kVirtual, kData);
  const Hpa leaf = entry(kVirtual, false);
  world.memory.store(leaf, world.memory.load(leaf) & ~LongMode::kDirty);
  Mmu mmu(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
          {{}, fully({12}, kFirst), fully({12}, kSecond), shape()});
  mmu.set_regime(world.regime);
  const auto expect_takes = [&](Cycle cycles, AccessKind kind) {
    Wheel& wheel = world.wheel;
    wheel.run_until(wheel.now());
    const Cycle start = wheel.now();
    Access access(wheel);
    EXPECT_FALSE(mmu.translate({kVirtual, kind, true}, access, 0, access.outcome));
    wheel.run_until(start + cycles - 1);
    EXPECT_EQ(access.at, kNever);
    wheel.run_until(start + cycles);
    EXPECT_EQ(access.at, start + cycles);
    wheel.run();
  };
  expect_takes(kFirst + kSecond + kCold, AccessKind::Read);
  expect_takes(kFirst, AccessKind::Read);
  expect_takes(kFirst + kSecond + (kGuestCache + kEntry + kEntry + kNestedTlb), AccessKind::Write);
  expect_takes(kFirst, AccessKind::Write);
}

}  // namespace
}  // namespace nestwalk::models::walk_timeline_test
