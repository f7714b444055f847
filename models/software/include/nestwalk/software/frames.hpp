// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which guest-physical frame a guest takes next. Large pages come from the top of its memory down,
// wherever a whole one is free: taken at random, small ones soon leave none. With buddies, either
// comes from the smallest free block that is large enough, which is halved until it fits: the block
// that became free last.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

class GuestFrames final : private models::FreeFrames {
 public:
  explicit GuestFrames(const GuestShape& shape);
  GuestFrames(const GuestFrames&) = delete;
  GuestFrames& operator=(const GuestFrames&) = delete;

  /// A frame of 4 KiB; none when all are taken. `page` is the one that it is for, of an address
  /// space.
  std::optional<Gpa> take(Gva page = Gva(0), u64 space = 0);
  /// 2 MiB, aligned to that.
  std::optional<Gpa> take_large();
  /// One of either that was taken: of its size, it is the next that is.
  void give_back(Gpa start, u64 bytes);
  const models::FramePolicy& policy() const { return *policy_; }

 private:
  static constexpr unsigned kLargeOrder = 9;
  static constexpr u64 kSmallPerLarge = u64{1} << kLargeOrder;
  struct Range {
    u64 first;  ///< number of its first frame
    u64 start;
  };
  Gpa frame(u64 number) const;
  u64 number_of(Gpa frame) const;
  /// Frames that nobody gets, by their numbers.
  struct Reserved {
    u64 first;
    u64 end;
    u64 usable_before;  ///< frames below it that are not reserved
  };
  /// The first of them that ends after a frame.
  std::vector<Reserved>::const_iterator reserved_beyond(u64 number) const;
  bool is_free(u64 number) const {
    const auto reserved = reserved_beyond(number);
    if (reserved != reserved_.end() && reserved->first <= number) return false;
    const u64* const words = taken_[number / kChunk].get();
    return words == nullptr || (words[number % kChunk / 64] >> number % 64 & 1) == 0;
  }
  /// The n-th frame that is not reserved.
  u64 usable(u64 n) const;
  bool is_region_free(u64 region) const;
  void take_number(u64 number);
  void reserve(const std::vector<MemoryRange>& devices);
  /// Where the free blocks of an order that nobody has had yet go on, upwards.
  struct Unused {
    u64 region = 0;  ///< 2 MiB
    u64 seed = 0;    ///< of that region
    u64 next = 0;    ///< frame within it
  };
  void fragment(u32 percent, u64 seed);
  bool is_any_reserved(u64 first, u64 count) const;
  bool is_unused(const Unused& at, u64 first, u64 count) const;
  std::optional<u64> take_unused(unsigned order);
  void move_to(Unused& at, u64 region) const;
  std::optional<u64> take_block(unsigned order);
  bool is_block_free(u64 first, unsigned order) const;
  std::optional<u64> take_small(unsigned order);
  std::optional<u64> take_region();
  addrspace::Result<u64> allocate(unsigned order) override;
  void free(u64 first, unsigned order) override { free_[order].push_back(first); }

  std::vector<Range> ranges_;
  u64 frames_ = 0;
  std::vector<Reserved> reserved_;  ///< in ascending order
  u64 usable_ = 0;                  ///< frames that are not reserved
  Placement placement_;
  u64 next_ = 0;                               ///< of the order in which usable ones are looked at
  u64 next_large_ = 0;                         ///< no large page is free above it
  static constexpr u64 kChunk = u64{1} << 15;  ///< frames
  /// A bit for each frame that was taken; none of chunks of which no frame was.
  std::vector<std::unique_ptr<u64[]>> taken_;
  /// First frames, by order: what was given back, or left when a block was halved.
  std::array<std::vector<u64>, kLargeOrder + 1> free_;
  std::array<Unused, kLargeOrder + 1> unused_;  ///< of buddies, by order
  u64 unused_end_ = 0;                          ///< regions that are whole
  u32 broken_percent_ = 0;                      ///< of them, by a frame that is taken for good
  unsigned half_bits_ = 0;                      ///< of the permutation's halves
  u64 keys_[4];
  std::unique_ptr<models::FramePolicy> policy_;
};

}  // namespace nestwalk::software
