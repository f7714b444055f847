// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which guest-physical frame a guest takes next. Large pages come from the top of its memory down,
// wherever a whole one is free: taken at random, small ones soon leave none.
#pragma once

#include <optional>

#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

class GuestFrames {
 public:
  GuestFrames(const std::vector<MemoryRange>& memory, Placement placement, u64 seed);

  /// A frame of 4 KiB; none when all are taken.
  std::optional<Gpa> take();
  /// 2 MiB, aligned to that.
  std::optional<Gpa> take_large();

 private:
  static constexpr u64 kSmallPerLarge = 512;
  struct Range {
    u64 first;  ///< number of its first frame
    u64 start;
  };
  Gpa frame(u64 number) const;
  bool is_free(u64 number) const { return !taken_[number]; }
  Gpa take_number(u64 number);

  std::vector<Range> ranges_;
  u64 frames_ = 0;
  Placement placement_;
  u64 next_ = 0;             ///< of the order in which small ones are looked at
  u64 next_large_ = 0;       ///< no large page is free above it
  std::vector<bool> taken_;  ///< by frame
  std::vector<u16> in_use_;  ///< frames taken, by large page
  unsigned half_bits_ = 0;   ///< of the permutation's halves
  u64 keys_[4];
};

}  // namespace nestwalk::software
