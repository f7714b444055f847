// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How often each value came, exactly: no bins, so percentiles are values that occurred.
#pragma once

#include <bit>
#include <map>
#include <vector>

#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

class Distribution {
 public:
  void add(u64 value, u64 times = 1) {
    count_ += times;
    sum_ += value * times;
    if (value < small_.size()) [[likely]] {
      small_[value] += times;
      return;
    }
    add_other(value, times);
  }
  u64 count() const { return count_; }
  u64 sum() const { return sum_; }
  double mean() const {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
  }
  u64 max() const { return at_rank(count_ == 0 ? 0 : count_ - 1); }
  /// The least value that at least `permille` of 1000 values do not exceed.
  u64 percentile(u32 permille) const {
    if (count_ == 0) return 0;
    const u64 values = values_up_to(permille, count_);
    return at_rank(values == 0 ? 0 : values - 1);
  }
  /// Rank of the percentile: ceil(total * permille / 1000).
  static constexpr u64 values_up_to(u32 permille, u64 total) {
    return total / 1000 * permille + (total % 1000 * permille + 999) / 1000;
  }
  void add(const Distribution& other);
  /// Values that were added before.
  void take_away(const Distribution& other);

  /// So many values from `first` to `last`.
  struct Bin {
    u64 first;
    u64 last;
    u64 count;
  };
  /// Those that have some: one for each value below 256, then 128 for each power of two, so that
  /// none is wider than a 128th of its values.
  std::vector<Bin> bins() const;

 private:
  static constexpr u64 kSmall = 4096;
  void add_other(u64 value, u64 times);
  u64 at_rank(u64 rank) const;
  static constexpr u64 width_at(u64 value) {
    return value < 256 ? 1 : u64{1} << (std::bit_width(value) - 8);
  }

  u64 count_ = 0;
  u64 sum_ = 0;
  std::vector<u64> small_;  ///< below kSmall; none before the first of them came
  std::map<u64, u64> large_;
};

}  // namespace nestwalk::software
