// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A whole machine as numbers. preset.hpp reads it from JSON, machine.hpp builds it.
#pragma once

#include <optional>
#include <string>

#include "nestwalk/models/machine/core_shape.hpp"
#include "nestwalk/models/machine/fence_shape.hpp"
#include "nestwalk/models/translation/mmu.hpp"

namespace nestwalk::models {

/// How frames are zeroed.
enum class Clearing : u8 { Constant, Cached, NonTemporal };
inline constexpr Word<Clearing> kClearings[] = {{"constant", Clearing::Constant},
                                                {"cached", Clearing::Cached},
                                                {"non-temporal", Clearing::NonTemporal}};

/// What software costs beside the memory that it touches.
struct SoftwareShape {
  u32 instructions_per_1000_cycles = 1000;
  u32 exit_cycles = 0;
  u32 entry_cycles = 0;
  u32 handler_cycles = 0;
  u32 emulation_cycles = 0;
  u32 frame_cycles = 0;
  u32 zero_cycles = 0;
  Clearing clearing = Clearing::Constant;
  u32 guest_fault_cycles = 0;
  u32 guest_switch_cycles = 0;
  u32 host_switch_cycles = 0;

  static constexpr auto parameters() {
    using namespace parameter;
    constexpr Number kCycles{0, 10'000'000};
    return std::tuple{
        Row{"instructions_per_1000_cycles", &SoftwareShape::instructions_per_1000_cycles,
            Number{1, 32'000}, "instructions of a guest whose accesses all hit"},
        Row{"exit_cycles", &SoftwareShape::exit_cycles, kCycles,
            "cycles from the guest into the hypervisor", kInCycles},
        Row{"entry_cycles", &SoftwareShape::entry_cycles, kCycles,
            "cycles from the hypervisor back into the guest", kInCycles},
        Row{"handler_cycles", &SoftwareShape::handler_cycles, kCycles,
            "cycles in which the hypervisor finds out why the guest exited", kInCycles},
        Row{"emulation_cycles", &SoftwareShape::emulation_cycles, kCycles,
            "cycles of an access that a device model answers", kInCycles},
        Row{"frame_cycles", &SoftwareShape::frame_cycles, kCycles,
            "cycles to allocate or free a run of frames", kInCycles},
        Row{"zero_cycles", &SoftwareShape::zero_cycles, kCycles,
            "cycles to zero 4 KiB, without waiting for caches", kInCycles},
        Row{"clearing", &SoftwareShape::clearing, OneOf{kClearings},
            "how frames are zeroed. constant: in zero_cycles, and caches stay as they are; cached: "
            "line by line through the core's caches, at the pace of zero_cycles, and as fast as "
            "these take it; non-temporal: line by line to memory"},
        Row{"guest_fault_cycles", &SoftwareShape::guest_fault_cycles, kCycles,
            "cycles of the guest's own page fault handler, there and back", kInCycles},
        Row{"guest_switch_cycles", &SoftwareShape::guest_switch_cycles, kCycles,
            "cycles in which the guest switches to another address space", kInCycles},
        Row{"host_switch_cycles", &SoftwareShape::host_switch_cycles, kCycles,
            "cycles in which a core of the host switches to another vCPU", kInCycles}};
  }
};

/// Who sets accessed and dirty flags.
inline constexpr Word<bool> kFlagKeepers[] = {{"hardware", true}, {"trap", false}};

/// RISC-V: which pages may be one translation.
inline constexpr Word<bool> kNapotPages[] = {{"none", false}, {"64K", true}};

struct MachineShape {
  std::string name;
  std::string about;
  const Extension* extension = nullptr;  ///< of virtualization; says the instruction set, too
  u32 cores = 1;
  u32 clock_mhz = 1000;
  CoreShape core;  ///< of each
  MmuShape mmu;
  u32 line_bytes = 64;
  std::optional<DataCacheShape> l1i, l1d, l2;  ///< of each core
  std::optional<DataCacheShape> l3;            ///< shared
  Served walks_enter_at = Served::L1;
  DramShape memory;
  u64 memory_base = u64{1} << 32;  ///< where it begins
  FenceShape fence;
  SoftwareShape software;
  bool sets_flags = true;
  bool napot_pages = false;
  u32 asid_bits = 16;
  u32 vmid_bits = 16;

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"cores", &MachineShape::cores, Number{1, 1024}, "cores of the machine"},
        Row{"clock_mhz", &MachineShape::clock_mhz, Number{1, 100'000},
            "the cores' clock, in which all cycles are counted", kInMegahertz},
        Row{"caches.line_bytes", &MachineShape::line_bytes, PowerOfTwo{16, 256},
            "bytes of a line of all data caches", kInBytes},
        Row{"walker.enters_at", &MachineShape::walks_enter_at, OneOf{kWalkEntries},
            "the data cache in which reads of page tables look first"},
        Row{"paging.accessed_dirty", &MachineShape::sets_flags, OrLeftOut{OneOf{kFlagKeepers}},
            "what becomes of a clear accessed or dirty flag that an access needs: the hardware "
            "sets it, or software takes a fault; x86 has no choice in the first stage"},
        Row{"paging.napot", &MachineShape::napot_pages, OrLeftOut{OneOf{kNapotPages}},
            "RISC-V: groups of pages that tables may say are one translation, of 64K (Svnapot)"},
        Row{"tags.asid_bits", &MachineShape::asid_bits, OrLeftOut{Number{0, 16}},
            "bits of ASIDs or PCIDs; 0: a guest's kernel fences all when it switches to another "
            "address space"},
        Row{"tags.vmid_bits", &MachineShape::vmid_bits, OrLeftOut{Number{0, 16}},
            "bits of VMIDs, VPIDs or AMD's ASIDs; 0: the hypervisor fences all when a vCPU comes "
            "to a core"}};
  }
  ClockRate clock() const { return {clock_mhz}; }
  /// What a lookup adds to an access: a latency is a load's from its first lookup, so it holds
  /// those of the levels above.
  Cycle lookup_cycles(Served level, bool fetch = false) const;
};

}  // namespace nestwalk::models
