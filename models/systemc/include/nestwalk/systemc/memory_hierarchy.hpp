// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The caches of all cores and the memory behind them, as a module. What is bound to `memory` takes
// the place of the model's own banks, and keeps the bytes.
#pragma once

#include <optional>

#include "nestwalk/models/machine/cache_tree.hpp"
#include "nestwalk/systemc/memory_socket.hpp"

namespace nestwalk::systemc {

/// What an Mmu needs of it. From the end of elaboration on.
class HierarchyInterface : public virtual sc_core::sc_interface {
 public:
  virtual models::MemoryHierarchy& hierarchy() = 0;
  virtual models::HostMemory& host_memory() = 0;
  virtual models::CorePaths add_core() = 0;
};

class MemoryHierarchy final : public sc_core::sc_module, public HierarchyInterface {
 public:
  sc_core::sc_port<TimeInterface> time;
  MemorySocket memory;

  MemoryHierarchy(const sc_core::sc_module_name& name, const models::MachineShape& shape,
                  u64 host_bytes);

  models::MemoryHierarchy& hierarchy() override;
  models::HostMemory& host_memory() override { return host_memory_; }
  models::CorePaths add_core() override;

 private:
  SC_HAS_PROCESS(MemoryHierarchy);
  void end_of_elaboration() override { hierarchy(); }
  void send() { memory.send(); }

  models::MachineShape shape_;
  models::HostMemory host_memory_;
  std::optional<models::MemoryHierarchy> hierarchy_;
  std::optional<models::CacheTree> caches_;
};

}  // namespace nestwalk::systemc
