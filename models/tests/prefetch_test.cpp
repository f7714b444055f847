// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// TLB prefetches: what is asked for and when, to the cycle; which flags they set; and that fences
// reach them. Tables of 4 levels over 4-level EPT, where every read of an entry takes 100 cycles.

#include <gtest/gtest.h>

#include <optional>

#include "nested_world.hpp"
#include "nestwalk/models/fences/fence_unit.hpp"
#include "nestwalk/models/translation/mmu.hpp"

namespace nestwalk::models::prefetch_test {
namespace {

using namespace addrspace;

constexpr Cycle kEntry = 100, kGuestCache = 3, kNestedCache = 5, kNestedTlb = 7;
constexpr Cycle kTlbs = 2 + 20;
constexpr u64 kVirtual = u64{1} << 40, kData = 4 * kGiB;

// The guest's tables are in one 2M of guest-physical addresses, and the data in another 1G of the
// same 512G: see walk_timeline_test.cpp.
constexpr Cycle kCold = kGuestCache + (kNestedTlb + kNestedCache + 4 * kEntry + kEntry) +
                        3 * (kNestedTlb + kNestedCache + kEntry + kEntry) +
                        (kNestedTlb + kNestedCache + 3 * kEntry);
// A page beside one that was walked before: the guest walk cache knows its table, the nested walk
// cache that of its data.
constexpr Cycle kNeighbour = kGuestCache + kEntry + (kNestedTlb + kNestedCache + kEntry);

CacheShape fully(std::vector<u8> shifts, Cycle latency) {
  return {{{1, 64, std::move(shifts), ReplacementKind::Lru}}, static_cast<u32>(latency)};
}
MmuShape shape_of(TlbPrefetcherKind policy, u32 degree = 1, u32 slots = 1) {
  return {{},
          fully({12, 21}, 2),
          fully({12, 21}, 20),
          {slots, fully({21, 30, 39}, kGuestCache), fully({21, 30, 39}, kNestedCache),
           fully({12}, kNestedTlb)},
          {policy, degree, 16, 16}};
}
TlbPrefetcherKind kind(const char* name) { return TlbPrefetcherKind::called(name); }

struct Access : Actor {
  void on_cycle(u32) override { at = wheel->now(); }
  bool is_over() const { return at != kNever; }
  const Wheel* wheel = nullptr;
  Mmu::Outcome outcome;
  Cycle at = kNever;
};

template <class G, class N>
class Prefetching {
 public:
  Prefetching(const Geometry& guest, const Geometry& nested, const MmuShape& shape,
              bool hardware_dirty = false)
      : world(guest, nested, {}, hardware_dirty),
        mmu(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}), shape) {
    mmu.set_regime(world.regime);
  }

  /// As if the guest had run before: the accessed flags of the tables are set.
  void map(u64 first, u64 pages, bool accessed = true) {
    for (u64 page = first; page < first + pages; ++page) {
      world.map_guest(at(page), kData + page * kFrameBytes, 0);
      world.map_nested(kData + page * kFrameBytes, 0);
    }
    world.map_tables(0);
    if (accessed) world.walk(at(first));
  }
  static u64 at(u64 page) { return kVirtual + page * kFrameBytes; }

  void begin(Access& access, u64 page, AccessKind kind = AccessKind::Read) {
    access.wheel = &world.wheel;
    world.wheel.run_until(world.wheel.now());  // nothing is granted beyond
    if (mmu.translate({at(page), kind, true}, access, 0, access.outcome)) access.on_cycle(0);
  }
  /// Up to the end of the access: how long that took. Prefetches are still under way then.
  Cycle access(u64 page, AccessKind kind = AccessKind::Read) {
    Wheel& wheel = world.wheel;
    const Cycle start = wheel.now();
    Access access;
    begin(access, page, kind);
    while (!access.is_over()) wheel.run_until(wheel.next());
    EXPECT_FALSE(access.outcome.fault);
    EXPECT_EQ(access.outcome.host, kData + page * kFrameBytes);
    return access.at - start;
  }
  /// What is under way ends.
  void settle() { world.wheel.run(); }
  void fence(FenceOp op) {
    apply_fence({op, world.regime.nested.root, world.regime.vmid, world.regime.asid}, mmu,
                world.tags);
  }

