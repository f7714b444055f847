// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Recorded page tables that change, on each architecture: which fences must have been, what the
// TLBs may keep, and whose translations they are.

#include <set>

#include "nestwalk/machines/entry_format_of.hpp"
#include "world.hpp"

namespace nestwalk::software::recorded_stages_test {
namespace {

using addrspace::Geometry;
using addrspace::InputRule;
using models::EntryFormat;
using models::EntryFormatOf;

constexpr u64 kHost = u64{1} << 32;  ///< where the machine's memory begins
constexpr u64 kLarge = u64{2} << 20;
constexpr u64 kStep = 16 * kFrameBytes;  ///< from table to table: the largest root fits
// Guest-physical page n is host page kFrames + n, but the data's, which the tests choose.
constexpr u64 kFrames = kHost + 0x1000'0000;
constexpr u64 kData = 0x5000;
constexpr u64 kVirtual = 0x3000;
constexpr u64 kGuestRoot = 0x10000;                                         ///< guest-physical
constexpr u64 kFirst = kHost + 0x2000'0000, kSecond = kHost + 0x2400'0000;  ///< data frames
constexpr u64 kThird = kHost + 0x2800'0000;

/// How an architecture writes what the tests need. Accessed and dirty are set, so that nothing is
/// left for the walker to do.
struct Words {
  u64 (*table)(u64 to);
  u64 (*guest_leaf)(u64 to, bool writable);
  u64 (*nested_leaf)(u64 to, bool writable);
  u64 (*nested_large)(u64 to);
};
constexpr u64 riscv(u64 to, u64 flags) { return to >> 12 << 10 | flags; }
constexpr Words kWordsOf[] = {
    // P, W, U, A, D; PS.
    {[](u64 to) { return to | 0x67; },
     [](u64 to, bool writable) { return to | (writable ? 0x67u : 0x65u); },
     [](u64 to, bool writable) { return to | (writable ? 0x67u : 0x65u); },
     [](u64 to) { return to | 0xe7; }},
    // Valid, table or page, AF, SH, AP[1], nG and AP[2] for read-only; of stage 2: MemAttr, S2AP,
    // AF. A block has bit 1 clear.
    {[](u64 to) { return to | 3; },
     [](u64 to, bool writable) { return to | 0xf43 | (writable ? 0u : 0x80u); },
     [](u64 to, bool writable) { return to | (writable ? 0x4ffu : 0x47fu); },
     [](u64 to) { return to | 0x4fd; }},
    // V alone; V, R, W, X, U, A, D.
    {[](u64 to) { return riscv(to, 1); },
     [](u64 to, bool writable) { return riscv(to, writable ? 0xdf : 0xdb); },
     [](u64 to, bool writable) { return riscv(to, writable ? 0xdf : 0xdb); },
     [](u64 to) { return riscv(to, 0xdf); }},
};

struct Formats {
  const EntryFormat* guest;
  Geometry guest_shape;
  const EntryFormat* nested;
  Geometry nested_shape;
};

Formats formats_of(Architecture architecture) {
  using addrspace::Granule;
  using addrspace::LongMode;
  const addrspace::Capabilities machine = models::extension_of(architecture).capabilities(true);
  static const EntryFormatOf<LongMode> kLongMode(machine);
  static const EntryFormatOf<LongMode> kNested(LongMode(machine), models::kX86_64.rules.of(true),
                                               &models::kVmx);
  static const EntryFormatOf<addrspace::Stage1<Granule::k4K>> kStage1(
      models::kStage2.capabilities(true));
  static const EntryFormatOf<addrspace::Stage2<Granule::k4K>> kStage2(
      models::kStage2.capabilities(true));
  static const EntryFormatOf<addrspace::Sv> kSv(models::kHext.capabilities(true));
  static const EntryFormatOf<addrspace::GStage> kGStage(models::kHext.capabilities(true));
  if (architecture == Architecture::AArch64) {
    return {&kStage1, *addrspace::Stage1<Granule::k4K>::geometry(48), &kStage2,
            *addrspace::Stage2<Granule::k4K>::geometry(39)};
  }
  if (architecture == Architecture::RiscV64) {
    return {&kSv, *addrspace::Sv::geometry(3), &kGStage, *addrspace::GStage::geometry(3)};
  }
  Geometry nested = *LongMode::geometry(4);
  nested.rule = InputRule::Zero;
  return {&kLongMode, *LongMode::geometry(4), &kNested, nested};
}

class Recorded : public testing::TestWithParam<Architecture> {
 protected:
  explicit Recorded(u32 cores = 1)
      : words(kWordsOf[static_cast<unsigned>(GetParam())]),
        formats(formats_of(GetParam())),
        world(guest(), hypervisor(), easy(GetParam(), cores), {}) {
    const Geometry& shape = formats.guest_shape;
    for (unsigned level = shape.root_level(); level != 0; --level) {
      put(false, guest_table(level), 0, words.table(guest_table(level - 1)));
    }
    put(false, guest_table(0), kVirtual / kFrameBytes, words.guest_leaf(kData, true));
  }

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
  u64 guest_table(unsigned level) const {
    return kGuestRoot + (formats.guest_shape.root_level() - level) * kFrameBytes;
  }
  static u64 root(unsigned number) { return kHost + 0x100'0000 * (number + 1); }
  u64 nested_table(unsigned number, unsigned level) const {
    return root(number) + (formats.nested_shape.root_level() - level) * kStep;
  }
  /// Of the second stage's leaf, or of an entry above it.
  u64 slot(unsigned number, u64 guest_physical, unsigned level = 0) const {
    return formats.nested_shape.slot(nested_table(number, level), guest_physical, level);
  }

  void put(bool nested, u64 page, u64 index, u64 value) {
    ReplayedTables::Entries entries{};
    entries[index] = value;
    EXPECT_TRUE(tables.put(nested, page, entries));
  }
  /// Tables of a second stage, with the data's page in that frame.
  void second_stage(unsigned number, u64 data, bool writable = true) {
    for (unsigned level = formats.nested_shape.root_level(); level != 0; --level) {
      put(true, nested_table(number, level), 0, words.table(nested_table(number, level - 1)));
    }
    ReplayedTables::Entries leaves{};
    for (u64 n = 0; n < leaves.size(); ++n) {
      leaves[n] = words.nested_leaf(kFrames + n * kFrameBytes, true);
    }
    leaves[kData / kFrameBytes] = words.nested_leaf(data, writable);
    EXPECT_TRUE(tables.put(true, nested_table(number, 0), leaves));
  }
  TableRoots roots(unsigned number, u16 vmid, u16 asid = 1) const {
    TableRoots roots;
    roots.guest = {formats.guest, formats.guest_shape, kGuestRoot};
    roots.nested = {formats.nested, formats.nested_shape, root(number)};
    roots.asid = asid;
    roots.vmid = vmid;
    return roots;
  }
  void enter(unsigned number, u16 vmid) { stream.add({0, roots(number, vmid)}); }
  void access(u64 frame, AccessKind kind = AccessKind::Read, u64 guest_physical = kData) {
    constexpr u8 kKnown = GuestAccess::kAddress | GuestAccess::kGuestPhysical | GuestAccess::kHost;
    stream.add({kVirtual + 8, guest_physical + 8, frame + 8, 0, kind, kKnown});
  }
  void store(bool nested, u64 address, u64 value) {
    stream.add({0, TableStore{nested, address, value}});
  }
  const ReplayCounts& counts() const { return tables.counts(); }

  const Words& words;
  Formats formats;
  World world;
  ReplayedTables& tables = *world.vm.replayed();
  ListStream& stream = world.streams[0];
};

// Permissions -------------------------------------------------------------------------------------

// A read brings a translation that refuses writes. Then the tables permit them, and the first write
// finds what the recorded machine's TLB did not have any more: it goes, and the write is tried
// again. The other two hit.
TEST_P(Recorded, AWriteThatTheSecondStagePermitsByNowIsMade) {
  second_stage(0, kFirst, false);
  enter(0, 1);
  access(kFirst);
  store(true, slot(0, kData), words.nested_leaf(kFirst, true));
  for (int n = 0; n < 3; ++n) access(kFirst, AccessKind::Write);
  world.run();
  EXPECT_EQ(counts().agreed, 4u);
  EXPECT_EQ(counts().repeated, 1u);
  EXPECT_EQ(counts().host_faults, 0u);
  EXPECT_EQ(counts().fences, 0u);
}

TEST_P(Recorded, AWriteThatTheGuestPermitsByNowIsMade) {
  second_stage(0, kFirst);
  enter(0, 1);
  const u64 leaf = guest_table(0) + kVirtual / kFrameBytes * 8;
  store(false, leaf, words.guest_leaf(kData, false));
  access(kFirst);
  store(false, leaf, words.guest_leaf(kData, true));
  for (int n = 0; n < 3; ++n) access(kFirst, AccessKind::Write);
  world.run();
  EXPECT_EQ(counts().agreed, 4u);
  EXPECT_EQ(counts().repeated, 1u);
  EXPECT_EQ(counts().guest_faults, 0u);
}

// Nothing that is cached is at fault. The translation of the reads stays.
TEST_P(Recorded, AWriteThatTheTablesForbidIsNotTriedAgain) {
  second_stage(0, kFirst, false);
  enter(0, 1);
  access(kFirst);
  access(kFirst, AccessKind::Write);
  access(kFirst);
  world.run();
  EXPECT_EQ(counts().agreed, 2u);
  EXPECT_EQ(counts().repeated, 0u);
  EXPECT_EQ(counts().host_faults, 1u);
}

// Fences ------------------------------------------------------------------------------------------

// Each changes an entry of level 1: a leaf to another place, and a table to a leaf. Three accesses
// after each, all where the tables have the page by then.
TEST_P(Recorded, AFenceFollowsALargeLeafThatMoves) {
  second_stage(0, kFirst);
  store(false, guest_table(0) + kVirtual / kFrameBytes * 8, words.guest_leaf(kLarge, true));
  put(true, nested_table(0, 1), 0, words.table(nested_table(0, 0)));
  store(true, slot(0, kLarge, 1), words.nested_large(kFirst));
  enter(0, 1);
  for (const bool breaks_before : {true, false}) {
    for (const u64 frame : {kSecond, kFirst}) {
      const u64 now = frame == kSecond ? kFirst : kSecond;
      access(now, AccessKind::Read, kLarge);
      if (breaks_before) store(true, slot(0, kLarge, 1), 0);
      store(true, slot(0, kLarge, 1), words.nested_large(frame));
      for (int n = 0; n < 3; ++n) access(frame, AccessKind::Read, kLarge);
    }
  }
  world.run();
  EXPECT_EQ(counts().agreed, 4u * 4u);
  EXPECT_EQ(counts().stale, 0u);
  EXPECT_EQ(counts().fences, 4u);
}

// The leaves below a table that is unlinked translate nothing, so only the unlinking is fenced; and
// those of a table before it is linked neither.
TEST_P(Recorded, NoFenceFollowsEntriesOfTablesThatAreNotLinked) {
  second_stage(0, kFirst);
  enter(0, 1);
  access(kFirst);
  store(true, slot(0, 0, 1), 0);
  store(true, slot(0, kData), 0);
  store(true, slot(0, kData), words.nested_leaf(kSecond, true));
  store(true, slot(0, kData), words.nested_leaf(kThird, true));
  store(true, slot(0, 0, 1), words.table(nested_table(0, 0)));
  access(kThird);
  store(true, slot(0, kData), words.nested_leaf(kFirst, true));
  access(kFirst);
  world.run();
  EXPECT_EQ(counts().agreed, 3u);
  EXPECT_EQ(counts().fences, 2u);
}

// All entries of a root but one lead back to it. Links are followed down the levels, once for each
// table and level, and taken back with the last of them.
TEST_P(Recorded, TablesThatLeadToThemselvesEnd) {
  second_stage(0, kFirst);
  const unsigned level = formats.nested_shape.root_level();
  const u64 loop = nested_table(0, level);
  ReplayedTables::Entries entries;
  entries.fill(words.table(loop));
  entries[0] = words.table(nested_table(0, level - 1));
  EXPECT_TRUE(tables.put(true, loop, entries));
  enter(0, 1);
  access(kFirst);
  for (u64 n = 1; n < entries.size(); ++n) store(true, loop + n * 8, 0);
  store(true, slot(0, kData), words.nested_leaf(kSecond, true));
  access(kSecond);
  world.run();
  EXPECT_EQ(counts().agreed, 2u);
  // Each entry that led to a table, and the leaf.
  EXPECT_EQ(counts().fences, 511u + 1u);
}

// Several second stages ---------------------------------------------------------------------------

// Two guests of one hypervisor, with equal addresses, by turns.
TEST_P(Recorded, SecondStagesShareNoTranslations) {
  second_stage(0, kFirst);
  second_stage(1, kSecond);
  for (int turn = 0; turn < 3; ++turn) {
    for (const unsigned number : {0u, 1u}) {
      enter(number, static_cast<u16>(number + 1));
      access(number == 0 ? kFirst : kSecond);
      access(number == 0 ? kFirst : kSecond);
    }
  }
  world.run();
  EXPECT_EQ(counts().agreed, 12u);
  EXPECT_EQ(counts().stale, 0u);
}

// As when all VMIDs were used up: this one belongs to another guest since, after a fence that is
// not recorded.
TEST_P(Recorded, AVmidThatIsGivenToAnotherRootSharesNothing) {
  second_stage(0, kFirst);
  second_stage(1, kSecond);
  enter(0, 1);
  access(kFirst);
  enter(1, 1);
  access(kSecond);
  world.run();
  EXPECT_EQ(counts().agreed, 2u);
}

// The first guest's page moves while the second one runs.
TEST_P(Recorded, AFenceGoesToTheSecondStageThatChanged) {
  second_stage(0, kFirst);
  second_stage(1, kSecond);
  enter(0, 1);
  access(kFirst);
  access(kFirst);
  enter(1, 2);
  access(kSecond);
  store(true, slot(0, kData), 0);
  store(true, slot(0, kData), words.nested_leaf(kThird, true));
  access(kSecond);
  enter(0, 1);
  access(kThird);
  access(kThird);
  world.run();
  EXPECT_EQ(counts().agreed, 6u);
  EXPECT_EQ(counts().fences, 1u);
  // The second guest's translation stays: its next access hit.
  EXPECT_EQ(world.machine.core(0).mmu->counts().walks(), 3u);
}

// Two roots lead to the same leaves, and each is fenced.
TEST_P(Recorded, AFenceGoesToEachSecondStageThatHasTheTable) {
  second_stage(0, kFirst);
  second_stage(1, kSecond);
  put(true, nested_table(1, 1), 0, words.table(nested_table(0, 0)));
  for (const unsigned number : {0u, 1u}) {
    enter(number, static_cast<u16>(number + 1));
    access(kFirst);
  }
  store(true, slot(0, kData), words.nested_leaf(kSecond, true));
  for (const unsigned number : {0u, 1u}) {
    enter(number, static_cast<u16>(number + 1));
    access(kSecond);
  }
  world.run();
  EXPECT_EQ(counts().agreed, 4u);
  EXPECT_EQ(counts().fences, 2u);
}

// Numbers that run out ----------------------------------------------------------------------------

class RecordedOnTwoCores : public Recorded {
 protected:
  RecordedOnTwoCores() : Recorded(2) { second_stage(0, kFirst); }
};

// All numbers are given to ASIDs when one more comes. The other vCPU is in ASID 5, which keeps its
// number; and still has it when that vCPU is in another one.
TEST_P(RecordedOnTwoCores, AnAsidKeepsItsNumberOverTheEndOfAGeneration) {
  const u16 most = models::extension_of(GetParam()).isa->most_asids;
  for (u16 asid = 1; asid <= most; ++asid) tables.enter(0, roots(0, 1, asid));
  tables.enter(1, roots(0, 1, 5));
  EXPECT_EQ(counts().fences, 0u);
  tables.enter(0, roots(0, 1, static_cast<u16>(most + 1)));
  EXPECT_EQ(counts().fences, 1u);
  tables.enter(1, roots(0, 1, 1));
  std::set<u16> numbers{tables.number_of(5), tables.number_of(1),
                        tables.number_of(static_cast<u16>(most + 1))};
  for (u16 asid = 10; asid < 20; ++asid) {
    tables.enter(0, roots(0, 1, asid));
    numbers.insert(tables.number_of(asid));
  }
  EXPECT_EQ(numbers.size(), 3u + 10u);
  EXPECT_FALSE(numbers.contains(0));
}

// What another process had cached under a number goes with the generation.
TEST_P(RecordedOnTwoCores, NothingIsCachedUnderANumberThatIsGivenAway) {
  const u16 most = models::extension_of(GetParam()).isa->most_asids;
  constexpr u64 kOtherRoot = kGuestRoot + 0x10000;
  const u64 other = kOtherRoot - kGuestRoot;
  for (unsigned level = formats.guest_shape.root_level(); level != 0; --level) {
    put(false, other + guest_table(level), 0, words.table(other + guest_table(level - 1)));
  }
  put(false, other + guest_table(0), kVirtual / kFrameBytes, words.guest_leaf(0x6000, true));
  // ASID 1 has number 1, and so has the one after the last.
  stream.add({0, roots(0, 1, 1)});
  access(kFirst);
  for (u16 asid = 2; asid <= most; ++asid) stream.add({0, roots(0, 1, asid)});
  TableRoots last = roots(0, 1, static_cast<u16>(most + 1));
  last.guest.root = kOtherRoot;
  stream.add({0, last});
  access(kFrames + 0x6000, AccessKind::Read, 0x6000);
  world.run();
  EXPECT_EQ(counts().agreed, 2u);
}

// More second stages than the caches tell apart, one of which a vCPU is in all the time.
TEST_P(RecordedOnTwoCores, SecondStagesMayBeMoreThanTheCachesTellApart) {
  second_stage(1, kSecond);
  tables.enter(1, roots(0, 1));
  const u16 number_of_first = tables.regime(1).vmid;
  for (u32 n = 0; n < models::Tags::kMost + 10; ++n) {
    tables.enter(0, roots(1, static_cast<u16>(n)));
    ASSERT_NE(tables.regime(0).vmid, number_of_first) << n;
  }
  EXPECT_EQ(tables.regime(1).vmid, number_of_first);
  enter(1, 0);
  access(kSecond);
  world.streams[1].add({0, roots(0, 1)});
  world.run();
  EXPECT_EQ(counts().agreed, 1u);
}

const auto kAll =
    testing::Values(Architecture::X86_64, Architecture::AArch64, Architecture::RiscV64);
INSTANTIATE_TEST_SUITE_P(All, Recorded, kAll);
INSTANTIATE_TEST_SUITE_P(All, RecordedOnTwoCores, kAll);

}  // namespace
}  // namespace nestwalk::software::recorded_stages_test
