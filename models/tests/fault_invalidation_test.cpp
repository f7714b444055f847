// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// x86: a fault removes everything that would be used to translate its address, so that more
// permission needs no fence: at most one fault is spurious (Intel SDM vol. 3A, "Operations that
// Invalidate TLBs and Paging-Structure Caches", for page faults; vol. 3C, "Operations that
// Invalidate Cached Mappings", for EPT violations).

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "nested_world.hpp"
#include "nestwalk/models/translation/mmu.hpp"

namespace nestwalk::models::fault_invalidation_test {
namespace {

using namespace addrspace;

template <class N>
class PermissionBy : public testing::Test, public Actor, private GrantHolder {
 protected:
  static constexpr u64 kVirtual = 0x40'3000, kOther = kVirtual + 0x1000;
  static constexpr u64 kData = 2 * kGiB + 0x5000;
  static constexpr u64 kWritable = 2;  ///< the bit of a guest's, an EPT and an NPT entry alike

  PermissionBy()
      : world(*LongMode::geometry(4), *N::geometry(4)),
        mmu(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}), shape()) {
    for (const u64 offset : {u64{0}, u64{0x1000}}) {
      world.map_guest(kVirtual + offset, kData + offset, 0);
      world.map_nested(kData + offset, 0);
    }
    world.map_tables(0);
    mmu.set_regime(world.regime);
    mmu.tell_of_revoked(*this);
  }
  void on_revoked(const Grant& grant) override { revoked.push_back(grant.address); }
  static MmuShape shape() {
    const auto fully = [](std::vector<u8> shifts) {
      return CacheShape{{{1, 16, std::move(shifts), ReplacementKind::Lru}}, 1};
    };
    CacheShape second = fully({12});
    second.latency_cycles = 6;
    return {{}, fully({12}), second, {1, fully({21, 30}), fully({21, 30}), fully({12})}};
  }
  void on_cycle(u32) override {}
  FaultKind access(u64 address, AccessKind kind) {
    Mmu::Outcome outcome;
    if (!mmu.translate({address, kind, true}, *this, 0, outcome)) world.wheel.run();
    return outcome.fault.kind;
  }
  // The entry of a walk without caches that has these levels.
  Hpa entry(u8 guest_level, u8 nested_level) {
    world.walk(kVirtual);
    for (u32 n = 0; n < world.record.count; ++n) {
      const WalkReference& reference = world.record.references[n];
      if (reference.guest_level == guest_level && reference.nested_level == nested_level) {
        return Hpa(reference.address);
      }
    }
    return Hpa(0);
  }
  // The entry permits writes, which it did not when both pages were read.
  void permit(Hpa at) {
    const u64 allowed = world.memory.load(at);
    world.memory.store(at, allowed & ~kWritable);
    EXPECT_EQ(access(kVirtual, AccessKind::Read), FaultKind::None);
    EXPECT_EQ(access(kOther, AccessKind::Read), FaultKind::None);
    world.memory.store(at, world.memory.load(at) | kWritable);
    // Who holds a grant has as good as a TLB entry.
    for (const u64 address : {kVirtual, kOther}) {
      EXPECT_NE(mmu.grant({address, AccessKind::Read, true}), nullptr);
    }
  }
  // One write may still be refused, and no other.
  void expect_one_refusal(Hpa at) {
    permit(at);
    EXPECT_EQ(access(kVirtual, AccessKind::Write), FaultKind::Permission);
    EXPECT_EQ(revoked, std::vector{kVirtual});
    EXPECT_EQ(access(kVirtual, AccessKind::Write), FaultKind::None);
  }

  static constexpr u8 kNone = WalkReference::kNoLevel;
  NestedWorld<LongMode, N> world;
  Mmu mmu;
  std::vector<u64> revoked;
};
using Permission = PermissionBy<Ept>;

