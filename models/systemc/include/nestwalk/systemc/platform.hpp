// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A whole machine of modules: time, the memory hierarchy, the cores' MMUs, and fences between them.
#pragma once

#include <optional>

#include "nestwalk/models/fences/fence_unit.hpp"
#include "nestwalk/systemc/mmu.hpp"

namespace nestwalk::systemc {

class Platform final : public sc_core::sc_module {
 public:
  Timekeeper time;
  MemoryHierarchy hierarchy;
  sc_core::sc_vector<Mmu> core;

  Platform(const sc_core::sc_module_name& name, const models::MachineShape& shape, u64 host_bytes,
           const sc_core::sc_time& cycle = sc_core::sc_time(1, sc_core::SC_NS),
           Cycle lookahead = models::kNever);

  // From the end of elaboration on.
  models::Board& board() { return *board_; }
  models::FenceUnit& fences() { return *fences_; }

 private:
  void end_of_elaboration() override;

  models::FenceShape fence_;
  std::optional<models::Board> board_;
  std::optional<models::FenceUnit> fences_;
};

}  // namespace nestwalk::systemc
