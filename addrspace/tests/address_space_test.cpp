// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Each public operation of an AddressSpace, by example.
#include "nestwalk/addrspace/address_space.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::addrspace::address_space_test {
namespace {

constexpr u64 kPage = 4 * kKiB;
constexpr MappingFlags kRw{kRead | kWrite};
constexpr MappingFlags kRo{kRead};
constexpr MappingFlags kNone{};
constexpr MappingFlags kUnencodable{kWrite};  // EPT: write needs read

GpaRange bytes(u64 from, u64 size) { return *GpaRange::make(Gpa(from), size); }

Capabilities tracks_dirty() {
  Capabilities machine = full_machine();
  machine.hardware_dirty = true;
  return machine;
}

class AddressSpaceTest : public ::testing::Test {
 protected:
  using Space = AddressSpace<Ept, ArenaHal<>>;
  static constexpr u64 kStart = kMiB;
  static constexpr u64 kBytes = 8 * kGiB;

  AddressSpaceTest()
      : hal_(8192, tracks_dirty()),
        space_(*Space::create(hal_, *Ept::geometry(4), bytes(kStart, kBytes), 3)) {}

  u64 in_use() const { return hal_.arena().frames_in_use(); }
  std::vector<Area> areas() const {
    std::vector<Area> list;
    space_.for_each_area([&](const Area& area) { list.push_back(area); });
    return list;
  }
  std::vector<GpaRange> harvest(GpaRange part) {
    std::vector<GpaRange> found;
    EXPECT_TRUE(space_.harvest_dirty_log(part, [&](GpaRange run) { found.push_back(run); }));
    return found;
  }
  /// What the walker does for a write where it keeps accessed and dirty flags.
  void write_by_hardware(Gpa at) {
    const auto entry = space_.page_table().entry(at).value();
    ASSERT_TRUE(Ept::is_writable(entry.entry));
    hal_.write_entry(entry.slot, entry.entry | Ept::kDirty | Ept::kAccessed);
  }

