// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A million random fills, lookups and fences per architecture, against a plain list of entries:
// what a fence names is gone from every structure, and everything else is still there.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "fence_model.hpp"
#include "fence_names.hpp"
#include "nestwalk/models/machine/machine.hpp"

namespace nestwalk::models::fence_model_test {
namespace {

using addrspace::low_mask;

#ifdef NESTWALK_SANITIZED
constexpr u32 kSteps = 40'000;
#else
constexpr u32 kSteps = 300'000;
#endif

enum Structure : u8 {
  kFetch,
  kData,
  kStore,
  kSecondLevel,
  kPrefetched,
  kGuestTables,
  kNestedTables,
  kNestedLeaves
};
constexpr unsigned kStructures = 8;
constexpr u32 kPrefetchEntries = 5;

struct ModelArray {
  u32 sets, ways;
  std::vector<u8> shifts;
};
// Some sizes are missing everywhere, so that entries are held in parts. The prefetch buffer has the
// sizes of the second level.
const std::vector<ModelArray> kArrays[kStructures] = {
    {{1, 6, {12}}, {1, 4, {21}}},
    {{2, 3, {12}}, {1, 6, {30, 21}}},
    {{1, 5, {12, 30}}},
    {{4, 3, {12, 21}}},
    {{1, kPrefetchEntries, {12, 21}}},
    {{1, 8, {21}}, {1, 4, {39}}},
    {{2, 4, {21}}, {1, 4, {30}}},
    {{1, 8, {12, 30}}},
};

CacheShape cache_shape(Structure structure) {
  CacheShape shape;
  ReplacementKind replacement = ReplacementKind::Lru;
  for (const ModelArray& array : kArrays[structure]) {
    shape.arrays.push_back({array.sets, array.ways, array.shifts, replacement});
    replacement = ReplacementKind::Random;
  }
  return shape;
}
MachineShape machine_shape() {
  MachineShape shape;
  shape.mmu.fetch_tlb = cache_shape(kFetch);
  shape.mmu.data_tlb = cache_shape(kData);
  shape.mmu.store_tlb = cache_shape(kStore);
  shape.mmu.second_tlb = cache_shape(kSecondLevel);
  shape.mmu.prefetch.policy = TlbPrefetcherKind::called("next_page");
  shape.mmu.prefetch.buffer_entries = kPrefetchEntries;
  shape.mmu.walker.guest_walk_cache = cache_shape(kGuestTables);
  shape.mmu.walker.nested_walk_cache = cache_shape(kNestedTables);
  shape.mmu.walker.nested_tlb = cache_shape(kNestedLeaves);
  shape.memory = {.controller_ps = 1000};
  return shape;
}

struct Held {
  Structure structure;
  u32 array;
  u8 shift;   ///< in which it is held
  u64 first;  ///< of 2^shift bytes
  u16 tag;
  u64 stamp;  ///< tells it from all others
  prose::Entry entry;
};

class Semantics {
 public:
  explicit Semantics(const Extension& extension)
      : machine_(machine_shape(), addrspace::kGiB),
        ops_(fences_of(extension)),
        by_root_(extension.tags_by_root) {}

  void run() {
    std::vector<u64> removed(ops_.size());
    for (u32 n = 0; n < kSteps && !testing::Test::HasFailure(); ++n) {
      const u32 what = pick(8);
      if (what < 5) {
        fill();
      } else if (what < 7) {
        look_up();
      } else {
        fence(removed);
      }
    }
    // Each removed something at some time, if it can at all.
    for (std::size_t n = 0; n < ops_.size(); ++n) {
      const std::string name = ops_[n]->title();
      const bool idle = name.find("e2") != std::string::npos || name.find("sfence") == 0;
      EXPECT_EQ(removed[n] == 0, idle) << name;
    }
  }

