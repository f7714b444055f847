// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A frame that goes back to its Hal by itself.
#include "nestwalk/addrspace/phys_frame.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "arena_hal.hpp"

namespace nestwalk::addrspace::phys_frame_test {
namespace {

using Frame = PhysFrame<ArenaHal<>>;

class PhysFrameTest : public ::testing::Test {
 protected:
  u64 in_use() const { return hal_.arena().frames_in_use(); }
  static bool holds_only(const Frame& frame, u8 byte) {
    return std::all_of(frame.data(), frame.data() + kFrameBytes,
                       [byte](u8 found) { return found == byte; });
  }
  ArenaHal<> hal_{4};
};

TEST_F(PhysFrameTest, takes_a_frame_and_gives_it_back) {
  {
    const Result<Frame> frame = Frame::alloc(hal_);
    ASSERT_TRUE(frame);
    EXPECT_TRUE(static_cast<bool>(*frame));
    EXPECT_TRUE(frame->start().is_aligned(kFrameBytes));
    EXPECT_TRUE(hal_.arena().is_allocated(frame->start().value()));
    EXPECT_EQ(in_use(), 1u);
  }
  EXPECT_EQ(in_use(), 0u);
}

TEST_F(PhysFrameTest, holds_what_was_there_or_zeros_when_asked) {
  EXPECT_TRUE(holds_only(*Frame::alloc(hal_), ArenaHal<>::kPoison));
  EXPECT_TRUE(holds_only(*Frame::alloc_zero(hal_), 0));
}

TEST_F(PhysFrameTest, fills_the_whole_frame_and_nothing_beside_it) {
  Frame first = *Frame::alloc_zero(hal_);
  Frame second = *Frame::alloc_zero(hal_);
  first.fill(0x5a);
  EXPECT_TRUE(holds_only(first, 0x5a));
  EXPECT_TRUE(holds_only(second, 0));
}

TEST_F(PhysFrameTest, its_bytes_are_those_of_the_physical_address) {
  const Frame frame = *Frame::alloc(hal_);
  EXPECT_EQ(hal_.virt_to_phys(Hva(reinterpret_cast<u64>(frame.data()))), frame.start());
}

TEST_F(PhysFrameTest, allocation_fails_when_the_hal_has_none) {
  hal_.allocations_left = 0;
  EXPECT_EQ(Frame::alloc(hal_).error(), Error::NoMemory);
  EXPECT_EQ(Frame::alloc_zero(hal_).error(), Error::NoMemory);
  EXPECT_EQ(in_use(), 0u);
}

TEST_F(PhysFrameTest, an_empty_one_owes_nothing) {
  Frame frame;
  EXPECT_FALSE(static_cast<bool>(frame));
  frame.reset();
  EXPECT_EQ(hal_.frees, 0u);
}

TEST_F(PhysFrameTest, moving_hands_the_frame_over) {
  Frame first = *Frame::alloc(hal_);
  const Hpa start = first.start();
  Frame second = std::move(first);
  EXPECT_FALSE(static_cast<bool>(first));
  EXPECT_EQ(second.start(), start);
  EXPECT_EQ(in_use(), 1u);
}

TEST_F(PhysFrameTest, assigning_frees_what_was_held_before) {
  Frame first = *Frame::alloc(hal_);
  Frame second = *Frame::alloc(hal_);
  const Hpa kept = second.start();
  first = std::move(second);
  EXPECT_EQ(first.start(), kept);
  EXPECT_EQ(in_use(), 1u);
  Frame& alias = first;
  first = std::move(alias);
  EXPECT_EQ(first.start(), kept);
  first = Frame();
  EXPECT_EQ(in_use(), 0u);
}

TEST_F(PhysFrameTest, assigning_across_hals_frees_each_where_it_came_from) {
  ArenaHal<> other(4);
  Frame first = *Frame::alloc(hal_);
  first = *Frame::alloc(other);
  EXPECT_EQ(in_use(), 0u);
  EXPECT_EQ(other.arena().frames_in_use(), 1u);
  first.reset();
  EXPECT_EQ(other.arena().frames_in_use(), 0u);
}

TEST_F(PhysFrameTest, releasing_leaves_the_debt_to_the_caller_and_adopting_takes_it) {
  Frame frame = *Frame::alloc(hal_);
  const Hpa start = frame.release();
  EXPECT_FALSE(static_cast<bool>(frame));
  EXPECT_EQ(in_use(), 1u);
  { const Frame adopted = Frame::adopt(hal_, start); }
  EXPECT_EQ(in_use(), 0u);
}

TEST_F(PhysFrameTest, reset_frees_once) {
  Frame frame = *Frame::alloc(hal_);
  frame.reset();
  frame.reset();
  EXPECT_EQ(hal_.frees, 1u);
}

TEST_F(PhysFrameTest, frames_of_a_guest_have_guest_addresses) {
  ArenaHal<Gva, Gpa> guest(4);
  const Result<PhysFrame<ArenaHal<Gva, Gpa>>> frame =
      PhysFrame<ArenaHal<Gva, Gpa>>::alloc_zero(guest);
  ASSERT_TRUE(frame);
  static_assert(std::is_same_v<decltype(frame->start()), Gpa>);
}

using PhysFrameDeathTest = PhysFrameTest;

TEST_F(PhysFrameDeathTest, an_empty_one_has_no_address) {
  Frame frame;
  EXPECT_DEATH((void)frame.start(), "");
  EXPECT_DEATH((void)frame.data(), "");
  EXPECT_DEATH(frame.fill(0), "");
  EXPECT_DEATH((void)frame.release(), "");
}

}  // namespace
}  // namespace nestwalk::addrspace::phys_frame_test
