// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The order of a list's nodes in memory: looks random, and is known in both directions, so that a
// list of any length is written from front to back.
#pragma once

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::sim {

class ListOrder {
 public:
  using u64 = addrspace::u64;

  /// Of 2^bits nodes.
  explicit ListOrder(unsigned bits, u64 seed = 1)
      : mask_((u64{1} << bits) - 1), shift_((bits + 1) / 2), key_(seed * kOdd), inverse_(kOdd) {
    // Newton's iteration doubles the bits that are right; an odd number has 3 of its own inverse.
    for (int step = 0; step < 5; ++step) inverse_ *= 2 - kOdd * inverse_;
  }

  u64 nodes() const { return mask_ + 1; }
  /// Where the node at this position of the list is.
  u64 place_of(u64 position) const {
    u64 value = position & mask_;
    for (int round = 0; round < kRounds; ++round) {
      value = (value * kOdd + key_) & mask_;
      value ^= value >> shift_;
    }
    return value;
  }
  /// The position of the node there.
  u64 position_of(u64 place) const {
    u64 value = place;
    for (int round = 0; round < kRounds; ++round) {
      // Its own inverse: at least half of the bits are shifted out.
      value ^= value >> shift_;
      value = ((value - key_) * inverse_) & mask_;
    }
    return value;
  }
  /// Where the node after the one there is.
  u64 after(u64 place) const { return place_of(position_of(place) + 1); }

 private:
  static constexpr u64 kOdd = 0x9E3779B97F4A7C15;
  static constexpr int kRounds = 3;
  u64 mask_;
  unsigned shift_;
  u64 key_;
  u64 inverse_;
};

/// The byte of node `n` of a list with a node in each page of so many bytes: the lines are spread
/// over the page, so that no set of a cache gets more than its share.
inline addrspace::u64 spread_line(addrspace::u64 n, addrspace::u64 page_bytes) {
  constexpr addrspace::u64 kLine = 64;
  return n * page_bytes + (n * 0x9E3779B97F4A7C15 >> 32) % (page_bytes / kLine) * kLine;
}

}  // namespace nestwalk::sim
