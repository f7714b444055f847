// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The cores of a shape around one memory, on one wheel.
#pragma once

#include "nestwalk/models/machine_shape.hpp"

namespace nestwalk::models {

class Machine {
 public:
  Machine(const MachineShape& shape, u64 host_bytes);

  struct Core {
    MemoryHierarchy::PathId fetches;
    MemoryHierarchy::PathId data;
    MemoryHierarchy::PathId walks;
    std::unique_ptr<Mmu> mmu;
  };

  Wheel& wheel() { return wheel_; }
  HostMemory& memory() { return memory_; }
  MemoryHierarchy& hierarchy() { return hierarchy_; }
  Tags& tags() { return tags_; }
  u32 cores() const { return static_cast<u32>(cores_.size()); }
  Core& core(u32 n) { return cores_[n]; }
  const MachineShape& shape() const { return shape_; }

 private:
  void add_core();

  MachineShape shape_;
  Wheel wheel_;
  HostMemory memory_;
  MemoryHierarchy hierarchy_;
  Tags tags_;
  MemoryHierarchy::PathId from_memory_;  ///< past all caches
  MemoryHierarchy::PathId from_l3_;
  std::optional<MemoryHierarchy::CacheId> l3_;
  std::vector<Core> cores_;
};

}  // namespace nestwalk::models
