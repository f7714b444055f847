// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a hypervisor does to a guest by the clock, whatever the guest does: rounds of the dirty log,
// a balloon.
#pragma once

#include <algorithm>

#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

class Agenda {
 public:
  /// Each is done at least once.
  explicit Agenda(std::vector<ScheduledOperation> operations) : left_(std::move(operations)) {}
  /// When the next one is due; never, if none is left.
  Cycle next() const { return left_.empty() ? models::kNever : earliest()->at; }
  /// The next one; there is one.
  const ScheduledOperation& due() const { return *earliest(); }
  /// Takes it. Of two at one time, it is the one that was named first.
  HostOperation take() {
    const auto row = left_.begin() + (earliest() - left_.begin());
    const HostOperation operation = row->operation;
    row->at += row->every;
    if (--row->times == 0) left_.erase(row);
    return operation;
  }

 private:
  std::vector<ScheduledOperation>::const_iterator earliest() const {
    return std::min_element(left_.begin(), left_.end(),
                            [](const auto& a, const auto& b) { return a.at < b.at; });
  }
  std::vector<ScheduledOperation> left_;
};

}  // namespace nestwalk::software