  ArenaHal<> hal_;
  Space space_;
};

using Ranges = std::vector<GpaRange>;

// Making and describing ---------------------------------------------------------------------------

TEST_F(AddressSpaceTest, creation_checks_emptiness_then_width_then_alignment) {
  const Geometry shape = *Ept::geometry(4);
  EXPECT_EQ(Space::create(hal_, shape, bytes(u64{1} << 60, 0)).error(), Error::EmptyRange);
  EXPECT_EQ(Space::create(hal_, shape, bytes((u64{1} << 48) - kPage, kPage + 1)).error(),
            Error::OutOfRange);
  EXPECT_EQ(Space::create(hal_, shape, bytes(0x123, 0x1'0001)).error(), Error::Unaligned);
  EXPECT_EQ(class_of(Error::Unaligned), ErrorClass::InvalidInput);
}

TEST_F(AddressSpaceTest, an_empty_space_takes_a_root_and_a_frame_of_shortcuts) {
  EXPECT_EQ(in_use(), 2u);
  EXPECT_EQ(space_.usage(), (SpaceUsage{{1, 2 * kPage, 0}, 0, 0}));
  EXPECT_EQ(space_.range(), bytes(kStart, kBytes));
  EXPECT_TRUE(space_.contains(Gpa(kStart), kBytes));
  EXPECT_FALSE(space_.contains(Gpa(kStart), kBytes + 1));
  EXPECT_FALSE(space_.contains(Gpa(kStart + 8), ~u64{0}));  // wraps
  EXPECT_TRUE(space_.contains(Gpa(kStart + kBytes), 0));
  EXPECT_EQ(space_.dirty_tracking(), DirtyTracking::Off);
}

TEST_F(AddressSpaceTest, says_what_an_x86_processor_must_be_told) {
  const SpaceConfig config = space_.config();
  EXPECT_EQ(config.root, space_.page_table().root());
  EXPECT_EQ(config.root_bytes, kPage);
  EXPECT_EQ(config.levels, 4);
  EXPECT_EQ(config.gpa_bits, 48);
  // Intel SDM vol. 3C, EPTP: write-back 6, walk length 3 << 3, accessed and dirty flags 1 << 6.
  EXPECT_EQ(config.registers.root_register, config.root.value() | 6 | 3 << 3 | 1 << 6);
  EXPECT_EQ(config.registers.control_register, 0u);
  EXPECT_EQ(space_.page_table().tag().root_register, config.registers.root_register);
}

TEST_F(AddressSpaceTest, says_what_an_arm_processor_must_be_told) {
  using Arm = Stage2<Granule::k4K>;
  ArenaHal<> hal(64);
  const auto space =
      *AddressSpace<Arm, ArenaHal<>>::create(hal, *Arm::geometry(40), bytes(0, kGiB), 9);
  const SpaceConfig config = space.config();
  EXPECT_EQ(config.levels, 3);
  EXPECT_EQ(config.gpa_bits, 40);
  EXPECT_EQ(config.root_bytes, 2 * kPage);  // 40 - 39: two concatenated tables
  EXPECT_TRUE(config.root.is_aligned(2 * kPage));
  // VTTBR_EL2: VMID in 63:48 (Arm ARM D24.2).
  EXPECT_EQ(config.registers.root_register, u64{9} << 48 | config.root.value());
  // VTCR_EL2: T0SZ = 64 - 40; SL0 = 1 starts at level 1.
  EXPECT_EQ(config.registers.control_register & 0x3f, 24u);
  EXPECT_EQ(config.registers.control_register >> 6 & 3, 1u);
}

TEST_F(AddressSpaceTest, says_what_a_risc_v_hart_must_be_told) {
  ArenaHal<> hal(64);
  const auto space =
      *AddressSpace<GStage, ArenaHal<>>::create(hal, *GStage::geometry(3), bytes(0, kGiB), 9);
  const SpaceConfig config = space.config();
  EXPECT_EQ(config.levels, 3);
  EXPECT_EQ(config.gpa_bits, 41);
  EXPECT_EQ(config.root_bytes, 16 * kKiB);
  // hgatp: MODE 8 is Sv39x4, VMID in 57:44, then the page number.
  EXPECT_EQ(config.registers.root_register,
            u64{8} << 60 | u64{9} << 44 | config.root.value() >> 12);
}

// Mapping -----------------------------------------------------------------------------------------

TEST_F(AddressSpaceTest, mapping_checks_its_arguments_before_what_is_mapped) {
  ASSERT_TRUE(space_.map_linear(Gpa(kStart), Hpa(0), kPage, kRw));
  const auto map = [&](u64 at, u64 size, MappingFlags flags) {
    const Result<void> linear = space_.map_linear(Gpa(at), Hpa(0), size, flags);
    EXPECT_EQ(space_.map_alloc(Gpa(at), size, flags, Backend::eager()), linear);
    return linear;
  };
  EXPECT_EQ(map(~u64{0}, 2, kUnencodable), Result<void>(Error::AddressOverflow));
  EXPECT_EQ(map(1, 1, kUnencodable), Result<void>(Error::OutOfRange));
  EXPECT_EQ(map(kStart + 1, 0, kUnencodable), Result<void>(Error::Unaligned));
  EXPECT_EQ(map(kStart, 0, kUnencodable), Result<void>(Error::EmptyRange));
  EXPECT_EQ(map(kStart, kPage, kUnencodable), Result<void>(Error::UnsupportedFlags));
  EXPECT_EQ(space_.map_linear(Gpa(kStart), Hpa(1), kPage, kRw), Result<void>(Error::Unaligned));
  EXPECT_EQ(space_.map_linear(Gpa(kStart), Hpa(u64{1} << 48), kPage, kRw),
            Result<void>(Error::OutOfRange));
  EXPECT_EQ(space_.map_alloc(Gpa(kStart), kPage, kRw, Backend::linear(Hpa(0))),
            Result<void>(Error::UnsupportedFeature));
  EXPECT_EQ(map(kStart, kPage, kRw), Result<void>(Error::AlreadyMapped));
  EXPECT_EQ(class_of(Error::OutOfRange), ErrorClass::InvalidInput);
  EXPECT_EQ(class_of(Error::EmptyRange), ErrorClass::InvalidInput);
  EXPECT_EQ(class_of(Error::AlreadyMapped), ErrorClass::AlreadyExists);
  EXPECT_EQ(areas().size(), 1u);
}

TEST_F(AddressSpaceTest, host_memory_must_be_aligned_and_within_the_machine) {
  EXPECT_EQ(space_.map_linear(Gpa(kStart), Hpa(8), kPage, kRw), Result<void>(Error::Unaligned));
  EXPECT_EQ(space_.map_linear(Gpa(kStart), Hpa(u64{1} << 48), kPage, kRw),
            Result<void>(Error::OutOfRange));
  EXPECT_EQ(space_.map_linear(Gpa(kStart), Hpa(~u64{0} - kPage + 1), 2 * kPage, kRw),
            Result<void>(Error::AddressOverflow));
  EXPECT_EQ(space_.map_alloc(Gpa(kStart), kPage, kRw, Backend::linear(Hpa(0))),
            Result<void>(Error::UnsupportedFeature));
  EXPECT_EQ(in_use(), 2u);
}

TEST_F(AddressSpaceTest, linear_memory_may_lie_above_or_below_and_is_mapped_at_once) {
  ASSERT_TRUE(space_.map_linear(Gpa(256 * kMiB), Hpa(2 * kGiB), 4 * kMiB, kRw));
  ASSERT_TRUE(space_.map_linear(Gpa(4 * kGiB), Hpa(0), kPage, kRo));
  EXPECT_EQ(*space_.translate(Gpa(256 * kMiB + 5)), Hpa(2 * kGiB + 5));
  EXPECT_EQ(space_.query(Gpa(256 * kMiB))->size, 2 * kMiB);
  EXPECT_EQ(*space_.translate(Gpa(4 * kGiB)), Hpa(0));
}

TEST_F(AddressSpaceTest, eager_memory_is_there_and_zero) {
  ASSERT_TRUE(space_.map_alloc(Gpa(2 * kMiB), 2 * kMiB + kPage, kRw, Backend::eager(1)));
  EXPECT_EQ(space_.query(Gpa(2 * kMiB))->size, 2 * kMiB);
  EXPECT_EQ(space_.query(Gpa(4 * kMiB))->size, kPage);
  EXPECT_EQ(space_.usage().tables.owned_bytes, 2 * kMiB + kPage);
  const u8* last =
      reinterpret_cast<const u8*>(hal_.phys_to_virt(*space_.translate(Gpa(4 * kMiB - 1))).value());
  EXPECT_EQ(*last, 0);
}

TEST_F(AddressSpaceTest, lazy_memory_costs_nothing_but_the_area_until_it_is_touched) {
  ASSERT_TRUE(space_.map_alloc(Gpa(kGiB), 4 * kGiB, kRw, Backend::lazy()));
  EXPECT_EQ(space_.usage().tables, (Usage{1, 2 * kPage, 0}));
  EXPECT_EQ(space_.usage().area_frames, 1u);
  EXPECT_EQ(space_.translate(Gpa(kGiB)).error(), Error::NotMapped);
  EXPECT_EQ(hal_.invalidations.back().changes(), change::kReserved);
}

TEST_F(AddressSpaceTest, areas_that_go_on_alike_are_one) {
  ASSERT_TRUE(space_.map_linear(Gpa(kStart), Hpa(0), kPage, kRw));
  ASSERT_TRUE(space_.map_linear(Gpa(kStart + kPage), Hpa(kPage), kPage, kRw));
  EXPECT_EQ(areas(), (std::vector<Area>{{bytes(kStart, 2 * kPage), kRw, Backend::linear(Hpa(0))}}));
  EXPECT_EQ(space_.area_at(Gpa(kStart + kPage))->range.size(), 2 * kPage);
  EXPECT_EQ(space_.area_at(Gpa(kStart + 2 * kPage)), nullptr);
}

// Unmapping and protecting ------------------------------------------------------------------------

TEST_F(AddressSpaceTest, unmapping_cuts_areas_and_gives_everything_back) {
  // The original engine's example: [0x10, 0x15) minus [0x12, 0x13) pages.
  const Gpa base(kStart);
  ASSERT_TRUE(space_.map_alloc(base, 5 * kPage, kRw, Backend::eager()));
  ASSERT_TRUE(space_.unmap(base + 2 * kPage, kPage));
  EXPECT_EQ(areas(),
            (std::vector<Area>{{bytes(kStart, 2 * kPage), kRw, Backend::eager()},
                               {bytes(kStart + 3 * kPage, 2 * kPage), kRw, Backend::eager()}}));
  EXPECT_EQ(space_.usage().tables.owned_bytes, 4 * kPage);
  ASSERT_TRUE(space_.unmap(base, kBytes));
  EXPECT_EQ(in_use(), 2u);
  EXPECT_TRUE(space_.unmap(base, kBytes)) << "holes are fine";
  EXPECT_TRUE(space_.unmap(base, 0));
  EXPECT_EQ(space_.unmap(base + 1, kPage), Result<void>(Error::Unaligned));
  EXPECT_EQ(space_.unmap(Gpa(0), kPage), Result<void>(Error::OutOfRange));
}

TEST_F(AddressSpaceTest, what_was_unmapped_may_be_mapped_again_as_something_else) {
  ASSERT_TRUE(space_.map_alloc(Gpa(2 * kMiB), 2 * kMiB, kRw, Backend::eager()));
  EXPECT_TRUE(space_.translate(Gpa(2 * kMiB)));
  ASSERT_TRUE(space_.unmap(Gpa(2 * kMiB), 2 * kMiB));
  // A large leaf where a table of pages was: no shortcut leads to the table any more.
  ASSERT_TRUE(space_.map_linear(Gpa(2 * kMiB), Hpa(kGiB), 2 * kMiB, kRw));
  EXPECT_EQ(*space_.translate(Gpa(2 * kMiB + kPage)), Hpa(kGiB + kPage));
  EXPECT_EQ(space_.query(Gpa(2 * kMiB))->size, 2 * kMiB);
}

TEST_F(AddressSpaceTest, protecting_changes_areas_and_pages_and_keeps_content) {
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart), 4 * kPage, kRw, Backend::lazy()));
  ASSERT_EQ(space_.handle_fault(Gpa(kStart), kWrite), FaultOutcome::Mapped);
  const Hpa memory = *space_.translate(Gpa(kStart));
  ASSERT_TRUE(space_.protect(Gpa(kStart), 2 * kPage, kNone));
  EXPECT_EQ(areas().size(), 2u);
  EXPECT_EQ(space_.translate(Gpa(kStart)).error(), Error::NotMapped);
  EXPECT_EQ(space_.handle_fault(Gpa(kStart), kRead), FaultOutcome::NoPermission);
  ASSERT_TRUE(space_.protect(Gpa(kStart), 2 * kPage, kRw));
  EXPECT_EQ(areas().size(), 1u);
  EXPECT_EQ(*space_.translate(Gpa(kStart)), memory);
}

TEST_F(AddressSpaceTest, protecting_nothing_changes_nothing) {
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart), 4 * kPage, kRw, Backend::lazy()));
  ASSERT_TRUE(space_.protect(Gpa(kStart + kPage), 0, kRo));
  EXPECT_EQ(areas().size(), 1u);
  EXPECT_EQ(space_.protect(Gpa(kStart), kPage, kUnencodable),
            Result<void>(Error::UnsupportedFlags));
  EXPECT_EQ(space_.protect(Gpa(kStart + 1), kPage, kRo), Result<void>(Error::Unaligned));
  EXPECT_EQ(space_.protect(Gpa(0), kPage, kRo), Result<void>(Error::OutOfRange));
}

