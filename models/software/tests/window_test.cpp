// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which accesses overlap, and what that takes.

#include <gmock/gmock.h>

#include <filesystem>
#include <random>
#include <set>

#include "nestwalk/machines/preset.hpp"
#include "world.hpp"

namespace nestwalk::software::window_test {
namespace {

/// A page whose data lie in a bank of their own.
constexpr u64 kApart = u64{64} << 10;
constexpr u64 kHit = kTlb + kReference;

GuestAccess access(u64 page, AccessKind kind = AccessKind::Read, u32 instructions = 0,
                   bool dependent = false) {
  const u8 facts = GuestAccess::kAddress | (dependent ? GuestAccess::kDependent : 0);
  return {page * kApart, 0, 0, instructions, kind, facts};
}

GuestShape physical() {
  GuestShape shape;
  shape.tables = GuestTables::None;
  shape.memory = {{0, u64{64} << 20}};
  return shape;
}

/// From where all pages of `accesses` are in the TLB.
Cycle takes(u32 window, const std::vector<GuestAccess>& accesses) {
  const auto end_after = [&](std::size_t count) {
    HypervisorShape policy;
    policy.backing = Backing::Eager;
    World world(physical(), policy, Architecture::X86_64, 1, overlapping(window));
    for (const GuestAccess& each : accesses)
      world.streams[0].add(access(each.address / kApart, each.kind));
    world.streams[0].add({0, GuestPhase{}});
    for (std::size_t n = 0; n < count; ++n) world.streams[0].add(accesses[n]);
    world.run();
    return world.counts().end;
  };
  return end_after(accesses.size()) - end_after(0);
}

TEST(Window, OfOneIsInOrder) { EXPECT_EQ(takes(1, {access(1), access(2)}), 2 * kHit); }

TEST(Window, LetsAccessesOverlap) { EXPECT_EQ(takes(2, {access(1), access(2)}), kHit); }

// The third begins when the first is over.
TEST(Window, HoldsNoMoreThanItsSlots) {
  EXPECT_EQ(takes(2, {access(1), access(2), access(3)}), 2 * kHit);
  EXPECT_EQ(takes(3, {access(1), access(2), access(3)}), kHit);
}

// At 3, 6 and 9; the last one ends at 9 + 11. The window has to have the instructions from the
// first access to the third: 7. One of 4 has room for those up to the second, and for the others
// when the first access is over, at 14: the third begins at 17. In order: three times 3 + 11.
TEST(Window, IssuesInstructionsMeanwhile) {
  const std::vector<GuestAccess> accesses = {access(1, AccessKind::Read, 3),
                                             access(2, AccessKind::Read, 3),
                                             access(3, AccessKind::Read, 3)};
  EXPECT_EQ(takes(7, accesses), 9 + kHit);
  EXPECT_EQ(takes(6, accesses), 3 + kHit + 1 + kHit);
  EXPECT_EQ(takes(4, accesses), 3 + kHit + 3 + kHit);
  EXPECT_EQ(takes(1, accesses), 3 * (3 + kHit));
}

TEST(Window, DependentAccessesWaitForTheReadBeforeThem) {
  EXPECT_EQ(takes(4, {access(1), access(2, AccessKind::Read, 0, true)}), 2 * kHit);
  // A write between them is not what it waits for.
  EXPECT_EQ(
      takes(4, {access(1), access(2, AccessKind::Write), access(3, AccessKind::Read, 0, true)}),
      2 * kHit);
  // Nor is there anything to wait for behind writes only.
  EXPECT_EQ(takes(4, {access(1, AccessKind::Write), access(2, AccessKind::Write)}), kHit);
}

TEST(Window, NothingOvertakesAFetchButWhatWasBeforeIt) {
  EXPECT_EQ(takes(4, {access(1, AccessKind::Execute), access(2)}), 2 * kHit);
  EXPECT_EQ(takes(4, {access(1, AccessKind::Execute), access(2, AccessKind::Execute)}), 2 * kHit);
  EXPECT_EQ(takes(4, {access(1), access(2, AccessKind::Execute)}), kHit);
}

// The third access waits for the slot of the first, which walks: 1 + 40 + 10. The second is a hit
// beside it, the third a hit behind it.
TEST(Window, FreesSlotsInOrder) {
  HypervisorShape policy;
  policy.backing = Backing::Eager;
  policy.hardware_dirty = false;  // no flags to set on the way
  const auto end_after = [&](bool all) {
    World world(physical(), policy, Architecture::X86_64, 1, overlapping(2));
    for (const u64 page : {8u, 9u}) world.streams[0].read(page * kApart + kFrameBytes);
    world.streams[0].add({0, GuestPhase{}});
    if (all) {
      world.streams[0].read(u64{16} << 20);
      for (const u64 page : {8u, 9u}) world.streams[0].read(page * kApart + kFrameBytes);
    }
    world.run();
    return world.counts().end;
  };
  EXPECT_EQ(end_after(true) - end_after(false), (kTlb + kWalk + kReference) + kHit);
}

// Both fault; the second waits for the first, tries again, and finds the page.
TEST(Window, FaultsAreTakenInOrder) {
  HypervisorShape policy;
  policy.backing = Backing::Lazy;
  World together(physical(), policy, Architecture::X86_64, 1, overlapping(4));
  together.streams[0].read(0x5000);
  together.streams[0].read(0x5008);
  together.run();
  EXPECT_EQ(together.counts().exits, 1u);
  EXPECT_EQ(together.counts().total(), 2u);

  World apart(physical(), policy, Architecture::X86_64, 1, overlapping(4));
  apart.streams[0].read(0x5000);
  apart.streams[0].read(u64{32} << 20);
  apart.run();
  EXPECT_EQ(apart.counts().exits, 2u);
  EXPECT_EQ(apart.vm.hypervisor().counts().cycles[Part::Lock], 0u);  // one after the other
  EXPECT_GT(apart.counts().held_cycles, 0u);
}

/// A read of a page that is there, one that faults on the page beside it, and two more of the
/// first: the second is issued while the fault is handled. Without these three: the read that comes
/// first.
struct Faulting {
  Faulting(const GuestShape& shape, bool faults, u32 second, u32 third)
      : world(shape, policy(), Architecture::X86_64, 1, overlapping(1024)) {
    world.streams[0].add(access(8));
    world.streams[0].add({0, GuestPhase{}});
    if (faults) {
      world.streams[0].add(access(9));
      world.streams[0].add(access(8, AccessKind::Read, second));
      world.streams[0].add(access(8, AccessKind::Read, third));
    }
    world.run();
  }
  static HypervisorShape policy() {
    HypervisorShape policy;
    policy.backing = Backing::Lazy;
    policy.hardware_dirty = false;  // no flags to set on the way
    return policy;
  }
  World world;
};

// The walk finds no leaf after 1 + 40, and the exit is over at some T. The second read was due at
// 60, within the exit, and begins at T: it does not wait until the faulting one has walked again.
// The third one begins at T + 100.
TEST(Window, WhatFollowsAnExitBeginsWhenThatIsOver) {
  const VcpuCounts before = Faulting(physical(), false, 60, 100).world.counts();
  const VcpuCounts after = Faulting(physical(), true, 60, 100).world.counts();
  const Cycle exit = after.exit_cycles - before.exit_cycles;
  EXPECT_GT(exit, kExit + kEntry);
  EXPECT_EQ(after.end - before.end, (kTlb + kWalk + exit) + 100 + kHit);
}

// Each of the guest's four entries takes a walk of the second stage, and is read: 1 + 4 * 50 until
// there is no leaf. Its kernel takes 200 and more; the second read is due at 250, meanwhile, and
// the third one 500 after it, when the faulting one has long ended.
TEST(Window, WhatFollowsAGuestFaultBeginsWhenThatIsHandled) {
  GuestShape shape = physical();
  shape.tables = GuestTables::FirstTouch;
  const VcpuCounts before = Faulting(shape, false, 250, 500).world.counts();
  const VcpuCounts after = Faulting(shape, true, 250, 500).world.counts();
  const Cycle handled = after.guest_cycles - before.guest_cycles;
  EXPECT_GT(handled, kGuestFault);
  EXPECT_EQ(after.exit_cycles, before.exit_cycles);
  EXPECT_EQ(after.end - before.end, kTlb + 4 * (kWalk + kReference) + handled + 500 + kHit);
}

// Two that fault. The second one's fault is held until the first one's access is over: it walks
// without a leaf (1 + 40), exits, walks again and has its data (1 + 40 + 10). Then the second one
// is tried again, exits as well, and only now something may begin beside it: a read that was due 60
// after them, when both faults were known, and 100 later another one, which is a hit.
TEST(Window, NothingBeginsUntilAHeldFaultIsHandled) {
  const auto counts_of = [](bool faults) {
    World world(physical(), Faulting::policy(), Architecture::X86_64, 1, overlapping(1024));
    world.streams[0].add(access(8));
    world.streams[0].add({0, GuestPhase{}});
    for (const u64 page : {9u, 10u}) {
      if (faults) world.streams[0].add(access(page));
    }
    if (faults) world.streams[0].add(access(8, AccessKind::Read, 60));
    if (faults) world.streams[0].add(access(8, AccessKind::Read, 100));
    world.run();
    return world.counts();
  };
  const VcpuCounts before = counts_of(false);
  const VcpuCounts after = counts_of(true);
  const Cycle exits = after.exit_cycles - before.exit_cycles;
  EXPECT_EQ(after.exits - before.exits, 2u);
  EXPECT_EQ(after.end - before.end,
            2 * (kTlb + kWalk) + exits + (kTlb + kWalk + kReference) + 100 + kHit);
}

// Were each begun within the end of the one before it, the stack would end.
TEST(Window, ManyHitsInARowAreNoChainOfCalls) {
  HypervisorShape policy;
  policy.backing = Backing::Eager;
  World world(physical(), policy, Architecture::X86_64, 1, overlapping(8));
  constexpr unsigned kReads = 100'000;
  for (unsigned n = 0; n < kReads; ++n) {
    world.streams[0].add(access(n % 2, AccessKind::Read, 0, true));
  }
  world.run();
  EXPECT_EQ(world.counts().total(), kReads);
}

// The first vCPU's stream ends with a read, issued at 5 and over at 5 + 1 + 40 + 10. The second one
// has come to a time that is later, and goes on at 5: nobody is behind it.
TEST(Window, NobodyWaitsForAStreamThatHasEnded) {
  HypervisorShape policy;
  policy.backing = Backing::Eager;
  policy.hardware_dirty = false;
  World world(physical(), policy, Architecture::X86_64, 2, overlapping(2));
  RecordedOrder order;
  for (u32 n = 0; n < 2; ++n) world.vm.vcpu(n).keep_order(order);
  world.streams[0].add(access(8, AccessKind::Read, 5));
  world.streams[1].add({0, GuestTime{100}});
  world.run();
  EXPECT_EQ(world.counts(0).end - world.counts(0).begin, 5 + kTlb + kWalk + kReference);
  EXPECT_EQ(world.counts(1).ordered_cycles, 5u);
}

// An event begins when all before it is over.
TEST(Window, EventsWaitUntilItIsEmpty) {
  HypervisorShape policy;
  policy.backing = Backing::Eager;
  const auto end_after = [&](bool operation) {
    World world(physical(), policy, Architecture::X86_64, 1, overlapping(4));
    for (u64 page = 1; page < 4; ++page) world.streams[0].add(access(page));
    if (operation)
      world.streams[0].add({0, HostOperation{HostOperation::Kind::LogStop, Gpa(0), 0}});
    world.run();
    const Cycle in_operation = world.vm.hypervisor().operations().cycles.sum();
    EXPECT_EQ(world.counts().operation_cycles, in_operation);
    return world.counts().end - in_operation;
  };
  EXPECT_EQ(end_after(true), end_after(false));
}

// Whatever the window, all is played, each page faults once, and a chain of reads that depend on
// each other takes as long as in order.
TEST(Window, ChangesTimeOnly) {
  HypervisorShape policy;
  policy.backing = Backing::Lazy;
  for (const bool chain : {false, true}) {
    Cycle in_order = 0;
    for (const u32 window : {0u, 1u, 2u, 7u, 64u}) {  // 0: in order
      World world(physical(), policy, Architecture::X86_64, 1,
                  window == 0 ? models::CoreShape{} : overlapping(window));
      std::mt19937_64 random(1);
      std::set<u64> pages;
      for (unsigned n = 0; n < 3000; ++n) {
        const u64 page = random() % 1024;
        const auto kind = static_cast<AccessKind>(random() % (chain ? 1 : 3));
        pages.insert(page);
        const u32 instructions = static_cast<u32>(random() % (chain ? 1 : 9));
        GuestAccess each = access(0, kind, instructions, chain);
        each.address = page * kFrameBytes;
        world.streams[0].add(each);
      }
      world.run();
      EXPECT_EQ(world.counts().total(), 3000u);
      EXPECT_EQ(world.counts().exits, pages.size());
      const Cycle cycles = world.counts().end - world.counts().begin;
      if (window == 0) in_order = cycles;
      EXPECT_LE(cycles, in_order);
      if (chain || window == 1) {
        EXPECT_EQ(cycles, in_order);
      }
    }
  }
}

/// Looks at the first vCPU whenever another one comes to a marker.
class Looks final : public Milestones {
 public:
  explicit Looks(World& world) : world_(world) {}
  void on_phase(u32, const GuestPhase&) override {
    seen.push_back(world_.vm.vcpu(0).counts_until(world_.machine.wheel().now()));
  }
  void on_warm(u32) override {}
  std::vector<VcpuCounts> seen;

