// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Defects E of axaddrspace: frames that are lost, shown to the guest as they were, or replaced
// under it; operations that fail half-way.

#include <gmock/gmock.h>

#include <algorithm>

#include "observing_hal.hpp"

namespace nestwalk::addrspace::defects_ownership_test {
namespace {

constexpr Gpa kBase(kGiB);
constexpr Hpa kTarget(8 * kGiB);

template <class Shape>
class FaultOwnership : public ::testing::Test {
 protected:
  FaultOwnership() : empty(guest.frames_in_use()), space(guest.space) {}
  Result<void> alloc(u64 pages, Backend backend) {
    return space.map_alloc(kBase, pages * kPage, kMemory, backend);
  }
  bool all_zero(Gpa at, u64 bytes) const {
    const u8* first = guest.bytes(at);
    return std::all_of(first, first + bytes, [](u8 byte) { return byte == 0; });
  }
  /// Runs an operation with 0, 1, 2... frames left until it succeeds; each failure must leave
  /// nothing behind. Returns how often it failed.
  template <class Operation>
  u64 fail_at_every_allocation(Operation&& operation) {
    const SpaceUsage before = space.usage();
    const u64 frames = guest.frames_in_use();
    for (u64 left = 0;; ++left) {
      guest.hal.allocations_left = left;
      const bool done = operation();
      guest.hal.allocations_left = guest.hal.kNoLimit;
      if (done) return left;
      EXPECT_EQ(guest.frames_in_use(), frames) << left << " frames left";
      EXPECT_EQ(space.usage(), before);
      space.page_table().for_each_leaf(*GpaRange::make(kBase, kGiB), [&](Gpa at, const auto&) {
        ADD_FAILURE() << "still mapped: " << to_text(at).c_str();
      });
    }
  }

