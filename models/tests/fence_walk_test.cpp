// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Tables that change under running walks: after the narrowest fence that the manual accepts for a
// change, given for any address of the leaf or table that changed, nothing old is ever used.
//
// Pages of the guest and of the second stage are large or small in every combination, and the
// structures hold them in parts (XiangShan#5114 is the bug of forgetting what a part belongs to).

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "fence_names.hpp"
#include "nested_world.hpp"
#include "nestwalk/models/fences/fence_unit.hpp"

namespace nestwalk::models::fence_walk_test {
namespace {

using namespace addrspace;

#ifdef NESTWALK_SANITIZED
constexpr u32 kSteps = 1'500;
#else
constexpr u32 kSteps = 30'000;
#endif

/// What changed, and so which fence it needs.
enum class Change { NestedLeaf, NestedTable, GuestLeaf, GuestTable, PlaceOfGuestTable };
constexpr Change kChanges[] = {Change::NestedLeaf, Change::NestedTable, Change::GuestLeaf,
                               Change::GuestTable, Change::PlaceOfGuestTable};

// The fences that suffice, each list to be executed in order (facts of the manuals: see
// fence_model.hpp for the sections).
using Sequences = std::vector<std::vector<FenceOp>>;
template <class N>
Sequences sufficient(Change change) {
  if constexpr (std::is_same_v<N, Npt>) {
    if (change == Change::GuestLeaf) return {{x86_64::kInvlpg}, {svm::kInvlpga}};
    if (change == Change::GuestTable) return {{x86_64::kInvlpg}, {svm::kInvlpgb}};
    return {{svm::kVmrunAsid}, {svm::kVmrunAll}, {svm::kInvlpgbNested}};
  }
  switch (N::kArchitecture) {
    case Architecture::X86_64:
      if (change == Change::GuestLeaf)
        return {{x86_64::kInvlpg}, {vmx::kInvvpidAddress}, {x86_64::kInvpcidAddress}};
      if (change == Change::GuestTable)
        return {{x86_64::kInvlpg}, {vmx::kInvvpidAddress}, {x86_64::kInvpcidSingle}};
      return {{vmx::kInveptSingle}, {vmx::kInveptAll}};
    case Architecture::AArch64:
      switch (change) {
        case Change::NestedLeaf:
        case Change::PlaceOfGuestTable:
          return {{stage2::kIpas2le1.is, stage2::kVmalle1.is},
                  {stage2::kRipas2le1.os, stage2::kVmalle1.local}};
        case Change::NestedTable:
          return {{stage2::kIpas2e1.is, stage2::kVmalle1.is},
                  {stage2::kRipas2e1.local, stage2::kVmalle1.os}};
        case Change::GuestLeaf:
          return {{stage2::kVale1.is},
                  {stage2::kVaale1.local},
                  {stage2::kRvae1.os},
                  {stage2::kRvaale1.is}};
        case Change::GuestTable:
          return {{stage2::kVae1.is},
                  {stage2::kVaae1.local},
                  {stage2::kRvae1.os},
                  {stage2::kAside1.local}};
      }
      break;
    case Architecture::RiscV64:
      switch (change) {
        case Change::NestedLeaf:
        case Change::PlaceOfGuestTable:
          return {{hext::kGvmaAddress.at_once},
                  {hext::kGvmaAddressVmid.at_once},
                  {hext::kGvmaAddressVmid.posted}};
        case Change::NestedTable:
          return {{hext::kGvmaVmid.at_once}, {hext::kGvmaAll.at_once}};
        case Change::GuestLeaf:
          return {{hext::kVvmaAddress.at_once},
                  {hext::kVvmaAddressAsid.at_once},
                  {hext::kVvmaAddressAsid.posted}};
        case Change::GuestTable:
          return {{hext::kVvmaAsid.at_once}, {hext::kVvmaAll.at_once}};
      }
      break;
  }
  return {};
}

struct Seeker : Actor {
  void on_cycle(u32) override { done_at = wheel->now(); }
  const Wheel* wheel = nullptr;
  Mmu::Outcome outcome;
  Cycle done_at = kNever;
};
constexpr Cycle kFirstTlb = 1;

template <class G, class N>
class Changing {
 public:
  Changing(const Geometry& guest, const Geometry& nested, const MmuShape& shape)
      : world_(guest, nested),
        mmu_(world_.wheel, world_.memory, world_.hierarchy, world_.hierarchy.add_path({}), shape),
        last_(guest.leaf_bytes(1) / guest.page_bytes() - 1) {
    for (u32 n = 0; n < kGroups; ++n) build(n);
    spare_ = world_.guest_hal.alloc_run(0)->value();
    world_.map_tables(0);
    mmu_.set_regime(world_.regime);
    mmu_.keep_walks(true);
  }

