// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which table holds the pages around an address: a direct-mapped cache in one frame, so that a
// lookup reads two words instead of one per level.
//
// Whoever changes the tree keeps it: tables of pages enter when they are filled or found by a
// fault, and leave before they are unlinked. Readers only look, and each entry is one word, so a
// reader sees all of it or none.
#pragma once

#include "nestwalk/addrspace/hal.hpp"

namespace nestwalk::addrspace {

/// `kTableShift`: log2 of the bytes that one table of pages translates.
template <class Output, unsigned kTableShift>
class Shortcuts {
 public:
  static constexpr unsigned kIndexBits = 9;
  static constexpr u64 kEntries = u64{1} << kIndexBits;
  static_assert(kEntries * sizeof(u64) == kFrameBytes);

  /// The frame holds zeros.
  explicit Shortcuts(Hva frame) : words_(reinterpret_cast<u64*>(frame.value())) {}

  /// The table of pages for an offset.
  Result<Output> find(u64 offset) const {
    const u64 word = __atomic_load_n(&words_[index(offset)], __ATOMIC_ACQUIRE);
    if (word >> kFrameNumberBits != tag(offset)) return Error::NotMapped;
    return Output(word << (64 - kFrameNumberBits) >> (64 - kFrameNumberBits - kFrameShift));
  }

  void remember(u64 offset, Output table) {
    // What does not fit is found the long way.
    if (tag(offset) > low_mask(64 - kFrameNumberBits) ||
        table.value() >> (kFrameNumberBits + kFrameShift) != 0)
      return;
    put(index(offset), tag(offset) << kFrameNumberBits | table.value() >> kFrameShift);
  }

  void forget(u64 from, u64 to) {
    const u64 first = from >> kTableShift;
    const u64 count = ((to - 1) >> kTableShift) - first + 1;
    if (count >= kEntries) return forget_all();
    for (u64 n = 0; n < count; ++n) put((first + n) & (kEntries - 1), 0);
  }
  void forget_all() {
    for (u64 n = 0; n < kEntries; ++n) put(n, 0);
  }

  Hva frame() const { return Hva(reinterpret_cast<u64>(words_)); }

 private:
  static constexpr unsigned kFrameNumberBits = 40;

  /// Not 0, which is the tag of an empty word.
  static constexpr u64 tag(u64 offset) { return (offset >> (kTableShift + kIndexBits)) + 1; }
  static constexpr u64 index(u64 offset) { return offset >> kTableShift & (kEntries - 1); }
  void put(u64 index, u64 word) { __atomic_store_n(&words_[index], word, __ATOMIC_RELEASE); }

  u64* words_;
};

}  // namespace nestwalk::addrspace
