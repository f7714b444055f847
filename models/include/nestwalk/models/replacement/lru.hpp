// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The entry that was not used for the longest time.
//
// The ways of a set stand in the order of their last use, the latest in the lowest lane of the
// first word. Lanes are as narrow as they can be: for up to 16 ways they have four bits, and the
// whole order is one word.
#pragma once

#include "nestwalk/models/replacement.hpp"

namespace nestwalk::models {

template <unsigned kLaneBits>
class Lru final : public Replacement {
 public:
  static constexpr u32 kMostWays = 1u << kLaneBits;

  explicit Lru(u32 ways)
      : Replacement((ways + kLanes - 1) / kLanes),
        last_shift_((ways - 1) % kLanes * kLaneBits),
        last_lanes_(kLane << last_shift_ | ((u64{1} << last_shift_) - 1)) {}

  void prepare(u64* turns) const override {
    for (u64 way = 0; way < u64{words()} * kLanes; ++way) {
      turns[way / kLanes] |= way << way % kLanes * kLaneBits;
    }
  }
  // The way moves to the front, those before it by one lane.
  void touch(u64* turns, u32 way) const override {
    const u64 pattern = way * kOnes;
    for (u64 front = way;; ++turns) {
      const u64 word = *turns;
      const u64 difference = word ^ pattern;
      // The top bit of the lane that holds the way, and perhaps of some others above it.
      const u64 found = (difference - kOnes) & ~difference & kTops;
      const u64 moved = found ^ (found - 1);  // up to that bit; all, if it is not there
      *turns = word ^ ((word ^ (word << kLaneBits | front)) & moved);
      if (found != 0) return;
      front = word >> (64 - kLaneBits);
    }
  }
  // The last one moves to the front.
  u32 take_turn(u64* turns) override {
    u64* const last = kOneWord ? turns : turns + words() - 1;
    const u64 way = *last >> last_shift_ & kLane;
    u64 front = way;
    for (; turns != last; ++turns) {
      const u64 word = *turns;
      *turns = word << kLaneBits | front;
      front = word >> (64 - kLaneBits);
    }
    *last ^= (*last ^ (*last << kLaneBits | front)) & last_lanes_;
    return static_cast<u32>(way);
  }

 private:
  static constexpr u32 kLanes = 64 / kLaneBits;  // in a word
  static constexpr bool kOneWord = kMostWays <= kLanes;
  static constexpr u64 kLane = (u64{1} << kLaneBits) - 1;
  static constexpr u64 kOnes = ~u64{0} / kLane;
  static constexpr u64 kTops = kOnes << (kLaneBits - 1);

  u32 last_shift_;
  u64 last_lanes_;  ///< of the last word, those that are ways
};

}  // namespace nestwalk::models
