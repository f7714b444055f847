// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What became of one access, step by step, for whoever asks why it took so long.
//
// Whoever spends time on the access's behalf tells its witness when that is over. A step begins
// where the one before it ended, so the steps have no gaps and add up to the access's latency.
#pragma once

#include <optional>
#include <vector>

#include "nestwalk/models/memory/memory_hierarchy.hpp"
#include "nestwalk/models/translation/fault.hpp"

namespace nestwalk::models {

/// What time can be spent for.
struct StepKind {
  const char* name;
  const char* sentence;
};

struct WitnessStep {
  static constexpr u8 kNoLevel = 5;  ///< one more than the highest

  const StepKind* kind = nullptr;
  u64 address = 0;  ///< in host memory, of an entry or of data; of a lookup: what was looked up
  u64 value = 0;    ///< of an entry: what it is after the step
  u64 before = 0;   ///< of an entry that is written: what it was
  u8 guest_level = kNoLevel;   ///< of the first-stage entry that is wanted
  u8 nested_level = kNoLevel;  ///< of the second-stage entry
  Served served = Served::None;
  bool hit = false;  ///< of a lookup
  const char* note = nullptr;
  std::optional<Fault> fault{};  ///< that the step found
  Cycle start = 0;               ///< the witness sets these two
  Cycle cycles = 0;
};

class Witness {
 public:
  void begin(Cycle now) {
    steps_.clear();
    mark_ = now;
  }
  void tell(Cycle now, WitnessStep step) {
    step.start = mark_;
    step.cycles = now - mark_;
    mark_ = now;
    steps_.push_back(step);
  }
  /// Tells of what nobody has told of yet, if there is something.
  void tell_rest(Cycle now, const WitnessStep& step) {
    if (now != mark_) tell(now, step);
  }
  const std::vector<WitnessStep>& steps() const { return steps_; }

 private:
  std::vector<WitnessStep> steps_;
  Cycle mark_ = 0;
};

namespace step {

inline constexpr StepKind kFirstTlb{"first TLB", "looked into the core's first-level TLB"};
inline constexpr StepKind kSecondTlb{"second TLB", "looked into the second-level TLB"};
inline constexpr StepKind kJoined{"joined walk", "waited for a walk to the same page"};
inline constexpr StepKind kQueued{"walker", "waited for a free walker"};
inline constexpr StepKind kAgain{"walk again", "a fence came: the walk begins again"};
inline constexpr StepKind kConfirm{"confirm", "a fault: the walk is repeated by the tables alone"};
inline constexpr StepKind kGuestCache{"guest walk cache", "looked for a first-stage table"};
inline constexpr StepKind kNestedTlb{"nested TLB", "looked for a second-stage leaf"};
inline constexpr StepKind kNestedCache{"nested walk cache", "looked for a second-stage table"};
inline constexpr StepKind kGuestEntry{"guest entry", "read a first-stage entry"};
inline constexpr StepKind kGuestUpdate{"guest update", "set flags of a first-stage entry"};
inline constexpr StepKind kNestedEntry{"nested entry", "read a second-stage entry"};
inline constexpr StepKind kNestedUpdate{"nested update", "set flags of a second-stage entry"};
inline constexpr StepKind kData{"data", "read or wrote the data"};
inline constexpr StepKind kGuestFault{"guest fault", "the first stage had no translation"};
inline constexpr StepKind kNestedFault{"exit reason", "the second stage had no translation"};
inline constexpr StepKind kTouch{"touch", "the guest's kernel writes to a frame of its own"};
inline constexpr StepKind kReturn{"return", "the guest's kernel is done with the fault"};
inline constexpr StepKind kHeld{"held", "waited for all accesses before it, to take the fault"};

}  // namespace step

inline WitnessStep step_of(const Fault& fault) {
  WitnessStep told;
  told.kind = fault.nested ? &step::kNestedFault : &step::kGuestFault;
  told.address = fault.nested ? fault.guest_physical : fault.virtual_address;
  told.note = kFaultKindNames[static_cast<unsigned>(fault.kind)];
  told.fault = fault;
  return told;
}

}  // namespace nestwalk::models
