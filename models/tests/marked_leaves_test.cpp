// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Leaves that say themselves that they and their neighbours are one translation: RISC-V's NAPOT
// pages (privileged spec, "Svnapot"), Arm's contiguous bit (Arm ARM D8, "The Contiguous bit").

#include <gtest/gtest.h>

#include "fence_names.hpp"
#include "nested_world.hpp"
#include "nestwalk/models/fences/fence_unit.hpp"

namespace nestwalk::models::marked_leaves_test {
namespace {

using namespace addrspace;

constexpr u8 k64K = 16;
constexpr u64 kPage = 4096, kVirtual = u64{1} << 37, kData = 4 * kGiB;

CacheShape fully(u32 ways, std::vector<u8> shifts) {
  return {{{1, ways, std::move(shifts), ReplacementKind::Lru}}, 1};
}

/// 16 or 32 pages of 4K from kVirtual to kData, which the second stage maps to itself.
template <class G, class N>
class Marked : public testing::Test, public Actor {
 protected:
  Marked(const Geometry& guest, const Geometry& nested) : world(guest, nested, {}, true) {}
  void on_cycle(u32) override {}

  void map(u64 pages = 16) {
    for (u64 n = 0; n < pages; ++n) world.map_guest(kVirtual + n * kPage, kData + n * kPage, 0);
    for (u64 n = 0; n < pages; ++n) world.map_nested(kData + n * kPage, 0);
    world.map_tables(0);
  }
  void mark_guest(u64 page = 0) { world.mark(world.guest, kVirtual + page * kPage, 0); }
  void mark_nested(u64 page = 0) { world.mark(world.nested, kData + page * kPage, 0); }
  void begin(const CacheShape& tlb, const WalkerShape& walker = {}) {
    mmu.emplace(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
                MmuShape{{}, tlb, {}, walker});
    mmu->set_regime(world.regime);
  }
  /// True if a TLB had it.
  bool access(u64 page, AccessKind kind = AccessKind::Read) {
    Mmu::Outcome outcome;
    const u64 before = mmu->counts().walks();
    if (!mmu->translate({kVirtual + page * kPage + 8, kind, true}, *this, 0, outcome)) {
      world.wheel.run();
    }
    EXPECT_EQ(outcome.fault.kind, FaultKind::None);
    EXPECT_EQ(outcome.guest_physical, kData + page * kPage + 8);
    EXPECT_EQ(outcome.host, kData + page * kPage + 8);
    return mmu->counts().walks() == before;
  }
  u64 walks(u64 pages, u64 first = 0) {
    const u64 before = mmu->counts().walks();
    for (u64 n = 0; n < pages; ++n) access(first + n);
    return mmu->counts().walks() - before;
  }
  u64 fence(FenceOp op, u64 address) {
    FenceRequest request;
    request.op = op;
    request.vmid = 1;
    request.address = address;
    return apply_fence(request, *mmu, world.tags);
  }
  u64 guest_entry(u64 page) {
    return world.memory.load(Hpa(world.slot(world.guest, kVirtual + page * kPage, 0)));
  }

