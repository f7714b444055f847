// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Re-reference interval prediction (Jaleel et al., "High Performance Cache Replacement Using
// Re-Reference Interval Prediction", ISCA 2010): each way has a prediction of how far off its next
// use is, of two bits. A hit says that it is near (0); the first way that is as far as can be (3)
// goes; if there is none, all become farther until there is one. Policies differ in what they
// predict of a new entry.
#pragma once

#include <algorithm>

#include "nestwalk/models/memory/replacement.hpp"

namespace nestwalk::models {

class Rrip : public Replacement {
 public:
  void prepare(u64* turns, u32, u32) const override {
    turns[0] = kNobody;
    turns[words() - 1] = ~u64{0};  // what KeyArray finds before the first way: no key
  }
  void touch(u64* turns, u32 way) const override {
    set(turns, way, 0);
    turns[0] = (turns[0] & ~kWay) | way;
  }
  void fill(u64* turns, u32 way) override { enter(turns, way, predict(turns)); }
  u32 take_turn(u64* turns) override {
    u32 farthest = 0;
    for (u32 way = 0; way < ways_; ++way) farthest = std::max(farthest, get(turns, way));
    for (u32 way = 0; way < ways_; ++way) set(turns, way, get(turns, way) + kMost - farthest);
    u32 way = 0;
    while (get(turns, way) != kMost) ++way;
    enter(turns, way, predict(turns));
    return way;
  }

 protected:
  static constexpr u32 kMost = 3;  ///< a distant re-reference; one less is a long one
  static constexpr u64 kWay = 0xffff'ffff;
  static constexpr u64 kNobody = kWay;  ///< as a way

  // The first word has the way, and above it what a policy has to know of the set. The predictions
  // follow, and a word that is no key.
  explicit Rrip(u32 ways) : Replacement(2 + (ways + 31) / 32, ~u32{0}), ways_(ways) {}

  /// Of an entry that takes a way of the set.
  virtual u32 predict(u64* turns) = 0;
  /// A long one once in 32 times, else a distant one.
  u32 predict_bimodal() { return ++entered_ % 32 == 0 ? kMost - 1 : kMost; }

 private:
  static u32 get(const u64* turns, u32 way) {
    return static_cast<u32>(turns[1 + way / 32] >> way % 32 * 2 & 3);
  }
  static void set(u64* turns, u32 way, u32 interval) {
    u64& word = turns[1 + way / 32];
    const u32 at = way % 32 * 2;
    word = (word & ~(u64{3} << at)) | u64{interval} << at;
  }
  static void enter(u64* turns, u32 way, u32 interval) {
    set(turns, way, interval);
    turns[0] |= kNobody;  // a hit would change its prediction
  }

  u32 ways_;
  u32 entered_ = 0;
};

}  // namespace nestwalk::models