// Arm keeps the dirty state in the write permission: a dirty page must not stay writable.
TEST_F(AddressSpaceTest, a_dirty_page_loses_its_write_permission_on_every_architecture) {
  const auto check = [&](auto space) {
    ASSERT_TRUE(space.map_alloc(Gpa(0), kPage, kRw, Backend::eager()));
    ASSERT_TRUE(space.protect(Gpa(0), kPage, kRo));
    EXPECT_EQ(space.query(Gpa(0))->flags, kRo);
    EXPECT_FALSE(space.query(Gpa(0))->flags.access.has(kWrite));
  };
  using Arm = Stage2<Granule::k4K>;
  check(*AddressSpace<Arm, ArenaHal<>>::create(hal_, *Arm::geometry(40), bytes(0, kGiB)));
  check(*AddressSpace<GStage, ArenaHal<>>::create(hal_, *GStage::geometry(3), bytes(0, kGiB)));
  check(*AddressSpace<Ept, ArenaHal<>>::create(hal_, *Ept::geometry(4), bytes(0, kGiB)));
}

TEST_F(AddressSpaceTest, clearing_leaves_a_space_that_works) {
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart), 4 * kPage, kRw, Backend::eager()));
  ASSERT_TRUE(space_.start_dirty_log(DirtyTracking::WriteProtection));
  space_.clear();
  EXPECT_EQ(in_use(), 2u);
  EXPECT_EQ(space_.dirty_tracking(), DirtyTracking::Off);
  EXPECT_TRUE(space_.map_alloc(Gpa(kStart), 4 * kPage, kRw, Backend::eager()));
}