  NestedWorld<G, N> world;
  std::optional<Mmu> mmu;
};

class Napot : public Marked<Sv, GStage> {
 protected:
  Napot() : Marked(*Sv::geometry(3), *GStage::geometry(3)) {}
};

// Three levels of the guest's, whose addresses take three reads each, and three for the data:
// 3 * (3 + 1) + 3 = 15 reads of 100 cycles, after one cycle in the TLB. Then it has all 16 pages.
TEST_F(Napot, OneFillAndFifteenHits) {
  map();
  mark_guest();
  mark_nested();
  begin(fully(1, {12, k64K}));
  EXPECT_FALSE(access(5));
  EXPECT_EQ(world.wheel.now(), 1u + 15 * 100);
  for (u64 n = 0; n < 16; ++n) EXPECT_TRUE(access(n)) << n;
  EXPECT_EQ(mmu->counts().walks(), 1u);
}
TEST_F(Napot, TheSmallerOfBothStagesCounts) {
  map(32);
  mark_guest();
  world.walk(kVirtual + 3 * kPage);
  EXPECT_EQ(world.translation.shift(), 12);
  mark_nested();
  world.walk(kVirtual + 3 * kPage + 8);
  EXPECT_EQ(world.translation.shift(), k64K);
  EXPECT_EQ(world.translation.host, kData);
  EXPECT_EQ(world.translation.guest_physical, kData);
  EXPECT_EQ(world.translation.guest_shift, 12);  // of one leaf
  EXPECT_EQ(world.translation.nested_shift, 12);
  mark_nested(16);
  world.walk(kVirtual + 20 * kPage);  // marked in the second stage alone
  EXPECT_EQ(world.translation.shift(), 12);
}
TEST_F(Napot, ALargePageOfTheOtherStageIsAsGood) {
  for (u64 n = 0; n < 16; ++n) world.map_guest(kVirtual + n * kPage, kData + n * kPage, 0);
  world.map_nested(kData, 1);
  const u64 far = kVirtual + kGiB;
  world.map_guest(far, kData + 2 * kMiB, 1);
  for (u64 n = 0; n < 16; ++n) world.map_nested(kData + 2 * kMiB + n * kPage, 0);
  world.map_tables(0);
  mark_guest();
  world.mark(world.nested, kData + 2 * kMiB, 0);
  world.walk(kVirtual + 7 * kPage);
  EXPECT_EQ(world.translation.shift(), k64K);
  world.walk(far + 7 * kPage + 8);
  EXPECT_EQ(world.translation.shift(), k64K);
  EXPECT_EQ(world.translation.host, kData + 2 * kMiB);
}
TEST_F(Napot, IsHeldPageByPageWhereNoArrayHasTheSize) {
  map();
  mark_guest();
  mark_nested();
  begin(fully(16, {12}));
  EXPECT_EQ(walks(16), 16u);
  EXPECT_EQ(walks(16), 0u);
  EXPECT_EQ(fence(hext::kVvmaAddress.at_once, kVirtual + 3 * kPage), 1u);
  EXPECT_EQ(walks(16), 1u);
}
TEST_F(Napot, AFenceOfOnePageRemovesTheEntry) {
  map(32);
  for (const u64 page : {u64{0}, u64{16}}) mark_guest(page), mark_nested(page);
  begin(fully(4, {12, k64K}));
  EXPECT_EQ(walks(32), 2u);
  EXPECT_EQ(fence(hext::kVvmaAddress.at_once, kVirtual + 9 * kPage), 1u);
  EXPECT_EQ(walks(16, 16), 0u);
  EXPECT_EQ(walks(16), 1u);
  EXPECT_EQ(fence(hext::kGvmaAddressVmid.at_once, kData + 25 * kPage), 1u);
  EXPECT_EQ(walks(16), 0u);
  EXPECT_EQ(walks(16, 16), 1u);
}
// Pages that are apart for the guest: the nested TLB has the second stage's for all 16.
TEST_F(Napot, ANestedTlbHoldsTheSecondStages) {
  map();
  mark_nested();
  begin(fully(16, {12}), {1, {}, {}, fully(16, {12, k64K})});
  EXPECT_EQ(walks(16), 16u);
  u64 of_data = 0;
  mmu->walker().nested_tlb().for_each([&](const EntryKey& where, const CachedNested& entry) {
    if (where.address < kData) return;
    ++of_data;
    EXPECT_EQ(where.shift, k64K);
    EXPECT_EQ(entry.host, kData);
  });
  EXPECT_EQ(of_data, 1u);
}
// The hardware sets the flag in the page's own entry, and the translation is dirty as a whole:
// software looks into all entries.
TEST_F(Napot, AWriteSetsOneDirtyFlag) {
  map();
  mark_guest();
  mark_nested();
  for (u64 n = 0; n < 16; ++n) {
    const Hpa at(world.slot(world.guest, kVirtual + n * kPage, 0));
    world.memory.store(at, world.memory.load(at) & ~Sv::kD);
  }
  begin(fully(4, {12, k64K}));
  EXPECT_EQ(walks(16), 1u);
  EXPECT_FALSE(access(5, AccessKind::Write));
  EXPECT_TRUE(access(6, AccessKind::Write));
  for (u64 n = 0; n < 16; ++n) EXPECT_EQ(Sv::is_dirty(guest_entry(n)), n == 5) << n;
}
// Of 16 encodings one is not reserved; at other levels all are; and without Svnapot.
TEST_F(Napot, ReservedEncodingsFault) {
  map();
  const Hpa at(world.slot(world.guest, kVirtual, 0));
  const u64 plain = world.memory.load(at) & ~(u64{15} << 10);
  for (u64 code = 0; code < 16; ++code) {
    world.memory.store(at, plain | code << 10 | u64{1} << 63);
    world.walk(kVirtual);
    EXPECT_EQ(world.fault.kind, code == 8 ? FaultKind::None : FaultKind::Malformed) << code;
  }
  Capabilities machine = world.machine;
  const u64 napot = plain | u64{8} << 10 | u64{1} << 63;
  EXPECT_EQ(EntryFormatOf<Sv>(machine).decode(napot, 0, 0).kind, EntryKind::Leaf);
  EXPECT_EQ(EntryFormatOf<Sv>(machine).decode(napot, 1, 0).kind, EntryKind::Malformed);
  machine.napot_pages = false;
  EXPECT_EQ(EntryFormatOf<Sv>(machine).decode(napot, 0, 0).kind, EntryKind::Malformed);
}

class Contiguous : public Marked<Stage1<Granule::k4K>, Stage2<Granule::k4K>> {
 protected:
  Contiguous() : Marked(*Stage1<Granule::k4K>::geometry(48), *Stage2<Granule::k4K>::geometry(48)) {}
};

TEST_F(Contiguous, OneFillAndFifteenHits) {
  map();
  mark_guest();
  mark_nested();
  begin(fully(1, {12, k64K}));
  EXPECT_FALSE(access(5));
  EXPECT_EQ(world.wheel.now(), 1u + (4 * (4 + 1) + 4) * 100);
  for (u64 n = 0; n < 16; ++n) EXPECT_TRUE(access(n)) << n;
  EXPECT_EQ(fence(stage2::kVaae1.local, kVirtual + 9 * kPage), 1u);
  EXPECT_EQ(walks(16), 1u);
}
// 16 blocks of 2 MiB: 32 MiB, which is held whole or in the blocks' own size.
TEST_F(Contiguous, BlocksMakeThirtyTwoMegabytes) {
  constexpr u64 kBlock = 2 * kMiB;
  for (u64 n = 0; n < 16; ++n) {
    world.map_guest(kVirtual + n * kBlock, kData + n * kBlock, 1);
    world.map_nested(kData + n * kBlock, 1);
  }
  world.map_tables(0);
  world.mark(world.guest, kVirtual, 1);
  world.mark(world.nested, kData, 1);
  for (const u8 size : {u8{25}, u8{21}}) {
    begin(fully(16, {12, size}));
    EXPECT_EQ(walks(1), 1u);
    EXPECT_EQ(access(9 * kBlock / kPage), size == 25);
  }
}
// Its output is not aligned as it is: the hint is wrong, and changes nothing.
TEST_F(Contiguous, AHintThatIsWrongIsIgnored) {
  for (u64 n = 0; n < 16; ++n) world.map_guest(kVirtual + n * kPage, kData + (n + 1) * kPage, 0);
  world.map_nested(kData, 1);
  world.map_tables(0);
  mark_guest();
  world.walk(kVirtual + 3 * kPage);
  EXPECT_EQ(world.translation.shift(), 12);
  EXPECT_EQ(world.translation.host, kData + 4 * kPage);
}

}  // namespace
}  // namespace nestwalk::models::marked_leaves_test
