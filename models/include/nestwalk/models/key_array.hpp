// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Keys in sets and ways: what every TLB, walk cache and data cache looks up.
//
// A set is searched by eight-bit signatures first, eight of them in one word; keys are compared
// only where the signature agrees. So a fully associative TLB of 64 entries costs eight steps,
// not 64.
#pragma once

#include <bit>

#include "nestwalk/models/replacement/lru.hpp"
#include "nestwalk/models/table.hpp"

namespace nestwalk::models {

class KeyArray {
 public:
  static constexpr u32 kNone = ~u32{0};
  static constexpr u64 kEmpty = ~u64{0};  // no key

  KeyArray(u32 sets, u32 ways, ReplacementKind replacement, u64 seed)
      : sets_(sets),
        ways_(ways),
        words_((ways + 7) / 8),
        signatures_(u64{sets} * words_),
        keys_(u64{sets} * words_ * 8, kEmpty),
        policy_(make_replacement(replacement, sets, ways, seed)),
        lru_(replacement == ReplacementKind::Lru ? static_cast<Lru*>(policy_.get()) : nullptr) {}

  u32 sets() const { return sets_; }
  u32 ways() const { return ways_; }
  /// Slots are numbered set by set, with room for whole words of ways.
  u32 slots() const { return sets_ * words_ * 8; }
  u64 key(u32 slot) const { return keys_[slot]; }
  u32 set_of(u64 index) const { return static_cast<u32>(index) & (sets_ - 1); }

  /// The slot that holds the key; kNone if none does. Looking does not count as a use.
  u32 find(u32 set, u64 key) const {
    const u64 pattern = signature(key) * kOnes;
    const u32 first_word = set * words_;
    for (u32 n = 0; n < words_; ++n) {
      const u64 difference = signatures_[first_word + n] ^ pattern;
      // A mark in the top bit of each zero byte, and perhaps of some others above one.
      u64 marks = (difference - kOnes) & ~difference & kTops;
      for (; marks != 0; marks &= marks - 1) {
        const u32 slot = (first_word + n) * 8 + static_cast<u32>(std::countr_zero(marks)) / 8;
        if (keys_[slot] == key) return slot;
      }
    }
    return kNone;
  }
  /// For the host's caches, some time before a lookup.
  void prefetch(u32 set) const {
    __builtin_prefetch(&signatures_[set * words_]);
    for (u32 n = 0; n < words_; ++n) __builtin_prefetch(&keys_[(set * words_ + n) * 8]);
    policy_->prefetch(set);
  }
  void touch(u32 slot) {
    const u32 set = slot / (words_ * 8);
    touch(set, slot);
  }
  void touch(u32 set, u32 slot) {
    const u32 way = slot - set * words_ * 8;
    lru_ != nullptr ? lru_->touch(set, way) : policy_->touch(set, way);
  }

  /// Where the next key of the set goes: an empty slot, or whoever's turn it is.
  u32 choose(u32 set) {
    const u32 first = set * words_ * 8;
    for (u32 n = 0; n < words_; ++n) {
      const u64 word = signatures_[set * words_ + n];
      const u64 zeros = (word - kOnes) & ~word & kTops;  // the lowest mark is exact
      const u32 way = n * 8 + static_cast<u32>(std::countr_zero(zeros)) / 8;
      if (zeros != 0 && way < ways_) return first + way;
    }
    return first + (lru_ != nullptr ? lru_->victim(set) : policy_->victim(set));
  }
  void put(u32 slot, u64 key) {
    keys_[slot] = key;
    sign(slot, signature(key));
    touch(slot);
  }
  void erase(u32 slot) {
    keys_[slot] = kEmpty;
    sign(slot, 0);
  }

 private:
  static constexpr u64 kOnes = 0x0101'0101'0101'0101;
  static constexpr u64 kTops = 0x8080'8080'8080'8080;
  // Multiplicative hashing: the top bits depend on all others. 0 is an empty slot's.
  static constexpr u64 signature(u64 key) {
    const u64 hash = key * 0x9e37'79b9'7f4a'7c15 >> 56;
    return hash != 0 ? hash : 1;
  }
  void sign(u32 slot, u64 value) {
    u64& word = signatures_[slot / 8];
    const unsigned shift = slot % 8 * 8;
    word = (word & ~(u64{0xff} << shift)) | value << shift;
  }

  u32 sets_;
  u32 ways_;
  u32 words_;  ///< of eight signatures, per set
  Table<u64> signatures_;
  Table<u64> keys_;
  std::unique_ptr<Replacement> policy_;
  Lru* lru_;  ///< the same, if it is one: by far the most used, and called without indirection
};

}  // namespace nestwalk::models
