// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine's Hal on simulated host memory. An observer sees all that the engine does, in order:
// what it costs and what it means is the observer's business.
#pragma once

#include "nestwalk/addrspace/hal.hpp"
#include "nestwalk/models/memory/host_memory.hpp"

namespace nestwalk::models {

using addrspace::FrameUse;
using addrspace::Gpa;
using addrspace::Gva;

/// What an observer offers; derive from it and hide what you want to see. The calls are resolved at
/// compile time.
struct IgnoreAll {
  void entry_read(u64 /*slot*/) {}
  void entry_written(u64 /*slot*/, u64 /*before*/, u64 /*after*/) {}
  void allocated(u64 /*first*/, unsigned /*order*/) {}
  void freed(u64 /*first*/, unsigned /*order*/) {}
  void zeroed(u64 /*start*/, u64 /*bytes*/) {}
  template <class Input>
  void invalidated(const addrspace::Invalidation<Input>& /*change*/) {}
};

/// For a hypervisor's tables: frames are frames of the host.
template <class Observer = IgnoreAll>
class SimHal {
 public:
  using Physical = Hpa;
  static constexpr bool kFramesComeZeroed = false;

  SimHal(HostMemory& memory, const addrspace::Capabilities& machine, Observer observer = {})
      : memory_(&memory), space_(memory.new_space()), machine_(machine), observer_(observer) {}

  Result<Hpa> alloc_frame(FrameUse use = {}) { return alloc_run(0, use); }
  void free_frame(Hpa frame) { free_run(frame, 0); }
  Result<Hpa> alloc_run(unsigned order, FrameUse use = {}) {
    const Result<Hpa> run = memory_->allocate({order, use, space_});
    if (run) observer_.allocated(run->value(), order);
    return run;
  }
  void free_run(Hpa first, unsigned order) {
    observer_.freed(first.value(), order);
    memory_->free(first, order);
  }
  void zero(Hpa start, u64 bytes) {
    observer_.zeroed(start.value(), bytes);
    memory_->zero(start, bytes);
  }
  void publish(Hpa, u64) {}  // the model's caches are coherent with its walkers

  Hva phys_to_virt(Hpa at) const { return memory_->pointer(at); }
  Hpa virt_to_phys(Hva at) const { return memory_->physical(at); }

  u64 read_entry(Hpa slot) const {
    observer_.entry_read(slot.value());
    return memory_->load(slot);
  }
  void write_entry(Hpa slot, u64 entry) {
    observer_.entry_written(slot.value(), memory_->load(slot), entry);
    memory_->store(slot, entry);
  }
  bool compare_exchange_entry(Hpa slot, u64 expected, u64 desired) {
    observer_.entry_read(slot.value());
    if (memory_->load(slot) != expected) return false;
    write_entry(slot, desired);
    return true;
  }
  void invalidate(const addrspace::Invalidation<Gpa>& change) { observer_.invalidated(change); }
  addrspace::Capabilities capabilities() const { return machine_; }

  Observer& observer() const { return observer_; }
  HostMemory& memory() const { return *memory_; }
  /// Names the address space to the memory.
  u64 space() const { return space_; }

 private:
  HostMemory* memory_;
  u64 space_;
  addrspace::Capabilities machine_;
  mutable Observer observer_;
};

}  // namespace nestwalk::models
