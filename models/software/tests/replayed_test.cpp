// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Page tables of a trace: where they are put, what walks of them cost, and what is said of accesses
// that do not arrive where the trace says.

#include "nestwalk/machines/entry_format_of.hpp"
#include "world.hpp"

namespace nestwalk::software::replayed_test {
namespace {

using models::EntryFormatOf;
using Format = EntryFormatOf<addrspace::LongMode>;

// Present, writable, user, accessed and dirty: nothing is left for the walker to set.
constexpr u64 kFlags = 0x67;
constexpr u64 kHost = u64{1} << 32;  ///< where the machine's memory begins
// Guest: tables at 0x1000 to 0x4000 for one page at 1 GiB, which is guest-physical page 0x5000.
constexpr u64 kPage = u64{1} << 30;
constexpr u64 kGuestLeaf = 0x4000;
// Second stage: guest-physical page n is host page 0x10 + n.
constexpr u64 host_of(u64 guest_physical) { return kHost + 0x10000 + guest_physical; }

class Replay : public testing::Test {
 protected:
  explicit Replay(u32 window = 1)
      : format_(machine_capabilities()),
        nested_format_(addrspace::LongMode(machine_capabilities()), models::kX86_64.rules.of(true),
                       &models::kVmx),
        world(guest(), hypervisor(),
              with_core(easy(Architecture::X86_64, 1), overlapping(window))) {
    const u64 first = kTables;
    for (u64 level = 0; level < 3; ++level) {
      put(true, first + level * kFrameBytes, 0, first + (level + 1) * kFrameBytes);
      put(false, 0x1000 + level * kFrameBytes, level == 1 ? 1 : 0, 0x2000 + level * kFrameBytes);
    }
    for (u64 page = 0; page < 16; ++page) {
      nested_leaves_[page] = host_of(page * kFrameBytes) | kFlags;
    }
    EXPECT_TRUE(tables.put(true, kLeaves, nested_leaves_));
    put(false, kGuestLeaf, 0, 0x5000);
    const addrspace::Geometry four = *addrspace::LongMode::geometry(4);
    addrspace::Geometry nested = four;
    nested.rule = addrspace::InputRule::Zero;
    stream.add(
        {0, TableRoots{{&format_, four, 0x1000}, {}, {&nested_format_, nested, kTables}, 0, true}});
  }
  static constexpr u64 kTables = kHost + 0x100000;
  static constexpr u64 kLeaves = kTables + 3 * kFrameBytes;

  static addrspace::Capabilities machine_capabilities() { return models::kVmx.capabilities(true); }
  static GuestShape guest() {
    GuestShape shape;
    shape.tables = GuestTables::Replayed;
    return shape;
  }
  static HypervisorShape hypervisor() {
    HypervisorShape shape;
    shape.backing = Backing::Replayed;
    return shape;
  }
  void put(bool nested, u64 page, u64 index, u64 to) {
    ReplayedTables::Entries entries{};
    entries[index] = to | kFlags;
    EXPECT_TRUE(tables.put(nested, page, entries));
  }
  void read(u64 address, u64 guest_physical, u64 host) {
    constexpr u8 kKnown = GuestAccess::kAddress | GuestAccess::kGuestPhysical | GuestAccess::kHost;
    stream.add({address, guest_physical, host, 0, AccessKind::Read, kKnown});
  }
  void store(bool nested, u64 address, u64 value) {
    stream.add({0, TableStore{nested, address, value}});
  }
  void run() { world.run(); }

  Format format_;
  Format nested_format_;
  World world;
  models::Machine& machine = world.machine;
  ReplayedTables& tables = *world.vm.replayed();
  ListStream& stream = world.streams[0];
  Vcpu& vcpu = world.vm.vcpu(0);

