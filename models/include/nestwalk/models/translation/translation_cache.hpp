// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Cached translations of any kind: the levels of a TLB, the paging-structure caches of either
// stage, the nested TLB. They differ in what an entry holds and in which sizes each array takes.
#pragma once

#include <array>
#include <unordered_set>
#include <vector>

#include "nestwalk/models/base/check.hpp"
#include "nestwalk/models/base/parameter.hpp"
#include "nestwalk/models/memory/key_array.hpp"

namespace nestwalk::models {

struct ArrayShape {
  u32 sets = 1;
  u32 ways = 1;
  std::vector<u8> shifts;  ///< log2 of the sizes
  ReplacementKind replacement = ReplacementKind::Lru;

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"sets", &ArrayShape::sets, PowerOfTwo{1, 1 << 16},
            "sets; the lowest bits of the page number select one"},
        Row{"ways", &ArrayShape::ways, Number{1, 4096}, "entries of each set", kInEntries},
        Row{"sizes", &ArrayShape::shifts, PageSizes{},
            "sizes that its entries have; in a walk cache, what an entry of the cached level maps"},
        Row{"replacement", &ArrayShape::replacement, Registered{},
            "which entry of a full set is replaced"}};
  }
};

struct CacheShape {
  static constexpr std::size_t kMostSizes = 8;  ///< that differ, of all arrays

  std::vector<ArrayShape> arrays;
  u32 latency_cycles = 0;

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{Row{"latency_cycles", &CacheShape::latency_cycles, Number{0, 1000},
                          "cycles of a lookup", kInCycles}};
  }
  bool present() const { return !arrays.empty(); }
};

constexpr bool same_page(u64 a, u64 b, unsigned shift) {
  return ((a ^ b) & addrspace::low_mask(kAddressBits)) >> shift == 0;
}

/// Where an entry is: of which address, size and tags.
struct EntryKey {
  u64 address;
  u8 shift;
  u16 tag;
};

/// Instead of a count of changes that was not taken: no count is ever equal to it.
inline constexpr u64 kUnknownChanges = ~u64{0};

template <class Payload>
class TranslationCache {
 public:
  explicit TranslationCache(const CacheShape& shape, u64 seed = 1)
      : latency_(shape.present() ? shape.latency_cycles : 0) {
    arrays_.reserve(shape.arrays.size());
    for (const ArrayShape& array : shape.arrays) {
      arrays_.push_back(Array(array, seed++));
      for (const u8 shift : array.shifts) add_size(arrays_.back(), shift);
    }
    for (unsigned shift = 0; shift < held_.size(); ++shift) held_[shift] = largest_within(shift);
  }

  bool present() const { return !arrays_.empty(); }
  u32 latency_cycles() const { return latency_; }

  /// The entry for an address, arrays and sizes in the order of the shape. Counts as a use.
  Payload* find(u64 address, u16 tag) {
    for (const Size& size : sizes_) {
      if (size.entries == 0) continue;
      Array& array = *size.array;
      const u32 set = array.keys.set_of(address >> size.shift);
      const u32 way = array.keys.use_again(set, size.key(address, tag));
      if (way != KeyArray::kNone) return &array.payload(set, way);
    }
    return nullptr;
  }

  /// Is there one? That is no use.
  bool holds(u64 address, u16 tag) const {
    for (const Size& size : sizes_) {
      if (size.entries == 0) continue;
      const KeyArray& keys = size.array->keys;
      if (keys.find(keys.set_of(address >> size.shift), size.key(address, tag)) != KeyArray::kNone)
        return true;
    }
    return false;
  }

  /// Enters a translation that is good for 2^shift bytes. It is held in the largest size that some
  /// array takes and that is not larger; if there is none, not at all. Null then.
  Payload* fill(u64 address, unsigned shift, u16 tag, const Payload& payload) {
    Payload* const place = make_place(address, shift, tag);
    if (place != nullptr) *place = payload;
    return place;
  }
  /// The same, for the caller to write it there. `absent`: a lookup has just shown that nothing is
  /// held for the address and the tag, so it need not be looked for.
  Payload* make_place(u64 address, unsigned shift, u16 tag, bool absent = false) {
    if (held_[shift] == kNotHeld) return nullptr;
    Size& size = sizes_[held_[shift]];
    Array& array = *size.array;
    const u32 set = array.keys.set_of(address >> size.shift);
    const u64 key = size.key(address, tag);
    const KeyArray::Place place =
        absent ? array.keys.put(set, key) : array.keys.put_or_use(set, key);
    ++size.entries;
    ++changes_;
    has_parts_ = has_parts_ || shift > size.shift;
    forget(place.before);
    if (!fenced_.empty()) [[unlikely]]
      refills_ += fenced_.erase(key);
    return &array.payload(set, place.way);
  }
  /// As long as this is the same, nothing has come.
  u64 changes() const { return changes_; }
  /// Was anything ever held in a smaller size than its own?
  bool has_parts() const { return has_parts_; }
  /// The size in which such a translation is held; 0 if it is not.
  u8 held_shift(unsigned shift) const {
    return held_[shift] == kNotHeld ? u8{0} : sizes_[held_[shift]].shift;
  }

