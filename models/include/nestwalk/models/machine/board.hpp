// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The parts of a machine, whoever owns them: cores around one memory, on one wheel. What acts on
// several of them is given a board.
#pragma once

#include "nestwalk/models/machine/cache_tree.hpp"

namespace nestwalk::models {

class Board {
 public:
  struct Core {
    CorePaths paths;
    Mmu* mmu;
  };

  Board(Wheel& wheel, HostMemory& memory, MemoryHierarchy& hierarchy, const FenceShape& fence)
      : wheel_(wheel), memory_(memory), hierarchy_(hierarchy), fence_(fence) {}
  void add(const Core& core) { cores_.push_back(core); }

  Wheel& wheel() { return wheel_; }
  HostMemory& memory() { return memory_; }
  MemoryHierarchy& hierarchy() { return hierarchy_; }
  Tags& tags() { return tags_; }
  const FenceShape& fence() const { return fence_; }
  u32 cores() const { return static_cast<u32>(cores_.size()); }
  Core& core(u32 n) { return cores_[n]; }

 private:
  Wheel& wheel_;
  HostMemory& memory_;
  MemoryHierarchy& hierarchy_;
  FenceShape fence_;
  Tags tags_;
  std::vector<Core> cores_;
};

}  // namespace nestwalk::models