 private:
  ReplayedTables::Entries nested_leaves_{};
};

// 24 references: four of the guest, each after four of the second stage, and four for the data.
TEST_F(Replay, WalksWhatTheRealWalkerRead) {
  read(kPage + 8, 0x5008, host_of(0x5008));
  run();
  EXPECT_EQ(tables.counts().agreed, 1u);
  EXPECT_EQ(vcpu.latencies().sum(), kTlb + 24 * kReference + kReference);
  // The bytes are where they were recorded: the guest's under the second stage.
  EXPECT_EQ(machine.memory().load(Hpa(kTables)), (kTables + kFrameBytes) | kFlags);
  EXPECT_EQ(machine.memory().load(Hpa(host_of(kGuestLeaf))), 0x5000 | kFlags);
}

TEST_F(Replay, SaysWhoArrivesElsewhere) {
  read(kPage, 0x5000, host_of(0x6000));
  read(kPage, 0x6000, host_of(0x6000));
  read(kPage, 0x5000, host_of(0x5000));
  read(kPage + kFrameBytes, 0x6000, host_of(0x6000));
  run();
  EXPECT_EQ(tables.counts().wrong_frame, 1u);
  EXPECT_EQ(tables.counts().wrong_page, 1u);
  EXPECT_EQ(tables.counts().agreed, 1u);
  EXPECT_EQ(tables.counts().guest_faults, 1u);
  EXPECT_EQ(vcpu.counts().untranslatable, 1u);
  EXPECT_EQ(vcpu.counts().total(), 3u);
  ASSERT_EQ(tables.disagreements().size(), 3u);
  EXPECT_EQ(tables.disagreements()[1].access, 1u);
  EXPECT_EQ(tables.disagreements()[1].found, 0x5000u);
}

// The guest maps another page and does not invalidate: the TLB has the old one, until it does.
TEST_F(Replay, TellsAStaleTranslationFromAWrongOne) {
  read(kPage, 0x5000, host_of(0x5000));
  store(false, kGuestLeaf, 0x7000 | kFlags);
  read(kPage, 0x7000, host_of(0x7000));
  stream.add({0, GuestFence{true, true, kPage, kFrameBytes}});
  read(kPage, 0x7000, host_of(0x7000));
  run();
  EXPECT_EQ(tables.counts().agreed, 2u);
  EXPECT_EQ(tables.counts().stale, 1u);
  EXPECT_EQ(tables.counts().guest_stores, 1u);
}

// A frame of the guest moves: its hypervisor must have invalidated, though nobody recorded it. New
// leaves need no fence. Exit, handler and entry cost what they do; each store a reference; and the
// fence what it takes alone.
TEST_F(Replay, FollowsTheSecondStage) {
  read(kPage, 0x5000, host_of(0x5000));
  stream.add({0, RecordedExit{}});
  store(true, kLeaves + 20 * 8, host_of(0) | kFlags);
  store(true, kLeaves + 5 * 8, host_of(0x9000) | kFlags);
  stream.add({0, RecordedEntry{}});
  read(kPage, 0x5000, host_of(0x9000));
  run();
  EXPECT_EQ(tables.counts().agreed, 2u);
  EXPECT_EQ(tables.counts().fences, 1u);
  EXPECT_EQ(tables.counts().host_stores, 2u);
  const u32 fence = easy(Architecture::X86_64, 1).fence.local_cycles;
  EXPECT_EQ(vcpu.counts().operation_cycles, kExit + kHandler + 2 * kReference + fence + kEntry);
}

// A table of the guest moves to another host page: its entries are there, too.
TEST_F(Replay, TablesMoveWithTheirPage) {
  store(true, kLeaves + 4 * 8, host_of(0xb000) | kFlags);
  read(kPage, 0x5000, host_of(0x5000));
  run();
  EXPECT_EQ(tables.counts().agreed, 1u);
  EXPECT_EQ(machine.memory().load(Hpa(host_of(0xb000))), 0x5000 | kFlags);
}

class ReplayInAWindow : public Replay {
 protected:
  ReplayInAWindow() : Replay(4) {}
};

// Two reads bring translations that refuse writes; then the tables permit them. Each of the writes
// under way is refused by what is cached, and is tried again.
TEST_F(ReplayInAWindow, TriesEachRefusedAccessOnceAgain) {
  constexpr u64 kReadOnly = kFlags & ~u64{2};
  const auto access = [&](u64 page, AccessKind kind) {
    constexpr u8 kKnown = GuestAccess::kAddress | GuestAccess::kGuestPhysical;
    stream.add({kPage + page * kFrameBytes, 0x5000 + page * kFrameBytes, 0, 0, kind, kKnown});
  };
  for (const u64 page : {0u, 1u}) {
    store(false, kGuestLeaf + page * 8, (0x5000 + page * kFrameBytes) | kReadOnly);
    access(page, AccessKind::Read);
  }
  for (const u64 page : {0u, 1u}) {
    store(false, kGuestLeaf + page * 8, (0x5000 + page * kFrameBytes) | kFlags);
  }
  for (const u64 page : {0u, 1u}) access(page, AccessKind::Write);
  world.vm.begin();
  machine.wheel().run_until(1'000'000);
  EXPECT_TRUE(vcpu.finished());
  EXPECT_EQ(tables.counts().repeated, 2u);
  EXPECT_EQ(tables.counts().guest_faults, 0u);
  EXPECT_EQ(tables.counts().agreed, 4u);
}

// And what the tables refuse is left out.
TEST_F(ReplayInAWindow, LeavesOutWhatTheTablesRefuse) {
  store(false, kGuestLeaf, 0x5000 | (kFlags & ~u64{2}));
  constexpr u8 kKnown = GuestAccess::kAddress | GuestAccess::kGuestPhysical;
  for (int n = 0; n < 2; ++n) stream.add({kPage, 0x5000, 0, 0, AccessKind::Write, kKnown});
  world.vm.begin();
  machine.wheel().run_until(1'000'000);
  EXPECT_TRUE(vcpu.finished());
  EXPECT_EQ(tables.counts().repeated, 0u);
  EXPECT_EQ(tables.counts().guest_faults, 2u);
}

TEST_F(Replay, LeavesOutWhatNoTablesAreKnownFor) {
  stream.add({0, TableRoots{{}, {}, {}, 0, false}});
  read(kPage, 0x5000, host_of(0x5000));
  run();
  EXPECT_EQ(tables.counts().not_known, 1u);
  EXPECT_EQ(vcpu.counts().untranslatable, 1u);
}

}  // namespace
}  // namespace nestwalk::software::replayed_test
