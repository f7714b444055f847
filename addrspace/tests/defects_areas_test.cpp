// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Defects F of axaddrspace: panics on a caller's numbers, areas that lose their halves, errors that
// say nothing. And H7: a tree that could not be looked at.

#include <gmock/gmock.h>

#include "observing_hal.hpp"

namespace nestwalk::addrspace::defects_areas_test {
namespace {

using ::testing::ElementsAre;

constexpr Gpa kBase(kGiB);
constexpr Hpa kTarget(8 * kGiB);

template <class Shape>
class Areas : public ::testing::Test {
 protected:
  Areas() : empty(guest.frames_in_use()), space(guest.space) {}
  Result<void> linear(Gpa at, u64 pages, MappingFlags flags = kMemory) {
    return space.map_linear(at, kTarget + (at - kBase), pages * kPage, flags);
  }
  /// The areas, as first page from kBase and number of pages.
  std::vector<std::pair<u64, u64>> areas() const {
    std::vector<std::pair<u64, u64>> found;
    space.for_each_area([&](const Area& area) {
      found.push_back({(area.range.start() - kBase) / kPage, area.range.size() / kPage});
    });
    return found;
  }
  u64 mapped_bytes() const {
    u64 bytes = 0;
    space.for_each_run(guest.whole(), [&](const MappedRun& run) { bytes += run.size; });
    return bytes;
  }