  /// Entries on the way to a page's data, found without setting a flag.
  Hpa entry(u64 page, u8 guest_level, u8 nested_level) {
    Walker walker(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}), {});
    const LoneWalk walk(walker, {&world.regime, at(page), AccessKind::Read, true, true, nullptr});
    settle();
    for (u32 n = 0; n < walk->record().count; ++n) {
      const WalkReference& each = walk->record().references[n];
      if (each.guest_level == guest_level && each.nested_level == nested_level) {
        return Hpa(each.address);
      }
    }
    ADD_FAILURE() << "no such entry";
    return Hpa(0);
  }
  static constexpr u8 kNone = WalkReference::kNoLevel;
  Hpa leaf(u64 page) { return entry(page, 0, kNone); }
  Hpa nested_leaf(u64 page) { return entry(page, kNone, 0); }
  bool is_buffer_empty() {
    bool empty = true;
    mmu.prefetch_buffer().for_each([&](const auto&, const auto&) { empty = false; });
    return empty;
  }
  bool is_set(Hpa entry, u64 flag) { return (world.memory.load(entry) & flag) != 0; }
  void clear(Hpa entry, u64 flag) { world.memory.store(entry, world.memory.load(entry) & ~flag); }
  void expect_counts(u64 asked, u64 filled, u64 used, u64 dropped) {
    const PrefetchCounts counts = mmu.prefetch_counts();
    EXPECT_EQ(counts.asked, asked);
    EXPECT_EQ(counts.filled, filled);
    EXPECT_EQ(counts.used, used);
    EXPECT_EQ(counts.dropped, dropped);
  }

  NestedWorld<G, N> world;
  Mmu mmu;
};

class X86 : public Prefetching<LongMode, Ept> {
 public:
  explicit X86(const MmuShape& shape, bool hardware_dirty = false)
      : Prefetching(*LongMode::geometry(4), *Ept::geometry(4), shape, hardware_dirty) {}
};

TEST(NextPage, ASequentialRunMissesOnce) {
  constexpr u64 kPages = 8;
  X86 without(shape_of(kind("none"))), with(shape_of(kind("next_page")));
  for (X86* const run : {&without, &with}) {
    run->map(0, kPages);
    EXPECT_EQ(run->access(0), kTlbs + kCold);
    run->settle();
    for (u64 page = 1; page < kPages; ++page) {
      // From the prefetch buffer, in the time of the second TLB.
      EXPECT_EQ(run->access(page), kTlbs + (run == &with ? 0 : kNeighbour));
      run->settle();
    }
  }
  EXPECT_EQ(without.mmu.counts().walks(), kPages);
  without.expect_counts(0, 0, 0, 0);
  EXPECT_EQ(with.mmu.counts().walks(), 1u);
  // After each page the next one; after the last one is none.
  with.expect_counts(kPages, kPages - 1, kPages - 1, 1);
  EXPECT_EQ(with.mmu.counts().faults, 0u);
}

// What moved from the buffer is in both TLBs.
TEST(NextPage, AUsedPrefetchIsATlbEntry) {
  X86 run(shape_of(kind("next_page")));
  run.map(0, 2);
  run.access(0);
  run.settle();
  EXPECT_EQ(run.access(1), kTlbs);
  EXPECT_EQ(run.access(1), 2u);
  run.mmu.data_tlb().drop_if([](const auto&, const auto&) { return true; });
  EXPECT_EQ(run.access(1), kTlbs);
  EXPECT_EQ(run.mmu.counts().second_hits(), 1u);
  EXPECT_EQ(run.mmu.prefetch_counts().used, 1u);
}

