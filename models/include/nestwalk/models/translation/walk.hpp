// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// One translation by the tables: what is asked, what it found, and every reference on the way.
#pragma once

#include <algorithm>
#include <array>

#include "nestwalk/models/memory/memory_hierarchy.hpp"
#include "nestwalk/models/translation/fault.hpp"
#include "nestwalk/models/translation/translation_cache.hpp"
#include "nestwalk/models/translation/witness.hpp"

namespace nestwalk::models {

/// A translation as the TLBs keep it.
struct Translation {
  u64 host = 0;            ///< of the first byte of the page
  u64 guest_physical = 0;  ///< likewise
  Rights guest{};
  Rights nested{};
  MemoryType memory = MemoryType::WriteBack;
  u8 guest_shift = 0;   ///< log2 of the first stage's leaf; kUnlimited if it is off
  u8 nested_shift = 0;  ///< and of the second's
  /// log2 of what `host` is the first byte of, and it is good for: the smaller leaf, several of
  /// them that a TLB may hold in one entry, or what a TLB has.
  u8 held_shift = 0;
  bool dirty : 1 = false;        ///< a write needs no update of flags
  bool guest_dirty : 1 = false;  ///< it needs none in the first stage
  bool global = false;

  static constexpr u8 kUnlimited = 63;
  u8 shift() const { return held_shift; }
  /// Of a larger page of the first stage.
  bool is_part() const { return guest_shift > nested_shift && guest_shift != kUnlimited; }
  /// Of an address in the page.
  u64 host_of(u64 address) const { return host + (address & addrspace::low_mask(held_shift)); }
  u64 guest_physical_of(u64 address) const {
    return guest_physical + (address & addrspace::low_mask(held_shift));
  }
  bool permits(Rights wanted) const { return (guest & nested).permit(wanted); }
  /// Becomes that of the page of 2^shift bytes that holds `address`.
  void narrow(u64 address, u8 shift) {
    const u64 skipped = address & addrspace::low_mask(held_shift) & ~addrspace::low_mask(shift);
    held_shift = shift;
    host += skipped;
    guest_physical += skipped;
  }
};

/// Enters a translation in the largest size that the cache has and that is not larger. Null if
/// there is none. `absent`: see TranslationCache::make_place.
inline Translation* enter(TranslationCache<Translation>& tlb, u64 address, u16 tag, bool absent,
                          const Translation& entry) {
  Translation* const place = tlb.make_place(address, entry.shift(), tag, absent);
  if (place == nullptr) return nullptr;
  *place = entry;
  place->narrow(address, tlb.held_shift(entry.shift()));
  return place;
}

/// What one entry of the tables translates. A cached entry may be a part of that: what is said of
/// any address there concerns it.
struct TableSpan {
  u64 address = 0;  ///< in it
  u8 shift = 0;     ///< log2 of its size

  bool holds(u64 other) const { return same_page(address, other, shift); }
};
/// Of the first stage's leaf, or of all leaves that the entry is for.
inline TableSpan span_of(const EntryKey& where, const Translation& entry) {
  const bool on = entry.guest_shift != Translation::kUnlimited;
  return {where.address, on ? std::max(where.shift, entry.guest_shift) : where.shift};
}
/// Of the second stage's.
inline TableSpan nested_span_of(const EntryKey& where, const Translation& entry) {
  const bool on = entry.nested_shift != Translation::kUnlimited;
  return {entry.guest_physical, on ? std::max(where.shift, entry.nested_shift) : where.shift};
}

struct WalkRequest {
  const Regime* regime = nullptr;
  u64 address = 0;  ///< virtual; guest-physical where the first stage is off
  AccessKind access = AccessKind::Read;
  bool user = false;
  bool peek = false;  ///< only looks: whatever is permitted, and sets no flags
  Witness* witness = nullptr;
  /// A prefetch: a fence ends it, it sets no dirty flag, and accessed flags only where speculation
  /// may.
  bool speculative = false;
  /// By the tables alone: what it finds is no fault of a cached entry.
  bool confirms = false;

  Rights needed() const { return Rights::needed(access, user); }
  /// An accessed flag, or a dirty flag, too.
  bool may_set_flags(const StageRules& rules, bool dirty) const {
    return !speculative || (rules.speculation_sets_accessed && !dirty);
  }
};

/// One reference of a walk: a read or an update of an entry, or the hit that spared some.
struct WalkReference {
  static constexpr u8 kNoLevel = WitnessStep::kNoLevel;

