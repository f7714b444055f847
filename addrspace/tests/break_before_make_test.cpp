// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The order of stores within an operation, as a walker on another processor may observe it: Arm's
// break-before-make; elsewhere, no gap for what an operation does not touch; and tables that are
// linked only when they are full.

#include <gmock/gmock.h>

#include <map>
#include <optional>
#include <set>

#include "observing_hal.hpp"

namespace nestwalk::addrspace::break_before_make_test {
namespace {

using ::testing::IsEmpty;

constexpr Gpa kBase(kGiB);
constexpr Hpa kTarget(8 * kGiB);
constexpr MappingFlags kDevice{kRead | kWrite, MemoryType::Device};

// AArch64 -----------------------------------------------------------------------------------------

/// Arm ARM D8, "Using break-before-make when updating translation table entries": between two
/// valid values that differ in output address, size or memory type lie an invalid one and a TLB
/// invalidation.
std::vector<std::string> broken_rules(const std::vector<Event>& events) {
  // Descriptor type, MemAttr, shareability and output address; permissions may change in place.
  constexpr u64 kFixed = 0b11 | 0b1111 << 2 | 0b11 << 8 | (low_mask(48) & ~low_mask(12));
  std::vector<std::string> found;
  std::set<Hpa> made_private;  // tables that are not linked before the invalidation
  std::set<Hpa> broken;        // and not invalidated yet
  for (const Event& event : events) {
    if (event.kind == Event::Kind::Alloc) made_private.insert(event.at);
    if (event.kind == Event::Kind::Invalidate) {
      broken.clear();
      made_private.clear();
    }
    if (event.kind != Event::Kind::Store) continue;
    if (made_private.count(event.at.aligned_down(kFrameBytes)) != 0) continue;
    const bool was_valid = (event.before & 1) != 0;
    const bool is_valid = (event.after & 1) != 0;
    if (was_valid && is_valid && ((event.before ^ event.after) & kFixed) != 0) {
      found.push_back("replaced in place");
    }
    if (was_valid && !is_valid) broken.insert(event.at);
    if (!was_valid && is_valid && broken.count(event.at) != 0) found.push_back("not invalidated");
  }
  return found;
}
/// How often an entry became invalid and valid again.
unsigned breaks(const std::vector<Event>& events) {
  std::set<Hpa> broken;
  unsigned count = 0;
  for (const Event& event : events) {
    if (event.kind != Event::Kind::Store) continue;
    if ((event.before & 1) != 0 && (event.after & 1) == 0) broken.insert(event.at);
    if ((event.after & 1) != 0) count += static_cast<unsigned>(broken.erase(event.at));
  }
  return count;
}

class BreakBeforeMake : public ::testing::Test {
 protected:
  void map(u64 size) {
    ASSERT_TRUE(guest.space.map_linear(kBase, kTarget, size, kMemory).ok());
    guest.hal.record();
  }
  Guest<Stage2Of40Bits> guest;
};

TEST_F(BreakBeforeMake, a_block_that_is_split_by_a_protect_is_broken_first) {
  map(2 * kMiB);
  ASSERT_TRUE(guest.space.protect(kBase + kPage, kPage, kReadOnlyMemory).ok());
  EXPECT_THAT(broken_rules(guest.hal.events), IsEmpty());
  EXPECT_EQ(breaks(guest.hal.events), 1u);
}

TEST_F(BreakBeforeMake, a_block_that_is_split_by_an_unmap_is_broken_first) {
  map(2 * kMiB);
  ASSERT_TRUE(guest.space.unmap(kBase + 64 * kPage, 16 * kPage).ok());
  EXPECT_THAT(broken_rules(guest.hal.events), IsEmpty());
  EXPECT_EQ(breaks(guest.hal.events), 1u);
}

TEST_F(BreakBeforeMake, both_blocks_at_the_ends_of_a_range_are_broken_first) {
  map(kGiB);
  ASSERT_TRUE(guest.space.protect(kBase + kPage, 512 * kMiB, kReadOnlyMemory).ok());
  EXPECT_THAT(broken_rules(guest.hal.events), IsEmpty());
  EXPECT_EQ(breaks(guest.hal.events), 1u);  // 1 GiB became two levels of tables at once
}

TEST_F(BreakBeforeMake, another_memory_type_is_made_after_a_break) {
  map(4 * kPage);
  ASSERT_TRUE(guest.space.protect(kBase, 4 * kPage, kDevice).ok());
  EXPECT_THAT(broken_rules(guest.hal.events), IsEmpty());
  EXPECT_EQ(breaks(guest.hal.events), 4u);
  for (u64 n = 0; n < 4; ++n) EXPECT_EQ(guest.space.query(kBase + n * kPage)->flags, kDevice);
}

TEST_F(BreakBeforeMake, another_memory_type_for_a_part_of_a_block_is_made_after_a_break) {
  map(2 * kMiB);
  ASSERT_TRUE(guest.space.protect(kBase + kMiB, kPage, kDevice).ok());
  EXPECT_THAT(broken_rules(guest.hal.events), IsEmpty());
  EXPECT_EQ(guest.space.query(kBase + kMiB)->flags, kDevice);
  EXPECT_EQ(guest.space.query(kBase + kMiB - kPage)->flags, kMemory);
}

TEST_F(BreakBeforeMake, permissions_change_in_place) {
  map(4 * kPage);
  ASSERT_TRUE(guest.space.protect(kBase, 4 * kPage, kReadOnlyMemory).ok());
  EXPECT_THAT(broken_rules(guest.hal.events), IsEmpty());
  EXPECT_EQ(breaks(guest.hal.events), 0u);
}

// A11: the original wrote address and flags of a live entry in two stores.
TEST_F(BreakBeforeMake, another_address_is_made_after_a_break) {
  using Table = PageTable<Stage2<Granule::k4K>, ObservingHal>;
  Table table = *Table::create(guest.hal, Stage2Of40Bits::geometry());
  ASSERT_TRUE(table.map_region(*GpaRange::make(kBase, 3 * kPage), kTarget, kMemory).ok());
  guest.hal.record();
  ASSERT_TRUE(
      table.remap_region(*GpaRange::make(kBase, 3 * kPage), kTarget + 16 * kPage, kReadOnlyMemory)
          .ok());
  EXPECT_THAT(broken_rules(guest.hal.events), IsEmpty());
  EXPECT_EQ(breaks(guest.hal.events), 3u);
  for (u64 n = 0; n < 3; ++n) {
    const auto leaf = table.query(kBase + n * kPage);
    EXPECT_EQ(leaf->address, kTarget + (16 + n) * kPage);
    EXPECT_EQ(leaf->flags, kReadOnlyMemory);
  }
}

// All architectures -------------------------------------------------------------------------------

template <class Shape>
class StoreOrder : public ::testing::Test {
 protected:
  using F = typename Shape::Format;
  static constexpr bool kHasGap = F::kBreakBeforeMake;

