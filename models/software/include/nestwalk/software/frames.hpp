// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which guest-physical frame a guest takes next. Large pages come from one end of its memory, small
// ones from the other, so that neither breaks up the other.
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
  Gpa frame(u64 number) const;

  struct Range {
    u64 first;  ///< number of its first frame
    u64 start;
    u64 frames;
  };
  std::vector<Range> ranges_;
  u64 frames_ = 0;
  Placement placement_;
  u64 taken_ = 0;         ///< small ones
  u64 taken_large_ = 0;   ///< large ones
  unsigned half_bits_;    ///< of the permutation's halves
  u64 keys_[4];
};

}  // namespace nestwalk::software
