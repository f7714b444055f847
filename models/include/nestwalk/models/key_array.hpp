// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Keys in sets and ways: what every TLB, walk cache and data cache looks up.
//
// All that belongs to a set lies together in whole lines of the host's cache: a mark for each way,
// what the replacement policy remembers, an eight-bit signature of each key, the keys. A set is
// searched by its signatures first, eight of them in one word; keys are compared only where the
// signature agrees. So a fully associative TLB of 64 entries costs eight steps, not 64, and a set of
// a large cache one or two of the host's misses.
#pragma once

#include <bit>

#include "nestwalk/models/replacement/lru.hpp"
#include "nestwalk/models/table.hpp"

namespace nestwalk::models {

class KeyArray {
 public:
  static constexpr u32 kNone = ~u32{0};
  static constexpr u64 kEmpty = ~u64{0};  // no key

  /// A key and its signature, eight times.
  class Key {
   public:
    explicit Key(u64 value) : value_(value), pattern_((value * kGolden >> 56 | kInUse) * kOnes) {}

   private:
    friend KeyArray;
    // Multiplicative hashing: the top bits depend on all others.
    static constexpr u64 kGolden = 0x9e37'79b9'7f4a'7c15;
    u64 value_;
    u64 pattern_;
  };

  KeyArray(u32 sets, u32 ways, ReplacementKind replacement, u64 seed)
      : policy_(make_replacement(replacement, ways, seed)),
        lru_(dynamic_cast<Lru<4>*>(policy_.get())),
        sets_(sets),
        ways_(ways),
        signatures_(kTurns + policy_->words()),
        keys_(signatures_ + (ways + 7) / 8),
        stride_((keys_ + ways + 7) / 8 * 8),
        empty_(u64{sets} * ways),
        words_(u64{sets} * stride_) {
    for (u32 set = 0; set < sets; ++set) {
      policy_->prepare(block(set) + kTurns);
      std::fill_n(block(set) + keys_, ways, kEmpty);
    }
  }

  u32 sets() const { return sets_; }
  u32 ways() const { return ways_; }
  u64 key(u32 set, u32 way) const { return block(set)[keys_ + way]; }
  u32 set_of(u64 index) const { return static_cast<u32>(index) & (sets_ - 1); }

  /// The way that holds the key; kNone if none does. Looking does not count as a use.
  u32 find(u32 set, const Key& key) const {
    const u64* const words = block(set);
    for (u32 n = signatures_, way = 0; n < keys_; ++n, way += 8) {
      const u64 difference = words[n] ^ key.pattern_;
      // A mark in the top bit of each zero byte, and perhaps in others of ways in use.
      u64 same = (difference - kOnes) & ~difference & kTops;
      for (; same != 0; same &= same - 1) {
        const u32 found = way + static_cast<u32>(std::countr_zero(same)) / 8;
        if (words[keys_ + found] == key.value_) return found;
      }
    }
    return kNone;
  }
  /// For the host's caches, some time before a lookup.
  void prefetch(u32 set) const {
    for (u32 n = 0; n < stride_; n += 8) __builtin_prefetch(block(set) + n);
  }
  void touch(u32 set, u32 way) {
    u64* const turns = block(set) + kTurns;
    lru_ != nullptr ? lru_->touch(turns, way) : policy_->touch(turns, way);
  }

  /// Where the next key of the set goes, which counts as its use: an empty way, or whoever's turn
  /// it is.
  u32 choose(u32 set) {
    if (empty_ != 0) [[unlikely]] {
      const u32 way = empty_way(set);
      if (way < ways_) {
        touch(set, way);
        return way;
      }
    }
    u64* const turns = block(set) + kTurns;
    return lru_ != nullptr ? lru_->take_turn(turns) : policy_->take_turn(turns);
  }
  void put(u32 set, u32 way, const Key& key) {
    empty_ -= this->key(set, way) == kEmpty ? 1 : 0;
    write(set, way, key.value_, key.pattern_);
  }
  void erase(u32 set, u32 way) {
    empty_ += this->key(set, way) == kEmpty ? 0 : 1;
    write(set, way, kEmpty, 0);
  }

  /// A bit for each of the first 64 ways. It is the owner's, whatever becomes of the keys.
  bool marked(u32 set, u32 way) const { return (*block(set) >> way & 1) != 0; }
  void mark(u32 set, u32 way) { *block(set) |= u64{1} << way; }
  void unmark(u32 set, u32 way) { *block(set) &= ~(u64{1} << way); }

 private:
  static constexpr u64 kOnes = 0x0101'0101'0101'0101;
  static constexpr u64 kTops = 0x8080'8080'8080'8080;
  // Of a signature. Those of empty ways are zero, and of what fills the last word.
  static constexpr u64 kInUse = 0x80;

  // The first word of a set has the marks; from the second on, the policy has its own.
  static constexpr u32 kTurns = 1;

  u64* block(u32 set) { return &words_[u64{set} * stride_]; }
  const u64* block(u32 set) const { return &words_[u64{set} * stride_]; }
  u32 empty_way(u32 set) const {  // not below ways() if there is none
    for (u32 n = signatures_; n < keys_; ++n) {
      const u64 empty = ~block(set)[n] & kTops;
      if (empty == 0) continue;
      return (n - signatures_) * 8 + static_cast<u32>(std::countr_zero(empty)) / 8;
    }
    return ways_;
  }
  void write(u32 set, u32 way, u64 key, u64 pattern) {
    u64* const words = block(set);
    words[keys_ + way] = key;
    u64& signatures = words[signatures_ + way / 8];
    signatures ^= (signatures ^ pattern) & u64{0xff} << way % 8 * 8;
  }

  std::unique_ptr<Replacement> policy_;
  Lru<4>* lru_;  ///< the same, if it is one: by far the most used, and called without indirection
  u32 sets_;
  u32 ways_;
  // Where things begin in the words of a set, and how many there are.
  u32 signatures_;
  u32 keys_;
  u32 stride_;
  u64 empty_;  ///< ways of all sets
  Table<u64> words_;
};

}  // namespace nestwalk::models