  // The engine does not know where its tables are by now: they end with the memory.
  ~Changing() {
    for (u64 n = 0; n < kFrameBytes; n += 8) {
      store(world_.guest.root().value() + n, 0);
      for (u64 part = 0; part < kFrameBytes << world_.nested.geometry().root_order();
           part += kFrameBytes) {
        store(world_.nested.root().value() + part + n, 0);
      }
    }
  }
  Changing(const Changing&) = delete;
  Changing& operator=(const Changing&) = delete;

  void run() {
    for (u32 n = 0; n < kSteps && !testing::Test::HasFailure(); ++n) {
      const u32 group = pick(kGroups);
      change(kChanges[pick(5)], group, pick(kPages));
      for (u32 page = 0; page < kPages; ++page) expect_true(group, page);
      expect_true(pick(kGroups), pick(kPages));
    }
    EXPECT_GT(mmu_.counts().first_hits(), kSteps / 10);
    EXPECT_GT(mmu_.counts().walks(), kSteps / 10);
  }

 private:
  // A group is a large page's worth of both spaces. Bits of its number say how it is mapped.
  static constexpr u32 kGroups = 8, kPages = 5;
  static bool guest_is_large(u32 group) { return (group & 1) != 0; }
  static bool nested_is_large(u32 group) { return (group & 2) != 0; }
  static constexpr u64 kFlip = u64{1} << 40;  ///< the other place of a page in host memory

  u32 pick(u64 count) { return static_cast<u32>(random_() % count); }
  u64 page_bytes() const { return world_.guest.geometry().page_bytes(); }
  u64 large_bytes() const { return world_.guest.geometry().leaf_bytes(1); }
  u64 offset_of(u32 page) const {
    const u64 numbers[kPages] = {0, 1, 5, last_ / 2, last_};
    return numbers[page] * page_bytes();
  }
  u64 virtual_of(u32 group) const { return (u64{1} << 33) + group * 3 * large_bytes(); }
  // The guest maps it to one of two places.
  u64 physical_of(u32 group, bool other) const {
    return (u64{1} << 34) + (group * 4 + (other ? 1 : 0)) * large_bytes();
  }

  void build(u32 group) {
    const unsigned level = guest_is_large(group) ? 1 : 0;
    if (level == 1) world_.map_guest(virtual_of(group), physical_of(group, false), 1);
    for (u32 page = 0; page < kPages; ++page) {
      const u64 offset = offset_of(page);
      if (level == 0) {
        world_.map_guest(virtual_of(group) + offset, physical_of(group, false) + offset, 0);
      }
      for (const bool other : {false, true}) {
        const u64 at = physical_of(group, other);
        world_.map_nested(at + offset, nested_is_large(group) ? 1 : 0);
      }
    }
  }
  // What the tables say at the moment, by a walker that remembers nothing.
  u64 truth(u32 group, u32 page) {
    world_.walk(virtual_of(group) + offset_of(page));
    EXPECT_FALSE(world_.fault);
    return world_.translation.host + (virtual_of(group) + offset_of(page)) -
           align_down(virtual_of(group) + offset_of(page), u64{1} << world_.translation.shift());
  }
  void expect_true(u32 group, u32 page) {
    const u64 expected = truth(group, page);
    Seeker seeker;
    seek(seeker, group, page);
    world_.wheel.run();
    ASSERT_FALSE(seeker.outcome.fault) << "group " << group << " page " << page;
    EXPECT_EQ(seeker.outcome.host, expected) << "group " << group << " page " << page;
  }
  void seek(Seeker& seeker, u32 group, u32 page) {
    const auto access = pick(3) == 0 ? AccessKind::Write : AccessKind::Read;
    const Mmu::Request request{virtual_of(group) + offset_of(page), access, true};
    seeker.wheel = &world_.wheel;
    if (mmu_.translate(request, seeker, 0, seeker.outcome)) seeker.on_cycle(0);
  }

