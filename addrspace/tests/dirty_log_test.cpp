// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The dirty log: which pages did the guest write since they were last looked at? By write
// protection, where the first write faults, and by the hardware's dirty bits.

#include <gmock/gmock.h>

#include <algorithm>
#include <string>

#include "nestwalk/addrspace/guest_memory.hpp"
#include "observing_hal.hpp"

namespace nestwalk::addrspace::dirty_log_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Gpa kBase(kGiB);
constexpr Gpa page(u64 n) { return kBase + n * kPage; }

Capabilities machine_for(DirtyTracking how) {
  Capabilities machine = full_machine();
  machine.hardware_dirty = how == DirtyTracking::Hardware;
  return machine;
}

/// A guest whose processor writes as the hardware would.
template <class Shape>
class LoggedGuest : public Guest<Shape> {
 public:
  using F = typename Shape::Format;

  explicit LoggedGuest(DirtyTracking how) : LoggedGuest(how, machine_for(how)) {}
  LoggedGuest(DirtyTracking how, const Capabilities& machine) : Guest<Shape>(machine), how_(how) {}

  Result<void> start() { return this->space.start_dirty_log(how_); }
  Result<void> start(GpaRange part) { return this->space.start_dirty_log(how_, part); }

  /// What the dirty log recorded since the last time, as first page and number of pages.
  std::vector<std::pair<u64, u64>> harvest() { return harvest(this->whole()); }
  std::vector<std::pair<u64, u64>> harvest(GpaRange part) {
    std::vector<std::pair<u64, u64>> found;
    const Result<void> done = this->space.harvest_dirty_log(part, [&](GpaRange range) {
      found.push_back({(range.start() - kBase) / kPage, range.size() / kPage});
    });
    EXPECT_TRUE(done.ok());
    return found;
  }

  /// Does the hardware permit a write now? If so, it records it where it records writes.
  bool processor_writes(Gpa at) {
    const auto leaf = this->space.page_table().entry(at).value();
    const auto mapped = this->space.query(at);
    if (!mapped || !mapped->flags.access.has(kWrite)) return false;
    if (this->hal.capabilities().hardware_dirty) this->hal.poke(leaf.slot, F::dirtied(leaf.entry));
    return true;
  }
  /// A write of the guest, with the fault that it may need first; its outcome, if there was one.
  std::string write(Gpa at) {
    if (processor_writes(at)) return "no fault";
    const FaultOutcome outcome = this->space.handle_fault(at, kWrite);
    EXPECT_EQ(processor_writes(at), resolved(outcome));
    return to_string(outcome);
  }

 private:
  DirtyTracking how_;
};

template <class ShapeType, DirtyTracking kHowType>
struct Case {
  using Shape = ShapeType;
  static constexpr DirtyTracking kHow = kHowType;
};
template <class C>
class DirtyLog : public ::testing::Test {
 protected:
  static constexpr bool kProtects = C::kHow == DirtyTracking::WriteProtection;
  using F = typename C::Shape::Format;

  DirtyLog() : guest(C::kHow), space(guest.space) {}
  void map(u64 pages, MappingFlags flags = kMemory, Backend backend = Backend::eager()) {
    EXPECT_TRUE(space.map_alloc(kBase, pages * kPage, flags, backend).ok());
  }
  void start() { EXPECT_TRUE(guest.start().ok()); }

  LoggedGuest<typename C::Shape> guest;
  typename Guest<typename C::Shape>::Space& space;
};
template <class Shape>
using ByProtection = Case<Shape, DirtyTracking::WriteProtection>;
template <class Shape>
using ByHardware = Case<Shape, DirtyTracking::Hardware>;
using Cases =
    ::testing::Types<ByProtection<EptFourLevels>, ByHardware<EptFourLevels>,
                     ByProtection<NptFourLevels>, ByHardware<NptFourLevels>,
                     ByProtection<Stage2Of40Bits>, ByHardware<Stage2Of40Bits>,
                     ByProtection<Stage2Of48Bits>, ByHardware<Stage2Of48Bits>, ByProtection<Sv39x4>,
                     ByHardware<Sv39x4>, ByProtection<Sv48x4>, ByHardware<Sv48x4>>;