  /// Removes what is held for the address, in every size.
  void drop(u64 address, u16 tag) {
    for (Size& size : sizes_) {
      if (size.entries == 0) continue;
      KeyArray& keys = size.array->keys;
      const u32 set = keys.set_of(address >> size.shift);
      const u32 way = keys.find(set, size.key(address, tag));
      if (way == KeyArray::kNone) continue;
      keys.erase(set, way);
      --size.entries;
    }
  }
  /// Removes the entries for which drop(EntryKey, const Payload&) holds, and says how many.
  template <class Drop>
  u32 drop_if(Drop&& drop) {
    return drop_with(drop, [](u64) {});
  }
  /// The same; an entry for the same that is filled later on is a refill.
  template <class Drop>
  u32 drop_and_remember(Drop&& drop) {
    return drop_with(drop, [&](u64 key) { fenced_.insert(key); });
  }
  u64 refills() const { return refills_; }
  /// Calls visit(EntryKey, const Payload&) for every entry.
  template <class Visit>
  void for_each(Visit&& visit) {
    for_each_way([&](Array& array, u32 set, u32 way, u64 key) {
      visit(where(key), array.payload(set, way));
    });
  }

 private:
  struct Array {
    Array(const ArrayShape& shape, u64 seed)
        : keys(shape.sets, shape.ways, shape.replacement, seed),
          payloads(u64{shape.sets} * shape.ways) {}
    Payload& payload(u32 set, u32 way) { return payloads[u64{set} * keys.ways() + way]; }

    KeyArray keys;
    std::vector<Payload> payloads;
  };

  // A key is the address in pages (47 bits: the 59 of Sv57x4, or a virtual address with its sign),
  // the size's number (3 bits) and the tags' (14 bits).
  static constexpr unsigned kCodeBits = 3, kTagBits = 14;
  static constexpr unsigned kPageAt = kCodeBits + kTagBits;
  struct Size {
    Array* array;
    u64 page_mask;
    u64 code_bits;
    u32 entries;  ///< what none has need not be looked up
    u8 shift;
    u8 code;

    u64 key(u64 address, u16 tag) const {
      return (address & page_mask) << (kPageAt - 12) | code_bits | tag;
    }
  };
  static constexpr u8 kNotHeld = 0xff;

  u64 code_of(u64 key) const { return key >> kTagBits & addrspace::low_mask(kCodeBits); }
  EntryKey where(u64 key) const {
    return {key >> kPageAt << 12, sizes_[code_of(key)].shift,
            static_cast<u16>(key & addrspace::low_mask(kTagBits))};
  }
  void forget(u64 key) {
    if (key != KeyArray::kEmpty) --sizes_[code_of(key)].entries;
  }
  // A size is held in the first array that takes it.
  void add_size(Array& array, u8 shift) {
    for (const Size& size : sizes_) {
      if (size.shift == shift) return;
    }
    static_assert(CacheShape::kMostSizes == 1u << kCodeBits);
    check(sizes_.size() < CacheShape::kMostSizes, "translation cache", "at most eight sizes", 0,
          shift);
    const u8 code = static_cast<u8>(sizes_.size());
    sizes_.push_back({&array, ~addrspace::low_mask(shift), u64{code} << kTagBits, 0, shift, code});
  }
  u8 largest_within(unsigned shift) const {
    const Size* best = nullptr;
    for (const Size& size : sizes_) {
      if (size.shift <= shift && (best == nullptr || size.shift > best->shift)) best = &size;
    }
    return best == nullptr ? kNotHeld : best->code;
  }
  template <class Drop, class Note>
  u32 drop_with(Drop&& drop, Note&& note) {
    u32 dropped = 0;
    for_each_way([&](Array& array, u32 set, u32 way, u64 key) {
      if (!drop(where(key), array.payload(set, way))) return;
      array.keys.erase(set, way);
      forget(key);
      note(key);
      ++dropped;
    });
    return dropped;
  }
  template <class Visit>
  void for_each_way(Visit&& visit) {
    for (Array& array : arrays_) {
      for (u32 set = 0; set < array.keys.sets(); ++set) {
        for (u32 way = 0; way < array.keys.ways(); ++way) {
          const u64 key = array.keys.key(set, way);
          if (key != KeyArray::kEmpty) visit(array, set, way, key);
        }
      }
    }
  }

  u32 latency_;
  u64 changes_ = 0;
  std::vector<Array> arrays_;
  std::vector<Size> sizes_;         ///< by code
  std::unordered_set<u64> fenced_;  ///< keys that fences removed, and nobody filled again
  u64 refills_ = 0;
  bool has_parts_ = false;
  std::array<u8, 64> held_{};  ///< by log2 of a translation's size: the code of what holds it
};

}  // namespace nestwalk::models
