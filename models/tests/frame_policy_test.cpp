// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which frames go to whom, by hand; and the engine's second stage on them.
#include "nestwalk/models/memory/frame_policy.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "full_machine.hpp"
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "nestwalk/models/memory/sim_hal.hpp"

namespace nestwalk::models::frame_policy_test {
namespace {

using addrspace::Access;
using addrspace::Backend;
using addrspace::GpaRange;
using addrspace::kGiB;

constexpr u64 kPages = 8;  // that are reserved together

FrameRequest page(u64 number, u64 space = 0) {
  return {0, FrameUse::memory(number * kFrameBytes, 0), space};
}

class Reservation : public testing::Test {
 protected:
  u64 take(const FrameRequest& wanted) { return *policy_->allocate(wanted); }

  FrameAllocator frames_{16};
  std::unique_ptr<FramePolicy> policy_ = FramePolicyKind::called("reservation").make(frames_);
};

// Page 10 is the third of the second eight, so it has the third frame of the first eight that are
// free; page 8 has the first one of them, whatever was taken meanwhile.
TEST_F(Reservation, IsForTheNeighboursOfAPageInItsOwnAddressSpace) {
  EXPECT_EQ(take(page(10)), 2u);
  EXPECT_EQ(policy_->reserved(), 7u);
  EXPECT_EQ(take(page(10, 1)), 8u + 2);
  EXPECT_EQ(policy_->reserved(), 14u);
  EXPECT_EQ(take(page(8)), 0u);
  EXPECT_EQ(take(page(15, 1)), 8u + 7);
  EXPECT_EQ(policy_->reserved(), 12u);
  EXPECT_EQ(policy_->counts().used, 2u);
}

// Tables, notes and large pages have no neighbours that a line of entries would hold.
TEST_F(Reservation, IsForPagesAlone) {
  EXPECT_EQ(take({0, FrameUse::table(0, 0)}), 0u);
  EXPECT_EQ(take({0, FrameUse{}}), 1u);
  EXPECT_EQ(take({1, FrameUse::memory(0, 1)}), 2u);
  EXPECT_EQ(policy_->reserved(), 0u);
}

// A group's frames are next to each other anyway, and go one by one.
TEST_F(Reservation, IsNotForGroupsOfPages) {
  EXPECT_EQ(take({2, FrameUse::group(0)}), 0u);
  EXPECT_EQ(policy_->reserved(), 0u);
  for (u64 frame = 0; frame < 4; ++frame) policy_->free(frame, 0);
  EXPECT_EQ(frames_.frames_in_use(), 0u);
  take(page(0));
  EXPECT_FALSE(policy_->allocate({4, FrameUse::group(0)}).ok());
  EXPECT_EQ(policy_->reserved(), 7u);
}

// Two pages reserve all 16 frames. A large page that is not to be had is not worth that; a table
// is: frames 0 and 8 stay in use, and 1 is the lowest of the 14 that go back.
TEST_F(Reservation, EndsWhenNothingElseIsFree) {
  take(page(0));
  take(page(8));
  EXPECT_FALSE(policy_->allocate({3, FrameUse::memory(0, 1)}).ok());
  EXPECT_EQ(policy_->reserved(), 14u);
  EXPECT_EQ(take({0, FrameUse::table(0, 0)}), 1u);
  EXPECT_EQ(policy_->reserved(), 0u);
  EXPECT_EQ(policy_->counts().given_back, 14u);
  // The next of the eight has a frame like any other, the smallest free block.
  EXPECT_EQ(take(page(1)), 9u);
  for (const u64 frame : {0u, 1u, 8u, 9u}) policy_->free(frame, 0);
  EXPECT_EQ(frames_.frames_in_use(), 0u);
}

// 9 of 16 frames are left, but no eight that are aligned.
TEST_F(Reservation, IsNotWhereNoEightFramesLieTogether) {
  frames_.take(0, 0);
  frames_.take(8, 0);
  EXPECT_EQ(take(page(0)), 1u);
  EXPECT_EQ(policy_->reserved(), 0u);
}

TEST_F(Reservation, KeepsTheFrameOfAPageThatWentUntilTheLastOneGoes) {
  EXPECT_EQ(take(page(3)), 3u);
  EXPECT_EQ(take(page(4)), 4u);
  policy_->free(3, 0);
  EXPECT_EQ(policy_->reserved(), 7u);
  EXPECT_EQ(take(page(3)), 3u);
  policy_->free(3, 0);
  policy_->free(4, 0);
  EXPECT_EQ(policy_->reserved(), 0u);
  EXPECT_EQ(frames_.frames_in_use(), 0u);
}

// Pages of 16 KiB: four frames each, and eight of them 32.
TEST(Reservations, AreOfEightPagesWhateverTheirSize) {
  FrameAllocator frames(64);
  const std::unique_ptr<FramePolicy> policy = FramePolicyKind::called("reservation").make(frames);
  const auto large = [](u64 number) {
    return FrameRequest{2, FrameUse::memory(number * 4 * kFrameBytes, 0), 0};
  };
  EXPECT_EQ(*policy->allocate(large(8 + 1)), 4u);
  EXPECT_EQ(*policy->allocate(large(8 + 7)), 28u);
  EXPECT_EQ(*policy->allocate(large(0)), 32u);
  EXPECT_EQ(policy->reserved(), 2u * 32 - 3 * 4);
  policy->free(4, 2);
  policy->free(28, 2);
  EXPECT_EQ(frames.frames_in_use(), 32u);
}

// Whoever holds freed frames until a fence is complete names them: 3 stays in use, 4 and 5 go and
// are held as one run. They are neither reserved nor free until they are given back.
TEST(Reservations, OutliveThatFreedPagesAreHeld) {
  HostMemory memory(addrspace::kGiB);
  memory.choose_policy(FramePolicyKind::called("reservation"));
  const auto frame = [&](u64 number) { return memory.base() + number * kFrameBytes; };
  for (const u64 number : {3u, 4u, 5u}) EXPECT_EQ(*memory.allocate(page(number)), frame(number));
  for (const u64 number : {4u, 5u}) memory.free(frame(number), 0);
  EXPECT_EQ(memory.policy().reserved(), 7u);
  memory.hold(frame(4), 1);
  EXPECT_EQ(memory.policy().reserved(), 5u);
  EXPECT_EQ(*memory.allocate(page(4)), frame(8));  // by itself: its own is not free yet
  memory.free(frame(4), 1);
  EXPECT_EQ(memory.policy().reserved(), 7u);
  EXPECT_EQ(*memory.allocate(page(5)), frame(5));
  EXPECT_EQ(memory.policy().counts().given_back, 0u);
  for (const u64 number : {3u, 5u, 8u}) memory.free(frame(number), 0);
  EXPECT_EQ(memory.frames().frames_in_use(), 0u);
}

// The last page that goes is held alone: its seven neighbours are free.
TEST(Reservations, EndWithTheirLastPageThoughItIsHeld) {
  HostMemory memory(addrspace::kGiB);
  memory.choose_policy(FramePolicyKind::called("reservation"));
  const Hpa third = *memory.allocate(page(3));
  memory.free(third, 0);
  memory.hold(third, 0);
  EXPECT_EQ(memory.policy().reserved(), 0u);
  EXPECT_EQ(memory.frames().frames_in_use(), 1u);
  memory.free(third, 0);
  EXPECT_EQ(memory.frames().frames_in_use(), 0u);
}

// A page of 16 KiB has four frames, of which one is held: that is no page. The six pages that
// nobody used are free, and so are the other three frames; nobody was short of frames.
TEST(Reservations, EndWhereAPartOfAPageIsHeld) {
  HostMemory memory(addrspace::kGiB);
  memory.choose_policy(FramePolicyKind::called("reservation"));
  const auto large = [](u64 number) {
    return FrameRequest{2, FrameUse::memory(number * 4 * kFrameBytes, 0), 0};
  };
  const Hpa first = *memory.allocate(large(0));
  const Hpa second = *memory.allocate(large(1));
  memory.free(second, 2);
  memory.hold(second + kFrameBytes, 0);
  EXPECT_EQ(memory.policy().reserved(), 0u);
  EXPECT_EQ(memory.policy().counts().given_back, 0u);
  EXPECT_EQ(memory.frames().frames_in_use(), 4u + 1);
  memory.free(second + kFrameBytes, 0);
  memory.free(first, 2);
  EXPECT_EQ(memory.frames().frames_in_use(), 0u);
}

TEST(Policies, AreChosenBeforeAnybodyHasAFrame) {
  HostMemory memory(addrspace::kGiB);
  const Hpa frame = *memory.allocate(0);
  EXPECT_DEATH(memory.choose_policy(FramePolicyKind::called("reservation")),
               "expected a frame allocation policy before any frame");
  memory.free(frame, 0);
  memory.choose_policy(FramePolicyKind::called("reservation"));
}

// Two VMs fault in turns on 32 neighbours each, from the last one down. By the next free frame they
// share each 32 KiB of the host; a reservation puts every eight of either side by side, in order.
TEST(Reservations, AreKnownByWhatTheEngineSaysOfAFrame) {
  using Space = addrspace::AddressSpace<addrspace::Ept, SimHal<>>;
  constexpr Gpa kBase(addrspace::kGiB);
  for (const char* const name : {"next", "reservation"}) {
    HostMemory memory(addrspace::kGiB);
    memory.choose_policy(FramePolicyKind::called(name));
    const addrspace::Capabilities machine = addrspace::full_machine();
    SimHal<> hals[] = {{memory, machine}, {memory, machine}};
    std::vector<Space> spaces;
    for (SimHal<>& hal : hals) {
      spaces.push_back(*Space::create(hal, *addrspace::Ept::geometry(4),
                                      *GpaRange::make(Gpa(0), 4 * addrspace::kGiB), 1));
      ASSERT_TRUE(
          spaces.back().map_alloc(kBase, 32 * kFrameBytes, {addrspace::kRwx}, Backend::lazy()));
    }
    for (u64 n = 32; n-- != 0;) {
      for (Space& space : spaces) {
        ASSERT_EQ(space.handle_fault(kBase + n * kFrameBytes, addrspace::kWrite),
                  addrspace::FaultOutcome::Mapped);
      }
    }
    const bool reserves = name == std::string("reservation");
    for (const Space& space : spaces) {
      for (u64 n = 0; n < 32; ++n) {
        const Hpa frame = *space.translate(kBase + n * kFrameBytes);
        const Hpa first = *space.translate(kBase + n / kPages * kPages * kFrameBytes);
        EXPECT_EQ(frame == first + n % kPages * kFrameBytes, reserves || n % kPages == 0);
        EXPECT_TRUE(!reserves || first.is_aligned(kPages * kFrameBytes));
      }
    }
    EXPECT_EQ(memory.policy().counts().used, reserves ? 2u * (32 - 4) : 0u);
    EXPECT_EQ(memory.policy().reserved(), 0u);
    spaces.clear();
    EXPECT_EQ(memory.frames().frames_in_use(), 0u);
  }
}

class ContiguousTables : public testing::Test {
 protected:
  u64 take(const FrameRequest& wanted) { return *policy_->allocate(wanted); }
  static FrameRequest table(u64 input, unsigned level, u64 space = 0) {
    return {0, FrameUse::table(input, level), space};
  }

