// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Readers that translate while one thread adds, as address_space.hpp allows: they see nothing yet,
// or the right answer. (Built with -fsanitize=thread, this is a race detector's test as well.)
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::addrspace::concurrency_test {
namespace {

constexpr MappingFlags kRw{kRead | kWrite};
constexpr u64 kPage = 4 * kKiB;
constexpr unsigned kReaders = 2;
// So that tables are made all the time: pages spread over many of them.
constexpr u64 kStride = 2 * kMiB / 4 + kPage;
#if defined(NESTWALK_SANITIZED) || defined(__SANITIZE_THREAD__)
constexpr u64 kPages = 1'000;
#else
constexpr u64 kPages = 4'000;
#endif
constexpr u64 kLazyStart = 64 * kGiB;
constexpr u64 kLazyBytes = 64 * kGiB;
constexpr u64 kLinearStart = kGiB;
constexpr u64 kLinearTo = 8 * kGiB;

/// Takes its time after each entry, so that whatever may be seen in between is seen.
class SlowHal : public HalBase<SlowHal> {
 public:
  SlowHal() : hal_(1u << 16) { hal_.keep_invalidations = false; }
  Result<Hpa> alloc_run(unsigned order, FrameUse) { return hal_.alloc_run(order); }
  void free_run(Hpa start, unsigned order) { hal_.free_run(start, order); }
  Hva phys_to_virt(Hpa at) const { return hal_.phys_to_virt(at); }
  Hpa virt_to_phys(Hva at) const { return hal_.virt_to_phys(at); }
  void invalidate(const Invalidation<Gpa>& change) { hal_.invalidate(change); }
  Capabilities capabilities() const { return hal_.capabilities(); }
  void write_entry(Hpa slot, u64 entry) {
    HalBase<SlowHal>::write_entry(slot, entry);
    for (unsigned n = 0; n < 200; ++n) std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  /// Memory that the Hal handed out at some time.
  bool owns(Hpa at) const { return hal_.arena().owns(at.value()); }

 private:
  ArenaHal<> hal_;
};

template <class F>
struct Shape;
template <>
struct Shape<Ept> {
  static Geometry geometry() { return *Ept::geometry(4); }
};
template <>
struct Shape<Npt> {
  static Geometry geometry() { return *Npt::geometry(4); }
};
template <>
struct Shape<Stage2<Granule::k4K>> {
  static Geometry geometry() { return *Stage2<Granule::k4K>::geometry(40); }
};
template <>
struct Shape<GStage> {
  static Geometry geometry() { return *GStage::geometry(3); }
};

template <class F>
class Readers : public ::testing::Test {
 protected:
  using Space = AddressSpace<F, SlowHal>;

  Readers()
      : space_(*Space::create(hal_, Shape<F>::geometry(), *GpaRange::make(Gpa(0), 256 * kGiB))) {}

  static Gpa lazy_page(u64 n) { return Gpa(kLazyStart + n * kStride); }
  static Gpa linear_page(u64 n) { return Gpa(kLinearStart + n * kStride); }
  static Hpa linear_target(u64 n) { return Hpa(kLinearTo + n * kStride); }

  /// Runs `add` beside the readers. `read(n, sure)` looks at the n-th page; `sure` says that it was
  /// added before.
  template <class Add, class Read>
  void run(Add&& add, Read&& read) {
    std::atomic<u64> added{0};
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (unsigned reader = 0; reader < kReaders; ++reader) {
      threads.emplace_back([&, reader] {
        for (u64 n = reader; !stop.load(std::memory_order_relaxed); n = n * 5 + 3) {
          const u64 done = added.load(std::memory_order_acquire);
          // The newest page, and one that is old or not there yet.
          read(done % kPages, false);
          read(n % kPages, n % kPages < done);
        }
      });
    }
    // As many pages as half a second gives: how many depends on what else the machine does.
    const auto enough = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
    for (u64 n = 0; n < kPages && std::chrono::steady_clock::now() < enough; ++n) {
      add(n);
      added.store(n + 1, std::memory_order_release);
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong_.load(), 0u);
  }
  void expect(bool fine) {
    if (!fine) ++wrong_;
  }

  SlowHal hal_;
  Space space_;
  std::atomic<u64> wrong_{0};
};
using Formats = ::testing::Types<Ept, Npt, Stage2<Granule::k4K>, GStage>;
TYPED_TEST_SUITE(Readers, Formats);

TYPED_TEST(Readers, see_a_page_that_a_fault_backs_either_not_at_all_or_whole) {
  auto& space = this->space_;
  ASSERT_TRUE(space.map_alloc(Gpa(kLazyStart), kLazyBytes, kRw, Backend::lazy()));
  std::vector<std::atomic<u64>> known(kPages);
  this->run(
      [&](u64 n) {
        ASSERT_EQ(space.handle_fault(this->lazy_page(n), kWrite), FaultOutcome::Mapped);
        known[n].store(space.translate(this->lazy_page(n))->value());
      },
      [&](u64 n, bool sure) {
        const u64 expected = sure ? known[n].load() : 0;
        const Result<Hpa> found = space.translate(this->lazy_page(n) + 7);
        if (!found) return this->expect(!sure && found.error() == Error::NotMapped);
        this->expect(expected == 0 || found->value() == expected + 7);
        if (!this->hal_.owns(*found)) return this->expect(false);
        // A fresh page is zero for whoever finds it.
        const u64 word = *reinterpret_cast<const u64*>(
            this->hal_.phys_to_virt(found->aligned_down(kPage)).value());
        this->expect(word == 0);
      });
}

TYPED_TEST(Readers, see_a_linear_mapping_either_not_at_all_or_right) {
  auto& space = this->space_;
  this->run(
      [&](u64 n) {
        ASSERT_TRUE(space.map_linear(this->linear_page(n), this->linear_target(n), 3 * kPage, kRw));
      },
      [&](u64 n, bool sure) {
        const Gpa at = this->linear_page(n) + 2 * kPage + 1;
        const auto found = space.query(at);
        if (!found) return this->expect(!sure && found.error() == Error::NotMapped);
        this->expect(found->address == this->linear_target(n) + 2 * kPage + 1);
        this->expect(found->size == kPage && found->flags == kRw && !found->owned);
      });
}

TYPED_TEST(Readers, see_large_leaves_either_not_at_all_or_right) {
  auto& space = this->space_;
  constexpr u64 kLeaf = 2 * kMiB;
  const auto place = [](u64 n) { return kLinearStart + n * kLeaf; };
  this->run([&](u64 n) { ASSERT_TRUE(space.map_linear(Gpa(place(n)), Hpa(place(n)), kLeaf, kRw)); },
            [&](u64 n, bool sure) {
              const auto found = space.query(Gpa(place(n) + kLeaf - 1));
              if (!found) return this->expect(!sure && found.error() == Error::NotMapped);
              this->expect(found->address == Hpa(place(n) + kLeaf - 1) && found->size == kLeaf);
            });
}

TYPED_TEST(Readers, see_eager_pages_either_not_at_all_or_right) {
  auto& space = this->space_;
  this->run(
      [&](u64 n) {
        ASSERT_TRUE(space.map_alloc(this->linear_page(n), 2 * kPage, kRw, Backend::eager()));
      },
      [&](u64 n, bool sure) {
        const auto found = space.query(this->linear_page(n) + kPage);
        if (!found) return this->expect(!sure && found.error() == Error::NotMapped);
        this->expect(found->owned && found->size == kPage && found->flags == kRw);
      });
}

TYPED_TEST(Readers, find_the_pages_around_a_fault) {
  auto& space = this->space_;
  ASSERT_TRUE(space.map_alloc(Gpa(kLazyStart), kLazyBytes, kRw, Backend::lazy(1)));
  this->run(
      [&](u64 n) {
        ASSERT_EQ(space.handle_fault(this->lazy_page(n), kRead), FaultOutcome::Mapped);
      },
      [&](u64 n, bool sure) {
        const Gpa neighbour(this->lazy_page(n).value() ^ kPage);
        const auto found = space.query(neighbour);
        if (!found) return this->expect(!sure && found.error() == Error::NotMapped);
        this->expect(found->owned && found->size == kPage);
      });
}

}  // namespace
}  // namespace nestwalk::addrspace::concurrency_test
