// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the engine says of the frames that it asks for.
#include "nestwalk/addrspace/frame_use.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "nestwalk/addrspace/deferred.hpp"
#include "observing_hal.hpp"

namespace nestwalk::addrspace::frame_use_test {
namespace {

// A table of level 2 answers to 512 GiB, of level 1 to 1 GiB, of level 0 to 2 MiB: it is asked for
// with the first address of these. A page is asked for with its own.
template <class H>
void expect_frames_asked_for_with_their_use(ObservingHal& observing, H& hal) {
  using Use = FrameUse;
  const auto asked = [&] {
    std::vector<Use> uses;
    for (const Event& event : observing.events) {
      const bool is_note = event.use.kind == Use::Kind::Own;
      if (event.kind == Event::Kind::Alloc && !is_note) uses.push_back(event.use);
    }
    observing.record();
    return uses;
  };
  observing.record();
  auto space =
      *AddressSpace<Ept, H>::create(hal, *Ept::geometry(4), *GpaRange::make(Gpa(0), kTiB), 3);
  EXPECT_EQ(asked(), (std::vector<Use>{Use::table(0, 3)}));

  ASSERT_TRUE(space.map_alloc(Gpa(kGiB), kMiB, kMemory, Backend::lazy()));
  EXPECT_EQ(asked(), std::vector<Use>());
  ASSERT_EQ(space.handle_fault(Gpa(kGiB + 0x3123), kWrite), FaultOutcome::Mapped);
  EXPECT_EQ(asked(), (std::vector<Use>{Use::table(0, 2), Use::table(kGiB, 1), Use::table(kGiB, 0),
                                       Use::memory(kGiB + 0x3000, 0)}));
  ASSERT_EQ(space.handle_fault(Gpa(kGiB + 0x5fff), kWrite), FaultOutcome::Mapped);
  EXPECT_EQ(asked(), (std::vector<Use>{Use::memory(kGiB + 0x5000, 0)}));

  // Two pages for one fault.
  const u64 around = kGiB + 6 * kMiB;
  ASSERT_TRUE(space.map_alloc(Gpa(around), kMiB, kMemory, Backend::lazy(1)));
  ASSERT_EQ(space.handle_fault(Gpa(around + 0x1000), kWrite), FaultOutcome::Mapped);
  EXPECT_EQ(asked(), (std::vector<Use>{Use::table(around, 0), Use::memory(around + 0x1000, 0),
                                       Use::memory(around, 0)}));

  // A large leaf; a part of it goes, which takes a table of pages.
  const u64 large = 600 * kGiB;
  ASSERT_TRUE(space.map_alloc(Gpa(large), 2 * kMiB, kMemory, Backend::eager(1)));
  EXPECT_EQ(asked(), (std::vector<Use>{Use::table(512 * kGiB, 2), Use::table(large, 1),
                                       Use::memory(large, 1)}));
  ASSERT_TRUE(space.unmap(Gpa(large + 0x1000), 0x1000));
  EXPECT_EQ(asked(), (std::vector<Use>{Use::table(large, 0)}));

  // All at once, from the middle of a table on.
  const u64 eager = large + 3 * kMiB;
  ASSERT_TRUE(space.map_alloc(Gpa(eager), 0x2000, kMemory, Backend::eager()));
  EXPECT_EQ(asked(), (std::vector<Use>{Use::table(large + 2 * kMiB, 0), Use::memory(eager, 0),
                                       Use::memory(eager + 0x1000, 0)}));
}

TEST(FrameUses, name_what_a_frame_answers_to) {
  ObservingHal hal;
  expect_frames_asked_for_with_their_use(hal, hal);
}

TEST(FrameUses, come_through_a_hal_that_defers_fences) {
  ObservingHal hal;
  DeferredHal<ObservingHal> deferred(hal, Ept::kBreakBeforeMake);
  expect_frames_asked_for_with_their_use(hal, deferred);
}

}  // namespace
}  // namespace nestwalk::addrspace::frame_use_test
