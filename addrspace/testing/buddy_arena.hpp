// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Frames for programs that run the engine in user space: one mapping, handed out by a buddy
// allocator that takes runs back in parts.
#pragma once

#include <cstdlib>
#include <vector>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::addrspace {

class BuddyArena {
 public:
  static constexpr unsigned kMaxOrder = 18;  // 1 GiB

  /// `frames` frames whose physical addresses begin at `base`, a multiple of the largest run.
  BuddyArena(u64 frames, u64 base);
  ~BuddyArena();
  BuddyArena(const BuddyArena&) = delete;
  BuddyArena& operator=(const BuddyArena&) = delete;

  Result<u64> alloc(unsigned order);
  /// Aborts when the run is not allocated: a double or a foreign free.
  void free(u64 start, unsigned order);

  u64 base() const { return base_; }
  u64 frames() const { return frames_; }
  u64 frames_in_use() const { return in_use_; }
  bool owns(u64 physical) const { return physical - base_ < frames_ * kFrameBytes; }
  bool is_allocated(u64 physical) const {
    return owns(physical) && allocated_[(physical - base_) / kFrameBytes];
  }
  u8* pointer(u64 physical) const { return memory_ + (physical - base_); }
  u64 physical(const void* pointer) const {
    return base_ + static_cast<u64>(static_cast<const u8*>(pointer) - memory_);
  }

 private:
  static constexpr u32 kNone = ~u32{0};
  static constexpr u8 kNotFree = 0xff;
  struct Links {
    u32 next = kNone;
    u32 previous = kNone;
  };

  void push(u32 frame, unsigned order);
  void unlink(u32 frame, unsigned order);

  u64 frames_;
  u64 base_;
  u64 in_use_ = 0;
  u8* memory_;
  u32 heads_[kMaxOrder + 1];
  std::vector<Links> links_;
  std::vector<u8> free_order_;  ///< of a free run's first frame
  std::vector<bool> allocated_;
};

}  // namespace nestwalk::addrspace