TYPED_TEST_SUITE(DirtyLog, Cases);

TYPED_TEST(DirtyLog, everything_counts_as_clean_at_the_start) {
  this->map(4);
  EXPECT_EQ(this->guest.write(page(1)), "no fault");
  this->start();
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
}

TYPED_TEST(DirtyLog, a_written_page_is_recorded_once) {
  this->map(4);
  this->start();
  EXPECT_EQ(this->guest.write(page(2)),
            this->kProtects ? to_string(FaultOutcome::MadeWritable) : "no fault");
  EXPECT_EQ(this->guest.write(page(2) + 8), "no fault");
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
}

TYPED_TEST(DirtyLog, a_page_is_recorded_again_when_it_is_written_again) {
  this->map(4);
  this->start();
  this->guest.write(page(2));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
  EXPECT_EQ(this->guest.write(page(2)),
            this->kProtects ? to_string(FaultOutcome::MadeWritable) : "no fault");
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
}

TYPED_TEST(DirtyLog, neighbours_are_reported_as_one_range) {
  this->map(8);
  this->start();
  for (const u64 n : {1u, 2u, 3u, 6u}) this->guest.write(page(n));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(1, 3), std::pair(6, 1)));
}

TYPED_TEST(DirtyLog, a_harvest_of_a_part_leaves_the_rest) {
  this->map(8);
  this->start();
  this->guest.write(page(1));
  this->guest.write(page(6));
  EXPECT_THAT(this->guest.harvest(*GpaRange::make(kBase, 4 * kPage)), ElementsAre(std::pair(1, 1)));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(6, 1)));
}

TYPED_TEST(DirtyLog, a_log_can_start_part_by_part) {
  this->map(8);
  this->guest.write(page(1));
  this->guest.write(page(5));
  const GpaRange first = *GpaRange::make(kBase, 4 * kPage);
  const GpaRange second = *GpaRange::make(page(4), 4 * kPage);
  EXPECT_TRUE(this->guest.start(first).ok());
  EXPECT_THAT(this->guest.harvest(first), IsEmpty());
  // Every page that is writable or born dirty may have been written.
  u64 found = 0;
  for (const auto& [from, count] : this->guest.harvest(second)) {
    EXPECT_GE(from, 4u);
    found += from <= 5 && 5 < from + count;
  }
  EXPECT_EQ(found, 1u);
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
  this->guest.write(page(6));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(6, 1)));
}

TYPED_TEST(DirtyLog, a_log_can_stop_part_by_part) {
  this->map(8);
  this->start();
  const GpaRange first = *GpaRange::make(kBase, 4 * kPage);
  const GpaRange second = *GpaRange::make(page(4), 4 * kPage);
  EXPECT_TRUE(this->space.release_dirty_log(first).ok());
  EXPECT_NE(this->space.dirty_tracking(), DirtyTracking::Off);
  EXPECT_EQ(this->guest.write(page(1)), "no fault");
  EXPECT_EQ(this->guest.write(page(5)), TestFixture::kProtects ? "made writable" : "no fault");
  EXPECT_TRUE(this->space.stop_dirty_log(second).ok());
  EXPECT_EQ(this->space.dirty_tracking(), DirtyTracking::Off);
  for (u64 n = 0; n < 8; ++n) EXPECT_EQ(this->guest.write(page(n)), "no fault") << n;
  EXPECT_EQ(this->space.release_dirty_log(first).error(), Error::WrongState);
  // No mark is left for the next log.
  this->start();
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
}