// Faults ------------------------------------------------------------------------------------------

TEST_F(AddressSpaceTest, a_fault_is_answered_by_area_permission_and_backend) {
  ASSERT_TRUE(space_.map_linear(Gpa(kStart), Hpa(0), kPage, kRw));
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart + kPage), kPage, kRo, Backend::lazy()));
  EXPECT_EQ(space_.handle_fault(Gpa(0), kRead), FaultOutcome::NoArea);
  EXPECT_EQ(space_.handle_fault(Gpa(kStart + 2 * kPage), kRead), FaultOutcome::NoArea);
  EXPECT_EQ(space_.handle_fault(Gpa(kStart), kWrite), FaultOutcome::AlreadyMapped);
  EXPECT_EQ(space_.handle_fault(Gpa(kStart), kExecute), FaultOutcome::NoPermission);
  EXPECT_EQ(space_.handle_fault(Gpa(kStart + kPage), kWrite), FaultOutcome::NoPermission);
  EXPECT_EQ(space_.usage().tables.owned_bytes, 0u);
  EXPECT_EQ(space_.handle_fault(Gpa(kStart + kPage + 8), kRead | kUser), FaultOutcome::Mapped);
  EXPECT_EQ(space_.usage().tables.owned_bytes, kPage);
}

TEST_F(AddressSpaceTest, a_second_fault_keeps_frame_and_content) {
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart), kPage, kRw, Backend::lazy()));
  ASSERT_EQ(space_.handle_fault(Gpa(kStart), kWrite), FaultOutcome::Mapped);
  const Hpa memory = *space_.translate(Gpa(kStart));
  u8* byte = reinterpret_cast<u8*>(hal_.phys_to_virt(memory).value());
  *byte = 0x5a;
  const u64 before = hal_.allocations;
  EXPECT_EQ(space_.handle_fault(Gpa(kStart), kWrite), FaultOutcome::AlreadyMapped);
  EXPECT_EQ(*space_.translate(Gpa(kStart)), memory);
  EXPECT_EQ(*byte, 0x5a);
  EXPECT_EQ(hal_.allocations, before);
  EXPECT_EQ(hal_.invalidations.back().changes(), change::kSpurious);
}

TEST_F(AddressSpaceTest, a_fault_brings_its_neighbours_within_the_area) {
  // Eight pages around page 5 of the 2 MiB: [0, 8), of which the area has [2, 7).
  ASSERT_TRUE(space_.map_alloc(Gpa(2 * kMiB + 2 * kPage), 5 * kPage, kRw, Backend::lazy(3)));
  ASSERT_EQ(space_.handle_fault(Gpa(2 * kMiB + 5 * kPage), kRead), FaultOutcome::Mapped);
  for (u64 n = 0; n < 10; ++n) {
    EXPECT_EQ(space_.translate(Gpa(2 * kMiB + n * kPage)).ok(), n >= 2 && n < 7) << n;
  }
}

