// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Not recently used: a bit for each way says that it was used since all were said to be not; the
// first that was not goes.
#pragma once

#include <algorithm>

#include "nestwalk/models/memory/replacement.hpp"

namespace nestwalk::models {

class Nru final : public Replacement {
 public:
  explicit Nru(u32 ways) : Replacement(1 + (ways + 63) / 64, ~u32{0}), ways_(ways) {}

  void touch(u64* turns, u32 way) const override {
    *turns = way;
    turns[1 + way / 64] |= u64{1} << way % 64;
  }
  u32 take_turn(u64* turns) override {
    u32 way = 0;
    while (way < ways_ && (turns[1 + way / 64] >> way % 64 & 1) != 0) ++way;
    if (way == ways_) {
      std::fill_n(turns + 1, words() - 1, u64{0});
      way = 0;
    }
    touch(turns, way);
    return way;
  }

 private:
  u32 ways_;
};

}  // namespace nestwalk::models
