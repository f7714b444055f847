// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A binary tree of bits per set, each pointing to the half that was used less recently. Ways that
// are no power of two make a tree with missing leaves, which are never chosen.
#pragma once

#include <bit>

#include "nestwalk/models/memory/replacement.hpp"

namespace nestwalk::models {

class TreePlru final : public Replacement {
 public:
  explicit TreePlru(u32 ways)
      : Replacement(1 + (std::bit_ceil(ways) + 63) / 64, ~u32{0}),
        ways_(ways),
        leaves_(std::bit_ceil(ways)) {}

  void touch(u64* turns, u32 way) const override {
    *turns = way;
    // Node 1 is the root, n has the children 2n and 2n + 1. A bit that is set points to the right.
    for (u32 node = leaves_ + way; node > 1; node /= 2) {
      u64& word = turns[1 + node / 2 / 64];
      const u64 bit = u64{1} << node / 2 % 64;
      word = (node & 1) == 0 ? word | bit : word & ~bit;
    }
  }
  u32 take_turn(u64* turns) override {
    u32 node = 1;
    u32 width = leaves_;
    u32 first = 0;
    while (node < leaves_) {
      width /= 2;
      const bool right = (turns[1 + node / 64] >> node % 64 & 1) != 0 && first + width < ways_;
      node = 2 * node + (right ? 1 : 0);
      first += right ? width : 0;
    }
    touch(turns, first);
    return first;
  }

 private:
  u32 ways_;
  u32 leaves_;
};

}  // namespace nestwalk::models
