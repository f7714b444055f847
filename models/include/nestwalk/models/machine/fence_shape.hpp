// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What fences cost: some general values, and one for each sort of operation that differs from them.
#pragma once

#include <map>

#include "nestwalk/addrspace/fence_op.hpp"

namespace nestwalk::models {

using addrspace::FenceCost;
using addrspace::u32;
using addrspace::u8;

/// From an interrupt's arrival at a core in the guest until its hypervisor acts; without a value of
/// its own, an exit.
inline constexpr FenceCost kKickCost{"kick", FenceCost::Like::Nothing};
/// From there, when it has acted, until the issuer knows.
inline constexpr FenceCost kAcknowledgeCost{"acknowledge", FenceCost::Like::Nothing};

/// What a fence costs the one who issues it, and when it has reached the others.
struct FenceShape {
  u32 local_cycles = 0;      ///< INVEPT, INVVPID, HFENCE, TLBI without IS
  u32 broadcast_cycles = 0;  ///< TLBI ...IS and the DSB that waits for it
  u32 ipi_cycles = 0;        ///< from one core to another, where nothing broadcasts
  u32 issue_cycles = 1;      ///< of one that something else waits for: TLBI before DSB, HINVAL
  bool tlbi_range = false;   ///< FEAT_TLBIRANGE
  bool svinval = false;
  std::map<const FenceCost*, u32> own{};  ///< where they differ from those

  u32 cycles_or(const FenceCost& cost, u32 general) const {
    const auto found = own.find(&cost);
    return found == own.end() ? general : found->second;
  }
  /// No cost: it takes no time.
  u32 cycles(const FenceCost* cost) const {
    if (cost == nullptr) return 0;
    switch (cost->like) {
      case FenceCost::Like::Nothing:
        return cycles_or(*cost, 0);
      case FenceCost::Like::Local:
        return cycles_or(*cost, local_cycles);
      case FenceCost::Like::Broadcast:
        return cycles_or(*cost, broadcast_cycles);
    }
    return 0;
  }
};

}  // namespace nestwalk::models
