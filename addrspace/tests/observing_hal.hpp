// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// An ArenaHal that tells an observer everything that the engine does, in one order: entries
// stored, frames taken and given back, invalidations. And the nested formats that typed tests
// cover.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <utility>
#include <vector>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/fence.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::addrspace {

struct Event {
  enum class Kind : u8 { Store, Alloc, Free, Invalidate };
  Kind kind;
  Hpa at{};                                         ///< the slot, or the first frame
  u64 before = 0;                                   ///< a store: the entry that it replaced
  u64 after = 0;                                    ///< a store: the new entry
  u64 order = 0;                                    ///< Alloc and Free: log2 of the frames
  FrameUse use{};                                   ///< Alloc: what for
  const Invalidation<Gpa>* invalidation = nullptr;  ///< only while the observer runs
};

class ObservingHal : public ArenaHal<> {
 public:
  explicit ObservingHal(u64 frames = u64{1} << 15, Capabilities machine = full_machine())
      : ArenaHal<>(frames, machine) {}

  Result<Hpa> alloc_frame(FrameUse use = {}) { return alloc_run(0, use); }
  void free_frame(Hpa frame) { free_run(frame, 0); }
  Result<Hpa> alloc_run(unsigned order, FrameUse use = {}) {
    const Result<Hpa> run = ArenaHal<>::alloc_run(order);
    if (run) tell({.kind = Event::Kind::Alloc, .at = *run, .order = order, .use = use});
    return run;
  }
  /// Told before the frames are poisoned.
  void free_run(Hpa start, unsigned order) {
    tell({.kind = Event::Kind::Free, .at = start, .order = order});
    ArenaHal<>::free_run(start, order);
  }
  void write_entry(Hpa slot, u64 entry) {
    const u64 before = read_entry(slot);
    ArenaHal<>::write_entry(slot, entry);
    tell({.kind = Event::Kind::Store, .at = slot, .before = before, .after = entry});
  }
  /// `before_exchange` stands for what another observer of the memory, the hardware's walker, does
  /// between the engine's load and its exchange.
  bool compare_exchange_entry(Hpa slot, u64 expected, u64 desired) {
    if (before_exchange) before_exchange(slot);
    if (!ArenaHal<>::compare_exchange_entry(slot, expected, desired)) return false;
    tell({.kind = Event::Kind::Store, .at = slot, .before = expected, .after = desired});
    return true;
  }
  void invalidate(const Invalidation<Gpa>& change) {
    ArenaHal<>::invalidate(change);
    tell({.kind = Event::Kind::Invalidate, .invalidation = &change});
  }

  /// What the hardware or a guest does to memory: nobody is told.
  void poke(Hpa slot, u64 entry) { ArenaHal<>::write_entry(slot, entry); }

  /// Keeps the events from now on.
  void record() {
    events.clear();
    recording = true;
  }

  bool recording = false;
  std::vector<Event> events;
  std::function<void(const Event&)> observer;
  std::function<void(Hpa slot)> before_exchange;

 private:
  void tell(const Event& event) {
    if (recording) {
      events.push_back(event);
      events.back().invalidation = nullptr;
    }
    if (observer) observer(event);
  }
};

// The engine over it, compiled once for all tests: observing_hal.cpp.
extern template class AddressSpace<Ept, ObservingHal>;
extern template class AddressSpace<Npt, ObservingHal>;
extern template class AddressSpace<Stage2<Granule::k4K>, ObservingHal>;
extern template class AddressSpace<GStage, ObservingHal>;
extern template class PageTable<Ept, ObservingHal>;
extern template class PageTable<Npt, ObservingHal>;
extern template class PageTable<Stage2<Granule::k4K>, ObservingHal>;
extern template class PageTable<GStage, ObservingHal>;

/// The instructions that one invalidation becomes.
template <class Extension>
std::vector<Fence> fences_of(const FencePolicy& policy, const Capabilities& machine,
                             const Invalidation<Gpa>& change) {
  std::vector<Fence> fences;
  emit_fences<Extension>(policy, machine, change,
                         [&](const Fence& fence) { fences.push_back(fence); });
  return fences;
}

