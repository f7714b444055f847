// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Stores that nobody waits for.
//
// A store takes an entry when it begins. When it is translated, it asks the data caches for its
// line. The entry is free when the line is there, the store and all accesses before it are over,
// and the entries of all stores before it are free: the stores become visible in order. A younger
// load that finds its bytes in an entry has them from there.
#pragma once

#include <vector>

#include "nestwalk/models/memory/memory_hierarchy.hpp"

namespace nestwalk::software {

using models::Cycle;
using models::u32;
using models::u64;

class StoreBuffer final : private models::Actor {
 public:
  class Owner {
   public:
    /// A store's line is there. Where that was not known before, an entry may be free.
    virtual void on_line(models::Served served, bool was_known) = 0;

   protected:
    Owner() = default;
    Owner(const Owner&) = default;
    Owner& operator=(const Owner&) = default;
    ~Owner() = default;
  };

  StoreBuffer(models::Wheel& wheel, models::MemoryHierarchy& hierarchy,
              models::MemoryHierarchy::PathId path, u32 entries, Owner& owner)
      : wheel_(wheel), hierarchy_(hierarchy), path_(path), owner_(owner), entries_(entries) {}

  bool present() const { return !entries_.empty(); }
  /// When the next store may take an entry; kNever: that is not known yet.
  Cycle free_at(Cycle now) {
    free_entries(now);
    if (taken_ != entries_.size()) return now;
    return retired_ == 0 ? models::kNever : entries_[oldest_].line_at;
  }
  /// An entry for access `number`; one is free at `now`.
  u32 take(u64 number, Cycle now) {
    free_entries(now);
    const u32 entry = index(taken_++);
    entries_[entry].number = number;
    entries_[entry].state = State::Untranslated;
    entries_[entry].line_at = models::kNever;
    return entry;
  }
  /// The store is translated, now. Only a line that the first cache has is there at a known time.
  void post(u32 entry, u64 host, u32 bytes);
  /// The store is translated at `now`, and the first cache has its line: it was used for that.
  void post_hit(u32 entry, u64 host, u32 bytes, Cycle now) {
    put(entry, host, bytes);
    entries_[entry].line_at = now + hierarchy_.first_latency(path_);
  }
  /// The oldest store that was not yet over is, and all accesses before it. One that was not posted
  /// writes nothing.
  void retire(Cycle now) {
    Entry& entry = entries_[index(retired_++)];
    if (entry.state == State::Untranslated) entry.line_at = now;
  }
  /// Has an older store than access `number` a byte of these?
  bool has(u64 host, u32 bytes, u64 number, Cycle now) {
    if (taken_ == 0) return false;
    free_entries(now);
    for (u32 n = taken_; n != 0; --n) {
      const Entry& entry = entries_[index(n - 1)];
      if (entry.state == State::Posted && entry.number < number &&
          host < entry.host + entry.bytes && entry.host < host + bytes) {
        return true;
      }
    }
    return false;
  }

 private:
  enum class State : models::u8 { Untranslated, Posted };
  enum Event : u32 { kAsk, kArrive, kEvents };
  struct Entry {
    u64 number = 0;  ///< of the access
    u64 host = 0;
    u32 bytes = 0;
    State state = State::Untranslated;
    models::Served served = models::Served::None;
    Cycle line_at = models::kNever;
  };

  u32 index(u32 nth) const {
    const u32 at = oldest_ + nth;
    const auto size = static_cast<u32>(entries_.size());
    return at < size ? at : at - size;
  }
  void free_entries(Cycle now) {
    while (retired_ != 0 && entries_[oldest_].line_at <= now) {
      oldest_ = index(1);
      --retired_;
      --taken_;
    }
  }
  void put(u32 entry, u64 host, u32 bytes) {
    entries_[entry].host = host;
    entries_[entry].bytes = bytes;
    entries_[entry].state = State::Posted;
  }
  void on_cycle(u32 what) override;

  models::Wheel& wheel_;
  models::MemoryHierarchy& hierarchy_;
  models::MemoryHierarchy::PathId path_;
  Owner& owner_;
  std::vector<Entry> entries_;  ///< a ring
  u32 oldest_ = 0;
  u32 taken_ = 0;    ///< from the oldest on
  u32 retired_ = 0;  ///< of these, from the oldest on
};

}  // namespace nestwalk::software