// The prefetch begins when the walk ends. The next access begins then, too, looks into the TLBs,
// waits for the rest of that walk and looks again.
TEST(NextPage, AMissWaitsForAPrefetchUnderWay) {
  X86 run(shape_of(kind("next_page")));
  run.map(0, 2);
  run.access(0);
  EXPECT_EQ(run.access(1), kNeighbour + kTlbs);
  EXPECT_EQ(run.mmu.counts().merged, 1u);
  EXPECT_EQ(run.mmu.counts().walks(), 1u);
  EXPECT_EQ(run.mmu.prefetch_counts().used, 1u);
}

// Two misses in one cycle, one walker: the prefetch after the first waits for the second walk. A
// miss of its page comes first, and walks itself.
TEST(NextPage, DemandWalksComeFirst) {
  X86 run(shape_of(kind("next_page")));
  run.map(0, 8);
  Access first, second;
  const Cycle start = run.world.wheel.now();
  run.begin(first, 0);
  run.begin(second, 4);
  run.world.wheel.run_until(start + kTlbs + kCold);
  EXPECT_TRUE(first.is_over());
  run.expect_counts(1, 0, 0, 0);
  Access third;
  run.begin(third, 1);
  run.settle();
  EXPECT_EQ(second.at - start, kTlbs + kCold + kNeighbour);
  EXPECT_EQ(third.at - start, kTlbs + kCold + 2 * kNeighbour);
  // Pages 1 (dropped), 5 and 2.
  run.expect_counts(3, 2, 0, 1);
  EXPECT_EQ(run.mmu.counts().walks(), 3u);
}

TEST(NextPage, AWalkerWithTwoSlotsPrefetchesTwoPagesAtATime) {
  X86 run(shape_of(kind("next_page"), 2, 2));
  run.map(0, 3);
  run.access(0);
  const Cycle start = run.world.wheel.now();
  run.settle();
  // In step, but for lines that are in one bank of the memory.
  EXPECT_LT(run.world.wheel.now() - start, 2 * kNeighbour);
  run.expect_counts(2, 2, 0, 0);
}

TEST(Prefetches, OntoAnUnmappedPageDoNothing) {
  X86 run(shape_of(kind("next_page")));
  run.map(0, 1);
  run.access(0);
  run.settle();
  run.expect_counts(1, 0, 0, 1);
  EXPECT_EQ(run.mmu.counts().faults, 0u);
  EXPECT_TRUE(run.is_buffer_empty());
  // The access has a fault of its own.
  Access next;
  run.begin(next, 1);
  run.settle();
  EXPECT_EQ(next.outcome.fault.kind, FaultKind::NotPresent);
  EXPECT_EQ(run.mmu.counts().faults, 1u);
}

TEST(Prefetches, AreNotUsedAfterAFence) {
  for (const FenceOp op : {FenceOp(vmx::kInvvpidSingle), FenceOp(vmx::kInveptSingle)}) {
    X86 run(shape_of(kind("next_page")));
    run.map(0, 2);
    run.access(0);
    run.settle();
    run.expect_counts(1, 1, 0, 0);
    run.fence(op);
    run.access(1);
    EXPECT_EQ(run.mmu.counts().walks(), 2u);
    EXPECT_EQ(run.mmu.prefetch_counts().used, 0u);
  }
}

// The fence comes while the prefetch waits for its first entry. That read ends, and the walker is
// free for the next miss.
TEST(Prefetches, UnderWayEndWithAFence) {
  X86 run(shape_of(kind("next_page")));
  run.map(0, 2);
  run.access(0);
  Wheel& wheel = run.world.wheel;
  const Cycle start = wheel.now();
  wheel.run_until(start + 50);
  run.fence(vmx::kInvvpidSingle);
  EXPECT_EQ(run.mmu.prefetch_counts().dropped, 0u);
  wheel.run_until(start + kGuestCache + kEntry);
  run.expect_counts(1, 0, 0, 1);
  run.settle();
  EXPECT_EQ(wheel.now(), start + kGuestCache + kEntry);
  run.access(1);
  EXPECT_EQ(run.mmu.counts().walks(), 2u);
}

