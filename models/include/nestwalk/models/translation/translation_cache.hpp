// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Cached translations of any kind: the levels of a TLB, the paging-structure caches of either
// stage, the nested TLB. They differ in what an entry holds and in which sizes each array takes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <unordered_set>
#include <vector>

#include "nestwalk/models/base/check.hpp"
#include "nestwalk/models/base/parameter.hpp"
#include "nestwalk/models/memory/key_array.hpp"

namespace nestwalk::models {

/// Which set of an array a page is in.
enum class SetIndex : u8 {
  Linear,  ///< the lowest bits of the page number
  Xor,     ///< these, exclusive or as many bits above them
};
inline constexpr Word<SetIndex> kSetIndices[] = {{"linear", SetIndex::Linear},
                                                 {"xor", SetIndex::Xor}};

struct ArrayShape {
  /// A coalesced entry is for at most so many pages, in log2: their table entries are in one line.
  static constexpr unsigned kMostDoubled = 3;

  u32 sets = 1;
  u32 ways = 1;
  std::vector<u8> shifts;  ///< log2 of the sizes
  ReplacementKind replacement = ReplacementKind::Lru;
  std::vector<u8> coalesced{};  ///< log2 of sizes, too
  SetIndex index = SetIndex::Linear;

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"sets", &ArrayShape::sets, PowerOfTwo{1, 1 << 16},
            "sets; the index says which one a page is in"},
        Row{"ways", &ArrayShape::ways, Number{1, 4096}, "entries of each set", kInEntries},
        Row{"sizes", &ArrayShape::shifts, PageSizes{},
            "sizes that its entries have; in a walk cache, what an entry of the cached level maps"},
        Row{"replacement", &ArrayShape::replacement, Registered{},
            "which entry of a full set is replaced"},
        Row{"coalesced", &ArrayShape::coalesced, OrLeftOut{PageSizes{}},
            "of a TLB: sizes of entries for neighbouring pages that are contiguous, aligned and "
            "alike"},
        Row{"index", &ArrayShape::index, OrLeftOut{OneOf{kSetIndices}},
            "bits of the page number that say which set it is in: the lowest ones (linear, the "
            "default), or these exclusive or as many above them (xor)"}};
  }
  /// Calls visit(u8 shift) for each size, of pages and of coalesced entries.
  template <class Visit>
  void for_each_size(Visit&& visit) const {
    for (const u8 shift : shifts) visit(shift);
    for (const u8 shift : coalesced) visit(shift);
  }
};

struct CacheShape {
  static constexpr std::size_t kMostSizes = 8;  ///< that differ, of all arrays

  std::vector<ArrayShape> arrays;
  u32 latency_cycles = 0;
  std::vector<u8> in_second_tlb{};  ///< of a walk cache or nested TLB: log2 of sizes

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"latency_cycles", &CacheShape::latency_cycles, Number{0, 1000}, "cycles of a lookup",
            kInCycles},
        Row{"walker.in_second_tlb", &CacheShape::in_second_tlb, OrLeftOut{PageSizes{}},
            "sizes whose entries are in the first array of the second-level TLB, "
            "where they compete with its translations"}};
  }
  bool present() const { return !arrays.empty() || !in_second_tlb.empty(); }
};

/// A bit for each log2.
inline u64 coalesced_sizes_of(const CacheShape& shape) {
  u64 sizes = 0;
  for (const ArrayShape& array : shape.arrays) {
    for (const u8 shift : array.coalesced) sizes |= u64{1} << shift;
  }
  return sizes;
}

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

/// The keys of one array, which several structures may share, and how many each has of each size.
struct KeySpace {
  KeySpace(const ArrayShape& shape, u64 seed)
      : keys(shape.sets, shape.ways, shape.replacement, seed),
        index_bits(shape.index == SetIndex::Xor ? static_cast<u8>(std::countr_zero(shape.sets))
                                                : u8{0}) {}

  KeyArray keys;
  u8 index_bits;  ///< of the page number, that an exclusive or folds
  std::array<u32*, CacheShape::kMostSizes> entries{};  ///< by the number of the size
};

