// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "buddy_arena.hpp"

#include <sys/mman.h>

#include <cstdio>

namespace nestwalk::addrspace {
namespace {

[[noreturn]] void die(const char* what, u64 start, unsigned order) {
  std::fprintf(stderr, "buddy arena: %s: run of order %u at %#llx\n", what, order,
               static_cast<unsigned long long>(start));
  std::abort();
}

}  // namespace

BuddyArena::BuddyArena(u64 frames, u64 base)
    : frames_(frames),
      base_(base),
      links_(frames),
      free_order_(frames, kNotFree),
      allocated_(frames, false) {
  void* mapped = mmap(nullptr, frames * kFrameBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) die("no memory", base, 0);
  memory_ = static_cast<u8*>(mapped);
  for (u32& head : heads_) head = kNone;
  for (u64 at = frames; at != 0;) {
    unsigned order = 0;
    while (order < kMaxOrder && (at & ((u64{2} << order) - 1)) == 0 && (u64{2} << order) <= at) {
      ++order;
    }
    at -= u64{1} << order;
    push(static_cast<u32>(at), order);
  }
}

BuddyArena::~BuddyArena() { munmap(memory_, frames_ * kFrameBytes); }

Result<u64> BuddyArena::alloc(unsigned order) {
  unsigned found = order;
  while (found <= kMaxOrder && heads_[found] == kNone) ++found;
  if (found > kMaxOrder) return Error::NoMemory;
  const u32 frame = heads_[found];
  unlink(frame, found);
  while (found > order) {
    --found;
    push(frame + (u32{1} << found), found);
  }
  for (u32 n = 0; n < u32{1} << order; ++n) allocated_[frame + n] = true;
  in_use_ += u64{1} << order;
  return base_ + u64{frame} * kFrameBytes;
}

void BuddyArena::free(u64 start, unsigned order) {
  if (!owns(start) || !is_aligned(start - base_, kFrameBytes << order)) {
    die("not a run of the arena", start, order);
  }
  u32 frame = static_cast<u32>((start - base_) / kFrameBytes);
  for (u32 n = 0; n < u32{1} << order; ++n) {
    if (!allocated_[frame + n]) die("freed while free", start, order);
    allocated_[frame + n] = false;
  }
  in_use_ -= u64{1} << order;
  while (order < kMaxOrder) {
    const u32 buddy = frame ^ (u32{1} << order);
    if (buddy >= frames_ || free_order_[buddy] != order) break;
    unlink(buddy, order);
    frame &= ~(u32{1} << order);
    ++order;
  }
  push(frame, order);
}

void BuddyArena::push(u32 frame, unsigned order) {
  links_[frame] = {heads_[order], kNone};
  if (heads_[order] != kNone) links_[heads_[order]].previous = frame;
  heads_[order] = frame;
  free_order_[frame] = static_cast<u8>(order);
}

void BuddyArena::unlink(u32 frame, unsigned order) {
  const Links links = links_[frame];
  (links.previous == kNone ? heads_[order] : links_[links.previous].next) = links.next;
  if (links.next != kNone) links_[links.next].previous = links.previous;
  free_order_[frame] = kNotFree;
}

}  // namespace nestwalk::addrspace
