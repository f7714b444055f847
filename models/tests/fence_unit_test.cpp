// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What each fence removes, and what it must not touch.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "fence_names.hpp"
#include "guest_tables.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/models/fences/fence_unit.hpp"
#include "nestwalk/models/machine/machine.hpp"
#include "nestwalk/models/machine/player.hpp"

namespace nestwalk::models::fence_unit_test {
namespace {

MachineShape simple(u32 cores = 1) {
  MachineShape shape = load_preset(NESTWALK_PRESETS "/simple.json").shape;
  shape.cores = cores;
  return shape;
}

// A core whose structures hold one entry of each kind per VM and address space.
class Fences : public testing::Test {
 protected:
  Fences() : machine(simple(), addrspace::kGiB) {
    for (const u16 vmid : {u16{1}, u16{2}}) {
      const u64 root = vmid * 0x1000u;
      for (const u16 asid : {u16{5}, u16{6}}) fill({root, vmid, asid, false});
      fill({root, vmid, 0, true});
    }
    fill({0, 0, 5, false});  // the host's own: linear
  }
  static constexpr u64 kPage = 0x40'0000;
  static constexpr u64 kGuestPhysical = 0x8000'0000;
  static constexpr u64 kTableGuest = 0x9000'0000;

  void fill(const Tag& tag) {
    const u16 number = machine.tags().number(tag);
    Translation entry;
    entry.guest_physical = kGuestPhysical;
    entry.guest_shift = 21;  // a large page of the guest over small ones of the host
    entry.nested_shift = entry.held_shift = 12;
    mmu().second_tlb().fill(kPage, 12, number, entry);
    mmu().walker().guest_walk_cache().fill(kPage, 21, number,
                                           {kTableGuest, 0x1000, {}, 1, 12, true, 21});
    if (tag.root == 0) return;
    const u16 nested = machine.tags().number({tag.root, 0, 0, false});
    const u16 by_vmid = machine.tags().number({0, tag.vmid, 0, false});
    for (const u16 kind : {nested, by_vmid}) {
      mmu().walker().nested_tlb().fill(kGuestPhysical, 12, kind, {0x1000, {}, {}, 12, true});
      mmu().walker().nested_walk_cache().fill(kGuestPhysical, 21, kind,
                                              {0, 0x1000, {}, 0, 0, false, 21});
    }
  }
  template <class Cache>
  std::vector<Tag> left_in(Cache& cache) {
    std::vector<Tag> tags;
    cache.for_each(
        [&](const EntryKey& where, const auto&) { tags.push_back(machine.tags().tag(where.tag)); });
    return tags;
  }
  template <class Cache, class Match>
  u64 count(Cache& cache, Match match) {
    const std::vector<Tag> tags = left_in(cache);
    return static_cast<u64>(std::count_if(tags.begin(), tags.end(), match));
  }
  Mmu& mmu() { return *machine.core(0).mmu; }
  u64 apply(const FenceRequest& fence) { return apply_fence(fence, mmu(), machine.tags()); }

