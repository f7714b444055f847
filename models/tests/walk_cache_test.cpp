// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What walk caches are looked up by and what they yield, to the cycle; and what the walker itself
// takes. 4-level tables over 4-level EPT, where every read of an entry takes 100 cycles, as in
// walk_timeline_test.cpp: the guest's tables lie in one 2M of guest-physical addresses; the data in
// another 1G of the same 512G.

#include <gtest/gtest.h>

#include "nested_world.hpp"
#include "nestwalk/machines/preset.hpp"
#include "timed_walk.hpp"

namespace nestwalk::models::walk_cache_test {
namespace {

using namespace addrspace;

constexpr Cycle kEntry = 100;
constexpr Cycle kGuestCache = 3, kNestedCache = 5, kNestedTlb = 7;
constexpr u64 kVirtual = u64{1} << 40, kData = 4 * kGiB;
constexpr u64 k2M = u64{1} << 21;

CacheShape fully(std::vector<u8> shifts, Cycle latency) {
  return {{{1, 64, std::move(shifts), ReplacementKind::Lru}}, static_cast<u32>(latency)};
}

template <class G, class N>
class Walks {
 public:
  Walks(const Geometry& guest, const Geometry& nested, const WalkerShape& shape,
        bool hardware_dirty = false)
      : world(guest, nested, shape, hardware_dirty),
        plain(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}), {}) {}

  // Maps a page; its tables' accessed flags are set by a walker that remembers nothing.
  void map(u64 at, u64 to) {
    world.map_guest(at, to, 0);
    world.map_tables(0);
    world.map_nested(to, 0);
    const LoneWalk walk(plain, {&world.regime, at, AccessKind::Read, true, false, nullptr});
    world.wheel.run();
    EXPECT_FALSE(walk->fault());
  }
  // The guest's root gets another frame: its entries' host addresses are not their guest-physical
  // ones any more.
  void move_root() {
    const Gpa root = world.guest.root();
    const Hpa frame = *world.memory.allocate(0);
    for (u64 at = 0; at < kFrameBytes; at += 8) {
      world.memory.store(frame + at, world.memory.load(Hpa(root.value()) + at));
    }
    EXPECT_TRUE(world.nested.unmap(root).ok());
    EXPECT_TRUE(world.nested.map(root, frame, kFrameBytes, {kRwx}).ok());
  }
  WalkRecord expect_walk_takes(Cycle cycles, u64 at, AccessKind access = AccessKind::Read) {
    world.wheel.run_until(world.wheel.now());
    const LoneWalk walk(world.walker, {&world.regime, at, access, true, false, nullptr});
    expect_takes(world.wheel, walk, cycles);
    EXPECT_FALSE(walk->fault());
    return walk->record();
  }
  static u32 reads(const WalkRecord& record) {
    u32 count = 0;
    for (u32 n = 0; n < record.count; ++n) {
      const Served served = record.references[n].served;
      count += served != Served::WalkCache && served != Served::NestedTlb ? 1 : 0;
    }
    return count;
  }

  NestedWorld<G, N> world;
  Walker plain;
};

struct X86 : Walks<LongMode, Ept> {
  explicit X86(const WalkerShape& shape, bool hardware_dirty = false)
      : Walks(*LongMode::geometry(4), *Ept::geometry(4), shape, hardware_dirty) {}
};
WalkerShape all_caches() {
  WalkerShape shape;
  shape.guest_walk_cache = fully({21, 30, 39}, kGuestCache);
  shape.nested_walk_cache = fully({21, 30, 39}, kNestedCache);
  shape.nested_tlb = fully({12}, kNestedTlb);
  return shape;
}
// As in walk_timeline_test.cpp; the nested walk cache knows the last table for guest levels 2 to 0.
constexpr Cycle kColdBySecondStage = (kNestedTlb + kNestedCache + 4 * kEntry + kEntry) +
                                     3 * (kNestedTlb + kNestedCache + kEntry + kEntry) +
                                     (kNestedTlb + kNestedCache + 3 * kEntry);

// What a guest walk cache yields ------------------------------------------------------------------

TEST(WalkCacheYields, AGuestPhysicalAddressIsTranslatedAgain) {
  WalkerShape shape = all_caches();
  shape.guest_yields = Yields::Guest;
  X86 walks(shape);
  walks.map(kVirtual, kData);
  walks.map(kVirtual + kFrameBytes, kData + kFrameBytes);
  walks.expect_walk_takes(kGuestCache + kColdBySecondStage, kVirtual);
  // The last table is known. Its address is in the nested TLB; then its entry, and the data's page.
  walks.expect_walk_takes(kGuestCache + kNestedTlb + kEntry + kNestedTlb, kVirtual);
  walks.expect_walk_takes(kGuestCache + kNestedTlb + kEntry + (kNestedTlb + kNestedCache + kEntry),
                          kVirtual + kFrameBytes);
}