template <class Payload>
class TranslationCache {
 public:
  /// `second_tlb`: the array that the shape's `in_second_tlb` names.
  explicit TranslationCache(const CacheShape& shape, u64 seed = 1,
                            std::shared_ptr<KeySpace> second_tlb = nullptr)
      : latency_(shape.present() ? shape.latency_cycles : 0) {
    check(shape.in_second_tlb.empty() || second_tlb != nullptr, "translation cache",
          "a second-level TLB that it is a part of", 0, shape.arrays.size());
    arrays_.reserve(shape.arrays.size() + 1);
    sizes_.reserve(CacheShape::kMostSizes * (shape.arrays.size() + 1));
    if (!shape.in_second_tlb.empty()) {
      arrays_.emplace_back(std::move(second_tlb));
      for (const u8 shift : shape.in_second_tlb) add_size(arrays_.back(), shift);
    }
    for (const ArrayShape& array : shape.arrays) {
      arrays_.emplace_back(std::make_shared<KeySpace>(array, seed++));
      array.for_each_size([&](u8 shift) { add_size(arrays_.back(), shift); });
      for (const u8 shift : array.coalesced) most_coalesced_ = std::max(most_coalesced_, shift);
    }
    find_rivals();
    for (unsigned shift = 0; shift < held_.size(); ++shift) held_[shift] = largest_within(shift);
  }
  TranslationCache(const TranslationCache&) = delete;
  TranslationCache& operator=(const TranslationCache&) = delete;

  bool present() const { return !arrays_.empty(); }
  u32 latency_cycles() const { return latency_; }

  /// The entry for an address, arrays and sizes in the order of the shape, those whose index folds
  /// after all others. Counts as a use.
  Payload* find(u64 address, u16 tag) {
    for (const Size& size : sizes_) {
      if (static_cast<std::int32_t>(size.entries) <= 0) continue;
      const u32 set = size.keys->set_of(address >> size.shift);
      const u32 way = size.keys->use_again(set, size.key(address, tag));
      if (way != KeyArray::kNone) return &size.payload(set, way);
    }
    return folds_ ? find_folded(address, tag) : nullptr;
  }

  /// The same in one size, if there is such a size.
  Payload* find_in(unsigned shift, u64 address, u16 tag) {
    if (held_[shift] == kNotHeld) return nullptr;
    const Size& size = sizes_[held_[shift]];
    if (size.shift != shift || size.entries == 0) return nullptr;
    const u32 set = size.keys->set_of(address >> size.shift);
    const u32 way = size.keys->use_again(set, size.key(address, tag));
    return way == KeyArray::kNone ? nullptr : &size.payload(set, way);
  }

  /// Is there one? That is no use.
  bool holds(u64 address, u16 tag) const {
    for (const Size& size : sizes_) {
      if (size.is_empty()) continue;
      const KeyArray& keys = *size.keys;
      if (keys.find(size.set_of(address), size.key(address, tag)) != KeyArray::kNone) return true;
    }
    return false;
  }

