// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Each public operation of a PageTable, by example.
#include "nestwalk/addrspace/page_table.hpp"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::addrspace::page_table_test {
namespace {

constexpr u64 kPage = 4 * kKiB;
constexpr MappingFlags kRw{kRead | kWrite};
constexpr MappingFlags kRo{kRead};
constexpr MappingFlags kNone{};

GpaRange bytes(u64 from, u64 size) { return *GpaRange::make(Gpa(from), size); }

class PageTableTest : public ::testing::Test {
 protected:
  using Table = PageTable<Ept, ArenaHal<>>;
  PageTableTest() : hal_(4096), table_(*Table::create(hal_, *Ept::geometry(4), 7)) {}

  u64 in_use() const { return hal_.arena().frames_in_use(); }
  const Invalidation<Gpa>& last() const { return hal_.invalidations.back(); }

  ArenaHal<> hal_;
  Table table_;
};

TEST_F(PageTableTest, a_new_table_is_a_root_and_a_frame_of_shortcuts) {
  EXPECT_EQ(in_use(), 2u);
  EXPECT_EQ(table_.usage(), (Usage{1, 2 * kPage, 0}));
  EXPECT_TRUE(table_.root().is_aligned(kPage));
  EXPECT_EQ(table_.tag().vmid, 7u);
  EXPECT_EQ(table_.query(Gpa(0)).error(), Error::NotMapped);
  EXPECT_TRUE(hal_.invalidations.empty());
}

TEST_F(PageTableTest, creation_refuses_shapes_that_the_machine_or_the_format_lacks) {
  Geometry shape = *Ept::geometry(5);
  Capabilities machine = full_machine();
  machine.most_levels = 4;
  ArenaHal<> small(16, machine);
  EXPECT_EQ(Table::create(small, shape).error(), Error::UnsupportedGeometry);
  shape = *Ept::geometry(4);
  shape.page_shift = 14;
  EXPECT_EQ(Table::create(hal_, shape).error(), Error::UnsupportedGeometry);
  shape = *Ept::geometry(4);
  shape.levels = 0;
  EXPECT_EQ(Table::create(hal_, shape).error(), Error::UnsupportedGeometry);
  // Stage 2: an IPA wider than the implemented physical address; a VMID of 8 bits.
  machine.physical_bits = 40;
  machine.vmid_bits = 8;
  ArenaHal<> arm(16, machine);
  using Arm = PageTable<Stage2<Granule::k4K>, ArenaHal<>>;
  EXPECT_EQ(Arm::create(arm, *Stage2<Granule::k4K>::geometry(41)).error(),
            Error::UnsupportedGeometry);
  EXPECT_EQ(Arm::create(arm, *Stage2<Granule::k4K>::geometry(40), 256).error(), Error::OutOfRange);
  EXPECT_TRUE(Arm::create(arm, *Stage2<Granule::k4K>::geometry(40), 255));
  EXPECT_EQ(small.arena().frames_in_use() + arm.arena().frames_in_use(), 0u);
}

TEST_F(PageTableTest, creation_refuses_the_shape_of_another_format) {
  // Sv39's root has 4 KiB; the G-stage indexes 16 KiB.
  using GStageTable = PageTable<GStage, ArenaHal<>>;
  EXPECT_EQ(GStageTable::create(hal_, *Sv::geometry(3)).error(), Error::UnsupportedGeometry);
  EXPECT_TRUE(GStageTable::create(hal_, *GStage::geometry(3)));
  // Sign-extended addresses are no guest-physical ones.
  EXPECT_EQ(Table::create(hal_, *LongMode::geometry(4)).error(), Error::UnsupportedGeometry);
  // One input bit less leaves half a root.
  Geometry shape = *Ept::geometry(4);
  shape.input_bits = 47;
  EXPECT_EQ(Table::create(hal_, shape).error(), Error::UnsupportedGeometry);
  shape = *Ept::geometry(4);
  shape.root_index_bits = 10;
  EXPECT_EQ(Table::create(hal_, shape).error(), Error::UnsupportedGeometry);
  // EPT has no leaf of 512 GiB, and no address beyond 52 bits; less of either is fine.
  shape = *Ept::geometry(4);
  shape.leaf_levels = 0b1111;
  EXPECT_EQ(Table::create(hal_, shape).error(), Error::UnsupportedGeometry);
  shape.leaf_levels = 0b0001;
  shape.output_bits = 56;
  EXPECT_EQ(Table::create(hal_, shape).error(), Error::UnsupportedGeometry);
  shape.output_bits = 40;
  EXPECT_TRUE(Table::create(hal_, shape));
}

// A leaf can only be split into leaves of the next level. A machine with leaves of 1 GiB and none
// of 2 MiB does not exist, but a caller may ask for that.
TEST_F(PageTableTest, there_are_no_leaves_above_a_level_without_leaves) {
  Geometry shape = *Ept::geometry(4);
  shape.leaf_levels = 0b101;
  Table table = *Table::create(hal_, shape);
  EXPECT_EQ(table.map(Gpa(0), Hpa(0), kGiB, kRw), Error::UnsupportedGeometry);
  ASSERT_TRUE(table.map_region(bytes(0, 4 * kMiB), Hpa(0), kRw));
  EXPECT_EQ(table.query(Gpa(0))->size, kPage);
  EXPECT_TRUE(table.unmap_region(bytes(kPage, kPage)));
  EXPECT_EQ(*table.translate(Gpa(2 * kPage)), Hpa(2 * kPage));
}

TEST_F(PageTableTest, an_address_out_of_range_has_no_entry) {
  EXPECT_EQ(table_.entry(Gpa(u64{1} << 48)).error(), Error::OutOfRange);
  EXPECT_EQ(table_.entry(Gpa(~u64{0})).error(), Error::OutOfRange);
  EXPECT_EQ(table_.entry(Gpa((u64{1} << 48) - 1))->level, 3u);
}

// Arm ARM D8, "Using break-before-make when updating translation table entries": among others, for
// a global entry where a non-global one may be cached. The way back needs none.
TEST(PageTableStage1, a_page_becomes_global_through_an_invalid_entry) {
  using Format = Stage1<Granule::k4K>;
  ArenaHal<Gva, Gpa> hal(64);
  auto table = *PageTable<Format, ArenaHal<Gva, Gpa>>::create(hal, *Format::geometry(39));
  const auto page = *GvaRange::make(Gva(0), kPage);
  ASSERT_TRUE(table.map_region(page, Gpa(0), {kRead | kUser}));
  hal.invalidations.clear();
  ASSERT_TRUE(table.protect_region(page, {kRead | kUser | kGlobal}));
  ASSERT_EQ(hal.invalidations.size(), 2u) << "the break and the make";
  EXPECT_EQ(hal.invalidations[0].changes(), change::kMadeGlobal);
  EXPECT_EQ(hal.invalidations[1].changes(), change::kMadeValid);
  hal.invalidations.clear();
  ASSERT_TRUE(table.protect_region(page, {kRead | kUser}));
  ASSERT_EQ(hal.invalidations.size(), 1u);
  EXPECT_EQ(hal.invalidations[0].changes(), change::kLessPermission);
}

// RISC-V tells a leaf from a table by R, W and X, which a parked entry keeps for that reason.
template <class F, class H>
void splits_a_large_page_without_access(Geometry shape) {
  H hal(64);
  auto table = *PageTable<F, H>::create(hal, shape);
  using Input = typename F::Input;
  const auto part = [](u64 start, u64 size) { return *Range<Input>::make(Input(start), size); };
  const auto base = typename F::Output(6 * kMiB);
  ASSERT_TRUE(table.map_region(part(2 * kMiB, 2 * kMiB), base, {}));
  EXPECT_EQ(table.usage().tables, 2u) << "a leaf of 2 MiB below the root's only table";
  ASSERT_TRUE(table.unmap_region(part(3 * kMiB, kPage)));
  EXPECT_EQ(table.translate(Input(2 * kMiB)).error(), Error::NotMapped);
  ASSERT_TRUE(table.protect_region(part(2 * kMiB, 2 * kMiB), {kRead}));
  EXPECT_EQ(*table.translate(Input(2 * kMiB)), base);
  EXPECT_EQ(table.translate(Input(3 * kMiB)).error(), Error::NotMapped);
  EXPECT_EQ(*table.translate(Input(3 * kMiB + kPage)), base + kMiB + kPage);
}
TEST(PageTableRiscV, a_large_page_without_access_is_split_like_any_other) {
  splits_a_large_page_without_access<GStage, ArenaHal<>>(*GStage::geometry(3));
  splits_a_large_page_without_access<Sv, ArenaHal<Gva, Gpa>>(*Sv::geometry(3));
}

/// Says of its runs of `least_order` and more, after the first `spared`, that they lie `add` bytes
/// further.
struct DisplacingHal : ArenaHal<> {
  using ArenaHal<>::ArenaHal;
  Result<Hpa> alloc_frame(FrameUse use) { return alloc_run(0, use); }
  Result<Hpa> alloc_run(unsigned order, FrameUse) {
    const Result<Hpa> run = ArenaHal<>::alloc_run(order);
    if (!run || order < least_order) return run;
    if (spared != 0) {
      --spared;
      return run;
    }
    displaced.push_back(*run + add);
    return displaced.back();
  }
  void free_frame(Hpa frame) { free_run(frame, 0); }
  void free_run(Hpa start, unsigned order) {
    const bool is_displaced = std::erase(displaced, start) != 0;
    ArenaHal<>::free_run(is_displaced ? start - add : start, order);
  }

