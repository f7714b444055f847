// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/systemc/memory_hierarchy.hpp"

namespace nestwalk::systemc {

MemoryHierarchy::MemoryHierarchy(const sc_core::sc_module_name& name,
                                 const models::MachineShape& shape, u64 host_bytes)
    : sc_module(name),
      time("time"),
      memory("memory", shape.line_bytes),
      shape_(shape),
      host_memory_(host_bytes, models::Hpa(shape.memory_base)) {
  SC_METHOD(send);
  sensitive << memory.due();
  dont_initialize();
}

// Made when it is first asked for: ports are bound by then, in whichever order modules elaborate.
models::MemoryHierarchy& MemoryHierarchy::hierarchy() {
  if (!hierarchy_) {
    hierarchy_.emplace(time->wheel(), shape_.memory, shape_.line_bytes, shape_.clock());
    caches_.emplace(*hierarchy_, shape_);
    if (memory.size() != 0) {
      memory.begin(*time[0]);
      hierarchy_->use(memory);
      host_memory_.keep_bytes_in(memory);
    }
  }
  return *hierarchy_;
}

models::CorePaths MemoryHierarchy::add_core() {
  hierarchy();
  return caches_->add_core();
}

}  // namespace nestwalk::systemc