  u64 address = 0;  ///< of the entry in host memory; for a hit: what was looked up
  Cycle start = 0;
  u32 cycles = 0;
  u8 guest_level = kNoLevel;   ///< of the first-stage entry that is wanted; none for the data
  u8 nested_level = kNoLevel;  ///< of the second-stage entry; none if it is the first stage's
  Served served = Served::None;
  bool update = false;
};

struct WalkRecord {
  // Cold 5x5 reads 35 entries. If every one needs its flags set, each guest step takes up to two
  // nested walks of five reads and five updates, and the data's another: 5 * (20 + 2) + 10 = 120.
  // What confirms a fault reads 35 once more.
  static constexpr u32 kMost = 160;

  std::array<WalkReference, kMost> references;
  u32 count = 0;
  Cycle start = 0;  ///< when it was asked for
  Cycle begin = 0;  ///< when it got a walker
  Cycle end = 0;
  u32 restarts = 0;  ///< fences that made it begin again
  // Of the cycles since `begin`:
  Cycle step_cycles = 0;     ///< in the walker itself
  Cycle assist_cycles = 0;   ///< in microcode that sets flags
  Cycle nested_waiting = 0;  ///< for the walker of the second stage
};

/// Hears of a core's walks when they have ended, prefetches excepted.
class WalkListener {
 public:
  virtual void on_walk(u64 address, AccessKind access, const WalkRecord& record,
                       const Fault& fault) = 0;

 protected:
  WalkListener() = default;
  WalkListener(const WalkListener&) = default;
  WalkListener& operator=(const WalkListener&) = default;
  ~WalkListener() = default;
};

/// What the references of many walks were, and where the cycles of the walks went.
class WalkTotals {
 public:
  static constexpr unsigned kLevels = WalkReference::kNoLevel + 1;  ///< none is the last of them
  static constexpr unsigned kSources = static_cast<unsigned>(Served::Memory) + 1;
  struct Cell {
    u64 references = 0;
    u64 cycles = 0;
  };

  void add(const WalkRecord& record) {
    waiting_ += record.begin - record.start;
    Cycle known = 0;
    for (u32 n = 0; n < record.count; ++n) {
      const WalkReference& each = record.references[n];
      Cell& cell = cells_[index(each.guest_level, each.nested_level, each.served, each.update)];
      ++cell.references;
      cell.cycles += each.cycles;
      known += each.cycles;
    }
    steps_ += record.step_cycles;
    assists_ += record.assist_cycles;
    nested_waiting_ += record.nested_waiting;
    known += record.step_cycles + record.assist_cycles + record.nested_waiting;
    missing_ += record.end - record.begin - known;
  }
  /// kNoLevel as `guest_level`: for the data; as `nested_level`: the first stage's own entry.
  const Cell& of(u8 guest_level, u8 nested_level, Served served, bool update) const {
    return cells_[index(guest_level, nested_level, served, update)];
  }
  /// For a free walker, or lost to a fence.
  Cycle waiting() const { return waiting_; }
  /// In walk caches and nested TLBs that did not have what was looked for.
  Cycle missing() const { return missing_; }
  /// In the walker itself, for each entry that it reads.
  Cycle steps() const { return steps_; }
  /// In microcode that sets accessed and dirty flags.
  Cycle assists() const { return assists_; }
  /// For the walker of the second stage.
  Cycle nested_waiting() const { return nested_waiting_; }
  Cycle cycles() const {
    Cycle sum = waiting_ + missing_ + steps_ + assists_ + nested_waiting_;
    for (const Cell& cell : cells_) sum += cell.cycles;
    return sum;
  }

 private:
  // Three bits each, and one.
  static_assert(kLevels <= 8 && kSources <= 8);
  static constexpr unsigned index(u8 guest_level, u8 nested_level, Served served, bool update) {
    return ((guest_level * 8u + nested_level) * 8u + static_cast<unsigned>(served)) * 2u +
           (update ? 1u : 0u);
  }

  std::array<Cell, 8 * 8 * 8 * 2> cells_{};
  Cycle waiting_ = 0;
  Cycle missing_ = 0;
  Cycle steps_ = 0;
  Cycle assists_ = 0;
  Cycle nested_waiting_ = 0;
};

}  // namespace nestwalk::models
