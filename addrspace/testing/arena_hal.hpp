// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A Hal in user space: frames from an arena, fences recorded instead of executed.
#pragma once

#include <cstring>
#include <vector>

#include "buddy_arena.hpp"
#include "full_machine.hpp"
#include "nestwalk/addrspace/hal.hpp"

namespace nestwalk::addrspace {

/// `Input` and `Physical` are Gpa and Hpa for a hypervisor, Gva and Gpa for a guest's own tables.
template <class Input = Gpa, class PhysicalAddress = Hpa>
class ArenaHal : public HalBase<ArenaHal<Input, PhysicalAddress>, PhysicalAddress> {
 public:
  using Physical = PhysicalAddress;
  static constexpr u64 kBase = u64{1} << 32;
  static constexpr u8 kPoison = 0xaa;

  explicit ArenaHal(u64 frames, Capabilities machine = full_machine())
      : machine_(machine), arena_(frames, kBase) {}

  Result<Physical> alloc_run(unsigned order, FrameUse = {}) {
    ++allocations;
    if (allocations_left == 0) return Error::NoMemory;
    const Result<u64> start = arena_.alloc(order);
    if (!start) return start.error();
    if (allocations_left != kNoLimit) --allocations_left;
    std::memset(arena_.pointer(*start), kPoison, kFrameBytes << order);
    return Physical(*start);
  }
  void free_run(Physical start, unsigned order) {
    std::memset(arena_.pointer(start.value()), kPoison, kFrameBytes << order);
    arena_.free(start.value(), order);
    ++frees;
    if (observe_free) observe_free(context, start, order);
  }
  Hva phys_to_virt(Physical at) const {
    return Hva(reinterpret_cast<std::uintptr_t>(arena_.pointer(at.value())));
  }
  Physical virt_to_phys(Hva at) const {
    return Physical(arena_.physical(reinterpret_cast<const void*>(at.value())));
  }
  void invalidate(const Invalidation<Input>& change) {
    if (keep_invalidations) invalidations.push_back(change);
    if (observe_invalidation) observe_invalidation(context, change);
  }
  Capabilities capabilities() const { return machine_; }
  void set_capabilities(const Capabilities& machine) { machine_ = machine; }

  const BuddyArena& arena() const { return arena_; }

  /// How many more allocations succeed.
  static constexpr u64 kNoLimit = ~u64{0};
  u64 allocations_left = kNoLimit;
  u64 allocations = 0;  ///< asked for so far, failed ones included
  u64 frees = 0;

  bool keep_invalidations = true;
  std::vector<Invalidation<Input>> invalidations;

  void* context = nullptr;
  void (*observe_free)(void* context, Physical start, unsigned order) = nullptr;
  void (*observe_invalidation)(void* context, const Invalidation<Input>& change) = nullptr;

 private:
  Capabilities machine_;
  BuddyArena arena_;
};

}  // namespace nestwalk::addrspace
