// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Defects D of axaddrspace: large pages, holes, and tables that stay for ever.

#include <gmock/gmock.h>

#include "observing_hal.hpp"

namespace nestwalk::addrspace::defects_page_table_test {
namespace {

constexpr Gpa kBase(kGiB);
constexpr Hpa kTarget(8 * kGiB);
const Result<void> kNotMapped(Error::NotMapped);

template <class Shape>
class Tree : public ::testing::Test {
 protected:
  using Table = PageTable<typename Shape::Format, ObservingHal>;

  Tree() : empty(guest.frames_in_use()), space(guest.space) {}
  Table make_table() { return *Table::create(guest.hal, Shape::geometry()); }
  void map(u64 size, MappingFlags flags = kMemory) {
    ASSERT_TRUE(space.map_linear(kBase, kTarget, size, flags).ok());
  }
  /// The first `pages` pages are mapped with `flags`, but for [first, past).
  void expect_mapped_but(u64 first, u64 past, u64 pages, MappingFlags flags = kMemory) {
    for (u64 n = 0; n < pages; ++n) {
      const auto leaf = space.query(kBase + n * kPage);
      if (n >= first && n < past) {
        ASSERT_FALSE(leaf.ok()) << n;
        continue;
      }
      ASSERT_TRUE(leaf.ok()) << n;
      ASSERT_EQ(leaf->address, kTarget + n * kPage);
      ASSERT_EQ(leaf->flags, flags);
      ASSERT_TRUE(guest.walk(kBase + n * kPage).translates);
    }
  }

