// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A whole machine as numbers. preset.hpp reads it from JSON, machine.hpp builds it.
#pragma once

#include <optional>
#include <string>

#include "nestwalk/models/machine/fence_shape.hpp"
#include "nestwalk/models/translation/mmu.hpp"

namespace nestwalk::models {

/// What software costs beside the memory that it touches.
struct SoftwareShape {
  u32 instructions_per_1000_cycles = 1000;  ///< of a guest whose accesses all hit
  u32 exit_cycles = 0;                      ///< from the guest into the hypervisor
  u32 entry_cycles = 0;                     ///< and back
  u32 handler_cycles = 0;                   ///< to find out what happened, before the engine runs
  u32 emulation_cycles = 0;                 ///< of an access that a device model answers
  u32 frame_cycles = 0;                     ///< to allocate or free a run of frames
  u32 zero_cycles = 0;                      ///< for 4 KiB
  u32 guest_fault_cycles = 0;               ///< the guest's own page fault handler, there and back
  u32 guest_switch_cycles = 0;              ///< the guest switches to another address space
  u32 host_switch_cycles = 0;               ///< a core of the host switches to another vCPU
};

struct MachineShape {
  std::string name;
  std::string about;
  const Extension* extension = nullptr;  ///< of virtualization; says the instruction set, too
  u32 cores = 1;
  MmuShape mmu;
  u32 line_bytes = 64;
  std::optional<DataCacheShape> l1i, l1d, l2;  ///< of each core
  std::optional<DataCacheShape> l3;            ///< shared
  Served walks_enter_at = Served::L1;  ///< where table reads look first; L1 is the data cache
  DramShape memory;
  u64 memory_base = u64{1} << 32;  ///< where it begins
  FenceShape fence;
  SoftwareShape software;
};

}  // namespace nestwalk::models
