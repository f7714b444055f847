// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The entry that was not used for the longest time.
#pragma once

#include <vector>

#include "nestwalk/models/replacement.hpp"

namespace nestwalk::models {

class Lru final : public Replacement {
 public:
  Lru(u32 sets, u32 ways) : ways_(ways), last_use_(u64{sets} * ways) {}

  void touch(u32 set, u32 way) override { last_use_[u64{set} * ways_ + way] = ++uses_; }
  u32 victim(u32 set) override {
    const u64* const first = &last_use_[u64{set} * ways_];
    u32 oldest = 0;
    for (u32 way = 1; way < ways_; ++way) oldest = first[way] < first[oldest] ? way : oldest;
    return oldest;
  }

 private:
  u32 ways_;
  u64 uses_ = 0;
  std::vector<u64> last_use_;
};

}  // namespace nestwalk::models