  Guest<Shape> guest;
  u64 empty;
  typename Guest<Shape>::Space& space;
};
TYPED_TEST_SUITE(FaultOwnership, NestedFormats);

TYPED_TEST(FaultOwnership, a_second_fault_keeps_the_frame_and_its_data) {  // E1
  ASSERT_TRUE(this->alloc(2, Backend::lazy()).ok());
  EXPECT_EQ(this->space.handle_fault(kBase, kWrite), FaultOutcome::Mapped);
  const Hpa frame = *this->space.translate(kBase);
  this->guest.bytes(kBase)[100] = 0x5a;
  const u64 allocations = this->guest.hal.allocations;
  for (const Access access : {kWrite, kRead, kNoAccess}) {
    EXPECT_EQ(this->space.handle_fault(kBase + 9, access), FaultOutcome::AlreadyMapped);
  }
  EXPECT_EQ(*this->space.translate(kBase), frame);
  EXPECT_EQ(this->guest.bytes(kBase)[100], 0x5a);
  EXPECT_EQ(this->guest.hal.allocations, allocations);
}

TYPED_TEST(FaultOwnership, a_populate_that_runs_out_of_memory_leaves_nothing) {  // E2, E3, F6
  const u64 failures = this->fail_at_every_allocation([&] {
    const Result<void> done = this->alloc(4, Backend::eager());
    EXPECT_TRUE(done.ok() || done.error() == Error::NoMemory);
    return done.ok();
  });
  EXPECT_GE(failures, 4u + 2);  // four pages and the tables above them
  ASSERT_TRUE(this->space.unmap(kBase, 4 * kPage).ok());
  EXPECT_EQ(this->guest.frames_in_use(), this->empty);
}

TYPED_TEST(FaultOwnership, a_populate_beside_other_pages_leaves_those) {  // E2
  ASSERT_TRUE(this->space.map_linear(kBase + 8 * kPage, kTarget, kPage, kMemory).ok());
  const u64 frames = this->guest.frames_in_use();
  for (u64 left = 0; left < 4; ++left) {
    this->guest.hal.allocations_left = left;
    EXPECT_EQ(this->alloc(4, Backend::eager()), Result<void>(Error::NoMemory));
    EXPECT_EQ(this->guest.frames_in_use(), frames);
    EXPECT_FALSE(this->guest.walk(kBase).translates);
    EXPECT_EQ(this->guest.walk(kBase + 8 * kPage).to, kTarget);
  }
}

TYPED_TEST(FaultOwnership, a_fault_that_runs_out_of_memory_leaves_nothing) {  // E3
  ASSERT_TRUE(this->alloc(4, Backend::lazy()).ok());
  const u64 failures = this->fail_at_every_allocation([&] {
    const FaultOutcome outcome = this->space.handle_fault(kBase, kWrite);
    EXPECT_TRUE(outcome == FaultOutcome::Mapped || outcome == FaultOutcome::OutOfMemory);
    return outcome == FaultOutcome::Mapped;
  });
  EXPECT_GE(failures, 2u);
  EXPECT_EQ(this->space.handle_fault(kBase + kPage, kWrite), FaultOutcome::Mapped);
}

TYPED_TEST(FaultOwnership, a_linear_mapping_that_runs_out_of_memory_leaves_nothing) {  // E4
  // Pages, then a large page, then pages: tables on both sides.
  const u64 failures = this->fail_at_every_allocation([&] {
    const Result<void> done =
        this->space.map_linear(kBase + kPage, kTarget + kPage, 4 * kMiB, kMemory);
    EXPECT_TRUE(done.ok() || done.error() == Error::NoMemory);
    return done.ok();
  });
  EXPECT_GE(failures, 3u);
}

TYPED_TEST(FaultOwnership, a_guest_never_sees_what_a_frame_held) {  // E5
  // ArenaHal fills every frame that it hands out with 0xaa.
  ASSERT_TRUE(this->alloc(4, Backend::eager()).ok());
  EXPECT_TRUE(this->all_zero(kBase + 3 * kPage, kPage));
  ASSERT_TRUE(this->space.unmap(kBase, 4 * kPage).ok());

  ASSERT_TRUE(this->alloc(512, Backend::eager(1)).ok());
  EXPECT_TRUE(this->all_zero(kBase, 2 * kMiB));
  ASSERT_TRUE(this->space.unmap(kBase, 2 * kMiB).ok());

  ASSERT_TRUE(this->alloc(8, Backend::lazy(2)).ok());
  EXPECT_EQ(this->space.handle_fault(kBase + kPage, kRead), FaultOutcome::Mapped);
  for (u64 n = 0; n < 4; ++n) EXPECT_TRUE(this->all_zero(kBase + n * kPage, kPage));
  EXPECT_EQ(this->space.handle_fault(kBase + 5 * kPage, kRead), FaultOutcome::Mapped);
  EXPECT_TRUE(this->all_zero(kBase + 5 * kPage, kPage));
}

TYPED_TEST(FaultOwnership, the_quick_fault_zeroes_too) {  // E5
  ASSERT_TRUE(this->alloc(8, Backend::lazy()).ok());
  for (u64 n = 0; n < 8; ++n) {  // the first makes the table, the others find it
    EXPECT_EQ(this->space.handle_fault(kBase + n * kPage, kRead), FaultOutcome::Mapped);
    EXPECT_TRUE(this->all_zero(kBase + n * kPage, kPage));
  }
}

TYPED_TEST(FaultOwnership, unmapping_a_lazy_area_frees_what_was_backed) {  // E6
  ASSERT_TRUE(this->alloc(1024, Backend::lazy()).ok());
  for (const u64 n : {0u, 3u, 700u}) {
    EXPECT_EQ(this->space.handle_fault(kBase + n * kPage, kRead), FaultOutcome::Mapped);
  }
  EXPECT_EQ(this->space.usage().tables.owned_bytes, 3 * kPage);
  ASSERT_TRUE(this->space.unmap(kBase, 1024 * kPage).ok());
  EXPECT_EQ(this->space.usage().tables.owned_bytes, 0u);
  EXPECT_EQ(this->guest.frames_in_use(), this->empty);
}

TYPED_TEST(FaultOwnership, a_dropped_table_frees_the_leaves_that_it_owns) {  // E7
  using Table = PageTable<typename TypeParam::Format, ObservingHal>;
  {
    Table table = *Table::create(this->guest.hal, TypeParam::geometry());
    const GpaRange range = *GpaRange::make(kBase, 5 * kPage);
    ASSERT_TRUE(table.map_owned_region(range, kMemory).ok());
    EXPECT_GT(this->guest.frames_in_use(), this->empty + 5);
  }
  EXPECT_EQ(this->guest.frames_in_use(), this->empty);
}

TYPED_TEST(FaultOwnership, a_large_page_is_freed_as_a_whole_or_in_parts) {  // E8
  ASSERT_TRUE(this->alloc(512, Backend::eager(1)).ok());
  ASSERT_TRUE(this->space.unmap(kBase, 2 * kMiB).ok());
  EXPECT_EQ(this->guest.frames_in_use(), this->empty);

  ASSERT_TRUE(this->alloc(512, Backend::eager(1)).ok());
  const u64 full = this->guest.frames_in_use();
  ASSERT_TRUE(this->space.unmap(kBase + kPage, 3 * kPage).ok());
  EXPECT_EQ(this->guest.frames_in_use(), full + 1 - 3);  // the table of the parts is new
  ASSERT_TRUE(this->space.unmap(kBase, 2 * kMiB).ok());
  EXPECT_EQ(this->guest.frames_in_use(), this->empty);
}

TYPED_TEST(FaultOwnership, a_lazy_promise_costs_no_table) {  // E9
  const u64 tables = this->space.usage().tables.table_bytes;
  this->guest.hal.record();
  ASSERT_TRUE(this->space.map_alloc(kBase, kGiB, kMemory, Backend::lazy()).ok());
  EXPECT_EQ(this->space.usage().tables.table_bytes, tables);
  EXPECT_LE(this->guest.frames_in_use(), this->empty + 1);  // the frame of the area's node
  for (const Event& event : this->guest.hal.events) EXPECT_NE(event.kind, Event::Kind::Store);
}

TYPED_TEST(FaultOwnership, frames_of_the_caller_are_never_freed) {
  const Hpa own = *this->guest.hal.alloc_run(9);
  ASSERT_TRUE(this->space.map_linear(kBase, own, 2 * kMiB, kMemory).ok());
  ASSERT_TRUE(this->space.unmap(kBase + kPage, kPage).ok());
  this->space.clear();
  for (u64 n = 0; n < 512; ++n) {
    ASSERT_TRUE(this->guest.hal.arena().is_allocated((own + n * kPage).value()));
  }
  this->guest.hal.free_run(own, 9);
}

}  // namespace
}  // namespace nestwalk::addrspace::defects_ownership_test
