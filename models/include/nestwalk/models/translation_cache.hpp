// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Cached translations of any kind: the levels of a TLB, the paging-structure caches of either
// stage, the nested TLB. They differ in what an entry holds and in which sizes each array takes.
#pragma once

#include <vector>

#include "nestwalk/models/key_array.hpp"

namespace nestwalk::models {

struct ArrayShape {
  u32 sets = 1;
  u32 ways = 1;
  std::vector<u8> shifts;  ///< log2 of the sizes that it holds
  ReplacementKind replacement = ReplacementKind::Lru;
};

struct CacheShape {
  std::vector<ArrayShape> arrays;
  u32 latency_cycles = 0;
  bool present() const { return !arrays.empty(); }
};

/// Of the 64 bits of an address those that a cached entry is known by; the rest are a sign.
inline constexpr unsigned kAddressBits = 59;
constexpr bool same_page(u64 a, u64 b, unsigned shift) {
  return ((a ^ b) & addrspace::low_mask(kAddressBits)) >> shift == 0;
}

/// Where an entry is: of which address, size and tags.
struct EntryKey {
  u64 address;
  u8 shift;
  u16 tag;
};

template <class Payload>
class TranslationCache {
 public:
  explicit TranslationCache(const CacheShape& shape, u64 seed = 1)
      : latency_(shape.latency_cycles) {
    for (const ArrayShape& array : shape.arrays) {
      for (const u8 shift : array.shifts) {
        probes_.push_back({static_cast<u32>(arrays_.size()), shift, size_code(shift)});
      }
      arrays_.push_back(Array(array, seed++));
    }
  }

  bool present() const { return !arrays_.empty(); }
  u32 latency_cycles() const { return latency_; }

  /// The entry for an address, arrays and sizes in the order of the shape. Counts as a use.
  Payload* find(u64 address, u16 tag) {
    for (const Probe& probe : probes_) {
      Array& array = arrays_[probe.array];
      const u32 set = array.keys.set_of(address >> probe.shift);
      const u32 slot = array.keys.find(set, key(address, probe, tag));
      if (slot == KeyArray::kNone) continue;
      array.keys.touch(set, slot);
      return &array.payloads[slot];
    }
    return nullptr;
  }

  /// Enters a translation that is good for 2^shift bytes. It is held in the largest size that some
  /// array takes and that is not larger; if there is none, not at all. Null then.
  Payload* fill(u64 address, unsigned shift, u16 tag, const Payload& payload) {
    const Probe* const probe = probe_for(shift);
    if (probe == nullptr) return nullptr;
    Array& array = arrays_[probe->array];
    const u64 wanted = key(address, *probe, tag);
    const u32 set = array.keys.set_of(address >> probe->shift);
    u32 slot = array.keys.find(set, wanted);
    if (slot == KeyArray::kNone) slot = array.keys.choose(set);
    array.keys.put(slot, wanted);
    array.payloads[slot] = payload;
    return &array.payloads[slot];
  }
  /// The size in which such a translation is held; 0 if it is not.
  u8 held_shift(unsigned shift) const {
    const Probe* const probe = probe_for(shift);
    return probe == nullptr ? u8{0} : probe->shift;
  }

  /// Removes the entries for which drop(EntryKey, const Payload&) holds, and says how many.
  template <class Drop>
  u32 drop_if(Drop&& drop) {
    u32 dropped = 0;
    for_each_slot([&](Array& array, u32 slot, const EntryKey& where) {
      if (!drop(where, array.payloads[slot])) return;
      array.keys.erase(slot);
      ++dropped;
    });
    return dropped;
  }
  /// Calls visit(EntryKey, const Payload&) for every entry.
  template <class Visit>
  void for_each(Visit&& visit) {
    for_each_slot(
        [&](Array& array, u32 slot, const EntryKey& where) { visit(where, array.payloads[slot]); });
  }

 private:
  struct Array {
    Array(const ArrayShape& shape, u64 seed)
        : keys(shape.sets, shape.ways, shape.replacement, seed), payloads(keys.slots()) {}
    KeyArray keys;
    std::vector<Payload> payloads;
  };
  struct Probe {
    u32 array;
    u8 shift;
    u8 code;
  };

  // A key is the address in pages (47 bits: the 59 of Sv57x4, or a virtual address with its sign),
  // the size (3 bits) and the tags' number (14 bits).
  static constexpr unsigned kPageBits = 47, kCodeBits = 3, kTagBits = 14;
  static u64 key(u64 address, const Probe& probe, u16 tag) {
    const u64 pages =
        (address >> probe.shift << (probe.shift - 12)) & addrspace::low_mask(kPageBits);
    return (pages << kCodeBits | probe.code) << kTagBits | tag;
  }
  EntryKey where(u64 key) const {
    const u64 pages = key >> (kCodeBits + kTagBits);
    return {pages << 12, shifts_[key >> kTagBits & 7],
            static_cast<u16>(key & addrspace::low_mask(kTagBits))};
  }
  u8 size_code(u8 shift) {
    for (u8 code = 0; code < shifts_.size(); ++code) {
      if (shifts_[code] == shift) return code;
    }
    shifts_.push_back(shift);
    return static_cast<u8>(shifts_.size() - 1);
  }
  const Probe* probe_for(unsigned shift) const {
    const Probe* best = nullptr;
    for (const Probe& probe : probes_) {
      if (probe.shift <= shift && (best == nullptr || probe.shift > best->shift)) best = &probe;
    }
    return best;
  }
  template <class Visit>
  void for_each_slot(Visit&& visit) {
    for (Array& array : arrays_) {
      for (u32 slot = 0; slot < array.keys.slots(); ++slot) {
        const u64 found = array.keys.key(slot);
        if (found != KeyArray::kEmpty) visit(array, slot, where(found));
      }
    }
  }

  u32 latency_;
  std::vector<Array> arrays_;
  std::vector<Probe> probes_;
  std::vector<u8> shifts_;  ///< by code; at most eight
};

}  // namespace nestwalk::models