TYPED_TEST(DirtyLog, a_part_outside_of_the_space_is_refused) {
  this->map(4);
  const GpaRange outside = *GpaRange::make(this->space.range().end(), kPage);
  const GpaRange uneven = *GpaRange::make(kBase, kPage / 2);
  EXPECT_EQ(this->guest.start(outside).error(), Error::OutOfRange);
  EXPECT_EQ(this->guest.start(uneven).error(), Error::Unaligned);
  EXPECT_EQ(this->space.dirty_tracking(), DirtyTracking::Off);
  this->start();
  EXPECT_EQ(this->space.release_dirty_log(uneven).error(), Error::Unaligned);
  EXPECT_EQ(this->space.stop_dirty_log(outside).error(), Error::OutOfRange);
  EXPECT_NE(this->space.dirty_tracking(), DirtyTracking::Off);
}

TYPED_TEST(DirtyLog, reads_leave_no_record) {
  this->map(2, kMemory, Backend::lazy());
  this->start();
  EXPECT_EQ(this->space.handle_fault(page(0), kRead), FaultOutcome::Mapped);
  EXPECT_EQ(this->space.handle_fault(page(0), kRead), FaultOutcome::AlreadyMapped);
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
}

TYPED_TEST(DirtyLog, a_page_that_a_write_brings_in_is_recorded) {
  this->map(4, kMemory, Backend::lazy());
  this->start();
  EXPECT_EQ(this->guest.write(page(3)), to_string(FaultOutcome::Mapped));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(3, 1)));
}

TYPED_TEST(DirtyLog, a_page_that_a_read_brought_in_is_recorded_when_it_is_written) {
  this->map(4, kMemory, Backend::lazy());
  this->start();
  EXPECT_EQ(this->space.handle_fault(page(3), kRead), FaultOutcome::Mapped);
  this->guest.write(page(3));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(3, 1)));
}

TYPED_TEST(DirtyLog, pages_brought_in_around_a_fault_are_not_recorded) {
  this->map(8, kMemory, Backend::lazy(3));
  this->start();
  EXPECT_EQ(this->guest.write(page(3)), to_string(FaultOutcome::Mapped));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(3, 1)));
}

TYPED_TEST(DirtyLog, what_is_mapped_during_the_log_is_recorded) {
  this->start();
  this->map(3);
  const Gpa linear = page(1024);
  ASSERT_TRUE(this->space.map_linear(linear, Hpa(8 * kGiB), kPage, kReadOnlyMemory).ok());
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(0, 3), std::pair(1024, 1)));
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
}

TYPED_TEST(DirtyLog, what_is_unmapped_is_not_recorded) {
  this->map(4);
  this->start();
  this->guest.write(page(1));
  this->guest.write(page(2));
  ASSERT_TRUE(this->space.unmap(page(1), kPage).ok());
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
}

TYPED_TEST(DirtyLog, the_hypervisor_s_own_writes_are_recorded) {
  this->map(4);
  this->start();
  GuestMemory memory(this->space);
  EXPECT_TRUE(memory.store(page(2), u64{1}).ok());
  u64 value = 0;
  EXPECT_TRUE(memory.read(page(1), &value, sizeof(value)).status.ok());
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
  EXPECT_TRUE(memory.store(page(2), u64{2}).ok());
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
}

TYPED_TEST(DirtyLog, taking_the_write_permission_does_not_lose_the_record) {
  this->map(4);
  this->start();
  this->guest.write(page(1));
  ASSERT_TRUE(this->space.protect(kBase, 4 * kPage, kReadOnlyMemory).ok());
  for (const u64 n : {1u, 2u}) {
    EXPECT_EQ(this->guest.write(page(n)), to_string(FaultOutcome::NoPermission));
  }
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(1, 1)));
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
}

TYPED_TEST(DirtyLog, giving_the_write_permission_back_records_the_next_write) {
  this->map(4);
  this->start();
  ASSERT_TRUE(this->space.protect(kBase, 4 * kPage, kReadOnlyMemory).ok());
  ASSERT_TRUE(this->space.protect(kBase, 4 * kPage, kMemory).ok());
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
  this->guest.write(page(3));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(3, 1)));
}

