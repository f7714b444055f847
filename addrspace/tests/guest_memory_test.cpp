// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reading and writing guest memory on the guest's behalf.
#include "nestwalk/addrspace/guest_memory.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::addrspace::guest_memory_test {
namespace {

constexpr u64 kPage = 4 * kKiB;
constexpr MappingFlags kRw{kRead | kWrite};
constexpr MappingFlags kRo{kRead};

/// A structure that a device and its driver share.
struct Descriptor {
  u64 address;
  u32 length;
  u16 flags;
  u16 next;
  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

}  // namespace
}  // namespace nestwalk::addrspace::guest_memory_test

template <>
inline constexpr bool
    nestwalk::addrspace::kAnyBytesAreAValue<nestwalk::addrspace::guest_memory_test::Descriptor> =
        true;

namespace nestwalk::addrspace::guest_memory_test {
namespace {

class GuestMemoryTest : public ::testing::Test {
 protected:
  using Space = AddressSpace<Ept, ArenaHal<>>;
  static constexpr Gpa kStart{0x10'0000};

  GuestMemoryTest()
      : hal_(8192),
        space_(*Space::create(hal_, *Ept::geometry(4), *GpaRange::make(kStart, 64 * kMiB))) {}

  static Gpa page(u64 n) { return kStart + n * kPage; }
  void map(u64 first, u64 count, MappingFlags flags, Backend backend = Backend::lazy()) {
    ASSERT_TRUE(space_.map_alloc(page(first), count * kPage, flags, backend));
  }
  u8* host(Gpa at) {
    return reinterpret_cast<u8*>(hal_.phys_to_virt(*space_.translate(at)).value());
  }
  static std::vector<u8> pattern(u64 size) {
    std::vector<u8> bytes(size);
    std::iota(bytes.begin(), bytes.end(), u8{1});
    return bytes;
  }
  std::vector<u8> read(Gpa from, u64 size) {
    std::vector<u8> bytes(size);
    const Transfer done = memory_.read(from, bytes.data(), size);
    EXPECT_TRUE(done.status);
    EXPECT_EQ(done.bytes, size);
    return bytes;
  }
  void write(Gpa to, const std::vector<u8>& bytes) {
    const Transfer done = memory_.write(to, bytes.data(), bytes.size());
    EXPECT_TRUE(done.status);
    EXPECT_EQ(done.bytes, bytes.size());
  }

  ArenaHal<> hal_;
  Space space_;
  GuestMemory<Space> memory_{space_};
};

TEST_F(GuestMemoryTest, what_was_written_is_read_at_any_offset_and_length) {
  map(0, 4, kRw);
  for (const u64 offset : {0u, 1u, 3u, 7u, 8u, 4090u, 4095u}) {
    for (const u64 size : {1u, 2u, 3u, 5u, 8u, 13u, 64u, 5000u}) {
      const std::vector<u8> bytes = pattern(size);
      write(page(0) + offset, bytes);
      EXPECT_EQ(read(page(0) + offset, size), bytes);
    }
  }
}

TEST_F(GuestMemoryTest, a_buffer_crosses_pages_that_are_not_contiguous) {
  map(0, 3, kRw);
  // Backed in another order, so that host memory does not follow guest memory.
  for (const u64 n : {1u, 0u, 2u}) {
    ASSERT_EQ(space_.handle_fault(page(n), kRead), FaultOutcome::Mapped);
  }
  ASSERT_NE(*space_.translate(page(0)) + kPage, *space_.translate(page(1)));
  const std::vector<u8> bytes = pattern(2 * kPage);
  write(page(0) + 100, bytes);
  EXPECT_EQ(*(host(page(0)) + 100), bytes[0]);
  EXPECT_EQ(*host(page(1)), bytes[kPage - 100]);
  EXPECT_EQ(*(host(page(2)) + 99), bytes[2 * kPage - 1]);
  EXPECT_EQ(*(host(page(2)) + 100), 0);
}

TEST_F(GuestMemoryTest, a_buffer_crosses_areas_that_both_permit_it) {
  map(0, 1, kRw);
  map(1, 1, {kRwx});
  const std::vector<u8> bytes = pattern(200);
  write(page(1) - 100, bytes);
  EXPECT_EQ(read(page(1) - 100, 200), bytes);
}

TEST_F(GuestMemoryTest, lazy_pages_are_backed_on_demand_and_read_as_zero) {
  map(0, 4, kRw);
  EXPECT_EQ(space_.usage().tables.owned_bytes, 0u);
  EXPECT_EQ(read(page(1) + 5, 10), std::vector<u8>(10, 0));
  EXPECT_EQ(space_.usage().tables.owned_bytes, kPage);
  write(page(2), pattern(kPage + 1));
  EXPECT_EQ(space_.usage().tables.owned_bytes, 3 * kPage);
}

TEST_F(GuestMemoryTest, a_read_only_area_is_read_but_not_written) {
  map(0, 1, kRo);
  EXPECT_EQ(read(page(0), 8), std::vector<u8>(8, 0));
  const u64 value = 1;
  const Transfer done = memory_.write(page(0), &value, sizeof(value));
  EXPECT_EQ(done.bytes, 0u);
  EXPECT_EQ(done.status, Result<void>(Error::InsufficientAccess));
  EXPECT_EQ(read(page(0), 8), std::vector<u8>(8, 0));
}

TEST_F(GuestMemoryTest, an_area_without_access_is_neither_read_nor_written) {
  map(0, 1, kRw);
  write(page(0), pattern(8));
  ASSERT_TRUE(space_.protect(page(0), kPage, {}));
  u64 value = 0;
  EXPECT_EQ(memory_.read(page(0), &value, 8).status, Result<void>(Error::InsufficientAccess));
  EXPECT_EQ(memory_.write(page(0), &value, 8).status, Result<void>(Error::InsufficientAccess));
  ASSERT_TRUE(space_.protect(page(0), kPage, kRw));
  EXPECT_EQ(read(page(0), 8), pattern(8));
}

TEST_F(GuestMemoryTest, a_transfer_says_how_far_it_came) {
  map(0, 1, kRw);
  map(1, 1, kRo);
  const std::vector<u8> bytes = pattern(200);
  const Transfer written = memory_.write(page(1) - 50, bytes.data(), 200);
  EXPECT_EQ(written.bytes, 50u);
  EXPECT_EQ(written.status, Result<void>(Error::InsufficientAccess));
  EXPECT_EQ(read(page(1) - 50, 50), pattern(50));

  std::vector<u8> back(kPage + 100, 0xee);
  const Transfer got = memory_.read(page(2) - 70, back.data(), back.size());
  EXPECT_EQ(got.bytes, 70u);
  EXPECT_EQ(got.status, Result<void>(Error::NotMapped));
  EXPECT_EQ(back[69], 0);
  EXPECT_EQ(back[70], 0xee);
}

TEST_F(GuestMemoryTest, the_end_of_the_space_is_the_end_of_a_transfer) {
  const Gpa last = kStart + 64 * kMiB - kPage;
  ASSERT_TRUE(space_.map_alloc(last, kPage, kRw, Backend::lazy()));
  std::vector<u8> bytes(kPage + 1);
  const Transfer done = memory_.write(last, bytes.data(), bytes.size());
  EXPECT_EQ(done.bytes, kPage);
  EXPECT_EQ(done.status, Result<void>(Error::NotMapped));
  EXPECT_EQ(memory_.read(kStart - 1, bytes.data(), 1).status, Result<void>(Error::NotMapped));
}

TEST_F(GuestMemoryTest, an_address_that_wraps_is_refused_before_anything_is_done) {
  u8 bytes[16] = {};
  EXPECT_EQ(memory_.read(Gpa(~u64{0}), bytes, 2).status, Result<void>(Error::AddressOverflow));
  EXPECT_EQ(memory_.write(Gpa(~u64{0} - 7), bytes, 9).status, Result<void>(Error::AddressOverflow));
  // The last byte of the 64-bit space does not wrap; nothing is there.
  EXPECT_EQ(memory_.read(Gpa(~u64{0}), bytes, 1).status, Result<void>(Error::NotMapped));
}

TEST_F(GuestMemoryTest, nothing_is_done_for_no_bytes_wherever_that_is) {
  const Transfer done = memory_.read(Gpa(0), nullptr, 0);
  EXPECT_EQ(done.bytes, 0u);
  EXPECT_TRUE(done.status);
  EXPECT_TRUE(memory_.write(page(3), nullptr, 0).status);
  EXPECT_EQ(space_.usage().tables.owned_bytes, 0u);
}

TEST_F(GuestMemoryTest, large_leaves_and_parts_of_their_areas_bound_a_transfer) {
  // 2 MiB of linear memory, of which the guest is promised all but the last page.
  const Gpa base(2 * kMiB);
  const Result<Hpa> memory = hal_.alloc_run(9);
  ASSERT_TRUE(memory);
  ASSERT_TRUE(space_.map_linear(base, *memory, 2 * kMiB, kRw));
  ASSERT_EQ(space_.query(base)->size, 2 * kMiB);
  const std::vector<u8> bytes = pattern(2 * kMiB - 10);
  write(base + 5, bytes);
  EXPECT_EQ(read(base + 5, bytes.size()), bytes);
  ASSERT_TRUE(space_.unmap(base + 2 * kMiB - kPage, kPage));
  std::vector<u8> back(2 * kMiB);
  const Transfer done = memory_.read(base, back.data(), back.size());
  EXPECT_EQ(done.bytes, 2 * kMiB - kPage);
  EXPECT_EQ(done.status, Result<void>(Error::NotMapped));
  ASSERT_TRUE(space_.unmap(base, 2 * kMiB));
  hal_.free_run(*memory, 9);
}

TEST_F(GuestMemoryTest, running_out_of_memory_ends_a_transfer) {
  map(0, 3, kRw);
  write(page(0), pattern(1));
  hal_.allocations_left = 1;
  const std::vector<u8> bytes = pattern(3 * kPage);
  const Transfer done = memory_.write(page(0), bytes.data(), bytes.size());
  EXPECT_EQ(done.bytes, 2 * kPage);
  EXPECT_EQ(done.status, Result<void>(Error::NoMemory));
}

// Values ------------------------------------------------------------------------------------------

TEST_F(GuestMemoryTest, values_of_every_size_are_stored_little_endian) {
  map(0, 1, kRw);
  ASSERT_TRUE(memory_.store(page(0), u64{0x0807'0605'0403'0201}));
  EXPECT_EQ(*memory_.load<u8>(page(0)), 0x01);
  EXPECT_EQ(*memory_.load<u16>(page(0) + 2), 0x0403);
  EXPECT_EQ(*memory_.load<u32>(page(0) + 4), 0x0807'0605u);
  EXPECT_EQ(*memory_.load<u64>(page(0)), 0x0807'0605'0403'0201u);
  EXPECT_EQ(*memory_.load<std::int8_t>(page(0)), 1);
}

TEST_F(GuestMemoryTest, values_need_not_be_aligned) {
  map(0, 1, kRw);
  for (u64 offset = 0; offset < 9; ++offset) {
    const u64 value = 0x1122'3344'5566'7788 + offset;
    ASSERT_TRUE(memory_.store(page(0) + offset, value));
    EXPECT_EQ(*memory_.load<u64>(page(0) + offset), value);
  }
}

TEST_F(GuestMemoryTest, a_value_may_lie_across_pages_and_areas) {
  map(0, 1, kRw);
  map(1, 1, {kRwx});
  ASSERT_EQ(space_.handle_fault(page(1), kRead), FaultOutcome::Mapped);
  const Descriptor descriptor{0x1234'5678'9abc'def0, 77, 3, 4};
  for (u64 before = 1; before < sizeof(Descriptor); ++before) {
    ASSERT_TRUE(memory_.store(page(1) - before, descriptor));
    EXPECT_EQ(*memory_.load<Descriptor>(page(1) - before), descriptor);
  }
}

TEST_F(GuestMemoryTest, a_value_is_stored_whole_or_not_at_all) {
  map(0, 1, kRw);
  map(1, 1, kRo);
  ASSERT_TRUE(memory_.store(page(1) - 8, ~u64{0}));
  EXPECT_EQ(memory_.store(page(1) - 4, u64{0}), Result<void>(Error::InsufficientAccess));
  EXPECT_EQ(*memory_.load<u64>(page(1) - 8), ~u64{0});
  EXPECT_EQ(memory_.store(page(2) - 4, u64{0}), Result<void>(Error::InsufficientAccess));
  EXPECT_EQ(memory_.load<u64>(page(2) - 4).error(), Error::NotMapped);
}

// The guest stores at the same time, so each aligned value is one access.
template <class T>
void never_torn(ArenaHal<>& hal, GuestMemory<AddressSpace<Ept, ArenaHal<>>>& memory, Hpa host,
                Gpa at) {
  T* guest = reinterpret_cast<T*>(hal.phys_to_virt(host).value());
  std::atomic<bool> started{false};
  std::atomic<bool> stop{false};
  std::thread other([&] {
    for (T value = 0; !stop.load(std::memory_order_relaxed); value = static_cast<T>(~value)) {
      __atomic_store_n(guest, value, __ATOMIC_RELAXED);
      started.store(true, std::memory_order_relaxed);
    }
  });
  while (!started.load()) std::this_thread::yield();
  unsigned torn = 0;
  for (unsigned n = 0; n < 100'000; ++n) {
    const T found = *memory.load<T>(at);
    torn += found != 0 && found != static_cast<T>(~T{0});
  }
  stop = true;
  other.join();
  EXPECT_EQ(torn, 0u);
}
TEST_F(GuestMemoryTest, an_aligned_value_is_never_torn) {
  map(0, 1, kRw);
  ASSERT_TRUE(memory_.store(page(0), u64{0}));
  const Hpa host_page = *space_.translate(page(0));
  never_torn<u64>(hal_, memory_, host_page, page(0));
  never_torn<u32>(hal_, memory_, host_page + 8, page(0) + 8);
  never_torn<u32>(hal_, memory_, host_page + 20, page(0) + 20);
  never_torn<u16>(hal_, memory_, host_page + 24, page(0) + 24);
  never_torn<u16>(hal_, memory_, host_page + 34, page(0) + 34);
}

TEST_F(GuestMemoryTest, bytes_beside_a_transfer_are_never_touched) {
  map(0, 2, kRw);
  for (u64 from = 0; from < 16; ++from) {
    for (u64 size = 1; size <= 24; ++size) {
      write(page(0), std::vector<u8>(64, 0xee));
      write(page(0) + 8 + from, std::vector<u8>(size, 0x11));
      const std::vector<u8> found = read(page(0), 64);
      for (u64 n = 0; n < 64; ++n) {
        const bool inside = n >= 8 + from && n < 8 + from + size;
        ASSERT_EQ(found[n], inside ? 0x11 : 0xee) << from << ' ' << size << ' ' << n;
      }
    }
  }
}

struct PublishingHal : ArenaHal<> {
  using ArenaHal<>::ArenaHal;
  void publish(Hpa start, u64 bytes) { published.push_back(*HpaRange::make(start, bytes)); }
  std::vector<HpaRange> published;
};

TEST(GuestMemoryPublish, makes_the_pages_behind_a_range_visible_to_a_guest_without_caches) {
  PublishingHal hal(64);
  using Space = AddressSpace<Ept, PublishingHal>;
  Space space = *Space::create(hal, *Ept::geometry(4), *GpaRange::make(Gpa(0), kMiB));
  GuestMemory<Space> memory(space);
  ASSERT_TRUE(space.map_alloc(Gpa(0), 2 * kPage, kRo, Backend::lazy()));
  const Transfer done = memory.publish(Gpa(kPage - 16), 32 + kPage);
  EXPECT_EQ(done.bytes, 16 + kPage);
  EXPECT_EQ(done.status, Error::NotMapped);
  const Hpa first = *space.translate(Gpa(0));
  const Hpa second = *space.translate(Gpa(kPage));
  const auto range = [](Hpa at, u64 bytes) { return *HpaRange::make(at, bytes); };
  // Each page as it is backed with zeros, then what was asked for of it.
  EXPECT_EQ(hal.published,
            (std::vector<HpaRange>{range(first, kPage), range(first + (kPage - 16), 16),
                                   range(second, kPage), range(second, kPage)}));
}

// A guest that names a device's registers as a buffer would have the host read and write them.
TEST_F(GuestMemoryTest, device_memory_is_neither_read_nor_written) {
  map(0, 1, kRw);
  for (const MemoryType type : {MemoryType::Device, MemoryType::Uncached}) {
    const Gpa at = page(type == MemoryType::Device ? 1 : 2);
    ASSERT_TRUE(space_.map_alloc(at, kPage, {kRead | kWrite, type}, Backend::eager()));
  }
  const u8 bytes[8] = {};
  const Transfer across = memory_.write(page(1) - 4, bytes, sizeof(bytes));
  EXPECT_EQ(across.bytes, 4u);
  EXPECT_EQ(across.status, Error::InsufficientAccess);
  EXPECT_EQ(memory_.load<u32>(page(1)), Error::InsufficientAccess);
  EXPECT_EQ(memory_.store(page(1), u32{1}), Error::InsufficientAccess);
  EXPECT_TRUE(memory_.load<u32>(page(2))) << "memory, if uncached";
}

// The dirty log -----------------------------------------------------------------------------------

class GuestMemoryLog : public GuestMemoryTest, public ::testing::WithParamInterface<DirtyTracking> {
 protected:
  GuestMemoryLog() {
    // The machine must have accessed and dirty flags before the space is made.
    Capabilities machine = hal_.capabilities();
    machine.hardware_dirty = true;
    logged_hal_.set_capabilities(machine);
  }
  std::vector<GpaRange> harvest(Space& space) {
    std::vector<GpaRange> found;
    EXPECT_TRUE(
        space.harvest_dirty_log(space.range(), [&](GpaRange run) { found.push_back(run); }));
    return found;
  }
  ArenaHal<> logged_hal_{1024};
};

TEST_P(GuestMemoryLog, writes_on_behalf_of_the_guest_reach_the_log_and_reads_do_not) {
  Space space = *Space::create(logged_hal_, *Ept::geometry(4), *GpaRange::make(kStart, kMiB));
  GuestMemory<Space> memory(space);
  ASSERT_TRUE(space.map_alloc(page(0), 8 * kPage, kRw, Backend::eager()));
  ASSERT_TRUE(space.start_dirty_log(GetParam()));
  ASSERT_TRUE(memory.load<u64>(page(1)));
  EXPECT_EQ(harvest(space), std::vector<GpaRange>());
  ASSERT_TRUE(memory.store(page(3) - 4, u64{5}));  // the last bytes of page 2, the first of 3
  EXPECT_EQ(harvest(space), std::vector<GpaRange>{*GpaRange::make(page(2), 2 * kPage)});
  EXPECT_EQ(harvest(space), std::vector<GpaRange>());
  ASSERT_TRUE(memory.store(page(2), u64{6}));
  EXPECT_EQ(harvest(space), std::vector<GpaRange>{*GpaRange::make(page(2), kPage)});
  EXPECT_EQ(*memory.load<u64>(page(2)), 6u);
}
INSTANTIATE_TEST_SUITE_P(Methods, GuestMemoryLog,
                         ::testing::Values(DirtyTracking::WriteProtection,
                                           DirtyTracking::Hardware));

}  // namespace
}  // namespace nestwalk::addrspace::guest_memory_test
