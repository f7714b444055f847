// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How many leaves of neighbouring pages make one entry of a TLB.

#include "nestwalk/models/translation/walker.hpp"

namespace nestwalk::models {

// What the leaf itself says of its neighbours is taken at its word. Others, which the hardware has
// to compare, are at hand if they are in the same line of memory.
u8 Walker::most_coalesced(const EntryFormat& format, u64 slot, const Entry& leaf,
                          u8 page_shift) const {
  if (leaf.neighbours != 0 && is_in_place(slot, leaf, page_shift, leaf.neighbours)) {
    return static_cast<u8>(page_shift + leaf.neighbours);
  }
  const u64 sizes = coalesced_ >> page_shift;
  for (unsigned doubled = ArrayShape::kMostDoubled; doubled != 0; --doubled) {
    if ((sizes >> doubled & 1) != 0 && are_alike(format, slot, leaf, page_shift, 1u << doubled)) {
      return static_cast<u8>(page_shift + doubled);
    }
  }
  return page_shift;
}

// Is the leaf's address aligned in its group as the leaf is? Where Arm's contiguous bit is set and
// it is not, the bit, a hint, is ignored.
bool Walker::is_in_place(u64 slot, const Entry& leaf, unsigned page_shift, unsigned doubled) {
  return ((leaf.address >> page_shift ^ slot / sizeof(u64)) & addrspace::low_mask(doubled)) == 0;
}

// All that the entries say is the same, flags included, but for their addresses: these are
// contiguous, and aligned as the entries are.
bool Walker::are_alike(const EntryFormat& format, u64 slot, const Entry& leaf, unsigned page_shift,
                       unsigned count) const {
  const u64 first = slot & ~(count * sizeof(u64) - 1);
  const u64 index = (slot - first) / sizeof(u64);
  if ((leaf.address >> page_shift & (count - 1)) != index) return false;
  Entry expected = leaf;
  expected.address -= index << page_shift;
  for (unsigned n = 0; n < count; ++n, expected.address += u64{1} << page_shift) {
    const u64 at = first + n * sizeof(u64);
    if (n == index) continue;
    if (format.decode(memory_.load(Hpa(at)), 0, at) != expected) return false;
  }
  return true;
}

}  // namespace nestwalk::models