// Whoever reads the log could not read a hidden page, so it is reported when it comes back.
TYPED_TEST(DirtyLog, a_page_that_was_hidden_counts_as_written_when_it_is_shown_again) {
  this->map(4);
  this->start();
  this->guest.write(page(1));
  ASSERT_TRUE(this->space.protect(kBase, 3 * kPage, kHidden).ok());
  ASSERT_TRUE(this->space.protect(kBase, 3 * kPage, kMemory).ok());
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(0, 3)));
  EXPECT_THAT(this->guest.harvest(), ElementsAre());
  this->guest.write(page(2));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
}

TYPED_TEST(DirtyLog, the_record_of_a_hidden_page_can_be_harvested) {
  this->map(4);
  this->start();
  this->guest.write(page(1));
  ASSERT_TRUE(this->space.protect(kBase, 4 * kPage, kHidden).ok());
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(1, 1)));
}

TYPED_TEST(DirtyLog, another_memory_type_does_not_lose_the_record) {
  ASSERT_TRUE(this->space.map_linear(kBase, Hpa(8 * kGiB), 4 * kPage, kMemory).ok());
  this->start();
  this->guest.write(page(1));
  const MappingFlags uncached{kRead | kWrite, MemoryType::Uncached};
  ASSERT_TRUE(this->space.protect(kBase, 4 * kPage, uncached).ok());
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(1, 1)));
  this->guest.write(page(2));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
}

TYPED_TEST(DirtyLog, memory_that_becomes_a_device_is_reported_once_for_what_it_was) {
  ASSERT_TRUE(this->space.map_linear(kBase, Hpa(8 * kGiB), 4 * kPage, kMemory).ok());
  this->start();
  this->guest.write(page(1));
  const MappingFlags device{kRead | kWrite, MemoryType::Device};
  ASSERT_TRUE(this->space.protect(kBase, 4 * kPage, device).ok());
  this->guest.write(page(2));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(1, 1)));
  this->guest.write(page(1));
  EXPECT_THAT(this->guest.harvest(), ElementsAre());
}

TYPED_TEST(DirtyLog, a_page_without_write_permission_stays_so_through_the_log) {
  this->map(2, kReadOnlyMemory);
  this->start();
  EXPECT_EQ(this->guest.write(page(0)), to_string(FaultOutcome::NoPermission));
  this->guest.harvest();
  EXPECT_EQ(this->guest.write(page(0)), to_string(FaultOutcome::NoPermission));
  ASSERT_TRUE(this->space.stop_dirty_log().ok());
  EXPECT_EQ(this->guest.write(page(0)), to_string(FaultOutcome::NoPermission));
}

// A protect takes the permission away whether or not the hardware keeps dirty bits.
TYPED_TEST(DirtyLog, write_protection_holds_without_a_log) {
  this->map(2);
  this->guest.write(page(0));
  ASSERT_TRUE(this->space.protect(kBase, 2 * kPage, kReadOnlyMemory).ok());
  EXPECT_FALSE(TypeParam::Shape::Format::is_writable(this->space.page_table().entry(kBase)->entry));
  EXPECT_EQ(this->guest.write(page(0)), to_string(FaultOutcome::NoPermission));
}

// Large leaves ------------------------------------------------------------------------------------

TYPED_TEST(DirtyLog, a_large_leaf_is_split_for_the_first_write_or_reported_whole) {
  this->map(512, kMemory, Backend::eager(1));
  ASSERT_EQ(this->space.query(kBase)->size, 2 * kMiB);
  this->start();
  this->guest.write(page(5));
  if (this->kProtects) {
    EXPECT_EQ(this->space.query(kBase)->size, kPage);
    EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(5, 1)));
  } else {
    EXPECT_EQ(this->space.query(kBase)->size, 2 * kMiB);
    EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(0, 512)));
  }
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
}

