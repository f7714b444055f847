// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The guest's kernel: pages that it backs, address spaces that it makes.

#include <random>
#include <set>
#include <string>

#include "world.hpp"

namespace nestwalk::software::guest_test {
namespace {

constexpr u64 kBase = u64{1} << 30;

GuestShape guest(GuestTables tables = GuestTables::FirstTouch) {
  GuestShape shape;
  shape.tables = tables;
  shape.memory = {{0, u64{64} << 20}};
  return shape;
}
HypervisorShape policy(Backing backing = Backing::Lazy) {
  HypervisorShape shape;
  shape.backing = backing;
  shape.hardware_dirty = false;
  return shape;
}
GuestEvent switch_to(u64 key) { return {0, GuestSwitch{key}}; }

/// Each order of free frames, under each policy that there is.
const std::vector<std::pair<Placement, models::FramePolicyKind>> kPlacementsAndPolicies = [] {
  std::vector<std::pair<Placement, models::FramePolicyKind>> all;
  for (const Placement placement : {Placement::Linear, Placement::Random, Placement::Buddy}) {
    for (const auto& row : models::FramePolicyKind::all()) all.emplace_back(placement, row);
  }
  return all;
}();

class EveryArchitecture : public testing::TestWithParam<Architecture> {};

TEST_P(EveryArchitecture, PagesAreBackedWhenTheyAreTouched) {
  World world(guest(), policy(), GetParam());
  for (u64 round = 0; round < 2; ++round) {
    for (u64 page = 0; page < 100; ++page) world.streams[0].read(kBase + page * kFrameBytes);
  }
  world.run();
  EXPECT_EQ(world.counts().total(), 200u);
  EXPECT_EQ(world.counts().guest_faults, 100u);
  // The kernel touched each page, and each frame for a table, before anybody else: so there are as
  // many exits as pages, and none of them is the program's own.
  EXPECT_EQ(world.counts().exits, 0u);
  const GuestCounts& counts = world.vm.guest()->counts();
  EXPECT_EQ(world.vm.hypervisor().counts().total(), 100 + counts.table_frames);
  EXPECT_EQ(counts.bytes_zeroed, (100 + counts.table_frames) * kFrameBytes);
  EXPECT_EQ(world.vm.host_space().usage().tables.owned_bytes, counts.bytes_zeroed);
}

TEST_P(EveryArchitecture, SpacesDoNotSeeEachOther) {
  World world(guest(), policy(), GetParam());
  for (u64 round = 0; round < 3; ++round) {
    for (u64 key = 1; key <= 5; ++key) {
      world.streams[0].add(switch_to(key));
      world.streams[0].read(kBase);
    }
  }
  world.run();
  EXPECT_EQ(world.counts().switches, 15u);
  EXPECT_EQ(world.vm.guest()->counts().spaces, 6u);  // and the one at the start
  EXPECT_EQ(world.counts().guest_faults, 5u);
}

// Four processes touch eight neighbours each, a page each in turns. Frames in order: process 1 has
// every fourth, so two in each 32 KiB, and of these a line of second-stage entries has eight times
// 4 KiB: four lines. With a reservation its eight lie side by side: one line. Of the other 24 pages
// and of its own, 28 found their frame reserved by the first of eight.
TEST_P(EveryArchitecture, NeighboursShareALineOfTheSecondStageIfTheirFramesAreReserved) {
  constexpr u64 kLine = 8 * kFrameBytes;  // that 64 bytes of entries translate
  for (const char* const frames : {"next", "reservation"}) {
    const bool reserves = frames == std::string("reservation");
    for (const Placement placement : {Placement::Linear, Placement::Buddy}) {
      GuestShape shape = guest();
      shape.placement = placement;
      shape.frames = models::FramePolicyKind::called(frames);
      World world(shape, policy(), GetParam());
      for (u64 page = 0; page < 8; ++page) {
        for (u64 key = 1; key <= 4; ++key) {
          world.streams[0].add(switch_to(key));
          world.streams[0].read(kBase + page * kFrameBytes);
        }
      }
      world.streams[0].add(switch_to(1));
      world.streams[0].read(kBase);
      world.run();
      std::set<u64> lines;
      for (u64 page = 0; page < 8; ++page) {
        lines.insert(world.vm.guest()->where(0, Gva(kBase + page * kFrameBytes))->value() / kLine);
      }
      EXPECT_EQ(lines.size(), reserves ? 1u : 4u);
      EXPECT_EQ(world.vm.guest()->counts().frames.used, reserves ? 28u : 0u);
      EXPECT_EQ(world.vm.guest()->reserved_frames(), 0u);
    }
  }
}

/// Of the lowest level's table in the regime that the guest's core is in.
u64 leaf_in_areas(World& world, const models::Stage& stage, u64 address) {
  const std::optional<u64> slot = stage.areas->slot(address, 0, stage.geometry);
  if (!slot) return ~u64{0};
  const models::Entry entry =
      stage.format->decode(world.machine.memory().load(Hpa(*slot)), 0, *slot);
  return entry.kind == models::EntryKind::Leaf ? entry.address : ~u64{0};
}

// Three processes touch a page in each of four 2M, in turns, so their tables are made in turns.
// From the range registers a walker knows where all leaves are, in host memory: the hypervisor
// backs the run of guest tables by a run of frames. And so for the leaves of the second stage.
TEST_P(EveryArchitecture, TablesLieWhereRangeRegistersSay) {
  GuestShape shape = guest();
  shape.frames = models::FramePolicyKind::called("contiguous-tables");
  World world(shape, policy(), easy(GetParam(), 1), {}, shape.frames);
  constexpr u64 kStep = u64{3} << 21;
  for (u64 n = 0; n < 4; ++n) {
    for (u64 key = 1; key <= 3; ++key) {
      world.streams[0].add(switch_to(key));
      world.streams[0].read(kBase + (3 - n) * kStep);
    }
  }
  world.run();
  const models::Regime& regime = world.machine.core(0).mmu->regime();
  for (u64 n = 0; n < 4; ++n) {
    const Gva page(kBase + n * kStep);
    const Gpa lies = *world.vm.guest()->where(0, page);
    EXPECT_EQ(leaf_in_areas(world, regime.guest, page.value()), lies.value());
    EXPECT_EQ(leaf_in_areas(world, regime.nested, lies.value()),
              world.vm.host_space().translate(lies)->value());
  }
}

// Without a hypervisor. A process that ends gives its run back.
TEST_P(EveryArchitecture, PlacesOfTablesGoWithTheirProcess) {
  GuestShape shape = guest();
  shape.memory = {{0, u64{4} << 20}};
  shape.frames = models::FramePolicyKind::called("contiguous-tables");
  World world(shape, policy(Backing::None), easy(GetParam(), 1, false), {}, {});
  // 1024 frames, of which each process takes 512: the third takes the place of the first. Of the
  // tables' 64 MiB, each has a run of 2 MiB.
  for (u64 key = 1; key <= 100; ++key) {
    world.streams[0].add(switch_to(key));
    for (u64 page = 0; page < 512; ++page) world.streams[0].read(kBase + page * kFrameBytes);
  }
  world.run();
  const models::Regime& regime = world.machine.core(0).mmu->regime();
  for (u64 page = 0; page < 512; ++page) {
    const Gva at(kBase + page * kFrameBytes);
    EXPECT_EQ(leaf_in_areas(world, regime.guest, at.value()),
              world.vm.guest()->where(0, at)->value());
  }
  EXPECT_GE(world.vm.guest()->counts().ended_spaces, 98u);
}

// Of 4 MiB, 1024 frames are 128 groups of eight. 200 processes touch a page each: the 129th finds
// nothing but reserved frames, 128 times seven, and all of these are given back.
TEST_P(EveryArchitecture, WhatIsReservedIsGivenBackWhenNothingElseIsFree) {
  for (const Placement placement : {Placement::Linear, Placement::Random, Placement::Buddy}) {
    GuestShape shape = guest();
    shape.memory = {{0, u64{4} << 20}};
    shape.placement = placement;
    shape.frames = models::FramePolicyKind::called("reservation");
    World world(shape, policy(), GetParam());
    u64 key = 0;
    const auto touch = [&] {
      world.streams[0].add(switch_to(++key));
      world.streams[0].read(kBase);
    };
    while (key < 200) touch();
    world.run();
    EXPECT_EQ(world.counts().guest_faults, 200u);
    EXPECT_EQ(world.vm.guest()->counts().frames.given_back, 128u * 7);
    EXPECT_EQ(world.vm.guest()->reserved_frames(), 0u);
    EXPECT_EQ(world.vm.guest()->counts().ended_spaces, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryArchitecture,
                         testing::Values(Architecture::X86_64, Architecture::AArch64,
                                         Architecture::RiscV64));

// With all memory there and no data caches, the second fault costs: TLB 1, a walk that ends at the
// first stage's leaf, 24 references less four for the data; the trap; frames for the three tables
// that the first one took from the stock, and the page: of each its touch, TLB 1 and 40 for the
// second stage, and its zeroing; what the engine does; then TLB 1, the whole walk of 24, and the
// access.
TEST(GuestFault, CostsItsTrapItsZeroingAndItsEntry) {
  World world(guest(), policy(Backing::Eager));
  world.streams[0].read(kBase);
  world.streams[0].read(kBase + kFrameBytes);
  world.run();
  ASSERT_EQ(world.counts().guest_faults, 2u);
  World once(guest(), policy(Backing::Eager));
  once.streams[0].read(kBase);
  once.run();
  const WorkCounts work = since(once.vm.work(), world.vm.work());
  EXPECT_EQ(work.entries_written, 1u);
  const u64 second = world.vm.vcpu(0).latencies().sum() - once.vm.vcpu(0).latencies().sum();
  // No accessed flags are missing: the first fault's walk has set them in the tables.
  EXPECT_EQ(second, kTlb + 20 * kReference + kGuestFault + 4 * (kTlb + kWalk + kZero) +
                        World::cycles_of(work) + kTlb + 24 * kReference + kReference);
}

// Without a hypervisor the same fault costs: TLB 1, a walk of four references that ends at the
// leaf; the trap; three frames for tables and the page, each zeroed; what the engine does; TLB 1,
// the walk, and the access. Nothing exits, and pages lie where the guest put them.
TEST_P(EveryArchitecture, FaultsWithoutAHypervisorCostTheirOneStage) {
  HypervisorShape native;
  native.backing = Backing::None;
  const auto play = [&](World& world, u64 pages) {
    for (u64 page = 0; page < pages; ++page) world.streams[0].read(kBase + page * kFrameBytes);
    world.run();
  };
  World world(guest(), native, GetParam());
  play(world, 2);
  World once(guest(), native, GetParam());
  play(once, 1);
  ASSERT_EQ(world.counts().guest_faults, 2u);
  const WorkCounts work = since(once.vm.work(), world.vm.work());
  EXPECT_EQ(work.entries_written, 1u);
  EXPECT_EQ(work.runs_allocated, 0u);
  EXPECT_EQ(world.latencies() - once.latencies(), kTlb + 4 * kReference + kGuestFault + 4 * kZero +
                                                      World::cycles_of(work) + kTlb +
                                                      4 * kReference + kReference);
  EXPECT_EQ(world.vm.hypervisor().counts().total(), 0u);
  models::Mmu::Outcome outcome;
  struct Nobody final : models::Actor {
    void on_cycle(u32) override {}
  } nobody;
  world.machine.core(0).mmu->translate({kBase + kFrameBytes + 8, AccessKind::Read, true}, nobody, 0,
                                       outcome);
  world.machine.wheel().run();
  EXPECT_EQ(outcome.host, kFrameBytes + 8);
}

TEST(GuestFault, OfALargePageTakes2M) {
  GuestShape shape = guest();
  shape.large_pages = true;
  World world(shape, policy());
  for (u64 page = 0; page < 512; ++page) world.streams[0].read(kBase + page * kFrameBytes);
  world.run();
  EXPECT_EQ(world.counts().guest_faults, 1u);
  EXPECT_EQ(world.vm.guest()->counts().large_pages, 1u);
  EXPECT_EQ(world.vm.hypervisor().counts().total(), 512 + world.vm.guest()->counts().table_frames);
}

TEST(GuestFault, FollowsTheTraceAndMovesWithIt) {
  World world(guest(GuestTables::Recorded), policy());
  world.streams[0].recorded(kBase + 8, 0x5008);
  world.streams[0].recorded(kBase + 16, 0x5010);
  world.streams[0].recorded(kBase + 8, 0x9008);  // the guest has put another page there
  world.streams[0].recorded(kBase + 8, 0x9008);
  world.run();
  EXPECT_EQ(world.counts().total(), 4u);
  EXPECT_EQ(world.counts().guest_faults, 2u);
  EXPECT_EQ(world.vm.guest()->counts().moved_pages, 1u);
  EXPECT_TRUE(world.vm.host_space().translate(Gpa(0x5000)).ok());
  EXPECT_TRUE(world.vm.host_space().translate(Gpa(0x9000)).ok());
  EXPECT_FALSE(world.vm.host_space().translate(Gpa(0x7000)).ok());
  // The TLB has the new page: the fence reached the old one.
  models::Mmu::Outcome outcome;
  struct Nobody final : models::Actor {
    void on_cycle(u32) override {}
  } nobody;
  world.machine.core(0).mmu->translate({kBase + 8, AccessKind::Read, true}, nobody, 0, outcome);
  world.machine.wheel().run();
  EXPECT_EQ(Hpa(outcome.host), *world.vm.host_space().translate(Gpa(0x9008)));
}

TEST(GuestFault, EndsTheRunWhenTheGuestHasNoFrame) {
  GuestShape shape = guest();
  shape.memory = {{0, u64{2} << 20}};
  World world(shape, policy());
  for (u64 page = 0; page < 600; ++page) world.streams[0].read(kBase + page * kFrameBytes);
  world.run();
  EXPECT_EQ(world.vm.vcpu(0).stopped(), "the guest is out of memory");
  EXPECT_EQ(world.counts().total(), 512u);
}

// TTBR1: the upper half is there in every space; what is in neither half has no translation.
TEST(UpperHalf, IsSharedByAllSpaces) {
  constexpr u64 kUpper = ~u64{0} << 48;
  World world(guest(), policy(), Architecture::AArch64);
  for (u64 key = 1; key <= 4; ++key) {
    world.streams[0].add(switch_to(key));
    world.streams[0].read(kUpper + kBase);
    world.streams[0].read(kBase);
    world.streams[0].read(u64{1} << 52);
  }
  world.run();
  EXPECT_EQ(world.counts().guest_faults, 1u + 4);
  EXPECT_EQ(world.counts().total(), 8u);
  EXPECT_EQ(world.counts().untranslatable, 4u);
}

// Bit 52 is in neither half: refused before anything is read, and so no walk.
class DataPlaces final : public AccessListener {
 public:
  u64 next_wanted(u64 number) override { return number; }
  void on_story(const AccessStory& story) override {
    for (const models::WitnessStep& step : story.steps) {
      if (step.kind == &models::step::kData) places.push_back(step.address);
    }
  }
  std::vector<u64> places;
};

// A page moves while the vCPU is in one space, and the other one has it cached under its own ASID:
// of the half that spaces share, the kernel has to invalidate it under each (Arm ARM, TLBI
// VAAE1IS).
TEST(UpperHalf, APageOfItMovesInEverySpace) {
  for (const u64 page : {u64{0xffff'0000'0040'0000}, u64{0x40'0000}}) {
    GuestShape shape;
    shape.tables = GuestTables::Recorded;
    shape.memory = {{0, u64{64} << 20}};
    HypervisorShape policy;
    policy.backing = Backing::Eager;
    World world(shape, policy, Architecture::AArch64);
    DataPlaces data;
    world.vm.vcpu(0).tell(data);
    ListStream& stream = world.streams[0];
    const u64 old = 0x10000, moved = 0x20000;
    stream.add({0, GuestSwitch{1}});
    stream.recorded(page, old);
    stream.add({0, GuestSwitch{2}});
    stream.recorded(page, old);
    stream.recorded(page, moved);
    stream.add({0, GuestSwitch{1}});
    stream.recorded(page, moved);
    world.run();
    const auto host = [&](u64 at) { return world.vm.host_space().translate(Gpa(at))->value(); };
    EXPECT_EQ(data.places, (std::vector{host(old), host(old), host(moved), host(moved)}));
  }
}

// Of 6 MiB, the first process takes all in large pages. The second one's page in the upper half
// takes a small one of what that has given back; the third one has none there itself, and gets a
// page beside it all the same.
TEST(UpperHalf, SmallPagesThatOneSpaceHasThereAreSmallInAll) {
  constexpr u64 kUpper = ~u64{0} << 48;
  GuestShape shape = guest();
  shape.memory = {{0, u64{6} << 20}};
  shape.large_pages = true;
  World world(shape, policy(), Architecture::AArch64);
  world.streams[0].add(switch_to(1));
  for (u64 n = 1; n <= 3; ++n) world.streams[0].read(n * (u64{2} << 20));
  world.streams[0].add(switch_to(2));
  world.streams[0].read(kUpper + 7 * kFrameBytes);
  world.streams[0].add(switch_to(3));
  world.streams[0].read(kUpper + 9 * kFrameBytes);
  world.run();
  EXPECT_EQ(world.vm.vcpu(0).stopped(), std::nullopt);
  EXPECT_EQ(world.counts().total(), 5u);
  EXPECT_EQ(world.vm.guest()->counts().large_pages, 3u);
}

TEST(UpperHalf, AnAddressInNoHalfIsNoWalk) {
  u64 walks[2];
  for (const bool bad : {false, true}) {
    World world(guest(), policy(), Architecture::AArch64);
    world.streams[0].read(kBase);
    if (bad) world.streams[0].read(u64{1} << 52);
    world.run();
    walks[bad ? 1 : 0] = world.machine.core(0).mmu->counts().walks();
    EXPECT_EQ(world.counts().untranslatable, bad ? 1u : 0u);
  }
  EXPECT_EQ(walks[0], walks[1]);
}

// PCIDs have 12 bits: 4095 of them, and 0 is not used.
// 2 MiB are 512 frames, and each of 600 processes takes one. The 513th finds none: the process at
// the start, which ran longest ago, had none to give back, so the first one ends as well, and from
// then on one for each of the 87 that come after it. Frames that are reserved keep nobody alive.
TEST_P(EveryArchitecture, ProcessesThatRanLongestAgoEndWhenFramesRunOut) {
  GuestShape shape = guest();
  shape.memory = {{0, u64{2} << 20}};
  for (const auto& [placement, frames] : kPlacementsAndPolicies) {
    shape.placement = placement;
    shape.frames = frames;
    World world(shape, policy(), GetParam());
    for (u64 key = 1; key <= 600; ++key) {
      world.streams[0].add(switch_to(key));
      world.streams[0].read(kBase);
    }
    // The last one is there; the first one has to begin again, for which another ends.
    world.streams[0].add(switch_to(600));
    world.streams[0].read(kBase);
    world.streams[0].add(switch_to(1));
    world.streams[0].read(kBase);
    world.run();
    EXPECT_EQ(world.counts().total(), 602u);
    EXPECT_EQ(world.vm.guest()->counts().ended_spaces, 1 + 88u + 1);
    EXPECT_EQ(world.vm.guest()->counts().spaces, 1 + 600u + 1);
    EXPECT_EQ(world.counts().guest_faults, 601u);
    EXPECT_EQ(world.vm.vcpu(0).stopped(), std::nullopt);
  }
}

// A process has its root, the engine's shortcuts and a table for each level below: of the kernel's
// 64 MiB for tables, 16384 frames, some thousand processes have none left.
TEST_P(EveryArchitecture, ThereIsNoEndOfProcesses) {
  World world(guest(), policy(), GetParam());
  for (u64 key = 1; key <= 4000; ++key) {
    world.streams[0].add(switch_to(key));
    world.streams[0].read(kBase);
  }
  world.run();
  EXPECT_EQ(world.counts().total(), 4000u);
  EXPECT_EQ(world.vm.guest()->counts().spaces, 4001u);
  EXPECT_GT(world.vm.guest()->counts().ended_spaces, 0u);
  EXPECT_LE(world.vm.guest()->counts().table_frames, u64{16384});
}

// Two processes take turns, each with a page of its own under the same address, and read it twice.
// After the first turn of each, with ASIDs, the TLB has both pages: no turn walks. Where each
// switch fences all, each turn walks once.
TEST(Asids, WithoutAnyEachSwitchFencesAll) {
  constexpr u64 kFence = 3;
  for (const bool has_asids : {true, false}) {
    u64 walks[2], faults[2];
    Cycle switches[2];
    for (const u64 turns : {2u, 8u}) {
      models::MachineShape shape = easy(Architecture::RiscV64, 1, true, {kFence, 5, 40});
      shape.asid_bits = has_asids ? 16 : 0;
      World world(guest(), policy(), shape);
      for (u64 turn = 0; turn < turns; ++turn) {
        world.streams[0].add(switch_to(1 + turn % 2));
        for (int n = 0; n < 2; ++n) world.streams[0].read(kBase);
      }
      world.run();
      walks[turns == 8] = world.totals().mmu.counts.walks();
      faults[turns == 8] = world.counts().guest_faults;
      switches[turns == 8] = world.counts().switch_cycles;
    }
    EXPECT_EQ(faults[1], faults[0]);
    EXPECT_EQ(walks[1] - walks[0], has_asids ? 0u : 6u);
    EXPECT_EQ(switches[1] - switches[0], 6 * (kGuestSwitch + (has_asids ? 0 : kFence)));
  }
}

TEST(Asids, StartAgainWhenNoneIsLeft) {
  GuestShape shape = guest();
  shape.memory = {{0, u64{16} << 30}};  // its kernel has a 64th of that for tables
  World world(shape, policy());
  constexpr u64 kSpaces = 4200;
  for (u64 round = 0; round < 2; ++round) {
    for (u64 key = 1; key <= kSpaces; ++key) {
      world.streams[0].add(switch_to(key));
      world.streams[0].read(kBase);
    }
  }
  world.run();
  // Every space has a page of its own: a stale translation of somebody else's would spare a fault.
  EXPECT_EQ(world.counts().guest_faults, kSpaces);
  EXPECT_EQ(world.counts().total(), 2 * kSpaces);
  // The space at the start and 1 to 4094 take 1 to 4095. At 4095 they start again, and 4200 has
  // 106. In the second round 1 to 3989 take 107 to 4095; at 3990 they start again.
  EXPECT_EQ(world.vm.guest()->counts().asid_rollovers, 2u);
}

TEST(Frames, ComeOnceEachInAnyOrder) {
  const std::vector<MemoryRange> memory = {{0, u64{2} << 20}, {u64{1} << 32, u64{4} << 20}};
  for (const Placement placement : {Placement::Linear, Placement::Random}) {
    GuestShape shape;
    shape.memory = memory;
    shape.placement = placement;
    shape.seed = 7;
    GuestFrames frames(shape);
    std::set<u64> seen;
    bool ascending = true;
    u64 last = 0;
    while (const std::optional<Gpa> frame = frames.take()) {
      ascending = ascending && frame->value() >= last;
      last = frame->value();
      const bool inside = last < u64{2} << 20 || last - (u64{1} << 32) < u64{4} << 20;
      EXPECT_TRUE(inside);
      EXPECT_TRUE(seen.insert(last).second);
    }
    EXPECT_EQ(seen.size(), 3u * 512);
    EXPECT_EQ(ascending, placement == Placement::Linear);
  }
}

TEST(Frames, OfBothSizesDoNotOverlap) {
  for (const Placement placement : {Placement::Linear, Placement::Random}) {
    GuestShape shape;
    shape.memory = {{0, u64{16} << 20}};
    shape.placement = placement;
    GuestFrames frames(shape);
    std::set<u64> seen;
    u64 large_pages = 0;
    for (u64 n = 0; n < 5000; ++n) {
      if (n % 300 == 0) {
        if (const std::optional<Gpa> large = frames.take_large()) {
          ++large_pages;
          for (u64 k = 0; k < 512; ++k) {
            EXPECT_TRUE(seen.insert(large->value() + k * kFrameBytes).second);
          }
        }
      }
      if (const std::optional<Gpa> small = frames.take()) {
        EXPECT_TRUE(seen.insert(small->value()).second);
      }
    }
    EXPECT_EQ(seen.size(), 4096u);  // all of it is taken in the end
    // Eight regions of 2M. In order, n large ones fit while 300 n small ones are below: five of the
    // small then fill the rest. At random, 300 small frames leave hardly any region whole.
    EXPECT_EQ(large_pages, placement == Placement::Linear ? 5u : 1u);
  }
}

GuestShape buddies(u32 fragmentation) {
  GuestShape shape;
  shape.memory = {{0, u64{64} << 20}};  // 32 blocks of 512 frames
  shape.placement = Placement::Buddy;
  shape.fragmentation = fragmentation;
  return shape;
}

// A block is halved from 512 frames down: 0 is taken, and 1, 2, 4, ... 256 begin what is left. Then
// 1; then 2, and 3 is left of that pair; and so on, until the block is used up.
TEST(Buddies, HalveTheLowestBlockUntilItFits) {
  GuestFrames frames(buddies(0));
  for (u64 n = 0; n < 512; ++n) EXPECT_EQ(frames.take()->value(), n * kFrameBytes);
  EXPECT_EQ(frames.take_large()->value(), u64{2} << 20);
  EXPECT_EQ(frames.take()->value(), u64{4} << 20);
}

/// The same with a list of all that is free: from the highest 2 MiB down, a frame of some is taken
/// for good, by a seed that follows from the one before, and what is left goes to the lists.
class ListedBuddies {
 public:
  explicit ListedBuddies(const GuestShape& shape) : frames_(shape.memory[0].bytes / kFrameBytes) {
    u64 seed = shape.seed;
    for (unsigned key = 0; key < 4; ++key) seed = mix(seed);
    for (const MemoryRange& device : shape.mmio) {
      const u64 first = device.start / kFrameBytes;
      for (u64 n = 0; n < device.bytes / kFrameBytes; ++n) taken_.insert(first + n);
    }
    for (u64 block = frames_ / 512; block-- > 0;) {
      seed = mix(seed);
      if (seed % 100 < shape.fragmentation) taken_.insert(block * 512 + (seed >> 32) % 512);
      list(block * 512, 9);
    }
  }

  std::optional<u64> take(unsigned order) {
    unsigned found = order;
    while (found < 10 && free_[found].empty()) ++found;
    if (found == 10) return std::nullopt;
    const u64 first = free_[found].back();
    free_[found].pop_back();
    while (found-- > order) free_[found].push_back(first + (u64{1} << found));
    return first;
  }
  void give_back(u64 first, unsigned order) { free_[order].push_back(first); }

 private:
  static u64 mix(u64 z) {  // SplitMix64
    z += 0x9e37'79b9'7f4a'7c15;
    z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
    z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
    return z ^ z >> 31;
  }
  void list(u64 first, unsigned order) {
    const u64 count = u64{1} << order;
    const auto taken = taken_.lower_bound(first);
    if (taken == taken_.end() || *taken >= first + count) return free_[order].push_back(first);
    if (order == 0) return;
    list(first + count / 2, order - 1);
    list(first, order - 1);
  }

  u64 frames_;
  std::set<u64> taken_;
  std::vector<u64> free_[10];
};

TEST(Buddies, HandOutWhatAListOfAllFreeBlocksWould) {
  constexpr u64 kMiB = u64{1} << 20;
  const std::vector<std::vector<MemoryRange>> devices = {
      {}, {{0x5000, 2 * kFrameBytes}, {7 * kMiB, 9 * kMiB}, {30 * kMiB - kFrameBytes, 4 * kMiB}}};
  std::mt19937_64 random(1);
  for (const u32 fragmentation : {0u, 3u, 50u, 100u}) {
    for (const std::vector<MemoryRange>& mmio : devices) {
      GuestShape shape = buddies(fragmentation);
      shape.memory[0].bytes += kMiB;  // that no block has
      shape.mmio = mmio;
      GuestFrames frames(shape);
      ListedBuddies listed(shape);
      std::vector<std::pair<u64, unsigned>> held;
      for (bool more = true; more || !held.empty();) {
        const bool takes = more && random() % 8 != 0;
        if (takes) {
          const unsigned order = random() % 50 == 0 ? 9 : 0;
          const auto found = order == 0 ? frames.take() : frames.take_large();
          const auto expected = listed.take(order);
          ASSERT_EQ(found.has_value(), expected.has_value());
          if (found) {
            ASSERT_EQ(found->value(), *expected * kFrameBytes);
            held.emplace_back(*expected, order);
          } else {
            more = order != 0;
          }
        } else if (!held.empty()) {
          std::swap(held[random() % held.size()], held.back());
          const auto [first, order] = held.back();
          held.pop_back();
          frames.give_back(Gpa(first * kFrameBytes), kFrameBytes << order);
          listed.give_back(first, order);
        }
      }
      // All is there again, in the order in which it came back.
      while (const auto found = frames.take()) {
        ASSERT_EQ(found->value(), listed.take(0).value() * kFrameBytes);
      }
      ASSERT_FALSE(listed.take(0));
    }
  }
}

// A frame in each block is somebody else's: no large page is left, and every other frame comes
// once, 32 * 511 of them. In none: 32 large pages.
TEST(Buddies, LeaveNoLargePageWhereEachBlockIsBroken) {
  GuestFrames broken(buddies(100));
  EXPECT_FALSE(broken.take_large());
  std::set<u64> seen;
  while (const auto frame = broken.take()) EXPECT_TRUE(seen.insert(frame->value()).second);
  EXPECT_EQ(seen.size(), 32u * 511);
  GuestFrames whole(buddies(0));
  u64 large = 0;
  while (whole.take_large()) ++large;
  EXPECT_EQ(large, 32u);
}

// Under every policy each comes once, whatever it is for: pages of three spaces, beside each other
// and far apart, the devices' two frames left out.
TEST(Frames, ComeOnceEachUnderEveryPolicy) {
  for (const auto& [placement, policy] : kPlacementsAndPolicies) {
    GuestShape shape;
    shape.memory = {{0, u64{2} << 20}, {u64{1} << 32, u64{4} << 20}};
    shape.mmio = {{0x5000, 2 * kFrameBytes}};
    shape.placement = placement;
    shape.frames = policy;
    GuestFrames frames(shape);
    std::set<u64> seen;
    for (u64 n = 0;; ++n) {
      const u64 page = n % 3 == 0 ? n * kFrameBytes : n * 5 * kFrameBytes;
      const std::optional<Gpa> frame = frames.take(Gva(page), n % 3);
      if (!frame) break;
      EXPECT_TRUE(seen.insert(frame->value()).second);
    }
    EXPECT_EQ(seen.size(), 3u * 512 - 2);
    EXPECT_FALSE(seen.contains(0x5000) || seen.contains(0x6000));
    EXPECT_EQ(frames.policy().reserved(), 0u);
    for (const u64 frame : seen) frames.give_back(Gpa(frame), kFrameBytes);
    for (u64 n = 0; n < seen.size(); ++n) EXPECT_TRUE(frames.take(Gva(n * kFrameBytes)));
    EXPECT_FALSE(frames.take());
  }
}

// The frames of a device are nobody's: 512 less two.
TEST(Frames, LeaveDevicesOut) {
  for (const Placement placement : {Placement::Linear, Placement::Random, Placement::Buddy}) {
    GuestShape shape;
    shape.memory = {{0, u64{2} << 20}};
    shape.mmio = {{0x5000, 2 * kFrameBytes}};
    shape.placement = placement;
    GuestFrames frames(shape);
    u64 count = 0;
    while (const auto frame = frames.take()) {
      ++count;
      EXPECT_NE(frame->value(), 0x5000u);
      EXPECT_NE(frame->value(), 0x6000u);
    }
    EXPECT_EQ(count, 510u);
  }
}

// Ranks by hand: of 1 to 1000, each once, and 10,000 once, p50 is the 501st.
// 31 of 32 TiB are a device's, from 4 GiB on: 2^33 frames, of which none is looked at.
TEST(Frames, OfADeviceAreNotCounted) {
  constexpr u64 kTiB = u64{1} << 40, kLarge = u64{2} << 20;
  for (const Placement placement : {Placement::Linear, Placement::Random, Placement::Buddy}) {
    GuestShape shape;
    shape.memory = {{0, 32 * kTiB}};
    shape.mmio = {{u64{4} << 30, 31 * kTiB}};
    shape.placement = placement;
    GuestFrames frames(shape);
    const u64 large = frames.take_large()->value();
    EXPECT_EQ(large, placement == Placement::Buddy ? 0 : 32 * kTiB - kLarge);
    for (unsigned n = 0; n < 100; ++n) {
      const u64 at = frames.take()->value();
      EXPECT_FALSE(at >= u64{4} << 30 && at < (u64{4} << 30) + 31 * kTiB);
    }
  }
}

// What is left of 8 MiB is 2 MiB at either end. Large pages come from above, small ones from below.
TEST(Frames, OnBothSidesOfADeviceAreTaken) {
  constexpr u64 kLarge = u64{2} << 20;
  GuestShape shape;
  shape.memory = {{0, 4 * kLarge}};
  shape.mmio = {{kLarge, kLarge + kFrameBytes}, {2 * kLarge + 7 * kFrameBytes, kFrameBytes}};
  GuestFrames large(shape);
  EXPECT_EQ(large.take_large()->value(), 3 * kLarge);
  EXPECT_EQ(large.take_large()->value(), 0u);
  EXPECT_FALSE(large.take_large());
  GuestFrames small(shape);
  std::set<u64> seen;
  while (const auto frame = small.take()) EXPECT_TRUE(seen.insert(frame->value()).second);
  EXPECT_EQ(seen.size(), 3u * 512 - 2);
  EXPECT_FALSE(seen.contains(2 * kLarge + 7 * kFrameBytes));
  EXPECT_TRUE(seen.contains(2 * kLarge + kFrameBytes));
}

TEST(Distribution, HasPercentilesThatOccurred) {
  Distribution values;
  for (u64 value = 1; value <= 1000; ++value) values.add(value);
  values.add(10'000);
  EXPECT_EQ(values.count(), 1001u);
  EXPECT_EQ(values.percentile(500), 501u);
  EXPECT_EQ(values.percentile(999), 1000u);
  EXPECT_EQ(values.percentile(1000), 10'000u);
  EXPECT_EQ(values.max(), 10'000u);
  EXPECT_DOUBLE_EQ(values.mean(), (500'500.0 + 10'000) / 1001);
  Distribution other;
  other.add(5000);
  values.add(other);
  EXPECT_EQ(values.max(), 10'000u);
  EXPECT_EQ(values.count(), 1002u);
  EXPECT_EQ(Distribution().percentile(500), 0u);
}

}  // namespace
}  // namespace nestwalk::software::guest_test