  // The entry of the last walk by truth() that has these levels; 0 if there is none.
  u64 slot(u8 guest_level, u8 nested_level) const {
    for (u32 n = 0; n < world_.record.count; ++n) {
      const WalkReference& reference = world_.record.references[n];
      if (reference.guest_level == guest_level && reference.nested_level == nested_level) {
        return reference.address;
      }
    }
    return 0;
  }
  u64 load(u64 at) { return world_.memory.load(Hpa(at)); }
  void store(u64 at, u64 value) { world_.memory.store(Hpa(at), value); }
  // Where an entry keeps its address: RISC-V from bit 10, the others in place.
  static constexpr unsigned kDown = G::kArchitecture == Architecture::RiscV64 ? 2 : 0;
  static constexpr u64 kAddress = (low_mask(48) & ~low_mask(12)) >> kDown;
  u64 address_in(u64 at) { return (load(at) & kAddress) << kDown; }
  void redirect(u64 at, u64 to) { store(at, (load(at) & ~kAddress) | to >> kDown); }
  // Copies a table's frame to another one, and ruins the old: whoever still reads it faults.
  void move_frame(u64 from, u64 to) {
    for (u64 n = 0; n < kFrameBytes; n += 8) {
      store(to + n, load(from + n));
      store(from + n, 0);
    }
  }

  /// Where the tables hold what a page's translation goes through, and what is mapped there.
  struct Places {
    u64 at, physical;
    u8 guest_leaf, nested_leaf;    ///< levels
    u8 guest_table, nested_table;  ///< of the entry that points to a table: the last, or above it
    u64 guest_slot, nested_slot;
    u64 guest_table_slot, nested_table_slot;
    u64 place_slot;  ///< the second stage's, of the guest's last table
  };
  // Of the last walk by truth().
  Places places(u32 group, u32 page) {
    constexpr u8 kNone = WalkReference::kNoLevel;
    Places p{};
    p.at = virtual_of(group) + offset_of(page);
    p.guest_leaf = guest_is_large(group) ? 1 : 0;
    p.nested_leaf = nested_is_large(group) ? 1 : 0;
    p.guest_table = static_cast<u8>(p.guest_leaf == 1 ? 2 : 1 + pick(2));
    p.nested_table = static_cast<u8>(p.nested_leaf == 1 ? 2 : 1 + pick(2));
    p.guest_slot = slot(p.guest_leaf, kNone);
    p.nested_slot = slot(kNone, p.nested_leaf);
    p.guest_table_slot = slot(p.guest_table, kNone);
    p.nested_table_slot = slot(kNone, p.nested_table);
    p.place_slot = slot(p.guest_leaf, 0);
    p.physical = address_in(p.guest_slot) + (p.guest_leaf == 1 ? offset_of(page) : 0);
    return p;
  }

  void change(Change what, u32 group, u32 page) {
    const u64 before = truth(group, page);
    const Places p = places(group, page);
    // Walks of this page and of others are under way.
    Seeker seekers[3];
    world_.wheel.run_until(world_.wheel.now());
    for (Seeker& seeker : seekers) {
      seek(seeker, group, &seeker == seekers + 1 ? pick(kPages) : page);
      world_.wheel.run_until(world_.wheel.now() + pick(&seeker == seekers + 2 ? 50 : 1200));
    }
    const u64 named = rewrite(what, p);
    const Cycle fenced = world_.wheel.now();
    issue(what, named);
    world_.wheel.run();
    const u64 after = truth(group, page);
    const bool moves = what == Change::NestedLeaf || what == Change::GuestLeaf;
    EXPECT_EQ(after != before, moves);
    // Whoever had a hit in the first TLB before the fence has that, but no one else.
    for (const Seeker& seeker : seekers) {
      if (seeker.done_at <= fenced + kFirstTlb) continue;
      EXPECT_FALSE(seeker.outcome.fault);
      EXPECT_TRUE(&seeker == seekers + 1 || seeker.outcome.host == after);
    }
  }
  // Any address of what changed.
  u64 rewrite(Change what, const Places& p) {
    switch (what) {
      case Change::NestedLeaf:
        redirect(p.nested_slot, address_in(p.nested_slot) ^ kFlip);
        return within(p.physical, p.nested_leaf);
      case Change::NestedTable:
        move_table(p.nested_table_slot);
        return within(p.physical, p.nested_table);
      case Change::GuestLeaf:
        redirect(p.guest_slot, address_in(p.guest_slot) ^ large_bytes());
        return within(p.at, p.guest_leaf);
      case Change::GuestTable: {
        const u64 old = address_in(p.guest_table_slot);
        move_frame(host_of(old), host_of(spare_));
        redirect(p.guest_table_slot, spare_);
        spare_ = old;
        return within(p.at, p.guest_table);
      }
      case Change::PlaceOfGuestTable: {
        const u64 physical = guest_of(address_in(p.place_slot));
        moved_[physical] = move_table(p.place_slot);
        return within(physical, 0);
      }
    }
    return 0;
  }
  // To a new frame of the host, which the entry names then.
  u64 move_table(u64 entry) {
    const u64 frame = world_.memory.allocate(0)->value();
    move_frame(address_in(entry), frame);
    redirect(entry, frame);
    return frame;
  }
  // Where the guest's tables lie in host memory: at first, at the same address.
  u64 host_of(u64 physical) const {
    const auto found = moved_.find(physical);
    return found == moved_.end() ? physical : found->second;
  }
  u64 guest_of(u64 host) const {
    for (const auto& [physical, place] : moved_) {
      if (place == host) return physical;
    }
    return host;
  }
  u64 within(u64 address, unsigned level) {
    const u64 bytes = world_.guest.geometry().leaf_bytes(level);
    return align_down(address, bytes) + random_() % bytes;
  }