 private:
  u32 pick(u32 count) { return static_cast<u32>(random_() % count); }
  // A few places in a few large pages, in both halves: they share leaves of all sizes.
  u64 some_address() {
    const u64 upper = pick(4) == 0 ? 0x07ff'ff80'0000'0000 : 0;
    return upper | u64{pick(2)} << 39 | u64{pick(2)} << 30 | u64{pick(3)} << 21 |
           u64{pick(3)} << 12 | pick(2) * 0xabcu;
  }
  u64 some_guest_physical() {
    return u64{pick(2)} << 39 | u64{pick(3)} << 30 | u64{pick(3)} << 21 | u64{pick(3)} << 12 |
           pick(2) * 0x123u;
  }
  u64 some_root() { return by_root_ ? u64{pick(3)} * 0x5000 : 0; }
  u16 some_vmid() { return static_cast<u16>(pick(3)); }
  u16 some_asid() { return static_cast<u16>(pick(3)); }
  u8 some_leaf() { return static_cast<u8>(12 + 9 * pick(3)); }
  static u64 down(u64 address, unsigned shift) { return address & ~low_mask(shift); }

  Mmu& mmu() { return *machine_.core(0).mmu; }

  // Calls use(cache) with the structure's cache.
  template <class Use>
  auto with(Structure structure, Use&& use) {
    Walker& walker = mmu().walker();
    switch (structure) {
      case kFetch:
        return use(mmu().fetch_tlb());
      case kData:
        return use(mmu().data_tlb());
      case kStore:
        return use(mmu().store_tlb());
      case kSecondLevel:
        return use(mmu().second_tlb());
      case kPrefetched:
        return use(mmu().prefetch_buffer());
      case kGuestTables:
        return use(walker.guest_walk_cache());
      case kNestedTables:
        return use(walker.nested_walk_cache());
      case kNestedLeaves:
        break;
    }
    return use(walker.nested_tlb());
  }
  static u64 stamp_of(const Translation& entry) { return entry.host; }
  static u64 stamp_of(const CachedTable& entry) { return entry.table_host; }
  static u64 stamp_of(const CachedNested& entry) { return entry.host; }

  // In the largest size that an array takes and that is not larger.
  static bool place(Held& held, unsigned shift) {
    held.shift = 0;
    const std::vector<ModelArray>& arrays = kArrays[held.structure];
    for (u32 n = 0; n < arrays.size(); ++n) {
      for (const u8 size : arrays[n].shifts) {
        if (size > shift || size <= held.shift) continue;
        held.shift = size;
        held.array = n;
      }
    }
    return held.shift != 0;
  }