// One walker, and two prefetches: the second waits for the first. What waits when the fence comes
// is not begun.
TEST(Prefetches, ThatWaitEndWithAFence) {
  for (const FenceOp op : {FenceOp(vmx::kInvvpidSingle), FenceOp(vmx::kInveptSingle)}) {
    X86 run(shape_of(kind("next_page"), 2));
    run.map(0, 3);
    run.access(0);
    Wheel& wheel = run.world.wheel;
    const Cycle start = wheel.now();
    wheel.run_until(start + 50);
    run.fence(op);
    run.settle();
    // The read of an entry that was under way, and nothing after it.
    EXPECT_EQ(wheel.now(), start + kGuestCache + kEntry);
    run.expect_counts(2, 0, 0, 2);
    EXPECT_TRUE(run.is_buffer_empty());
  }
}

// Page 0 was read: one prefetch is under way, and one waits for it.
template <class Run>
void begin_two_prefetches(Run& run) {
  run.map(0, 3);
  run.access(0);
  run.expect_counts(2, 0, 0, 0);
}

// Other tables, or another ASID or VMID. Fences that came before the switch reach nothing any more,
// so what is filled later on would be from the old tables, under ids that may be somebody else's.
template <class G, class N>
void expect_none_after_a_switch(const Geometry& guest, const Geometry& nested) {
  for (const auto change : std::initializer_list<void (*)(Regime&)>{
           [](Regime& regime) { regime.guest.root += kFrameBytes; },
           [](Regime& regime) { regime.nested.root += regime.nested.geometry.root_bytes(); },
           [](Regime& regime) { ++regime.asid; }, [](Regime& regime) { ++regime.vmid; }}) {
    Prefetching<G, N> run(guest, nested, shape_of(kind("next_page"), 2), true);
    begin_two_prefetches(run);
    Regime next = run.world.regime;
    change(next);
    run.mmu.set_regime(next.tagged(run.world.tags));
    run.settle();
    run.expect_counts(2, 0, 0, 2);
    EXPECT_TRUE(run.is_buffer_empty());
  }
}
TEST(Prefetches, EndWithASwitch) {
  expect_none_after_a_switch<LongMode, Ept>(*LongMode::geometry(4), *Ept::geometry(4));
  using S1 = Stage1<Granule::k4K>;
  using S2 = Stage2<Granule::k4K>;
  expect_none_after_a_switch<S1, S2>(*S1::geometry(48), *S2::geometry(48));
  expect_none_after_a_switch<Sv, GStage>(*Sv::geometry(4), *GStage::geometry(4));
}

// SMAP, say: the tables and ids are the same.
TEST(Prefetches, GoOnIfOnlyRightsChange) {
  X86 run(shape_of(kind("next_page"), 2));
  begin_two_prefetches(run);
  Regime next = run.world.regime;
  next.privilege.kernel_touches_user = !next.privilege.kernel_touches_user;
  run.mmu.set_regime(next.tagged(run.world.tags));
  run.settle();
  run.expect_counts(2, 2, 0, 0);
}

// The walk goes on with the tables that it began with; nothing is prefetched from these.
TEST(Prefetches, AreNotAskedForByAMissThatASwitchLeftBehind) {
  X86 run(shape_of(kind("next_page")));
  run.map(0, 2);
  Access first;
  run.begin(first, 0);
  run.world.wheel.run_until(run.world.wheel.now() + kTlbs + 1);
  Regime next = run.world.regime;
  ++next.asid;
  run.mmu.set_regime(next.tagged(run.world.tags));
  run.settle();
  EXPECT_EQ(first.outcome.host, kData);
  run.expect_counts(0, 0, 0, 0);
}

