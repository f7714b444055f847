// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Entries for several neighbouring pages. "If a 16-Kbyte aligned block of four consecutive 4-Kbyte
// pages are also consecutive and 16-Kbyte aligned in physical address space and have identical page
// attributes, the processor may opportunistically store them in a single TLB entry" (AMD Software
// Optimization Guide for Family 19h). And walk caches that have entries in the second-level TLB.

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

#include "fence_names.hpp"
#include "nested_world.hpp"
#include "nestwalk/models/fences/fence_unit.hpp"

namespace nestwalk::models::coalescing_test {
namespace {

using namespace addrspace;

constexpr u8 k16K = 14, k32K = 15;
CacheShape fully(u32 ways, std::vector<u8> shifts, std::vector<u8> coalesced = {}) {
  return {{{1, ways, std::move(shifts), ReplacementKind::Lru, std::move(coalesced)}}, 1};
}

class Coalescing : public testing::Test, public Actor {
 protected:
  static constexpr u64 kVirtual = u64{1} << 40, kData = 4 * kGiB, kPage = 4096;
  static constexpr u64 kAccessed = 32, kDirty = 64;

  Coalescing() : world(*LongMode::geometry(4), *Npt::geometry(4)) {}
  void on_cycle(u32) override {}

  void map(u64 page, u64 to, Access access = kRwx | kUser) {
    world.map_guest(kVirtual + page * kPage, kData + to * kPage, 0, access);
  }
  void map(u64 pages) {
    for (u64 page = 0; page < pages; ++page) map(page, page);
  }
  // One TLB, and no other cache; the second stage has leaves of 2M or of 4K.
  void begin(const CacheShape& tlb, unsigned nested_level = 1, const WalkerShape& walker = {}) {
    for (u64 page = 0; page < 64; ++page) world.map_nested(kData + page * kPage, nested_level);
    world.map_tables(0);
    mmu.emplace(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
                MmuShape{{}, tlb, {}, walker});
    mmu->keep_walks(true);
    mmu->set_regime(world.regime);
  }
  FaultKind access(u64 page, AccessKind kind = AccessKind::Read) {
    Mmu::Outcome outcome;
    if (!mmu->translate({kVirtual + page * kPage + 8, kind, true}, *this, 0, outcome)) {
      world.wheel.run();
    }
    if (!outcome.fault) {
      EXPECT_EQ(outcome.guest_physical, where(page) + 8);
      EXPECT_EQ(outcome.host, where(page) + 8);  // the test's second stage maps each to itself
    }
    return outcome.fault.kind;
  }
  u64 where(u64 page) { return world.guest.query(Gva(kVirtual + page * kPage))->address.value(); }
  u64 walks_of(std::vector<u64> pages) {
    const u64 before = mmu->counts().walks();
    for (const u64 page : pages) EXPECT_EQ(access(page), FaultKind::None);
    return mmu->counts().walks() - before;
  }
  static std::vector<u64> all(u64 pages) {
    std::vector<u64> list(pages);
    for (u64 page = 0; page < pages; ++page) list[page] = page;
    return list;
  }
  // The guest's entry of a page.
  Hpa leaf(u64 page) {
    world.walk(kVirtual + page * kPage);
    for (u32 n = 0; n < world.record.count; ++n) {
      const WalkReference& each = world.record.references[n];
      if (each.guest_level == 0 && each.nested_level == WalkReference::kNoLevel) {
        return Hpa(each.address);
      }
    }
    return Hpa(0);
  }
  void flip(u64 page, u64 bit) {
    const Hpa at = leaf(page);
    world.memory.store(at, world.memory.load(at) ^ bit);
  }
  u64 held(TranslationCache<Translation>& tlb, u8 shift) {
    u64 count = 0;
    tlb.for_each([&](const EntryKey& where, const Translation&) { count += where.shift == shift; });
    return count;
  }