  Guest<Shape> guest;
  u64 empty;
  typename Guest<Shape>::Space& space;
};
TYPED_TEST_SUITE(Tree, NestedFormats);

TYPED_TEST(Tree, unmapping_a_part_of_a_large_page_leaves_the_rest) {  // D1
  struct Part {
    u64 first, pages;
  };
  for (const Part part : {Part{0, 1}, Part{100, 7}, Part{511, 1}, Part{0, 511}}) {
    this->map(2 * kMiB);
    ASSERT_EQ(this->space.query(kBase)->size, 2 * kMiB);
    ASSERT_TRUE(this->space.unmap(kBase + part.first * kPage, part.pages * kPage).ok());
    this->expect_mapped_but(part.first, part.first + part.pages, 512);
    ASSERT_TRUE(this->space.unmap(kBase, 2 * kMiB).ok());
  }
}

TYPED_TEST(Tree, unmapping_from_within_one_large_page_into_another_leaves_the_rest) {  // D1
  this->map(4 * kMiB);
  ASSERT_TRUE(this->space.unmap(kBase + kMiB, 2 * kMiB).ok());
  this->expect_mapped_but(256, 768, 1024);
}

TYPED_TEST(Tree, protecting_a_part_of_a_large_page_leaves_the_rest) {  // D2
  this->map(2 * kMiB);
  ASSERT_TRUE(this->space.protect(kBase + 8 * kPage, 4 * kPage, kReadOnlyMemory).ok());
  for (u64 n = 0; n < 512; ++n) {
    const bool inside = n >= 8 && n < 12;
    ASSERT_EQ(this->space.query(kBase + n * kPage)->flags, inside ? kReadOnlyMemory : kMemory);
  }
}

TYPED_TEST(Tree, a_large_page_fits_where_small_ones_were) {  // D3
  ASSERT_TRUE(this->space.map_alloc(kBase, kPage, kMemory, Backend::eager()).ok());
  ASSERT_TRUE(this->space.unmap(kBase, kPage).ok());
  this->map(2 * kMiB);
  EXPECT_EQ(this->space.query(kBase)->size, 2 * kMiB);
}

TYPED_TEST(Tree, tables_go_with_their_last_page) {  // D4
  for (u64 n = 0; n < 8; ++n) {
    const Gpa at = kBase + n * 513 * 4 * kMiB;
    ASSERT_TRUE(this->space.map_alloc(at, kPage, kMemory, Backend::eager()).ok());
  }
  for (u64 n = 0; n < 8; ++n) {
    ASSERT_TRUE(this->space.unmap(kBase + n * 513 * 4 * kMiB, kPage).ok());
  }
  EXPECT_EQ(this->guest.frames_in_use(), this->empty);
  EXPECT_EQ(this->space.usage().tables.tables, 1u);
}

TYPED_TEST(Tree, a_hole_cannot_be_moved) {  // D5
  auto table = this->make_table();
  EXPECT_EQ(table.remap(kBase, kTarget, kMemory), kNotMapped);
  ASSERT_TRUE(table.map(kBase, kTarget, kPage, kMemory).ok());
  EXPECT_EQ(table.remap(kBase + kPage, kTarget, kMemory), kNotMapped);
  EXPECT_EQ(table.remap(kBase + 2 * kMiB, kTarget, kMemory), kNotMapped);
  EXPECT_EQ(table.remap(kBase + kGiB, kTarget, kMemory), kNotMapped);
  const GpaRange half_mapped = *GpaRange::make(kBase, 2 * kPage);
  EXPECT_EQ(table.remap_region(half_mapped, kTarget + kMiB, kMemory), kNotMapped);
  EXPECT_EQ(table.query(kBase)->address, kTarget);
  for (const u64 away : {kPage, 2 * kMiB, kGiB}) EXPECT_FALSE(table.query(kBase + away).ok());
}

TYPED_TEST(Tree, protecting_a_range_with_holes_changes_the_pages_and_keeps_the_holes) {  // D6, D10
  auto table = this->make_table();
  const GpaRange range = *GpaRange::make(kBase, 4 * kMiB);
  ASSERT_TRUE(table.protect_region(range, kReadOnlyMemory).ok());
  ASSERT_TRUE(table.map(kBase + kPage, kTarget, kPage, kMemory).ok());
  ASSERT_TRUE(table.map(kBase + 3 * kMiB, kTarget, kPage, kMemory).ok());
  ASSERT_TRUE(table.protect_region(range, kReadOnlyMemory).ok());
  EXPECT_EQ(table.query(kBase + kPage)->flags, kReadOnlyMemory);
  EXPECT_EQ(table.query(kBase + 3 * kMiB)->flags, kReadOnlyMemory);
  unsigned leaves = 0;
  table.for_each_leaf(range, [&](Gpa, const auto&) { ++leaves; });
  EXPECT_EQ(leaves, 2u);
}

TYPED_TEST(Tree, a_large_page_is_only_moved_to_an_aligned_address) {  // D7
  auto table = this->make_table();
  ASSERT_TRUE(table.map(kBase, kTarget, 2 * kMiB, kMemory).ok());
  EXPECT_EQ(table.remap(kBase, kTarget + kPage, kMemory), Result<void>(Error::Unaligned));
  EXPECT_EQ(table.query(kBase)->address, kTarget);
  ASSERT_TRUE(table.remap(kBase, kTarget + 2 * kMiB, kMemory).ok());
  EXPECT_EQ(table.query(kBase)->address, kTarget + 2 * kMiB);
}

TYPED_TEST(Tree, a_large_page_at_host_address_zero_is_a_page_like_any_other) {  // D8
  auto table = this->make_table();
  ASSERT_TRUE(table.map(kBase, Hpa(0), 2 * kMiB, kMemory).ok());
  EXPECT_EQ(*table.translate(kBase + 5), Hpa(5));
  EXPECT_EQ(table.map(kBase + kPage, kTarget, kPage, kMemory), Result<void>(Error::AlreadyMapped));
  ASSERT_TRUE(table.unmap(kBase + kPage).ok());
  EXPECT_FALSE(table.query(kBase).ok());
}

TYPED_TEST(Tree, a_page_without_access_comes_back_with_its_data) {  // D9
  for (const u8 level : {u8{0}, u8{1}}) {
    ASSERT_TRUE(this->space.map_alloc(kBase, 2 * kMiB, kMemory, Backend::eager(level)).ok());
    this->guest.bytes(kBase)[7] = 0x5a;
    const Hpa memory = *this->space.translate(kBase);
    ASSERT_TRUE(this->space.protect(kBase, 2 * kMiB, kHidden).ok());
    EXPECT_FALSE(this->space.translate(kBase).ok());
    ASSERT_TRUE(this->space.protect(kBase, 2 * kMiB, kMemory).ok());
    EXPECT_EQ(*this->space.translate(kBase), memory);
    EXPECT_EQ(this->guest.bytes(kBase)[7], 0x5a);
    ASSERT_TRUE(this->space.protect(kBase, 2 * kMiB, kHidden).ok());
    ASSERT_TRUE(this->space.unmap(kBase, 2 * kMiB).ok());
    EXPECT_EQ(this->guest.frames_in_use(), this->empty);
  }
}

TYPED_TEST(Tree, a_lazy_page_is_not_mapped_before_its_fault) {  // D11
  ASSERT_TRUE(this->space.map_alloc(kBase, 2 * kPage, kMemory, Backend::lazy()).ok());
  EXPECT_EQ(this->space.translate(kBase), Result<Hpa>(Error::NotMapped));
  EXPECT_EQ(this->space.handle_fault(kBase, kRead), FaultOutcome::Mapped);
  EXPECT_EQ(this->space.translate(kBase + kPage), Result<Hpa>(Error::NotMapped));
}

TEST(TreeEnd, every_table_of_every_level_is_freed) {  // D12
  ObservingHal hal;
  using Table = PageTable<Ept, ObservingHal>;
  {
    Table table = *Table::create(hal, *Ept::geometry(4));
    for (u64 n = 0; n < 40; ++n) {
      const Gpa at(n * 2 * kMiB + (n % 4) * 512 * kGiB);
      ASSERT_TRUE(table.map(at, kTarget, kPage, kMemory).ok());
    }
    EXPECT_GT(table.usage().tables, 40u);
  }
  EXPECT_EQ(hal.arena().frames_in_use(), 0u);
}

}  // namespace
}  // namespace nestwalk::addrspace::defects_page_table_test
