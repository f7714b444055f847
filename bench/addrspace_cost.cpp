// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Operations of the engine, each in a function that check_instructions.py finds by its name. Each
// is run twice, the second time where something was mapped before.

#include <cstdlib>

#include "bench_hal.hpp"
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::bench {

constexpr u64 kPages = 8192;  // of tables of pages: 16
constexpr u64 kBytes = kPages * kFrameBytes;
constexpr Gpa kStart(u64{1} << 30);
constexpr Hpa kTarget((u64{1} << 36) + kFrameBytes);  // not aligned to 2 MiB: pages only
constexpr MappingFlags kRw{kRead | kWrite};

template <class Format>
using SpaceOf = AddressSpace<Format, BenchHal<typename Format::Extension, true>>;
using Space = SpaceOf<Ept>;

inline void require(bool done) {
  if (!done) std::abort();
}

template <class Any>
void fault_all(Any& space) {
  for (u64 page = 0; page < kPages; ++page) {
    require(space.handle_fault(kStart + page * kFrameBytes, kWrite) == FaultOutcome::Mapped);
  }
}

extern "C" {
[[gnu::noinline]] void cost_of_eager_populate(Space& space) {
  require(space.map_alloc(kStart, kBytes, kRw, Backend::eager()).ok());
}
[[gnu::noinline]] void cost_of_linear_4k(Space& space) {
  require(space.map_linear(kStart, kTarget, kBytes, kRw).ok());
}
[[gnu::noinline]] void cost_of_linear_32_gib(Space& space) {
  require(space.map_linear(kStart, Hpa(u64{1} << 36), 32 * kGiB, kRw).ok());
}
[[gnu::noinline]] void cost_of_lazy_map(Space& space) {
  require(space.map_alloc(kStart, kBytes, kRw, Backend::lazy()).ok());
}
[[gnu::noinline]] void cost_of_lazy_faults(Space& space) { fault_all(space); }
[[gnu::noinline]] void cost_of_lazy_faults_svm(SpaceOf<Npt>& space) { fault_all(space); }
[[gnu::noinline]] void cost_of_lazy_faults_aarch64(SpaceOf<Stage2<Granule::k4K>>& space) {
  fault_all(space);
}
[[gnu::noinline]] void cost_of_lazy_faults_riscv64(SpaceOf<GStage>& space) { fault_all(space); }
[[gnu::noinline]] u64 cost_of_translate(const Space& space) {
  u64 sum = 0;
  // Each table after the other, so that none is the last one's.
  for (u64 page = 0; page < kPages; ++page) {
    const u64 scattered = page * 513 % kPages;
    const Result<Hpa> found = space.translate(kStart + scattered * kFrameBytes);
    require(found.ok());
    sum += found->value();
  }
  return sum;
}
[[gnu::noinline]] void cost_of_protect(Space& space) {
  require(space.protect(kStart, kBytes, {kRead}).ok());
}
[[gnu::noinline]] void cost_of_unmap_eager(Space& space) {
  require(space.unmap(kStart, kBytes).ok());
}
[[gnu::noinline]] void cost_of_unmap_linear_4k(Space& space) {
  require(space.unmap(kStart, kBytes).ok());
}
}

template <class Format, class Do>
void in_a_space(const Geometry& shape, Do&& what) {
  constexpr u64 kFrames = 4 * kPages;
  BenchHal<typename Format::Extension, true> hal(kFrames);
  auto space = *SpaceOf<Format>::create(hal, shape, *GpaRange::make(Gpa(0), u64{1} << 47), 1);
  for (int turn = 0; turn < 2; ++turn) what(space);
}

void run_all() {
  u64 sum = 0;
  in_a_space<Ept>(*Ept::geometry(4), [&](Space& space) {
    cost_of_eager_populate(space);
    sum += cost_of_translate(space);
    cost_of_protect(space);
    cost_of_unmap_eager(space);
  });
  in_a_space<Ept>(*Ept::geometry(4), [](Space& space) {
    cost_of_linear_4k(space);
    cost_of_unmap_linear_4k(space);
    cost_of_linear_32_gib(space);
    space.clear();
    cost_of_lazy_map(space);
    cost_of_lazy_faults(space);
    space.clear();
  });
  const auto lazily = [](auto& space) {
    require(space.map_alloc(kStart, kBytes, kRw, Backend::lazy()).ok());
  };
  in_a_space<Npt>(*Npt::geometry(4), [&](auto& space) {
    lazily(space);
    cost_of_lazy_faults_svm(space);
    space.clear();
  });
  in_a_space<Stage2<Granule::k4K>>(*Stage2<Granule::k4K>::geometry(48), [&](auto& space) {
    lazily(space);
    cost_of_lazy_faults_aarch64(space);
    space.clear();
  });
  in_a_space<GStage>(*GStage::geometry(4), [&](auto& space) {
    lazily(space);
    cost_of_lazy_faults_riscv64(space);
    space.clear();
  });
  require(sum != 0);
}

}  // namespace nestwalk::bench

int main() { nestwalk::bench::run_all(); }
