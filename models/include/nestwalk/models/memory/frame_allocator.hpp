// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which frames of host memory are free: a buddy allocator over bitmaps, lowest address first, so
// that two runs place everything alike. Its memory grows with what was handed out.
#pragma once

#include <array>

#include "nestwalk/models/memory/frame_policy.hpp"
#include "nestwalk/models/memory/mapping.hpp"

namespace nestwalk::models {

using addrspace::Error;

/// A set of numbers with a quick "smallest": bitmaps of bitmaps.
class NumberSet {
 public:
  NumberSet() = default;
  explicit NumberSet(u64 numbers);

  bool has(u64 n) const { return (levels_[0].as<u64>()[n / 64] >> n % 64 & 1) != 0; }
  void insert(u64 n);
  void erase(u64 n);
  bool empty() const { return count_ == 0; }
  /// Of a set that is not empty.
  u64 smallest() const;

 private:
  static constexpr unsigned kLevels = 6;  // 2^36 numbers
  std::array<Mapping, kLevels> levels_;
  u64 count_ = 0;
};

class FrameAllocator final : public FreeFrames {
 public:
  static constexpr unsigned kMaxOrder = 18;  // 1 GiB

  explicit FrameAllocator(u64 frames);

  /// 2^order frames, aligned to their size; their number, or NoMemory.
  Result<u64> allocate(unsigned order) override;
  /// These, which are free.
  void take(u64 first, unsigned order);
  /// Takes a run back, or a naturally aligned part of one.
  void free(u64 first, unsigned order) override;

  u64 frames() const { return frames_; }
  u64 frames_in_use() const { return in_use_; }
  /// At most, at a time.
  u64 peak() const { return peak_; }

  struct Run {
    u64 first;
    unsigned order;
  };
  /// The run that a frame was handed out with; order kMaxOrder + 1 if it is free.
  Run run_of(u64 frame) const;

 private:
  void cut(Run run, u64 first, unsigned order);
  void take_from(unsigned found, u64 first, unsigned order);

  u64 frames_;
  u64 in_use_ = 0;
  u64 peak_ = 0;
  std::array<NumberSet, kMaxOrder + 1> free_;  ///< by order; numbers are frame >> order
  Mapping order_;                              ///< at a run's first frame: its order + 1
};

}  // namespace nestwalk::models