// Whoever waited for it walks.
TEST(Prefetches, ThatAFenceEndsLeaveTheirMissesToWalk) {
  X86 run(shape_of(kind("next_page")));
  run.map(0, 2);
  run.access(0);
  Access next;
  run.begin(next, 1);
  run.world.wheel.run_until(run.world.wheel.now() + 50);
  run.fence(vmx::kInvvpidSingle);
  run.settle();
  EXPECT_EQ(next.outcome.host, kData + kFrameBytes);
  EXPECT_EQ(run.mmu.counts().walks(), 2u);
  EXPECT_EQ(run.mmu.counts().merged, 1u);
}

// x86: no translation is cached while an accessed flag on its way is clear.
TEST(Prefetches, SetAccessedFlagsAndNoDirtyFlags) {
  X86 run(shape_of(kind("next_page")));
  run.map(0, 2);
  const Hpa leaf = run.leaf(1);
  run.clear(leaf, LongMode::kAccessed | LongMode::kDirty);
  run.access(0, AccessKind::Write);
  run.settle();
  run.expect_counts(1, 1, 0, 0);
  EXPECT_TRUE(run.is_set(leaf, LongMode::kAccessed));
  EXPECT_FALSE(run.is_set(leaf, LongMode::kDirty));
  // A write needs the dirty flag: it walks.
  run.access(1, AccessKind::Write);
  EXPECT_TRUE(run.is_set(leaf, LongMode::kDirty));
  EXPECT_EQ(run.mmu.counts().walks(), 2u);
  EXPECT_EQ(run.mmu.prefetch_counts().used, 0u);
}

TEST(Prefetches, SetAccessedFlagsOfEptAndNoDirtyFlags) {
  X86 run(shape_of(kind("next_page")), true);
  run.map(0, 2);
  const Hpa leaf = run.nested_leaf(1);
  run.clear(leaf, Ept::kAccessed | Ept::kDirty);
  run.access(0, AccessKind::Write);
  run.settle();
  run.expect_counts(1, 1, 0, 0);
  EXPECT_TRUE(run.is_set(leaf, Ept::kAccessed));
  EXPECT_FALSE(run.is_set(leaf, Ept::kDirty));
}

// With A/D flags of EPT, reads of guest tables are writes. Page 512 has another table than page
// 511: to read that would set a dirty flag.
TEST(Prefetches, StopWhereATableWouldBecomeDirty) {
  X86 run(shape_of(kind("next_page")), true);
  run.map(511, 2);
  const Hpa of_table = run.entry(512, 0, 0);
  run.clear(of_table, Ept::kDirty);
  run.access(511);
  run.settle();
  run.expect_counts(1, 0, 0, 1);
  EXPECT_FALSE(run.is_set(of_table, Ept::kDirty));
  run.access(512);
  EXPECT_TRUE(run.is_set(of_table, Ept::kDirty));
}

// Without FEAT_HAFDBS software sets AF, at a fault that a prefetch does not have.
TEST(Prefetches, SetTheAccessFlagOfArmWhereHardwareManagesIt) {
  using S1 = Stage1<Granule::k4K>;
  using S2 = Stage2<Granule::k4K>;
  for (const bool hafdbs : {false, true}) {
    Prefetching<S1, S2> run(*S1::geometry(48), *S2::geometry(48), shape_of(kind("next_page")),
                            hafdbs);
    run.map(0, 2);
    const Hpa leaf = run.leaf(1);
    run.clear(leaf, S1::kAccessed);
    run.access(0);
    run.settle();
    run.expect_counts(1, u64{hafdbs}, 0, u64{!hafdbs});
    EXPECT_EQ(run.is_set(leaf, S1::kAccessed), hafdbs);
    EXPECT_EQ(run.mmu.counts().faults, 0u);
  }
}

TEST(Prefetches, OfLargePagesGoOnAfterThem) {
  X86 run(shape_of(kind("next_page")));
  constexpr u64 kLarge = u64{1} << 21;
  for (u64 n = 0; n < 2; ++n) {
    run.world.map_guest(kVirtual + n * kLarge, kData + n * kLarge, 1);
    run.world.map_nested(kData + n * kLarge, 1);
  }
  run.world.map_tables(0);
  run.access(3);
  run.settle();
  run.expect_counts(1, 1, 0, 0);
  run.access(512 + 7);
  EXPECT_EQ(run.mmu.counts().walks(), 1u);
  EXPECT_EQ(run.mmu.prefetch_counts().used, 1u);
}