  Guest<Shape> guest;
  u64 empty;
  typename Guest<Shape>::Space& space;
};
TYPED_TEST_SUITE(Areas, NestedFormats);

TYPED_TEST(Areas, ranges_that_overflow_are_refused) {  // F1
  const Gpa high(~u64{0} - kPage + 1);
  const Result<void> overflow(Error::AddressOverflow);
  EXPECT_FALSE(this->space.contains(high, 2 * kPage));
  EXPECT_EQ(this->space.map_linear(high, kTarget, 2 * kPage, kMemory), overflow);
  EXPECT_EQ(this->space.map_linear(kBase, Hpa(high.value()), 2 * kPage, kMemory), overflow);
  EXPECT_EQ(this->space.map_alloc(high, 2 * kPage, kMemory, Backend::lazy()), overflow);
  EXPECT_EQ(this->space.unmap(high, 2 * kPage), overflow);
  EXPECT_EQ(this->space.protect(high, 2 * kPage, kMemory), overflow);
}

TYPED_TEST(Areas, host_addresses_may_be_above_guest_addresses) {  // F2
  ASSERT_TRUE(this->space.map_linear(Gpa(0x10000000), Hpa(0x80000000), 4 * kPage, kMemory).ok());
  EXPECT_EQ(*this->space.translate(Gpa(0x10003004)), Hpa(0x80003004));
  ASSERT_TRUE(this->space.map_linear(Gpa(0x90000000), Hpa(0x1000), kPage, kMemory).ok());
  EXPECT_EQ(*this->space.translate(Gpa(0x90000004)), Hpa(0x1004));
}

TYPED_TEST(Areas, pages_without_access_can_be_cleared_and_unmapped) {  // F3, F4
  ASSERT_TRUE(this->linear(kBase, 4, kHidden).ok());
  ASSERT_TRUE(this->linear(kBase + 8 * kPage, 4, {kUser, MemoryType::WriteBack}).ok());
  ASSERT_TRUE(this->space.unmap(kBase - kPage, 6 * kPage).ok());
  EXPECT_THAT(this->areas(), ElementsAre(std::pair(8, 4)));
  this->space.clear();
  EXPECT_THAT(this->areas(), ElementsAre());
  EXPECT_EQ(this->guest.frames_in_use(), this->empty);
  ASSERT_TRUE(this->linear(kBase, 4).ok());
}

TYPED_TEST(Areas, each_failure_has_its_own_error) {  // F5
  const auto is = [](Error error) { return Result<void>(error); };
  const Gpa beyond(u64{1} << TypeParam::geometry().input_bits);
  ASSERT_TRUE(this->linear(kBase, 4).ok());
  EXPECT_EQ(this->linear(kBase + 3 * kPage, 4), is(Error::AlreadyMapped));
  EXPECT_EQ(this->linear(beyond, 1), is(Error::OutOfRange));
  EXPECT_EQ(this->linear(kBase + 100, 1), is(Error::Unaligned));
  EXPECT_EQ(this->space.map_linear(kBase + kMiB, kTarget + 8, kPage, kMemory),
            is(Error::Unaligned));
  EXPECT_EQ(this->linear(kBase + kMiB, 0), is(Error::EmptyRange));
  EXPECT_EQ(this->linear(kBase + kMiB, 1, {kRead | kGlobal, MemoryType::WriteBack}),
            is(Error::UnsupportedFlags));
  EXPECT_EQ(this->space.translate(kBase + kMiB), Result<Hpa>(Error::NotMapped));
  this->guest.hal.allocations_left = 0;
  EXPECT_EQ(this->linear(kBase + kGiB, 1), is(Error::NoMemory));
}

TYPED_TEST(Areas, an_unmap_that_cannot_split_changes_nothing) {  // F4, F7
  ASSERT_TRUE(this->linear(kBase, 1024).ok());
  const u64 frames = this->guest.frames_in_use();
  this->guest.hal.allocations_left = 0;
  EXPECT_EQ(this->space.unmap(kBase + 100 * kPage, 10 * kPage), Result<void>(Error::NoMemory));
  // The second of two splits fails.
  this->guest.hal.allocations_left = 1;
  EXPECT_EQ(this->space.unmap(kBase + 100 * kPage, 500 * kPage), Result<void>(Error::NoMemory));
  EXPECT_THAT(this->areas(), ElementsAre(std::pair(0, 1024)));
  EXPECT_EQ(this->mapped_bytes(), 1024 * kPage);
  EXPECT_EQ(this->guest.frames_in_use(), frames);
}

TYPED_TEST(Areas, an_unmap_in_the_middle_leaves_two_areas) {  // F7
  ASSERT_TRUE(this->linear(kBase, 16).ok());
  ASSERT_TRUE(this->space.unmap(kBase + 4 * kPage, 4 * kPage).ok());
  EXPECT_THAT(this->areas(), ElementsAre(std::pair(0, 4), std::pair(8, 8)));
  EXPECT_EQ(this->mapped_bytes(), 12 * kPage);
  EXPECT_EQ(this->space.area_at(kBase + 8 * kPage)->backend.base, kTarget + 8 * kPage);
}

TYPED_TEST(Areas, a_protect_of_nothing_changes_nothing) {  // F8
  ASSERT_TRUE(this->space.map_alloc(kBase, 4 * kPage, kMemory, Backend::eager()).ok());
  EXPECT_TRUE(this->space.protect(kBase + 2 * kPage, 0, kReadOnlyMemory).ok());
  EXPECT_TRUE(this->space.unmap(kBase + 2 * kPage, 0).ok());
  EXPECT_THAT(this->areas(), ElementsAre(std::pair(0, 4)));
  EXPECT_EQ(this->space.query(kBase + 3 * kPage)->flags, kMemory);
}

TYPED_TEST(Areas, a_protect_that_fails_leaves_areas_and_pages) {  // F10
  ASSERT_TRUE(this->linear(kBase, 512).ok());
  this->guest.hal.allocations_left = 0;
  EXPECT_EQ(this->space.protect(kBase + kPage, kPage, kReadOnlyMemory),
            Result<void>(Error::NoMemory));
  EXPECT_THAT(this->areas(), ElementsAre(std::pair(0, 512)));
  EXPECT_EQ(this->space.area_at(kBase + kPage)->flags, kMemory);
  EXPECT_EQ(this->space.query(kBase + kPage)->flags, kMemory);
}

TYPED_TEST(Areas, equal_neighbours_become_one) {  // F11
  ASSERT_TRUE(this->linear(kBase, 4).ok());
  ASSERT_TRUE(this->linear(kBase + 4 * kPage, 4).ok());
  EXPECT_THAT(this->areas(), ElementsAre(std::pair(0, 8)));
  ASSERT_TRUE(this->space.protect(kBase + 2 * kPage, 2 * kPage, kReadOnlyMemory).ok());
  EXPECT_THAT(this->areas(), ElementsAre(std::pair(0, 2), std::pair(2, 2), std::pair(4, 4)));
  ASSERT_TRUE(this->space.protect(kBase + 2 * kPage, 2 * kPage, kMemory).ok());
  EXPECT_THAT(this->areas(), ElementsAre(std::pair(0, 8)));
}

TYPED_TEST(Areas, a_space_can_be_protected) {  // F12
  ASSERT_TRUE(this->space.map_alloc(kBase, 4 * kPage, kMemory, Backend::lazy()).ok());
  EXPECT_EQ(this->space.handle_fault(kBase, kWrite), FaultOutcome::Mapped);
  ASSERT_TRUE(this->space.protect(kBase, 2 * kPage, kReadOnlyMemory).ok());
  EXPECT_EQ(this->space.query(kBase)->flags, kReadOnlyMemory);
  EXPECT_EQ(this->space.handle_fault(kBase, kWrite), FaultOutcome::NoPermission);
  EXPECT_EQ(this->space.handle_fault(kBase + kPage, kWrite), FaultOutcome::NoPermission);
  EXPECT_EQ(this->space.handle_fault(kBase + kPage, kRead), FaultOutcome::Mapped);
  EXPECT_EQ(this->space.query(kBase + kPage)->flags, kReadOnlyMemory);
  EXPECT_EQ(this->space.handle_fault(kBase + 2 * kPage, kWrite), FaultOutcome::Mapped);
}

TYPED_TEST(Areas, a_fault_says_what_to_do) {  // F13
  ASSERT_TRUE(this->space.map_alloc(kBase, 4 * kPage, kMemory, Backend::lazy()).ok());
  EXPECT_EQ(this->space.handle_fault(kBase + 4 * kPage, kRead), FaultOutcome::NoArea);
  EXPECT_EQ(this->space.handle_fault(kBase, kExecute), FaultOutcome::NoPermission);
  EXPECT_EQ(this->space.usage().tables.owned_bytes, 0u);
  this->guest.hal.allocations_left = 0;
  EXPECT_EQ(this->space.handle_fault(kBase, kRead), FaultOutcome::OutOfMemory);
  this->guest.hal.allocations_left = this->guest.hal.kNoLimit;
  EXPECT_EQ(this->space.handle_fault(kBase, kRead), FaultOutcome::Mapped);
  EXPECT_EQ(this->space.handle_fault(kBase, kRead), FaultOutcome::AlreadyMapped);
}

TYPED_TEST(Areas, every_space_uses_its_own_frames) {  // F14
  Guest<TypeParam> other;
  const u64 before = other.frames_in_use();
  ASSERT_TRUE(this->space.map_alloc(kBase, 4 * kPage, kMemory, Backend::eager()).ok());
  EXPECT_EQ(other.frames_in_use(), before);
  EXPECT_GT(this->guest.frames_in_use(), this->empty);
}

TYPED_TEST(Areas, a_tree_can_be_looked_at) {  // H7
  ASSERT_TRUE(this->linear(kBase, 515).ok());
  std::vector<u64> sizes;
  this->space.page_table().for_each_leaf(
      this->guest.whole(), [&](Gpa, const auto& leaf) { sizes.push_back(leaf.size); });
  EXPECT_THAT(sizes, ElementsAre(2 * kMiB, kPage, kPage, kPage));
  std::vector<u64> runs;
  this->space.for_each_run(this->guest.whole(),
                           [&](const MappedRun& run) { runs.push_back(run.size); });
  EXPECT_THAT(runs, ElementsAre(515 * kPage));
}

}  // namespace
}  // namespace nestwalk::addrspace::defects_areas_test