TYPED_TEST(DirtyLog, without_memory_for_the_split_the_large_leaf_counts_as_written) {
  this->map(512, kMemory, Backend::eager(1));
  this->start();
  this->guest.hal.allocations_left = 0;
  this->guest.write(page(5));
  EXPECT_EQ(this->space.query(kBase)->size, 2 * kMiB);
  EXPECT_EQ(this->guest.write(page(100)), "no fault");
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(0, 512)));
}

TYPED_TEST(DirtyLog, parts_of_a_written_large_leaf_stay_recorded_when_it_is_split) {
  this->map(512, kMemory, Backend::eager(1));
  this->start();
  this->guest.hal.allocations_left = 0;  // the whole leaf is made writable
  this->guest.write(page(5));
  this->guest.hal.allocations_left = this->guest.hal.kNoLimit;
  ASSERT_TRUE(this->space.protect(page(1), kPage, kReadOnlyMemory).ok());
  EXPECT_EQ(this->space.query(kBase)->size, kPage);
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(0, 512)));
}

TYPED_TEST(DirtyLog, parts_of_a_written_large_leaf_stay_recorded_without_write_permission) {
  this->map(512, kMemory, Backend::eager(1));
  this->start();
  this->guest.hal.allocations_left = 0;
  this->guest.write(page(5));
  ASSERT_TRUE(this->space.protect(kBase, 2 * kMiB, kReadOnlyMemory).ok());
  this->guest.hal.allocations_left = this->guest.hal.kNoLimit;
  ASSERT_TRUE(this->space.protect(page(1), kPage, kMemory).ok());
  EXPECT_EQ(this->space.query(kBase)->size, kPage);
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(0, 512)));
}

// The end -----------------------------------------------------------------------------------------

TYPED_TEST(DirtyLog, after_the_end_writes_do_not_fault) {
  this->map(4);
  this->start();
  this->guest.write(page(1));
  ASSERT_TRUE(this->space.stop_dirty_log().ok());
  for (u64 n = 0; n < 4; ++n) EXPECT_EQ(this->guest.write(page(n)), "no fault");
}

TYPED_TEST(DirtyLog, a_new_log_starts_empty) {
  this->map(4);
  this->start();
  this->guest.write(page(1));
  ASSERT_TRUE(this->space.stop_dirty_log().ok());
  this->guest.write(page(2));
  this->start();
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
  this->guest.write(page(3));
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(3, 1)));
}

TYPED_TEST(DirtyLog, clearing_the_space_ends_the_log) {
  this->map(4);
  this->start();
  this->space.clear();
  EXPECT_EQ(this->space.dirty_tracking(), DirtyTracking::Off);
}

TYPED_TEST(DirtyLog, misuse_is_refused) {
  const auto ignore = [](GpaRange) {};
  const Result<void> wrong_state(Error::WrongState);
  EXPECT_EQ(this->space.harvest_dirty_log(this->guest.whole(), ignore), wrong_state);
  EXPECT_EQ(this->space.stop_dirty_log(), wrong_state);
  EXPECT_EQ(this->space.start_dirty_log(DirtyTracking::Off), wrong_state);
  this->start();
  EXPECT_EQ(this->guest.start(), wrong_state);
  EXPECT_EQ(this->space.start_dirty_log(DirtyTracking::WriteProtection), wrong_state);
  EXPECT_EQ(this->space.harvest_dirty_log(*GpaRange::make(kBase, 100), ignore),
            Result<void>(Error::Unaligned));
  const Gpa beyond(u64{1} << TypeParam::Shape::geometry().input_bits);
  EXPECT_EQ(this->space.harvest_dirty_log(*GpaRange::make(beyond, kPage), ignore),
            Result<void>(Error::OutOfRange));
}

// Fences ------------------------------------------------------------------------------------------

