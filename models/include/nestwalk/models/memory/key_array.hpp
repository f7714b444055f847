// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Keys in sets and ways: what every TLB, walk cache and data cache looks up.
//
// All that belongs to a set lies together in whole lines of the host's cache: a mark for each way,
// an eight-bit signature of each key, what the replacement policy remembers, the keys. A set is
// searched by its signatures, sixteen of them at once; keys are compared only where the signature
// agrees. So a fully associative TLB of 64 entries costs four steps, not 64, and a set of a large
// cache one or two of the host's misses.
#pragma once

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <bit>

#include "nestwalk/models/base/table.hpp"
#include "nestwalk/models/memory/replacement/lru_word.hpp"

namespace nestwalk::models {

class KeyArray {
 public:
  static constexpr u32 kNone = ~u32{0};
  static constexpr u64 kEmpty = ~u64{0};  // no key

  KeyArray(u32 sets, u32 ways, ReplacementKind replacement, u64 seed)
      : policy_(replacement.make(ways, seed)),
        lru_(dynamic_cast<LruWord*>(policy_.get())),
        last_set_(sets - 1),
        ways_(ways),
        turns_(kSignatures + (ways + 15) / 16 * 2),
        latest_(policy_->latest_mask()),
        keys_(turns_ + policy_->words()),
        stride_((keys_ + ways + 7) / 8 * 8),
        empty_(sets * ways),
        words_(u64{sets} * stride_) {
    for (u32 set = 0; set < sets; ++set) {
      policy_->prepare(block(set) + turns_, set, sets);
      std::fill_n(block(set) + keys_, ways, kEmpty);
    }
  }

  u32 sets() const { return last_set_ + 1; }
  u32 ways() const { return ways_; }
  u64 key(u32 set, u32 way) const { return block(set)[keys_ + way]; }
  u32 set_of(u64 index) const { return static_cast<u32>(index) & last_set_; }

  /// The way that holds the key; kNone if none does. Looking does not count as a use.
  u32 find(u32 set, u64 key) const { return way_of(block(set), key); }
  /// The same, as a use.
  u32 use(u32 set, u64 key) { return use(block(set), key); }
  /// The same. The way that was used last is looked at first: in most programs it has most hits of
  /// what is looked up first. Where it seldom has, it costs another line of the host's cache. A
  /// policy of which no way's use changes nothing says so with a way before the first: kNone.
  u32 use_again(u32 set, u64 key) {
    u64* const words = block(set);
    const u32 latest = static_cast<u32>(words[turns_] & latest_);
    return words[keys_ + latest] == key ? latest : use(words, key);
  }
  bool has_empty_way(u32 set) const { return empty_ != 0 && empty_way(block(set)) != kNone; }
  struct Place {
    u32 way;
    u64 before;  ///< the key that was there
  };
  /// Puts a key that is not there where it is due: into an empty way, or the one whose turn it is.
  Place put(u32 set, u64 key) { return put(block(set), key); }
  /// Puts a key that may be there.
  Place put_or_use(u32 set, u64 key) {
    u64* const words = block(set);
    const u32 way = way_of(words, key);
    if (way == kNone) return put(words, key);
    touch(words, way);
    return {way, key};
  }
  void erase(u32 set, u32 way) {
    empty_ += key(set, way) == kEmpty ? 0 : 1;
    write(block(set), way, kEmpty, 0);
  }
  /// For the host's caches, some time before a lookup. (gcc drops calls of functions that do
  /// nothing but prefetch, unless they are inline by force.)
  [[gnu::always_inline]] void prefetch(u32 set) const {
    const u64* const words = block(set);
    for (u32 line = 0; line < stride_; line += 8) __builtin_prefetch(words + line);
  }

  /// A bit for each of the first 64 ways. It is the owner's, whatever becomes of the keys.
  bool marked(u32 set, u32 way) const { return (*block(set) >> way & 1) != 0; }
  /// Without a branch: which accesses are writes, the host cannot guess.
  void mark(u32 set, u32 way, bool marks = true) { *block(set) |= u64{marks} << way; }
  void unmark(u32 set, u32 way) { *block(set) &= ~(u64{1} << way); }

 private:
  static constexpr u64 kOnes = 0x0101'0101'0101'0101;
  static constexpr u64 kTops = 0x8080'8080'8080'8080;
  // Of a signature. Those of empty ways are zero, and of what fills the last word: a search can
  // never take one of these for another.
  static constexpr u8 kInUse = 0x80;
  static constexpr u32 kSignatures = 1;  // in the words of a set, after the marks; a byte for each
  static_assert(std::endian::native == std::endian::little);  // the first way's is the lowest