  Machine machine;
};

constexpr auto kAny = [](const Tag&) { return true; };

/// vCPUs of guest 9 have the VMIDs 2 and 1 on every core; the one that has 2 runs.
struct TwoVcpus : CoreTags, Actor {
  std::span<const u16> tags_of(u32, u16 guest) const override {
    return guest == 9 ? std::span<const u16>(tags) : std::span<const u16>();
  }
  void put_off(u32, u16 guest, const addrspace::Fence&) override { put_off_for.push_back(guest); }
  void replace(u32, u16 guest) override { replaced.push_back(guest); }
  void on_cycle(u32) override {}
  u16 tags[2] = {2, 1};
  std::vector<u16> put_off_for, replaced;
};

// A vCPU's INVLPG is of its own ASID, the kernel's to all of its processors of all; a hypervisor's
// flush is of the one that runs, and the other one owes it, unless it was what an entry owed.
TEST_F(Fences, NameGuestsWhereVcpusHaveTags) {
  TwoVcpus vcpus;
  FenceUnit unit(machine);
  unit.know_guests_by(vcpus);
  const auto left = [&](u16 vmid) {
    return count(mmu().second_tlb(), [&](const Tag& tag) { return tag.vmid == vmid; });
  };
  const auto issue = [&](const FenceRequest& fence, Reach reach) {
    unit.issue(0, fence, reach, vcpus, 0);
    machine.wheel().run();
  };
  issue({svm::kVmrunAsid, 0, 2}, Reach::Own);  // no guest has that number
  EXPECT_EQ(left(1) + left(2), 6u);
  issue({x86_64::kInvpcidSingle, 0, 9, 5}, Reach::Own);
  EXPECT_EQ(left(2), 2u);
  EXPECT_EQ(left(1), 3u);
  issue({x86_64::kInvpcidSingle, 0, 9, 5}, Reach::Interrupts);
  EXPECT_EQ(left(1), 2u);
  FenceRequest flush = request_of({svm::kVmrunAsid, 0, 9}, 9, 0);
  flush.engine = true;
  unit.issue_all(0, {&flush, 1}, {}, vcpus, 0);
  machine.wheel().run();
  EXPECT_EQ(left(2), 0u);
  EXPECT_EQ(left(1), 2u);
  EXPECT_EQ(vcpus.put_off_for, (std::vector<u16>{9}));
  flush.alone = true;
  unit.issue_all(0, {&flush, 1}, {}, vcpus, 0);
  machine.wheel().run();
  EXPECT_EQ(vcpus.put_off_for.size(), 1u);
  FenceRequest fresh = request_of({svm::kVmrunFreshAsid, 0, 9}, 9, 0);
  fresh.engine = true;
  unit.issue_all(0, {&fresh, 1}, {}, vcpus, 0);
  machine.wheel().run();
  EXPECT_EQ(vcpus.replaced, (std::vector<u16>{9}));
  EXPECT_EQ(left(1), 2u);
}

// A page of 4K that is a part of a guest's page of 2M, or is one itself; another page of the same
// address space, and one of another ASID. The fence names a third page.
TEST(FracturedFences, RemoveAllOfTheAddressSpaceWhereATlbHoldsParts) {
  for (const bool flushes : {false, true}) {
    for (const u8 guest_shift : {u8{12}, u8{21}}) {
      MachineShape shape = simple();
      shape.mmu.fractured_flushes = flushes;
      Machine machine(shape, addrspace::kGiB);
      Mmu& mmu = *machine.core(0).mmu;
      const u16 own = machine.tags().number({0x1000, 1, 5, false});
      const u16 other = machine.tags().number({0x1000, 1, 6, false});
      const auto fill = [&](u64 at, u8 leaf, u16 tag) {
        Translation entry;
        entry.guest_shift = leaf;
        entry.nested_shift = entry.held_shift = 12;
        mmu.second_tlb().fill(at, 12, tag, entry);
      };
      fill(0x40'0000, guest_shift, own);
      fill(0x80'0000, 12, own);
      fill(0x80'0000, 12, other);
      const u64 removed = apply_fence({x86_64::kInvlpg, 0, 1, 5, 0x100'0000}, mmu, machine.tags());
      EXPECT_EQ(removed, flushes && guest_shift == 21 ? 2u : 0u);
      EXPECT_TRUE(mmu.second_tlb().holds(0x80'0000, other));
      // The parts of the page that it names go in any case.
      EXPECT_EQ(apply_fence({x86_64::kInvlpg, 0, 1, 5, 0x40'0000}, mmu, machine.tags()),
                removed == 2 ? 0u : 1u);
    }
  }
}

TEST_F(Fences, InveptSparesOtherRootsAndLinearMappings) {
  apply({vmx::kInveptSingle, 0x1000 | 0x5e});      // the low bits of an EPTP are no address
  EXPECT_EQ(count(mmu().second_tlb(), kAny), 4u);  // VM 2: three; the host: one
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& tag) { return tag.root == 0x1000; }), 0u);
  EXPECT_EQ(count(mmu().walker().guest_walk_cache(), [](const Tag& t) { return t.root == 0; }), 1u);
  EXPECT_EQ(count(mmu().walker().nested_tlb(), [](const Tag& t) { return t.root == 0x1000; }), 0u);
  EXPECT_EQ(count(mmu().walker().nested_tlb(), [](const Tag& t) { return t.root == 0x2000; }), 1u);
}
TEST_F(Fences, InvvpidSparesGuestPhysicalMappings) {
  apply({vmx::kInvvpidSingle, 0, 1});
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& tag) { return tag.vmid == 1; }), 0u);
  EXPECT_EQ(count(mmu().walker().nested_tlb(), kAny), 4u);
}
TEST_F(Fences, InvvpidRetainingGlobals) {
  apply({vmx::kInvvpidSingleKeepGlobals, 0, 1});
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 1 && t.global; }), 1u);
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 1; }), 1u);
}
TEST_F(Fences, MovCr3OfAGuestIsForOnePcid) {
  apply({x86_64::kMovCr3, 0, 1, 5});
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 1; }), 2u);
}
TEST_F(Fences, InvlpgInTheHostTouchesNothingOfAGuest) {
  apply({vmx::kInvlpg, 0, 0, 5, kPage});
  EXPECT_EQ(count(mmu().second_tlb(), kAny), 6u);  // all but the host's
}
TEST_F(Fences, IpaInvalidationSparesCombinedEntries) {
  apply({stage2::kIpas2e1.is, 0, 1, 0, kGuestPhysical + 0x123});
  EXPECT_EQ(count(mmu().second_tlb(), kAny), 7u);
  EXPECT_EQ(count(mmu().walker().nested_tlb(), [](const Tag& t) { return t.vmid == 1; }), 0u);
  EXPECT_EQ(count(mmu().walker().nested_walk_cache(), [](const Tag& t) { return t.vmid == 1; }),
            0u);
  EXPECT_EQ(count(mmu().walker().nested_tlb(), [](const Tag& t) { return t.vmid == 2; }), 1u);
}
TEST_F(Fences, LastLevelIpaInvalidationSparesTables) {
  apply({stage2::kIpas2le1.is, 0, 1, 0, kGuestPhysical});
  EXPECT_EQ(count(mmu().walker().nested_tlb(), [](const Tag& t) { return t.vmid == 1; }), 0u);
  EXPECT_EQ(count(mmu().walker().nested_walk_cache(), [](const Tag& t) { return t.vmid == 1; }),
            1u);
}
TEST_F(Fences, TheWrongKindForStageTwoRemovesNothing) {
  EXPECT_EQ(apply({stage2::kVae2.is, 0, 1, 0, kPage}), 0u);
  EXPECT_EQ(apply({stage2::kAlle2.is}), 0u);
}
TEST_F(Fences, Vmalls12TakesBothStagesOfOneVmid) {
  apply({stage2::kVmalls12e1.is, 0, 2});
  for (const Tag& tag : left_in(mmu().second_tlb())) EXPECT_NE(tag.vmid, 2);
  for (const Tag& tag : left_in(mmu().walker().nested_tlb())) EXPECT_NE(tag.vmid, 2);
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 1; }), 3u);
}
TEST_F(Fences, GvmaByAddressTakesCombinedEntriesButNoTables) {
  apply({hext::kGvmaAddressVmid.at_once, 0, 1, 0, kGuestPhysical + 0xfff});
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 1; }), 0u);
  EXPECT_EQ(count(mmu().walker().nested_walk_cache(), [](const Tag& t) { return t.vmid == 1; }),
            1u);
  EXPECT_EQ(count(mmu().walker().guest_walk_cache(), [](const Tag& t) { return t.vmid == 1; }), 3u);
}
TEST_F(Fences, GvmaForATablesPageTakesTheWalkCacheEntriesThatUseIt) {
  // riscv-isa-manual#3295: what was cached of the table's place is a G-stage leaf, too.
  apply({hext::kGvmaAddressVmid.at_once, 0, 1, 0, kTableGuest});
  EXPECT_EQ(count(mmu().walker().guest_walk_cache(), [](const Tag& t) { return t.vmid == 1; }), 0u);
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 1; }), 3u);
}
TEST_F(Fences, VvmaWithAnAsidSparesGlobals) {
  apply({hext::kVvmaAddressAsid.at_once, 0, 1, 5, kPage});
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 1; }), 2u);
  apply({hext::kVvmaAddress.at_once, 0, 1, 0, kPage});
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 1; }), 0u);
}
TEST_F(Fences, AnyAddressOfTheGuestsLargePageRemovesItsParts) {
  // XiangShan#5114: a small page of the host under a large one of the guest is cached small; an
  // address elsewhere in the large page means it all the same.
  apply({hext::kVvmaAddress.at_once, 0, 1, 0, kPage + 0x1f'f000});
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 1; }), 0u);
  apply({hext::kVvmaAddress.at_once, 0, 2, 0, kPage + 0x20'0000});
  EXPECT_EQ(count(mmu().second_tlb(), [](const Tag& t) { return t.vmid == 2; }), 3u);
}

struct Notice : Actor {
  explicit Notice(Wheel& running) : wheel(running) {}
  void on_cycle(u32) override { at = wheel.now(); }
  Wheel& wheel;
  Cycle at = kNever;
};

// Of the preset `simple`: local 100, broadcast 300, an interrupt 1000.
TEST(FenceUnit, CompletesWhenTheLastCoreHasActed) {
  Machine machine(simple(2), addrspace::kGiB);
  FenceUnit unit(machine);
  Notice done(machine.wheel());
  const auto completes = [&](FenceOp op, Reach reach) {
    done.at = kNever;
    const Cycle start = machine.wheel().now();
    unit.issue(0, {op, 0, 1}, reach, done, 0);
    machine.wheel().run();
    return done.at - start;
  };
  EXPECT_EQ(completes(vmx::kInveptAll, Reach::Own), 100u);
  EXPECT_EQ(completes(vmx::kInveptAll, Reach::Interrupts), 1100u);
  EXPECT_EQ(completes(stage2::kVmalls12e1.is, Reach::Own), 300u);
}
// A sequence of one operation. Of `simple`: local 100, broadcast 300, an interrupt 1000;
// issuing 10.
TEST(FenceUnit, TakesTheInstructionsOfAnOperationTogether) {
  Machine machine(simple(3), addrspace::kGiB);
  FenceUnit unit(machine);
  Notice done(machine.wheel());
  const auto sequence = [&](std::vector<FenceRequest> fences,
                            std::vector<InterruptTarget> targets = {}) {
    done.at = kNever;
    const Cycle start = machine.wheel().now();
    const FenceUnit::Sequence took = unit.issue_all(0, fences, targets, done, 0);
    machine.wheel().run();
    EXPECT_EQ(done.at, took.end());
    const Cycle each = took.each.empty() ? 0 : took.each.front();
    return std::vector<Cycle>{done.at - start, took.own - start, each, took.interrupts};
  };
  // DSB ISHST; two TLBI; DSB; TLBI VMALLE1IS; DSB; ISB: the second TLBI is issued after 10 and has
  // acted after 310, the third is issued then: 310 + 300. Nobody is interrupted.
  EXPECT_EQ(sequence({{stage2::kIsb},
                      {stage2::kIpas2le1.is},
                      {stage2::kIpas2le1.is},
                      {stage2::kDsbIsh},
                      {stage2::kVmalle1.is},
                      {stage2::kDsbIsh},
                      {stage2::kIsb}},
                     {{1, 7}}),
            (std::vector<Cycle>{610, 610, 0, 0}));
  // Without the barrier nobody waits.
  EXPECT_EQ(sequence({{stage2::kVmalls12e1.is}}), (std::vector<Cycle>{10, 10, 0, 0}));
  // Two HFENCE, 200; on the others after 1000, the one of them after 50 more, once for both.
  EXPECT_EQ(sequence({{hext::kGvmaAddressVmid.at_once}, {hext::kGvmaAddressVmid.at_once}},
                     {{1, 0}, {2, 50}}),
            (std::vector<Cycle>{1250, 200, 200, 2}));
  // HINVAL three times: issued after 0, 10, 20, acted after 120; SFENCE.INVAL.IR from 30 to 130.
  EXPECT_EQ(sequence({{hext::kSfenceWInval},
                      {hext::kGvmaAddressVmid.posted},
                      {hext::kGvmaAddressVmid.posted},
                      {hext::kGvmaAddressVmid.posted},
                      {hext::kSfenceInvalIr}}),
            (std::vector<Cycle>{130, 130, 0, 0}));
}

u32& price(MachineShape& shape, const FenceCost& cost) { return shape.fence.own[&cost]; }
// One kind after the other has a price that no other has: 7 for it alone, and for others what they
// cost anyway.
TEST(FenceUnit, EachOperationHasItsOwnPrice) {
  constexpr struct {
    FenceOp op;
    const FenceCost* cost;
    Cycle general;  ///< of `simple`: 100 on one core, 300 for all; a barrier nothing
  } kRows[] = {{vmx::kInveptSingle, &vmx::kInveptSingleCost, 100},
               {vmx::kInveptAll, &vmx::kInveptAllCost, 100},
               {vmx::kInvvpidAddress, &vmx::kInvvpidAddressCost, 100},
               {vmx::kInvvpidSingleKeepGlobals, &vmx::kInvvpidContextCost, 100},
               {x86_64::kInvpcidAddress, &x86_64::kInvpcidAddressCost, 100},
               {x86_64::kInvpcidAll, &x86_64::kInvpcidContextCost, 100},
               {x86_64::kInvlpg, &x86_64::kInvlpgCost, 100},
               {x86_64::kMovCr3, &x86_64::kMovCr3Cost, 100},
               {stage2::kVae1.local, &stage2::kAddressCost, 100},
               {stage2::kRipas2e1.local, &stage2::kRangeCost, 100},
               {stage2::kVmalls12e1.local, &stage2::kContextCost, 100},
               {stage2::kIpas2le1.is, &stage2::kAddressBroadcastCost, 300},
               {stage2::kRvaale1.os, &stage2::kRangeBroadcastCost, 300},
               {stage2::kAside1.is, &stage2::kContextBroadcastCost, 300},
               {stage2::kDsbIsh, &stage2::kDsbCost, 0},
               {hext::kGvmaAddressVmid.at_once, &hext::kGvmaAddressCost, 100},
               {hext::kGvmaVmid.at_once, &hext::kGvmaAllCost, 100},
               {hext::kVvmaAddressAsid.at_once, &hext::kVvmaAddressCost, 100},
               {hext::kVvmaAsid.at_once, &hext::kVvmaAllCost, 100},
               {hext::kSfenceInvalIr, &hext::kSfenceInvalIrCost, 100}};
  for (const auto& row : kRows) {
    MachineShape shape = simple();
    price(shape, *row.cost) = 7;
    Machine machine(shape, addrspace::kGiB);
    FenceUnit unit(machine);
    for (const auto& other : kRows) {
      Notice done(machine.wheel());
      const Cycle start = machine.wheel().now();
      unit.issue(0, {other.op, 0, 1}, Reach::Own, done, 0);
      machine.wheel().run();
      EXPECT_EQ(done.at - start, row.cost == other.cost ? 7 : other.general)
          << other.op->title() << " where " << row.op->title() << " has a price";
    }
  }
}
// By hand: DSB ISHST until 5. A TLBI for an address, issued at 5 and 15, has acted at 45 and 55;
// the DSB from 25 to 30 waits until 55. TLBI VMALLE1IS then acts at 145, long after its DSB.
TEST(FenceUnit, ABarrierTakesItsTimeWhileItWaits) {
  MachineShape shape = simple(2);
  price(shape, stage2::kAddressBroadcastCost) = 40;
  price(shape, stage2::kContextBroadcastCost) = 90;
  price(shape, stage2::kDsbCost) = 5;
  Machine machine(shape, addrspace::kGiB);
  FenceUnit unit(machine);
  Notice done(machine.wheel());
  const std::vector<FenceRequest> fences = {{stage2::kDsbIsh},     {stage2::kIpas2e1.is},
                                            {stage2::kIpas2e1.is}, {stage2::kDsbIsh},
                                            {stage2::kVmalle1.is}, {stage2::kDsbIsh}};
  EXPECT_EQ(unit.issue_all(0, fences, {}, done, 0).end(), 145u);
  machine.wheel().run();
  EXPECT_EQ(done.at, 145u);
}
// By hand: own 30. The other has the interrupt at 1000, is there at 1050, has acted at 1080, and is
// heard of at 1150.
TEST(FenceUnit, WaitsForTheAcknowledgementOfThoseThatWereInterrupted) {
  MachineShape shape = simple(2);
  price(shape, vmx::kInveptSingleCost) = 30;
  price(shape, kAcknowledgeCost) = 70;
  Machine machine(shape, addrspace::kGiB);
  FenceUnit unit(machine);
  Notice done(machine.wheel());
  const std::vector<FenceRequest> fences = {{vmx::kInveptSingle}};
  const std::vector<InterruptTarget> targets = {{1, 50}};
  const FenceUnit::Sequence took = unit.issue_all(0, fences, targets, done, 0);
  EXPECT_EQ(took.own, 30u);
  ASSERT_EQ(took.each.size(), 1u);
  EXPECT_EQ(took.each[0], 30u);
  machine.wheel().run_until(1149);
  EXPECT_EQ(done.at, kNever);
  machine.wheel().run();
  EXPECT_EQ(done.at, 1150u);
  unit.issue(0, fences[0], Reach::Interrupts, done, 0);
  machine.wheel().run();
  EXPECT_EQ(done.at, 1150u + 1000 + 30 + 70);
}

// Core 2 has posted 200 HINVAL at 10 cycles each, of which the last has acted at 1990 + 100. Both
// cores are interrupted at 1000: HINVAL until 1010, SFENCE.INVAL.IR until 1110. Core 2 waits for
// its own before, until 2090.
TEST(FenceUnit, EachInterruptedCoreWaitsForWhatItHasPostedItself) {
  Machine machine(simple(3), addrspace::kGiB);
  FenceUnit unit(machine);
  Notice done(machine.wheel());
  const FenceRequest posted{hext::kGvmaAddressVmid.posted, 0, 1};
  unit.issue_all(2, std::vector<FenceRequest>(200, posted), {}, done, 0);
  const std::vector<FenceRequest> fences = {posted, {hext::kSfenceInvalIr}};
  const std::vector<InterruptTarget> targets = {{1, 0}, {2, 0}};
  const FenceUnit::Sequence took = unit.issue_all(0, fences, targets, done, 0);
  ASSERT_EQ(took.each.size(), 2u);
  EXPECT_EQ(took.each[0], 110u);
  EXPECT_EQ(took.each[1], 1090u);
  machine.wheel().run();
}

TEST(FenceUnit, CountsWhatIsFilledAgain) {
  Machine machine(simple(), addrspace::kGiB);
  FenceUnit unit(machine);
  Notice done(machine.wheel());
  TranslationCache<Translation>& tlb = machine.core(0).mmu->second_tlb();
  const u16 tag = machine.tags().number({0, 1, 1, false});
  Translation entry;
  entry.guest_shift = entry.nested_shift = entry.held_shift = 12;
  for (const u64 page : {1u, 2u, 3u}) tlb.fill(page << 12, 12, tag, entry);
  FenceRequest fence{hext::kGvmaVmid.at_once, 0, 1};
  fence.engine = true;
  unit.issue_all(0, std::vector<FenceRequest>{fence}, {}, done, 0);
  machine.wheel().run();
  EXPECT_EQ(tlb.refills(), 0u);
  for (const u64 page : {2u, 4u, 2u}) tlb.fill(page << 12, 12, tag, entry);
  EXPECT_EQ(tlb.refills(), 1u);  // 4 was not there before, and the second 2 is there
}

// Issues fence n in the n-th of some cycles.
struct Issuer : Actor {
  void on_cycle(u32 n) override {
    const bool last = n + 1 == fences.size();
    unit->issue(0, fences[n], Reach::Own, last ? *done : *posted, n);
  }
  FenceUnit* unit = nullptr;
  Notice* posted = nullptr;
  Notice* done = nullptr;
  std::vector<FenceRequest> fences;
};
// Svinval: HINVAL and SINVAL are not waited for; SFENCE.INVAL.IR is, until they have acted.
TEST(FenceUnit, PartsOfAFenceOverlapAndEndTogether) {
  Machine machine(simple(), addrspace::kGiB);
  FenceUnit unit(machine);
  Notice posted(machine.wheel());
  Notice done(machine.wheel());
  TranslationCache<Translation>& tlb = machine.core(0).mmu->second_tlb();
  const u16 tag = machine.tags().number({0, 1, 1, false});
  Translation entry;
  entry.guest_shift = entry.nested_shift = entry.held_shift = 12;
  for (const u64 page : {u64{1}, u64{2}, u64{3}}) tlb.fill(page << 12, 12, tag, entry);
  Issuer issuer;
  issuer.unit = &unit;
  issuer.posted = &posted;
  issuer.done = &done;
  issuer.fences = {{hext::kSfenceWInval},
                   {hext::kVvmaAddress.posted, 0, 1, 0, 0x1000},
                   {hext::kVvmaAddress.posted, 0, 1, 0, 0x2000},
                   {hext::kSfenceInvalIr}};
  const Cycle cycles[] = {0, 0, 10, 20};
  for (u32 n = 0; n < 4; ++n) machine.wheel().schedule(cycles[n], issuer, n);
  machine.wheel().run_until(10);
  EXPECT_EQ(posted.at, 1u);
  machine.wheel().run_until(11);
  EXPECT_EQ(posted.at, 11u);
  machine.wheel().run_until(99);
  EXPECT_NE(tlb.find(0x1000, tag), nullptr);
  machine.wheel().run_until(100);
  EXPECT_EQ(tlb.find(0x1000, tag), nullptr);
  machine.wheel().run_until(109);
  EXPECT_NE(tlb.find(0x2000, tag), nullptr);
  machine.wheel().run_until(110);
  EXPECT_EQ(tlb.find(0x2000, tag), nullptr);
  machine.wheel().run_until(119);
  EXPECT_EQ(done.at, kNever);
  machine.wheel().run();
  EXPECT_EQ(done.at, 120u);  // three fences one after the other would take 300
  EXPECT_NE(tlb.find(0x3000, tag), nullptr);
}
// A HINVAL that takes 100, issued at 0, and at 10 a SFENCE.INVAL.IR that takes 5: it is over when
// the first has acted.
TEST(FenceUnit, ABarrierThatIsCheaperThanWhatItWaitsForWaits) {
  MachineShape shape = simple();
  price(shape, hext::kSfenceInvalIrCost) = 5;
  Machine machine(shape, addrspace::kGiB);
  FenceUnit unit(machine);
  Notice posted(machine.wheel());
  Notice done(machine.wheel());
  Issuer issuer;
  issuer.unit = &unit;
  issuer.posted = &posted;
  issuer.done = &done;
  issuer.fences = {{hext::kGvmaAll.posted}, {hext::kSfenceInvalIr}};
  machine.wheel().schedule(0, issuer, 0);
  machine.wheel().schedule(10, issuer, 1);
  machine.wheel().run();
  EXPECT_EQ(posted.at, 1u);
  EXPECT_EQ(done.at, 100u);
}
TEST(FenceUnit, InnerAndOuterShareableFormsBroadcast) {
  EXPECT_FALSE(FenceOp(stage2::kRvae1.local).is_broadcast());
  EXPECT_TRUE(FenceOp(stage2::kRvae1.is).is_broadcast());
  EXPECT_TRUE(FenceOp(stage2::kRvae1.os).is_broadcast());
}
TEST_F(Fences, ARangeNamesEveryPageInIt) {
  // The guest's large page is kPage and 2 MiB on: a range that ends before it, one that reaches it.
  const u64 before = kPage - 0x8000;
  EXPECT_EQ(apply({stage2::kRvaale1.is, 0, 1, 0, before, 0x8000}), 0u);
  EXPECT_EQ(apply({stage2::kRvaale1.is, 0, 1, 0, before, 0x9000}), 3u);
}

TEST(FenceUnit, ReachesOtherCoresOnlyByBroadcastOrInterrupt) {
  Machine machine(simple(2), addrspace::kGiB);
  FenceUnit unit(machine);
  Notice done(machine.wheel());
  const u16 tag = machine.tags().number({0x1000, 1, 1, false});
  TranslationCache<Translation>& other = machine.core(1).mmu->second_tlb();
  other.fill(0x1000, 12, tag, {});
  unit.issue(0, {vmx::kInveptAll}, Reach::Own, done, 0);
  machine.wheel().run();
  EXPECT_NE(other.find(0x1000, tag), nullptr);
  unit.issue(0, {vmx::kInveptAll}, Reach::Interrupts, done, 0);
  const Cycle issued = machine.wheel().now();
  machine.wheel().run_until(issued + 1099);
  EXPECT_NE(other.find(0x1000, tag), nullptr);
  machine.wheel().run_until(issued + 1100);
  EXPECT_EQ(other.find(0x1000, tag), nullptr);
}

}  // namespace
}  // namespace nestwalk::models::fence_unit_test
