// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Random numbers that are the same on every machine, unlike the distributions of <random>.
#pragma once

#include <bit>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::traces {

/// xoshiro256** (Blackman and Vigna), its state filled by SplitMix64.
class Random {
 public:
  using u64 = addrspace::u64;

  explicit Random(u64 seed) {
    for (u64& word : state_) {
      seed += 0x9E3779B97F4A7C15;
      u64 mixed = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9;
      mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB;
      word = mixed ^ mixed >> 31;
    }
  }

  u64 next() {
    const u64 result = std::rotl(state_[1] * 5, 7) * 9;
    const u64 shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform below `limit`, which is not 0.
  u64 below(u64 limit) {
    const u64 mask = addrspace::low_mask(static_cast<unsigned>(std::bit_width(limit - 1)));
    for (;;) {
      const u64 value = next() & mask;
      if (value < limit) return value;
    }
  }
  bool percent(u64 chance) { return below(100) < chance; }

 private:
  u64 state_[4];
};

}  // namespace nestwalk::traces
