// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Defects G of axaddrspace: host memory read and written at addresses that a guest chose.

#include <gmock/gmock.h>

#include <cstring>
#include <vector>

#include "nestwalk/addrspace/guest_memory.hpp"
#include "observing_hal.hpp"

namespace nestwalk::addrspace::defects_guest_memory_test {
namespace {

constexpr Gpa kBase(kGiB);

// G8: only types for which any bytes are a value.
static_assert(GuestValue<u64> && GuestValue<float> && GuestValue<u8[16]>);
static_assert(!GuestValue<bool> && !GuestValue<FaultOutcome> && !GuestValue<u8*>);

template <class Shape>
class GuestAccess : public ::testing::Test {
 protected:
  using Space = typename Guest<Shape>::Space;

  GuestAccess() : space(guest.space), memory(space) {}
  void map(Gpa at, u64 pages, MappingFlags flags = kMemory, Backend backend = Backend::eager()) {
    ASSERT_TRUE(space.map_alloc(at, pages * kPage, flags, backend).ok());
  }

  Guest<Shape> guest;
  Space& space;
  GuestMemory<Space> memory;
};
TYPED_TEST_SUITE(GuestAccess, NestedFormats);

TYPED_TEST(GuestAccess, a_window_ends_with_its_page) {  // G1
  this->map(kBase, 3);
  EXPECT_EQ(this->space.window(kBase, kRead)->bytes, kPage);
  EXPECT_EQ(this->space.window(kBase + kPage - 0x10, kRead)->bytes, 0x10u);
  EXPECT_EQ(this->space.window(kBase + 3 * kPage - 1, kRead)->bytes, 1u);
}
TYPED_TEST(GuestAccess, a_window_in_a_large_page_ends_with_its_area) {  // G1
  ASSERT_TRUE(this->space.map_linear(kBase, Hpa(8 * kGiB), 2 * kMiB, kMemory).ok());
  EXPECT_EQ(this->space.window(kBase + 0x10, kRead)->bytes, 2 * kMiB - 0x10);
  ASSERT_TRUE(this->space.protect(kBase + kMiB, kMiB, kReadOnlyMemory).ok());
  EXPECT_LE(this->space.window(kBase + 0x10, kWrite)->bytes, kMiB - 0x10);
}

TYPED_TEST(GuestAccess, a_transfer_ends_where_its_memory_ends) {  // G2, G10
  this->map(kBase, 2);
  std::vector<u8> buffer(4 * kPage, 1);
  const Transfer written = this->memory.write(kBase + kPage + 0x100, buffer.data(), kPage);
  EXPECT_EQ(written.bytes, kPage - 0x100);
  EXPECT_EQ(written.status, Result<void>(Error::NotMapped));
  EXPECT_EQ(this->guest.bytes(kBase + 2 * kPage - 1)[0], 1);
}
TYPED_TEST(GuestAccess, a_transfer_into_other_permissions_stops_there) {  // G2, G9
  this->map(kBase, 1);
  this->map(kBase + kPage, 1, kReadOnlyMemory);
  const std::vector<u8> buffer(2 * kPage, 1);
  const Transfer written = this->memory.write(kBase, buffer.data(), 2 * kPage);
  EXPECT_EQ(written.bytes, kPage);
  EXPECT_EQ(written.status, Result<void>(Error::InsufficientAccess));
  EXPECT_EQ(this->guest.bytes(kBase + kPage)[0], 0);
}

TYPED_TEST(GuestAccess, unbacked_pages_are_backed_as_for_the_guest) {  // G3
  this->map(kBase, 4, kMemory, Backend::lazy());
  EXPECT_EQ(this->space.window(kBase, kRead).error(), Error::NotMapped);
  u32 value = 7;
  EXPECT_TRUE(this->memory.read(kBase + 2 * kPage - 2, &value, sizeof(value)).status.ok());
  EXPECT_EQ(value, 0u);
  EXPECT_EQ(this->space.usage().tables.owned_bytes, 2 * kPage);
  this->guest.hal.allocations_left = 0;
  EXPECT_EQ(this->memory.read(kBase, &value, sizeof(value)).status, Result<void>(Error::NoMemory));
}

TYPED_TEST(GuestAccess, host_addresses_become_pointers_through_the_hal) {  // G5
  // The arena's frames begin at 4 GiB, wherever the memory really is.
  this->map(kBase, 1);
  ASSERT_TRUE(this->memory.store(kBase + 8, u64{0x0123456789abcdef}).ok());
  u64 found = 0;
  std::memcpy(&found, this->guest.bytes(kBase) + 8, sizeof(found));
  EXPECT_EQ(found, 0x0123456789abcdefu);
}

TYPED_TEST(GuestAccess, values_may_lie_anywhere) {  // G6
  this->map(kBase, 2);
  for (u64 offset = kPage - 9; offset < kPage + 2; ++offset) {
    const u64 wanted = 0x1122334455667788 + offset;
    ASSERT_TRUE(this->memory.store(kBase + offset, wanted).ok());
    EXPECT_EQ(*this->memory.template load<u64>(kBase + offset), wanted);
  }
}

TYPED_TEST(GuestAccess, impossible_ranges_are_refused_and_nothing_is_always_possible) {  // G7
  this->map(kBase, 1);
  u8 byte = 0;
  EXPECT_EQ(this->memory.read(Gpa(~u64{0} - 3), &byte, 8).status,
            Result<void>(Error::AddressOverflow));
  const Transfer nothing = this->memory.read(Gpa(0x123), &byte, 0);
  EXPECT_TRUE(nothing.status.ok());
  EXPECT_EQ(nothing.bytes, 0u);
  const Gpa beyond(u64{1} << TypeParam::geometry().input_bits);
  EXPECT_FALSE(this->memory.read(beyond, &byte, 1).status.ok());
}

TYPED_TEST(GuestAccess, permissions_hold_for_the_hypervisor_too) {  // G9
  this->map(kBase, 1, kReadOnlyMemory);
  this->map(kBase + kPage, 1, kHidden);
  EXPECT_EQ(this->space.window(kBase, kWrite).error(), Error::InsufficientAccess);
  EXPECT_EQ(this->memory.store(kBase, u32{1}), Result<void>(Error::InsufficientAccess));
  EXPECT_TRUE(this->memory.template load<u32>(kBase).ok());
  EXPECT_EQ(this->memory.template load<u32>(kBase + kPage).error(), Error::InsufficientAccess);
}

TYPED_TEST(GuestAccess, a_value_is_stored_as_a_whole_or_not_at_all) {  // G10
  this->map(kBase, 1);
  EXPECT_EQ(this->memory.store(kBase + kPage - 4, ~u64{0}), Result<void>(Error::NotMapped));
  for (u64 n = 1; n <= 4; ++n) EXPECT_EQ(this->guest.bytes(kBase + kPage - n)[0], 0);
}

}  // namespace
}  // namespace nestwalk::addrspace::defects_guest_memory_test