// Without a nested TLB the second stage's own tables say where the guest's is.
TEST(WalkCacheYields, AGuestPhysicalAddressNeedsTheSecondStagesTables) {
  WalkerShape shape = all_caches();
  shape.guest_yields = Yields::Guest;
  shape.nested_tlb = {};
  X86 walks(shape);
  walks.map(kVirtual, kData);
  walks.expect_walk_takes(kGuestCache + kColdBySecondStage - 5 * kNestedTlb, kVirtual);
  const WalkRecord record = walks.expect_walk_takes(
      kGuestCache + (kNestedCache + kEntry) + kEntry + (kNestedCache + kEntry), kVirtual);
  EXPECT_EQ(walks.reads(record), 3u);
}

// A table that spans several pages of the second stage has no one host address; a guest-physical
// one it has: 16K tables over 4K pages.
TEST(WalkCacheYields, AGuestPhysicalAddressNamesTablesOfSeveralPages) {
  using Guest = Stage1<Granule::k16K>;
  for (const Yields yields : {Yields::Host, Yields::Guest}) {
    WalkerShape shape;
    shape.guest_walk_cache = fully({25, 36}, kGuestCache);
    shape.guest_yields = yields;
    Walks<Guest, Stage2<Granule::k4K>> walks(*Guest::geometry(47),
                                             *Stage2<Granule::k4K>::geometry(40), shape, true);
    walks.map(kVirtual, kData);
    // Three levels over three: (3 + 1) * 3 + 3. Then the last level alone, or all again.
    walks.expect_walk_takes(kGuestCache + 15 * kEntry, kVirtual);
    walks.expect_walk_takes(kGuestCache + (yields == Yields::Guest ? 7 : 15) * kEntry, kVirtual);
  }
}

// What the nested TLB holds
// ------------------------------------------------------------------------

// Four entries: the guest's four tables. With the data's page, the least recently used is the one
// that is wanted next, each time.
TEST(NestedTlb, HoldsAddressesOfTablesAlone) {
  for (const bool holds_data : {true, false}) {
    WalkerShape shape = all_caches();
    shape.guest_walk_cache = {};
    shape.nested_tlb = {{{1, 4, {12}, ReplacementKind::Lru}}, static_cast<u32>(kNestedTlb)};
    shape.nested_tlb_holds_data = holds_data;
    X86 walks(shape);
    walks.map(kVirtual, kData);
    walks.expect_walk_takes(kColdBySecondStage, kVirtual);
    const Cycle missed = kNestedTlb + kNestedCache + kEntry;
    const Cycle table = holds_data ? missed : kNestedTlb;
    walks.expect_walk_takes(4 * (table + kEntry) + missed, kVirtual);
  }
}

// What a walk cache is looked up by ---------------------------------------------------------------

// Each table's entry is looked for when it is to be read: a miss takes no time beside the read.
TEST(WalkCacheIndex, NestedEntriesAreFoundOneByOne) {
  WalkerShape shape;
  shape.nested_walk_cache = fully({21, 30, 39}, kNestedCache);
  shape.nested_index_by = IndexBy::Entry;
  X86 walks(shape);
  walks.map(kVirtual, kData);
  // The first table: 4 entries and its own. Three more: 3 hits, the last entry, and their own. The
  // data: a hit in the root, whose entry is for 512G, and 3 entries.
  walks.expect_walk_takes(
      5 * kEntry + 3 * (3 * kNestedCache + 2 * kEntry) + (kNestedCache + 3 * kEntry), kVirtual);
  // All tables are known: 5 times 3 hits and the leaf, and 4 entries of the guest's.
  walks.expect_walk_takes(5 * (3 * kNestedCache + kEntry) + 4 * kEntry, kVirtual);
}

// One table under two addresses: its entries are known for both, where addresses are not asked for.
TEST(WalkCacheIndex, AnEntryServesEveryAddressThatItsTableIsMappedAt) {
  for (const IndexBy by : {IndexBy::Address, IndexBy::Entry, IndexBy::GuestEntry}) {
    WalkerShape shape;
    shape.guest_walk_cache = fully({21, 30, 39}, kGuestCache);
    shape.guest_index_by = by;
    shape.guest_yields = Yields::Guest;
    X86 walks(shape);
    walks.map(kVirtual, kData);
    // The second entry of the root's that names the same table: another 512G.
    const Hpa root(walks.world.regime.guest.root);
    walks.world.memory.store(root + 3 * 8, walks.world.memory.load(root + 2 * 8));
    const u64 other = kVirtual + (u64{1} << 39);
    const Cycle address = by == IndexBy::Address ? kGuestCache : 0;
    walks.expect_walk_takes(address + 24 * kEntry, kVirtual);
    // Translating a table's address takes 4 entries; its own entry is the fifth, or a hit.
    const Cycle known = by == IndexBy::Entry        ? 2 * (4 * kEntry + kGuestCache)
                        : by == IndexBy::GuestEntry ? 2 * kGuestCache
                                                    : kGuestCache + 2 * 5 * kEntry;
    walks.expect_walk_takes(5 * kEntry + known + 5 * kEntry + 4 * kEntry, other);
    walks.world.memory.store(root + 3 * 8, 0);
  }
}

