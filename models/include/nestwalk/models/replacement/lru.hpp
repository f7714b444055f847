// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The entry that was not used for the longest time.
#pragma once

#include <vector>

#include "nestwalk/models/replacement.hpp"
#include "nestwalk/models/table.hpp"

namespace nestwalk::models {

class Lru final : public Replacement {
 public:
  Lru(u32 sets, u32 ways) : row_(ways + 1), rows_(u64{sets} * row_) {}

  void touch(u32 set, u32 way) override {
    u32* const row = &rows_[u64{set} * row_];
    row[1 + way] = ++row[0];
    if (row[0] == kMostUses) [[unlikely]]
      renumber(row);
  }
  u32 victim(u32 set) override {
    const u32* const last_use = &rows_[u64{set} * row_ + 1];
    u32 oldest = 0;
    u32 earliest = last_use[0];
    for (u32 way = 1; way + 1 < row_; ++way) {
      const bool earlier = last_use[way] < earliest;
      oldest = earlier ? way : oldest;
      earliest = earlier ? last_use[way] : earliest;
    }
    return oldest;
  }
  void prefetch(u32 set) const override { __builtin_prefetch(&rows_[u64{set} * row_]); }

 private:
  static constexpr u32 kMostUses = ~u32{0};

  // The same order in small numbers.
  void renumber(u32* row) const {
    const std::vector<u32> old(row + 1, row + row_);
    for (u32 way = 0; way + 1 < row_; ++way) {
      u32 rank = 0;
      for (const u32 other : old) rank += other < old[way] ? 1 : 0;
      row[1 + way] = rank;
    }
    row[0] = row_;
  }

  u32 row_;  ///< the set's clock, and each way's last use by it: close together in host memory
  Table<u32> rows_;
};

}  // namespace nestwalk::models