  NestedWorld<LongMode, Npt> world;
  std::optional<Mmu> mmu;
};

// Four entries reach 16 pages: one walk for each four, none in the second round.
TEST_F(Coalescing, MultipliesTheReach) {
  map(16);
  begin(fully(4, {12}, {k16K}));
  EXPECT_EQ(walks_of(all(16)), 4u);
  EXPECT_EQ(walks_of(all(16)), 0u);
}
// Least recently used, four entries for 16 pages in turn: each has gone when it is wanted again.
TEST_F(Coalescing, IsOffUnlessTheArraySaysSo) {
  map(16);
  begin(fully(4, {12}));
  EXPECT_EQ(walks_of(all(16)), 16u);
  EXPECT_EQ(walks_of(all(16)), 16u);
}
TEST_F(Coalescing, TakesTheLargestSizeThatTheLeavesMakeUp) {
  map(12);  // eight and four
  begin(fully(4, {12}, {k16K, k32K}));
  EXPECT_EQ(walks_of(all(12)), 2u);
  EXPECT_EQ(held(mmu->data_tlb(), k32K), 1u);
  EXPECT_EQ(held(mmu->data_tlb(), k16K), 1u);
}
TEST_F(Coalescing, BothStagesMustBeContiguous) {
  map(4);
  begin(fully(4, {12}, {k16K}), 0);  // four leaves of 4K, of the second stage, too
  EXPECT_EQ(walks_of(all(4)), 1u);
}
TEST_F(Coalescing, SmallLeavesOfTheSecondStageLimitALargePage) {
  world.map_guest(kVirtual, kData, 1);
  begin(fully(4, {12, 21}, {k16K}), 0);
  EXPECT_EQ(walks_of(all(8)), 2u);
}
TEST_F(Coalescing, ALeafElsewhereLeavesItsNeighboursAlone) {
  for (const u64 page : std::initializer_list<u64>{0, 1, 3}) map(page, page);
  map(2, 6);
  begin(fully(8, {12}, {k16K}));
  EXPECT_EQ(walks_of(all(4)), 4u);
}
TEST_F(Coalescing, APlaceThatIsNotAlignedIsNone) {
  for (u64 page = 0; page < 4; ++page) map(page, page + 1);
  begin(fully(8, {12}, {k16K}));
  EXPECT_EQ(walks_of(all(4)), 4u);
}
TEST_F(Coalescing, AHoleLeavesItsNeighboursAlone) {
  for (const u64 page : std::initializer_list<u64>{0, 1, 3}) map(page, page);
  begin(fully(8, {12}, {k16K}));
  EXPECT_EQ(walks_of({0, 1, 3}), 3u);
  EXPECT_EQ(access(2), FaultKind::NotPresent);
}
class OneDiffers : public Coalescing, public testing::WithParamInterface<u64> {};
// In its rights, its memory type, or its dirty flag. An accessed flag is set by the walk, which
// then finds four alike: see below.
TEST_P(OneDiffers, AndNoneIsCoalesced) {
  map(4);
  begin(fully(8, {12}, {k16K}));
  flip(2, GetParam());
  EXPECT_EQ(walks_of(all(4)), 4u);
  EXPECT_EQ(walks_of(all(4)), 0u);
}
constexpr u64 kWritableBit = 2, kWriteThroughBit = 8, kDirtyBit = 64;
INSTANTIATE_TEST_SUITE_P(Entry, OneDiffers,
                         testing::Values(kWritableBit, kWriteThroughBit, kDirtyBit));

// What was not accessed may not be cached. Pages 0 and 1 are walked for while page 2 is not
// accessed; then page 2's walk sets its flag, and finds four alike.
TEST_F(Coalescing, WaitsUntilAllAreAccessed) {
  map(4);
  begin(fully(8, {12}, {k16K}));
  flip(2, kAccessed);
  EXPECT_EQ(walks_of({0, 1}), 2u);
  EXPECT_EQ(walks_of({2, 3}), 1u);
  EXPECT_EQ(held(mmu->data_tlb(), 12), 0u);  // a page is in one entry
  EXPECT_EQ(held(mmu->data_tlb(), k16K), 1u);
}
// Four clean pages in one entry. A write to one of them walks for its dirty flag, and is known by
// itself then; the others have to be found again, one by one, until all are dirty.
TEST_F(Coalescing, AWriteToACleanPageDividesTheEntry) {
  map(4);
  begin(fully(8, {12}, {k16K}));
  for (u64 page = 0; page < 4; ++page) flip(page, kDirty);
  EXPECT_EQ(walks_of(all(4)), 1u);
  const auto writes = [&](u64 page) {
    const u64 before = mmu->counts().walks();
    EXPECT_EQ(access(page, AccessKind::Write), FaultKind::None);
    return mmu->counts().walks() - before;
  };
  EXPECT_EQ(writes(1), 1u);
  EXPECT_EQ(writes(1), 0u);
  EXPECT_EQ(walks_of(all(4)), 3u);
  EXPECT_EQ(writes(0), 1u);
  EXPECT_EQ(writes(2), 1u);
  EXPECT_EQ(writes(3), 1u);  // the last: four alike again
  EXPECT_EQ(held(mmu->data_tlb(), k16K), 1u);
  EXPECT_EQ(held(mmu->data_tlb(), 12), 0u);
  EXPECT_EQ(writes(0), 0u);
}
// INVLPGA of page 1 removes the entry of pages 0 to 3, and no other.
TEST_F(Coalescing, AFenceOfOnePageRemovesTheEntry) {
  map(8);
  begin(fully(8, {12}, {k16K}));
  EXPECT_EQ(walks_of(all(8)), 2u);
  FenceRequest fence;
  fence.op = svm::kInvlpga;
  fence.vmid = 1;
  fence.address = kVirtual + kPage;
  EXPECT_EQ(apply_fence(fence, *mmu, world.tags), 1u);
  EXPECT_EQ(walks_of({4, 5, 6, 7}), 0u);
  EXPECT_EQ(walks_of({3, 2, 1, 0}), 1u);
}
// A fence for a guest-physical address, too (RISC-V has it; the rule is the same for all).
TEST_F(Coalescing, AFenceOfOneGuestPhysicalPageRemovesTheEntry) {
  map(8);
  begin(fully(8, {12}, {k16K}), 0, {1, {}, {}, fully(8, {12}, {k16K})});
  EXPECT_EQ(walks_of(all(8)), 2u);
  FenceRequest fence;
  fence.op = hext::kGvmaAddressVmid.at_once;
  fence.vmid = 1;
  fence.address = kData + 2 * kPage;
  const auto data = [](const EntryKey& where, const CachedNested&) {
    return where.address >= kData;
  };
  u64 before = 0, after = 0;
  mmu->walker().nested_tlb().for_each(
      [&](const auto& at, const auto& entry) { before += data(at, entry); });
  EXPECT_EQ(apply_fence(fence, *mmu, world.tags), 2u);  // of both structures
  mmu->walker().nested_tlb().for_each(
      [&](const auto& at, const auto& entry) { after += data(at, entry); });
  EXPECT_EQ(before, 2u);
  EXPECT_EQ(after, 1u);
}
// Pages that are apart for the guest, and side by side in the second stage: the nested TLB has the
// data of all four after one walk. Without a walk cache a walk reads four entries of the guest's,
// of four tables whose addresses it translates: the nested TLB has those from the first walk. Then
// the data: four entries once, none after that.
TEST_F(Coalescing, ANestedTlbHasNeighboursOfTheSecondStage) {
  for (u64 n = 0; n < 4; ++n) map(n * 8, n);
  begin(fully(8, {12}), 0, {1, {}, {}, fully(16, {12}, {k16K})});
  for (u64 n = 0; n < 4; ++n) {
    EXPECT_EQ(access(n * 8), FaultKind::None);
    u64 read = 0;
    const WalkRecord& record = mmu->last_walk();
    for (u32 each = 0; each < record.count; ++each) {
      read += record.references[each].served != Served::NestedTlb;
    }
    if (n != 0) {
      EXPECT_EQ(read, 4u);
    }
  }
}
// A TLB that holds single pages is not hurt by another that holds more.
TEST_F(Coalescing, EachArrayHasItsOwnSizes) {
  map(8);
  world.map_nested(kData, 1);
  world.map_tables(0);
  mmu.emplace(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
              MmuShape{{}, fully(2, {12}), fully(2, {12}, {k16K}), {}});
  mmu->set_regime(world.regime);
  EXPECT_EQ(walks_of(all(8)), 2u);
  EXPECT_EQ(walks_of(all(8)), 0u);
  EXPECT_EQ(mmu->counts().second_hits(), 6u + 8u);
  EXPECT_EQ(held(mmu->data_tlb(), 12), 2u);
}

// The second-level TLB and two walk caches in one array, against one list: whoever's entry was used
// longest ago goes.
TEST(InSecondTlb, AllCompeteForTheWays) {
  constexpr u32 kWays = 8, kOwners = 3;
  TranslationCache<u64> tlb(fully(kWays, {12}));
  TranslationCache<u32> guest({{}, 1, {21}}, 1, tlb.first_array());
  TranslationCache<u16> nested({fully(4, {30}).arrays, 1, {21}}, 1, tlb.first_array());
  struct Used {
    u64 owner, page;
    u16 value;
  };
  std::deque<Used> naive;  // the latest first
  std::mt19937_64 random(1);
  for (u32 n = 0; n < 200'000; ++n) {
    const u64 owner = random() % kOwners, page = random() % 6;
    if (random() % 500 == 0) {
      const auto all = [](const EntryKey&, auto) { return true; };
      const u64 dropped = owner == 0   ? tlb.drop_if(all)
                          : owner == 1 ? guest.drop_if(all)
                                       : nested.drop_if(all);
      ASSERT_EQ(dropped, std::erase_if(naive, [&](auto& each) { return each.owner == owner; }));
      continue;
    }
    const auto known = std::find_if(naive.begin(), naive.end(), [&](const Used& each) {
      return each.owner == owner && each.page == page;
    });
    std::optional<u16> value;
    if (known != naive.end()) {
      value = known->value;
      naive.erase(known);
    }
    const u64 address = page << (owner == 0 ? 12 : 21);
    if (random() % 2 == 0) {
      value = static_cast<u16>(n);
      if (owner == 0) tlb.fill(address, 12, 1, *value);
      if (owner == 1) guest.fill(address, 21, 1, *value);
      if (owner == 2) nested.fill(address, 21, 1, *value);
    } else {
      const auto found = [](const auto* entry) {
        return entry == nullptr ? std::optional<u16>() : static_cast<u16>(*entry);
      };
      ASSERT_EQ(owner == 0   ? found(tlb.find(address, 1))
                : owner == 1 ? found(guest.find(address, 1))
                             : found(nested.find(address, 1)),
                value)
          << owner << " at step " << n;
    }
    if (value) naive.push_front({owner, page, *value});
    if (naive.size() > kWays) naive.pop_back();
  }
}

// Walks for fresh pages of `regions` in turn, each of 2 MiB in both stages: each uses the guest's
// entry for its region and the second stage's, and brings a translation. 32 ways, LRU. With ten
// regions at most 30 others come between two uses of an entry: it stays, and a walk reads two
// entries, of either stage's last table. With twelve, 36: it has gone. The entry for the guest's
// own tables, which are in one region of the second stage, is used in each walk and stays: 4 levels
// of the guest's, each after one entry of the second stage's; and four of these for the data: 12.
TEST(InSecondTlb, TablesOfFewRegionsStay) {
  constexpr u64 kVirtual = u64{1} << 40, kData = 4 * kGiB, kLarge = 2 * kMiB;
  for (const u64 regions : std::initializer_list<u64>{10, 12}) {
    NestedWorld<LongMode, Npt> world(*LongMode::geometry(4), *Npt::geometry(4));
    constexpr u64 kPages = 4;
    for (u64 n = 0; n < regions; ++n) {
      for (u64 page = 0; page < kPages; ++page) {
        const u64 offset = n * kLarge + page * kFrameBytes;
        world.map_guest(kVirtual + offset, kData + offset, 0);
        world.map_nested(kData + offset, 0);
      }
    }
    world.map_tables(0);
    WalkerShape walker;
    walker.guest_walk_cache = {{}, 1, {21}};
    walker.nested_walk_cache = {{}, 1, {21}};
    Mmu mmu(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
            {{}, fully(1, {12}), fully(32, {12}), walker});
    mmu.set_regime(world.regime);
    u64 last = 0;
    for (u64 page = 0; page < kPages; ++page) {
      const u64 before = mmu.counts().references;
      for (u64 n = 0; n < regions; ++n) {
        Mmu::Outcome outcome;
        const u64 address = kVirtual + n * kLarge + page * kFrameBytes;
        if (!mmu.translate({address, AccessKind::Read, true}, world, 0, outcome)) {
          world.wheel.run();
        }
        ASSERT_EQ(outcome.host, kData + (address - kVirtual));
      }
      last = mmu.counts().references - before;
    }
    // Hits are on record as references, too: two in each walk of ten regions; four, for the tables'
    // addresses, in each of twelve.
    EXPECT_EQ(last, regions == 10 ? regions * (2 + 2) : regions * (12 + 4));
  }
}

}  // namespace
}  // namespace nestwalk::models::coalescing_test
