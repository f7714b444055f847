// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Defects C of axaddrspace: entries that mean something else than what was asked for.

#include <gmock/gmock.h>

#include "observing_hal.hpp"

namespace nestwalk::addrspace::defects_encoding_test {
namespace {

constexpr Gpa kBase(kGiB);
constexpr Hpa kTarget(8 * kGiB);

std::vector<MappingFlags> all_flags() {
  std::vector<MappingFlags> all;
  for (u8 access = 0; access < 8; ++access) {
    for (unsigned type = 0; type < static_cast<unsigned>(MemoryType::Other); ++type) {
      all.push_back({Access(access), static_cast<MemoryType>(type)});
    }
  }
  return all;
}

template <class Shape>
class Encoding : public ::testing::Test {
 protected:
  using F = typename Shape::Format;
  Result<void> map(MappingFlags flags, u64 size = kPage) {
    return guest.space.map_linear(kBase, kTarget, size, flags);
  }
  u64 entry() const { return guest.walk(kBase).entry; }
  Guest<Shape> guest;
};
TYPED_TEST_SUITE(Encoding, NestedFormats);

TYPED_TEST(Encoding, flags_are_mapped_as_asked_or_refused) {  // C2, C3, C5, C6, C7, F15
  for (const u64 size : {kPage, 2 * kMiB}) {
    for (const MappingFlags flags : all_flags()) {
      const Result<void> mapped = this->map(flags, size);
      if (!mapped) {
        EXPECT_EQ(mapped.error(), Error::UnsupportedFlags);
        EXPECT_FALSE(this->guest.walk(kBase).translates);
        continue;
      }
      const auto walk = this->guest.walk(kBase);
      EXPECT_EQ(walk.translates, !flags.access.empty());
      if (walk.translates) {
        EXPECT_EQ(this->guest.space.query(kBase)->flags.access, flags.access);
        const typename TypeParam::Format format(this->guest.hal.capabilities());
        EXPECT_FALSE(format.malformed(walk.entry, walk.level));
      }
      ASSERT_TRUE(this->guest.space.unmap(kBase, size).ok());
    }
  }
}

TYPED_TEST(Encoding, what_a_query_says_can_be_given_back) {  // C2
  for (const MappingFlags flags : {kReadOnlyMemory, kMemory, kCode}) {
    ASSERT_TRUE(this->map(flags).ok());
    const u64 before = this->entry();
    const MappingFlags found = this->guest.space.query(kBase)->flags;
    EXPECT_EQ(found, flags);
    ASSERT_TRUE(this->guest.space.protect(kBase, kPage, found).ok());
    EXPECT_EQ(this->entry(), before);
    ASSERT_TRUE(this->guest.space.unmap(kBase, kPage).ok());
  }
}

TYPED_TEST(Encoding, only_code_is_executable) {  // C1
  for (const MappingFlags flags : {kReadOnlyMemory, kMemory}) {
    ASSERT_TRUE(this->map(flags).ok());
    EXPECT_FALSE(this->guest.space.query(kBase)->flags.access.has(kExecute));
    const u64 data = this->entry();
    ASSERT_TRUE(this->guest.space.unmap(kBase, kPage).ok());
    ASSERT_TRUE(this->map({flags.access | kExecute, flags.memory}).ok());
    EXPECT_NE(this->entry(), data);
    ASSERT_TRUE(this->guest.space.unmap(kBase, kPage).ok());
  }
}

TYPED_TEST(Encoding, memory_without_a_cache_can_be_mapped_looked_at_and_unmapped) {  // C3
  for (const MemoryType type : {MemoryType::Uncached, MemoryType::Device}) {
    ASSERT_TRUE(this->map({kRead | kWrite, type}).ok());
    EXPECT_TRUE(this->guest.space.query(kBase).ok());
    EXPECT_NE(this->guest.space.query(kBase)->flags.memory, MemoryType::WriteBack);
    ASSERT_TRUE(this->guest.space.unmap(kBase, kPage).ok());
  }
}

// C8: without permissions a large leaf must not turn into a pointer to a table.
TYPED_TEST(Encoding, the_memory_of_a_hidden_large_page_is_never_taken_for_a_table) {
  const u64 before = this->guest.frames_in_use();
  ASSERT_TRUE(this->guest.space.map_alloc(kBase, 2 * kMiB, kMemory, Backend::eager(1)).ok());
  const Hpa memory = *this->guest.space.translate(kBase);
  for (u64 n = 0; n < 512; ++n) {  // what a guest might plant there
    this->guest.hal.poke(memory + 8 * n,
                         this->guest.space.page_table().format().leaf(kTarget, kCode, 0));
  }
  ASSERT_TRUE(this->guest.space.protect(kBase, 2 * kMiB, kHidden).ok());
  EXPECT_EQ(this->guest.space.translate(kBase), Result<Hpa>(Error::NotMapped));
  EXPECT_FALSE(this->guest.walk(kBase).translates);
  EXPECT_TRUE(this->guest.hal.arena().is_allocated(memory.value()));
  ASSERT_TRUE(this->guest.space.unmap(kBase, 2 * kMiB).ok());
  EXPECT_EQ(this->guest.frames_in_use(), before);
}
TYPED_TEST(Encoding, a_hidden_large_page_survives_a_split) {  // C8
  ASSERT_TRUE(this->guest.space.map_alloc(kBase, 2 * kMiB, kMemory, Backend::eager(1)).ok());
  const Hpa memory = *this->guest.space.translate(kBase);
  ASSERT_TRUE(this->guest.space.protect(kBase, 2 * kMiB, kHidden).ok());
  ASSERT_TRUE(this->guest.space.protect(kBase + 3 * kPage, kPage, kMemory).ok());
  EXPECT_EQ(*this->guest.space.translate(kBase + 3 * kPage), memory + 3 * kPage);
  EXPECT_FALSE(this->guest.space.translate(kBase + 2 * kPage).ok());
  EXPECT_FALSE(this->guest.space.translate(kBase + 4 * kPage).ok());
}

TYPED_TEST(Encoding, a_page_without_access_is_legal_and_invisible) {  // C10, C11, C13
  for (const Access nothing : {kNoAccess, kUser}) {
    const u64 before = this->guest.frames_in_use();
    ASSERT_TRUE(this->map({nothing, MemoryType::WriteBack}, 2 * kMiB).ok());
    EXPECT_EQ(this->guest.space.query(kBase).error(), Error::NotMapped);
    ASSERT_TRUE(this->guest.space.unmap(kBase, 2 * kMiB).ok());
    EXPECT_EQ(this->guest.frames_in_use(), before);
  }
}

TYPED_TEST(Encoding, nothing_is_left_of_a_page_that_was_hidden_and_unmapped) {  // C12
  for (const u64 size : {kPage, 2 * kMiB}) {
    ASSERT_TRUE(this->map(kMemory, size).ok());
    ASSERT_TRUE(this->guest.space.protect(kBase, size, kHidden).ok());
    ASSERT_TRUE(this->guest.space.unmap(kBase, size).ok());
    EXPECT_EQ(this->entry(), 0u);
    ASSERT_TRUE(this->map(kMemory, size).ok());
    ASSERT_TRUE(this->guest.space.unmap(kBase, size).ok());
  }
}

TYPED_TEST(Encoding, only_page_sizes_of_the_format_can_be_mapped) {  // C15
  using Table = PageTable<typename TypeParam::Format, ObservingHal>;
  Table table = *Table::create(this->guest.hal, TypeParam::geometry());
  EXPECT_EQ(table.map(kBase, kTarget, kMiB, kMemory), Result<void>(Error::UnsupportedGeometry));
  EXPECT_FALSE(table.query(kBase).ok());
  for (const u64 size : {kPage, 2 * kMiB, kGiB}) {
    ASSERT_TRUE(table.map(kBase, kTarget, size, kMemory).ok());
    EXPECT_EQ(table.query(kBase)->size, size);
    ASSERT_TRUE(table.unmap(kBase).ok());
  }
}

// One architecture each ---------------------------------------------------------------------------

TEST(Stage2Encoding, execute_never_is_set_unless_execution_was_asked_for) {  // C1
  Guest<Stage2Of40Bits> guest;
  ASSERT_TRUE(guest.space.map_linear(kBase, kTarget, kPage, kMemory).ok());
  EXPECT_EQ(guest.walk(kBase).entry >> 54 & 1, 1u);
  ASSERT_TRUE(guest.space.protect(kBase, kPage, kCode).ok());
  EXPECT_EQ(guest.walk(kBase).entry >> 54 & 1, 0u);
}

TEST(Stage2Encoding, uncached_memory_is_normal_non_cacheable_and_devices_are_devices) {  // C4
  // MemAttr in bits 5:2: 0b0101 is Normal, outer and inner non-cacheable; 0b0000 Device-nGnRnE.
  Guest<Stage2Of40Bits> guest;
  const MappingFlags uncached{kRead | kWrite, MemoryType::Uncached};
  ASSERT_TRUE(guest.space.map_linear(kBase, kTarget, kPage, uncached).ok());
  EXPECT_EQ(guest.walk(kBase).entry >> 2 & 0xf, 0b0101u);
  ASSERT_TRUE(guest.space.protect(kBase, kPage, {kRead | kWrite, MemoryType::Device}).ok());
  EXPECT_EQ(guest.walk(kBase).entry >> 2 & 0xf, 0b0000u);
}

TEST(Stage2Encoding, pages_that_cannot_be_read_are_valid) {  // C5
  Guest<Stage2Of40Bits> guest;
  for (const Access access : {kWrite, kExecute, kWrite | kExecute}) {
    ASSERT_TRUE(
        guest.space.map_alloc(kBase, kPage, {access, MemoryType::WriteBack}, Backend::lazy()).ok());
    EXPECT_EQ(guest.space.handle_fault(kBase, access), FaultOutcome::Mapped);
    const u64 frames = guest.frames_in_use();
    EXPECT_EQ(guest.space.handle_fault(kBase, access), FaultOutcome::AlreadyMapped);
    EXPECT_EQ(guest.frames_in_use(), frames);
    EXPECT_TRUE(guest.walk(kBase).translates);
    ASSERT_TRUE(guest.space.unmap(kBase, kPage).ok());
  }
}

TEST(Stage2Encoding, bits_of_stage_1_and_of_tables_stay_clear) {  // C14
  // Bit 11 is RES0 without FEAT_XS, 63:59 are attributes of stage-1 tables, 53:52 of features that
  // are not used.
  constexpr u64 kClear = u64{1} << 11 | u64{0x1f} << 59 | u64{3} << 52;
  Guest<Stage2Of48Bits> guest;
  for (const MappingFlags flags : {kReadOnlyMemory, kMemory, kCode}) {
    ASSERT_TRUE(guest.space.map_alloc(kBase, kPage, flags, Backend::eager()).ok());
    EXPECT_EQ(guest.walk(kBase).entry & kClear, 0u);
    ASSERT_TRUE(guest.space.unmap(kBase, kPage).ok());
  }
}

TEST(EptEncoding, misconfigured_permissions_are_refused) {  // C6
  Capabilities machine = full_machine();
  machine.execute_only = false;
  Guest<EptFourLevels> guest(machine);
  for (const Access access : {kWrite, kWrite | kExecute, kExecute}) {
    EXPECT_EQ(guest.space.map_linear(kBase, kTarget, kPage, {access, MemoryType::WriteBack}),
              Result<void>(Error::UnsupportedFlags));
  }
  Guest<EptFourLevels> newer;
  EXPECT_TRUE(
      newer.space.map_linear(kBase, kTarget, kPage, {kExecute, MemoryType::WriteBack}).ok());
}

TEST(GStageEncoding, reserved_permissions_are_refused) {  // C7
  Guest<Sv39x4> guest;
  for (const Access access : {kWrite, kWrite | kExecute}) {
    EXPECT_EQ(guest.space.map_linear(kBase, kTarget, kPage, {access, MemoryType::WriteBack}),
              Result<void>(Error::UnsupportedFlags));
  }
}

TEST(GStageEncoding, every_leaf_is_a_user_page) {  // C9
  Guest<Sv39x4> guest;
  for (const u64 size : {kPage, 2 * kMiB}) {
    for (const MappingFlags flags : {kReadOnlyMemory, kMemory, kCode}) {
      ASSERT_TRUE(guest.space.map_linear(kBase, kTarget, size, flags).ok());
      EXPECT_EQ(guest.walk(kBase).entry >> 4 & 1, 1u);
      ASSERT_TRUE(guest.space.unmap(kBase, size).ok());
    }
  }
}

}  // namespace
}  // namespace nestwalk::addrspace::defects_encoding_test
