// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The entry that was not used for the longest time, of at most 16: the ways of a set stand in one
// word in the order of their last use, four bits each, the latest in the lowest ones.
#pragma once

#include "nestwalk/models/memory/replacement.hpp"

namespace nestwalk::models {

class LruWord final : public Replacement {
 public:
  static constexpr u32 kMostWays = 16;

  explicit LruWord(u32 ways)
      : Replacement(1, kLane),
        last_shift_((ways - 1) * 4),
        lanes_(kLane << last_shift_ | ((u64{1} << last_shift_) - 1)) {}

  void prepare(u64* turns, u32, u32) const override { *turns = 0xfedc'ba98'7654'3210; }
  // The way moves to the front, those before it by one lane.
  void touch(u64* turns, u32 way) const override {
    const u64 word = *turns;
    const u64 difference = word ^ way * kOnes;
    // The top bit of the lane that holds the way, and perhaps of some others above it.
    const u64 found = (difference - kOnes) & ~difference & kTops;
    const u64 moved = found ^ (found - 1);  // up to that bit
    *turns = word ^ ((word ^ (word << 4 | way)) & moved);
  }
  // The last one moves to the front.
  u32 take_turn(u64* turns) override {
    const u64 word = *turns;
    const u64 way = word >> last_shift_ & kLane;
    *turns = word ^ ((word ^ (word << 4 | way)) & lanes_);
    return static_cast<u32>(way);
  }

 private:
  static constexpr u64 kLane = 15;
  static constexpr u64 kOnes = ~u64{0} / kLane;
  static constexpr u64 kTops = kOnes << 3;

  u32 last_shift_;
  u64 lanes_;  ///< those that are ways
};

}  // namespace nestwalk::models
