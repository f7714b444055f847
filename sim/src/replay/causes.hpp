// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the cycles of an access went to, in five parts.
#pragma once

#include <array>

#include "nestwalk/software/vcpu_counts.hpp"
#include "results/cause.hpp"

namespace nestwalk::sim {

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

/// All cycles of its steps.
CauseCycles causes_of(const software::AccessStory& story);

}  // namespace nestwalk::sim
