// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which accesses overlap, and what that takes.

#include <random>
#include <set>

#include "world.hpp"

namespace nestwalk::software {
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
    policy.backend = Backend::eager();
    World world(physical(), policy, Architecture::X86_64, 1, {window});
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

// At 3, 6 and 9; the last one ends at 9 + 11. In order: three times 3 + 11.
TEST(Window, IssuesInstructionsMeanwhile) {
  const std::vector<GuestAccess> accesses = {access(1, AccessKind::Read, 3),
                                             access(2, AccessKind::Read, 3),
                                             access(3, AccessKind::Read, 3)};
  EXPECT_EQ(takes(4, accesses), 9 + kHit);
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
  policy.backend = Backend::eager();
  policy.hardware_dirty = false;  // no flags to set on the way
  const auto end_after = [&](bool all) {
    World world(physical(), policy, Architecture::X86_64, 1, {2});
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
  policy.backend = Backend::lazy();
  World together(physical(), policy, Architecture::X86_64, 1, {4});
  together.streams[0].read(0x5000);
  together.streams[0].read(0x5008);
  together.run();
  EXPECT_EQ(together.counts().exits, 1u);
  EXPECT_EQ(together.counts().total(), 2u);

  World apart(physical(), policy, Architecture::X86_64, 1, {4});
  apart.streams[0].read(0x5000);
  apart.streams[0].read(u64{32} << 20);
  apart.run();
  EXPECT_EQ(apart.counts().exits, 2u);
  EXPECT_EQ(apart.hypervisor->counts().cycles[Part::Lock], 0u);  // one after the other
  EXPECT_GT(apart.counts().held_cycles, 0u);
}

// An event begins when all before it is over.
TEST(Window, EventsWaitUntilItIsEmpty) {
  HypervisorShape policy;
  policy.backend = Backend::eager();
  const auto end_after = [&](bool operation) {
    World world(physical(), policy, Architecture::X86_64, 1, {4});
    for (u64 page = 1; page < 4; ++page) world.streams[0].add(access(page));
    if (operation)
      world.streams[0].add({0, HostOperation{HostOperation::Kind::LogStop, Gpa(0), 0}});
    world.run();
    const Cycle in_operation = world.hypervisor->operations().cycles.sum();
    EXPECT_EQ(world.counts().operation_cycles, in_operation);
    return world.counts().end - in_operation;
  };
  EXPECT_EQ(end_after(true), end_after(false));
}

// Whatever the window, all is played, each page faults once, and a chain of reads that depend on
// each other takes as long as in order.
TEST(Window, ChangesTimeOnly) {
  HypervisorShape policy;
  policy.backend = Backend::lazy();
  for (const bool chain : {false, true}) {
    Cycle in_order = 0;
    for (const u32 window : {1u, 2u, 7u, 64u}) {
      World world(physical(), policy, Architecture::X86_64, 1, {window});
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
      if (window == 1) in_order = cycles;
      EXPECT_LE(cycles, in_order);
      if (chain) {
        EXPECT_EQ(cycles, in_order);
      }
    }
  }
}

}  // namespace
}  // namespace nestwalk::software
