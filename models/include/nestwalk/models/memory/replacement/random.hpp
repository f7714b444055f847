// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Any entry, drawn from a seeded generator: the same seed, the same victims.
#pragma once

#include "nestwalk/models/memory/replacement.hpp"

namespace nestwalk::models {

class RandomReplacement final : public Replacement {
 public:
  RandomReplacement(u32 ways, u64 seed) : Replacement(1, ~u32{0}), ways_(ways), state_(seed) {}

  void touch(u64* turns, u32 way) const override { *turns = way; }
  u32 take_turn(u64* turns) override {
    // SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators").
    state_ += 0x9e37'79b9'7f4a'7c15;
    u64 z = state_;
    z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
    z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
    *turns = (z ^ z >> 31) % ways_;
    return static_cast<u32>(*turns);
  }

 private:
  u32 ways_;
  u64 state_;
};

}  // namespace nestwalk::models
