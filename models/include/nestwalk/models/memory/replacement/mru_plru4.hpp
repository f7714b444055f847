// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The second-level TLB of Intel's Skylake, as measured: "(MRU+1)%3PLRU4" (Tatar et al., "TLB;DR:
// Enhancing TLB-based Attacks with TLB Desynchronized Reverse Engineering", USENIX Security 2022).
// Ways are in groups of four, each with a tree of PLRU; the group after the one that was used last
// has the victim. Numbers of ways other than 12 are a generalisation: as many groups as it takes,
// of up to four ways.
#pragma once

#include "nestwalk/models/memory/replacement.hpp"

namespace nestwalk::models {

class MruPlru4 final : public Replacement {
 public:
  explicit MruPlru4(u32 ways)
      : Replacement(1 + (ways + 3) / 4, ~u32{0}), ways_(ways), groups_((ways + 3) / 4) {}

  // Of a tree: bit 0 is the root, 1 and 2 are the halves; each points to the older half if it is
  // set to that one's number.
  void touch(u64* turns, u32 way) const override {
    *turns = way;
    u64& tree = turns[1 + way % groups_];
    const u64 leaf = way / groups_;
    const u64 half = leaf / 2;
    tree = (tree & ~u64{1} & ~(u64{2} << half)) | (half ^ 1) | ((leaf & 1) ^ 1) << (1 + half);
  }
  u32 take_turn(u64* turns) override {
    const u32 group = (static_cast<u32>(*turns) % groups_ + 1) % groups_;
    const u32 leaves = (ways_ - group + groups_ - 1) / groups_;
    const u64 tree = turns[1 + group];
    const u64 half = leaves > 2 ? tree & 1 : 0;
    u32 leaf = static_cast<u32>(2 * half + (tree >> (1 + half) & 1));
    if (leaf >= leaves) --leaf;
    const u32 way = leaf * groups_ + group;
    touch(turns, way);
    return way;
  }

 private:
  u32 ways_;
  u32 groups_;
};

}  // namespace nestwalk::models
