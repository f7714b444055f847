// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/machine/machine.hpp"

namespace nestwalk::models {

detail::MachineParts::MachineParts(const MachineShape& shape, u64 host_bytes)
    : own_memory(host_bytes, Hpa(shape.memory_base)),
      own_hierarchy(own_wheel, shape.memory, shape.line_bytes, shape.clock()) {}

Machine::Machine(const MachineShape& shape, u64 host_bytes)
    : MachineParts(shape, host_bytes), Board(own_wheel, own_memory, own_hierarchy, shape.fence) {
  CacheTree caches(own_hierarchy, shape);
  for (u32 n = 0; n < shape.cores; ++n) {
    const CorePaths paths = caches.add_core();
    add({paths,
         &own_mmus.emplace_back(own_wheel, own_memory, own_hierarchy, paths.walks, shape.mmu)});
  }
}

}  // namespace nestwalk::models