  /// Enters a translation that is good for 2^shift bytes. It is held in the largest size that some
  /// array takes and that is not larger; if there is none, not at all. Null then. Of several arrays
  /// that take the size, it is in one: where the page is already, else in the first whose set has
  /// an empty way, else in the one whose turn it is.
  Payload* fill(u64 address, unsigned shift, u16 tag, const Payload& payload) {
    Payload* const place = make_place(address, shift, tag);
    if (place != nullptr) *place = payload;
    return place;
  }
  /// The same, for the caller to write it there. `absent`: a lookup has just shown that nothing is
  /// held for the address and the tag, so it need not be looked for.
  Payload* make_place(u64 address, unsigned shift, u16 tag, bool absent = false) {
    if (held_[shift] == kNotHeld) return nullptr;
    Size* chosen = &sizes_[held_[shift]];
    if (chosen->rivals != 0) [[unlikely]]
      chosen = &choose(*chosen, address, tag, absent);
    Size& size = *chosen;
    if (size.shift <= most_coalesced_) [[unlikely]]
      drop_other_sizes(size, address, tag);
    const u32 set = size.set_of(address);
    const u64 key = size.key(address, tag);
    const KeyArray::Place place =
        absent ? size.keys->put(set, key) : size.keys->put_or_use(set, key);
    ++size.entries;
    ++changes_;
    has_parts_ = has_parts_ || shift > size.shift;
    if (place.before != KeyArray::kEmpty) --*size.counts[code_of(place.before)];
    if (!fenced_.empty()) [[unlikely]]
      refills_ += fenced_.erase(key);
    return &size.payload(set, place.way);
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
    for (Size& size : sizes_) drop(size, address, tag);
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
  /// For walk caches whose entries are there, too.
  std::shared_ptr<KeySpace> first_array() const {
    return arrays_.empty() ? nullptr : arrays_.front().space;
  }
  /// Calls visit(EntryKey, const Payload&) for every entry.
  template <class Visit>
  void for_each(Visit&& visit) {
    for_each_way([&](const Size& size, u32 set, u32 way, u64 key) {
      visit(where(key, size.shift), size.payload(set, way));
    });
  }

 private:
  struct Array {
    explicit Array(std::shared_ptr<KeySpace> shared)
        : space(std::move(shared)), payloads(u64{space->keys.sets()} * space->keys.ways()) {}

    std::shared_ptr<KeySpace> space;
    std::vector<Payload> payloads;
  };

  // A key is the address in pages (47 bits: the 59 of Sv57x4, or a virtual address with its sign),
  // the size's number (3 bits) and the tags' (14 bits).
  static constexpr unsigned kCodeBits = 3, kTagBits = 14;
  static constexpr unsigned kPageAt = kCodeBits + kTagBits;
  // Linear indices are by far the most: whether a size has one, and entries, is one comparison.
  static constexpr u32 kFolds = u32{1} << 31;
  /// One size in one array.
  struct Size {
    KeyArray* keys;
    Payload* payloads;
    u32* const* counts;  ///< of entries in the array, by code, of all structures
    u64 page_mask;
    u64 code_bits;
    u32 entries;  ///< what none has need not be looked up; kFolds more where the index does
    u8 shift;
    u8 index_bits;  ///< those above as many are folded into these; 0 if none are
    u8 rivals = 0;  ///< other arrays that take the size

    bool is_empty() const { return (entries & ~kFolds) == 0; }
    u32 set_of(u64 address) const {
      const u64 page = address >> shift;
      return keys->set_of(index_bits == 0 ? page : page ^ page >> index_bits);
    }
    Payload& payload(u32 set, u32 way) const { return payloads[u64{set} * keys->ways() + way]; }
    u64 key(u64 address, u16 tag) const {
      return (address & page_mask) << (kPageAt - 12) | code_bits | tag;
    }
  };
  static constexpr u8 kNotHeld = 0xff;

  [[gnu::noinline]] Payload* find_folded(u64 address, u16 tag) const {
    for (const Size& size : sizes_) {
      if (size.entries <= kFolds) continue;
      const u32 set = size.set_of(address);
      const u32 way = size.keys->use_again(set, size.key(address, tag));
      if (way != KeyArray::kNone) return &size.payload(set, way);
    }
    return nullptr;
  }
  static u64 code_of(u64 key) { return key >> kTagBits & addrspace::low_mask(kCodeBits); }
  EntryKey where(u64 key, u8 shift) const {
    return {key >> kPageAt << 12, shift, static_cast<u16>(key & addrspace::low_mask(kTagBits))};
  }
  // A size has one code, in all arrays that take it: none that another size has in them.
  void add_size(Array& array, u8 shift) {
    auto& counts = array.space->entries;
    u32 used = 0;
    for (u32 code = 0; code < counts.size(); ++code) used |= u32{counts[code] != nullptr} << code;
    u32 code = CacheShape::kMostSizes;
    for (const Size& size : sizes_) {
      const u32 its_own = static_cast<u32>(size.code_bits >> kTagBits);
      if (size.shift == shift && size.keys == &array.space->keys) return;
      if (size.shift == shift) code = its_own;
      used |= 1u << its_own;
    }
    if (code == CacheShape::kMostSizes) code = static_cast<u32>(std::countr_one(used));
    static_assert(CacheShape::kMostSizes == 1u << kCodeBits);
    check(code < CacheShape::kMostSizes && counts[code] == nullptr, "translation cache",
          "at most eight sizes", 0, shift);
    sizes_.push_back({&array.space->keys, array.payloads.data(), counts.data(),
                      ~addrspace::low_mask(shift), u64{code} << kTagBits,
                      array.space->index_bits == 0 ? 0 : kFolds, shift, array.space->index_bits});
    counts[code] = &sizes_.back().entries;
    folds_ = folds_ || sizes_.back().index_bits != 0;
  }
  void find_rivals() {
    for (Size& size : sizes_) {
      const auto same = [&](const Size& other) { return other.shift == size.shift; };
      size.rivals = static_cast<u8>(std::count_if(sizes_.begin(), sizes_.end(), same) - 1);
      if (size.rivals != 0) turns_.resize(std::max<std::size_t>(turns_.size(), size.keys->sets()));
    }
  }
  // Of the arrays that take the size of `first`, which is the first of them. That they take turns,
  // for each of its sets, is a guess.
  [[gnu::noinline]] Size& choose(Size& first, u64 address, u16 tag, bool absent) {
    Size* const end = sizes_.data() + sizes_.size();
    Size* with_room = nullptr;
    for (Size* size = &first; size != end; ++size) {
      if (size->shift != first.shift) continue;
      const u32 set = size->set_of(address);
      if (!absent && size->keys->find(set, size->key(address, tag)) != KeyArray::kNone) {
        return *size;
      }
      if (with_room == nullptr && size->keys->has_empty_way(set)) with_room = size;
    }
    if (with_room != nullptr) return *with_room;
    u8& turn = turns_[first.set_of(address)];
    u8 skipped = turn;
    turn = turn == first.rivals ? u8{0} : static_cast<u8>(turn + 1);
    Size* size = &first;
    while (size->shift != first.shift || skipped-- != 0) ++size;
    return *size;
  }
  u8 largest_within(unsigned shift) const {
    const Size* best = nullptr;
    for (const Size& size : sizes_) {
      if (size.shift <= shift && (best == nullptr || size.shift > best->shift)) best = &size;
    }
    return best == nullptr ? kNotHeld : static_cast<u8>(best - sizes_.data());
  }
  void drop(Size& size, u64 address, u16 tag) {
    if (size.is_empty()) return;
    const u32 set = size.set_of(address);
    const u32 way = size.keys->find(set, size.key(address, tag));
    if (way == KeyArray::kNone) return;
    size.keys->erase(set, way);
    --size.entries;
  }
  // A page is in one entry, coalesced or not: what is entered takes the place of all that the
  // structure holds for its pages.
  [[gnu::noinline]] void drop_other_sizes(const Size& entered, u64 address, u16 tag) {
    const u64 first = address & entered.page_mask;
    for (Size& size : sizes_) {
      if (&size == &entered || size.shift > most_coalesced_) continue;
      u64 part = 0;
      do {
        drop(size, first + part, tag);
        part += u64{1} << size.shift;
      } while (part < u64{1} << entered.shift);
    }
  }
  template <class Drop, class Note>
  u32 drop_with(Drop&& drop, Note&& note) {
    u32 dropped = 0;
    for_each_way([&](Size& size, u32 set, u32 way, u64 key) {
      if (!drop(where(key, size.shift), size.payload(set, way))) return;
      size.keys->erase(set, way);
      --size.entries;
      note(key);
      ++dropped;
    });
    return dropped;
  }
  template <class Visit>
  void for_each_way(Visit&& visit) {
    for (Array& array : arrays_) {
      KeyArray& keys = array.space->keys;
      std::array<Size*, CacheShape::kMostSizes> own{};  // of all that are in the array
      for (Size& size : sizes_) {
        if (size.keys == &keys) own[size.code_bits >> kTagBits] = &size;
      }
      for (u32 set = 0; set < keys.sets(); ++set) {
        for (u32 way = 0; way < keys.ways(); ++way) {
          const u64 key = keys.key(set, way);
          if (key == KeyArray::kEmpty || own[code_of(key)] == nullptr) continue;
          visit(*own[code_of(key)], set, way, key);
        }
      }
    }
  }

  u32 latency_;
  u64 changes_ = 0;
  std::vector<Array> arrays_;
  std::vector<Size> sizes_;         ///< they stay where they are
  std::vector<u8> turns_;           ///< of arrays with a size in common, by sets of the first
  std::unordered_set<u64> fenced_;  ///< keys that fences removed, and nobody filled again
  u64 refills_ = 0;
  bool has_parts_ = false;
  bool folds_ = false;         ///< the index of some array does
  u8 most_coalesced_ = 0;      ///< log2 of the largest coalesced size
  std::array<u8, 64> held_{};  ///< by log2 of a translation's size: the index of what holds it
};

}  // namespace nestwalk::models
