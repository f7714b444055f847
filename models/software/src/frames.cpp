// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/frames.hpp"

#include <bit>

namespace nestwalk::software {
namespace {

constexpr u64 mix(u64 z) {  // SplitMix64 (Steele, Lea, Flood)
  z += 0x9e37'79b9'7f4a'7c15;
  z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
  z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
  return z ^ z >> 31;
}

// A permutation of [0, 2^(2 * half_bits)) in four Feistel rounds: every number comes once.
u64 permuted(u64 number, unsigned half_bits, const u64* keys) {
  const u64 mask = (u64{1} << half_bits) - 1;
  u64 left = number >> half_bits;
  u64 right = number & mask;
  for (unsigned round = 0; round < 4; ++round) {
    const u64 next = left ^ (mix(right ^ keys[round]) & mask);
    left = right;
    right = next;
  }
  return left << half_bits | right;
}

}  // namespace

GuestFrames::GuestFrames(const std::vector<MemoryRange>& memory, Placement placement, u64 seed)
    : placement_(placement) {
  for (const MemoryRange& range : memory) {
    ranges_.push_back({frames_, range.start, range.bytes / kFrameBytes});
    frames_ += range.bytes / kFrameBytes;
  }
  half_bits_ = (static_cast<unsigned>(std::bit_width(frames_)) + 1) / 2;
  for (u64& key : keys_) key = seed = mix(seed);
}

Gpa GuestFrames::frame(u64 number) const {
  std::size_t n = ranges_.size() - 1;
  while (ranges_[n].first > number) --n;
  return Gpa(ranges_[n].start + (number - ranges_[n].first) * kFrameBytes);
}

std::optional<Gpa> GuestFrames::take() {
  const u64 small = frames_ - taken_large_ * kSmallPerLarge;  // large ones come from the top
  if (placement_ == Placement::Linear) {
    if (taken_ == small) return std::nullopt;
    return frame(taken_++);
  }
  const u64 end = u64{1} << 2 * half_bits_;
  while (taken_ < end) {
    const u64 number = permuted(taken_++, half_bits_, keys_);
    if (number < small) return frame(number);
  }
  return std::nullopt;
}

// With random placement small frames lie anywhere below what large pages may still take, so large
// pages have a quarter of the memory to themselves.
std::optional<Gpa> GuestFrames::take_large() {
  const u64 next = (taken_large_ + 1) * kSmallPerLarge;
  if (next > frames_) return std::nullopt;
  const u64 lowest = frames_ - next;
  const u64 reserved = placement_ == Placement::Linear ? taken_ : frames_ / 4 * 3;
  if (lowest < reserved) return std::nullopt;
  ++taken_large_;
  return frame(lowest);
}

}  // namespace nestwalk::software