  void map(u64 size) { ASSERT_TRUE(guest.space.map_linear(kBase, kTarget, size, kMemory).ok()); }
  /// Watches an address that an operation does not touch: how often does a walker miss it?
  void probe(Gpa at) {
    guest.hal.observer = [this, at](const Event& event) {
      if (event.kind != Event::Kind::Store && event.kind != Event::Kind::Invalidate) return;
      const auto now = guest.walk(at);
      if (!now.translates) {
        ++missed;
      } else {
        EXPECT_EQ(now.to, kTarget + (at - kBase));
      }
    };
  }
  void expect_all_but(u64 first, u64 past, u64 pages) {
    for (u64 n = 0; n < pages; ++n) {
      if (n >= first && n < past) continue;
      const auto leaf = guest.space.query(kBase + n * kPage);
      ASSERT_TRUE(leaf.ok()) << n;
      ASSERT_EQ(leaf->address, kTarget + n * kPage);
      ASSERT_EQ(leaf->flags, kMemory);
    }
  }

  Guest<Shape> guest;
  unsigned missed = 0;
};
TYPED_TEST_SUITE(StoreOrder, NestedFormats);

TYPED_TEST(StoreOrder, the_rest_of_a_page_split_by_unmap_stays_mapped) {
  this->map(2 * kMiB);
  this->probe(kBase + kMiB);
  ASSERT_TRUE(this->guest.space.unmap(kBase + 3 * kPage, 5 * kPage).ok());
  EXPECT_EQ(this->missed != 0, this->kHasGap);
  this->expect_all_but(3, 8, 512);
}

TYPED_TEST(StoreOrder, the_rest_of_a_page_split_by_protect_stays_mapped) {
  this->map(2 * kMiB);
  this->probe(kBase + kMiB);
  ASSERT_TRUE(this->guest.space.protect(kBase + 3 * kPage, 5 * kPage, kDevice).ok());
  EXPECT_EQ(this->missed != 0, this->kHasGap);
  this->expect_all_but(3, 8, 512);
}

TYPED_TEST(StoreOrder, the_rest_of_a_gigabyte_split_twice_stays_mapped) {
  this->map(kGiB);
  this->probe(kBase + kGiB - kPage);
  ASSERT_TRUE(this->guest.space.unmap(kBase + 3 * kPage, 4 * kMiB).ok());
  EXPECT_EQ(this->missed != 0, this->kHasGap);
  this->expect_all_but(3, 3 + 1024, 4096);
}

TYPED_TEST(StoreOrder, permissions_change_without_a_gap_everywhere) {
  this->map(4 * kPage);
  this->probe(kBase + kPage);
  ASSERT_TRUE(this->guest.space.protect(kBase, 4 * kPage, kReadOnlyMemory).ok());
  EXPECT_EQ(this->missed, 0u);
}

// A12: a walker never sees a new table before its content ----------------------------------------

template <class Shape>
class TableLinks : public ::testing::Test {
 protected:
  using F = typename Shape::Format;