/// Where the hardware ends up when it walks the tables: no areas, no shortcuts.
template <class F>
struct HardwareWalk {
  u64 entry;
  unsigned level;
  bool translates;
  Hpa to;
};
template <class F>
HardwareWalk<F> hardware_walk(const ArenaHal<>& memory, const Geometry& shape, Hpa root, Gpa at) {
  Hpa table = root;
  for (unsigned level = shape.root_level();; --level) {
    u64 index = at.value() >> shape.shift(level);
    index &= low_mask(level == shape.root_level() ? shape.root_index_bits : shape.index_bits);
    const u64 entry = memory.read_entry(table + index * sizeof(u64));
    if (!F::is_valid(entry, level)) return {entry, level, false, Hpa(0)};
    if (!F::is_table(entry, level)) {
      return {entry, level, true, F::address(entry, level) + at.offset_in(shape.leaf_bytes(level))};
    }
    table = F::address(entry, level);
  }
}

// The nested formats ----------------------------------------------------------------------------

struct EptFourLevels {
  using Format = Ept;
  static Geometry geometry() { return *Ept::geometry(4); }
};
struct NptFourLevels {
  using Format = Npt;
  static Geometry geometry() { return *Npt::geometry(4); }
};
struct Stage2Of40Bits {
  using Format = Stage2<Granule::k4K>;
  static Geometry geometry() { return *Format::geometry(40); }
};
struct Stage2Of48Bits {
  using Format = Stage2<Granule::k4K>;
  static Geometry geometry() { return *Format::geometry(48); }
};
struct Sv39x4 {
  using Format = GStage;
  static Geometry geometry() { return *GStage::geometry(3); }
};
struct Sv48x4 {
  using Format = GStage;
  static Geometry geometry() { return *GStage::geometry(4); }
};
using NestedFormats =
    ::testing::Types<EptFourLevels, NptFourLevels, Stage2Of40Bits, Stage2Of48Bits, Sv39x4, Sv48x4>;

inline constexpr u64 kPage = 4 * kKiB;
inline constexpr MappingFlags kReadOnlyMemory{kRead, MemoryType::WriteBack};
inline constexpr MappingFlags kMemory{kRead | kWrite, MemoryType::WriteBack};
inline constexpr MappingFlags kCode{kRwx, MemoryType::WriteBack};
inline constexpr MappingFlags kHidden{};

/// The whole guest-physical space of one format, in an arena.
template <class Shape>
struct Guest {
  using Format = typename Shape::Format;
  using Space = AddressSpace<Format, ObservingHal>;
  static constexpr u16 kVmid = 5;

  explicit Guest(const Capabilities& machine = full_machine(), u64 frames = u64{1} << 15)
      : hal(frames, machine), space(*Space::create(hal, Shape::geometry(), whole(), kVmid)) {
    hal.invalidations.clear();
  }
  static GpaRange whole() {
    return GpaRange::between(Gpa(0), Gpa(u64{1} << Shape::geometry().input_bits));
  }

  u8* bytes(Gpa at) const {
    return reinterpret_cast<u8*>(hal.phys_to_virt(*space.translate(at)).value());
  }
  /// The instructions that the operations since the last call need.
  std::vector<Fence> fences(const FencePolicy& policy = FencePolicy::Precise) {
    std::vector<Fence> all;
    for (const auto& change : hal.invalidations) {
      for (const Fence& fence :
           fences_of<typename Format::Extension>(policy, hal.capabilities(), change)) {
        all.push_back(fence);
      }
    }
    hal.invalidations.clear();
    return all;
  }
  HardwareWalk<Format> walk(Gpa at) const {
    return hardware_walk<Format>(hal, Shape::geometry(), space.config().root, at);
  }
  u64 frames_in_use() const { return hal.arena().frames_in_use(); }

  ObservingHal hal;
  Space space;
};

}  // namespace nestwalk::addrspace
