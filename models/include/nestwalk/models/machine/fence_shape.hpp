// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What fences cost: some general values, and one for each sort of operation that differs from them.
#pragma once

#include <array>
#include <map>

#include "nestwalk/addrspace/extension/features.hpp"
#include "nestwalk/models/base/parameter.hpp"

namespace nestwalk::models {

using addrspace::FenceCost;
using addrspace::FenceFeature;
using addrspace::u32;
using addrspace::u8;

/// From an interrupt's arrival at a core in the guest until its hypervisor acts; without a value of
/// its own, an exit.
inline constexpr FenceCost kKickCost{"kick", FenceCost::Like::Nothing};
/// From there, when it has acted, until the issuer knows.
inline constexpr FenceCost kAcknowledgeCost{"acknowledge", FenceCost::Like::Nothing};

inline constexpr auto kFenceFeatures = [] {
  std::array<Word<const FenceFeature*>, std::size(addrspace::kFenceFeatures) + 1> words{
      {{"none", nullptr}}};
  std::size_t n = 1;
  for (const FenceFeature* const each : addrspace::kFenceFeatures) words[n++] = {each->name, each};
  return words;
}();

/// What a fence costs the one who issues it, and when it has reached the others.
struct FenceShape {
  u32 local_cycles = 0;
  u32 broadcast_cycles = 0;
  u32 ipi_cycles = 0;
  u32 issue_cycles = 1;
  const FenceFeature* batches = nullptr;
  std::map<const FenceCost*, u32> own{};  ///< where they differ from those

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"local_cycles", &FenceShape::local_cycles, Number{0, 1'000'000},
            "cycles of a fence on its own core: INVEPT, INVVPID, HFENCE, TLBI without IS",
            kInCycles},
        Row{"broadcast_cycles", &FenceShape::broadcast_cycles, Number{0, 1'000'000},
            "cycles of TLBI ...IS and the DSB that waits for it", kInCycles},
        Row{"ipi_cycles", &FenceShape::ipi_cycles, Number{0, 1'000'000},
            "cycles of an IPI to another core (machines without broadcast TLBI)", kInCycles},
        Row{"issue_cycles", &FenceShape::issue_cycles, Number{0, 1'000'000},
            "cycles to issue a fence that a later one waits for: TLBI before DSB, HINVAL",
            kInCycles},
        Row{"batches", &FenceShape::batches, OneOf{kFenceFeatures},
            "instructions for many pages or all processors: FEAT_TLBIRANGE, Svinval, INVLPGB, or "
            "none"}};
  }

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