TEST_F(Permission, OfAGuestsLeaf) { expect_one_refusal(entry(0, kNone)); }
TEST_F(Permission, OfAGuestsTable) { expect_one_refusal(entry(1, kNone)); }
TEST_F(Permission, OfANestedLeaf) { expect_one_refusal(entry(kNone, 0)); }
TEST_F(Permission, OfANestedTable) { expect_one_refusal(entry(kNone, 1)); }

// Only the first TLB has its answer at once. The second one's lookup takes from cycle 1 to 7: what
// a fence removes in cycle 3 refuses nothing in cycle 7.
TEST_F(Permission, AFenceWithinTheSecondLookupComesBeforeItsRefusal) {
  const Hpa leaf = entry(0, kNone);
  world.memory.store(leaf, world.memory.load(leaf) & ~kWritable);
  EXPECT_EQ(access(kVirtual, AccessKind::Read), FaultKind::None);
  const auto all = [](const EntryKey&, const Translation&) { return true; };
  mmu.data_tlb().drop_if(all);
  struct Kernel : Actor {
    std::function<void()> act;
    void on_cycle(u32) override { act(); }
  } kernel;
  kernel.act = [&] {
    world.memory.store(leaf, world.memory.load(leaf) | kWritable);
    mmu.second_tlb().drop_if(all);
    mmu.restart_misses();
  };
  world.wheel.schedule(world.wheel.now() + 3, kernel, 0);
  EXPECT_EQ(access(kVirtual, AccessKind::Write), FaultKind::None);
}

TEST_F(Permission, AFaultSparesWhatIsOfOtherAddresses) {
  EXPECT_EQ(access(kOther, AccessKind::Read), FaultKind::None);
  const u64 walks = mmu.counts().walks();
  EXPECT_EQ(access(kVirtual + 0x2000, AccessKind::Read), FaultKind::NotPresent);
  EXPECT_EQ(access(kOther, AccessKind::Read), FaultKind::None);
  EXPECT_EQ(mmu.counts().walks(), walks + 1);  // the faulting one
}

// AMD APM vol. 2, 5.5.2, "Use of Cached Entries When Reporting a Page Fault Exception": before a
// fault is reported, what is cached for its address is flushed, and the table walk is repeated.
class Confirmed : public PermissionBy<Npt> {
 protected:
  // No write is refused. One walk, which the entry of the TLB made necessary.
  void expect_no_refusal(Hpa at) {
    permit(at);
    const u64 walks = mmu.counts().walks();
    EXPECT_EQ(access(kVirtual, AccessKind::Write), FaultKind::None);
    EXPECT_EQ(mmu.counts().walks(), walks + 1);
    EXPECT_EQ(mmu.counts().faults, 0u);
    EXPECT_EQ(revoked, std::vector{kVirtual});
  }
  // Entries of the first stage that the last walk read, by level.
  std::vector<unsigned> guest_levels_read() {
    std::vector<unsigned> levels;
    const WalkRecord& record = mmu.last_walk();
    for (u32 n = 0; n < record.count; ++n) {
      const WalkReference& each = record.references[n];
      if (each.nested_level == kNone && each.served != Served::WalkCache) {
        levels.push_back(each.guest_level);
      }
    }
    return levels;
  }
};
TEST_F(Confirmed, MorePermissionOfAGuestsLeafIsNoFault) { expect_no_refusal(entry(0, kNone)); }
TEST_F(Confirmed, MorePermissionOfAGuestsTableIsNoFault) { expect_no_refusal(entry(1, kNone)); }
TEST_F(Confirmed, MorePermissionOfANestedLeafIsNoFault) { expect_no_refusal(entry(kNone, 0)); }
TEST_F(Confirmed, MorePermissionOfANestedTableIsNoFault) { expect_no_refusal(entry(kNone, 1)); }

