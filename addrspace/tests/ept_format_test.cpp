// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Entries of x86 extended page tables, by the Intel SDM vol. 3C, "The Extended Page Table
// Mechanism": R, W, X in bits 2:0; of leaves, the memory type in 5:3 and "ignore PAT" in 6; bit 7
// makes a PDE or PDPTE a leaf; accessed 8, dirty 9; address in 51:12.
#include "full_machine.hpp"
#include "nestwalk/addrspace/format/ept.hpp"

#include <gtest/gtest.h>

namespace nestwalk::addrspace::ept_format_test {
namespace {

constexpr Access kNone = kNoAccess;
constexpr unsigned kTopLevel = 4;  // the PML5E

Capabilities widest_machine(u8 physical_bits = 52) {
  Capabilities all = full_machine();
  all.physical_bits = physical_bits;
  all.leaf_levels = 0b00111;
  all.execute_only = true;
  return all;
}
Capabilities without_execute_only() {
  Capabilities found = widest_machine();
  found.execute_only = false;
  return found;
}

struct AccessBits {
  Access access;
  u64 bits;
};
// Every combination that the processor does not treat as misconfigured.
constexpr AccessBits kLegalAccess[] = {
    {kNone, 0},
    {kRead, 0b001},
    {kRead | kWrite, 0b011},
    {kExecute, 0b100},
    {kRead | kExecute, 0b101},
    {kRwx, 0b111},
};

struct TypeBits {
  MemoryType type;
  u64 bits;
};
// Bits 5:3: UC 0, WC 1, WT 4, WP 5, WB 6.
constexpr TypeBits kTypes[] = {
    {MemoryType::Device, 0x00},         {MemoryType::Uncached, 0x00},
    {MemoryType::WriteCombining, 0x08}, {MemoryType::WriteThrough, 0x20},
    {MemoryType::WriteProtected, 0x28}, {MemoryType::WriteBack, 0x30},
};

struct LevelBits {
  Hpa address;
  u64 bits;
};
// A page of 4 KiB, 2 MiB and 1 GiB; the larger ones have bit 7.
constexpr LevelBits kLeaves[] = {
    {Hpa(0x000f'ffff'ffff'f000), 0x00},
    {Hpa(0x000f'ffff'ffe0'0000), 0x80},
    {Hpa(0x000f'ffff'c000'0000), 0x80},
};

TEST(EptFormat, encodes_pages) {
  const auto leaf = [](Access access, MemoryType type) {
    return Ept::leaf(Hpa(0x10000), {access, type}, 0);
  };
  EXPECT_EQ(leaf(kRead, MemoryType::WriteBack), 0x10031u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::WriteBack), 0x10033u);
  EXPECT_EQ(leaf(kRead | kExecute, MemoryType::WriteBack), 0x10035u);
  EXPECT_EQ(leaf(kRwx, MemoryType::WriteBack), 0x10037u);
  EXPECT_EQ(leaf(kRwx | kUser, MemoryType::WriteBack), 0x10037u);
  EXPECT_EQ(leaf(kExecute, MemoryType::WriteBack), 0x10034u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::Device), 0x10003u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::Uncached), 0x10003u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::WriteThrough), 0x10023u);
}

TEST(EptFormat, encodes_large_pages_and_tables) {
  EXPECT_EQ(Ept::leaf(Hpa(0x20'0000), {kRwx, MemoryType::WriteBack}, 1), 0x2000b7u);
  EXPECT_EQ(Ept::leaf(Hpa(0x20'0000), {kRead | kWrite, MemoryType::Device}, 1), 0x200083u);
  EXPECT_EQ(Ept::leaf(Hpa(0x4000'0000), {kRead, MemoryType::WriteBack}, 2), 0x400000b1u);
  // Tables permit everything and have no memory type: 5:3 are reserved.
  EXPECT_EQ(Ept::table(Hpa(0x5000)), 0x5007u);
  EXPECT_EQ(Ept::table(Hpa(0x000f'ffff'ffff'f000)), 0x000f'ffff'ffff'f007u);
}

TEST(EptFormat, encodes_every_permission_memory_type_and_size) {
  const Ept format(widest_machine());
  for (unsigned level = 0; level <= 2; ++level) {
    for (const AccessBits& access : kLegalAccess) {
      for (const TypeBits& type : kTypes) {
        const MappingFlags flags{access.access, type.type};
        EXPECT_TRUE(format.check(flags)) << to_text(flags).c_str();
        EXPECT_EQ(Ept::leaf(kLeaves[level].address, flags, level),
                  kLeaves[level].address.value() | kLeaves[level].bits | type.bits | access.bits)
            << to_text(flags).c_str() << " at level " << level;
      }
    }
  }
}

TEST(EptFormat, a_leaf_without_read_but_with_write_is_refused) {
  for (const Capabilities& machine : {widest_machine(), without_execute_only()}) {
    const Ept format(machine);
    for (const Access access : {kWrite, kWrite | kExecute, kWrite | kUser}) {
      EXPECT_EQ(format.check({access, MemoryType::WriteBack}), Error::UnsupportedFlags);
    }
  }
}

TEST(EptFormat, a_leaf_with_execute_only_needs_the_capability) {
  const MappingFlags execute_only{kExecute, MemoryType::WriteBack};
  EXPECT_TRUE(Ept(widest_machine()).check(execute_only));
  EXPECT_EQ(Ept(without_execute_only()).check(execute_only), Error::UnsupportedFlags);
  EXPECT_TRUE(Ept(without_execute_only()).check({kRead | kExecute, MemoryType::WriteBack}));
}

TEST(EptFormat, refuses_the_memory_types_of_other_architectures) {
  const Ept format(widest_machine());
  for (const MemoryType type : {MemoryType::DeviceNGnRE, MemoryType::DeviceNGRE,
                                MemoryType::DeviceGRE, MemoryType::Other}) {
    EXPECT_EQ(format.check({kRead, type}), Error::UnsupportedFlags) << to_string(type);
  }
}

TEST(EptFormat, refuses_global_mappings_and_ignores_user) {
  const Ept format(widest_machine());
  EXPECT_EQ(format.check({kRead | kGlobal, MemoryType::WriteBack}), Error::UnsupportedFlags);
  EXPECT_TRUE(format.check({kRead | kUser, MemoryType::WriteBack}));
}

TEST(EptFormat, decodes_the_memory_type) {
  constexpr MemoryType kDecoded[] = {
      MemoryType::Device,    MemoryType::WriteCombining, MemoryType::Other,
      MemoryType::Other,     MemoryType::WriteThrough,   MemoryType::WriteProtected,
      MemoryType::WriteBack, MemoryType::Other,
  };
  for (u64 code = 0; code < 8; ++code) {
    EXPECT_EQ(Ept::flags(0x10001 | code << 3, 0).memory, kDecoded[code]) << code;
    EXPECT_EQ(Ept::flags(0x200081 | code << 3, 1).memory, kDecoded[code]) << code;
  }
}

TEST(EptFormat, is_present_with_any_permission_and_a_table_above_level_0_without_bit_7) {
  for (unsigned level = 0; level <= kTopLevel; ++level) {
    for (u64 low = 0; low < 0x1000; ++low) {
      const u64 entry = 0x1234'5000 | low;
      EXPECT_EQ(Ept::is_valid(entry, level), (low & 7) != 0);
      EXPECT_EQ(Ept::is_table(entry, level), level != 0 && (low & 0x80) == 0);
    }
  }
}

TEST(EptFormat, has_addresses_of_40_31_and_22_bits) {
  const u64 ones = ~u64{0};
  EXPECT_EQ(Ept::address(ones, 0), Hpa(0x000f'ffff'ffff'f000));               // 51:12
  EXPECT_EQ(Ept::address(ones, 1), Hpa(0x000f'ffff'ffe0'0000));               // 51:21
  EXPECT_EQ(Ept::address(ones, 2), Hpa(0x000f'ffff'c000'0000));               // 51:30
  EXPECT_EQ(Ept::address(ones & ~u64{0x80}, 1), Hpa(0x000f'ffff'ffff'f000));  // a table
  EXPECT_EQ(Ept::address(ones & ~u64{0x80}, 2), Hpa(0x000f'ffff'ffff'f000));
}

TEST(EptFormat, is_misconfigured_with_write_but_no_read) {
  const Ept format(widest_machine());
  for (u64 rwx = 1; rwx < 8; ++rwx) {
    const bool refused = rwx == 0b010 || rwx == 0b110;
    EXPECT_EQ(format.malformed(0x10030 | rwx, 0), refused) << rwx;
    EXPECT_EQ(format.malformed(0x2000b0 | rwx, 1), refused) << rwx;
    EXPECT_EQ(format.malformed(0x5000 | rwx, 3), refused) << rwx;
  }
}

TEST(EptFormat, is_misconfigured_with_execute_only_unless_the_processor_has_it) {
  for (const u64 entry : {u64{0x10034}, u64{0x5004}}) {
    const unsigned level = entry == 0x5004 ? 2 : 0;
    EXPECT_FALSE(Ept(widest_machine()).malformed(entry, level));
    EXPECT_TRUE(Ept(without_execute_only()).malformed(entry, level));
  }
}

TEST(EptFormat, is_misconfigured_with_an_address_beyond_the_physical_width) {
  for (const u8 physical : {u8{36}, u8{39}, u8{46}, u8{52}}) {
    const Ept format(widest_machine(physical));
    for (unsigned bit = 30; bit < 52; ++bit) {
      const u64 address = u64{1} << bit;
      EXPECT_EQ(format.malformed(address | 0x31, 0), bit >= physical) << bit;
      EXPECT_EQ(format.malformed(address | 0xb1, 1), bit >= physical) << bit;
      EXPECT_EQ(format.malformed(address | 0xb1, 2), bit >= physical) << bit;
      for (unsigned level = 1; level <= kTopLevel; ++level) {
        EXPECT_EQ(format.malformed(address | 0x07, level), bit >= physical) << bit;
      }
    }
  }
}

TEST(EptFormat, is_misconfigured_with_a_reserved_memory_type) {
  const Ept format(widest_machine());
  for (u64 code = 0; code < 8; ++code) {
    const bool reserved = code == 2 || code == 3 || code == 7;
    EXPECT_EQ(format.malformed(0x10001 | code << 3, 0), reserved) << code;
    EXPECT_EQ(format.malformed(0x20'0081 | code << 3, 1), reserved) << code;
    EXPECT_EQ(format.malformed(0x4000'0081 | code << 3, 2), reserved) << code;
  }
}

TEST(EptFormat, is_misconfigured_as_a_table_with_a_reserved_bit) {
  const Ept format(widest_machine());
  for (unsigned level = 1; level <= kTopLevel; ++level) {
    for (unsigned bit = 3; bit <= 6; ++bit) {
      EXPECT_TRUE(format.malformed(0x5007 | u64{1} << bit, level)) << bit;
    }
  }
  // In a PML4E and a PML5E bit 7 is reserved as well.
  EXPECT_TRUE(format.malformed(0x5087, 3));
  EXPECT_TRUE(format.malformed(0x5087, 4));
  EXPECT_TRUE(format.malformed(0x80'0000'00b7, 3));
  Capabilities every_level = widest_machine();
  every_level.leaf_levels = 0b11111;  // a Hal that promises too much
  EXPECT_TRUE(Ept(every_level).malformed(0x80'0000'00b7, 3));
  EXPECT_TRUE(Ept(every_level).malformed(0x5087, 4));
}

TEST(EptFormat, is_misconfigured_as_a_large_page_with_low_address_bits) {
  const Ept format(widest_machine());
  for (unsigned bit = 12; bit < 40; ++bit) {
    EXPECT_EQ(format.malformed(0xb7 | u64{1} << bit, 1), bit <= 20) << bit;
    EXPECT_EQ(format.malformed(0xb7 | u64{1} << bit, 2), bit <= 29) << bit;
    EXPECT_FALSE(format.malformed(0x37 | u64{1} << bit, 0)) << bit;
  }
}

TEST(EptFormat, is_misconfigured_as_a_page_size_that_the_processor_lacks) {
  Capabilities machine = widest_machine();
  machine.leaf_levels = 0b00001;
  EXPECT_TRUE(Ept(machine).malformed(0x20'00b7, 1));
  EXPECT_TRUE(Ept(machine).malformed(0x4000'00b7, 2));
  EXPECT_FALSE(Ept(machine).malformed(0x1'0037, 0));
  machine.leaf_levels = 0b00011;
  EXPECT_FALSE(Ept(machine).malformed(0x20'00b7, 1));
  EXPECT_TRUE(Ept(machine).malformed(0x4000'00b7, 2));
}

// Bits 11:8 are flags or ignored; so are bits 63:52, bit 7 of a PTE and bit 6 of a leaf.
TEST(EptFormat, is_not_misconfigured_by_bits_that_are_flags_or_ignored) {
  const Ept format(widest_machine());
  const u64 everywhere = u64{0xfff} << 52 | 0xf00;
  EXPECT_FALSE(format.malformed(everywhere | 0x10037 | 0xc0, 0));
  EXPECT_FALSE(format.malformed(everywhere | 0x20'00b7 | 0x40, 1));
  EXPECT_FALSE(format.malformed(everywhere | 0x4000'00b7 | 0x40, 2));
  for (unsigned level = 1; level <= kTopLevel; ++level) {
    EXPECT_FALSE(format.malformed(everywhere | 0x5007, level)) << level;
  }
}

// Ignored in every present entry, whatever the controls: 56:52, 59 and 62. Bits 57, 58, 60 and 61
// belong to guest-paging verification, paging-write access, supervisor shadow stacks and sub-page
// write permission. Of an entry that is not present all bits but 2:0 and 63 (suppress #VE) are.
TEST(EptFormat, keeps_its_own_bits_where_the_processor_ignores_them) {
  const u64 ignored = u64{0x1f} << 52 | u64{1} << 59 | u64{1} << 62;
  EXPECT_EQ((Ept::kOwned | Ept::kSoftDirty) & ~ignored, 0u);
  EXPECT_EQ(Ept::kMarker & (u64{7} | u64{1} << 63), 0u);
  EXPECT_EQ(Ept::kValid, 7u);
}

TEST(EptFormat, parks_a_page_by_clearing_its_permissions) {
  const u64 entry = 0x0010'0000'0001'0037;  // owned, RWX, write-back
  const u64 parked = (entry & ~Ept::kValid) | Ept::kMarker;
  EXPECT_EQ(parked, 0x0050'0000'0001'0030u);
  // The least that there is: page 0, uncached.
  const u64 nothing = Ept::leaf(Hpa(0), {kNone, MemoryType::Device}, 0);
  EXPECT_EQ(nothing, 0u);
  EXPECT_EQ((nothing & ~Ept::kValid) | Ept::kMarker, u64{1} << 54);
}

TEST(EptFormat, has_the_dirty_flag_in_bit_9) {
  EXPECT_FALSE(Ept::is_dirty(0x10037));
  EXPECT_TRUE(Ept::is_dirty(0x10237));
  EXPECT_EQ(Ept::cleaned(0x10337), 0x10137u);
  EXPECT_EQ(Ept::dirtied(0x10037), 0x10237u);
  EXPECT_EQ(Ept::without_write(0x10237), 0x10235u);
  EXPECT_TRUE(Ept::is_writable(0x10033));
  EXPECT_FALSE(Ept::is_writable(0x10031));
}

// Intel SDM vol. 3D, "VPID and EPT Capabilities": IA32_VMX_EPT_VPID_CAP has execute-only in bit 0,
// 2 MiB and 1 GiB pages in 16 and 17, accessed and dirty flags in 21, a page-walk length of 5 in 7.
TEST(EptCapabilities, come_from_the_msr) {
  const auto with = [](u64 value) { return capabilities_from_ept_vpid_cap(value, 46); };
  const Capabilities none = with(0);
  EXPECT_EQ(none.physical_bits, 46);
  EXPECT_EQ(none.leaf_levels, 0b001);
  EXPECT_FALSE(none.execute_only);
  EXPECT_FALSE(none.hardware_dirty);
  EXPECT_TRUE(with(1).execute_only);
  EXPECT_EQ(with(1 << 16).leaf_levels, 0b011);
  EXPECT_EQ(with(1 << 17).leaf_levels, 0b101);
  EXPECT_TRUE(with(1 << 21).hardware_dirty);
  EXPECT_EQ(none.most_levels, 4);
  EXPECT_EQ(with(1 << 7).most_levels, 5);
  const Capabilities others = with(~(u64{1} | 1 << 16 | 1 << 17 | 1 << 21));
  EXPECT_FALSE(others.execute_only || others.hardware_dirty);
  EXPECT_EQ(others.leaf_levels, 0b001);
}

}  // namespace
}  // namespace nestwalk::addrspace::ept_format_test
