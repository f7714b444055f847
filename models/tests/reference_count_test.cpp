// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A walk without caches reads G * (Hpt + 1) + Hdata entries: G of the first stage, before each of
// them Hpt of the second for the table that it lies in, and Hdata for the data at the end. Checked
// for every pair of depths and leaf sizes, with dimension and level of every single reference.

#include <gtest/gtest.h>

#include "nested_world.hpp"

namespace nestwalk::models::reference_count_test {
namespace {

using namespace addrspace;

struct Leaves {
  unsigned guest;   ///< level of the first stage's leaf
  unsigned tables;  ///< level of the second stage's leaves that map the first stage's tables
  unsigned data;    ///< and of the one that maps the data
};

// The order of the references, as the manuals tell it.
std::vector<std::pair<u8, u8>> expected_references(const Geometry& guest, const Geometry& nested,
                                                   Leaves leaves) {
  std::vector<std::pair<u8, u8>> expected;
  constexpr u8 kNone = WalkReference::kNoLevel;
  for (unsigned g = guest.levels; g-- > leaves.guest;) {
    for (unsigned n = nested.levels; n-- > leaves.tables;) {
      expected.emplace_back(static_cast<u8>(g), static_cast<u8>(n));
    }
    expected.emplace_back(static_cast<u8>(g), kNone);
  }
  for (unsigned n = nested.levels; n-- > leaves.data;) {
    expected.emplace_back(kNone, static_cast<u8>(n));
  }
  return expected;
}

template <class G, class N>
u32 count_references(const Geometry& guest_shape, const Geometry& nested_shape, Leaves leaves) {
  NestedWorld<G, N> world(guest_shape, nested_shape);
  const u64 leaf =
      std::max(guest_shape.leaf_bytes(leaves.guest), nested_shape.leaf_bytes(leaves.data));
  const u64 tables = nested_shape.leaf_bytes(leaves.tables);
  // Beyond the host's memory and the leaf that maps the tables; nobody reads the data itself.
  const u64 data = std::max({2 * kGiB, leaf, tables});
  const u64 virtual_address = guest_shape.leaf_bytes(leaves.guest);
  world.map_guest(virtual_address, data, leaves.guest);
  world.map_tables(leaves.tables);
  world.map_nested(data, leaves.data);
  // The first walk sets accessed flags where the hardware keeps them in tables, too.
  world.walk(virtual_address + 0x123);
  world.walk(virtual_address + 0x123);

  EXPECT_FALSE(world.fault) << static_cast<int>(world.fault.kind);
  EXPECT_EQ(world.translation.host + (0x123 & low_mask(world.translation.shift())), data + 0x123);
  EXPECT_EQ(world.translation.guest_shift, guest_shape.shift(leaves.guest));
  EXPECT_EQ(world.translation.nested_shift, nested_shape.shift(leaves.data));
  std::vector<std::pair<u8, u8>> found;
  for (u32 n = 0; n < world.record.count; ++n) {
    const WalkReference& reference = world.record.references[n];
    EXPECT_EQ(reference.served, Served::Memory);
    found.emplace_back(reference.guest_level, reference.nested_level);
  }
  EXPECT_EQ(found, expected_references(guest_shape, nested_shape, leaves));
  // Nothing but the references takes time.
  EXPECT_EQ(world.cycles(), Cycle{world.record.count} * world.kMemoryCycles);
  return world.record.count;
}

// How many combinations of leaves there were.
template <class G, class N>
u32 check_all_leaves(const Geometry& guest_shape, const Geometry& nested_shape) {
  u32 checked = 0;
  for (unsigned guest = 0; guest < guest_shape.levels; ++guest) {
    for (unsigned tables = 0; tables < nested_shape.levels; ++tables) {
      for (unsigned data = 0; data < nested_shape.levels; ++data) {
        if (!guest_shape.may_be_leaf(guest) || !nested_shape.may_be_leaf(tables) ||
            !nested_shape.may_be_leaf(data)) {
          continue;
        }
        // The second stage must be able to name the data at all.
        const u64 leaf = std::max(guest_shape.leaf_bytes(guest), nested_shape.leaf_bytes(data));
        if (!nested_shape.accepts(std::max(leaf, nested_shape.leaf_bytes(tables)))) continue;
        const u32 g = guest_shape.levels - guest;
        const u32 h_tables = nested_shape.levels - tables;
        const u32 h_data = nested_shape.levels - data;
        SCOPED_TRACE(testing::Message()
                     << "guest " << int{guest_shape.levels} << " leaf " << guest << ", nested "
                     << int{nested_shape.levels} << " leaves " << tables << " and " << data);
        const u32 found = count_references<G, N>(guest_shape, nested_shape, {guest, tables, data});
        EXPECT_EQ(found, g * (h_tables + 1) + h_data);
        ++checked;
      }
    }
  }
  return checked;
}

u32 x86(unsigned guest, unsigned nested, Leaves leaves) {
  return count_references<LongMode, Ept>(*LongMode::geometry(guest), *Ept::geometry(nested),
                                         leaves);
}
u32 amd(unsigned guest, unsigned nested, Leaves leaves) {
  return count_references<LongMode, Npt>(*LongMode::geometry(guest), *Npt::geometry(nested),
                                         leaves);
}
u32 riscv(unsigned guest, unsigned nested, Leaves leaves) {
  return count_references<Sv, GStage>(*Sv::geometry(guest), *GStage::geometry(nested), leaves);
}
template <Granule kGranule>
u32 arm(unsigned va_bits, unsigned ipa_bits) {
  using S1 = Stage1<kGranule>;
  using S2 = Stage2<kGranule>;
  return count_references<S1, S2>(*S1::geometry(va_bits), *S2::geometry(ipa_bits), {0, 0, 0});
}

TEST(ReferenceCount, FourByFourLevelsOnX86Read24Entries) { EXPECT_EQ(x86(4, 4, {0, 0, 0}), 24u); }
TEST(ReferenceCount, FiveByFiveLevelsOnX86Read35Entries) { EXPECT_EQ(x86(5, 5, {0, 0, 0}), 35u); }
TEST(ReferenceCount, FiveByFourAndFourByFiveRead29Entries) {
  EXPECT_EQ(x86(5, 4, {0, 0, 0}), 29u);
  EXPECT_EQ(x86(4, 5, {0, 0, 0}), 29u);
}
// AMD's nested tables have the depth of the host's own.
TEST(ReferenceCount, AmdsNestedTablesReadAsManyAsEpt) {
  EXPECT_EQ(amd(4, 4, {0, 0, 0}), 24u);  // 4 * 5 + 4
  EXPECT_EQ(amd(5, 5, {0, 0, 0}), 35u);  // 5 * 6 + 5
  EXPECT_EQ(amd(4, 5, {0, 0, 0}), 29u);  // 4 * 6 + 5: a guest without LA57 on a host with it
  EXPECT_EQ(amd(4, 4, {1, 1, 1}), 15u);
}
TEST(ReferenceCount, A2MLeafOnOneSideRead19Entries) {
  EXPECT_EQ(x86(4, 4, {1, 0, 0}), 19u);  // guest 2M over 4K: 3 * 5 + 4
  EXPECT_EQ(x86(4, 4, {0, 1, 1}), 19u);  // guest 4K over 2M: 4 * 4 + 3
}
TEST(ReferenceCount, LargeLeavesOnBothSides) {
  EXPECT_EQ(x86(4, 4, {1, 1, 1}), 15u);
  EXPECT_EQ(x86(4, 4, {0, 2, 2}), 14u);
  EXPECT_EQ(x86(4, 4, {1, 2, 2}), 11u);
  EXPECT_EQ(x86(4, 4, {2, 1, 1}), 11u);
  EXPECT_EQ(x86(4, 4, {2, 2, 2}), 8u);
  EXPECT_EQ(x86(5, 5, {1, 1, 1}), 24u);
}
TEST(ReferenceCount, RiscVPairsOfModes) {
  EXPECT_EQ(riscv(3, 3, {0, 0, 0}), 15u);
  EXPECT_EQ(riscv(3, 4, {0, 0, 0}), 19u);
  EXPECT_EQ(riscv(4, 3, {0, 0, 0}), 19u);
  EXPECT_EQ(riscv(4, 4, {0, 0, 0}), 24u);
  EXPECT_EQ(riscv(5, 5, {0, 0, 0}), 35u);
  EXPECT_EQ(riscv(3, 3, {1, 1, 1}), 8u);
  EXPECT_EQ(riscv(3, 3, {2, 2, 2}), 3u);
}
TEST(ReferenceCount, ArmGranulesWithConcatenatedRoots) {
  // 40-bit IPA: 3 levels of 4K with two root tables, 2 of 16K with sixteen, 2 of 64K.
  EXPECT_EQ(arm<Granule::k4K>(48, 40), 19u);
  EXPECT_EQ(arm<Granule::k4K>(39, 40), 15u);
  EXPECT_EQ(arm<Granule::k64K>(48, 40), 11u);
  EXPECT_EQ(arm<Granule::k16K>(48, 40), 14u);
}

template <class N>
u32 check_all_x86() {
  u32 checked = 0;
  for (unsigned guest : {4u, 5u}) {
    for (unsigned nested : {4u, 5u}) {
      checked += check_all_leaves<LongMode, N>(*LongMode::geometry(guest), *N::geometry(nested));
    }
  }
  return checked;
}
TEST(ReferenceCount, EveryPairOfDepthsAndLeavesOnX86) {
  EXPECT_EQ(check_all_x86<Ept>(), 4u * 3 * 3 * 3);  // leaves in three levels
  EXPECT_EQ(check_all_x86<Npt>(), 4u * 3 * 3 * 3);
}
TEST(ReferenceCount, EveryPairOfDepthsAndLeavesOnRiscV) {
  u32 checked = 0;
  for (unsigned guest : {3u, 4u, 5u}) {
    for (unsigned nested : {3u, 4u, 5u}) {
      checked += check_all_leaves<Sv, GStage>(*Sv::geometry(guest), *GStage::geometry(nested));
    }
  }
  // Leaves in every level; but 41 bits of Sv39x4 do not hold the 2^48 bytes of Sv57's largest.
  EXPECT_EQ(checked, (3u + 4 + 5) * (3 * 3 + 4 * 4 + 5 * 5) - 3 * 3);
}
template <class S1, class S2>
void check_sizes(std::initializer_list<unsigned> va_sizes,
                 std::initializer_list<unsigned> ipa_sizes) {
  for (unsigned va_bits : va_sizes) {
    for (unsigned ipa_bits : ipa_sizes) {
      EXPECT_NE((check_all_leaves<S1, S2>(*S1::geometry(va_bits), *S2::geometry(ipa_bits))), 0u);
    }
  }
}
template <Granule kGuest, Granule kNested>
void check_granules() {
  check_sizes<Stage1<kGuest>, Stage2<kNested>>({32, 39, 42, 48}, {32, 36, 40, 42, 48});
}
TEST(ReferenceCount, EveryPairOfGranulesAndLeavesOnArm) {
  check_granules<Granule::k4K, Granule::k4K>();
  check_granules<Granule::k4K, Granule::k16K>();
  check_granules<Granule::k4K, Granule::k64K>();
  check_granules<Granule::k16K, Granule::k4K>();
  check_granules<Granule::k16K, Granule::k16K>();
  check_granules<Granule::k16K, Granule::k64K>();
  check_granules<Granule::k64K, Granule::k4K>();
  check_granules<Granule::k64K, Granule::k16K>();
  check_granules<Granule::k64K, Granule::k64K>();
}
template <Granule kGranule>
void check_wide() {
  check_sizes<Stage1<kGranule, Width::k52>, Stage2<kGranule, Width::k52>>({48, 52}, {40, 48});
}
TEST(ReferenceCount, DescriptorsOf52BitsOnArm) {
  check_wide<Granule::k4K>();
  check_wide<Granule::k16K>();
  check_wide<Granule::k64K>();
}
TEST(ReferenceCount, TheUpperHalfOfArmReadsAsManyAsTheLower) {
  using S1 = Stage1<Granule::k4K>;
  using S2 = Stage2<Granule::k4K>;
  NestedWorld<S1, S2> world(*S1::geometry(48, VaHalf::Upper), *S2::geometry(40));
  const u64 at = ~low_mask(48) | 0x1000;
  world.map_guest(at, 2 * kGiB, 0);
  world.map_tables(0);
  world.map_nested(2 * kGiB, 0);
  world.walk(at);
  EXPECT_FALSE(world.fault);
  EXPECT_EQ(world.record.count, 4u * (3 + 1) + 3);
}

TEST(ReferenceCount, OneStageReadsItsOwnLevelsOnly) {
  for (unsigned levels : {4u, 5u}) {
    NestedWorld<LongMode, Ept> world(*LongMode::geometry(levels), *Ept::geometry(levels));
    world.map_guest(0x1000, 2 * kGiB, 0);
    world.map_nested(2 * kGiB, 0);
    Regime both = world.regime;
    world.regime.nested = {};
    world.walk(0x1000);  // sets the tables' accessed flags: a read and an update each
    EXPECT_EQ(world.record.count, levels + (levels - 1));
    world.walk(0x1000);
    EXPECT_EQ(world.record.count, levels);
    EXPECT_EQ(world.translation.host, 2 * kGiB);
    // Guest paging off: the second stage alone.
    world.regime = both;
    world.regime.guest = {};
    world.walk(2 * kGiB);
    EXPECT_EQ(world.record.count, levels);
    EXPECT_EQ(world.translation.host, 2 * kGiB);
  }
}

// Guest paging off, or no hypervisor: as many as that stage has levels.
template <class G, class N>
void check_single_stages(const Geometry& guest, const Geometry& nested) {
  NestedWorld<G, N> world(guest, nested);
  world.map_guest(guest.page_bytes(), 2 * kGiB, 0);
  world.map_nested(2 * kGiB, 0);
  const Regime both = world.regime;
  world.regime.nested = {};
  world.walk(guest.page_bytes());
  EXPECT_FALSE(world.fault);
  EXPECT_EQ(world.record.count, guest.levels);
  // Its memory type is the guest's own: there is no other to combine it with.
  world.map_guest(2 * guest.page_bytes(), 2 * kGiB, 0, kRead | kUser, MemoryType::Uncached);
  world.walk(2 * guest.page_bytes());
  EXPECT_FALSE(world.fault);
  EXPECT_EQ(world.translation.memory, MemoryType::Uncached);
  world.regime = both;
  world.regime.guest = {};
  world.walk(2 * kGiB);
  EXPECT_FALSE(world.fault);
  EXPECT_EQ(world.record.count, nested.levels);
}
TEST(ReferenceCount, OneStageOfRiscVOrArmReadsItsOwnLevelsOnly) {
  for (unsigned levels : {3u, 4u, 5u}) {
    check_single_stages<Sv, GStage>(*Sv::geometry(levels), *GStage::geometry(levels));
  }
  using S1 = Stage1<Granule::k4K>;
  using S2 = Stage2<Granule::k4K>;
  check_single_stages<S1, S2>(*S1::geometry(48), *S2::geometry(40));  // 4 and 3
  using L1 = Stage1<Granule::k64K>;
  using L2 = Stage2<Granule::k64K>;
  check_single_stages<L1, L2>(*L1::geometry(48), *L2::geometry(40));  // 3 and 2
}

}  // namespace
}  // namespace nestwalk::models::reference_count_test
