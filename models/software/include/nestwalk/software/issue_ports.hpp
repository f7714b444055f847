// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How many accesses begin in one cycle.
#pragma once

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::software {

class IssuePorts {
 public:
  explicit IssuePorts(models::u32 ports) : ports_(ports) {}

  /// The first cycle from `now` on in which one more access may begin.
  models::Cycle free_at(models::Cycle now) const {
    return last_ == now && used_ == ports_ ? now + 1 : now;
  }
  /// An access begins, in the cycle of the one before it or later.
  void use(models::Cycle now) {
    used_ = last_ == now ? used_ + 1 : 1;
    last_ = now;
  }

 private:
  models::u32 ports_;
  models::u32 used_ = 0;
  models::Cycle last_ = models::kNever;
};

}  // namespace nestwalk::software