  u64 add = 0;
  u64 spared = 0;
  unsigned least_order = 0;
  std::vector<Hpa> displaced;
};

// 2^40 is beyond a machine of 40 physical bits; 8 is no frame's beginning. Allocation 0 is the
// root, 1 the shortcuts, then 3 tables and the page.
TEST(PageTableHal, a_frame_that_no_entry_can_name_is_given_back_and_refused) {
  using Table = PageTable<Ept, DisplacingHal>;
  Capabilities machine = full_machine();
  machine.physical_bits = 40;
  for (const u64 add : {u64{1} << 40, u64{8}}) {
    for (u64 good = 0; good <= 5; ++good) {
      DisplacingHal hal(64, machine);
      hal.add = add;
      hal.spared = good;
      {
        Result<Table> table = Table::create(hal, *Ept::geometry(4));
        ASSERT_EQ(table.ok(), good >= 2) << good;
        if (!table) {
          EXPECT_EQ(table.error(), Error::UnusableFrame);
        } else {
          EXPECT_EQ(table->map_owned_region(bytes(0, kPage), kRw), Error::UnusableFrame);
          EXPECT_EQ(table->usage().tables, 1u);
          EXPECT_EQ(hal.arena().frames_in_use(), 2u);
        }
      }
      EXPECT_EQ(hal.arena().frames_in_use(), 0u) << good;
    }
  }
}

// A run of 512 frames that begins in the middle of 2 MiB would be a misaligned leaf.
TEST(PageTableHal, pages_take_the_place_of_a_large_leaf_that_would_be_misaligned) {
  using Table = PageTable<Ept, DisplacingHal>;
  DisplacingHal hal(4096);
  hal.add = kPage;
  hal.least_order = 9;
  Table table = *Table::create(hal, *Ept::geometry(4));
  ASSERT_TRUE(table.map_owned_region(bytes(0, 2 * kMiB), kRw, 1));
  EXPECT_EQ(table.query(Gpa(0))->size, kPage);
  // Root, shortcuts, three tables, 512 pages.
  EXPECT_EQ(hal.arena().frames_in_use(), 5u + 512u);
}

TEST_F(PageTableTest, a_mapped_page_is_found_with_the_offset_of_the_address) {
  ASSERT_TRUE(table_.map(Gpa(0x1'2345'6000), Hpa(0x7000), kPage, kRw));
  EXPECT_EQ(*table_.translate(Gpa(0x1'2345'6789)), Hpa(0x7789));
  const Table::Leaf leaf = *table_.query(Gpa(0x1'2345'6789));
  EXPECT_EQ(leaf.address, Hpa(0x7789));
  EXPECT_EQ(leaf.flags, kRw);
  EXPECT_EQ(leaf.size, kPage);
  EXPECT_FALSE(leaf.owned);
  EXPECT_EQ(table_.usage().tables, 4u);  // root and one of each level below
}

TEST_F(PageTableTest, mapping_checks_size_then_alignment_then_range_then_flags) {
  constexpr MappingFlags kBad{kWrite};  // not readable
  const Gpa beyond(u64{1} << 48);
  EXPECT_EQ(table_.map(beyond + 1, Hpa(1), 3 * kPage, kBad), Error::UnsupportedGeometry);
  EXPECT_EQ(table_.map(Gpa(~u64{0}), Hpa(1), kPage, kBad), Error::AddressOverflow);
  EXPECT_EQ(table_.map(beyond + 1, Hpa(0), kPage, kBad), Error::Unaligned);
  EXPECT_EQ(table_.map(beyond, Hpa(1), kPage, kBad), Error::Unaligned);
  EXPECT_EQ(table_.map(beyond, Hpa(0), kPage, kBad), Error::OutOfRange);
  EXPECT_EQ(table_.map(Gpa(0), Hpa(u64{1} << 48), kPage, kBad), Error::OutOfRange);
  EXPECT_EQ(table_.map(Gpa(0), Hpa(0), kPage, kBad), Error::UnsupportedFlags);
  EXPECT_EQ(table_.map_region(bytes(0, 0), Hpa(0), kBad), Error::EmptyRange);
  EXPECT_EQ(in_use(), 2u);
}

TEST_F(PageTableTest, mapping_beyond_the_width_is_refused_on_every_architecture) {
  // EPT 48 bits; Sv39x4 41 bits; stage 2 as asked for.
  EXPECT_EQ(table_.map_region(bytes((u64{1} << 48) - kPage, 2 * kPage), Hpa(0), kRw),
            Error::OutOfRange);
  auto riscv = *PageTable<GStage, ArenaHal<>>::create(hal_, *GStage::geometry(3));
  EXPECT_EQ(riscv.map(Gpa(u64{1} << 41), Hpa(0), kPage, kRw), Error::OutOfRange);
  EXPECT_TRUE(riscv.map(Gpa((u64{1} << 41) - kPage), Hpa(0), kPage, kRw));
  EXPECT_EQ(riscv.translate(Gpa(u64{1} << 41)).error(), Error::OutOfRange);
  using Arm = Stage2<Granule::k4K>;
  auto arm = *PageTable<Arm, ArenaHal<>>::create(hal_, *Arm::geometry(36));
  EXPECT_EQ(arm.map(Gpa(u64{1} << 36), Hpa(0), kPage, kRw), Error::OutOfRange);
}

TEST_F(PageTableTest, what_is_mapped_is_not_mapped_again) {
  ASSERT_TRUE(table_.map(Gpa(2 * kMiB), Hpa(0), 2 * kMiB, kRw));
  EXPECT_EQ(table_.map(Gpa(2 * kMiB), Hpa(0), 2 * kMiB, kRw), Error::AlreadyMapped);
  EXPECT_EQ(table_.map(Gpa(2 * kMiB + kPage), Hpa(0), kPage, kRw), Error::AlreadyMapped);
  EXPECT_EQ(table_.map(Gpa(0), Hpa(0), kGiB, kRw), Error::AlreadyMapped);
  EXPECT_EQ(table_.map_region(bytes(0, 4 * kMiB), Hpa(0), kRw), Error::AlreadyMapped);
  EXPECT_EQ(table_.translate(Gpa(0)).error(), Error::NotMapped) << "left behind by the attempt";
}

TEST_F(PageTableTest, a_region_is_mapped_in_the_largest_leaves_that_fit) {
  // [1 GiB - 2 MiB, 2 GiB + 2 MiB + 4 KiB) to itself: 2 MiB, 1 GiB, 2 MiB, 4 KiB.
  ASSERT_TRUE(table_.map_region(bytes(kGiB - 2 * kMiB, kGiB + 4 * kMiB + kPage),
                                Hpa(kGiB - 2 * kMiB), kRw));
  std::vector<u64> sizes;
  table_.for_each_leaf(bytes(0, 4 * kGiB),
                       [&](Gpa, const Table::Leaf& leaf) { sizes.push_back(leaf.size); });
  EXPECT_EQ(sizes, (std::vector<u64>{2 * kMiB, kGiB, 2 * kMiB, kPage}));
}

TEST_F(PageTableTest, leaves_are_only_as_large_as_the_machine_has_them) {
  Capabilities machine = full_machine();
  machine.leaf_levels = 0b011;  // no 1 GiB
  ArenaHal<> hal(64, machine);
  Table table = *Table::create(hal, *Ept::geometry(4));
  ASSERT_TRUE(table.map_region(bytes(kGiB, kGiB), Hpa(kGiB), kRw));
  EXPECT_EQ(table.query(Gpa(kGiB))->size, 2 * kMiB);
  EXPECT_EQ(table.map(Gpa(4 * kGiB), Hpa(0), kGiB, kRw), Error::UnsupportedGeometry);
}

TEST_F(PageTableTest, owned_memory_is_zero_and_goes_back) {
  ASSERT_TRUE(table_.map_owned_region(bytes(0, 3 * kPage), kRw));
  EXPECT_EQ(table_.usage().owned_bytes, 3 * kPage);
  const u64* words =
      reinterpret_cast<const u64*>(hal_.phys_to_virt(*table_.translate(Gpa(0))).value());
  EXPECT_EQ(words[0] | words[511], 0u);
  ASSERT_TRUE(table_.unmap_region(bytes(0, 3 * kPage)));
  EXPECT_EQ(in_use(), 2u);
}

TEST_F(PageTableTest, unmapping_says_what_was_there) {
  ASSERT_TRUE(table_.map(Gpa(4 * kMiB), Hpa(6 * kMiB), 2 * kMiB, kRo));
  const Result<Table::Leaf> old = table_.unmap(Gpa(4 * kMiB + 5));
  ASSERT_TRUE(old);
  EXPECT_EQ(old->address, Hpa(6 * kMiB + 5));
  EXPECT_EQ(old->size, 2 * kMiB);
  EXPECT_EQ(table_.unmap(Gpa(4 * kMiB)).error(), Error::NotMapped);
  EXPECT_EQ(in_use(), 2u);  // no empty table stays
}

TEST_F(PageTableTest, unmapping_holes_and_nothing_is_fine) {
  EXPECT_TRUE(table_.unmap_region(bytes(0, u64{1} << 48)));
  EXPECT_TRUE(table_.unmap_region(bytes(kPage, 0)));
  EXPECT_EQ(table_.unmap_region(bytes(1, kPage)), Error::Unaligned);
  EXPECT_EQ(table_.unmap_region(bytes(u64{1} << 48, kPage)), Error::OutOfRange);
  EXPECT_TRUE(hal_.invalidations.empty());
}

TEST_F(PageTableTest, unmapping_a_part_of_a_large_leaf_keeps_the_rest) {
  ASSERT_TRUE(table_.map(Gpa(0), Hpa(kGiB), kGiB, kRw));
  ASSERT_TRUE(table_.unmap_region(bytes(2 * kMiB + kPage, kPage)));
  EXPECT_EQ(table_.translate(Gpa(2 * kMiB + kPage)).error(), Error::NotMapped);
  EXPECT_EQ(*table_.translate(Gpa(2 * kMiB + 2 * kPage)), Hpa(kGiB + 2 * kMiB + 2 * kPage));
  EXPECT_EQ(table_.query(Gpa(2 * kMiB))->size, kPage);
  EXPECT_EQ(table_.query(Gpa(4 * kMiB))->size, 2 * kMiB);
  EXPECT_EQ(last().begin()->changes, change::kResized);
  EXPECT_EQ(last().begin()->size, kGiB);
}

TEST_F(PageTableTest, pages_without_access_are_out_of_reach_and_not_forgotten) {
  ASSERT_TRUE(table_.map_owned_region(bytes(0, kPage), kRw));
  const Hpa memory = *table_.translate(Gpa(0));
  ASSERT_TRUE(table_.protect(Gpa(0), kNone));
  EXPECT_EQ(table_.query(Gpa(0)).error(), Error::NotMapped);
  EXPECT_EQ(table_.map(Gpa(0), Hpa(0), kPage, kRw), Error::AlreadyMapped);
  ASSERT_TRUE(table_.protect_region(bytes(0, kPage), kRo));
  EXPECT_EQ(*table_.translate(Gpa(0)), memory);
  EXPECT_EQ(table_.query(Gpa(0))->flags, kRo);
}

TEST_F(PageTableTest, protecting_reports_what_was_lost_and_what_was_gained) {
  ASSERT_TRUE(table_.map(Gpa(0), Hpa(0), kPage, kRw));
  ASSERT_TRUE(table_.protect(Gpa(0), {kRead | kExecute}));
  EXPECT_EQ(last().changes(), change::kLessPermission | change::kMorePermission);
  ASSERT_TRUE(table_.protect(Gpa(0), {kRead | kExecute, MemoryType::Device}));
  EXPECT_EQ(last().changes(), change::kMemoryType);
  const std::size_t count = hal_.invalidations.size();
  ASSERT_TRUE(table_.protect(Gpa(0), {kRead | kExecute, MemoryType::Device}));
  EXPECT_EQ(hal_.invalidations.size(), count) << "nothing changed";
  EXPECT_EQ(table_.protect(Gpa(kPage), kRo), Error::NotMapped);
  EXPECT_EQ(table_.protect(Gpa(0), {kWrite}), Error::UnsupportedFlags);
}

TEST_F(PageTableTest, remapping_moves_what_is_mapped_without_holes) {
  ASSERT_TRUE(table_.map_region(bytes(0, 2 * kMiB + kPage), Hpa(0), kRw));
  ASSERT_TRUE(table_.remap_region(bytes(0, 2 * kMiB + kPage), Hpa(8 * kMiB), kRo));
  EXPECT_EQ(*table_.translate(Gpa(2 * kMiB)), Hpa(10 * kMiB));
  EXPECT_EQ(table_.query(Gpa(0))->flags, kRo);
  EXPECT_EQ(table_.remap_region(bytes(0, 2 * kMiB), Hpa(kPage), kRo), Error::Unaligned);
  EXPECT_EQ(table_.remap_region(bytes(0, 4 * kMiB), Hpa(0), kRo), Error::NotMapped);
  ASSERT_TRUE(table_.map_owned_region(bytes(4 * kMiB, kPage), kRw));
  EXPECT_EQ(table_.remap(Gpa(4 * kMiB), Hpa(0), kRw), Error::MappedDifferently);
}

TEST_F(PageTableTest, the_raw_entry_is_there_for_whoever_must_look) {
  ASSERT_TRUE(table_.map(Gpa(0x3000), Hpa(0x5000), kPage, kRo));
  const auto found = table_.entry(Gpa(0x3000)).value();
  EXPECT_EQ(found.level, 0u);
  // Read 1, write-back 6 << 3.
  EXPECT_EQ(found.entry, 0x5000u | 1 | 6 << 3);
  EXPECT_EQ(hal_.read_entry(found.slot), found.entry);
  EXPECT_EQ(table_.entry(Gpa(kGiB))->entry, 0u);
}

TEST_F(PageTableTest, what_software_noted_in_a_leaf_survives_all_changes_to_it) {
  const auto noted = [&](u64 at) { return (table_.entry(Gpa(at))->entry & Ept::kSoftDirty) != 0; };
  ASSERT_TRUE(table_.map_region(bytes(0, 2 * kMiB), Hpa(0), kRw, Ept::kSoftDirty));
  ASSERT_TRUE(table_.protect_region(bytes(0, 2 * kMiB), kRo));
  EXPECT_TRUE(noted(0));
  ASSERT_TRUE(table_.remap_region(bytes(0, 2 * kMiB), Hpa(4 * kMiB), kNone));
  EXPECT_TRUE(noted(0));
  ASSERT_TRUE(table_.unmap_region(bytes(0, kPage)));  // split
  EXPECT_EQ(table_.entry(Gpa(kPage))->level, 0u);
  EXPECT_TRUE(noted(kPage));
}

TEST_F(PageTableTest, a_moved_table_goes_on_and_the_old_one_owns_nothing) {
  ASSERT_TRUE(table_.map_owned_region(bytes(0, kPage), kRw));
  {
    Table moved(std::move(table_));
    EXPECT_FALSE(table_.alive());
    EXPECT_TRUE(moved.alive());
    EXPECT_TRUE(moved.translate(Gpa(0)));
    ASSERT_TRUE(moved.map(Gpa(kPage), Hpa(0), kPage, kRw));
  }
  EXPECT_EQ(in_use(), 0u);
}

TEST_F(PageTableTest, leaves_are_visited_in_order_also_where_the_range_begins_inside_one) {
  ASSERT_TRUE(table_.map(Gpa(2 * kMiB), Hpa(0), 2 * kMiB, kRw));
  ASSERT_TRUE(table_.map(Gpa(8 * kMiB), Hpa(0), kPage, kRw));
  ASSERT_TRUE(table_.map(Gpa(9 * kMiB), Hpa(0), kPage, kNone));
  std::vector<Gpa> starts;
  table_.for_each_leaf(bytes(3 * kMiB, 16 * kMiB),
                       [&](Gpa at, const Table::Leaf&) { starts.push_back(at); });
  EXPECT_EQ(starts, (std::vector<Gpa>{Gpa(2 * kMiB), Gpa(8 * kMiB)}));
}

TEST_F(PageTableTest, too_many_changes_for_a_list_are_reported_as_a_hull) {
  // Every other page, so that no two are neighbours; one more than there are runs.
  constexpr u64 kMany = Invalidation<Gpa>::kMaxRuns + 1;
  for (u64 n = 0; n < kMany; ++n) {
    const MappingFlags flags = n + 1 == kMany ? MappingFlags{kRead, MemoryType::Device} : kRw;
    ASSERT_TRUE(table_.map(Gpa(2 * n * kPage), Hpa(0), kPage, flags));
  }
  hal_.invalidations.clear();
  ASSERT_TRUE(table_.protect_region(bytes(0, 2 * (kMany - 1) * kPage), kRo));
  EXPECT_TRUE(last().exact());
  EXPECT_EQ(last().leaves(), kMany - 1);
  ASSERT_TRUE(table_.protect_region(bytes(0, 2 * kMany * kPage), kRw));
  EXPECT_FALSE(last().exact());
  // The last run reaches over the gap and says what happened to either page.
  const auto& hull = *(last().end() - 1);
  EXPECT_EQ(hull.start, Gpa(2 * (kMany - 2) * kPage));
  EXPECT_EQ(hull.size, 3 * kPage);
  EXPECT_EQ(hull.changes, change::kMorePermission | change::kMemoryType);
  EXPECT_EQ(last().leaves(), kMany - 2 + 3);
}

// Shortcuts to tables of pages --------------------------------------------------------------------

TEST_F(PageTableTest, a_large_leaf_in_place_of_a_table_is_seen_at_once) {
  ASSERT_TRUE(table_.map_region(bytes(0, 2 * kMiB - kPage), Hpa(kPage), kRw));  // pages
  EXPECT_EQ(*table_.translate(Gpa(0)), Hpa(kPage));
  ASSERT_TRUE(table_.unmap_region(bytes(0, 2 * kMiB)));
  ASSERT_TRUE(table_.map(Gpa(0), Hpa(kGiB), 2 * kMiB, kRw));
  EXPECT_EQ(*table_.translate(Gpa(kPage)), Hpa(kGiB + kPage));
  EXPECT_EQ(table_.query(Gpa(kPage))->size, 2 * kMiB);
}

TEST_F(PageTableTest, a_table_that_goes_with_a_whole_subtree_is_forgotten) {
  ASSERT_TRUE(table_.map_region(bytes(4 * kMiB, kPage), Hpa(kPage), kRw));
  EXPECT_TRUE(table_.translate(Gpa(4 * kMiB)));
  ASSERT_TRUE(table_.unmap_region(bytes(0, u64{1} << 40)));
  EXPECT_EQ(table_.translate(Gpa(4 * kMiB)).error(), Error::NotMapped);
  // The frame serves another page now.
  ASSERT_TRUE(table_.map_owned_region(bytes(kGiB, 4 * kPage), kRw));
  EXPECT_EQ(table_.translate(Gpa(4 * kMiB)).error(), Error::NotMapped);
}

TEST_F(PageTableTest, tables_that_share_a_shortcut_are_told_apart) {
  // 512 shortcuts of 2 MiB each: a gigabyte apart means the same one.
  for (u64 n = 0; n < 4; ++n) {
    ASSERT_TRUE(table_.map_region(bytes(n * kGiB, kPage), Hpa((n + 1) * kPage), kRw));
  }
  for (u64 n = 0; n < 4; ++n) EXPECT_EQ(*table_.translate(Gpa(n * kGiB)), Hpa((n + 1) * kPage));
  ASSERT_TRUE(table_.unmap_region(bytes(kGiB, kPage)));
  EXPECT_EQ(table_.translate(Gpa(kGiB)).error(), Error::NotMapped);
  EXPECT_EQ(*table_.translate(Gpa(3 * kGiB)), Hpa(4 * kPage));
}

TEST_F(PageTableTest, a_failed_map_leaves_no_shortcut_to_what_it_took_back) {
  ASSERT_TRUE(table_.map(Gpa(4 * kMiB), Hpa(0), kPage, kRw));
  // Two pages on either side of a boundary of 2 MiB, in a gigabyte without tables: one table above,
  // a table and its two pages, and the other table, whose first page is the one too many.
  const u64 from = kGiB + 2 * kMiB - 2 * kPage;
  hal_.allocations_left = 1 + 3 + 1;
  EXPECT_EQ(table_.map_owned_region(bytes(from, 4 * kPage), kRw), Error::NoMemory);
  hal_.allocations_left = ArenaHal<>::kNoLimit;
  EXPECT_EQ(table_.translate(Gpa(from)).error(), Error::NotMapped);
  EXPECT_EQ(table_.map_region(bytes(4 * kMiB - 2 * kPage, 4 * kPage), Hpa(0), kRw),
            Error::AlreadyMapped);
  EXPECT_EQ(table_.translate(Gpa(4 * kMiB - kPage)).error(), Error::NotMapped);
}

// Roots -------------------------------------------------------------------------------------------

TEST_F(PageTableTest, concatenated_root_tables_each_translate_their_part) {
  // 40 bits with the 4K granule: 3 levels and 2^(40-39) root tables; 43 bits: 16 of them.
  using Arm = Stage2<Granule::k4K>;
  for (const unsigned bits : {40u, 43u}) {
    auto table = *PageTable<Arm, ArenaHal<>>::create(hal_, *Arm::geometry(bits));
    const u64 tables = u64{1} << (bits - 39);
    EXPECT_EQ(table.geometry().levels, 3u);
    EXPECT_TRUE(table.root().is_aligned(tables * kPage));
    EXPECT_EQ(table.usage().table_bytes, (tables + 1) * kPage);
    for (u64 n = 0; n < tables; ++n) {
      ASSERT_TRUE(table.map(Gpa((n << 39) + kPage), Hpa((n + 1) * kPage), kPage, kRo));
    }
    for (u64 n = 0; n < tables; ++n) {
      EXPECT_EQ(*table.translate(Gpa((n << 39) + kPage)), Hpa((n + 1) * kPage));
      EXPECT_EQ(table.translate(Gpa(n << 39)).error(), Error::NotMapped);
    }
  }
}

TEST_F(PageTableTest, the_four_quarters_of_a_risc_v_root_do_not_alias) {
  // Sv39x4: two more bits, 2048 root entries in 16 KiB.
  auto table = *PageTable<GStage, ArenaHal<>>::create(hal_, *GStage::geometry(3));
  EXPECT_TRUE(table.root().is_aligned(16 * kKiB));
  EXPECT_EQ(table.usage().table_bytes, 16 * kKiB + kPage);
  ASSERT_TRUE(table.map(Gpa(0), Hpa(kPage), kPage, kRw));
  for (u64 n = 1; n < 4; ++n) {
    EXPECT_EQ(table.translate(Gpa(n << 39)).error(), Error::NotMapped);
    ASSERT_TRUE(table.map(Gpa(n << 39), Hpa((n + 1) * kPage), kPage, kRw));
  }
  for (u64 n = 0; n < 4; ++n) EXPECT_EQ(*table.translate(Gpa(n << 39)), Hpa((n + 1) * kPage));
}

TEST_F(PageTableTest, a_single_level_is_a_tree_too) {
  // 32 bits with the 64K granule: one level of 2^16 entries, 512 KiB.
  using Arm = Stage2<Granule::k64K>;
  auto table = *PageTable<Arm, ArenaHal<>>::create(hal_, *Arm::geometry(32));
  EXPECT_EQ(table.geometry().levels, 1u);
  EXPECT_EQ(table.usage().table_bytes, 512 * kKiB + kPage);
  ASSERT_TRUE(table.map_owned_region(bytes(4 * kGiB - 128 * kKiB, 128 * kKiB), kRw));
  EXPECT_TRUE(table.translate(Gpa(4 * kGiB - 1)));
  EXPECT_EQ(table.usage().tables, 1u);
  ASSERT_TRUE(table.unmap(Gpa(4 * kGiB - 1)));
  EXPECT_EQ(table.usage().owned_bytes, 64 * kKiB);
}

// Guests' own tables ------------------------------------------------------------------------------

class GuestTableTest : public ::testing::Test {
 protected:
  using Hal = ArenaHal<Gva, Gpa>;
  Hal hal_{256};
};

TEST_F(GuestTableTest, canonical_halves_are_served_and_the_hole_between_is_not) {
  auto table = *PageTable<LongMode, Hal>::create(hal_, *LongMode::geometry(4));
  const u64 top_of_lower = (u64{1} << 47) - kPage;
  const u64 bottom_of_upper = ~low_mask(47);
  ASSERT_TRUE(table.map(Gva(top_of_lower), Gpa(kPage), kPage, kRo));
  ASSERT_TRUE(table.map(Gva(bottom_of_upper), Gpa(2 * kPage), kPage, kRo));
  ASSERT_TRUE(table.map(Gva(~u64{0} - kPage + 1), Gpa(3 * kPage), kPage, kRo));
  EXPECT_EQ(*table.translate(Gva(bottom_of_upper + 1)), Gpa(2 * kPage + 1));
  EXPECT_EQ(*table.translate(Gva(~u64{0})), Gpa(4 * kPage - 1));
  EXPECT_EQ(table.translate(Gva(u64{1} << 47)).error(), Error::OutOfRange);
  const auto across = *GvaRange::make(Gva(top_of_lower), 2 * kPage);
  EXPECT_EQ(table.unmap_region(across), Error::OutOfRange);
}

TEST_F(GuestTableTest, the_upper_half_of_arm_begins_with_ones) {
  using Arm = Stage1<Granule::k4K>;
  auto table = *PageTable<Arm, Hal>::create(hal_, *Arm::geometry(39, VaHalf::Upper));
  const u64 base = ~low_mask(39);
  ASSERT_TRUE(table.map_region(*GvaRange::make(Gva(base), 4 * kMiB), Gpa(0), kRo));
  EXPECT_EQ(*table.translate(Gva(base + 5)), Gpa(5));
  EXPECT_EQ(table.translate(Gva(5)).error(), Error::OutOfRange);
  std::vector<Gva> starts;
  table.for_each_leaf(*GvaRange::make(Gva(base), u64{1} << 39),
                      [&](Gva at, const auto&) { starts.push_back(at); });
  EXPECT_EQ(starts, (std::vector<Gva>{Gva(base), Gva(base + 2 * kMiB)}));
}

}  // namespace
}  // namespace nestwalk::addrspace::page_table_test
