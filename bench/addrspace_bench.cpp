// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine, operation by operation, on 65,536 pages. Times are per page (the item of each
// benchmark), except where a name says "whole".
//
// What takes well under a microsecond is done to 64 spaces in turn, or the clock would be measured.
//
// Frames come zeroed unless the name says "zeroing": what memset costs is the machine's figure, not
// the engine's. Fences are emitted by the precise policy and counted, not executed.

#include <benchmark/benchmark.h>

#include <chrono>
#include <memory>
#include <random>
#include <utility>

#include "bench_hal.hpp"
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::bench {
namespace {

constexpr u64 kPages = 65536;
constexpr u64 kBytes = kPages * kFrameBytes;
constexpr Gpa kStart(u64{1} << 30);
constexpr Hpa kTarget((u64{1} << 36) + kFrameBytes);  // not aligned to 2 MiB: pages only
constexpr MappingFlags kRw{kRead | kWrite};

struct X86 {
  using F = Ept;
  static Geometry geometry() { return *Ept::geometry(4); }
};
struct Svm {
  using F = Npt;
  static Geometry geometry() { return *Npt::geometry(4); }
};
struct Arm {
  using F = Stage2<Granule::k4K>;
  static Geometry geometry() { return *F::geometry(48); }
};
struct RiscV {
  using F = GStage;
  static Geometry geometry() { return *GStage::geometry(4); }
};

template <class Machine, bool kZeroed = true>
class Fixture {
 public:
  using F = typename Machine::F;
  using Hal = BenchHal<typename F::Extension, kZeroed>;
  using Space = AddressSpace<F, Hal>;

  explicit Fixture(u64 spaces = 1) : hal_(kPages + 4096), spaces_(spaces) { renew(); }

  Space& space() { return *spaces_.front(); }
  template <class Do>
  void for_each_space(Do&& what) {
    for (std::unique_ptr<Space>& space : spaces_) what(*space);
  }
  void renew() {
    for (std::unique_ptr<Space>& space : spaces_) space.reset();
    hal_.recycle();
    for (std::unique_ptr<Space>& space : spaces_) space = make();
  }

 private:
  std::unique_ptr<Space> make() {
    const GpaRange all = *GpaRange::make(Gpa(0), u64{1} << 47);
    return std::make_unique<Space>(std::move(*Space::create(hal_, Machine::geometry(), all, 1)));
  }

  Hal hal_;
  std::vector<std::unique_ptr<Space>> spaces_;
};

void require(bool done) {
  if (!done) std::abort();
}

template <class Body>
void time_once(benchmark::State& state, Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  const auto stop = std::chrono::steady_clock::now();
  state.SetIterationTime(std::chrono::duration<double>(stop - start).count());
}

void count_items(benchmark::State& state, u64 items) {
  state.SetItemsProcessed(static_cast<std::int64_t>(items) * state.iterations());
  using benchmark::Counter;
  state.counters["per_item"] =
      Counter(static_cast<double>(items), Counter::kIsIterationInvariantRate | Counter::kInvert);
}

/// `prepare(space)` untimed, `body(space)` timed, on fresh spaces each time.
template <class Machine, bool kZeroed = true, class Prepare, class Body>
void measure(benchmark::State& state, u64 items, Prepare&& prepare, Body&& body, u64 spaces = 1) {
  Fixture<Machine, kZeroed> fixture(spaces);
  for (auto _ : state) {
    fixture.renew();
    fixture.for_each_space(prepare);
    time_once(state, [&] { fixture.for_each_space(body); });
  }
  count_items(state, items * spaces);
}
constexpr u64 kManySpaces = 64;

const auto kNothing = [](auto&) {};

const auto kMapEager = [](auto& space) {
  require(space.map_alloc(kStart, kBytes, kRw, Backend::eager()).ok());
};
const auto kMapLazy = [](auto& space) {
  require(space.map_alloc(kStart, kBytes, kRw, Backend::lazy()).ok());
};
const auto kMapLinear4K = [](auto& space) {
  require(space.map_linear(kStart, kTarget, kBytes, kRw).ok());
};
const auto kFaultAll = [](auto& space) {
  for (u64 page = 0; page < kPages; ++page) {
    require(space.handle_fault(kStart + page * kFrameBytes, kWrite) == FaultOutcome::Mapped);
  }
};

template <class Machine>
void eager_populate(benchmark::State& state) {
  measure<Machine>(state, kPages, kNothing, kMapEager);
}
template <class Machine>
void eager_populate_zeroing(benchmark::State& state) {
  measure<Machine, false>(state, kPages, kNothing, kMapEager);
}
template <class Machine>
void lazy_map_whole(benchmark::State& state) {
  measure<Machine>(state, 1, kNothing, kMapLazy, kManySpaces);
}
template <class Machine>
void lazy_fault(benchmark::State& state) {
  measure<Machine>(state, kPages, kMapLazy, kFaultAll);
}
template <class Machine>
void lazy_fault_around_16(benchmark::State& state) {
  measure<Machine>(
      state, kPages,
      [](auto& space) { require(space.map_alloc(kStart, kBytes, kRw, Backend::lazy(4)).ok()); },
      [](auto& space) {
        for (u64 page = 0; page < kPages; page += 16) {
          (void)space.handle_fault(kStart + page * kFrameBytes, kWrite);
        }
      });
}
template <class Machine>
void linear_4k(benchmark::State& state) {
  measure<Machine>(state, kPages, kNothing, kMapLinear4K);
}
template <class Machine>
void linear_huge_32g_whole(benchmark::State& state) {
  measure<Machine>(
      state, 1, kNothing,
      [](auto& space) {
        require(space.map_linear(kStart, Hpa(u64{1} << 36), 32 * kGiB, kRw).ok());
      },
      kManySpaces);
}
template <class Machine>
void unmap_eager(benchmark::State& state) {
  measure<Machine>(state, kPages, kMapEager,
                   [](auto& space) { require(space.unmap(kStart, kBytes).ok()); });
}
template <class Machine>
void unmap_linear_4k(benchmark::State& state) {
  measure<Machine>(state, kPages, kMapLinear4K,
                   [](auto& space) { require(space.unmap(kStart, kBytes).ok()); });
}
template <class Machine>
void protect(benchmark::State& state) {
  measure<Machine>(state, kPages, kMapEager,
                   [](auto& space) { require(space.protect(kStart, kBytes, {kRead}).ok()); });
}
template <class Machine>
void split_2m(benchmark::State& state) {
  constexpr u64 kLeaves = 512;
  measure<Machine>(
      state, kLeaves,
      [](auto& space) {
        require(space.map_linear(kStart, Hpa(u64{1} << 36), kLeaves * 2 * kMiB, kRw).ok());
        // Cut off from their 1 GiB leaf beforehand: what is timed is 2 MiB to 4 KiB.
        require(space.protect(kStart, 2 * kMiB, {kRead}).ok());
      },
      [](auto& space) {
        for (u64 n = 0; n < kLeaves; ++n) {
          require(space.unmap(kStart + n * 2 * kMiB + kMiB, kFrameBytes).ok());
        }
      });
}
template <class Machine>
void dirty_harvest(benchmark::State& state) {
  measure<Machine>(
      state, kPages,
      [](auto& space) {
        kMapLazy(space);
        require(space.start_dirty_log(DirtyTracking::WriteProtection).ok());
        kFaultAll(space);
      },
      [](auto& space) {
        u64 bytes = 0;
        require(space.harvest_dirty_log(space.range(), [&](GpaRange run) { bytes += run.size(); })
                    .ok());
        require(bytes == kBytes);
      });
}

// Where random translations go.
std::vector<Gpa> random_addresses() {
  std::mt19937_64 random(1);
  std::vector<Gpa> where(kPages);
  for (Gpa& at : where) at = kStart + random() % kBytes;
  return where;
}

template <class Machine>
void random_translate(benchmark::State& state) {
  Fixture<Machine> fixture;
  kMapEager(fixture.space());
  const std::vector<Gpa> where = random_addresses();
  const auto& space = fixture.space();
  for (auto _ : state) {
    time_once(state, [&] {
      u64 sum = 0;
      for (const Gpa at : where) {
        const Result<Hpa> found = space.translate(at);
        require(found.ok());
        sum += found->value();
      }
      benchmark::DoNotOptimize(sum);
    });
  }
  count_items(state, kPages);
}

// Floors: loops that do what no engine can leave out, with the same tables and the same Hal. What
// an operation takes beyond its floor is the engine's.

/// The tables of pages of the space, one for each `kTableBytes`.
constexpr u64 kTableBytes = 2 * kMiB;
template <class Space>
std::vector<Hpa> tables_of_pages(const Space& space) {
  std::vector<Hpa> tables;
  for (Gpa at = kStart; at < kStart + kBytes; at += kTableBytes) {
    tables.push_back(space.page_table().entry(at)->slot);
  }
  return tables;
}

/// A translation: which table, which entry.
template <class Machine>
void floor_of_translate(benchmark::State& state) {
  using F = typename Machine::F;
  Fixture<Machine> fixture;
  kMapEager(fixture.space());
  const auto& hal = fixture.space().page_table().hal();
  const std::vector<Hpa> tables = tables_of_pages(fixture.space());
  const std::vector<Gpa> where = random_addresses();
  for (auto _ : state) {
    time_once(state, [&] {
      u64 sum = 0;
      for (const Gpa at : where) {
        const Hpa table = tables[(at - kStart) / kTableBytes];
        const u64 entry = hal.read_entry(table + at.offset_in(kTableBytes) / kFrameBytes * 8);
        require(F::is_valid(entry, 0));
        sum += F::address(entry, 0).value() + at.offset_in(kFrameBytes);
      }
      benchmark::DoNotOptimize(sum);
    });
  }
  count_items(state, kPages);
}

/// An unmapping: each entry read, each frame given back.
template <class Machine>
void floor_of_unmap_eager(benchmark::State& state) {
  using F = typename Machine::F;
  Fixture<Machine> fixture;
  for (auto _ : state) {
    fixture.renew();
    kMapEager(fixture.space());
    auto& hal = fixture.space().page_table().hal();
    const std::vector<Hpa> tables = tables_of_pages(fixture.space());
    time_once(state, [&] {
      for (const Hpa table : tables) {
        for (u64 n = 0; n < kTableBytes / kFrameBytes; ++n) {
          const u64 entry = hal.read_entry(table + n * sizeof(u64));
          if ((entry & F::kOwned) != 0) hal.free_frame(F::address(entry, 0));
        }
      }
    });
    // They were given back, so nobody may do so again.
    for (const Hpa table : tables) hal.zero(table, kFrameBytes);
  }
  count_items(state, kPages);
}

/// Eager populate, and a fault: a frame taken, an entry stored.
template <class Machine>
void floor_of_populate(benchmark::State& state) {
  using F = typename Machine::F;
  Fixture<Machine> fixture;
  for (auto _ : state) {
    fixture.renew();
    auto& hal = fixture.space().page_table().hal();
    time_once(state, [&] {
      for (u64 table = 0; table < kBytes / kTableBytes; ++table) {
        const Hpa slots = *hal.alloc_frame();
        for (u64 n = 0; n < kTableBytes / kFrameBytes; ++n) {
          const Result<Hpa> frame = hal.alloc_frame();
          require(frame.ok());
          hal.write_entry(slots + n * sizeof(u64), F::address_bits(*frame) | F::kOwned);
        }
      }
    });
  }
  count_items(state, kPages);
}

#define NESTWALK_BENCH(name)                                            \
  BENCHMARK(name<X86>)->UseManualTime()->Unit(benchmark::kMicrosecond); \
  BENCHMARK(name<Svm>)->UseManualTime()->Unit(benchmark::kMicrosecond); \
  BENCHMARK(name<Arm>)->UseManualTime()->Unit(benchmark::kMicrosecond); \
  BENCHMARK(name<RiscV>)->UseManualTime()->Unit(benchmark::kMicrosecond)

NESTWALK_BENCH(eager_populate);
NESTWALK_BENCH(eager_populate_zeroing);
NESTWALK_BENCH(lazy_map_whole);
NESTWALK_BENCH(lazy_fault);
NESTWALK_BENCH(lazy_fault_around_16);
NESTWALK_BENCH(random_translate);
NESTWALK_BENCH(unmap_eager);
NESTWALK_BENCH(unmap_linear_4k);
NESTWALK_BENCH(linear_4k);
NESTWALK_BENCH(linear_huge_32g_whole);
NESTWALK_BENCH(protect);
NESTWALK_BENCH(split_2m);
NESTWALK_BENCH(dirty_harvest);
NESTWALK_BENCH(floor_of_populate);
NESTWALK_BENCH(floor_of_translate);
NESTWALK_BENCH(floor_of_unmap_eager);

}  // namespace
}  // namespace nestwalk::bench