  void fill() {
    const auto structure = static_cast<Structure>(pick(kStructures));
    Held held{structure, 0, 0, 0, 0, ++stamps_, {}};
    const bool second = structure == kNestedTables || structure == kNestedLeaves;
    Tag& tag = held.entry.tag;
    tag.root = some_root();
    tag.vmid = some_vmid();
    if (second) {
      if (by_root_) tag = {tag.root == 0 ? 0x5000 : tag.root, 0, 0, false};
    } else {
      tag.global = structure != kGuestTables && pick(4) == 0;
      tag.asid = tag.global ? u16{0} : some_asid();
    }
    held.tag = machine_.tags().number(tag);
    if (fill(held)) enter(held);
  }
  bool fill(Held& held) {
    switch (held.structure) {
      case kGuestTables:
        return fill_guest_table(held);
      case kNestedTables:
        return fill_nested_table(held);
      case kNestedLeaves:
        return fill_nested_leaf(held);
      default:
        return fill_leaf(held);
    }
  }
  // A leaf of the first stage over one of the second, each of any size. Or one of them is off.
  bool fill_leaf(Held& held) {
    prose::Entry& entry = held.entry;
    const u64 at = some_address();
    u8 guest = some_leaf();
    u8 nested = by_root_ && entry.tag.root == 0 ? Translation::kUnlimited : some_leaf();
    if (nested != Translation::kUnlimited && pick(8) == 0) guest = Translation::kUnlimited;
    const u8 shift = std::min(guest, nested);
    if (!place(held, shift)) return false;
    held.first = down(at, held.shift);
    const u64 physical = down(some_guest_physical(), held.shift);
    entry.kept = prose::Kept::Leaf;
    // Without a first stage there is no page of it: what is held is what an address names.
    const u8 own = guest == Translation::kUnlimited ? held.shift : guest;
    entry.virtual_first = down(at, own);
    entry.virtual_bytes = u64{1} << own;
    if (nested != Translation::kUnlimited) {
      entry.physical_first = down(physical, nested);
      entry.physical_bytes = u64{1} << nested;
    }
    Translation payload;
    payload.host = held.stamp;
    payload.guest_physical = physical;
    payload.guest_shift = guest;
    payload.nested_shift = nested;
    payload.held_shift = held.shift;
    payload.global = entry.tag.global;
    return put(held, at, shift, payload);
  }
  template <class Payload>
  bool put(const Held& held, u64 at, u8 shift, const Payload& payload) {
    return with(held.structure, [&](auto& cache) {
      if constexpr (requires { cache.fill(at, shift, held.tag, payload); }) {
        return cache.fill(at, shift, held.tag, payload) != nullptr;
      }
      return false;
    });
  }
  bool fill_guest_table(Held& held) {
    prose::Entry& entry = held.entry;
    const u8 covers = static_cast<u8>(21 + 9 * pick(3));
    if (!place(held, covers)) return false;
    const u64 at = some_address();
    const u64 lies_in = down(some_guest_physical(), 12);
    const u8 nested = by_root_ && entry.tag.root == 0 ? Translation::kUnlimited : some_leaf();
    held.first = down(at, held.shift);
    entry.kept = prose::Kept::GuestTable;
    entry.virtual_first = down(at, covers);
    entry.virtual_bytes = u64{1} << covers;
    if (nested != Translation::kUnlimited) {
      entry.physical_first = down(lies_in, nested);
      entry.physical_bytes = u64{1} << nested;
    }
    CachedTable payload;
    payload.table_guest = lies_in;
    payload.table_host = held.stamp;
    payload.nested_shift = nested;
    payload.covers_shift = covers;
    return put(held, at, covers, payload);
  }
  bool fill_nested_table(Held& held) {
    prose::Entry& entry = held.entry;
    const u8 covers = static_cast<u8>(21 + 9 * pick(3));
    if (!place(held, covers)) return false;
    const u64 at = some_guest_physical();
    held.first = down(at, held.shift);
    entry.kept = prose::Kept::NestedTable;
    entry.physical_first = down(at, covers);
    entry.physical_bytes = u64{1} << covers;
    CachedTable payload;
    payload.table_host = held.stamp;
    payload.covers_shift = covers;
    return put(held, at, covers, payload);
  }
  bool fill_nested_leaf(Held& held) {
    prose::Entry& entry = held.entry;
    const u8 leaf = some_leaf();
    if (!place(held, leaf)) return false;
    const u64 at = some_guest_physical();
    held.first = down(at, held.shift);
    entry.kept = prose::Kept::NestedLeaf;
    entry.physical_first = down(at, leaf);
    entry.physical_bytes = u64{1} << leaf;
    CachedNested payload;
    payload.host = held.stamp;
    payload.leaf_shift = leaf;
    return put(held, at, leaf, payload);
  }

