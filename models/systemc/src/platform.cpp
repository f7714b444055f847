// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/systemc/platform.hpp"

namespace nestwalk::systemc {

Platform::Platform(const sc_core::sc_module_name& name, const models::MachineShape& shape,
                   u64 host_bytes, const sc_core::sc_time& cycle, Cycle lookahead)
    : sc_module(name),
      time("time", cycle, lookahead),
      hierarchy("hierarchy", shape, host_bytes),
      core("core"),
      fence_(shape.fence) {
  hierarchy.time(time);
  core.init(shape.cores, [&](const char* core_name, std::size_t) {
    Mmu* const mmu = new Mmu(core_name, shape);
    mmu->time(time);
    mmu->hierarchy(hierarchy);
    return mmu;
  });
}

void Platform::end_of_elaboration() {
  board_.emplace(time.wheel(), hierarchy.host_memory(), hierarchy.hierarchy(), fence_);
  for (Mmu& mmu : core) {
    models::Mmu& plain = mmu.core();  // which gives it its paths
    board_->add({mmu.paths(), &plain});
  }
  fences_.emplace(*board_);
}

}  // namespace nestwalk::systemc