  /// From now on, remembers what each new table holds when the hardware can first see it.
  void watch() {
    guest.hal.observer = [this](const Event& event) {
      if (event.kind == Event::Kind::Alloc) fresh.insert(event.at);
      if (event.kind != Event::Kind::Store || (event.after & F::kOwned) != 0) return;
      const Hpa table = F::address(event.after, 1);
      const bool from_private = fresh.count(event.at.aligned_down(kFrameBytes)) != 0;
      if (F::is_valid(event.after, 1) && fresh.count(table) != 0 && !from_private) keep(table);
    };
  }
  void keep(Hpa table) {
    fresh.erase(table);
    std::vector<u64>& entries = linked[table];
    for (u64 n = 0; n < kFrameBytes / 8; ++n) {
      entries.push_back(guest.hal.read_entry(table + 8 * n));
      const Hpa below = F::address(entries.back(), 1);
      const bool is_table = (entries.back() & F::kOwned) == 0 && fresh.count(below) != 0;
      if (entries.back() != 0 && is_table) keep(below);
    }
  }
  /// `Which` entries are still as they were when their table was linked.
  template <class Which>
  void expect_unchanged(Which&& which) {
    guest.hal.observer = nullptr;
    EXPECT_FALSE(linked.empty());
    for (const auto& [table, entries] : linked) {
      for (u64 n = 0; n < entries.size(); ++n) {
        if (!which(entries[n])) continue;
        ASSERT_EQ(guest.hal.read_entry(table + 8 * n), entries[n]) << "entry " << n;
      }
    }
  }
  void expect_all_unchanged() {
    expect_unchanged([](u64) { return true; });
  }

  Guest<Shape> guest;
  std::set<Hpa> fresh;
  std::map<Hpa, std::vector<u64>> linked;
};
TYPED_TEST_SUITE(TableLinks, NestedFormats);

TYPED_TEST(TableLinks, a_table_is_full_before_a_mapping_links_it) {
  this->watch();
  ASSERT_TRUE(this->guest.space.map_linear(kBase + kPage, kTarget, 700 * kPage, kMemory).ok());
  this->expect_all_unchanged();
}

TYPED_TEST(TableLinks, a_table_is_full_before_an_allocation_links_it) {
  this->watch();
  ASSERT_TRUE(this->guest.space.map_alloc(kBase, 700 * kPage, kMemory, Backend::eager()).ok());
  this->expect_all_unchanged();
}

TYPED_TEST(TableLinks, a_table_holds_its_page_before_a_fault_links_it) {
  ASSERT_TRUE(this->guest.space.map_alloc(kBase, kGiB, kMemory, Backend::lazy()).ok());
  this->watch();
  EXPECT_EQ(this->guest.space.handle_fault(kBase + kMiB, kWrite), FaultOutcome::Mapped);
  this->expect_all_unchanged();
}

TYPED_TEST(TableLinks, the_parts_of_a_protected_page_are_complete_before_they_are_linked) {
  ASSERT_TRUE(this->guest.space.map_linear(kBase, kTarget, kGiB, kMemory).ok());
  this->watch();
  ASSERT_TRUE(this->guest.space.protect(kBase + kPage, 3 * kPage, kReadOnlyMemory).ok());
  this->expect_all_unchanged();
}

TYPED_TEST(TableLinks, the_parts_that_stay_are_complete_before_they_are_linked) {
  ASSERT_TRUE(this->guest.space.map_linear(kBase, kTarget, 2 * kMiB, kMemory).ok());
  this->watch();
  ASSERT_TRUE(this->guest.space.unmap(kBase + kPage, 3 * kPage).ok());
  // What goes is invalid from the start; it is forgotten after the invalidation.
  this->expect_unchanged([](u64 entry) { return TypeParam::Format::is_valid(entry, 0); });
  EXPECT_FALSE(this->guest.walk(kBase + kPage).translates);
}

TYPED_TEST(TableLinks, a_new_table_is_zeroed_whatever_its_frame_held) {
  // ArenaHal fills frames with poison; no entry but the one that was mapped may be left of it.
  ASSERT_TRUE(this->guest.space.map_linear(kBase, kTarget, kPage, kMemory).ok());
  const Hpa slot = this->guest.space.page_table().entry(kBase)->slot;
  for (u64 n = 1; n < 512; ++n) ASSERT_EQ(this->guest.hal.read_entry(slot + 8 * n), 0u);
}

}  // namespace
}  // namespace nestwalk::addrspace::break_before_make_test