TEST_F(AddressSpaceTest, a_fault_brings_a_large_leaf_where_the_area_has_room) {
  ASSERT_TRUE(space_.map_alloc(Gpa(4 * kMiB), 3 * kMiB, kRw, Backend::lazy(0, 2)));
  ASSERT_EQ(space_.handle_fault(Gpa(5 * kMiB), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(space_.query(Gpa(4 * kMiB))->size, 2 * kMiB);
  ASSERT_EQ(space_.handle_fault(Gpa(6 * kMiB), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(space_.query(Gpa(6 * kMiB))->size, kPage);  // only 1 MiB left
}

TEST_F(AddressSpaceTest, running_out_of_memory_is_an_outcome_of_its_own) {
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart), kPage, kRw, Backend::lazy()));
  hal_.allocations_left = 0;
  EXPECT_EQ(space_.handle_fault(Gpa(kStart), kRead), FaultOutcome::OutOfMemory);
  EXPECT_FALSE(resolved(FaultOutcome::OutOfMemory));
  hal_.allocations_left = ArenaHal<>::kNoLimit;
  EXPECT_EQ(space_.handle_fault(Gpa(kStart), kRead), FaultOutcome::Mapped);
  EXPECT_TRUE(resolved(FaultOutcome::Mapped));
}

// Of faults in one lazy area, each may use what the last one found out; the area of the next four
// tests has been faulted in twice, at its first two pages.
class FaultAfterFault : public AddressSpaceTest {
 protected:
  FaultAfterFault() {
    EXPECT_TRUE(space_.map_alloc(at(0), 8 * kPage, kRw, Backend::lazy()));
    EXPECT_EQ(space_.handle_fault(at(0), kWrite), FaultOutcome::Mapped);
    EXPECT_EQ(space_.handle_fault(at(1), kWrite), FaultOutcome::Mapped);
  }
  static Gpa at(u64 page) { return Gpa(2 * kMiB + page * kPage); }
};

TEST_F(FaultAfterFault, has_the_permissions_that_the_area_has_by_then) {
  ASSERT_TRUE(space_.protect(at(0), 8 * kPage, kRo));
  EXPECT_EQ(space_.handle_fault(at(2), kWrite), FaultOutcome::NoPermission);
  EXPECT_EQ(space_.handle_fault(at(2), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(space_.query(at(2))->flags, kRo);
  ASSERT_TRUE(space_.protect(at(0), 8 * kPage, kRw));
  EXPECT_EQ(space_.handle_fault(at(3), kWrite), FaultOutcome::Mapped);
  EXPECT_EQ(space_.query(at(3))->flags, kRw);
  EXPECT_EQ(space_.handle_fault(at(4), kExecute), FaultOutcome::NoPermission);
}

TEST_F(FaultAfterFault, finds_no_area_where_it_was_unmapped) {
  ASSERT_TRUE(space_.unmap(at(2), kPage));
  EXPECT_EQ(space_.handle_fault(at(3), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(space_.handle_fault(at(2), kRead), FaultOutcome::NoArea);
  EXPECT_EQ(space_.usage().tables.owned_bytes, 3 * kPage);
  ASSERT_TRUE(space_.map_linear(at(2), Hpa(0), kPage, kRw));
  EXPECT_EQ(space_.handle_fault(at(2), kRead), FaultOutcome::AlreadyMapped);
  space_.clear();
  EXPECT_EQ(space_.handle_fault(at(4), kRead), FaultOutcome::NoArea);
  EXPECT_EQ(space_.usage().tables.owned_bytes, 0u);
}

TEST_F(FaultAfterFault, is_seen_by_a_dirty_log_that_started_meanwhile) {
  ASSERT_TRUE(space_.start_dirty_log(DirtyTracking::WriteProtection));
  EXPECT_EQ(space_.handle_fault(at(2), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(space_.query(at(2))->flags, kRo);
  EXPECT_EQ(space_.handle_fault(at(3), kWrite), FaultOutcome::Mapped);
  EXPECT_EQ(harvest(space_.range()), Ranges{bytes(at(3).value(), kPage)});
  ASSERT_TRUE(space_.stop_dirty_log());
  EXPECT_EQ(space_.handle_fault(at(4), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(space_.query(at(4))->flags, kRw);
}

TEST_F(FaultAfterFault, in_another_area_has_what_that_one_promises) {
  ASSERT_TRUE(space_.map_alloc(at(8), 4 * kPage, kRo, Backend::lazy()));
  ASSERT_TRUE(space_.map_alloc(at(16), 16 * kPage, kRw, Backend::lazy(2)));
  for (u64 n = 0; n < 2; ++n) {
    EXPECT_EQ(space_.handle_fault(at(2 + n), kWrite), FaultOutcome::Mapped);
    EXPECT_EQ(space_.handle_fault(at(8 + n), kWrite), FaultOutcome::NoPermission);
    EXPECT_EQ(space_.handle_fault(at(8 + n), kRead), FaultOutcome::Mapped);
    EXPECT_EQ(space_.query(at(8 + n))->flags, kRo);
    // Four pages around, so the next group is free.
    EXPECT_EQ(space_.handle_fault(at(16 + 4 * n), kWrite), FaultOutcome::Mapped);
    EXPECT_TRUE(space_.translate(at(16 + 4 * n + 3)));
  }
  EXPECT_EQ(space_.usage().tables.owned_bytes, (2 + 2 + 2 + 8) * kPage);
}

TEST(FaultOutcomes, have_names) {
  EXPECT_STREQ(to_string(FaultOutcome::Mapped), "mapped");
  EXPECT_STREQ(to_string(FaultOutcome::OutOfMemory), "out of memory");
  EXPECT_TRUE(resolved(FaultOutcome::MadeWritable) && resolved(FaultOutcome::AlreadyMapped));
  EXPECT_FALSE(resolved(FaultOutcome::NoArea) || resolved(FaultOutcome::NotBacked));
}

// Windows -----------------------------------------------------------------------------------------

TEST_F(AddressSpaceTest, a_window_ends_with_the_leaf_or_the_area) {
  ASSERT_TRUE(space_.map_linear(Gpa(2 * kMiB), Hpa(kGiB), 4 * kMiB, kRw));
  EXPECT_EQ(space_.window(Gpa(2 * kMiB + 5), kRead)->bytes, 2 * kMiB - 5);  // two leaves
  EXPECT_EQ(space_.window(Gpa(2 * kMiB + 5), kRead)->address, Hpa(kGiB + 5));
  ASSERT_TRUE(space_.protect(Gpa(5 * kMiB), kMiB, kRo));
  EXPECT_EQ(space_.window(Gpa(6 * kMiB - 1), kRead)->bytes, 1u);
  EXPECT_EQ(space_.window(Gpa(5 * kMiB), kWrite).error(), Error::InsufficientAccess);
  EXPECT_EQ(space_.window(Gpa(6 * kMiB), kRead).error(), Error::NotMapped);
}

TEST_F(AddressSpaceTest, opening_a_window_backs_what_is_promised_and_looking_does_not) {
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart), kPage, kRo, Backend::lazy()));
  EXPECT_EQ(space_.window(Gpa(kStart), kRead).error(), Error::NotMapped);
  EXPECT_EQ(space_.open_window(Gpa(kStart), kWrite).error(), Error::InsufficientAccess);
  EXPECT_EQ(space_.usage().tables.owned_bytes, 0u);
  EXPECT_EQ(space_.open_window(Gpa(kStart + 8), kRead)->bytes, kPage - 8);
  EXPECT_EQ(space_.open_window(Gpa(0), kRead).error(), Error::NotMapped);
  ASSERT_TRUE(space_.map_alloc(Gpa(2 * kMiB), kPage, kRw, Backend::lazy()));
  hal_.allocations_left = 0;
  EXPECT_EQ(space_.open_window(Gpa(2 * kMiB), kRead).error(), Error::NoMemory);
}

TEST_F(AddressSpaceTest, runs_join_what_is_contiguous_and_alike) {
  ASSERT_TRUE(space_.map_linear(Gpa(2 * kMiB), Hpa(kGiB), 2 * kMiB + 2 * kPage, kRw));
  ASSERT_TRUE(space_.protect(Gpa(4 * kMiB + kPage), kPage, kRo));
  ASSERT_TRUE(space_.map_linear(Gpa(4 * kMiB + 2 * kPage), Hpa(0), kPage, kRo));
  std::vector<MappedRun> runs;
  space_.for_each_run(space_.range(), [&](const MappedRun& run) { runs.push_back(run); });
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].size, 2 * kMiB + kPage);  // a large leaf and a page
  EXPECT_EQ(runs[0].hpa, Hpa(kGiB));
  EXPECT_EQ(runs[1].gpa, Gpa(4 * kMiB + kPage));
  EXPECT_EQ(runs[1].flags, kRo);
  EXPECT_EQ(runs[2].hpa, Hpa(0));
}

// The dirty log -----------------------------------------------------------------------------------

TEST_F(AddressSpaceTest, the_log_starts_once_and_only_with_what_the_machine_has) {
  EXPECT_EQ(space_.start_dirty_log(DirtyTracking::Off), Result<void>(Error::WrongState));
  EXPECT_EQ(space_.stop_dirty_log(), Result<void>(Error::WrongState));
  EXPECT_EQ(space_.harvest_dirty_log(space_.range(), [](GpaRange) {}),
            Result<void>(Error::WrongState));
  ASSERT_TRUE(space_.start_dirty_log(DirtyTracking::Hardware));
  EXPECT_EQ(space_.start_dirty_log(DirtyTracking::Hardware), Result<void>(Error::WrongState));
  EXPECT_EQ(space_.harvest_dirty_log(bytes(0, kPage), [](GpaRange) {}),
            Result<void>(Error::OutOfRange));
  EXPECT_EQ(space_.harvest_dirty_log(bytes(kStart + 1, kPage), [](GpaRange) {}),
            Result<void>(Error::Unaligned));
  ArenaHal<> plain(64);
  Space other = *Space::create(plain, *Ept::geometry(4), bytes(0, kGiB));
  EXPECT_EQ(other.start_dirty_log(DirtyTracking::Hardware),
            Result<void>(Error::UnsupportedFeature));
}

TEST_F(AddressSpaceTest, write_protection_records_the_first_write_to_each_page) {
  ASSERT_TRUE(space_.map_linear(Gpa(2 * kMiB), Hpa(kGiB), 2 * kMiB, kRw));
  ASSERT_TRUE(space_.start_dirty_log(DirtyTracking::WriteProtection));
  EXPECT_FALSE(space_.query(Gpa(2 * kMiB))->flags.access.has(kWrite));
  EXPECT_EQ(space_.handle_fault(Gpa(2 * kMiB + kPage), kWrite), FaultOutcome::MadeWritable);
  EXPECT_EQ(space_.query(Gpa(2 * kMiB + kPage))->size, kPage);  // the page alone
  EXPECT_EQ(harvest(space_.range()), Ranges{bytes(2 * kMiB + kPage, kPage)});
  EXPECT_EQ(harvest(space_.range()), Ranges{});
  EXPECT_EQ(space_.handle_fault(Gpa(2 * kMiB + kPage), kWrite), FaultOutcome::MadeWritable);
  ASSERT_TRUE(space_.stop_dirty_log());
  EXPECT_EQ(space_.query(Gpa(2 * kMiB))->flags, kRw);
}

TEST_F(AddressSpaceTest, the_hardware_s_own_record_is_harvested) {
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart), 8 * kPage, kRw, Backend::eager()));
  ASSERT_TRUE(space_.start_dirty_log(DirtyTracking::Hardware));
  write_by_hardware(Gpa(kStart + kPage));
  write_by_hardware(Gpa(kStart + 2 * kPage));
  write_by_hardware(Gpa(kStart + 6 * kPage));
  const Ranges expected{bytes(kStart + kPage, 2 * kPage), bytes(kStart + 6 * kPage, kPage)};
  EXPECT_EQ(harvest(bytes(kStart, kPage)), Ranges{});
  EXPECT_EQ(harvest(space_.range()), expected);
  EXPECT_EQ(hal_.invalidations.back().changes(), change::kCleaned);
  EXPECT_EQ(harvest(space_.range()), Ranges{});
}

TEST_F(AddressSpaceTest, the_record_survives_a_change_of_permissions) {
  for (const DirtyTracking how : {DirtyTracking::WriteProtection, DirtyTracking::Hardware}) {
    ASSERT_TRUE(space_.map_alloc(Gpa(kStart), 4 * kPage, kRw, Backend::eager()));
    ASSERT_TRUE(space_.start_dirty_log(how));
    if (how == DirtyTracking::Hardware) {
      write_by_hardware(Gpa(kStart));
    } else {
      ASSERT_EQ(space_.handle_fault(Gpa(kStart), kWrite), FaultOutcome::MadeWritable);
    }
    ASSERT_TRUE(space_.protect(Gpa(kStart), 2 * kPage, kRo));
    ASSERT_TRUE(space_.protect(Gpa(kStart), kPage, kNone));
    ASSERT_TRUE(space_.protect(Gpa(kStart), 4 * kPage, kRw));
    EXPECT_EQ(harvest(space_.range()), Ranges{bytes(kStart, kPage)});
    space_.clear();
  }
}

TEST_F(AddressSpaceTest, what_is_mapped_while_the_log_runs_counts_as_written) {
  ASSERT_TRUE(space_.start_dirty_log(DirtyTracking::Hardware));
  ASSERT_TRUE(space_.map_linear(Gpa(2 * kMiB), Hpa(0), kPage, kRo));
  ASSERT_TRUE(space_.map_alloc(Gpa(4 * kMiB), 2 * kPage, kRw, Backend::eager()));
  ASSERT_TRUE(space_.map_alloc(Gpa(6 * kMiB), kPage, kRw, Backend::lazy()));
  ASSERT_EQ(space_.handle_fault(Gpa(6 * kMiB), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(harvest(space_.range()),
            (Ranges{bytes(2 * kMiB, kPage), bytes(4 * kMiB, 2 * kPage), bytes(6 * kMiB, kPage)}));
}

// Whoever reads the log has copied what the page held before: now it is zeros, which nobody wrote.
TEST_F(AddressSpaceTest, a_page_promised_anew_while_the_log_runs_counts_as_written_when_read) {
  for (const DirtyTracking how : {DirtyTracking::WriteProtection, DirtyTracking::Hardware}) {
    ASSERT_TRUE(space_.map_alloc(Gpa(kStart), 4 * kPage, kRw, Backend::lazy()));
    for (u64 n = 0; n < 4; n += 2) {
      ASSERT_EQ(space_.handle_fault(Gpa(kStart + n * kPage), kWrite), FaultOutcome::Mapped);
    }
    ASSERT_TRUE(space_.start_dirty_log(how));
    ASSERT_TRUE(space_.unmap(Gpa(kStart), 2 * kPage));
    ASSERT_TRUE(space_.map_alloc(Gpa(kStart), 2 * kPage, kRw, Backend::lazy()));
    for (u64 n = 0; n < 4; ++n) {
      const bool there = n == 2;
      EXPECT_EQ(space_.handle_fault(Gpa(kStart + n * kPage), kRead),
                there ? FaultOutcome::AlreadyMapped : FaultOutcome::Mapped);
    }
    // Pages 0 and 1 are of the new promise; 2 was there and 3 promised before the log.
    EXPECT_EQ(harvest(space_.range()), (Ranges{bytes(kStart, 2 * kPage)}));
    EXPECT_EQ(space_.usage().areas, 2u);
    ASSERT_TRUE(space_.stop_dirty_log());
    EXPECT_EQ(space_.usage().areas, 1u) << "equal again";
    space_.clear();
  }
}

TEST_F(AddressSpaceTest, the_dirty_log_leaves_devices_alone) {
  constexpr MappingFlags kRegisters{kRead | kWrite, MemoryType::Device};
  for (const DirtyTracking how : {DirtyTracking::WriteProtection, DirtyTracking::Hardware}) {
    ASSERT_TRUE(space_.map_linear(Gpa(kStart), Hpa(kGiB), kPage, kRegisters));
    ASSERT_TRUE(space_.start_dirty_log(how));
    EXPECT_TRUE(space_.query(Gpa(kStart))->flags.access.has(kWrite)) << "writes still do not fault";
    EXPECT_EQ(harvest(space_.range()), Ranges{});
    ASSERT_TRUE(space_.stop_dirty_log());
    space_.clear();
  }
}

// A reader copies what for_each_run shows it: neither devices nor pages out of reach.
TEST_F(AddressSpaceTest, what_protect_brings_into_the_log_counts_as_written) {
  constexpr MappingFlags kHiddenBefore[] = {{kRead | kWrite, MemoryType::Device}, {}};
  for (const MappingFlags before : kHiddenBefore) {
    for (const DirtyTracking how : {DirtyTracking::WriteProtection, DirtyTracking::Hardware}) {
      ASSERT_TRUE(space_.map_alloc(Gpa(kStart), 2 * kPage, before, Backend::eager()));
      ASSERT_TRUE(space_.start_dirty_log(how));
      ASSERT_TRUE(space_.protect(Gpa(kStart), kPage, kRw));
      EXPECT_EQ(harvest(space_.range()), Ranges{bytes(kStart, kPage)});
      EXPECT_EQ(harvest(space_.range()), Ranges{});
      ASSERT_TRUE(space_.stop_dirty_log());
      space_.clear();
    }
  }
}

TEST_F(AddressSpaceTest, mapped_runs_are_cut_at_the_ends_of_the_part) {
  ASSERT_TRUE(space_.map_linear(Gpa(2 * kMiB), Hpa(8 * kMiB), 4 * kMiB, kRw));
  std::vector<MappedRun> runs;
  space_.for_each_run(bytes(3 * kMiB, kMiB + kPage),
                      [&](const MappedRun& run) { runs.push_back(run); });
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].gpa, Gpa(3 * kMiB));
  EXPECT_EQ(runs[0].hpa, Hpa(9 * kMiB));
  EXPECT_EQ(runs[0].size, kMiB + kPage);
}

// Trees have at most F::kMaxLevels levels, and a table 2^kIndexBits pages.
TEST_F(AddressSpaceTest, a_backend_that_asks_for_more_than_a_tree_has_is_refused) {
  const auto map = [&](Backend backend) {
    return space_.map_alloc(Gpa(kStart), kPage, kRw, backend);
  };
  EXPECT_EQ(map(Backend::lazy(Ept::kIndexBits + 1)), Error::UnsupportedFeature);
  EXPECT_EQ(map(Backend::lazy(64)), Error::UnsupportedFeature);
  EXPECT_EQ(map(Backend::lazy(0, Ept::kMaxLevels)), Error::UnsupportedFeature);
  EXPECT_EQ(map(Backend::eager(255)), Error::UnsupportedFeature);
  EXPECT_EQ(space_.usage().areas, 0u);
  EXPECT_TRUE(map(Backend::lazy(Ept::kIndexBits, Ept::kMaxLevels - 1)));
}

// Several spaces, moved spaces, the ends of a space -----------------------------------------------

TEST_F(AddressSpaceTest, two_spaces_share_a_hal_and_nothing_else) {
  Space other = *Space::create(hal_, *Ept::geometry(5), bytes(0, kGiB), 4);
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart), kPage, kRw, Backend::lazy()));
  ASSERT_TRUE(other.map_alloc(Gpa(kStart), kPage, kRw, Backend::lazy()));
  ASSERT_EQ(space_.handle_fault(Gpa(kStart), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(other.translate(Gpa(kStart)).error(), Error::NotMapped);
  ASSERT_EQ(other.handle_fault(Gpa(kStart), kRead), FaultOutcome::Mapped);
  EXPECT_NE(*space_.translate(Gpa(kStart)), *other.translate(Gpa(kStart)));
  EXPECT_EQ(hal_.invalidations.back().tag().vmid, 4u);
  space_.clear();
  EXPECT_TRUE(other.translate(Gpa(kStart)));
}

// hgatp holds the VMID in bits 57:44; the mode, 9 for Sv48x4, in 63:60. Sv48x4 has a root of 16
// KiB.
TEST(NewVmid, is_what_the_hardware_and_fences_are_given_from_then_on) {
  ArenaHal<> hal(64);
  auto space =
      *AddressSpace<GStage, ArenaHal<>>::create(hal, *GStage::geometry(4), bytes(0, kGiB), 5);
  ASSERT_TRUE(space.map_alloc(Gpa(0), kPage, kRw, Backend::eager()));
  ASSERT_TRUE(space.set_vmid(0x2345));
  const u64 root = space.page_table().root().value() >> 12;
  EXPECT_EQ(space.config().registers.root_register, u64{9} << 60 | u64{0x2345} << 44 | root);
  EXPECT_EQ(space.tag().root_register, space.config().registers.root_register);
  ASSERT_TRUE(space.unmap(Gpa(0), kPage));
  EXPECT_EQ(hal.invalidations.back().tag().vmid, 0x2345);
  EXPECT_EQ(space.set_vmid(0x4000), Result<void>(Error::OutOfRange));  // 14 bits
  EXPECT_EQ(space.tag().vmid, 0x2345);
}

TEST_F(AddressSpaceTest, a_moved_space_goes_on_and_the_old_one_owns_nothing) {
  ASSERT_TRUE(space_.map_alloc(Gpa(kStart), 4 * kPage, kRw, Backend::eager()));
  {
    Space moved(std::move(space_));
    EXPECT_TRUE(moved.translate(Gpa(kStart)));
    EXPECT_EQ(moved.usage().areas, 1u);
    ASSERT_TRUE(moved.unmap(Gpa(kStart), kPage));
    ASSERT_TRUE(moved.map_alloc(Gpa(kStart), kPage, kRw, Backend::lazy()));
  }
  EXPECT_EQ(in_use(), 0u);
}

template <class F>
void works_at_the_very_top(Geometry shape) {
  ArenaHal<> hal(2048);
  const u64 end = u64{1} << shape.input_bits;
  const u64 page = shape.page_bytes();
  auto space = *AddressSpace<F, ArenaHal<>>::create(hal, shape, bytes(0, end));
  ASSERT_TRUE(space.map_alloc(Gpa(end - 2 * page), 2 * page, kRw, Backend::lazy(4)));
  ASSERT_EQ(space.handle_fault(Gpa(end - 1), kWrite), FaultOutcome::Mapped);
  EXPECT_TRUE(space.translate(Gpa(end - 2 * page)));
  EXPECT_EQ(space.window(Gpa(end - 5), kRead)->bytes, 5u);
  EXPECT_EQ(space.handle_fault(Gpa(end), kRead), FaultOutcome::NoArea);
  EXPECT_EQ(space.translate(Gpa(end)).error(), Error::OutOfRange);
  EXPECT_EQ(space.map_linear(Gpa(end), Hpa(0), page, kRw), Result<void>(Error::OutOfRange));
  ASSERT_TRUE(space.protect(Gpa(end - page), page, kRo));
  ASSERT_TRUE(space.unmap(Gpa(end - page), page));
  EXPECT_TRUE(space.translate(Gpa(end - page - 1)));
  ASSERT_TRUE(space.unmap(Gpa(0), end));
  EXPECT_EQ(space.usage().tables.tables, 1u);
}
TEST(TopOfASpace, is_like_any_other_place) {
  works_at_the_very_top<Ept>(*Ept::geometry(4));
  works_at_the_very_top<GStage>(*GStage::geometry(3));
  works_at_the_very_top<GStage>(*GStage::geometry(5));
  works_at_the_very_top<Stage2<Granule::k4K>>(*Stage2<Granule::k4K>::geometry(40));
  works_at_the_very_top<Stage2<Granule::k16K>>(*Stage2<Granule::k16K>::geometry(47));
  works_at_the_very_top<Stage2<Granule::k64K>>(*Stage2<Granule::k64K>::geometry(32));
}

}  // namespace
}  // namespace nestwalk::addrspace::address_space_test