  u64* block(u32 set) { return &words_[u64{set} * stride_]; }
  const u64* block(u32 set) const { return &words_[u64{set} * stride_]; }

  // Multiplicative hashing: the top bits depend on all others.
  static u8 signature(u64 key) {
    return static_cast<u8>(key * 0x9e37'79b9'7f4a'7c15 >> 56 | kInUse);
  }

  // What follows works on the words of a set.
  u32 way_of(const u64* words, u64 key) const {
    const u64 pattern = signature(key) * kOnes;
    if (ways_ <= 8) return way_of_eight(words, key, pattern);
    const u64* keys = words + keys_;
    const u64* const end = keys + ways_;
    for (const u64* signatures = words + kSignatures;; signatures += 2, keys += 16) {
      u32 same = equal_signatures(signatures, pattern);
      for (; same != 0; same &= same - 1) {
        const u64* const found = keys + std::countr_zero(same);
        if (*found == key) return static_cast<u32>(found - (words + keys_));
      }
      if (end - keys <= 16) return kNone;
    }
  }
  // Faster for one word than vectors are.
  u32 way_of_eight(const u64* words, u64 key, u64 pattern) const {
    u64 same = equal_bytes(words[kSignatures] ^ pattern);
    for (; same != 0; same &= same - 1) {
      const u32 way = static_cast<u32>(std::countr_zero(same)) / 8;
      if (words[keys_ + way] == key) return way;
    }
    return kNone;
  }
  // A bit for each of sixteen, and perhaps more of ways in use.
  static u32 equal_signatures(const u64* sixteen, u64 pattern) {
#ifdef __SSE2__
    const __m128i found = _mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen));
    const __m128i wanted = _mm_set1_epi64x(static_cast<long long>(pattern));
    return static_cast<u32>(_mm_movemask_epi8(_mm_cmpeq_epi8(found, wanted)));
#else
    // The product gathers the lowest bits of eight bytes in the topmost byte.
    constexpr u64 kGather = 0x0102'0408'1020'4080;
    const u64 low = (equal_bytes(sixteen[0] ^ pattern) >> 7) * kGather >> 56;
    const u64 high = (equal_bytes(sixteen[1] ^ pattern) >> 7) * kGather >> 56;
    return static_cast<u32>(low | high << 8);
#endif
  }
  // A mark in the top bit of each byte that is zero, and perhaps in others, but only of ways in
  // use: what differs in such a bit, as the signature of an empty way does, has none.
  static u64 equal_bytes(u64 difference) { return (difference - kOnes) & ~difference & kTops; }
  u32 use(u64* words, u64 key) {
    const u32 way = way_of(words, key);
    if (way != kNone) touch(words, way);
    return way;
  }
  u32 empty_way(const u64* words) const {  // kNone if there is none
    for (u32 first = 0; first < ways_; first += 8) {
      const u64 empty = ~words[kSignatures + first / 8] & kTops;
      const u32 way = first + static_cast<u32>(std::countr_zero(empty)) / 8;
      if (empty != 0 && way < ways_) return way;
    }
    return kNone;
  }
  Place put(u64* words, u64 key) {
    u32 way = empty_ == 0 ? kNone : empty_way(words);
    if (way == kNone) {
      u64* const turns = words + turns_;
      way = lru_ != nullptr ? lru_->take_turn(turns) : policy_->take_turn(turns);
    } else {
      --empty_;
      u64* const turns = words + turns_;
      lru_ != nullptr ? lru_->touch(turns, way) : policy_->fill(turns, way);
    }
    const u64 before = words[keys_ + way];
    write(words, way, key, signature(key));
    return {way, before};
  }
  void touch(u64* words, u32 way) {
    u64* const turns = words + turns_;
    lru_ != nullptr ? lru_->touch(turns, way) : policy_->touch(turns, way);
  }
  void write(u64* words, u32 way, u64 key, u8 signature) {
    words[keys_ + way] = key;
    reinterpret_cast<u8*>(words + kSignatures)[way] = signature;
  }

  std::unique_ptr<Replacement> policy_;
  LruWord* lru_;  ///< the same, if it is one: by far the most used, and called without indirection
  u32 last_set_;
  u32 ways_;
  // Where things begin in the words of a set, and how many there are.
  u32 turns_;
  u32 latest_;  ///< mask of the way that was used last, in the first of the policy's words
  u32 keys_;
  u32 stride_;
  u32 empty_;  ///< ways of all sets
  Table<u64> words_;
};

}  // namespace nestwalk::models
