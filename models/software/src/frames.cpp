// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/frames.hpp"

#include <algorithm>
#include <bit>

namespace nestwalk::software {
namespace {

constexpr u64 kStep = 0x9e37'79b9'7f4a'7c15;
constexpr u64 kFactor1 = 0xbf58'476d'1ce4'e5b9, kFactor2 = 0x94d0'49bb'1331'11eb;

constexpr u64 mix(u64 z) {  // SplitMix64 (Steele, Lea, Flood)
  z += kStep;
  z = (z ^ z >> 30) * kFactor1;
  z = (z ^ z >> 27) * kFactor2;
  return z ^ z >> 31;
}

// Of an odd number, modulo 2^64: each step of Newton's doubles the bits that are right, at first 3.
constexpr u64 inverse(u64 odd) {
  u64 x = odd;
  for (unsigned bits = 3; bits < 64; bits *= 2) x *= 2 - odd * x;
  return x;
}

// What mix() makes `z` of.
constexpr u64 unmixed(u64 z) {
  z = (z ^ z >> 31 ^ z >> 62) * inverse(kFactor2);
  z = (z ^ z >> 27 ^ z >> 54) * inverse(kFactor1);
  return (z ^ z >> 30 ^ z >> 60) - kStep;
}
static_assert(unmixed(mix(0)) == 0 && unmixed(mix(~u64{5})) == ~u64{5});

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

GuestFrames::GuestFrames(const GuestShape& shape)
    : placement_(shape.placement), policy_(shape.frames.make(*this)) {
  for (const MemoryRange& range : shape.memory) {
    ranges_.push_back({frames_, range.start});
    frames_ += range.bytes / kFrameBytes;
  }
  taken_.resize((frames_ + kChunk - 1) / kChunk);
  next_large_ = frames_ / kSmallPerLarge;
  reserve(shape.mmio);
  half_bits_ = (static_cast<unsigned>(std::bit_width(usable_)) + 1) / 2;
  u64 seed = shape.seed;
  for (u64& key : keys_) key = seed = mix(seed);
  if (placement_ == Placement::Buddy) fragment(shape.fragmentation, seed);
}

// Nobody gets these, however many frames they are.
void GuestFrames::reserve(const std::vector<MemoryRange>& devices) {
  for (std::size_t n = 0; n < ranges_.size(); ++n) {
    const u64 frames =
        (n + 1 == ranges_.size() ? frames_ : ranges_[n + 1].first) - ranges_[n].first;
    const u64 start = ranges_[n].start, end = start + frames * kFrameBytes;
    for (auto device = first_beyond(devices, start); device != devices.end() && device->start < end;
         ++device) {
      const u64 from = std::max(device->start, start) - start;
      const u64 to = std::min(device->start + device->bytes, end) - start;
      const u64 first = ranges_[n].first + from / kFrameBytes;
      const u64 last = ranges_[n].first + (to + kFrameBytes - 1) / kFrameBytes;
      const u64 before = reserved_.empty() ? 0 : reserved_.back().end;
      usable_ += first - before;
      reserved_.push_back({first, last, usable_});
    }
  }
  usable_ += frames_ - (reserved_.empty() ? 0 : reserved_.back().end);
}

u64 GuestFrames::usable(u64 n) const {
  const auto above = std::upper_bound(
      reserved_.begin(), reserved_.end(), n,
      [](u64 usable, const Reserved& each) { return usable < each.usable_before; });
  if (above == reserved_.begin()) return n;
  const Reserved& below = *std::prev(above);
  return below.end + (n - below.usable_before);
}

std::vector<GuestFrames::Reserved>::const_iterator GuestFrames::reserved_beyond(u64 number) const {
  return std::upper_bound(reserved_.begin(), reserved_.end(), number,
                          [](u64 frame, const Reserved& each) { return frame < each.end; });
}

bool GuestFrames::is_any_reserved(u64 first, u64 count) const {
  const auto reserved = reserved_beyond(first);
  return reserved != reserved_.end() && reserved->first < first + count;
}

// In some regions a frame is somebody else's for good: what is left of them are smaller blocks. The
// seeds of regions follow one another from the highest one down, and blocks are handed out from the
// lowest one up.
void GuestFrames::fragment(u32 percent, u64 seed) {
  unused_end_ = frames_ / kSmallPerLarge;
  broken_percent_ = percent;
  for (u64 region = 0; percent != 0 && region < unused_end_; ++region) seed = mix(seed);
  unused_.fill({0, seed, 0});
}

bool GuestFrames::is_unused(const Unused& at, u64 first, u64 count) const {
  const u64 held = at.region * kSmallPerLarge + (at.seed >> 32) % kSmallPerLarge;
  const bool is_broken = at.seed % 100 < broken_percent_;
  return !(is_broken && held - first < count) && !is_any_reserved(first, count);
}

void GuestFrames::move_to(Unused& at, u64 region) const {
  for (; broken_percent_ != 0 && at.region < region; ++at.region) at.seed = unmixed(at.seed);
  at.region = region;
  at.next = 0;
}

// The lowest block of this order that is not the half of a larger one. Memory may have far more
// regions than anybody uses: those that are all alike are passed over at once.
std::optional<u64> GuestFrames::take_unused(unsigned order) {
  Unused& at = unused_[order];
  const u64 count = u64{1} << order;
  while (at.region < unused_end_) {
    const u64 base = at.region * kSmallPerLarge;
    const auto reserved = reserved_beyond(base);
    const bool has_reserved = reserved != reserved_.end();
    if (has_reserved && reserved->first <= base && reserved->end >= base + kSmallPerLarge) {
      move_to(at, reserved->end / kSmallPerLarge);
      continue;
    }
    if (order != kLargeOrder && is_unused(at, base, kSmallPerLarge)) {
      const u64 next_broken = has_reserved ? reserved->first / kSmallPerLarge : unused_end_;
      move_to(at, broken_percent_ != 0 ? at.region + 1 : next_broken);
      continue;
    }
    while (at.next < kSmallPerLarge) {
      const u64 first = base + at.next;
      at.next += count;
      if (!is_unused(at, first, count)) continue;
      const bool is_half =
          order != kLargeOrder && is_unused(at, addrspace::align_down(first, 2 * count), 2 * count);
      if (!is_half) return first;
    }
    move_to(at, at.region + 1);
  }
  return std::nullopt;
}

// Of a block that is too large, the upper half stays free, again and again (Linux: expand() in
// mm/page_alloc.c).
std::optional<u64> GuestFrames::take_block(unsigned order) {
  for (unsigned found = order; found <= kLargeOrder; ++found) {
    std::optional<u64> first;
    if (!free_[found].empty()) {
      first = free_[found].back();
      free_[found].pop_back();
    } else {
      first = take_unused(found);
    }
    if (!first) continue;
    while (found > order) {
      --found;
      free_[found].push_back(*first + (u64{1} << found));
    }
    return first;
  }
  return std::nullopt;
}

Gpa GuestFrames::frame(u64 number) const {
  std::size_t n = ranges_.size() - 1;
  while (ranges_[n].first > number) --n;
  return Gpa(ranges_[n].start + (number - ranges_[n].first) * kFrameBytes);
}

u64 GuestFrames::number_of(Gpa frame) const {
  std::size_t n = ranges_.size() - 1;
  while (ranges_[n].start > frame.value()) --n;
  return ranges_[n].first + (frame.value() - ranges_[n].start) / kFrameBytes;
}

void GuestFrames::give_back(Gpa start, u64 bytes) {
  policy_->free(number_of(start), bytes == kFrameBytes ? 0 : kLargeOrder);
}

void GuestFrames::take_number(u64 number) {
  std::unique_ptr<u64[]>& chunk = taken_[number / kChunk];
  if (!chunk) chunk = std::make_unique<u64[]>(kChunk / 64);
  chunk[number % kChunk / 64] |= u64{1} << number % 64;
}

bool GuestFrames::is_region_free(u64 region) const {
  const u64 first = region * kSmallPerLarge;
  const auto reserved = reserved_beyond(first);
  if (reserved != reserved_.end() && reserved->first < first + kSmallPerLarge) return false;
  const u64* const words = taken_[first / kChunk].get();
  if (words == nullptr) return true;
  const u64* const of_region = words + first % kChunk / 64;
  return std::all_of(of_region, of_region + kSmallPerLarge / 64,
                     [](u64 word) { return word == 0; });
}

bool GuestFrames::is_block_free(u64 first, unsigned order) const {
  if (order == kLargeOrder) return is_region_free(first / kSmallPerLarge);
  for (u64 n = first; n < first + (u64{1} << order); ++n) {
    if (!is_free(n)) return false;
  }
  return true;
}

std::optional<Gpa> GuestFrames::take(Gva page, u64 space) {
  const auto number = policy_->allocate({0, addrspace::FrameUse::memory(page.value(), 0), space});
  return number ? std::optional(frame(*number)) : std::nullopt;
}

// Which one does not matter: neighbours of 2M are in no line of entries that a walk would share.
std::optional<Gpa> GuestFrames::take_large() {
  const auto number = policy_->allocate({kLargeOrder, addrspace::FrameUse::memory(0, 1)});
  return number ? std::optional(frame(*number)) : std::nullopt;
}

addrspace::Result<u64> GuestFrames::allocate(unsigned order) {
  std::optional<u64> block = take_block(order);
  if (!block && placement_ != Placement::Buddy) {
    block = order == kLargeOrder ? take_region() : take_small(order);
  }
  if (!block) return addrspace::Error::NoMemory;
  return *block;
}

// The block around the next frame that is free. Where that is not whole, the frame itself is left
// for those who want no more.
std::optional<u64> GuestFrames::take_small(unsigned order) {
  const bool linear = placement_ == Placement::Linear;
  const u64 end = linear ? usable_ : u64{1} << 2 * half_bits_;
  while (next_ < end) {
    const u64 at = next_++;
    const u64 n = linear ? at : permuted(at, half_bits_, keys_);
    if (n >= usable_) continue;
    const u64 number = usable(n);
    if (!is_free(number)) continue;
    const u64 count = u64{1} << order;
    const u64 first = addrspace::align_down(number, count);
    if (is_block_free(first, order)) {
      for (u64 each = first; each < first + count; ++each) take_number(each);
      return first;
    }
    take_number(number);
    free_[0].push_back(number);
  }
  return std::nullopt;
}

std::optional<u64> GuestFrames::take_region() {
  while (next_large_ > 0) {
    const u64 region = --next_large_;
    const auto reserved = reserved_beyond(region * kSmallPerLarge);
    if (reserved != reserved_.end() && reserved->first < (region + 1) * kSmallPerLarge) {
      next_large_ = std::min(region, reserved->first / kSmallPerLarge);
      continue;
    }
    if (!is_region_free(region)) continue;
    for (u64 n = 0; n < kSmallPerLarge; ++n) take_number(region * kSmallPerLarge + n);
    return region * kSmallPerLarge;
  }
  return std::nullopt;
}

}  // namespace nestwalk::software