// By the host address, each level's address is translated before the lookup; by the guest-physical
// one, only the last.
TEST(WalkCacheIndex, GuestEntriesAreFoundBeforeOrAfterTheirAddressIsTranslated) {
  for (const IndexBy by : {IndexBy::Entry, IndexBy::GuestEntry}) {
    WalkerShape shape = all_caches();
    shape.guest_index_by = by;
    shape.guest_yields = Yields::Guest;
    X86 walks(shape);
    walks.map(kVirtual, kData);
    walks.move_root();
    walks.expect_walk_takes(kColdBySecondStage, kVirtual);
    const Cycle tables = by == IndexBy::Entry ? 3 * (kNestedTlb + kGuestCache) : 3 * kGuestCache;
    walks.expect_walk_takes(tables + kNestedTlb + kEntry + kNestedTlb, kVirtual);
  }
}

// Levels that no array holds are read.
TEST(WalkCacheIndex, OnlyTheLevelsThatItHoldsAreFound) {
  WalkerShape shape;
  shape.nested_walk_cache = fully({30}, kNestedCache);
  shape.nested_index_by = IndexBy::Entry;
  X86 walks(shape);
  walks.map(kVirtual, kData);
  walks.expect_walk_takes(5 * kEntry + 3 * (kNestedCache + 4 * kEntry) + 4 * kEntry, kVirtual);
  walks.expect_walk_takes(5 * (kNestedCache + 3 * kEntry) + 4 * kEntry, kVirtual);
}

// The walker's own time ---------------------------------------------------------------------------

TEST(WalkerTime, EachEntryThatIsReadTakesAStep) {
  constexpr Cycle kStep = 2;
  WalkerShape shape = all_caches();
  shape.step_cycles = kStep;
  X86 walks(shape);
  walks.map(kVirtual, kData);
  // 4 + 1, three times 1 + 1, 3.
  walks.expect_walk_takes(kGuestCache + kColdBySecondStage + 14 * kStep, kVirtual);
  const WalkRecord record =
      walks.expect_walk_takes(kGuestCache + kStep + kEntry + kNestedTlb, kVirtual);
  EXPECT_EQ(record.step_cycles, kStep);
  WalkTotals totals;
  totals.add(record);
  EXPECT_EQ(totals.steps(), kStep);
  EXPECT_EQ(totals.missing(), 0u);
  EXPECT_EQ(totals.cycles(), kGuestCache + kStep + kEntry + kNestedTlb);
}

TEST(WalkerTime, EachUpdateOfFlagsTakesAnAssist) {
  constexpr Cycle kAssist = 300;
  WalkerShape shape = all_caches();
  shape.assist_cycles = kAssist;
  X86 walks(shape, true);
  walks.map(kVirtual, kData);
  const WalkRecord cold = walks.expect_walk_takes(kGuestCache + kColdBySecondStage, kVirtual);
  // Three entries of EPT after the guest's leaf, and the hit that spared one.
  const Hpa leaf(cold.references[cold.count - 5].address);
  walks.world.memory.store(leaf, walks.world.memory.load(leaf) & ~LongMode::kDirty);
  // A write: the guest's dirty flag, and EPT's: two reads, two assists, two updates.
  const WalkRecord record =
      walks.expect_walk_takes(kGuestCache + (kEntry + kAssist + kEntry) +
                                  (kNestedTlb + kNestedCache + kEntry + kAssist + kEntry),
                              kVirtual, AccessKind::Write);
  EXPECT_EQ(record.assist_cycles, 2 * kAssist);
  WalkTotals totals;
  totals.add(record);
  EXPECT_EQ(totals.assists(), 2 * kAssist);
  walks.expect_walk_takes(kGuestCache + kEntry + kNestedTlb, kVirtual, AccessKind::Write);
}

