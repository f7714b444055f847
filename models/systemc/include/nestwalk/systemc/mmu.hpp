// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A core's address translation as a module: a processor model binds its fetches and its data
// accesses, at virtual addresses.
#pragma once

#include <optional>

#include "nestwalk/systemc/access_socket.hpp"
#include "nestwalk/systemc/memory_hierarchy.hpp"

namespace nestwalk::systemc {

class Mmu final : public sc_core::sc_module, private models::GrantHolder {
 public:
  AccessSocket fetch;
  AccessSocket data;
  sc_core::sc_port<TimeInterface> time;
  sc_core::sc_port<HierarchyInterface> hierarchy;

  /// `shape` is the core's part of a machine: its MMU, and the latencies of its first caches.
  Mmu(const sc_core::sc_module_name& name, const models::MachineShape& shape);

  /// The plain model; from the end of elaboration on.
  models::Mmu& core();
  const models::CorePaths& paths() const { return paths_; }

 private:
  SC_HAS_PROCESS(Mmu);
  void end_of_elaboration() override { core(); }
  void respond_to_fetches() { fetch.respond(); }
  void respond_to_data() { data.respond(); }
  void on_revoked(const models::Grant& grant) override;

  models::MachineShape shape_;
  models::CorePaths paths_;
  std::optional<models::Mmu> core_;
};

}  // namespace nestwalk::systemc