// First TLB 1, and the walk: what refused is gone from the second TLB, which is not looked up. It
// takes nothing from caches, since they may have more that is stale: guest walk cache 1; for each
// of four levels and for the data the nested TLB and the nested walk cache, 1 each, and four reads
// of 100; and one for each level of the guest's.
TEST_F(Confirmed, ARefusalByATlbCostsAWalkOfTheGuestsTables) {
  permit(entry(0, kNone));
  mmu.keep_walks(true);
  const Cycle start = world.wheel.now();
  EXPECT_EQ(access(kVirtual, AccessKind::Write), FaultKind::None);
  EXPECT_EQ(guest_levels_read(), (std::vector{3u, 2u, 1u, 0u}));
  EXPECT_EQ(world.wheel.now() - start, 1u + 1u + 5 * (1 + 1 + 4 * 100) + 4 * 100);
}

// A miss that stops where a cached table led: that is flushed, and the walk repeated, once.
TEST_F(Confirmed, AFaultThatCachedTablesLedToIsWalkedTwice) {
  EXPECT_EQ(access(kVirtual, AccessKind::Read), FaultKind::None);
  mmu.keep_walks(true);
  EXPECT_EQ(access(kVirtual + 0x2000, AccessKind::Read), FaultKind::NotPresent);
  EXPECT_EQ(mmu.counts().faults, 1u);
  EXPECT_EQ(guest_levels_read(), (std::vector{0u, 3u, 2u, 1u, 0u}));
}

// A table that is cached and was replaced without a fence leads nowhere: the tables in memory
// count.
TEST_F(Confirmed, APageThatIsThereByNowIsNoFault) {
  EXPECT_EQ(access(kVirtual, AccessKind::Read), FaultKind::None);
  const Hpa table = entry(1, kNone);
  // Another table, with the entries of the first and one more.
  constexpr u64 kTable = 0x000f'ffff'ffff'f000;
  const u64 from = world.memory.load(table) & kTable;
  const u64 to = world.guest_hal.alloc_run(0)->value();
  world.map_tables(0);
  for (u64 at = 0; at < 4096; at += 8) {
    world.memory.store(Hpa(to + at), world.memory.load(Hpa(from + at)));
  }
  const u64 slot = (kVirtual + 0x2000) >> 12 & 511;
  world.memory.store(Hpa(to + slot * 8), world.memory.load(Hpa(to + (slot - 1) * 8)));
  world.memory.store(table, (world.memory.load(table) & ~kTable) | to);
  EXPECT_EQ(access(kVirtual + 0x2000, AccessKind::Read), FaultKind::None);
  world.memory.store(table, (world.memory.load(table) & ~kTable) | from);  // which the engine frees
}

// Nothing cached led there: the walk has just read what another would read. Four levels, each after
// four of the second stage, once a first one has set the flags on the way.
TEST_F(Confirmed, AColdWalkIsItsOwnConfirmation) {
  for (const bool is_first : {true, false}) {
    Mmu cold(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
             {{}, shape().data_tlb, {}, {}});
    cold.set_regime(world.regime);
    Mmu::Outcome outcome;
    if (!cold.translate({kVirtual + 0x2000, AccessKind::Read, true}, *this, 0, outcome)) {
      world.wheel.run();
    }
    EXPECT_EQ(outcome.fault.kind, FaultKind::NotPresent);
    EXPECT_EQ(cold.counts().references == 20u, !is_first);
  }
}

// Pages 0 and 1 of a 2M leaf of the guest, read-only at first, in TLBs and a nested TLB of 4K
// pages.
class Parts : public testing::Test, public Actor {
 protected:
  static constexpr u64 kVirtual = u64{1} << 40, kData = 4 * kGiB;