 private:
  World& world_;
};

// The first vCPU's accesses have their data from memory, from its cache (4) and again from memory,
// while another one has a marker in each cycle. Who has data is known when they are there, so no
// count may take back what it said before, and the parts add up to the accesses at each look.
TEST(Snapshots, TakeNothingBackOfAccessesUnderWay) {
  for (const u32 window : {1u, 4u}) {
    models::MachineShape shape = easy(Architecture::X86_64, 2);
    shape.l1d = models::DataCacheShape{1, 4, 4, 4, models::ReplacementKind::Lru};
    HypervisorShape policy;
    policy.backing = Backing::Eager;
    World world(physical(), policy, with_core(shape, overlapping(window)));
    Looks looks(world);
    world.vm.tell(looks);
    for (const u64 page : {8u, 8u, 9u, 10u}) {
      world.streams[0].add(access(page, AccessKind::Read, 0, true));
    }
    for (unsigned n = 0; n < 600; ++n) world.streams[1].add({1, GuestPhase{}});
    world.run();
    ASSERT_EQ(looks.seen.size(), 600u);
    VcpuCounts before;
    for (VcpuCounts& now : looks.seen) {
      EXPECT_EQ(now.data_of(AccessKind::Read, models::Served::None).cycles, 0u);
      for (const models::Served served : {models::Served::L1, models::Served::Memory}) {
        EXPECT_GE(now.data_of(AccessKind::Read, served).cycles,
                  before.data_of(AccessKind::Read, served).cycles);
      }
      EXPECT_GE(now.translation_cycles, before.translation_cycles);
      before = now;
    }
    EXPECT_EQ(before.data_of(AccessKind::Read, models::Served::L1).references, 1u);
    EXPECT_EQ(before.unfinished_cycles, 0u);
  }
}

// The first access is of a page that the trace has where the kernel's tables are, and ends the run
// while the second one walks. Both walk from the same cycle: the first one's has no leaf (20
// references), the second one's has four more. What the core's MMU counts until that is over is
// this vCPU's, which has the core until then.
TEST(Window, AVcpuThatStopsKeepsItsCoreUntilItsWalksAreOver) {
  GuestShape guest = physical();
  guest.tables = GuestTables::Recorded;
  HypervisorShape policy;
  policy.backing = Backing::Eager;
  models::MachineShape shape = easy(Architecture::X86_64, 1);
  shape.software.guest_fault_cycles = 0;
  World world(guest, policy, with_core(shape, overlapping(4)));
  constexpr u64 kPage = u64{1} << 30;
  ListStream& stream = world.streams[0];
  stream.recorded(kPage, 0x10000);
  stream.recorded(kPage + kFrameBytes, 0x20000);  // needs no table: all frames are in stock
  stream.add({0, GuestFence{}});
  stream.recorded(kPage + 2 * kFrameBytes, Guest::kernel_memory(guest).start);
  stream.recorded(kPage, 0x10000);
  world.run();
  EXPECT_THAT(world.vm.vcpu(0).stopped().value_or(""), testing::HasSubstr("beyond guest.memory"));
  EXPECT_TRUE(world.vm.vcpu(0).finished());
  EXPECT_EQ(world.counts().total(), 2u);
  EXPECT_EQ(world.vm.vcpu(0).mmu_totals().cycles, world.machine.core(0).mmu->totals().cycles);
}

// MSHRs ------------------------------------------------------------------------------------------

enum class Pattern { Sequential, Random, Shared };

/// Of one vCPU; or of many that read and write the same few lines.
void expect_all_complete(models::MachineShape shape, u32 window, Pattern pattern,
                         const std::string& what) {
  constexpr u32 kAccesses = 400;
  const bool shared = pattern == Pattern::Shared;
  shape.cores = shared ? 8 : 1;
  HypervisorShape policy;
  policy.backing = Backing::Lazy;
  World world(physical(), policy, with_core(shape, overlapping(window)));
  std::mt19937_64 random(window);
  for (ListStream& stream : world.streams) {
    for (u32 n = 0; n < kAccesses; ++n) {
      const u64 any = random();
      const u64 bytes = shared ? kFrameBytes : 16 * kFrameBytes;
      const u64 address = pattern == Pattern::Sequential ? n * 8 : any % bytes;
      stream.add({address, 0, 0, static_cast<u32>(any >> 60),
                  any >> 59 & 1 ? AccessKind::Write : AccessKind::Read});
    }
  }
  world.run();
  for (u32 n = 0; n < shape.cores; ++n) EXPECT_EQ(world.counts(n).total(), kAccesses) << what;
}

// Few MSHRs, so that accesses wait for them in each cache, or in the last one alone; and so many
// accesses under way that those that wait hit or join others when they look again.
TEST(Window, OfAnySizeCompletesWithAnyNumberOfMshrs) {
  for (const auto& file : std::filesystem::directory_iterator(NESTWALK_PRESETS)) {
    const models::MachineShape preset = models::load_preset(file.path().string()).shape;
    for (const u32 window : {1u, 18u, 96u, 1024u}) {
      for (const u32 mshrs : {0u, 1u, 5u, 64u}) {  // 0: those of the preset
        for (const bool last_alone : {false, true}) {
          if (mshrs == 0 && last_alone) continue;
          models::MachineShape shape = preset;
          std::optional<models::DataCacheShape>& last = shape.l3 ? shape.l3 : shape.l2;
          for (auto* const cache : {&shape.l1i, &shape.l1d, &shape.l2, &shape.l3}) {
            if (*cache && mshrs != 0 && (!last_alone || cache == &last)) (*cache)->mshrs = mshrs;
          }
          for (const Pattern pattern : {Pattern::Sequential, Pattern::Random, Pattern::Shared}) {
            expect_all_complete(shape, window, pattern,
                                preset.name + ", window " + std::to_string(window) + ", MSHRs " +
                                    std::to_string(mshrs) + (last_alone ? " of the last" : ""));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace nestwalk::software::window_test