// Two walks at a time, one walker of the second stage: it is waited for from the miss of the nested
// walk cache on, and given back when the address is known.
TEST(WalkerTime, WalksTakeTurnsInTheSecondStage) {
  WalkerShape shape;
  shape.slots = 2;
  shape.nested_slots = 1;
  X86 walks(shape);
  walks.map(kVirtual, kData);
  walks.map(kVirtual + k2M, kData + k2M);
  Wheel& wheel = walks.world.wheel;
  wheel.run_until(wheel.now());
  const auto begin = [&](u64 at) {
    return std::make_unique<LoneWalk>(
        walks.world.walker,
        WalkRequest{&walks.world.regime, at, AccessKind::Read, true, false, nullptr});
  };
  const Cycle start = wheel.now();
  const auto first = begin(kVirtual), second = begin(kVirtual + k2M);
  wheel.run();
  // Each translates five addresses, 4 entries each, and reads its own 4 entries, an entry after
  // each of the first four. The first has the walker 0..4, 8..12, 16..20, 24..28, 32..36 (hundreds
  // of cycles), the second in between: while one has it, the other reads an entry and waits.
  EXPECT_EQ((*first)->record().end - start, 36 * kEntry);
  EXPECT_EQ((*second)->record().end - start, 40 * kEntry);
  EXPECT_EQ((*first)->record().nested_waiting, 4 * 3 * kEntry);
  EXPECT_EQ((*second)->record().nested_waiting, (4 + 4 * 3) * kEntry);
}

// Rocket -----------------------------------------------------------------------------------------

// rocket-chip's PTW.scala, a walk of both stages of Sv39 with all tables cached and entries in the
// data cache, by the states of its machine, a cycle each:
//   s_req          stage2_pte_cache knows the guest's root entry: by its guest-physical address,
//   s_req          and that of the second level: the guest-physical address of the last table
//   s_req          pte_cache knows the root entry of the G stage: by its address,
//   s_req          and that of the second level
//   s_req s_wait1 s_wait2 s_wait3     the G stage's leaf for the guest's last table: 1st read
//   s_req s_wait1 s_wait2 s_wait3     the guest's leaf: 2nd read; then do_switch
//   s_req s_req                       pte_cache: the G stage's tables for the data
//   s_req s_wait1 s_wait2 s_wait3     its leaf: 3rd read
// 18 cycles. s_ready, in which the TLB's request is accepted, is the 19th, and not the walk's.
// With a fourth level, the caches know one more entry of each of the three walks (PTE_CACHE_HIT_L0
// to L2 in makePTECache): three more s_req.
class RocketLevels : public testing::TestWithParam<std::pair<unsigned, Cycle>> {};

TEST_P(RocketLevels, AWarmWalkOfBothStagesTakesThreeReadsAndACycleForEachHit) {
  const unsigned levels = GetParam().first;
  const MachineShape rocket = load_preset(NESTWALK_PRESETS "/rocket-h.json").shape;
  Walks<Sv, GStage> walks(*Sv::geometry(levels), *GStage::geometry(levels), {});
  ASSERT_EQ(rocket.walks_enter_at, Served::L1);
  const u32 hit = rocket.l1d->latency_cycles;
  MemoryHierarchy cached(walks.world.wheel, {.controller_ps = hit * 1000}, 64);
  Walker walker(walks.world.wheel, walks.world.memory, cached, cached.add_path({}),
                rocket.mmu.walker);
  walks.map(u64{1} << 37, kData);
  WalkRecord record;
  for (unsigned time = 0; time < 2; ++time) {
    const LoneWalk walk(
        walker, {&walks.world.regime, u64{1} << 37, AccessKind::Read, true, false, nullptr});
    walks.world.wheel.run();
    EXPECT_FALSE(walk->fault());
    record = walk->record();
  }
  EXPECT_EQ(walks.reads(record), 3u);
  EXPECT_EQ(record.end - record.begin, GetParam().second);
}

INSTANTIATE_TEST_SUITE_P(Sv39AndSv48, RocketLevels,
                         testing::Values(std::pair{3u, Cycle{18}}, std::pair{4u, Cycle{21}}));

// Kunminghu --------------------------------------------------------------------------------------

// XiangShan's Design-Doc, MMU/L2TLB/PageCache: l3 has 16 entries of Sv48's root; each maps 512G.
TEST(Kunminghu, WalkCachesHaveSixteenEntriesOfTheRootOfSv48) {
  const MachineShape kunminghu = load_preset(NESTWALK_PRESETS "/kunminghu.json").shape;
  const WalkerShape& walker = kunminghu.mmu.walker;
  for (const CacheShape* cache : {&walker.guest_walk_cache, &walker.nested_walk_cache}) {
    unsigned entries = 0;
    for (const ArrayShape& array : cache->arrays) {
      for (const u8 shift : array.shifts) entries += shift == 39 ? array.sets * array.ways : 0;
    }
    EXPECT_EQ(entries, 16u);
  }
}

}  // namespace
}  // namespace nestwalk::models::walk_cache_test
