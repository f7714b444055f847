// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A binary tree of bits per set, each pointing to the half that was used less recently. Ways that
// are no power of two make a tree with missing leaves, which are never chosen.
#pragma once

#include <bit>
#include <vector>

#include "nestwalk/models/replacement.hpp"

namespace nestwalk::models {

class TreePlru final : public Replacement {
 public:
  TreePlru(u32 sets, u32 ways)
      : ways_(ways), leaves_(std::bit_ceil(ways)), points_right_(u64{sets} * leaves_) {}

  void touch(u32 set, u32 way) override {
    u8* const tree = &points_right_[u64{set} * leaves_];
    // Node 1 is the root, n has the children 2n and 2n + 1.
    for (u32 node = leaves_ + way; node > 1; node /= 2) tree[node / 2] = (node & 1) == 0 ? 1 : 0;
  }
  u32 victim(u32 set) override {
    const u8* const tree = &points_right_[u64{set} * leaves_];
    u32 node = 1;
    u32 width = leaves_;
    u32 first = 0;
    while (node < leaves_) {
      width /= 2;
      const bool right = tree[node] != 0 && first + width < ways_;
      node = 2 * node + (right ? 1 : 0);
      first += right ? width : 0;
    }
    return first;
  }

 private:
  u32 ways_;
  u32 leaves_;
  std::vector<u8> points_right_;
};

}  // namespace nestwalk::models
