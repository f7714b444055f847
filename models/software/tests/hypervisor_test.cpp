// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What an exit costs, to the cycle, and in which order things become visible.

#include "world.hpp"

namespace nestwalk::software::hypervisor_test {
namespace {

GuestShape physical(u64 bytes = u64{64} << 20) {
  GuestShape shape;
  shape.tables = GuestTables::None;
  shape.memory = {{0, bytes}};
  return shape;
}
HypervisorShape policy(Backing backing, u8 fault_around = 0, bool large_pages = false) {
  HypervisorShape shape;
  shape.backing = backing;
  shape.fault_around = fault_around;
  shape.large_pages = large_pages;
  shape.hardware_dirty = false;
  return shape;
}

// TLB 1, one reference: the root is empty. Exit, handler, the engine's work, entry. Again: TLB 1,
// four references, and the access.
TEST(Exit, CostsWhatTheEngineDid) {
  World world(physical(), policy(Backing::Lazy));
  world.streams[0].read(0x5000);
  world.run();
  const WorkCounts work = since(world.vm.begin_work(), world.vm.work());
  // By hand: tables of levels 2, 1 and 0 and the page itself: four frames, each zeroed, and an
  // entry written for each. What it reads is its own business; that it counts is not.
  EXPECT_EQ(work.frames_allocated, 4u);
  EXPECT_EQ(work.bytes_zeroed, 4 * kFrameBytes);
  EXPECT_EQ(work.entries_written, 4u);
  EXPECT_EQ(work.fences, 0u);
  EXPECT_EQ(world.latencies(), kTlb + kReference + kExit + kHandler + World::cycles_of(work) +
                                   kEntry + kTlb + kWalk + kReference);
  EXPECT_EQ(world.vm.hypervisor().counts().cycles.sum(),
            kExit + kHandler + World::cycles_of(work) + kEntry);
  EXPECT_EQ(world.counts().exits, 1u);
}

TEST(Exit, IsSparedByMemoryThatIsThere) {
  World world(physical(), policy(Backing::Eager));
  world.streams[0].read(0x5000);
  world.streams[0].read(0x5008);
  world.run();
  EXPECT_EQ(world.counts().exits, 0u);
  EXPECT_EQ(world.latencies(), (kTlb + kWalk + kReference) + (kTlb + kReference));
  // 64 MiB in frames: each zeroed before the guest began.
  EXPECT_GE(world.vm.begin_work().bytes_zeroed, u64{64} << 20);
  EXPECT_GE(world.counts().begin, (u64{64} << 20) / kFrameBytes * (kFrame + kZero + kReference));
}

// Sixteen pages of one fault; the neighbours need no exit.
TEST(Exit, BringsNeighboursWithFaultAround) {
  World world(physical(), policy(Backing::Lazy, 4));
  for (u64 page = 0; page < 16; ++page) world.streams[0].read(page * kFrameBytes);
  world.run();
  EXPECT_EQ(world.counts().exits, 1u);
  EXPECT_EQ(world.vm.host_space().usage().tables.owned_bytes, 16 * kFrameBytes);
}

TEST(Exit, BringsALargePage) {
  World world(physical(), policy(Backing::Lazy, 0, true));
  for (u64 page = 0; page < 512; page += 64) world.streams[0].read(page * kFrameBytes);
  world.run();
  EXPECT_EQ(world.counts().exits, 1u);
  EXPECT_EQ(world.vm.host_space().usage().tables.owned_bytes, u64{2} << 20);
  // TLB 1 and three references for the large leaf; then its TLB entry serves all.
  const WorkCounts work = since(world.vm.begin_work(), world.vm.work());
  EXPECT_EQ(world.latencies(), kTlb + kReference + kExit + kHandler + World::cycles_of(work) +
                                   kEntry + kTlb + 3 * kReference + kReference +
                                   7 * (kTlb + kReference));
}

TEST(Exit, ForADeviceIsEmulated) {
  World world(physical(), policy(Backing::Lazy));
  world.streams[0].read(u64{64} << 20);
  world.streams[0].read(u64{64} << 20);
  world.run();
  EXPECT_EQ(world.counts().emulated, 2u);
  EXPECT_EQ(
      world.vm.hypervisor().counts().by_outcome[static_cast<std::size_t>(FaultOutcome::NoArea)],
      2u);
  const WorkCounts work = since(world.vm.begin_work(), world.vm.work());
  EXPECT_EQ(world.latencies(), 2 * (kTlb + kReference + kExit + kHandler + kEntry + kEmulation) +
                                   World::cycles_of(work));
}

// Both begin in the same cycle, and both read the root's first entry at once. The second waits for
// as long as the first is in the engine.
TEST(Exit, WaitsForWhoeverIsInTheEngine) {
  World alone(physical(), policy(Backing::Lazy));
  alone.streams[0].read(0x5000);
  alone.run();
  const u64 in_engine = kHandler + World::cycles_of(since(alone.vm.begin_work(), alone.vm.work()));

  World world(physical(), policy(Backing::Lazy), Architecture::X86_64, 2);
  world.streams[0].read(0x5000);
  world.streams[1].read(u64{32} << 20);
  world.run();
  EXPECT_EQ(world.vm.hypervisor().counts().cycles[Part::Lock], in_engine);
  EXPECT_EQ(world.counts(0).exits, 1u);
  EXPECT_EQ(world.counts(1).exits, 1u);
}

// While the first is in the engine, the page is not there for the second, though the engine has run
// already: it faults as well, and finds it mapped.
TEST(Exit, IsNotVisibleBeforeItsEntryIsWritten) {
  World world(physical(), policy(Backing::Lazy), Architecture::X86_64, 2);
  world.streams[0].read(0x5000);
  world.streams[1].read(0x5008,
                        200);  // 200 cycles later: the first has been in the engine since 142
  world.run();
  EXPECT_EQ(world.counts(1).exits, 1u);
  const ExitCounts& exits = world.vm.hypervisor().counts();
  EXPECT_EQ(exits.by_outcome[static_cast<std::size_t>(FaultOutcome::Mapped)], 1u);
  EXPECT_EQ(exits.by_outcome[static_cast<std::size_t>(FaultOutcome::AlreadyMapped)], 1u);

  World later(physical(), policy(Backing::Lazy), Architecture::X86_64, 2);
  later.streams[0].read(0x5000);
  later.streams[1].read(0x5008, 2000);
  later.run();
  EXPECT_EQ(later.counts(1).exits, 0u);
}

TEST(Exit, WithoutMemoryEndsTheRun) {
  World world(physical(u64{4} << 30), policy(Backing::Eager));  // of a host that has 2 GiB
  world.streams[0].read(0);
  world.run();
  ASSERT_TRUE(world.vm.hypervisor().begin_error().has_value());
  EXPECT_EQ(world.counts().total(), 0u);

  World lazy(physical(u64{4} << 30), policy(Backing::Lazy, 0, true));
  for (u64 at = 0; at < u64{4} << 30; at += u64{2} << 20) lazy.streams[0].read(at);
  lazy.run();
  EXPECT_EQ(lazy.vm.vcpu(0).stopped(), "the host is out of memory");
  // Of 1024 runs of 2 MiB, one or two are broken up for tables. What is left of those comes as
  // small pages, each with a table of its own.
  EXPECT_GE(lazy.counts().total(), 1022u);
  EXPECT_LE(lazy.counts().total(), 1022u + 2 * 512 / 2);
}

class Operation : public testing::TestWithParam<Architecture> {
 protected:
  static GuestEvent event(HostOperation::Kind kind, u64 gpa, u64 bytes,
                          Access access = addrspace::kRwx) {
    return {0, HostOperation{kind, Gpa(gpa), bytes, access}};
  }
  static u64 exits(const World& world, FaultOutcome outcome) {
    return world.vm.hypervisor().counts().by_outcome[static_cast<std::size_t>(outcome)];
  }
  using Kind = HostOperation::Kind;
};

// A page that was zapped is gone from the TLB as well: the next access exits, and gets a new frame.
TEST_P(Operation, ZappedPagesComeBackWhenTheyAreTouched) {
  World world(physical(), policy(Backing::Lazy), GetParam());
  world.streams[0].read(0x5000);
  world.streams[0].add(event(Kind::Zap, 0x5000, kFrameBytes));
  world.streams[0].read(0x5000);
  world.streams[0].read(0x5000);
  world.run();
  EXPECT_EQ(world.counts().exits, 2u);
  EXPECT_EQ(exits(world, FaultOutcome::Mapped), 2u);
  EXPECT_EQ(world.vm.hypervisor().operations().by_kind[static_cast<std::size_t>(Kind::Zap)], 1u);
  EXPECT_EQ(world.vm.hypervisor().operations().refused, 0u);
  EXPECT_GE(world.vm.work().fences, 1u);
}

// Eight faults: the first reserves, seven pages take what is theirs; the ninth finds the frame that
// the zap gave back, so the eight entries still name eight frames side by side. Nothing else in the
// host is short of frames.
TEST_P(Operation, AZappedPageComesBackToTheFrameThatIsReservedForIt) {
  World world(physical(), policy(Backing::Lazy), easy(GetParam(), 1), {},
              models::FramePolicyKind::called("reservation"));
  const auto gpa = [](u64 page) { return 64 * kFrameBytes + page * kFrameBytes; };
  for (u64 page = 0; page < 8; ++page) world.streams[0].read(gpa(page));
  world.streams[0].add(event(Kind::Zap, gpa(3), kFrameBytes));
  world.streams[0].read(gpa(3));
  world.run();
  EXPECT_EQ(exits(world, FaultOutcome::Mapped), 9u);
  const HostSpace& host = world.vm.host_space();
  const addrspace::Hpa first = *host.translate(Gpa(gpa(0)));
  for (u64 page = 1; page < 8; ++page) {
    EXPECT_EQ(*host.translate(Gpa(gpa(page))), first + page * kFrameBytes) << page;
  }
  const models::FramePolicy& frames = world.machine.memory().policy();
  EXPECT_EQ(frames.counts().used, 7u + 1);
  EXPECT_EQ(frames.counts().given_back, 0u);
  EXPECT_EQ(frames.reserved(), 0u);
}

// Two pages beside each other are zapped as one: both come back, and the six stay where they are.
TEST_P(Operation, ZappedNeighboursComeBackToTheirReservedFrames) {
  World world(physical(), policy(Backing::Lazy), easy(GetParam(), 1), {},
              models::FramePolicyKind::called("reservation"));
  const auto gpa = [](u64 page) { return 64 * kFrameBytes + page * kFrameBytes; };
  for (u64 page = 0; page < 8; ++page) world.streams[0].read(gpa(page));
  world.streams[0].add(event(Kind::Zap, gpa(4), 2 * kFrameBytes));
  world.streams[0].read(gpa(5));
  world.run();
  const HostSpace& host = world.vm.host_space();
  EXPECT_EQ(*host.translate(Gpa(gpa(5))), *host.translate(Gpa(gpa(0))) + 5 * kFrameBytes);
  EXPECT_EQ(world.machine.memory().policy().reserved(), 1u);
  EXPECT_EQ(world.machine.memory().policy().counts().given_back, 0u);
}

// One fault brings in sixteen pages, which walk one by one: the first twice, as it faulted. As a
// group they are one entry of a TLB that has 64K, so nobody walks for the other fifteen. The page
// that is zapped makes pages of the others, which stay where they are: sixteen walks, and two for
// the page that comes back.
TEST_P(Operation, AGroupOfPagesIsOneEntryOfATlbUntilAPartOfItChanges) {
  models::MachineShape machine = easy(GetParam(), 1);
  machine.mmu.data_tlb = {{{1, 1, {12}}, {1, 1, {16}}}, kTlb};
  machine.napot_pages = true;
  const auto gpa = [](u64 page) { return 64 * kFrameBytes + page * kFrameBytes; };
  for (const bool contiguous : {false, true}) {
    HypervisorShape shape = policy(Backing::Lazy, 4);
    shape.contiguous = contiguous;
    if (contiguous && GetParam() == Architecture::X86_64) {
      EXPECT_THROW(World(physical(), shape, machine), ShapeError);
      continue;
    }
    for (const bool zaps : {false, true}) {
      World world(physical(), shape, machine);
      for (u64 page = 0; page < 16; ++page) world.streams[0].read(gpa(page));
      if (zaps) {
        world.streams[0].add(event(Kind::Zap, gpa(3), kFrameBytes));
        for (u64 page = 0; page < 16; ++page) world.streams[0].read(gpa(page));
      }
      world.run();
      EXPECT_EQ(world.counts().total(), zaps ? 32u : 16u);
      EXPECT_EQ(exits(world, FaultOutcome::Mapped), zaps ? 2u : 1u);
      EXPECT_EQ(world.machine.core(0).mmu->counts().walks(),
                (contiguous ? 2u : 17u) + (zaps ? 17u : 0u));
      const HostSpace& host = world.vm.host_space();
      for (u64 page = 0; page < 16; ++page) {
        if (page == 3 && zaps) continue;
        EXPECT_EQ(*host.translate(Gpa(gpa(page))),
                  *host.translate(Gpa(gpa(0))) + page * kFrameBytes);
      }
    }
  }
}

TEST_P(Operation, MappedPagesNeedNoExit) {
  World world(physical(), policy(Backing::Lazy), GetParam());
  world.streams[0].read(0x5000);
  world.streams[0].add(event(Kind::Map, 0x5000, 2 * kFrameBytes));
  world.streams[0].read(0x5000);
  world.streams[0].read(0x6000);
  world.run();
  EXPECT_EQ(world.counts().exits, 1u);
}

TEST_P(Operation, ABalloonTakesForGood) {
  World world(physical(), policy(Backing::Lazy), GetParam());
  world.streams[0].read(0x5000);
  world.streams[0].add(event(Kind::Inflate, 0x5000, kFrameBytes));
  world.streams[0].read(0x5000);
  world.streams[0].add(event(Kind::Deflate, 0x5000, kFrameBytes));
  world.streams[0].read(0x5000);
  world.run();
  EXPECT_EQ(exits(world, FaultOutcome::Mapped), 2u);
  EXPECT_EQ(exits(world, FaultOutcome::NoArea), 1u);
  EXPECT_EQ(world.counts().emulated, 1u);
}

TEST_P(Operation, ProtectedPagesRefuseWrites) {
  World world(physical(), policy(Backing::Lazy), GetParam());
  world.streams[0].write(0x5000);
  world.streams[0].add(event(Kind::Protect, 0x5000, kFrameBytes, addrspace::kRead));
  world.streams[0].read(0x5000);
  world.streams[0].write(0x5000);
  world.streams[0].add(event(Kind::Protect, 0x5000, kFrameBytes));
  world.streams[0].write(0x5000);
  world.run();
  EXPECT_EQ(exits(world, FaultOutcome::NoPermission), 1u);
  EXPECT_EQ(world.counts().total(), 4u);
}

// By write protection: the first write to each page exits. Three pages were written before, two
// of them after the start, and one again after the harvest.
TEST_P(Operation, TheDirtyLogSeesWhatWasWritten) {
  for (const bool hardware : {false, true}) {
    HypervisorShape shape = policy(Backing::Lazy);
    shape.hardware_dirty = hardware;
    World world(physical(), shape, GetParam());
    ListStream& stream = world.streams[0];
    for (const u64 page : {1u, 2u, 3u}) stream.write(page * kFrameBytes);
    stream.add(event(Kind::LogStart, 0, 0));
    for (const u64 page : {1u, 3u, 3u}) stream.write(page * kFrameBytes);
    stream.read(2 * kFrameBytes);
    stream.add(event(Kind::LogHarvest, 0, 0));
    stream.write(1 * kFrameBytes);
    stream.add(event(Kind::LogHarvest, 0, 0));
    stream.add(event(Kind::LogStop, 0, 0));
    for (const u64 page : {1u, 2u, 3u}) stream.write(page * kFrameBytes);
    world.run();
    EXPECT_EQ(world.vm.hypervisor().operations().refused, 0u);
    EXPECT_EQ(world.vm.hypervisor().operations().bytes_dirty, 3 * kFrameBytes);
    EXPECT_EQ(exits(world, FaultOutcome::MadeWritable), hardware ? 0u : 3u);
    EXPECT_EQ(world.counts().total(), 11u);
  }
}

// 3 GiB, a part of 1 GiB at a time. Four pages are written after the start, two in each of the
// first and the last part, and one again after the harvest. The second start is refused, and so is
// the second stop.
TEST_P(Operation, TheDirtyLogOfALargeGuestIsCarriedOutInParts) {
  constexpr u64 kPart = u64{1} << 30;
  for (const bool hardware : {false, true}) {
    HypervisorShape shape = policy(Backing::Lazy);
    shape.hardware_dirty = hardware;
    World world(physical(3 * kPart), shape, GetParam());
    ListStream& stream = world.streams[0];
    const u64 pages[] = {0x1000, 0x3000, 2 * kPart + 0x1000, 2 * kPart + 0x5000};
    for (const u64 page : pages) stream.write(page);
    stream.write(kPart);
    stream.add(event(Kind::LogStart, 0, 0));
    stream.add(event(Kind::LogStart, 0, 0));
    for (const u64 page : pages) stream.write(page);
    stream.add(event(Kind::LogHarvest, 0, 0));
    stream.write(2 * kPart + 0x5000);
    stream.add(event(Kind::LogHarvest, 0, 0));
    stream.add(event(Kind::LogStop, 0, 0));
    stream.add(event(Kind::LogStop, 0, 0));
    for (const u64 page : pages) stream.write(page);
    stream.write(kPart);
    world.run();
    EXPECT_EQ(world.vm.hypervisor().operations().refused, 2u);
    EXPECT_EQ(world.vm.hypervisor().operations().bytes_dirty, 5 * kFrameBytes);
    EXPECT_EQ(exits(world, FaultOutcome::MadeWritable), hardware ? 0u : 5u);
    EXPECT_EQ(world.counts().total(), 15u);
  }
}

// Two vCPUs on one page: the fence reaches the one that did not ask for it.
TEST_P(Operation, ItsFenceReachesTheOthers) {
  World world(physical(), policy(Backing::Lazy), GetParam(), 2);
  world.streams[0].read(0x5000);
  world.streams[0].read(0x5000, 5000);
  world.streams[0].add(event(Kind::Zap, 0x5000, kFrameBytes));
  world.streams[1].read(0x5000, 2000);
  world.streams[1].read(0x5000, 20'000);
  world.run();
  EXPECT_EQ(exits(world, FaultOutcome::Mapped), 2u);
  EXPECT_EQ(world.counts(1).exits, 1u);
}

// By hand: the guest of core 1 loses exit (100), what INVEPT or HFENCE take (3), and entry (50),
// once for each invalidation that reaches it by interrupt; nothing where TLBI broadcasts. A zap of
// one page that is mapped is one invalidation, and costs one instruction by address (AArch64: two,
// the second for the combined entries). On RISC-V backing a page takes one, too: each core faults
// once.
TEST_P(Operation, InterruptsTakeTimeFromTheOthers) {
  World world(physical(), policy(Backing::Lazy), GetParam(), 2);
  world.streams[0].read(0x5000);
  GuestEvent zap = event(Kind::Zap, 0x5000, kFrameBytes);
  zap.instructions = 50'000;
  world.streams[0].add(zap);
  world.streams[1].read(0x9000, 20'000);
  world.streams[1].read(0x9000, 100'000);
  // What was lost is paid before the next access.
  world.streams[0].read(0x9000, 200'000);
  world.streams[1].read(0x9000, 100'000);
  world.run();
  const FenceCounts& fences = world.vm.hypervisor().fence_counts();
  const auto zaps = fences.by_cause[static_cast<std::size_t>(Kind::Zap)];
  const auto exits = fences.by_cause[HostOperation::kKinds];
  const Cycle one = kExit + 3 + kEntry;
  switch (GetParam()) {
    case Architecture::X86_64:
      EXPECT_EQ(zaps, 1u);
      EXPECT_EQ(exits, 0u);
      EXPECT_EQ(fences.interrupts, 1u);
      EXPECT_EQ(world.counts(1).interrupted_cycles, one);
      break;
    case Architecture::AArch64:
      EXPECT_EQ(zaps, 2u);
      EXPECT_EQ(fences.interrupts, 0u);
      EXPECT_EQ(world.counts(1).interrupted_cycles, 0u);
      break;
    case Architecture::RiscV64:
      EXPECT_EQ(zaps, 1u);
      EXPECT_EQ(exits, 2u);
      EXPECT_EQ(fences.interrupts, 3u);  // core 0: the fault and the zap; core 1: its fault
      EXPECT_EQ(world.counts(1).interrupted_cycles, 2 * one);
      EXPECT_EQ(world.counts(0).interrupted_cycles, one);
      break;
  }
}

// By hand: a zap on core 0 while the guest runs on core 1. The interrupt arrives after 40, the core
// has left its guest 9 later, INVEPT takes 3, and 70 later core 0 knows. Core 1 is back after 50.
TEST(Shootdown, AKickAndItsAcknowledgementHavePricesOfTheirOwn) {
  models::FenceShape fence{3, 5, 40};
  fence.own[&models::kKickCost] = 9;
  fence.own[&models::kAcknowledgeCost] = 70;
  World world(physical(), policy(Backing::Lazy), Architecture::X86_64, 2, {}, fence);
  world.streams[0].read(0x5000);
  GuestEvent zap;
  zap.detail = HostOperation{HostOperation::Kind::Zap, Gpa(0x5000), kFrameBytes, {}};
  zap.instructions = 50'000;
  world.streams[0].add(zap);
  world.streams[1].read(0x9000, 20'000);
  world.streams[1].read(0x9000, 100'000);
  world.streams[1].read(0x9000);  // what was lost is paid before it
  world.run();
  EXPECT_EQ(world.vm.hypervisor().operations().cycles[Part::Fences], 40u + 9 + 3 + 70);
  EXPECT_EQ(world.counts(1).interrupted_cycles, 9u + 3 + kEntry);
}

// By hand: core 0 zaps a page twice, while core 1 counts to its second access, and to its last.
// What the first took from it, 100 + 3 + 50, it pays before the last; nothing comes after that.
TEST(Shootdown, WhatAVcpuLosesBeforeItEndsIsUnpaid) {
  World world(physical(), policy(Backing::Lazy), Architecture::X86_64, 2);
  GuestEvent zap;
  zap.detail = HostOperation{HostOperation::Kind::Zap, Gpa(0x5000), kFrameBytes, {}};
  zap.instructions = 50'000;
  for (int turn = 0; turn < 2; ++turn) {
    world.streams[0].read(0x5000);
    world.streams[0].add(zap);
  }
  world.streams[1].read(0x9000, 20'000);
  world.streams[1].read(0x9000, 50'000);
  world.streams[1].read(0x9000, 200'000);
  world.run();
  const FenceCounts fences = world.vm.hypervisor().fence_counts();
  EXPECT_EQ(fences.interrupts, 2u);
  EXPECT_EQ(world.counts(1).unpaid_cycles, kExit + 3 + kEntry);
  EXPECT_EQ(world.counts(1).interrupted_cycles, kExit + 3 + kEntry);
}

TEST_P(Operation, DeferredFencesComeOnceAndBeforeTheFrames) {
  HypervisorShape shape = policy(Backing::Lazy);
  shape.fences = &addrspace::FencePolicy::Deferred;
  World world(physical(), shape, GetParam(), 2);
  world.streams[0].read(0x5000);
  world.streams[0].add(event(Kind::Map, 0x5000, kFrameBytes));
  world.streams[0].read(0x5000);
  world.run();
  // Unmapping and mapping anew: on AArch64 the break comes before the make.
  const auto maps =
      world.vm.hypervisor().fence_counts().by_cause[static_cast<std::size_t>(Kind::Map)];
  EXPECT_EQ(maps, GetParam() == Architecture::AArch64 ? 2u : 1u);
  EXPECT_EQ(world.counts().total(), 2u);
}

// The walkers of three vCPUs set dirty flags in large leaves while the hypervisor splits them: no
// flag may end in a table's entry, and no write may be missing from the log.
TEST_P(Operation, FlagsSetWhileALeafIsSplitGoToItsParts) {
  HypervisorShape shape = policy(Backing::Eager, 0, true);
  shape.hardware_dirty = true;
  World world(physical(), shape, GetParam(), 4);
  constexpr u64 kLarge = u64{2} << 20;
  world.streams[0].add(event(Kind::LogStart, 0, 0));
  for (u64 n = 0; n < 32; ++n) {
    world.streams[0].add(event(Kind::Protect, n * kLarge, kFrameBytes, addrspace::kRead));
    // A split takes some six thousand cycles; each core comes to the leaf at another time within.
    for (u64 core = 1; core < 4; ++core) {
      for (u64 k = 0; k < 4; ++k) {
        const u64 page = 1 + (k * 37 + core * 5) % 511;
        const u64 gap = 1200 + 100 * core + (n * 97 + k * 31) % 300;
        world.streams[core].add(
            {n * kLarge + page * kFrameBytes, 0, 0, static_cast<u32>(gap), AccessKind::Write});
      }
    }
  }
  GuestEvent harvest = event(Kind::LogHarvest, 0, 0);
  harvest.instructions = 1'000'000;  // everybody is done by then
  world.streams[0].add(harvest);
  world.run();
  for (u32 core = 1; core < 4; ++core) EXPECT_EQ(world.counts(core).total(), 32u * 4) << core;
  EXPECT_EQ(world.vm.hypervisor().operations().refused, 0u);
  EXPECT_EQ(world.counts(1).forbidden, 0u);
  // Twelve pages of each leaf were written: 5, 10, 15 and 0, 37, 74, 111 more. Whoever else counts
  // as written was so when the leaf was one.
  EXPECT_GE(world.vm.hypervisor().operations().bytes_dirty, 32u * 12 * kFrameBytes);
}

INSTANTIATE_TEST_SUITE_P(All, Operation,
                         testing::Values(Architecture::X86_64, Architecture::AArch64,
                                         Architecture::RiscV64));

TEST(Exit, HappensOnEveryArchitecture) {
  for (const Architecture architecture :
       {Architecture::X86_64, Architecture::AArch64, Architecture::RiscV64}) {
    World world(physical(), policy(Backing::Lazy), architecture);
    for (u64 page = 0; page < 100; ++page) world.streams[0].read(page * kFrameBytes);
    world.run();
    EXPECT_EQ(world.counts().exits, 100u);
    EXPECT_EQ(world.counts().total(), 100u);
    EXPECT_EQ(world.vm.host_space().usage().tables.owned_bytes, 100 * kFrameBytes);
  }
}

// One core makes a page read-only while the large leaf that it is in is written by another core's
// walks: from the flag that they set in the leaf the page must not become writable, whenever they
// do it while the leaf is split, which takes some 5000 cycles.
TEST(Operation, AFlagSetWhileALeafIsSplitPermitsNothing) {
  for (u32 at = 200'000; at < 206'000; at += 250) {
    HypervisorShape shape;
    shape.backing = Backing::Eager;
    shape.large_pages = true;
    shape.hardware_dirty = true;
    GuestShape guest;
    guest.tables = GuestTables::None;
    guest.memory = {{0, u64{2} << 20}};
    World world(guest, shape, Architecture::AArch64, 2);
    HostOperation protect{HostOperation::Kind::Protect, Gpa(0x5000), kFrameBytes};
    protect.access = addrspace::kRead;
    world.streams[0].add({0, HostOperation{HostOperation::Kind::LogStart, Gpa(0), 0}});
    world.streams[0].add({200'000, protect});
    world.streams[1].add({0x9000, 0, 0, at, AccessKind::Write});
    world.streams[1].add({0x5000, 0, 0, 400'000, AccessKind::Write});
    world.run();
    EXPECT_EQ(world.counts(1).forbidden, 1u) << at;
  }
}

// The second one's fences come after the first one's, and nobody enters in between.
TEST(Vmids, ThatAreTakenBackTwiceAreFencedTwiceBeforeAnybodyEnters) {
  models::Wheel wheel;
  struct Enterer : models::Actor {
    Vmids* vmids;
    std::vector<u32> entered;
    void on_cycle(u32 core) override {
      if (!vmids->may_enter(core)) return vmids->wait(*this, core);
      entered.push_back(core);
    }
  } enterer;
  Vmids vmids(4, 4);
  enterer.vmids = &vmids;
  vmids.owe_fences(1);
  enterer.on_cycle(3);
  vmids.owe_fences(2);
  enterer.on_cycle(2);
  EXPECT_TRUE(vmids.may_enter(1));
  EXPECT_FALSE(vmids.may_all_enter());
  vmids.end_fences(wheel);
  wheel.run();
  EXPECT_EQ(enterer.entered, std::vector{2u});
  vmids.end_fences(wheel);
  wheel.run();
  EXPECT_EQ(enterer.entered, (std::vector{2u, 3u}));
  EXPECT_TRUE(vmids.may_all_enter());
}

}  // namespace
}  // namespace nestwalk::software::hypervisor_test
