// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Entries of x86-64 guest page tables, by the Intel SDM vol. 3A, "4-Level Paging and 5-Level
// Paging": P 0, R/W 1, U/S 2, PWT 3, PCD 4, A 5, D 6, PS 7, G 8, address 51:12, XD 63. The PAT bit
// is bit 7 of a 4 KiB page and bit 12 of a larger one; "Paging and Memory Typing" makes the index
// into IA32_PAT of PAT, PCD and PWT, in this order.
#include "full_machine.hpp"
#include "nestwalk/addrspace/format/long_mode.hpp"

#include <gtest/gtest.h>

namespace nestwalk::addrspace::long_mode_format_test {
namespace {

constexpr unsigned kTopLevel = 4;  // the PML5E
constexpr u64 kExecuteDisable = 0x8000'0000'0000'0000;

Capabilities machine(u8 physical_bits = 52) {
  Capabilities found = full_machine();
  found.physical_bits = physical_bits;
  found.leaf_levels = 0b00111;
  return found;
}

// All types: 0 WB, 1 WT, 2 UC-, 3 UC, 4 WP, 5 WC, then UC twice. The codes of IA32_PAT are UC 0,
// WC 1, WT 4, WP 5, WB 6, UC- 7; entry 0 is the lowest byte.
constexpr u64 kRichPat = 0x0000'0105'0007'0406;

struct Bits {
  Access access;
  u64 bits;
};
// A present page is readable. XD where nothing may be executed.
constexpr Bits kLegalAccess[] = {
    {kRead, kExecuteDisable},
    {kRead | kWrite, kExecuteDisable | 0x2},
    {kRead | kExecute, 0},
    {kRwx, 0x2},
};
constexpr Bits kScopes[] = {
    {kNoAccess, 0}, {kUser, 0x4}, {kGlobal, 0x100}, {kUser | kGlobal, 0x104}};

struct TypeBits {
  MemoryType type;
  u64 small;
  u64 large;
};
// With kRichPat: PWT 0x8, PCD 0x10, PAT 0x80 or 0x1000. The first entry that has the type serves.
constexpr TypeBits kTypes[] = {
    {MemoryType::WriteBack, 0, 0},               // 0
    {MemoryType::WriteThrough, 0x08, 0x08},      // 1: PWT
    {MemoryType::Device, 0x18, 0x18},            // 3: PCD, PWT
    {MemoryType::Uncached, 0x18, 0x18},          // 3, as well
    {MemoryType::WriteProtected, 0x80, 0x1000},  // 4: PAT
    {MemoryType::WriteCombining, 0x88, 0x1008},  // 5: PAT, PWT
};

constexpr u64 kHighest[] = {0x000f'ffff'ffff'f000, 0x000f'ffff'ffe0'0000, 0x000f'ffff'c000'0000};

TEST(LongModeFormat, encodes_pages) {
  const LongMode format(machine());
  const auto leaf = [&](Access access, MemoryType type) {
    return format.leaf(Gpa(0x10000), {access, type}, 0);
  };
  // P 0x1, A 0x20 and D 0x40 always.
  EXPECT_EQ(leaf(kRead, MemoryType::WriteBack), 0x8000'0000'0001'0061u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::WriteBack), 0x8000'0000'0001'0063u);
  EXPECT_EQ(leaf(kRead | kExecute, MemoryType::WriteBack), 0x10061u);
  EXPECT_EQ(leaf(kRwx | kUser, MemoryType::WriteBack), 0x10067u);
  EXPECT_EQ(leaf(kRwx | kGlobal, MemoryType::WriteBack), 0x10163u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::Device), 0x8000'0000'0001'007bu);
  EXPECT_EQ(leaf(kRead | kExecute, MemoryType::WriteThrough), 0x10069u);
}

TEST(LongModeFormat, encodes_large_pages_and_tables) {
  const LongMode format(machine());
  EXPECT_EQ(format.leaf(Gpa(0x20'0000), {kRwx, MemoryType::WriteBack}, 1), 0x2000e3u);
  EXPECT_EQ(format.leaf(Gpa(0x4000'0000), {kRwx | kUser, MemoryType::WriteBack}, 2), 0x400000e7u);
  // A table permits everything (P, R/W, U/S); the leaf decides.
  EXPECT_EQ(LongMode::table(Gpa(0x5000)), 0x5007u);
}

TEST(LongModeFormat, encodes_every_permission_memory_type_and_size) {
  const LongMode format(machine(), kRichPat);
  for (unsigned level = 0; level <= 2; ++level) {
    for (const Bits& access : kLegalAccess) {
      for (const Bits& scope : kScopes) {
        for (const TypeBits& type : kTypes) {
          const MappingFlags flags{access.access | scope.access, type.type};
          EXPECT_TRUE(format.check(flags)) << to_text(flags).c_str();
          const u64 by_size = level == 0 ? type.small : type.large | 0x80;
          EXPECT_EQ(format.leaf(Gpa(kHighest[level]), flags, level),
                    kHighest[level] | by_size | access.bits | scope.bits | 0x61)
              << to_text(flags).c_str() << " at level " << level;
          MappingFlags decoded = flags;
          if (flags.memory == MemoryType::Uncached) decoded.memory = MemoryType::Device;
          EXPECT_EQ(format.flags(format.leaf(Gpa(kHighest[level]), flags, level), level), decoded);
        }
      }
    }
  }
}

TEST(LongModeFormat, refuses_write_or_execute_without_read) {
  const LongMode format(machine());
  for (const Access access : {kWrite, kExecute, kWrite | kExecute, kExecute | kUser}) {
    EXPECT_EQ(format.check({access, MemoryType::WriteBack}), Error::UnsupportedFlags);
  }
  EXPECT_TRUE(format.check({kNoAccess, MemoryType::WriteBack}));
}

TEST(LongModeFormat, refuses_memory_types_that_the_pat_lacks) {
  // After reset: WB, WT, UC-, UC, twice.
  const LongMode after_reset(machine());
  EXPECT_EQ(kResetPat, 0x0007'0406'0007'0406u);
  for (const MemoryType type : {MemoryType::WriteCombining, MemoryType::WriteProtected}) {
    EXPECT_EQ(after_reset.check({kRead, type}), Error::UnsupportedFlags);
  }
  for (const MemoryType type : {MemoryType::WriteBack, MemoryType::WriteThrough,
                                MemoryType::Uncached, MemoryType::Device}) {
    EXPECT_TRUE(after_reset.check({kRead, type}));
  }
  const LongMode all_uncached(machine(), 0);
  EXPECT_EQ(all_uncached.check({kRead, MemoryType::WriteBack}), Error::UnsupportedFlags);
  EXPECT_TRUE(all_uncached.check({kRead, MemoryType::Uncached}));
}

TEST(LongModeFormat, refuses_the_memory_types_of_other_architectures) {
  const LongMode format(machine(), kRichPat);
  for (const MemoryType type : {MemoryType::DeviceNGnRE, MemoryType::DeviceNGRE,
                                MemoryType::DeviceGRE, MemoryType::Other}) {
    EXPECT_EQ(format.check({kRead, type}), Error::UnsupportedFlags) << to_string(type);
  }
}

TEST(LongModeFormat, decodes_the_memory_type_through_the_pat) {
  // UC- (entry 2) is uncached unless an MTRR makes it write-combining. Code 2 is reserved.
  const LongMode format(machine(), 0x0002'0105'0007'0406);
  constexpr MemoryType kDecoded[] = {
      MemoryType::WriteBack, MemoryType::WriteThrough,   MemoryType::Device,
      MemoryType::Device,    MemoryType::WriteProtected, MemoryType::WriteCombining,
      MemoryType::Other,     MemoryType::Device,
  };
  for (u64 index = 0; index < 8; ++index) {
    const u64 pwt_pcd = (index & 3) << 3;
    EXPECT_EQ(format.flags(0x10001 | pwt_pcd | (index >> 2) << 7, 0).memory, kDecoded[index]);
    EXPECT_EQ(format.flags(0x20'0081 | pwt_pcd | (index >> 2) << 12, 1).memory, kDecoded[index]);
    EXPECT_EQ(format.flags(0x4000'0081 | pwt_pcd | (index >> 2) << 12, 2).memory, kDecoded[index]);
  }
}

TEST(LongModeFormat, is_present_with_p_and_a_table_above_level_0_without_ps) {
  for (unsigned level = 0; level <= kTopLevel; ++level) {
    for (u64 low = 0; low < 0x1000; ++low) {
      const u64 entry = 0x1234'5000 | low;
      EXPECT_EQ(LongMode::is_valid(entry, level), (low & 1) != 0);
      EXPECT_EQ(LongMode::is_table(entry, level), level != 0 && (low & 0x80) == 0);
    }
  }
}

TEST(LongModeFormat, has_addresses_without_the_pat_bit_of_large_pages) {
  const u64 ones = ~u64{0};
  for (unsigned level = 0; level <= 2; ++level) {
    EXPECT_EQ(LongMode::address(ones, level), Gpa(kHighest[level]));
  }
  EXPECT_EQ(LongMode::address(ones & ~u64{0x80}, 1), Gpa(kHighest[0]));
  EXPECT_EQ(LongMode::address(0x20'1081, 1), Gpa(0x20'0000));
}

TEST(LongModeFormat, is_malformed_with_an_address_beyond_the_physical_width) {
  for (const u8 physical : {u8{36}, u8{40}, u8{46}, u8{52}}) {
    const LongMode format(machine(physical));
    for (unsigned bit = 30; bit < 52; ++bit) {
      const u64 address = u64{1} << bit;
      EXPECT_EQ(format.malformed(address | 0x61, 0), bit >= physical) << bit;
      EXPECT_EQ(format.malformed(address | 0xe1, 1), bit >= physical) << bit;
      EXPECT_EQ(format.malformed(address | 0xe1, 2), bit >= physical) << bit;
      for (unsigned level = 1; level <= kTopLevel; ++level) {
        EXPECT_EQ(format.malformed(address | 0x07, level), bit >= physical) << bit;
      }
    }
  }
}

TEST(LongModeFormat, is_malformed_as_a_large_page_with_low_address_bits) {
  const LongMode format(machine());
  for (unsigned bit = 13; bit < 40; ++bit) {
    EXPECT_EQ(format.malformed(0xe1 | u64{1} << bit, 1), bit <= 20) << bit;
    EXPECT_EQ(format.malformed(0xe1 | u64{1} << bit, 2), bit <= 29) << bit;
    EXPECT_FALSE(format.malformed(0x61 | u64{1} << bit, 0)) << bit;
  }
  EXPECT_FALSE(format.malformed(0x20'10e1, 1));  // bit 12 is PAT
  EXPECT_FALSE(format.malformed(0x4000'10e1, 2));
}

TEST(LongModeFormat, is_malformed_as_a_page_size_that_the_processor_lacks) {
  const LongMode format(machine());
  EXPECT_FALSE(format.malformed(0x4000'00e1, 2));
  // PS is reserved in a PML4E and in a PML5E.
  Capabilities every_level = machine();
  every_level.leaf_levels = 0b11111;
  EXPECT_TRUE(LongMode(every_level).malformed(0x80'0000'00e1, 3));
  EXPECT_TRUE(LongMode(every_level).malformed(0x5087, 4));
  Capabilities no_1g = machine();
  no_1g.leaf_levels = 0b00011;
  EXPECT_TRUE(LongMode(no_1g).malformed(0x4000'00e1, 2));
  EXPECT_FALSE(LongMode(no_1g).malformed(0x20'00e1, 1));
}

// 11:9 and 58:52 are ignored, 62:59 too without protection keys; XD is legal with IA32_EFER.NXE.
TEST(LongModeFormat, is_not_malformed_by_bits_that_are_flags_or_ignored) {
  const LongMode format(machine());
  const u64 everywhere = u64{0xfff} << 52 | 0xf7f;
  EXPECT_FALSE(format.malformed(everywhere | 0x10000, 0));
  EXPECT_FALSE(format.malformed(everywhere | 0x10080, 0));
  EXPECT_FALSE(format.malformed(everywhere | 0x20'0080, 1));
  for (unsigned level = 1; level <= kTopLevel; ++level) {
    EXPECT_FALSE(format.malformed(everywhere | 0x5000, level)) << level;
  }
}

// AMD APM vol. 2, 5.3.3, figures of PML5E, PML4E, PDPE and PDE: bit 8 is MBZ in the first two, and
// ignored in the others; of leaves it is G. KVM corrected the same ("KVM: x86: bit 8 of non-leaf
// PDPEs is not reserved").
TEST(LongModeFormat, is_malformed_on_amd_by_bit_8_of_the_two_upper_levels) {
  Capabilities amd = machine();
  amd.upper_bit_8_reserved = true;
  for (unsigned level = 1; level <= kTopLevel; ++level) {
    EXPECT_EQ(LongMode(amd).malformed(0x5107, level), level >= 3) << level;
    EXPECT_FALSE(LongMode(amd).malformed(0x5007, level)) << level;
    EXPECT_FALSE(LongMode(machine()).malformed(0x5107, level)) << level;
  }
  EXPECT_FALSE(LongMode(amd).malformed(0x5167, 0));
  EXPECT_FALSE(LongMode(amd).malformed(0x20'01e7, 1));
  EXPECT_FALSE(LongMode(amd).malformed(0x4000'01e7, 2));
}

// Ignored in every present entry: 11:9 and 58:52. Of an entry that is not present, all but bit 0.
TEST(LongModeFormat, keeps_its_own_bits_where_the_processor_ignores_them) {
  const u64 ignored = 0xe00 | u64{0x7f} << 52;
  EXPECT_EQ((LongMode::kOwned | LongMode::kSoftDirty) & ~ignored, 0u);
  EXPECT_EQ(LongMode::kMarker & 1, 0u);
  EXPECT_EQ(LongMode::kValid, 1u);
}

TEST(LongModeFormat, has_the_dirty_flag_in_bit_6) {
  EXPECT_TRUE(LongMode::is_dirty(0x10063));
  EXPECT_FALSE(LongMode::is_dirty(0x10023));
  EXPECT_EQ(LongMode::cleaned(0x10063), 0x10023u);
  EXPECT_EQ(LongMode::dirtied(0x10023), 0x10063u);
  EXPECT_EQ(LongMode::without_write(0x10063), 0x10061u);
  EXPECT_TRUE(LongMode::is_writable(0x10063));
  EXPECT_FALSE(LongMode::is_writable(0x10061));
}

}  // namespace
}  // namespace nestwalk::addrspace::long_mode_format_test