// Starting and harvesting take write permission or a dirty bit away: the fence of a revocation for
// each page (Intel SDM vol. 3C "Accessed and Dirty Flags for EPT"; Arm ARM D8 "Hardware management
// of the dirty state"; RISC-V "clear A / D": HFENCE.GVMA). Stopping gives permission back.
template <class Guest>
std::vector<FenceOp> ops_of(Guest& guest) {
  std::vector<FenceOp> ops;
  for (const Fence& fence : guest.fences()) ops.push_back(fence.op);
  return ops;
}
template <class F>
std::vector<FenceOp> revocation(unsigned pages) {
  std::vector<FenceOp> ops;
  switch (F::kArchitecture) {
    case Architecture::X86_64:
      return {std::is_same_v<F, Npt> ? FenceOp(svm::kVmrunAsid) : vmx::kInveptSingle};
    case Architecture::AArch64:
      ops.assign(pages, stage2::kIpas2le1.is);
      ops.insert(ops.begin(), stage2::kDsbIshst);
      for (const FenceOp op : std::initializer_list<FenceOp>{stage2::kDsbIsh, stage2::kVmalle1.is,
                                                             stage2::kDsbIsh, stage2::kIsb}) {
        ops.push_back(op);
      }
      return ops;
    case Architecture::RiscV64:
      return std::vector<FenceOp>(pages, hext::kGvmaAddressVmid.at_once);
  }
  return ops;
}

TYPED_TEST(DirtyLog, start_and_harvest_revoke_exactly_what_they_clean) {
  this->map(3);
  for (u64 n = 0; n < 3; ++n) this->guest.write(page(n));
  this->guest.fences();
  this->start();
  EXPECT_EQ(ops_of(this->guest), revocation<typename TestFixture::F>(3));
  this->guest.write(page(0));
  this->guest.write(page(2));
  this->guest.fences();
  this->guest.harvest();
  EXPECT_EQ(ops_of(this->guest), revocation<typename TestFixture::F>(2));
  this->guest.harvest();
  EXPECT_THAT(this->guest.fences(), IsEmpty());
}

TYPED_TEST(DirtyLog, stopping_needs_only_the_fences_of_more_permission) {
  this->map(3);
  this->start();
  this->guest.write(page(1));
  this->guest.fences();
  ASSERT_TRUE(this->space.stop_dirty_log().ok());
  const bool silent = !this->kProtects || TestFixture::F::kArchitecture == Architecture::X86_64;
  EXPECT_EQ(ops_of(this->guest),
            silent ? std::vector<FenceOp>() : revocation<typename TestFixture::F>(2));
}

TEST(DirtyLogMisuse, hardware_tracking_needs_the_capability) {
  Guest<EptFourLevels> ept;
  EXPECT_EQ(ept.space.start_dirty_log(DirtyTracking::Hardware),
            Result<void>(Error::UnsupportedFeature));
  Guest<Stage2Of40Bits> stage2;
  EXPECT_EQ(stage2.space.start_dirty_log(DirtyTracking::Hardware),
            Result<void>(Error::UnsupportedFeature));
  Guest<Sv39x4> gstage;
  EXPECT_EQ(gstage.space.start_dirty_log(DirtyTracking::Hardware),
            Result<void>(Error::UnsupportedFeature));
  EXPECT_EQ(gstage.space.dirty_tracking(), DirtyTracking::Off);
}

// The hardware writes at the same time ------------------------------------------------------------

template <class Shape>
class DirtyRace : public ::testing::Test {
 protected:
  using F = typename Shape::Format;

  DirtyRace() : guest(DirtyTracking::Hardware), space(guest.space) {}
  /// The walker sets a dirty bit between the engine's load of an entry and its exchange, once.
  void set_dirty_before_exchange_of(Gpa at) {
    const Hpa slot = space.page_table().entry(at)->slot;
    guest.hal.before_exchange = [this, slot](Hpa exchanged) {
      if (exchanged != slot) return;
      guest.hal.before_exchange = nullptr;
      const u64 entry = guest.hal.read_entry(slot);
      ASSERT_TRUE(F::is_valid(entry, 0) && F::is_writable(entry));
      guest.hal.poke(slot, F::dirtied(entry));
      ++races;
    };
  }

