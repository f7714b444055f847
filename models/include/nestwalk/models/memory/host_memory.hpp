// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The simulated machine's physical memory. Every byte is real once somebody writes it; a frame that
// nobody looks at costs nothing, however large the memory is.
#pragma once

#include <map>

#include "nestwalk/models/memory/frame_allocator.hpp"
#include "nestwalk/models/memory/table_areas.hpp"

namespace nestwalk::models {

using addrspace::Hpa;
using addrspace::Hva;
using addrspace::kFrameBytes;
using addrspace::kFrameShift;

/// Who keeps the bytes of a memory that is elsewhere.
class ByteStore {
 public:
  virtual void read(Hpa from, u8* to, u64 bytes) = 0;
  virtual void write(Hpa to, const u8* from, u64 bytes) = 0;

 protected:
  ByteStore() = default;
  ByteStore(const ByteStore&) = default;
  ByteStore& operator=(const ByteStore&) = default;
  ~ByteStore() = default;
};

class HostMemory {
 public:
  /// `bytes` from `base`, both multiples of 1 GiB: so runs are aligned as their addresses are.
  explicit HostMemory(u64 bytes, Hpa base = Hpa(u64{1} << 32));

  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  Hpa base() const { return base_; }
  u64 bytes() const { return bytes_; }
  bool contains(Hpa at, u64 size) const { return size <= bytes_ && at - base_ <= bytes_ - size; }
  FrameAllocator& frames() { return frames_; }
  const FrameAllocator& frames() const { return frames_; }

  /// Before any frame is allocated: the policy must know all that it is to free.
  void choose_policy(FramePolicyKind kind);
  const FramePolicy& policy() const { return *policy_; }
  /// The number of another address space that asks for frames.
  u64 new_space() { return spaces_++; }
  /// Where an address space's tables lie; null if that does not follow from what they translate.
  const TableAreas* table_areas(u64 space) {
    return policy_->places_tables() ? &table_areas_[space] : nullptr;
  }
  /// The 2 MiB that have this address of the space are to be backed by contiguous frames.
  void keep_together(u64 space, u64 input) { policy_->keep_together(space, input); }

  Result<Hpa> allocate(const FrameRequest& wanted);
  Result<Hpa> allocate(unsigned order) { return allocate(FrameRequest{order}); }
  void free(Hpa first, unsigned order);
  /// A run that was freed, or a part of one, until it is freed again: nobody has had it since.
  void hold(Hpa first, unsigned order);

  /// An aligned 8-byte word of memory that exists.
  u64 load(Hpa at) const {
    if (elsewhere_ == nullptr) [[likely]]
      return *word(at);
    u64 value = 0;
    elsewhere_->read(at, reinterpret_cast<u8*>(&value), sizeof value);
    return value;
  }
  void store(Hpa at, u64 value) {
    touch(at);
    if (elsewhere_ == nullptr) [[likely]]
      *word(at) = value;
    else
      elsewhere_->write(at, reinterpret_cast<const u8*>(&value), sizeof value);
  }
  /// Any bytes of memory that exists.
  void read(Hpa from, u8* to, u64 bytes) const;
  void write(Hpa to, const u8* from, u64 bytes);
  /// For the host's caches, some time before a load.
  [[gnu::always_inline]] void prefetch(Hpa at) const { __builtin_prefetch(word(at)); }
  /// What was read is still there: the locked update of a table walker.
  bool compare_exchange(Hpa at, u64 expected, u64 desired) {
    if (load(at) != expected) return false;
    store(at, desired);
    return true;
  }

  /// Whole frames become zeros. Those that nobody touched are zeros already.
  void zero(Hpa start, u64 bytes);
  /// For whoever writes without telling: the run behind it counts as touched. Not of memory that is
  /// elsewhere.
  Hva pointer(Hpa at);
  /// From now on the bytes are there, not here.
  void keep_bytes_in(ByteStore& store) { elsewhere_ = &store; }
  bool has_pointers() const { return elsewhere_ == nullptr; }
  Hpa physical(Hva at) const { return base_ + (at.value() - address()); }
  /// Frames with content of their own.
  u64 frames_touched() const { return touched_count_; }

 private:
  u64 address() const { return reinterpret_cast<u64>(memory_.as<u8>()); }
  u64* word(Hpa at) const { return reinterpret_cast<u64*>(memory_.as<u8>() + (at - base_)); }
  void touch(Hpa at) { touch_frame((at - base_) >> kFrameShift); }
  void touch_frame(u64 frame) {
    u64& word = touched_.as<u64>()[frame / 64];
    const u64 bit = u64{1} << frame % 64;
    touched_count_ += (word & bit) == 0 ? 1 : 0;
    word |= bit;
  }

  void note_table(const FrameRequest& table, u64 frame);

  Hpa base_;
  u64 bytes_;
  ByteStore* elsewhere_ = nullptr;
  Mapping memory_;
  Mapping touched_;  ///< one bit per frame
  FrameAllocator frames_;
  std::unique_ptr<FramePolicy> policy_ = FramePolicyKind().make(frames_);
  u64 spaces_ = 0;
  std::map<u64, TableAreas> table_areas_;  ///< by spaces; they stay where they are
  u64 touched_count_ = 0;
};

}  // namespace nestwalk::models
