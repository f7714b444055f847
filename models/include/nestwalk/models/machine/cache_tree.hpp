// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How the caches of a machine hang together: each core's own over the shared ones.
#pragma once

#include "nestwalk/models/machine/machine_shape.hpp"

namespace nestwalk::models {

/// Where a core's accesses enter the memory hierarchy.
struct CorePaths {
  MemoryHierarchy::PathId fetches = 0;
  MemoryHierarchy::PathId data = 0;
  MemoryHierarchy::PathId walks = 0;
};

class CacheTree {
 public:
  /// Adds the shared caches.
  CacheTree(MemoryHierarchy& hierarchy, const MachineShape& shape);
  /// Adds a core's own.
  CorePaths add_core();

 private:
  MemoryHierarchy& hierarchy_;
  MachineShape shape_;
  MemoryHierarchy::PathId from_memory_;  ///< past all caches
  MemoryHierarchy::PathId from_l3_;
  std::optional<MemoryHierarchy::CacheId> l3_;
};

}  // namespace nestwalk::models
