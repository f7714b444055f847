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
    ranges_.push_back({frames_, range.start});
    frames_ += range.bytes / kFrameBytes;
  }
  taken_.resize(frames_);
  in_use_.resize(frames_ / kSmallPerLarge);
  next_large_ = in_use_.size();
  half_bits_ = (static_cast<unsigned>(std::bit_width(frames_)) + 1) / 2;
  for (u64& key : keys_) key = seed = mix(seed);
}

Gpa GuestFrames::frame(u64 number) const {
  std::size_t n = ranges_.size() - 1;
  while (ranges_[n].first > number) --n;
  return Gpa(ranges_[n].start + (number - ranges_[n].first) * kFrameBytes);
}

Gpa GuestFrames::take_number(u64 number) {
  taken_[number] = true;
  ++in_use_[number / kSmallPerLarge];
  return frame(number);
}

std::optional<Gpa> GuestFrames::take() {
  const bool linear = placement_ == Placement::Linear;
  const u64 end = linear ? frames_ : u64{1} << 2 * half_bits_;
  while (next_ < end) {
    const u64 at = next_++;
    const u64 number = linear ? at : permuted(at, half_bits_, keys_);
    if (number < frames_ && is_free(number)) return take_number(number);
  }
  return std::nullopt;
}

std::optional<Gpa> GuestFrames::take_large() {
  while (next_large_ > 0) {
    const u64 region = --next_large_;
    if (in_use_[region] != 0) continue;
    for (u64 n = 0; n < kSmallPerLarge; ++n) take_number(region * kSmallPerLarge + n);
    return frame(region * kSmallPerLarge);
  }
  return std::nullopt;
}

}  // namespace nestwalk::software