  void issue(Change what, u64 address) {
    const Sequences sequences = sufficient<N>(what);
    for (const FenceOp op : sequences[pick(sequences.size())]) {
      const Regime& regime = world_.regime;
      apply_fence({op, regime.nested.root, regime.vmid, regime.asid, address}, mmu_, world_.tags);
    }
  }

  NestedWorld<G, N> world_;
  Mmu mmu_;
  u64 last_;
  u64 spare_ = 0;
  std::map<u64, u64> moved_;
  std::mt19937_64 random_{7};
};

CacheShape one_array(std::vector<u8> shifts, Cycle latency = 1) {
  return {{{1, 16, std::move(shifts), ReplacementKind::Lru}}, static_cast<u32>(latency)};
}
// Structures that hold every size, or that hold the smallest only.
template <class G, class N>
void check_both(const Geometry& guest, const Geometry& nested) {
  const u8 page = guest.page_shift;
  const u8 large = static_cast<u8>(guest.shift(1));
  const u8 larger = static_cast<u8>(guest.shift(2));
  MmuShape whole{
      one_array({page}, kFirstTlb),
      one_array({page, large}),
      one_array({page, large}, 40),
      {2, one_array({large, larger}), one_array({large, larger}), one_array({page, large})}};
  MmuShape parts{one_array({page}, kFirstTlb),
                 one_array({page}, kFirstTlb),
                 one_array({page}, 40),
                 {2, one_array({large}), one_array({large}), one_array({page})}};
  Changing<G, N>(guest, nested, whole).run();
  Changing<G, N>(guest, nested, parts).run();
  // Prefetches are under way, or wait, or are in the buffer.
  MmuShape prefetching = whole;
  prefetching.prefetch = {TlbPrefetcherKind::called("next_page"), 2, 16, 1};
  Changing<G, N>(guest, nested, prefetching).run();
  // Nothing but the nested TLB, so that what it says is what the others get.
  parts.second_tlb = parts.walker.guest_walk_cache = parts.walker.nested_walk_cache = {};
  Changing<G, N>(guest, nested, parts).run();
}

TEST(FenceWalks, X86) {
  check_both<LongMode, Ept>(*LongMode::geometry(4), *Ept::geometry(4));
  check_both<LongMode, Ept>(*LongMode::geometry(5), *Ept::geometry(5));
}
TEST(FenceWalks, Amd) {
  check_both<LongMode, Npt>(*LongMode::geometry(4), *Npt::geometry(4));
  check_both<LongMode, Npt>(*LongMode::geometry(5), *Npt::geometry(5));
}
TEST(FenceWalks, Arm) {
  using S1 = Stage1<Granule::k4K>;
  using S2 = Stage2<Granule::k4K>;
  check_both<S1, S2>(*S1::geometry(48), *S2::geometry(48));
  check_both<S1, S2>(*S1::geometry(39), *S2::geometry(40));
}
TEST(FenceWalks, RiscV) {
  check_both<Sv, GStage>(*Sv::geometry(3), *GStage::geometry(3));
  check_both<Sv, GStage>(*Sv::geometry(5), *GStage::geometry(4));
}

}  // namespace
}  // namespace nestwalk::models::fence_walk_test
