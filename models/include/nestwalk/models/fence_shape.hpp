// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What fences cost: some general values, and one for each sort of operation that differs from them.
#pragma once

#include <array>
#include <iterator>
#include <optional>

#include "nestwalk/addrspace/geometry.hpp"

namespace nestwalk::models {

using addrspace::Architecture;
using addrspace::u32;
using addrspace::u8;

/// Operations that cost the same.
enum class FenceCost : u8 {
  InveptSingle,
  InveptAll,
  InvvpidAddress,
  InvvpidContext,
  InvpcidAddress,
  InvpcidContext,
  Invlpg,
  MovCr3,
  TlbiAddress,
  TlbiRange,
  TlbiContext,
  TlbiAddressBroadcast,
  TlbiRangeBroadcast,
  TlbiContextBroadcast,
  Dsb,
  HfenceGvmaAddress,
  HfenceGvmaAll,
  HfenceVvmaAddress,
  HfenceVvmaAll,
  Hinval,
  SfenceInvalIr,
  Kick,         ///< from an interrupt's arrival at a core in the guest until its hypervisor acts
  Acknowledge,  ///< from there, when it has acted, until the issuer knows
  Nothing,      ///< barriers that take no time
};
inline constexpr unsigned kFenceCostCount = static_cast<unsigned>(FenceCost::Nothing);

/// What a fence costs the one who issues it, and when it has reached the others.
struct FenceShape {
  u32 local_cycles = 0;      ///< INVEPT, INVVPID, HFENCE, TLBI without IS
  u32 broadcast_cycles = 0;  ///< TLBI ...IS and the DSB that waits for it
  u32 ipi_cycles = 0;        ///< from one core to another, where nothing broadcasts
  u32 issue_cycles = 1;      ///< of one that something else waits for: TLBI before DSB, HINVAL
  bool tlbi_range = false;   ///< FEAT_TLBIRANGE
  bool svinval = false;
  /// By FenceCost, where they differ from those.
  std::array<std::optional<u32>, kFenceCostCount> own{};

  u32 cycles(FenceCost cost) const;
  u32 cycles_or(FenceCost cost, u32 general) const {
    return own[static_cast<unsigned>(cost)].value_or(general);
  }
};

struct FenceCostRow {
  const char* name;  ///< in presets
  u8 architectures;  ///< that have it: bits by number
  u32 FenceShape::*general;
};

constexpr u8 bit_of(Architecture architecture) {
  return static_cast<u8>(1 << static_cast<unsigned>(architecture));
}
constexpr u8 kX86 = bit_of(Architecture::X86_64);
constexpr u8 kArm = bit_of(Architecture::AArch64);
constexpr u8 kRiscV = bit_of(Architecture::RiscV64);

/// In the order of FenceCost. Without a general value: nothing; a kick is an exit of the
/// software's.
inline constexpr FenceCostRow kFenceCosts[] = {
    {"invept_single", kX86, &FenceShape::local_cycles},
    {"invept_all", kX86, &FenceShape::local_cycles},
    {"invvpid_address", kX86, &FenceShape::local_cycles},
    {"invvpid_context", kX86, &FenceShape::local_cycles},
    {"invpcid_address", kX86, &FenceShape::local_cycles},
    {"invpcid_context", kX86, &FenceShape::local_cycles},
    {"invlpg", kX86, &FenceShape::local_cycles},
    {"mov_cr3", kX86, &FenceShape::local_cycles},
    {"tlbi_address", kArm, &FenceShape::local_cycles},
    {"tlbi_range", kArm, &FenceShape::local_cycles},
    {"tlbi_context", kArm, &FenceShape::local_cycles},
    {"tlbi_address_broadcast", kArm, &FenceShape::broadcast_cycles},
    {"tlbi_range_broadcast", kArm, &FenceShape::broadcast_cycles},
    {"tlbi_context_broadcast", kArm, &FenceShape::broadcast_cycles},
    {"dsb", kArm, nullptr},
    {"hfence_gvma_address", kRiscV, &FenceShape::local_cycles},
    {"hfence_gvma_all", kRiscV, &FenceShape::local_cycles},
    {"hfence_vvma_address", kRiscV, &FenceShape::local_cycles},
    {"hfence_vvma_all", kRiscV, &FenceShape::local_cycles},
    {"hinval", kRiscV, &FenceShape::local_cycles},
    {"sfence_inval_ir", kRiscV, &FenceShape::local_cycles},
    {"kick", kX86 | kArm | kRiscV, nullptr},
    {"acknowledge", kX86 | kArm | kRiscV, nullptr},
};
static_assert(std::size(kFenceCosts) == kFenceCostCount);

inline u32 FenceShape::cycles(FenceCost cost) const {
  if (cost == FenceCost::Nothing) return 0;
  u32 FenceShape::*const general = kFenceCosts[static_cast<unsigned>(cost)].general;
  return cycles_or(cost, general != nullptr ? this->*general : 0);
}

}  // namespace nestwalk::models