  LoggedGuest<Shape> guest;
  typename Guest<Shape>::Space& space;
  unsigned races = 0;
};
TYPED_TEST_SUITE(DirtyRace, NestedFormats);

TYPED_TEST(DirtyRace, a_write_during_a_protect_is_recorded) {
  ASSERT_TRUE(this->space.map_alloc(kBase, 4 * kPage, kCode, Backend::eager()).ok());
  ASSERT_TRUE(this->guest.start().ok());
  this->set_dirty_before_exchange_of(page(2));
  ASSERT_TRUE(this->space.protect(kBase, 4 * kPage, kReadOnlyMemory).ok());
  EXPECT_EQ(this->races, 1u);
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
}

TYPED_TEST(DirtyRace, a_write_while_a_page_is_hidden_is_recorded) {
  ASSERT_TRUE(this->space.map_alloc(kBase, 4 * kPage, kMemory, Backend::eager()).ok());
  ASSERT_TRUE(this->guest.start().ok());
  this->set_dirty_before_exchange_of(page(2));
  ASSERT_TRUE(this->space.protect(kBase, 4 * kPage, kHidden).ok());
  EXPECT_EQ(this->races, 1u);
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
}

TYPED_TEST(DirtyRace, a_write_during_a_change_of_memory_type_is_recorded) {
  ASSERT_TRUE(this->space.map_linear(kBase, Hpa(8 * kGiB), 4 * kPage, kMemory).ok());
  ASSERT_TRUE(this->guest.start().ok());
  this->set_dirty_before_exchange_of(page(2));
  const MappingFlags device{kRead | kWrite, MemoryType::Device};
  ASSERT_TRUE(this->space.protect(kBase, 4 * kPage, device).ok());
  EXPECT_EQ(this->races, 1u);
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
}

TYPED_TEST(DirtyRace, a_write_during_a_harvest_is_recorded_by_it_or_by_the_next) {
  ASSERT_TRUE(this->space.map_alloc(kBase, 4 * kPage, kMemory, Backend::eager()).ok());
  ASSERT_TRUE(this->guest.start().ok());
  GuestMemory memory(this->space);
  ASSERT_TRUE(memory.store(page(2), u64{1}).ok());
  this->set_dirty_before_exchange_of(page(2));
  auto found = this->guest.harvest();
  EXPECT_EQ(this->races, 1u);
  EXPECT_THAT(found, ElementsAre(std::pair(2, 1)));
}

TYPED_TEST(DirtyRace, a_write_while_a_large_leaf_is_split_marks_all_parts) {
  ASSERT_TRUE(this->space.map_alloc(kBase, 2 * kMiB, kMemory, Backend::eager(1)).ok());
  ASSERT_TRUE(this->guest.start().ok());
  const Hpa slot = this->space.page_table().entry(kBase)->slot;
  this->guest.hal.before_exchange = [&](Hpa exchanged) {
    if (exchanged != slot) return;
    this->guest.hal.before_exchange = nullptr;
    const u64 entry = this->guest.hal.read_entry(slot);
    this->guest.hal.poke(slot, TypeParam::Format::dirtied(entry));
  };
  ASSERT_TRUE(this->space.protect(page(7), kPage, kReadOnlyMemory).ok());
  EXPECT_FALSE(this->guest.hal.before_exchange);
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(0, 512)));
}

TYPED_TEST(DirtyRace, a_write_while_the_hypervisor_notes_its_own_is_recorded_once) {
  ASSERT_TRUE(this->space.map_alloc(kBase, 4 * kPage, kMemory, Backend::eager()).ok());
  ASSERT_TRUE(this->guest.start().ok());
  this->set_dirty_before_exchange_of(page(2));
  GuestMemory memory(this->space);
  ASSERT_TRUE(memory.store(page(2), u64{1}).ok());
  EXPECT_THAT(this->guest.harvest(), ElementsAre(std::pair(2, 1)));
  EXPECT_THAT(this->guest.harvest(), IsEmpty());
}

}  // namespace
}  // namespace nestwalk::addrspace::dirty_log_test
