// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A walk cache: tables that walks have found, by what is translated or by the entries that name
// them.
#pragma once

#include "nestwalk/models/translation/entry_format.hpp"
#include "nestwalk/models/translation/translation_cache.hpp"

namespace nestwalk::models {

/// What a walk cache is looked up by.
enum class IndexBy : u8 {
  Address,     ///< what is translated: one lookup finds the lowest table that is known
  Entry,       ///< where the table entry is in host memory: a lookup before each read of one
  GuestEntry,  ///< where it is in guest-physical memory, before the second stage translates that
};
inline constexpr Word<IndexBy> kIndexes[] = {
    {"address", IndexBy::Address}, {"entry", IndexBy::Entry}, {"guest-entry", IndexBy::GuestEntry}};

/// How a guest walk cache names a table.
enum class Yields : u8 {
  Host,   ///< its host address: the second stage is not asked where it is
  Guest,  ///< its guest-physical address, which is translated again
};
inline constexpr Word<Yields> kYields[] = {{"host", Yields::Host}, {"guest", Yields::Guest}};

/// A pointer to a table.
struct CachedTable {
  u64 table_guest = 0;    ///< guest-physical; guest walk cache only
  u64 table_host = 0;     ///< unless the guest walk cache yields guest-physical addresses
  Access limits{};        ///< of all tables on the way, or, looked up by entries, of this one
  u8 level = 0;           ///< of the entries in that table
  u8 nested_shift = 0;    ///< of the nested leaf that maps the table
  bool writable = false;  ///< the second stage lets the walker update entries there, as it is now
  u8 covers_shift = 0;    ///< log2 of what it translates; it may be held in parts

  /// What is looked up by entries serves any address.
  static constexpr u8 kAnyAddress = 63;
};

class WalkCache {
 public:
  WalkCache(const CacheShape& shape, IndexBy index_by,
            const std::shared_ptr<KeySpace>& second_tlb = nullptr)
      : index_by_(index_by),
        tables_(index_by == IndexBy::Address ? shape : keyed(shape), 1, second_tlb) {}

  bool is_by_entry() const { return index_by_ != IndexBy::Address; }
  bool present() const { return tables_.present(); }
  u32 latency_cycles() const { return tables_.latency_cycles(); }
  TranslationCache<CachedTable>& tables() { return tables_; }
  const TranslationCache<CachedTable>& tables() const { return tables_; }

  /// The table that an entry for 2^shift bytes names; null if that is not known.
  const CachedTable* find_named_by(u64 entry, unsigned shift, u16 tag) {
    const Key key = key_of(entry, shift);
    return key.size == 0 ? nullptr : tables_.find_in(key.size, key.position, tag);
  }
  /// Where to enter it; null if tables of that level, or at that place, are not held.
  CachedTable* place_named_by(u64 entry, unsigned shift, u16 tag) {
    const Key key = key_of(entry, shift);
    return key.size == 0 ? nullptr : tables_.make_place(key.position, key.size, tag);
  }

 private:
  // Entries of 8 bytes take the place of pages, a size of page for each level.
  struct Key {
    u64 position;
    u8 size;
  };
  static constexpr unsigned kFirstSize = 12, kEntryShift = 3;
  static constexpr unsigned kPositionBits = 59 - kFirstSize - CacheShape::kMostSizes;

  Key key_of(u64 entry, unsigned shift) const {
    const u64 number = entry >> kEntryShift;
    const u8 size = number >> kPositionBits == 0 ? size_of_[shift] : u8{0};
    return {number << size, size};
  }
  CacheShape keyed(CacheShape shape) {
    check(shape.in_second_tlb.empty(), "walk cache", "entries in a TLB to have addresses", 0, 0);
    u8 size = kFirstSize;
    for (ArrayShape& array : shape.arrays) {
      for (u8& shift : array.shifts) shift = size_of_[shift] = size++;
    }
    return shape;
  }

  IndexBy index_by_;
  std::array<u8, 64> size_of_{};  ///< by log2 of what an entry translates; 0: not held
  TranslationCache<CachedTable> tables_;
};

}  // namespace nestwalk::models
