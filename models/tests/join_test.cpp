// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which misses wait for one walk: those to one page. On AArch64 each half of the address space has
// separate tables (TTBR0, TTBR1), whose granules may differ.

#include <gtest/gtest.h>

#include <optional>

#include "nested_world.hpp"
#include "nestwalk/machines/entry_format_of.hpp"
#include "nestwalk/models/translation/mmu.hpp"

namespace nestwalk::models::join_test {
namespace {

using addrspace::Gpa;
using addrspace::Granule;
using addrspace::Gva;
using addrspace::kGiB;
using addrspace::Stage1;
using addrspace::Stage2;
using addrspace::VaHalf;

class TwoReads final : public Actor {
 public:
  TwoReads(Mmu& mmu, Wheel& wheel, u64 first, u64 second) : mmu_(mmu), addresses_{first, second} {
    for (u32 n = 0; n < 2; ++n) wheel.schedule(wheel.now(), *this, n);
  }
  void on_cycle(u32 what) override {
    if (what < 2) {
      mmu_.translate({addresses_[what], AccessKind::Read, true}, *this, 2, outcomes[what]);
    }
  }
  Mmu::Outcome outcomes[2];

 private:
  Mmu& mmu_;
  u64 addresses_[2];
};

/// How many of two reads in one cycle, the second 4K after the first, at the begin of a page of the
/// upper half, wait for the other's walk.
template <Granule kLower, Granule kUpper>
u64 merged() {
  using Nested = Stage2<Granule::k4K>;
  NestedWorld<Stage1<kLower>, Nested> world(*Stage1<kLower>::geometry(48), *Nested::geometry(40),
                                            {}, true);
  const EntryFormatOf<Stage1<kUpper>> format(world.machine);
  const auto geometry = *Stage1<kUpper>::geometry(48, VaHalf::Upper);
  auto upper = *addrspace::PageTable<Stage1<kUpper>, GuestHal>::create(world.guest_hal, geometry);
  const u64 start = ~addrspace::low_mask(48);
  const u64 page = geometry.leaf_bytes(0);
  for (u64 at = 0; at < 0x10000; at += page) {
    EXPECT_TRUE(
        upper.map(Gva(start + at), Gpa(4 * kGiB + at), page, {addrspace::kRwx | addrspace::kUser})
            .ok());
  }
  for (u64 at = 0; at < 0x10000; at += kFrameBytes) world.map_nested(4 * kGiB + at, 0);
  world.map_tables(0);
  world.regime.guest_upper = {&format, geometry, upper.root().value()};
  world.regime = world.regime.tagged(world.tags);
  WalkerShape walker;
  walker.slots = 2;
  const CacheShape tlb{{{16, 4, {12, 16}, ReplacementKind::Lru}}, 1};
  Mmu mmu(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
          {{}, tlb, {}, walker});
  mmu.set_regime(world.regime);
  TwoReads reads(mmu, world.wheel, start, start + kFrameBytes);
  world.wheel.run();
  for (const Mmu::Outcome& outcome : reads.outcomes) EXPECT_FALSE(outcome.fault);
  return mmu.counts().merged;
}

TEST(Misses, WaitForOneWalkIfTheirHalfHasOnePageForThem) {
  EXPECT_EQ((merged<Granule::k4K, Granule::k4K>()), 0u);
  EXPECT_EQ((merged<Granule::k64K, Granule::k4K>()), 0u);
  EXPECT_EQ((merged<Granule::k64K, Granule::k64K>()), 1u);
  EXPECT_EQ((merged<Granule::k4K, Granule::k64K>()), 1u);
}

// Restarts all misses in its cycle, as a fence does.
struct Restart final : Actor {
  Restart(Mmu& restarted, Wheel& wheel, Cycle at) : mmu(restarted) { wheel.schedule(at, *this, 0); }
  void on_cycle(u32) override { mmu.restart_misses(); }
  Mmu& mmu;
};

// Two reads of one page in cycle 0. Each looks into the TLB for 5; one walks, the other waits for
// that, and looks again: it has its answer then, as an access that hits at once, and a fence within
// the 5 cycles of that lookup comes too late.
TEST(Misses, AreSettledByTheFirstLevelWhenTheyLook) {
  NestedWorld<Stage1<Granule::k4K>, Stage2<Granule::k4K>> world(
      *Stage1<Granule::k4K>::geometry(48), *Stage2<Granule::k4K>::geometry(40), {}, true);
  constexpr u64 kPage = 0x40000000;
  world.map_guest(kPage, 4 * kGiB, 0);
  world.map_nested(4 * kGiB, 0);
  world.map_tables(0);
  constexpr u32 kLookup = 5;
  const CacheShape tlb{{{16, 4, {12}, ReplacementKind::Lru}}, kLookup};
  Cycle walk = 0;
  for (const bool fenced : {false, true}) {
    Mmu mmu(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
            {{}, tlb, {}, {}});
    mmu.set_regime(world.regime);
    const Cycle start = world.wheel.now();
    TwoReads reads(mmu, world.wheel, kPage, kPage + 8);
    std::optional<Restart> restart;
    if (fenced) restart.emplace(mmu, world.wheel, start + kLookup + walk + kLookup - 2);
    world.wheel.run();
    const Cycle took = world.wheel.now() - start;
    if (!fenced) walk = took - 2 * kLookup;
    EXPECT_GT(walk, kLookup);
    EXPECT_EQ(took, kLookup + walk + kLookup);
    EXPECT_EQ(mmu.counts().merged, 1u);
    EXPECT_EQ(mmu.counts().walks(), 1u);
    EXPECT_EQ(mmu.counts().first_hits(), 1u);
    for (const Mmu::Outcome& outcome : reads.outcomes) EXPECT_FALSE(outcome.fault);
  }
}

// The second level is different: a fence within its latency takes what it found away. The access
// looks again, and is counted once.
TEST(Misses, CountAHitInTheSecondLevelOnceWhereAFenceComesWithinIt) {
  NestedWorld<Stage1<Granule::k4K>, Stage2<Granule::k4K>> world(
      *Stage1<Granule::k4K>::geometry(48), *Stage2<Granule::k4K>::geometry(40), {}, true);
  constexpr u64 kPage = 0x40000000;
  world.map_guest(kPage, 4 * kGiB, 0);
  world.map_nested(4 * kGiB, 0);
  world.map_tables(0);
  const CacheShape first{{{1, 1, {12}, ReplacementKind::Lru}}, 2};
  const CacheShape second{{{16, 4, {12}, ReplacementKind::Lru}}, 20};
  Mmu mmu(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
          {{}, first, second, {}});
  mmu.set_regime(world.regime);
  const auto read = [&](bool fenced) {
    const Cycle start = world.wheel.now();
    TwoReads reads(mmu, world.wheel, kPage, kPage);
    std::optional<Restart> restart;
    if (fenced) restart.emplace(mmu, world.wheel, start + 10);
    world.wheel.run();
  };
  read(false);
  mmu.data_tlb().drop_if([](const auto&, const auto&) { return true; });
  const u64 before = mmu.counts().second_hits();
  read(true);
  EXPECT_EQ(mmu.counts().second_hits() - before, 2u);
  EXPECT_EQ(mmu.counts().walks(), 1u);
}

}  // namespace
}  // namespace nestwalk::models::join_test