TEST(Distance, AStrideIsKnownAfterItsSecondTime) {
  X86 run(shape_of(kind("distance")));
  run.map(0, 9);
  // Misses 0, 2 and 4: the distance 2 came after the distance 2. So 6 is next; then 8, then 10,
  // which is not mapped.
  for (const u64 page : {0u, 2u, 4u, 6u, 8u}) {
    run.access(page);
    run.settle();
  }
  EXPECT_EQ(run.mmu.counts().walks(), 3u);
  run.expect_counts(3, 2, 2, 1);
}

TEST(Distance, DistancesThatTakeTurnsAreKnownAfterOneRound) {
  X86 run(shape_of(kind("distance")));
  run.map(0, 16);
  // 1 and 3 in turn. At 4, 3 came after 1; at 5, 1 after 3, and 3 is expected: 8. Then 9 and 12.
  for (const u64 page : {0u, 1u, 4u, 5u, 8u, 9u}) {
    run.access(page);
    run.settle();
  }
  EXPECT_EQ(run.mmu.counts().walks(), 4u);
  run.expect_counts(3, 3, 2, 0);
}

TEST(Distance, TwoSuccessorsAreBothAskedFor) {
  X86 run(shape_of(kind("distance"), 2));
  run.map(0, 32);
  // Distances 1 2 1 4 1: after 1 came 2, then 4. At page 9 both: 13 and 11.
  for (const u64 page : {0u, 1u, 3u, 4u, 8u}) {
    run.access(page);
    run.settle();
  }
  const u64 before = run.mmu.prefetch_counts().asked;
  run.access(9);
  run.settle();
  EXPECT_EQ(run.mmu.prefetch_counts().asked - before, 2u);
  const u64 walks = run.mmu.counts().walks();
  run.access(13);
  run.access(11);
  EXPECT_EQ(run.mmu.counts().walks(), walks);
}

// A prefetcher that asks for nothing, and remembers what it is told.
std::vector<TlbLookup> told;
class Listener final : public TlbPrefetcher {
 public:
  void look(const TlbLookup& lookup, std::vector<u64>&) override { told.push_back(lookup); }
};
std::unique_ptr<TlbPrefetcher> listener(const TlbPrefetchShape&) {
  return std::make_unique<Listener>();
}
constexpr TlbPrefetcherKind::Row kOfMisses{"misses", TlbPrefetcherKind::Wants::Misses, listener};
constexpr TlbPrefetcherKind::Row kOfHits{"hits", TlbPrefetcherKind::Wants::HitsToo, listener};

TEST(TlbPrefetchers, AreToldOfHitsIfTheyWantThem) {
  for (const auto* const row : {&kOfMisses, &kOfHits}) {
    told.clear();
    X86 run(shape_of(TlbPrefetcherKind(*row)));
    run.map(0, 1);
    EXPECT_EQ(run.mmu.wants_hits(), row == &kOfHits);
    run.access(0);
    run.access(0);
    run.mmu.data_tlb().drop_if([](const auto&, const auto&) { return true; });
    run.access(0);
    using Found = TlbLookup::Found;
    std::vector<Found> expected = {Found::ByWalk};
    if (row == &kOfHits) expected.insert(expected.end(), {Found::FirstLevel, Found::SecondLevel});
    ASSERT_EQ(told.size(), expected.size());
    for (std::size_t n = 0; n < told.size(); ++n) {
      EXPECT_EQ(told[n].found, expected[n]);
      EXPECT_EQ(told[n].page, kVirtual);
      EXPECT_EQ(told[n].shift, 12);
    }
  }
}

}  // namespace
}  // namespace nestwalk::models::prefetch_test
