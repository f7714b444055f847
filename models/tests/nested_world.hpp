// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A guest for the walker's tests: both stages' tables built by the engine, in host memory.
//
// Guest-physical addresses equal host addresses, so that tables can be made before they are mapped.
// What is mapped, and in which size of leaf, is the test's choice.
#pragma once

#include <optional>

#include "full_machine.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "nestwalk/machines/entry_format_of.hpp"
#include "nestwalk/models/memory/sim_hal.hpp"
#include "nestwalk/models/translation/lone_walk.hpp"

namespace nestwalk::models {

/// The guest's own Hal. Its frames are the host's, under the same address.
class GuestHal : public addrspace::HalBase<GuestHal, Gpa> {
 public:
  GuestHal(HostMemory& memory, const addrspace::Capabilities& machine)
      : memory_(&memory), machine_(machine) {}

  Result<Gpa> alloc_run(unsigned order, addrspace::FrameUse = {}) {
    const Result<Hpa> run = memory_->allocate(order);
    if (!run) return run.error();
    frames.push_back({Gpa(run->value()), order});
    return Gpa(run->value());
  }
  void free_run(Gpa first, unsigned order) { memory_->free(Hpa(first.value()), order); }
  Hva phys_to_virt(Gpa at) const { return memory_->pointer(Hpa(at.value())); }
  Gpa virt_to_phys(Hva at) const { return Gpa(memory_->physical(at).value()); }
  void invalidate(const addrspace::Invalidation<Gva>&) {}
  addrspace::Capabilities capabilities() const { return machine_; }

  struct Run {
    Gpa first;
    unsigned order;
  };
  std::vector<Run> frames;  ///< everything that was ever handed out

 private:
  HostMemory* memory_;
  addrspace::Capabilities machine_;
};

constexpr addrspace::Capabilities test_machine(Architecture architecture, bool hardware_dirty,
                                               bool svm = false) {
  addrspace::Capabilities machine = addrspace::full_machine();
  machine.leaf_levels = architecture == Architecture::X86_64 ? 0b00111 : 0b11111;
  machine.physical_bits = architecture == Architecture::RiscV64 ? 56 : 48;
  machine.hardware_dirty = hardware_dirty;
  machine.upper_bit_8_reserved = svm;
  return machine;
}

template <class G, class N>
class NestedWorld : public Actor {
 public:
  static constexpr u64 kBase = addrspace::kGiB;
  static constexpr u32 kMemoryCycles = 100;

  NestedWorld(const Geometry& guest_shape, const Geometry& nested_shape,
              const WalkerShape& shape = {}, bool hardware_dirty = false)
      : machine(test_machine(G::kArchitecture, hardware_dirty, std::is_same_v<N, addrspace::Npt>)),
        memory(addrspace::kGiB, Hpa(kBase)),
        hal(memory, machine),
        guest_hal(memory, machine),
        nested(*addrspace::PageTable<N, SimHal<>>::create(hal, nested_shape)),
        guest(*addrspace::PageTable<G, GuestHal>::create(guest_hal, guest_shape)),
        guest_format(machine),
        nested_format(machine),
        hierarchy(wheel, {.controller_ps = kMemoryCycles * 1000}, 64),
        walker(wheel, memory, hierarchy, hierarchy.add_path({}), shape) {
    regime.guest = {&guest_format, guest.geometry(), guest.root().value()};
    regime.nested = {&nested_format, nested.geometry(), nested.root().value()};
    regime.vmid = 1;
    regime = regime.tagged(tags);
  }

  void map_nested(u64 at, unsigned level, Access access = kRwx) {
    const u64 bytes = nested.geometry().leaf_bytes(level);
    const u64 start = addrspace::align_down(at, bytes);
    if (nested.query(Gpa(start))) return;
    const Result<void> mapped = nested.map(Gpa(start), Hpa(start), bytes, {access});
    check(mapped.ok(), "test", "a nested mapping", 0, start);
  }
  /// Maps what the guest's tables lie in; again after the guest mapped more.
  void map_tables(unsigned level, Access access = kRwx) {
    for (const GuestHal::Run& run : guest_hal.frames) {
      for (u64 at = 0; at < kFrameBytes << run.order; at += nested.geometry().page_bytes()) {
        map_nested(run.first.value() + at, level, access);
      }
    }
  }
  void map_guest(u64 at, u64 to, unsigned level, Access access = kRwx | kUser,
                 MemoryType type = MemoryType::WriteBack) {
    const u64 bytes = guest.geometry().leaf_bytes(level);
    const Result<void> mapped = guest.map(Gva(at), Gpa(to), bytes, {access, type});
    check(mapped.ok(), "test", "a guest mapping", 0, at);
  }

  /// Where the entry of that level is.
  template <class Table>
  u64 slot(const Table& table, u64 address, unsigned wanted) {
    u64 found = 0;
    addrspace::descend(table.geometry(), table.root().value(), address,
                       [&](u64 at, unsigned level, u64& next) {
                         found = at;
                         next = table.format().address(memory.load(Hpa(at)), level).value();
                         return level != wanted;
                       });
    return found;
  }
  /// Pages, or blocks, of which RISC-V's N bit or Arm's contiguous bit makes one translation.
  static constexpr u64 most_marked(unsigned page_shift, unsigned level) {
    if (page_shift == 14) return level == 0 ? 128 : 32;
    return page_shift == 16 ? 32 : 16;
  }
  /// Says so in the leaves of a group, whose first address is `at`.
  template <class Table>
  void mark(const Table& table, u64 at, unsigned level) {
    const Geometry& shape = table.geometry();
    for (u64 n = 0; n < most_marked(shape.page_shift, level); ++n) {
      const Hpa place(slot(table, at + n * shape.leaf_bytes(level), level));
      const u64 entry = memory.load(place);
      const u64 napot = (entry & ~(u64{15} << 10)) | u64{8} << 10 | u64{1} << 63;
      const bool riscv = G::kArchitecture == Architecture::RiscV64;
      memory.store(place, riscv ? napot : entry | u64{1} << 52);
    }
  }

  /// Walks now, alone, to the end. Read the outcome with fault(), translation() and record().
  void walk(u64 address, AccessKind access = AccessKind::Read, bool user = true) {
    const LoneWalk walk(walker, {&regime, address, access, user, false, nullptr});
    wheel.run();
    check(walk.done(), "test", "a finished walk", wheel.now(), address);
    fault = walk->fault();
    translation = walk->translation();
    record = walk->record();
  }
  void on_cycle(u32) override { done = true; }
  Cycle cycles() const { return record.end - record.begin; }

  addrspace::Capabilities machine;
  Wheel wheel;
  HostMemory memory;
  SimHal<> hal;
  GuestHal guest_hal;
  addrspace::PageTable<N, SimHal<>> nested;
  addrspace::PageTable<G, GuestHal> guest;
  EntryFormatOf<G> guest_format;
  EntryFormatOf<N> nested_format;
  MemoryHierarchy hierarchy;
  Walker walker;
  Tags tags;
  Regime regime;

  bool done = false;
  Fault fault;
  Translation translation;
  WalkRecord record;
};

}  // namespace nestwalk::models