  FrameAllocator frames_{4096};
  std::unique_ptr<FramePolicy> policy_ = FramePolicyKind::called("contiguous-tables").make(frames_);
};

// The table of the 6 MiB from 1 GiB on is the fourth of that GiB: of the first 512 frames that are
// free and aligned, as 512 to 1023 are once another frame was taken, it has the fourth.
TEST_F(ContiguousTables, OfOneGibLieInTheOrderOfWhatTheyTranslate) {
  constexpr u64 k2M = u64{2} << 20;
  EXPECT_EQ(take(table(0, 2)), 0u);
  EXPECT_EQ(take(table(kGiB + 3 * k2M, 0)), 512u + 3);
  EXPECT_EQ(take(page(7)), 1u);
  EXPECT_EQ(take(table(kGiB, 1)), 2u);  // one for each GiB needs no neighbours
  EXPECT_EQ(take(table(2 * kGiB - k2M, 0)), 512u + 511);
  EXPECT_EQ(take(table(kGiB + 3 * k2M, 0, 1)), 1024u + 3);  // another address space
  EXPECT_EQ(policy_->reserved(), 510u + 511);
  EXPECT_EQ(policy_->reserved_run(table(kGiB + k2M, 0)), 512u);
  EXPECT_EQ(policy_->reserved_run(table(kGiB, 0, 1)), 1024u);
  EXPECT_EQ(policy_->reserved_run(table(2 * kGiB, 0)), std::nullopt);
  policy_->free(512 + 511, 0);
  policy_->free(512 + 3, 0);
  EXPECT_EQ(policy_->reserved_run(table(kGiB, 0)), std::nullopt);
  EXPECT_EQ(policy_->reserved(), 511u);
}

// The second 2 MiB of an address space are to lie together: page 512 + 5 has the sixth of 512
// frames.
TEST_F(ContiguousTables, AreBackedTogetherIfAGuestAsksForIt) {
  policy_->keep_together(1, u64{2} << 20);
  EXPECT_EQ(take(page(512 + 5, 1)), 5u);
  EXPECT_EQ(take(page(512 + 5, 0)), 512u);
  EXPECT_EQ(take(page(5, 1)), 513u);
  EXPECT_EQ(take(page(512 + 6, 1)), 6u);
}

// Arm's granule of 64K: a table of 16 frames translates 8192 pages, 512 MiB; 512 tables lie
// together.
TEST_F(ContiguousTables, MayBeOfMoreFrames) {
  FrameAllocator frames(u64{1} << 15);
  const auto policy = FramePolicyKind::called("contiguous-tables").make(frames);
  const FrameRequest second{4, FrameUse::table(u64{512} << 20, 0), 0};
  EXPECT_EQ(*policy->allocate(second), 16u);
  EXPECT_EQ(policy->reserved_run(second), 0u);
}

// What the second stage's tables are made of is what a walker is told of them.
TEST(ContiguousTablesOfAnAddressSpace, AreWhereTheAreasSay) {
  HostMemory memory(kGiB);
  memory.choose_policy(FramePolicyKind::called("contiguous-tables"));
  SimHal<> hal(memory, addrspace::full_machine());
  const auto geometry = *addrspace::Ept::geometry(4);
  auto table = *addrspace::PageTable<addrspace::Ept, SimHal<>>::create(hal, geometry);
  const TableAreas& areas = *memory.table_areas(hal.space());
  for (const u64 at : {u64{0}, 5 * kGiB + 0x3000, 5 * kGiB + (u64{9} << 21), u64{1} << 46}) {
    ASSERT_TRUE(table.map(Gpa(at), Hpa(kGiB), kFrameBytes, {addrspace::kRwx}).ok());
    for (unsigned level = 0; level < 2; ++level) {
      u64 found = 0;
      addrspace::descend(geometry, table.root().value(), at, [&](u64 slot, unsigned of, u64& next) {
        found = slot;
        next = table.format().address(memory.load(Hpa(slot)), of).value();
        return of != level;
      });
      EXPECT_EQ(areas.slot(at, level, geometry), found);
    }
  }
}

}  // namespace
}  // namespace nestwalk::models::frame_policy_test
