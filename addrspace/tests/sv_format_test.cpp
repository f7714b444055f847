// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Entries of RISC-V page tables, by the privileged architecture, "Sv39: Page-Based 39-bit
// Virtual-Memory System": V 0, R 1, W 2, X 3, U 4, G 5, A 6, D 7, RSW 9:8, PPN 53:10, reserved
// 60:54, PBMT 62:61, N 63.
#include "full_machine.hpp"
#include "nestwalk/addrspace/formats.hpp"

#include <gtest/gtest.h>

namespace nestwalk::addrspace::sv_format_test {
namespace {

constexpr Access kNone = kNoAccess;
constexpr unsigned kLevels = 5;

Capabilities with_svpbmt() {
  Capabilities found = full_machine();
  found.physical_bits = 56;
  found.page_memory_types = true;
  return found;
}
Capabilities without_svpbmt() {
  Capabilities found = with_svpbmt();
  found.page_memory_types = false;
  return found;
}

struct AccessBits {
  Access access;
  u64 bits;
};
// W without R is reserved; all else is legal. R 2, W 4, X 8. (Without any of them an entry would be
// a pointer: a page without access exists parked only.)
constexpr AccessBits kLegalAccess[] = {
    {kRead, 0x2}, {kRead | kWrite, 0x6}, {kExecute, 0x8}, {kRead | kExecute, 0xa}, {kRwx, 0xe},
};

struct TypeBits {
  MemoryType type;
  u64 bits;
};
// Svpbmt: PMA 0, NC 1, IO 2 in bits 62:61.
constexpr TypeBits kTypes[] = {
    {MemoryType::WriteBack, 0},
    {MemoryType::Uncached, 0x2000'0000'0000'0000},
    {MemoryType::Device, 0x4000'0000'0000'0000},
};

// The highest page of each size: 56 bits of address, less what the page covers.
constexpr u64 kHighest[kLevels] = {
    0x00ff'ffff'ffff'f000,  // 4 KiB
    0x00ff'ffff'ffe0'0000,  // 2 MiB
    0x00ff'ffff'c000'0000,  // 1 GiB
    0x00ff'ff80'0000'0000,  // 512 GiB
    0x00ff'0000'0000'0000,  // 256 TiB
};

// V 1, A 0x40 and D 0x80 in every leaf: no machine then faults or writes to set them.
constexpr u64 kLeafAlways = 0xc1;

TEST(GStageFormat, encodes_pages_that_user_accesses_reach) {
  // "For G-stage address translation, all memory accesses are considered to be user-level
  // accesses": without U (0x10) a leaf would always fault. PA 0x10000 is 0x10000 >> 2 = 0x4000.
  const GStage format(with_svpbmt());
  const auto leaf = [&](Access access, MemoryType type) {
    return format.leaf(Hpa(0x10000), {access, type}, 0);
  };
  EXPECT_EQ(leaf(kRead, MemoryType::WriteBack), 0x40d3u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::WriteBack), 0x40d7u);
  EXPECT_EQ(leaf(kRead | kExecute, MemoryType::WriteBack), 0x40dbu);
  EXPECT_EQ(leaf(kRwx, MemoryType::WriteBack), 0x40dfu);
  EXPECT_EQ(leaf(kRwx | kUser, MemoryType::WriteBack), 0x40dfu);
  EXPECT_EQ(leaf(kExecute, MemoryType::WriteBack), 0x40d9u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::Uncached), 0x2000'0000'0000'40d7u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::Device), 0x4000'0000'0000'40d7u);
}

TEST(GStageFormat, encodes_superpages_alike_and_tables_with_v_alone) {
  const GStage format(with_svpbmt());
  EXPECT_EQ(format.leaf(Hpa(0x20'0000), {kRwx, MemoryType::WriteBack}, 1), 0x800dfu);
  EXPECT_EQ(format.leaf(Hpa(0x4000'0000), {kRead, MemoryType::WriteBack}, 2), 0x1000'00d3u);
  EXPECT_EQ(GStage::table(Hpa(0x5000)), 0x1401u);
  EXPECT_EQ(GStage::table(Hpa(0x00ff'ffff'ffff'f000)), 0x003f'ffff'ffff'fc01u);
  EXPECT_EQ(Sv::table(Gpa(0x5000)), 0x1401u);
}

TEST(GStageFormat, encodes_every_permission_memory_type_and_size) {
  const GStage format(with_svpbmt());
  for (unsigned level = 0; level < kLevels; ++level) {
    for (const AccessBits& access : kLegalAccess) {
      for (const TypeBits& type : kTypes) {
        const MappingFlags flags{access.access, type.type};
        EXPECT_TRUE(format.check(flags)) << to_text(flags).c_str();
        EXPECT_EQ(format.leaf(Hpa(kHighest[level]), flags, level),
                  kHighest[level] >> 2 | type.bits | access.bits | 0x10 | kLeafAlways)
            << to_text(flags).c_str() << " at level " << level;
      }
    }
  }
}

TEST(SvFormat, encodes_every_permission_memory_type_and_size) {
  const Sv format(with_svpbmt());
  constexpr AccessBits kScopes[] = {
      {kNone, 0}, {kUser, 0x10}, {kGlobal, 0x20}, {kUser | kGlobal, 0x30}};
  for (unsigned level = 0; level < kLevels; ++level) {
    for (const AccessBits& access : kLegalAccess) {
      for (const AccessBits& scope : kScopes) {
        for (const TypeBits& type : kTypes) {
          const MappingFlags flags{access.access | scope.access, type.type};
          EXPECT_TRUE(format.check(flags)) << to_text(flags).c_str();
          EXPECT_EQ(format.leaf(Gpa(kHighest[level]), flags, level),
                    kHighest[level] >> 2 | type.bits | access.bits | scope.bits | kLeafAlways)
              << to_text(flags).c_str() << " at level " << level;
        }
      }
    }
  }
}

template <class F>
void expect_refusals() {
  const F format(with_svpbmt());
  for (const Access access : {kWrite, kWrite | kExecute, kWrite | kUser}) {
    EXPECT_EQ(format.check({access, MemoryType::WriteBack}), Error::UnsupportedFlags);
  }
  for (const MemoryType type : {MemoryType::WriteThrough, MemoryType::WriteProtected,
                                MemoryType::WriteCombining, MemoryType::DeviceNGnRE,
                                MemoryType::DeviceNGRE, MemoryType::DeviceGRE, MemoryType::Other}) {
    EXPECT_EQ(format.check({kRead, type}), Error::UnsupportedFlags) << to_string(type);
  }
}

TEST(SvFormat, refuses_write_without_read_and_types_that_it_lacks) {
  expect_refusals<Sv>();
  expect_refusals<GStage>();
}

// "Physical Memory Attributes": without Svpbmt they alone say what is a device (PBMT is reserved
// and stays 0), and memory cannot be made uncached.
template <class F>
void leaves_memory_types_to_the_platform() {
  const F format(without_svpbmt());
  EXPECT_EQ(format.check({kRead, MemoryType::Uncached}), Error::UnsupportedFlags);
  for (const MemoryType type : {MemoryType::WriteBack, MemoryType::Device}) {
    EXPECT_TRUE(format.check({kRead, type}));
    EXPECT_EQ(format.leaf(typename F::Output(0x10000), {kRead, type}, 0) >> 61, 0u);
  }
}
TEST(SvFormat, leaves_memory_types_to_the_platform_without_svpbmt) {
  leaves_memory_types_to_the_platform<GStage>();
  leaves_memory_types_to_the_platform<Sv>();
}

// "The G bit in all G-stage PTEs is reserved for future standard use ... should be cleared".
TEST(GStageFormat, refuses_global_mappings_and_ignores_user) {
  const GStage format(with_svpbmt());
  EXPECT_EQ(format.check({kRead | kGlobal, MemoryType::WriteBack}), Error::UnsupportedFlags);
  EXPECT_TRUE(format.check({kRead | kUser, MemoryType::WriteBack}));
}

TEST(GStageFormat, permits_nothing_through_a_leaf_without_user) {
  EXPECT_EQ(GStage::flags(0x40df, 0).access, kRwx);
  EXPECT_EQ(GStage::flags(0x40cf, 0).access, kNone);
  EXPECT_EQ(Sv::flags(0x40cf, 0).access, kRwx);
}

TEST(SvFormat, decodes_the_memory_type) {
  constexpr MemoryType kDecoded[] = {MemoryType::WriteBack, MemoryType::Uncached,
                                     MemoryType::Device, MemoryType::Other};
  for (u64 code = 0; code < 4; ++code) {
    EXPECT_EQ(GStage::flags(0x40d3 | code << 61, 0).memory, kDecoded[code]);
    EXPECT_EQ(Sv::flags(0x40d3 | code << 61, 0).memory, kDecoded[code]);
  }
}

TEST(SvFormat, is_valid_with_v_and_a_table_without_r_w_and_x) {
  for (unsigned level = 1; level < kLevels; ++level) {
    for (u64 low = 0; low < 0x400; ++low) {
      const u64 entry = 0x1400 | low;
      EXPECT_EQ(Sv::is_valid(entry, level), (low & 1) != 0);
      EXPECT_EQ(GStage::is_valid(entry, level), (low & 1) != 0);
      // What carries A, D or U is no pointer that the hardware would follow; see below.
      if ((low & 0xd1) != 1) continue;
      EXPECT_EQ(Sv::is_table(entry, level), (low & 0xe) == 0);
      EXPECT_EQ(GStage::is_table(entry, level), (low & 0xe) == 0);
    }
  }
}

TEST(SvFormat, has_no_tables_at_level_0) {
  for (u64 low = 0; low < 0x400; ++low) {
    ASSERT_FALSE(Sv::is_table(0x1400 | low, 0)) << low;
    ASSERT_FALSE(GStage::is_table(0x1400 | low, 0)) << low;
  }
}

TEST(SvFormat, has_addresses_of_44_bits_of_page_number) {
  const u64 ones = ~u64{0};
  for (unsigned level = 0; level < kLevels; ++level) {
    EXPECT_EQ(Sv::address(ones, level), Gpa(kHighest[level]));
    EXPECT_EQ(GStage::address(ones, level), Hpa(kHighest[level]));
  }
  EXPECT_EQ(GStage::address(0x003f'ffff'ffff'fc01, 2), Hpa(0x00ff'ffff'ffff'f000));  // a table
}

// "Virtual Address Translation Process", steps 3 to 5: invalid, W without R or anything reserved
// faults; without R and X it is a pointer, which level 0 cannot have and in which A, D and U are
// reserved; a leaf must be aligned.
bool step_3_to_5_faults(u64 low, unsigned level) {
  const bool r = (low & 2) != 0, w = (low & 4) != 0, x = (low & 8) != 0;
  if (w && !r) return true;
  if (r || x) return false;
  const bool user = (low & 0x10) != 0, accessed = (low & 0x40) != 0, dirty = (low & 0x80) != 0;
  return level == 0 || user || accessed || dirty;
}

TEST(SvFormat, is_malformed_as_the_translation_process_says) {
  for (unsigned level = 0; level < kLevels; ++level) {
    for (u64 low = 1; low < 0x400; low += 2) {
      const u64 entry = kHighest[level] >> 2 | low;
      EXPECT_EQ(Sv(with_svpbmt()).malformed(entry, level), step_3_to_5_faults(low, level)) << low;
      EXPECT_EQ(GStage(with_svpbmt()).malformed(entry, level), step_3_to_5_faults(low, level))
          << low;
    }
  }
}

TEST(SvFormat, is_malformed_with_a_reserved_high_bit) {
  for (const Capabilities& machine : {with_svpbmt(), without_svpbmt()}) {
    const GStage format(machine);
    for (unsigned bit = 54; bit < 64; ++bit) {
      const bool is_pbmt = bit == 61 || bit == 62;
      const bool leaf_refused = !is_pbmt || !machine.page_memory_types;
      EXPECT_EQ(format.malformed(0x40d3 | u64{1} << bit, 0), leaf_refused) << bit;
      EXPECT_EQ(format.malformed(0x800d3 | u64{1} << bit, 1), leaf_refused) << bit;
      EXPECT_TRUE(format.malformed(0x1401 | u64{1} << bit, 1)) << bit;  // PBMT, too: no leaf
    }
    EXPECT_TRUE(format.malformed(0x40d3 | u64{3} << 61, 0));
    EXPECT_FALSE(format.malformed(0x40d3, 0));
  }
}

// "Svnapot", "Page table entry encodings when pte.N=1": of pages, x xxxx 1000; all others are
// reserved.
TEST(SvFormat, knows_one_encoding_of_napot_pages) {
  Capabilities machine = with_svpbmt();
  constexpr u64 kN = u64{1} << 63;
  for (const bool svnapot : {false, true}) {
    machine.napot_pages = svnapot;
    for (u64 code = 0; code < 32; ++code) {
      const u64 page = kN | 0x400'00df | code << 10;
      EXPECT_EQ(Sv(machine).malformed(page, 0), !svnapot || code % 16 != 8) << code;
      EXPECT_EQ(GStage(machine).malformed(page, 0), !svnapot || code % 16 != 8) << code;
    }
    EXPECT_TRUE(Sv(machine).malformed(kN | 0x8'00df, 1));
    EXPECT_TRUE(Sv(machine).malformed(kN | 0x8'20df, 1));
    EXPECT_TRUE(Sv(machine).malformed(kN | 0x2001, 1));  // a pointer
  }
}
// "Implicit reads of a NAPOT PTE return a copy of pte in which pte.ppn[i][pte.napot_bits-1:0] is
// replaced by vpn[i][pte.napot_bits-1:0]".
TEST(SvFormat, takes_the_lowest_bits_of_a_napot_page_from_its_place) {
  constexpr u64 kNapot = u64{1} << 63 | 0x1234'5678'0000 >> 2 | 0x8000 >> 2 | 0xdf;
  static_assert(neighbours<Sv>(kNapot, 0) == 4);
  static_assert(neighbours<Sv>(0x40df, 0) == 0);
  static_assert(neighbours<Ept>(kNapot, 0) == 0);
  for (u64 index = 0; index < 512; ++index) {
    EXPECT_EQ(Sv::address(entry_at<Sv>(index, kNapot), 0),
              Gpa(0x1234'5678'0000 | index % 16 << 12));
    EXPECT_EQ(entry_at<GStage>(index, 0x40df), 0x40dfu);
  }
}

// Of page 5 of a group at 0x1234'5678'0000: PPN[3:0] becomes 1000, and N is set. The page alone has
// its own number again.
TEST(SvFormat, makes_a_napot_page_of_a_page) {
  constexpr u64 kPage5 = 0x1234'5678'5000 >> 2 | 0xdf;
  constexpr u64 kNapot = u64{1} << 63 | 0x1234'5678'8000 >> 2 | 0xdf;
  static_assert(Sv::grouped(kPage5) == kNapot);
  static_assert(alone<Sv>(16 + 5, kNapot, 0) == kPage5);
  static_assert(alone<GStage>(5, kPage5, 0) == kPage5);
  Capabilities machine = with_svpbmt();
  machine.napot_pages = true;
  EXPECT_TRUE(GStage(machine).has_groups());
  EXPECT_FALSE(GStage(machine).malformed(kNapot, 0));
  machine.napot_pages = false;
  EXPECT_FALSE(GStage(machine).has_groups());
}

TEST(SvFormat, is_malformed_as_a_misaligned_superpage) {
  const Sv format(with_svpbmt());
  constexpr unsigned kAlignment[kLevels] = {12, 21, 30, 39, 48};
  for (unsigned level = 0; level < kLevels; ++level) {
    for (unsigned bit = 12; bit < 56; ++bit) {
      const u64 address = u64{1} << bit;
      EXPECT_EQ(format.malformed(address >> 2 | 0xdf, level), bit < kAlignment[level]) << bit;
      if (level != 0) {
        EXPECT_FALSE(format.malformed(address >> 2 | 1, level)) << bit;
      }
    }
  }
}

// RSW (9:8) is software's in valid entries; all bits but V are, in invalid ones.
TEST(SvFormat, keeps_its_own_bits_where_the_hardware_ignores_them) {
  EXPECT_EQ((Sv::kOwned | Sv::kSoftDirty) & ~u64{0x300}, 0u);
  EXPECT_EQ((GStage::kOwned | GStage::kSoftDirty) & ~u64{0x300}, 0u);
  EXPECT_EQ(Sv::kValid, 1u);
  EXPECT_EQ(Sv::kMarker & 1, 0u);
}

TEST(SvFormat, has_the_dirty_flag_in_bit_7) {
  EXPECT_TRUE(GStage::is_dirty(0x40d7));
  EXPECT_FALSE(GStage::is_dirty(0x4057));
  EXPECT_EQ(GStage::cleaned(0x40d7), 0x4057u);
  EXPECT_EQ(GStage::dirtied(0x4057), 0x40d7u);
  EXPECT_EQ(GStage::without_write(0x40d7), 0x40d3u);
  EXPECT_TRUE(GStage::is_writable(0x40d7));
  EXPECT_FALSE(GStage::is_writable(0x40d3));
}

}  // namespace
}  // namespace nestwalk::addrspace::sv_format_test
