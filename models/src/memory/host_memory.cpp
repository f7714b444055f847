// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/memory/host_memory.hpp"

#include <bit>
#include <cstring>

#include "nestwalk/models/base/check.hpp"

namespace nestwalk::models {

HostMemory::HostMemory(u64 bytes, Hpa base)
    : base_(base),
      bytes_(bytes),
      memory_(bytes),
      touched_(bytes / kFrameBytes / 8 + 8),
      frames_(bytes / kFrameBytes) {
  check(addrspace::is_aligned(bytes, addrspace::kGiB) && base.is_aligned(addrspace::kGiB),
        "host memory", "size and base in whole GiB", 0, bytes);
}

void HostMemory::choose_policy(FramePolicyKind kind) {
  check(frames_.frames_in_use() == 0, "host memory", "a frame allocation policy before any frame",
        0, frames_.frames_in_use());
  policy_ = kind.make(frames_);
}

Result<Hpa> HostMemory::allocate(const FrameRequest& wanted) {
  const Result<u64> first = policy_->allocate(wanted);
  if (!first) return first.error();
  if (policy_->places_tables() && wanted.use.kind == FrameUse::Kind::Table)
    note_table(wanted, *first);
  return base_ + (*first << kFrameShift);
}

// A lowest-level table is noted only if its frame was reserved for it: of others, no register could
// say where they are.
void HostMemory::note_table(const FrameRequest& table, u64 frame) {
  const std::optional<u64> run = policy_->reserved_run(table);
  if (!run && table.use.level == 0) return;
  const Hpa first = base_ + (run.value_or(frame) << kFrameShift);
  table_areas_[table.space].note(table.use, table.order, first.value());
}

void HostMemory::free(Hpa first, unsigned order) {
  policy_->free((first - base_) >> kFrameShift, order);
}

void HostMemory::hold(Hpa first, unsigned order) {
  const u64 number = (first - base_) >> kFrameShift;
  if (!policy_->hold(number, order)) frames_.take(number, order);
}

void HostMemory::read(Hpa from, u8* to, u64 bytes) const {
  check(contains(from, bytes), "host memory", "bytes that exist", 0, from.value());
  if (elsewhere_ != nullptr) return elsewhere_->read(from, to, bytes);
  std::memcpy(to, memory_.as<u8>() + (from - base_), bytes);
}

void HostMemory::write(Hpa to, const u8* from, u64 bytes) {
  check(contains(to, bytes), "host memory", "bytes that exist", 0, to.value());
  if (bytes == 0) return;
  const u64 last = (to - base_ + bytes - 1) >> kFrameShift;
  for (u64 frame = (to - base_) >> kFrameShift; frame <= last; ++frame) touch_frame(frame);
  if (elsewhere_ != nullptr) return elsewhere_->write(to, from, bytes);
  std::memcpy(memory_.as<u8>() + (to - base_), from, bytes);
}

void HostMemory::zero(Hpa start, u64 bytes) {
  if (elsewhere_ != nullptr) {
    static constexpr u8 kZeros[kFrameBytes] = {};
    for (u64 done = 0; done < bytes; done += kFrameBytes) {
      elsewhere_->write(start + done, kZeros, kFrameBytes);
    }
    return;
  }
  const u64 first = (start - base_) >> kFrameShift;
  const u64 end = first + (bytes >> kFrameShift);
  u64* words = touched_.as<u64>();
  for (u64 at = first; at < end; at = at / 64 * 64 + 64) {
    u64 some = words[at / 64] & ~addrspace::low_mask(static_cast<unsigned>(at % 64));
    if (end / 64 == at / 64) some &= addrspace::low_mask(static_cast<unsigned>(end % 64));
    words[at / 64] &= ~some;
    touched_count_ -= static_cast<u64>(std::popcount(some));
    for (; some != 0; some &= some - 1) {
      const u64 frame = at / 64 * 64 + static_cast<u64>(std::countr_zero(some));
      std::memset(memory_.as<u8>() + (frame << kFrameShift), 0, kFrameBytes);
    }
  }
}

Hva HostMemory::pointer(Hpa at) {
  check(elsewhere_ == nullptr, "host memory", "bytes that are here", 0, at.value());
  const FrameAllocator::Run run = frames_.run_of((at - base_) >> kFrameShift);
  const u64 count = run.order > FrameAllocator::kMaxOrder ? 1 : u64{1} << run.order;
  for (u64 n = 0; n < count; ++n) touch_frame(run.first + n);
  return Hva(address() + (at - base_));
}

}  // namespace nestwalk::models
