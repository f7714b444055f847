// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/memory/frame_allocator.hpp"

#include <algorithm>

#include <bit>

#include "nestwalk/models/base/check.hpp"

namespace nestwalk::models {

NumberSet::NumberSet(u64 numbers) {
  check(numbers <= u64{1} << 6 * kLevels, "number set", "at most 2^36 numbers", 0, numbers);
  for (Mapping& level : levels_) {
    numbers = numbers / 64 + 1;
    level = Mapping(numbers * sizeof(u64));
  }
}

void NumberSet::insert(u64 n) {
  ++count_;
  for (const Mapping& level : levels_) {
    u64& word = level.as<u64>()[n / 64];
    const bool is_known_above = word != 0;
    word |= u64{1} << n % 64;
    if (is_known_above) return;
    n /= 64;
  }
}

void NumberSet::erase(u64 n) {
  --count_;
  for (const Mapping& level : levels_) {
    u64& word = level.as<u64>()[n / 64];
    word &= ~(u64{1} << n % 64);
    if (word != 0) return;
    n /= 64;
  }
}

u64 NumberSet::smallest() const {
  u64 n = 0;
  for (unsigned level = kLevels; level-- != 0;) {
    n = n * 64 + static_cast<u64>(std::countr_zero(levels_[level].as<u64>()[n]));
  }
  return n;
}

FrameAllocator::FrameAllocator(u64 frames) : frames_(frames), order_(frames) {
  for (unsigned order = 0; order <= kMaxOrder; ++order) free_[order] = NumberSet(frames >> order);
  u64 at = 0;
  while (at < frames) {
    unsigned order = kMaxOrder;
    while (!addrspace::is_aligned(at, u64{1} << order) || at + (u64{1} << order) > frames) --order;
    free_[order].insert(at >> order);
    at += u64{1} << order;
  }
}

Result<u64> FrameAllocator::allocate(unsigned order) {
  unsigned found = order;
  while (found <= kMaxOrder && free_[found].empty()) ++found;
  if (found > kMaxOrder) return Error::NoMemory;
  const u64 first = free_[found].smallest() << found;
  take_from(found, first, order);
  return first;
}

void FrameAllocator::take(u64 first, unsigned order) {
  unsigned found = order;
  while (found <= kMaxOrder && !free_[found].has(first >> found)) ++found;
  check(found <= kMaxOrder, "frame allocator", "a run that is free", 0, first);
  take_from(found, first, order);
}

// Out of a free block of 2^found frames.
void FrameAllocator::take_from(unsigned found, u64 first, unsigned order) {
  free_[found].erase(first >> found);
  while (found > order) {
    --found;
    free_[found].insert(first >> found ^ 1);
  }
  order_.as<u8>()[first] = static_cast<u8>(order + 1);
  in_use_ += u64{1} << order;
  peak_ = std::max(peak_, in_use_);
}

FrameAllocator::Run FrameAllocator::run_of(u64 frame) const {
  for (unsigned order = 0; order <= kMaxOrder; ++order) {
    const u64 first = addrspace::align_down(frame, u64{1} << order);
    if (order_.as<u8>()[first] == order + 1) return {first, order};
  }
  return {frame, kMaxOrder + 1};
}

// Halves the run until the wanted part stands alone.
void FrameAllocator::cut(Run run, u64 first, unsigned order) {
  u8* orders = order_.as<u8>();
  while (run.order > order) {
    --run.order;
    const u64 middle = run.first + (u64{1} << run.order);
    orders[run.first] = orders[middle] = static_cast<u8>(run.order + 1);
    if (first >= middle) run.first = middle;
  }
}

void FrameAllocator::free(u64 first, unsigned order) {
  const Run run = run_of(first);
  check(
      run.order <= kMaxOrder && run.order >= order && addrspace::is_aligned(first, u64{1} << order),
      "frame allocator", "a run, or a part of one, that is in use", 0, first);
  cut(run, first, order);
  order_.as<u8>()[first] = 0;
  in_use_ -= u64{1} << order;
  u64 number = first >> order;
  while (order < kMaxOrder && ((number ^ 1) + 1) << order <= frames_ &&
         free_[order].has(number ^ 1)) {
    free_[order].erase(number ^ 1);
    number /= 2;
    ++order;
  }
  free_[order].insert(number);
}

}  // namespace nestwalk::models
