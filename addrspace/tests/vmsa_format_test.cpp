// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Descriptors of AArch64 tables, by the Arm ARM D8, "VMSAv8-64 descriptor formats". Both stages:
// valid 0; table or page 1; SH 9:8; AF 10; DBM 51; contiguous 52; software's 58:55. Stage 2:
// MemAttr 5:2, S2AP 7:6, XN 54 (with XN[0] in 53, 0b10 is execute-never for all). Stage 1: AttrIndx
// 4:2, AP[2:1] 7:6, nG 11, PXN 53, UXN 54.
#include "full_machine.hpp"
#include "nestwalk/addrspace/format/vmsa.hpp"

#include <gtest/gtest.h>

namespace nestwalk::addrspace::vmsa_format_test {
namespace {

using S2x4K = Stage2<Granule::k4K>;
using S2x16K = Stage2<Granule::k16K>;
using S2x64K = Stage2<Granule::k64K>;
using S2x4KWide = Stage2<Granule::k4K, Width::k52>;
using S2x16KWide = Stage2<Granule::k16K, Width::k52>;
using S2x64KWide = Stage2<Granule::k64K, Width::k52>;
using S1x4K = Stage1<Granule::k4K>;
using S1x16K = Stage1<Granule::k16K>;
using S1x64K = Stage1<Granule::k64K>;
using S1x4KWide = Stage1<Granule::k4K, Width::k52>;
using S1x16KWide = Stage1<Granule::k16K, Width::k52>;
using S1x64KWide = Stage1<Granule::k64K, Width::k52>;

Capabilities machine(u8 physical_bits = 52) {
  Capabilities found = full_machine();
  found.physical_bits = physical_bits;
  return found;
}

constexpr u64 kDbm = u64{1} << 51;
constexpr u64 kPxn = u64{1} << 53;
constexpr u64 kXn = u64{1} << 54;  // stage 2's XN[1]; stage 1's UXN
constexpr u64 kAf = 0x400;
constexpr u64 kNg = 0x800;

// What the layouts differ in: at which of our levels (0 holds pages) there are blocks, where the
// address goes, and whether SH is in the descriptor (with DS = 1 its place holds OA[51:50]).
struct Layout {
  unsigned levels;
  unsigned block_levels;  ///< bit n: level n
  bool has_shareability;
  u64 highest[4];         ///< the highest output address at levels 0 to 3; 0 where no leaf is
  u64 highest_packed[4];  ///< and its bits in the descriptor
};

constexpr Layout kNarrow4K = {
    4,
    0b0110,
    true,
    {0x0000'ffff'ffff'f000, 0x0000'ffff'ffe0'0000, 0x0000'ffff'c000'0000, 0},
    {0x0000'ffff'ffff'f000, 0x0000'ffff'ffe0'0000, 0x0000'ffff'c000'0000, 0}};
constexpr Layout kNarrow16K = {4,
                               0b0010,
                               true,
                               {0x0000'ffff'ffff'c000, 0x0000'ffff'fe00'0000, 0, 0},
                               {0x0000'ffff'ffff'c000, 0x0000'ffff'fe00'0000, 0, 0}};
constexpr Layout kNarrow64K = {3,
                               0b0010,
                               true,
                               {0x0000'ffff'ffff'0000, 0x0000'ffff'e000'0000, 0, 0},
                               {0x0000'ffff'ffff'0000, 0x0000'ffff'e000'0000, 0, 0}};
// FEAT_LPA2: OA[49:12] or OA[49:14] in place, OA[51:50] in 9:8.
constexpr Layout kWide4K = {
    5,
    0b1110,
    false,
    {0x000f'ffff'ffff'f000, 0x000f'ffff'ffe0'0000, 0x000f'ffff'c000'0000, 0x000f'ff80'0000'0000},
    {0x0003'ffff'ffff'f300, 0x0003'ffff'ffe0'0300, 0x0003'ffff'c000'0300, 0x0003'ff80'0000'0300}};
constexpr Layout kWide16K = {
    4,
    0b0110,
    false,
    {0x000f'ffff'ffff'c000, 0x000f'ffff'fe00'0000, 0x000f'fff0'0000'0000, 0},
    {0x0003'ffff'ffff'c300, 0x0003'ffff'fe00'0300, 0x0003'fff0'0000'0300, 0}};
// FEAT_LPA: OA[47:16] in place, OA[51:48] in 15:12.
constexpr Layout kWide64K = {
    3,
    0b0110,
    true,
    {0x000f'ffff'ffff'0000, 0x000f'ffff'e000'0000, 0x000f'fc00'0000'0000, 0},
    {0x0000'ffff'ffff'f000, 0x0000'ffff'e000'f000, 0x0000'fc00'0000'f000, 0}};

// Calls check.template operator()<Format>(layout) for the six formats of a stage.
template <template <Granule, Width> class Stage, class Check>
void for_each_layout(Check&& check) {
  check.template operator()<Stage<Granule::k4K, Width::k48>>(kNarrow4K);
  check.template operator()<Stage<Granule::k16K, Width::k48>>(kNarrow16K);
  check.template operator()<Stage<Granule::k64K, Width::k48>>(kNarrow64K);
  check.template operator()<Stage<Granule::k4K, Width::k52>>(kWide4K);
  check.template operator()<Stage<Granule::k16K, Width::k52>>(kWide16K);
  check.template operator()<Stage<Granule::k64K, Width::k52>>(kWide64K);
}

bool holds_leaves(const Layout& layout, unsigned level) {
  return level == 0 || (layout.block_levels >> level & 1) != 0;
}
// A page is 0b11, a block 0b01.
u64 leaf_kind(unsigned level) { return level == 0 ? 3 : 1; }

struct TypeBits {
  MemoryType type;
  u64 mem_attr;         ///< stage 2
  u64 shareability;     ///< 0b11 inner for what is cacheable, 0b10 outer (without effect) otherwise
  u64 attribute_index;  ///< stage 1: the position in the default MAIR
};
// MemAttr[3:2] is Device 00, or Normal outer NC 01, WT 10, WB 11; [1:0] the kind of Device or the
// inner attribute.
constexpr TypeBits kTypes[] = {
    {MemoryType::WriteBack, 0b1111, 0b11, 0},   {MemoryType::WriteThrough, 0b1010, 0b11, 1},
    {MemoryType::Uncached, 0b0101, 0b10, 2},    {MemoryType::Device, 0b0000, 0b10, 3},
    {MemoryType::DeviceNGnRE, 0b0001, 0b10, 4}, {MemoryType::DeviceNGRE, 0b0010, 0b10, 5},
    {MemoryType::DeviceGRE, 0b0011, 0b10, 6},
};

constexpr MemoryType kX86Types[] = {MemoryType::WriteProtected, MemoryType::WriteCombining,
                                    MemoryType::Other};

struct AccessBits {
  Access access;
  u64 bits;
};
// S2AP: 0x40 permits reads, 0x80 writes. All combinations are legal.
constexpr AccessBits kStage2Access[] = {
    {kNoAccess, kXn},
    {kRead, kXn | 0x40},
    {kWrite, kXn | 0x80},
    {kRead | kWrite, kXn | 0xc0},
    {kExecute, 0},
    {kRead | kExecute, 0x40},
    {kWrite | kExecute, 0x80},
    {kRwx, 0xc0},
};

TEST(Stage2Format, encodes_pages) {
  const auto leaf = [](Access access, MemoryType type) {
    return S2x4K::leaf(Hpa(0x10000), {access, type}, 0);
  };
  // Page 3, MemAttr 0b1111 << 2 = 0x3c, SH 0x300, AF 0x400 make 0x73f; S2AP comes on top.
  EXPECT_EQ(leaf(kRwx, MemoryType::WriteBack), 0x107ffu);
  EXPECT_EQ(leaf(kRead | kExecute, MemoryType::WriteBack), 0x1077fu);
  EXPECT_EQ(leaf(kRead, MemoryType::WriteBack), 0x0040'0000'0001'077fu);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::WriteBack), 0x0040'0000'0001'07ffu);
  EXPECT_EQ(leaf(kRead | kWrite | kUser, MemoryType::WriteBack), 0x0040'0000'0001'07ffu);
  // Device-nGnRnE: MemAttr 0, SH 0x200.
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::Device), 0x0040'0000'0001'06c3u);
  // Normal Non-cacheable, both inner and outer: 0b0101 << 2 = 0x14.
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::Uncached), 0x0040'0000'0001'06d7u);
}

TEST(Stage2Format, encodes_blocks_and_tables) {
  EXPECT_EQ(S2x4K::leaf(Hpa(0x20'0000), {kRwx, MemoryType::WriteBack}, 1), 0x2007fdu);
  EXPECT_EQ(S2x4K::leaf(Hpa(0x4000'0000), {kRead, MemoryType::WriteBack}, 2),
            0x0040'0000'4000'077du);
  EXPECT_EQ(S2x4K::table(Hpa(0x5000)), 0x5003u);
  EXPECT_EQ(S1x4K::table(Gpa(0x5000)), 0x5003u);
}

TEST(Stage2Format, encodes_every_permission_memory_type_and_size) {
  for_each_layout<Stage2>([]<class F>(const Layout& layout) {
    const F format(machine());
    for (unsigned level = 0; level < layout.levels; ++level) {
      if (!holds_leaves(layout, level)) continue;
      for (const AccessBits& access : kStage2Access) {
        for (const TypeBits& type : kTypes) {
          const MappingFlags flags{access.access, type.type};
          EXPECT_TRUE(format.check(flags)) << to_text(flags).c_str();
          const u64 shareability = layout.has_shareability ? type.shareability << 8 : 0;
          EXPECT_EQ(F::leaf(Hpa(layout.highest[level]), flags, level),
                    layout.highest_packed[level] | leaf_kind(level) | type.mem_attr << 2 |
                        access.bits | shareability | kAf)
              << to_text(flags).c_str() << " at level " << level;
        }
      }
    }
  });
}

TEST(Stage2Format, refuses_global_mappings_and_types_that_it_lacks) {
  const S2x4K format(machine());
  EXPECT_EQ(format.check({kRead | kGlobal, MemoryType::WriteBack}), Error::UnsupportedFlags);
  EXPECT_TRUE(format.check({kRead | kUser, MemoryType::WriteBack}));
  for (const MemoryType type : kX86Types) {
    EXPECT_EQ(format.check({kRead, type}), Error::UnsupportedFlags) << to_string(type);
  }
}

TEST(Stage2Format, decodes_permissions_and_memory_types) {
  for (const AccessBits& access : kStage2Access) {
    EXPECT_EQ(S2x4K(machine()).flags(0x1073f | access.bits, 0).access, access.access);
  }
  for (u64 mem_attr = 0; mem_attr < 16; ++mem_attr) {
    // Inner and outer attributes that differ, and reserved ones, are none of ours.
    MemoryType expected = MemoryType::Other;
    for (const TypeBits& row : kTypes) {
      if (row.mem_attr == mem_attr) expected = row.type;
    }
    EXPECT_EQ(S2x4K(machine()).flags(0x107c3 | mem_attr << 2, 0).memory, expected) << mem_attr;
  }
}

template <class F>
void expect_kinds(const Layout& layout) {
  for (unsigned level = 0; level < layout.levels; ++level) {
    for (u64 low = 0; low < 0x1000; ++low) {
      // 0b01 is a block, or reserved and invalid; 0b11 a page or a table; 0b00 and 0b10 invalid.
      const bool valid =
          (low & 3) == 3 || ((low & 3) == 1 && level != 0 && holds_leaves(layout, level));
      ASSERT_EQ(F::is_valid(0x1234'0000 | low, level), valid) << low << " at level " << level;
      ASSERT_EQ(F::is_table(0x1234'0000 | low, level), level != 0 && (low & 2) != 0) << low;
    }
  }
}

TEST(VmsaFormat, is_valid_as_a_page_a_table_or_a_block_where_the_granule_has_blocks) {
  for_each_layout<Stage2>([]<class F>(const Layout& layout) { expect_kinds<F>(layout); });
  for_each_layout<Stage1>([]<class F>(const Layout& layout) { expect_kinds<F>(layout); });
}

TEST(VmsaFormat, does_not_take_0b01_for_a_page) {
  EXPECT_FALSE(S2x4K::is_valid(0x107fd, 0));
  EXPECT_FALSE(S1x64K::is_valid(0x107fd, 0));
  EXPECT_FALSE(S2x4K::is_valid(0x107fd, 3));  // no 512 GiB blocks with 48-bit addresses
  EXPECT_TRUE(S2x4KWide::is_valid(0x107fd, 3));
  EXPECT_FALSE(S2x4KWide::is_valid(0x107fd, 4));
}

TEST(VmsaFormat, has_the_output_address_of_each_layout) {
  for_each_layout<Stage2>([]<class F>(const Layout& layout) {
    for (unsigned level = 0; level < layout.levels; ++level) {
      if (holds_leaves(layout, level)) {
        // All other bits are set, too, but for the one that tells a table from a block.
        const u64 entry = level == 0 ? ~u64{0} : ~u64{2};
        EXPECT_EQ(F::address(entry, level), Hpa(layout.highest[level])) << level;
      }
      if (level != 0) {
        EXPECT_EQ(F::address(~u64{0}, level), Hpa(layout.highest[0])) << level;
        EXPECT_EQ(F::table(Hpa(layout.highest[0])), layout.highest_packed[0] | 3);
      }
    }
  });
}

TEST(VmsaFormat, spreads_52_bit_addresses_as_the_granule_says) {
  // 64K: OA[51:48] = 0xa in bits 15:12.
  EXPECT_EQ(S2x64KWide::table(Hpa(0x000a'0000'1234'0000)), 0x0000'0000'1234'a003u);
  EXPECT_EQ(S2x64KWide::address(0x0000'0000'1234'a003, 1), Hpa(0x000a'0000'1234'0000));
  // 4K and 16K: OA[51:50] = 0b10 in bits 9:8, OA[49:48] = 0b10 in place.
  EXPECT_EQ(S2x4KWide::table(Hpa(0x000a'0000'1234'5000)), 0x0002'0000'1234'5203u);
  EXPECT_EQ(S2x4KWide::address(0x0002'0000'1234'5203, 1), Hpa(0x000a'0000'1234'5000));
  EXPECT_EQ(S2x16KWide::table(Hpa(0x000a'0000'1234'4000)), 0x0002'0000'1234'4203u);
  EXPECT_EQ(S2x16KWide::address(0x0002'0000'1234'4203, 1), Hpa(0x000a'0000'1234'4000));
}

TEST(VmsaFormat, is_malformed_with_an_output_address_beyond_the_physical_size) {
  for (const u8 physical : {u8{36}, u8{40}, u8{44}, u8{48}}) {
    const S2x4K nested(machine(physical));
    const S1x4K guest(machine(physical));
    for (unsigned bit = 30; bit < 48; ++bit) {
      const u64 address = u64{1} << bit;
      for (const u64 low : {u64{0x7ff}, u64{0x7fd}}) {
        EXPECT_EQ(nested.malformed(address | low, 2), bit >= physical) << bit;
        EXPECT_EQ(guest.malformed(address | low, 2), bit >= physical) << bit;
      }
      EXPECT_EQ(nested.malformed(address | 0x7ff, 0), bit >= physical) << bit;
    }
  }
  EXPECT_TRUE(S2x64KWide(machine(48)).malformed(0x1234'1003, 1));  // OA[48]
  EXPECT_FALSE(S2x64KWide(machine(52)).malformed(0x1234'f003, 1));
  EXPECT_TRUE(S2x4KWide(machine(48)).malformed(0x1234'5103, 1));  // OA[50]
  EXPECT_FALSE(S2x4KWide(machine(52)).malformed(0x1234'5303, 1));
}

// "Reserved for software use" in both kinds of leaves, ignored in tables: 58:55, of which a Realm's
// stage 2 takes 55 and AssuredOnly takes 58. Invalid descriptors are software's but for bit 0.
TEST(VmsaFormat, keeps_its_own_bits_where_the_hardware_ignores_them) {
  const u64 reserved_for_software = u64{0xf} << 55;
  for (const u64 bits : {S2x4K::kOwned | S2x4K::kSoftDirty, S1x4K::kOwned | S1x4K::kSoftDirty}) {
    EXPECT_EQ(bits & ~reserved_for_software, 0u);
  }
  EXPECT_EQ((S2x4K::kMarker | S1x4K::kMarker) & 1, 0u);
  EXPECT_EQ(S2x4K::kValid, 1u);
  EXPECT_EQ(S1x4K::kValid, 1u);
}

// "Hardware management of the dirty state": with DBM set, S2AP[1] = 0 is writable-clean; the first
// write sets S2AP[1].
TEST(Stage2Format, is_writable_and_clean_with_dbm_instead_of_s2ap) {
  const u64 dirty = 0x0040'0000'0001'07ff;
  const u64 clean = 0x0048'0000'0001'077f;
  EXPECT_EQ(S2x4K::cleaned(dirty), clean);
  Capabilities manages_dirty = machine();
  manages_dirty.hardware_dirty = true;
  EXPECT_EQ(S2x4K(manages_dirty).flags(clean, 0).access, kRead | kWrite);
  // Without hardware management (VTCR_EL2.HD = 0) DBM means nothing: S2AP alone decides.
  EXPECT_EQ(S2x4K(machine()).flags(clean, 0).access, kRead);
  EXPECT_TRUE(S2x4K::is_writable(clean));
  EXPECT_FALSE(S2x4K::is_dirty(clean));
  EXPECT_TRUE(S2x4K::is_dirty(dirty));
  // As the hardware leaves it after a write, and cleaned again.
  EXPECT_TRUE(S2x4K::is_dirty(dirty | kDbm));
  EXPECT_EQ(S2x4K::cleaned(dirty | kDbm), clean);
  EXPECT_EQ(S2x4K::dirtied(clean), dirty | kDbm);
}

TEST(Stage2Format, loses_dbm_with_the_write_permission) {
  const u64 read_only = 0x0040'0000'0001'077f;
  EXPECT_EQ(S2x4K::without_write(0x0040'0000'0001'07ff), read_only);
  EXPECT_EQ(S2x4K::without_write(0x0048'0000'0001'077f), read_only);
  EXPECT_EQ(S2x4K::without_write(0x0048'0000'0001'07ff), read_only);
  EXPECT_EQ(S2x4K::cleaned(read_only), read_only);
  EXPECT_FALSE(S2x4K::is_writable(read_only));
}

// AP[2] (0x80) forbids writes, AP[1] (0x40) admits EL0. What EL0 executes, EL1 does not: PXN.
constexpr AccessBits kStage1Access[] = {
    {kRead, 0x80 | kPxn | kXn},
    {kRead | kWrite, kPxn | kXn},
    {kRead | kExecute, 0x80 | kXn},
    {kRwx, kXn},
    {kRead | kUser, 0x80 | 0x40 | kPxn | kXn},
    {kRead | kWrite | kUser, 0x40 | kPxn | kXn},
    {kRead | kExecute | kUser, 0x80 | 0x40 | kPxn},
    {kRwx | kUser, 0x40 | kPxn},
};

TEST(Stage1Format, encodes_pages) {
  const S1x4K format(machine());
  const auto leaf = [&](Access access, MemoryType type) {
    return format.leaf(Gpa(0x10000), {access, type}, 0);
  };
  // Page 3, AttrIndx 0, SH 0x300, AF 0x400, nG 0x800 make 0xf03.
  EXPECT_EQ(leaf(kRead | kWrite | kUser, MemoryType::WriteBack), 0x0060'0000'0001'0f43u);
  EXPECT_EQ(leaf(kRead | kExecute | kUser, MemoryType::WriteBack), 0x0020'0000'0001'0fc3u);
  EXPECT_EQ(leaf(kRead | kExecute | kGlobal, MemoryType::WriteBack), 0x0040'0000'0001'0783u);
  EXPECT_EQ(leaf(kRead | kWrite | kGlobal, MemoryType::WriteBack), 0x0060'0000'0001'0703u);
  // Device-nGnRnE is attribute 3: 0xc; SH 0x200.
  EXPECT_EQ(leaf(kRead | kWrite | kGlobal, MemoryType::Device), 0x0060'0000'0001'060fu);
}

TEST(Stage1Format, encodes_and_decodes_every_permission_memory_type_and_size) {
  for_each_layout<Stage1>([]<class F>(const Layout& layout) {
    const F format(machine());
    for (unsigned level = 0; level < layout.levels; ++level) {
      if (!holds_leaves(layout, level)) continue;
      for (const AccessBits& access : kStage1Access) {
        for (const TypeBits& type : kTypes) {
          for (const Access scope : {kNoAccess, kGlobal}) {
            const MappingFlags flags{access.access | scope, type.type};
            EXPECT_TRUE(format.check(flags)) << to_text(flags).c_str();
            const u64 shareability = layout.has_shareability ? type.shareability << 8 : 0;
            const u64 expected = layout.highest_packed[level] | leaf_kind(level) |
                                 type.attribute_index << 2 | access.bits | shareability | kAf |
                                 (scope.empty() ? kNg : 0);
            EXPECT_EQ(format.leaf(Gpa(layout.highest[level]), flags, level), expected)
                << to_text(flags).c_str() << " at level " << level;
            EXPECT_EQ(format.flags(expected, level), flags);
          }
        }
      }
    }
  });
}

TEST(Stage1Format, refuses_write_or_execute_without_read_and_types_that_it_lacks) {
  const S1x4K format(machine());
  for (const Access access : {kWrite, kExecute, kWrite | kExecute, kExecute | kUser}) {
    EXPECT_EQ(format.check({access, MemoryType::WriteBack}), Error::UnsupportedFlags);
  }
  for (const MemoryType type : kX86Types) {
    EXPECT_EQ(format.check({kRead, type}), Error::UnsupportedFlags) << to_string(type);
  }
}

// "MAIR_EL1": 0b0000dd00 is Device, dd = nGnRnE, nGnRE, nGRE, GRE; Normal has the outer attribute
// in 7:4 and the inner in 3:0: 0b0100 non-cacheable, 0b1011 write-through and 0b1111 write-back,
// both non-transient, allocating on reads and writes.
TEST(Stage1Format, has_every_memory_type_in_the_default_mair) {
  constexpr u64 kExpected[] = {0xff, 0xbb, 0x44, 0x00, 0x04, 0x08, 0x0c};
  const u64 mair = S1x4K(machine()).mair();
  for (unsigned index = 0; index < 7; ++index) {
    EXPECT_EQ(mair >> (8 * index) & 0xff, kExpected[index]) << index;
  }
}

TEST(Stage1Format, uses_the_mair_that_it_is_given) {
  // 0 Device-nGnRE, 1 Normal write-back, 2 Normal Non-cacheable, the rest Device-nGnRnE.
  const u64 mair = 0x44'ff'04;
  const S1x4K format(machine(), mair);
  EXPECT_EQ(format.mair(), mair);
  const auto index = [&](MemoryType type) {
    return format.leaf(Gpa(0x10000), {kRead, type}, 0) >> 2 & 7;
  };
  EXPECT_EQ(index(MemoryType::DeviceNGnRE), 0u);
  EXPECT_EQ(index(MemoryType::WriteBack), 1u);
  EXPECT_EQ(index(MemoryType::Uncached), 2u);
  EXPECT_EQ(index(MemoryType::Device), 3u);
  for (const MemoryType type :
       {MemoryType::WriteThrough, MemoryType::DeviceNGRE, MemoryType::DeviceGRE}) {
    EXPECT_EQ(format.check({kRead, type}), Error::UnsupportedFlags) << to_string(type);
  }
  EXPECT_EQ(S1x4K(machine(), 0).check({kRead, MemoryType::WriteBack}), Error::UnsupportedFlags);
}

TEST(Stage1Format, decodes_the_memory_type_through_the_mair) {
  const S1x4K format(machine(), 0x4f'0c'08'04'00'44'bb'ff);
  constexpr MemoryType kDecoded[] = {
      MemoryType::WriteBack,   MemoryType::WriteThrough, MemoryType::Uncached,  MemoryType::Device,
      MemoryType::DeviceNGnRE, MemoryType::DeviceNGRE,   MemoryType::DeviceGRE, MemoryType::Other,
  };
  for (u64 index = 0; index < 8; ++index) {
    EXPECT_EQ(format.flags(0x10f03 | index << 2, 0).memory, kDecoded[index]) << index;
  }
}

TEST(Stage1Format, is_writable_and_clean_with_dbm_and_ap) {
  const u64 dirty = 0x0060'0000'0001'0f43;
  const u64 clean = 0x0068'0000'0001'0fc3;  // AP[2] and DBM
  const u64 read_only = 0x0060'0000'0001'0fc3;
  EXPECT_EQ(S1x4K::cleaned(dirty), clean);
  EXPECT_TRUE(S1x4K::is_writable(clean));
  EXPECT_FALSE(S1x4K::is_dirty(clean));
  EXPECT_TRUE(S1x4K::is_dirty(dirty));
  EXPECT_EQ(S1x4K::dirtied(clean), dirty | kDbm);
  EXPECT_EQ(S1x4K::cleaned(dirty | kDbm), clean);
  EXPECT_EQ(S1x4K::without_write(dirty), read_only);
  EXPECT_EQ(S1x4K::without_write(clean), read_only);
  EXPECT_EQ(S1x4K::cleaned(read_only), read_only);
  EXPECT_FALSE(S1x4K::is_writable(read_only));
}

// A valid entry may not be replaced by another translation in one store on Arm alone.
static_assert(S2x4K::kBreakBeforeMake && S1x4K::kBreakBeforeMake);

// Arm ARM, "ID_AA64MMFR0_EL1": PARange 3:0. "ID_AA64MMFR1_EL1": HAFDBS 3:0 (2: flags and dirty
// state), VMIDBits 7:4 (2: 16 bits).
TEST(ArmCapabilities, come_from_the_id_registers) {
  constexpr u8 kPhysicalBits[] = {32, 36, 40, 42, 44, 48, 52, 56};
  for (u64 range = 0; range < 8; ++range) {
    EXPECT_EQ(capabilities_from_id_registers(0xabc0 | range, 0).physical_bits,
              kPhysicalBits[range]);
  }
  for (u64 hafdbs = 0; hafdbs < 4; ++hafdbs) {
    EXPECT_EQ(capabilities_from_id_registers(5, hafdbs).hardware_dirty, hafdbs >= 2) << hafdbs;
  }
  EXPECT_EQ(capabilities_from_id_registers(5, 0x00).vmid_bits, 8);
  EXPECT_EQ(capabilities_from_id_registers(5, 0x20).vmid_bits, 16);
  EXPECT_FALSE(capabilities_from_id_registers(5, 0x20).hardware_dirty);
  EXPECT_EQ(capabilities_from_id_registers(5, 0x02).vmid_bits, 8);
}

// ID_AA64MMFR0_EL1 for stage 2: TGran4_2 43:40, TGran64_2 39:36, TGran16_2 35:32: 1 no, 2 yes, 3
// yes with 52 bits, 0 as for stage 1, where TGran4 31:28 and TGran64 27:24 say 0 for yes and 15 for
// no, TGran16 23:20 says 0 for no and 1 for yes; TGran4 = 1 and TGran16 = 2 add the 52 bits.
TEST(ArmCapabilities, know_the_granules_of_stage_2) {
  struct Row {
    u64 mmfr0;
    u8 granules;  // 4K, 16K, 64K from bit 0 up
    u8 wide;
  };
  constexpr Row kRows[] = {
      {0x0000'0000'0000'0005, 0b101, 0b000},  // all fields 0: 4K and 64K
      {0x0000'0000'0010'0005, 0b111, 0b000},  // TGran16 = 1
      {0x0000'0000'0020'0005, 0b111, 0b010},  // TGran16 = 2
      {0x0000'0000'1000'0005, 0b101, 0b001},  // TGran4 = 1
      {0x0000'0000'ff00'0005, 0b000, 0b000},  // TGran4 and TGran64 = 15
      {0x0000'0222'ff00'0005, 0b111, 0b000},  // stage 2 has them all the same
      {0x0000'0111'1010'0005, 0b000, 0b000},  // stage 2 has none
      {0x0000'0323'0000'0005, 0b111, 0b011},  // 52 bits in stage 2 for 4K and 16K
      {0x0000'0000'0000'0006, 0b101, 0b100},  // FEAT_LPA: 64K with 52 bits
  };
  for (const Row& row : kRows) {
    const Capabilities found = capabilities_from_id_registers(row.mmfr0, 0);
    EXPECT_EQ(found.granules, row.granules) << std::hex << row.mmfr0;
    EXPECT_EQ(found.wide_granules, row.wide) << std::hex << row.mmfr0;
  }
}

TEST(VmsaFormat, is_refused_on_a_machine_without_its_granule) {
  const auto with = [](u8 granules, u8 wide) {
    Capabilities found = machine();
    found.granules = granules;
    found.wide_granules = wide;
    return found;
  };
  const auto supports = [&](auto format, u8 granules, u8 wide) {
    using Format = decltype(format);
    return Format(with(granules, wide)).supports(*Format::geometry(40));
  };
  const S2x4K s2_4k(machine());
  const S2x16K s2_16k(machine());
  const S1x64K s1_64k(machine());
  const S2x4KWide s2_4k_wide(machine());
  EXPECT_TRUE(supports(s2_4k, 0b001, 0));
  EXPECT_EQ(supports(s2_4k, 0b110, 0b111), Error::UnsupportedGeometry);
  EXPECT_TRUE(supports(s2_16k, 0b010, 0));
  EXPECT_EQ(supports(s2_16k, 0b101, 0b111), Error::UnsupportedGeometry);
  EXPECT_TRUE(supports(s1_64k, 0b100, 0));
  EXPECT_EQ(supports(s1_64k, 0b011, 0b111), Error::UnsupportedGeometry);
  EXPECT_TRUE(supports(s2_4k_wide, 0, 0b001));
  EXPECT_EQ(supports(s2_4k_wide, 0b111, 0b110), Error::UnsupportedGeometry);
  EXPECT_EQ(supports(S1x16KWide(machine()), 0b111, 0b101), Error::UnsupportedGeometry);
  EXPECT_EQ(supports(S2x64KWide(machine()), 0b111, 0b011), Error::UnsupportedGeometry);
}

// VTTBR_EL2.VMID has 16 bits with FEAT_VMID16, else 8.
TEST(Stage2Format, has_8_bits_of_vmid_or_16) {
  Capabilities found = machine();
  found.vmid_bits = 8;
  EXPECT_EQ(S2x4K(found).id_bits(), 8u);
  found.vmid_bits = 16;
  EXPECT_EQ(S2x4K(found).id_bits(), 16u);
}

// Arm ARM D8, "The Contiguous bit": bit 52. 4K: 16 pages, 16 of 2M, 16 of 1G; 16K: 128 pages, 32 of
// 32M; 64K: 32 pages, 32 of 512M. It changes nothing of what the entry itself says.
TEST(VmsaFormat, has_a_hint_on_neighbours_in_bit_52) {
  constexpr u64 kHint = u64{1} << 52;
  constexpr unsigned k4K[] = {4, 4, 4, 0}, k16K[] = {7, 5, 0, 0}, k64K[] = {5, 5, 0, 0};
  for (unsigned level = 0; level < 4; ++level) {
    EXPECT_EQ(neighbours<Stage1<Granule::k4K>>(kHint | 3, level), k4K[level]) << level;
    EXPECT_EQ(neighbours<Stage2<Granule::k4K>>(kHint | 3, level), k4K[level]) << level;
    EXPECT_EQ(neighbours<Stage2<Granule::k16K>>(kHint | 3, level), k16K[level]) << level;
    EXPECT_EQ(neighbours<Stage1<Granule::k64K>>(kHint | 3, level), k64K[level]) << level;
    EXPECT_EQ(neighbours<Stage1<Granule::k4K>>(~kHint, level), 0u) << level;
  }
  EXPECT_EQ((entry_at<Stage1<Granule::k4K>>(3, kHint | 0x8703)), kHint | 0x8703);
  EXPECT_EQ(S2x4K::grouped(0x8703), kHint | 0x8703);
  EXPECT_EQ(alone<S2x4K>(3, kHint | 0x8703, 0), 0x8703u);
  EXPECT_EQ(alone<S2x4K>(3, kHint | 0x8701, 1), kHint | 0x8701);  // the engine makes none of blocks
}

}  // namespace
}  // namespace nestwalk::addrspace::vmsa_format_test
