// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The entry that was not used for the longest time, of any number: the ways of a set are a ring in
// the order of their last use, so that a use changes a few links, however many ways there are.
#pragma once

#include <cstring>

#include "nestwalk/models/base/check.hpp"
#include "nestwalk/models/memory/replacement.hpp"

namespace nestwalk::models {

class LruList final : public Replacement {
 public:
  explicit LruList(u32 ways) : Replacement(1 + (ways + 1) / 2, 0xffff), ways_(ways) {
    check(ways <= 1u << 16, "lru list", "at most 65536 ways", 0, ways);
  }

  void prepare(u64* turns, u32, u32) const override {
    for (u32 way = 0; way < ways_; ++way) link(turns, way, (way + 1) % ways_);
  }
  void touch(u64* turns, u32 way) const override {
    const u32 latest = static_cast<u32>(*turns);
    if (way == latest) return;
    link(turns, later(turns, way), earlier(turns, way));
    link(turns, later(turns, latest), way);  // the earliest: the ring goes on with the latest
    link(turns, way, latest);
    *turns = way;
  }
  // The ring turns by one.
  u32 take_turn(u64* turns) override {
    const u32 way = later(turns, static_cast<u32>(*turns));
    *turns = way;
    return way;
  }

 private:
  // After the word with the latest way: for each one its neighbours in the ring, used before and
  // after it.
  static u32 get(const u64* turns, u32 index) {
    u16 way;
    std::memcpy(&way, reinterpret_cast<const u8*>(turns + 1) + index * sizeof way, sizeof way);
    return way;
  }
  static void put(u64* turns, u32 index, u32 neighbour) {
    const u16 way = static_cast<u16>(neighbour);
    std::memcpy(reinterpret_cast<u8*>(turns + 1) + index * sizeof way, &way, sizeof way);
  }
  static u32 earlier(const u64* turns, u32 way) { return get(turns, 2 * way); }
  static u32 later(const u64* turns, u32 way) { return get(turns, 2 * way + 1); }
  static void link(u64* turns, u32 way, u32 earlier) {
    put(turns, 2 * way, earlier);
    put(turns, 2 * earlier + 1, way);
  }

  u32 ways_;
};

}  // namespace nestwalk::models