  Parts() : world(*LongMode::geometry(4), *Ept::geometry(4)) {}
  void on_cycle(u32) override {}
  static CacheShape fully(std::vector<u8> shifts) {
    return {{{1, 16, std::move(shifts), ReplacementKind::Lru}}, 1};
  }
  // Both pages are read: they are in both TLBs.
  void begin(Access guest, unsigned nested_level, Access nested) {
    world.map_guest(kVirtual, kData, 1, guest);
    for (u64 page = 0; page < 2; ++page)
      world.map_nested(kData + page * kFrameBytes, nested_level, nested);
    world.map_tables(0);
    mmu.emplace(world.wheel, world.memory, world.hierarchy, world.hierarchy.add_path({}),
                MmuShape{{}, fully({12}), fully({12}), {1, fully({21}), fully({21}), fully({12})}});
    mmu->set_regime(world.regime);
    for (u64 page = 0; page < 2; ++page) EXPECT_EQ(access(page, AccessKind::Read), FaultKind::None);
  }
  FaultKind access(u64 page, AccessKind kind) {
    Mmu::Outcome outcome;
    if (!mmu->translate({kVirtual + page * kFrameBytes, kind, true}, *this, 0, outcome)) {
      world.wheel.run();
    }
    return outcome.fault.kind;
  }
  // Without a fence.
  void make_writable(u8 guest_level, u8 nested_level) {
    world.walk(kVirtual);
    for (u32 n = 0; n < world.record.count; ++n) {
      const WalkReference& each = world.record.references[n];
      if (each.guest_level != guest_level || each.nested_level != nested_level) continue;
      world.memory.store(Hpa(each.address), world.memory.load(Hpa(each.address)) | 2);
    }
  }

  static constexpr u8 kNone = WalkReference::kNoLevel;
  NestedWorld<LongMode, Ept> world;
  std::optional<Mmu> mmu;
};

// Intel SDM vol. 3A 4.10.4.1: where several smaller TLB entries are made of a large page, INVLPG
// and page faults invalidate all TLB entries of the translation that the paging structures specify.
TEST_F(Parts, OfAGuestsLargePageAreGoneAfterOneFault) {
  begin(kRead | kUser, 0, kRwx);
  make_writable(1, kNone);
  EXPECT_EQ(access(0, AccessKind::Write), FaultKind::Permission);
  EXPECT_EQ(access(1, AccessKind::Write), FaultKind::None);
}

// Both pages are parts of one translation by one leaf of each stage.
TEST_F(Parts, OfALargePageOfBothStagesAreGoneAfterOneFault) {
  begin(kRwx | kUser, 1, kRead);
  make_writable(kNone, 1);
  EXPECT_EQ(access(0, AccessKind::Write), FaultKind::Permission);
  EXPECT_EQ(access(1, AccessKind::Write), FaultKind::None);
}

// Vol. 3C, "Operations that Invalidate Cached Mappings": an EPT violation invalidates
// guest-physical mappings of its guest-physical address, and combined ones of its linear address.
// Page 1 has another EPT leaf.
TEST_F(Parts, WithOtherLeavesOfTheSecondStageStay) {
  begin(kRwx | kUser, 0, kRead);
  EXPECT_EQ(access(0, AccessKind::Write), FaultKind::Permission);
  const u64 walks = mmu->counts().walks();
  EXPECT_EQ(access(1, AccessKind::Read), FaultKind::None);
  EXPECT_EQ(mmu->counts().walks(), walks);
}

// Page 1 is in the nested TLB alone: in a part of the leaf that refused page 0.
TEST_F(Parts, OfALargeNestedLeafAreGoneAfterOneFault) {
  begin(kRwx | kUser, 1, kRead);
  make_writable(kNone, 1);
  for (auto* const tlb : {&mmu->data_tlb(), &mmu->second_tlb()}) {
    tlb->drop(kVirtual + kFrameBytes, world.regime.combined);
  }
  EXPECT_EQ(access(0, AccessKind::Write), FaultKind::Permission);
  EXPECT_EQ(access(1, AccessKind::Write), FaultKind::None);
}

}  // namespace
}  // namespace nestwalk::models::fault_invalidation_test
