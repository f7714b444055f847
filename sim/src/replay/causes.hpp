// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the cycles of an access went to, in five parts.
#pragma once

#include <array>

#include "nestwalk/software/vcpu_counts.hpp"
#include "results/cause.hpp"

namespace nestwalk::sim {

/// By AccessKind.
inline constexpr const char* kAccessNames[] = {"read", "write", "fetch"};

class CauseCycles {
 public:
  models::Cycle& operator[](Cause cause) { return cycles_[static_cast<std::size_t>(cause)]; }
  models::Cycle operator[](Cause cause) const { return cycles_[static_cast<std::size_t>(cause)]; }
  models::Cycle sum() const;
  /// To which most went; of equal ones, the first.
  Cause most() const;
  void add(const CauseCycles& other);
  bool operator==(const CauseCycles&) const = default;

 private:
  std::array<models::Cycle, kCauses> cycles_{};
};

/// Follows the steps of an access, or of a pause of its vCPU: an exit lasts from the step that
/// leaves the guest to the one that is back in it, whoever caused it. The guest's kernel begins
/// with a step of software outside of an exit, and has the translations of its own touches.
class StepPlace {
 public:
  /// Before the step is looked at.
  void enter(const models::WitnessStep& step);
  /// After it: may have ended an exit, or the kernel's work.
  void leave(const models::WitnessStep& step);
  bool in_exit() const { return in_exit_; }
  bool in_kernel() const { return in_kernel_; }
  Cause cause_of(const models::WitnessStep& step) const;

 private:
  bool in_exit_ = false, in_kernel_ = false;
};
bool is_of_software(const models::StepKind* kind);

/// All cycles of its steps.
CauseCycles causes_of(const software::AccessStory& story);

}  // namespace nestwalk::sim