  static bool same_place(const Held& a, const Held& b) {
    return a.structure == b.structure && a.shift == b.shift && a.first == b.first && a.tag == b.tag;
  }
  u32 set_of(const Held& held) const {
    const u32 sets = kArrays[held.structure][held.array].sets;
    return static_cast<u32>(held.first >> held.shift) % sets;
  }
  bool same_set(const Held& a, const Held& b) const {
    return a.structure == b.structure && a.array == b.array && set_of(a) == set_of(b);
  }
  // A new entry takes the place of its like, or a free one; only in a full set another one goes.
  void enter(const Held& held) {
    std::erase_if(list_, [&](const Held& other) { return same_place(held, other); });
    const auto in_set = std::count_if(list_.begin(), list_.end(),
                                      [&](const Held& other) { return same_set(held, other); });
    list_.push_back(held);
    if (in_set < kArrays[held.structure][held.array].ways) return;
    const std::vector<u64> present = stamps_in(held.structure);
    const auto gone = std::erase_if(list_, [&](const Held& other) {
      return other.structure == held.structure &&
             !std::binary_search(present.begin(), present.end(), other.stamp);
    });
    EXPECT_EQ(gone, 1u);
    EXPECT_TRUE(std::binary_search(present.begin(), present.end(), held.stamp));
  }
  std::vector<u64> stamps_in(Structure structure) {
    std::vector<u64> stamps;
    with(structure, [&](auto& cache) {
      cache.for_each(
          [&](const EntryKey&, const auto& payload) { stamps.push_back(stamp_of(payload)); });
    });
    std::sort(stamps.begin(), stamps.end());
    return stamps;
  }

  // Of several that hold the address, the first in the order of the arrays and their sizes.
  void look_up() {
    const auto structure = static_cast<Structure>(pick(kStructures));
    const u64 at = structure >= kNestedTables ? some_guest_physical() : some_address();
    const Tag tag = list_.empty() ? Tag{} : list_[pick(static_cast<u32>(list_.size()))].entry.tag;
    const u16 number = machine_.tags().number(tag);
    u64 expected = 0;
    for (const ModelArray& array : kArrays[structure]) {
      for (const u8 shift : array.shifts) {
        for (const Held& held : list_) {
          if (expected == 0 && held.structure == structure && held.shift == shift &&
              held.tag == number && held.first == down(at, shift)) {
            expected = held.stamp;
          }
        }
      }
    }
    const u64 found = with(structure, [&](auto& cache) {
      const auto* const payload = cache.find(at, number);
      return payload == nullptr ? u64{0} : stamp_of(*payload);
    });
    EXPECT_EQ(found, expected) << "structure " << int{structure} << std::hex << " at " << at;
  }

  void fence(std::vector<u64>& removed) {
    FenceRequest request;
    const u32 number = pick(static_cast<u32>(ops_.size()));
    request.op = ops_[number];
    request.root = some_root() + 0x5000 + 0x5e;  // an EPTP has more than an address
    request.vmid = some_vmid();
    request.asid = some_asid();
    request.address = pick(2) == 0 ? some_address() : some_guest_physical();
    const auto operand = request.op->operand;
    const bool range =
        operand == addrspace::FenceOperand::IpaRange || operand == addrspace::FenceOperand::VaRange;
    request.bytes = range ? u64{pick(1000) + 1} << 12 : 1;
    const prose::Fence fence(request);
    const auto gone =
        std::erase_if(list_, [&](const Held& held) { return fence.removes(held.entry); });
    const u64 dropped = apply_fence(request, mmu(), machine_.tags());
    removed[number] += dropped;
    EXPECT_EQ(dropped, gone) << request.op->title();
    for (u8 n = 0; n < kStructures; ++n) {
      std::vector<u64> expected;
      for (const Held& held : list_) {
        if (held.structure == n) expected.push_back(held.stamp);
      }
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(stamps_in(static_cast<Structure>(n)), expected)
          << "structure " << int{n} << " after " << request.op->title();
    }
  }

  Machine machine_;
  std::vector<FenceOp> ops_;
  std::vector<Held> list_;
  std::mt19937_64 random_{1};
  u64 stamps_ = 0;
  bool by_root_;
};

TEST(FenceSemantics, Vmx) { Semantics(kVmx).run(); }
TEST(FenceSemantics, Svm) { Semantics(kSvm).run(); }
TEST(FenceSemantics, Arm) { Semantics(kStage2).run(); }
TEST(FenceSemantics, RiscV) { Semantics(kHext).run(); }

}  // namespace
}  // namespace nestwalk::models::fence_model_test
