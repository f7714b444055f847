// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// x86: a fault removes everything that would be used to translate its address, so that more
// permission needs no fence: at most one fault is spurious (Intel SDM vol. 3A, "Operations that
// Invalidate TLBs and Paging-Structure Caches", for page faults; vol. 3C, "Operations that
// Invalidate Cached Mappings", for EPT violations).

#include <gtest/gtest.h>

#include <functional>

#include "nested_world.hpp"
#include "nestwalk/models/translation/mmu.hpp"

namespace nestwalk::models {
namespace {

using namespace addrspace;

class Permission : public testing::Test, public Actor, private GrantHolder {
 protected:
  static constexpr u64 kVirtual = 0x40'3000, kOther = kVirtual + 0x1000;
  static constexpr u64 kData = 2 * kGiB + 0x5000;
  static constexpr u64 kWritable = 2;  ///< the bit of a guest's entry and of an EPT entry alike

  Permission()
      : world(*LongMode::geometry(4), *Ept::geometry(4)),
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
  // Once the entry permits writes, one write may still be refused, and no other.
  void expect_one_refusal(Hpa at) {
    const u64 allowed = world.memory.load(at);
    world.memory.store(at, allowed & ~kWritable);
    EXPECT_EQ(access(kVirtual, AccessKind::Read), FaultKind::None);
    EXPECT_EQ(access(kOther, AccessKind::Read), FaultKind::None);
    world.memory.store(at, world.memory.load(at) | kWritable);
    // Who holds a grant has as good as a TLB entry.
    for (const u64 address : {kVirtual, kOther}) {
      EXPECT_NE(mmu.grant({address, AccessKind::Read, true}), nullptr);
    }
    EXPECT_EQ(access(kVirtual, AccessKind::Write), FaultKind::Permission);
    EXPECT_EQ(revoked, std::vector{kVirtual});
    EXPECT_EQ(access(kVirtual, AccessKind::Write), FaultKind::None);
  }

  static constexpr u8 kNone = WalkReference::kNoLevel;
  NestedWorld<LongMode, Ept> world;
  Mmu mmu;
  std::vector<u64> revoked;
};

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

}  // namespace
}  // namespace nestwalk::models
