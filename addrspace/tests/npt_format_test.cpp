// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What AMD's nested tables have of their own (AMD APM vol. 2, 15.25 "Nested Paging"); the bits are
// those of long mode: P 0, R/W 1, U/S 2, PWT 3, PCD 4, A 5, D 6, PS 7, address 51:12, NX 63, PAT in
// bit 7 of a 4 KiB page and bit 12 of a larger one.
#include <gtest/gtest.h>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/format/npt.hpp"
#include "nestwalk/addrspace/page_table.hpp"

namespace nestwalk::addrspace::npt_format_test {
namespace {

constexpr u64 kNx = 0x8000'0000'0000'0000;

Capabilities machine(u8 physical_bits = 52, u64 pat = kResetPat) {
  Capabilities found = full_machine();
  found.physical_bits = physical_bits;
  found.host_pat = pat;
  return found;
}

TEST(NptFormat, encodes_every_entry_for_users) {
  const Npt format(machine());
  const auto leaf = [&](Access access, MemoryType type, unsigned level) {
    return format.leaf(Hpa(0x4000'0000), {access, type}, level);
  };
  // P 0x1, U/S 0x4, A 0x20 and D 0x40 always: 0x65; R/W 0x2, PS 0x80; PCD and PWT 0x18.
  EXPECT_EQ(leaf(kRead, MemoryType::WriteBack, 0), kNx | 0x4000'0065u);
  EXPECT_EQ(leaf(kRead | kWrite, MemoryType::WriteBack, 0), kNx | 0x4000'0067u);
  EXPECT_EQ(leaf(kRwx, MemoryType::WriteBack, 1), 0x4000'00e7u);
  EXPECT_EQ(leaf(kRead | kExecute, MemoryType::Device, 2), 0x4000'00fdu);
  EXPECT_EQ(Npt::table(Hpa(0x5000)), 0x5007u);
}

TEST(NptFormat, permits_nothing_without_user_access) {
  const Npt format(machine());
  for (unsigned level = 0; level < 5; ++level) {
    const u64 large = level == 1 || level == 2 ? 0x80 : 0;
    EXPECT_EQ(format.flags(0x4000'0067 | large, level).access, kRwx) << level;
    EXPECT_EQ(format.flags(0x4000'0063 | large, level).access, kNoAccess) << level;
  }
}

TEST(NptFormat, has_no_page_that_cannot_be_read_and_none_that_is_global) {
  const Npt format(machine());
  for (const Access access : {kWrite, kExecute, kWrite | kExecute, kRead | kGlobal}) {
    EXPECT_EQ(format.check({access, MemoryType::WriteBack}), Error::UnsupportedFlags);
  }
}

// "PAT": the host's register. Linux has WB, WC, UC-, UC, WB, WP, UC-, WT: 6, 1, 7, 0, 6, 5, 7, 4.
TEST(NptFormat, takes_memory_types_from_the_hosts_pat) {
  const Npt format(machine(52, 0x0407'0506'0007'0106));
  const auto leaf = [&](MemoryType type, unsigned level) {
    return format.leaf(Hpa(0x4000'0000), {kRwx, type}, level);
  };
  EXPECT_EQ(leaf(MemoryType::WriteCombining, 0), 0x4000'006fu);  // entry 1: PWT
  EXPECT_EQ(leaf(MemoryType::Uncached, 0), 0x4000'007fu);        // entry 3: PCD, PWT
  EXPECT_EQ(leaf(MemoryType::WriteProtected, 0), 0x4000'00efu);  // entry 5: PAT, PWT
  EXPECT_EQ(leaf(MemoryType::WriteThrough, 1), 0x4000'10ffu);    // entry 7: all three, large
  EXPECT_EQ(format.flags(0x4000'10ff, 1).memory, MemoryType::WriteThrough);
  // After reset there is no WC.
  EXPECT_EQ(Npt(machine()).check({kRwx, MemoryType::WriteCombining}), Error::UnsupportedFlags);
}

TEST(NptFormat, refuses_addresses_beyond_the_machines) {
  const Npt format(machine(48));
  EXPECT_FALSE(format.malformed(0x0000'8000'0000'0067, 0));
  EXPECT_TRUE(format.malformed(0x0001'0000'0000'0067, 0));
  EXPECT_TRUE(format.malformed(0x0001'0000'0000'0007, 1));
}

TEST(NptFormat, refuses_reserved_bits) {
  const Npt format(machine());
  EXPECT_FALSE(format.malformed(0x20'10e7, 1));   // PAT
  EXPECT_TRUE(format.malformed(0x20'20e7, 1));    // bit 13 of a 2 MiB page
  EXPECT_TRUE(format.malformed(0x4020'00e7, 2));  // bit 21 of a 1 GiB page
  EXPECT_TRUE(format.malformed(0x80'0000'00e7, 3));
  EXPECT_TRUE(format.malformed(0x5087, 4));
  // Bit 8 is reserved in a PML4 entry, and ignored in directories.
  EXPECT_TRUE(format.malformed(0x5107, 3));
  EXPECT_FALSE(format.malformed(0x5107, 2));
  EXPECT_FALSE(format.malformed(0x5107, 1));
}

TEST(NptFormat, has_the_shapes_of_the_hosts_tables) {
  for (const unsigned levels : {4u, 5u}) {
    const Geometry shape = *Npt::geometry(levels);
    EXPECT_EQ(shape.input_bits, 12 + 9 * levels);
    EXPECT_EQ(shape.rule, InputRule::Zero);
    EXPECT_TRUE(Npt(machine()).supports(shape));
  }
  EXPECT_EQ(Npt::geometry(3), Result<Geometry>(Error::UnsupportedGeometry));
}

TEST(NptFormat, has_as_many_asids_as_the_machine) {
  Capabilities found = machine();
  found.vmid_bits = 15;
  EXPECT_EQ(Npt(found).id_bits(), 15u);
}

// The C-bit in bit 47, with 48 bits less 5 of address (Zen, Zen 2): 43.
class EncryptedNpt : public ::testing::Test {
 protected:
  using Format = NptOf<47>;
  static constexpr u64 kC = u64{1} << 47;
  static constexpr u64 kHighest = u64{1} << 42;

  static Capabilities encrypting(u8 bit = 47) {
    Capabilities found = machine(43);
    found.encryption_bit = bit;
    return found;
  }
  const Format format{encrypting()};
};

TEST_F(EncryptedNpt, HasTheCBitInTablesAndInLeavesOfMemory) {
  const auto leaf = [&](MemoryType type, unsigned level) {
    return format.leaf(Hpa(0x4000'0000), {kRwx, type}, level);
  };
  EXPECT_EQ(Format::table(Hpa(0x5000)), kC | 0x5007u);
  EXPECT_EQ(leaf(MemoryType::WriteBack, 0), kC | 0x4000'0067u);
  EXPECT_EQ(leaf(MemoryType::WriteBack, 2), kC | 0x4000'00e7u);
  EXPECT_EQ(leaf(MemoryType::Uncached, 0), kC | 0x4000'007fu);
  EXPECT_EQ(leaf(MemoryType::Device, 0), 0x4000'007fu);
  EXPECT_EQ(Format::root_config(Hpa(0x5000), *Format::geometry(4), {}).root_register, kC | 0x5000u);
}

TEST_F(EncryptedNpt, KeepsTheCBitOutOfAddresses) {
  EXPECT_EQ(Format::address(kC | 0x4000'0067, 0), Hpa(0x4000'0000));
  EXPECT_EQ(Format::address(kC | 0x4000'00e7, 2), Hpa(0x4000'0000));
  EXPECT_EQ(Format::address(kC | 0x5007, 1), Hpa(0x5000));
  EXPECT_EQ(Format::geometry(4)->output_bits, 47);
}

TEST_F(EncryptedNpt, TellsUncachedMemoryFromDevices) {
  EXPECT_EQ(format.flags(kC | 0x4000'007f, 0).memory, MemoryType::Uncached);
  EXPECT_EQ(format.flags(0x4000'007f, 0).memory, MemoryType::Device);
  EXPECT_EQ(format.flags(kC | 0x4000'0067, 0).memory, MemoryType::WriteBack);
}

// 7.10.1: "the upper physical address bits are treated as reserved when the feature is enabled".
TEST_F(EncryptedNpt, RefusesAddressesBeyondTheReducedWidth) {
  for (unsigned level = 0; level < 4; ++level) {
    const u64 low = level == 1 || level == 2 ? 0xe7 : 0x07;
    EXPECT_FALSE(format.malformed(kC | kHighest | low, level)) << level;
    EXPECT_FALSE(format.malformed(kHighest | low, level)) << level;
    for (const unsigned reserved : {43u, 46u, 48u, 51u}) {
      EXPECT_TRUE(format.malformed(kC | u64{1} << reserved | low, level)) << level << reserved;
    }
  }
  // Without encryption bit 47 is an address's, and here beyond it.
  EXPECT_TRUE(Npt(encrypting()).malformed(kC | 0x07, 0));
}

TEST_F(EncryptedNpt, IsOfMachinesThatHaveItThere) {
  const Geometry shape = *Format::geometry(4);
  EXPECT_TRUE(format.supports(shape));
  EXPECT_EQ(Format(encrypting(51)).supports(shape), Error::UnsupportedGeometry);
  EXPECT_EQ(Format(encrypting(0)).supports(shape), Error::UnsupportedGeometry);
  // A host that encrypts nothing.
  EXPECT_TRUE(Npt(encrypting()).supports(*Npt::geometry(4)));
}

// With Linux' PAT, which has WC.
TEST_F(EncryptedNpt, RefusesWriteCombiningWhichMayBeADevices) {
  Capabilities found = encrypting();
  found.host_pat = 0x0407'0506'0007'0106;
  EXPECT_EQ(Format(found).check({kRwx, MemoryType::WriteCombining}), Error::UnsupportedFlags);
  EXPECT_TRUE(Npt(found).check({kRwx, MemoryType::WriteCombining}));
}

// Pages, tables and parts of a split leaf: walked by the addresses in their entries.
TEST_F(EncryptedNpt, TablesAreBuiltSplitAndGivenBack) {
  ArenaHal<> hal(1024, encrypting());
  const u64 before = hal.arena().frames_in_use();
  {
    auto table = *PageTable<Format, ArenaHal<>>::create(hal, *Format::geometry(4), 1);
    const GpaRange large = *GpaRange::make(Gpa(0x4000'0000), 2 * kMiB);
    ASSERT_TRUE(table.map_region(large, Hpa(0x800'0000), {kRwx}));
    ASSERT_TRUE(table.unmap_region(*GpaRange::make(Gpa(0x4000'1000), kFrameBytes)));
    EXPECT_EQ(*table.translate(Gpa(0x4000'2008)), Hpa(0x800'2008));
    EXPECT_EQ(table.entry(Gpa(0x4000'2000))->entry & kC, kC);
    ASSERT_TRUE(table.map_owned_region(*GpaRange::make(Gpa(0), kFrameBytes), {kRwx}));
    EXPECT_TRUE(hal.arena().is_allocated(table.translate(Gpa(0))->value()));
    // 2^43 is the first address beyond the machine's.
    EXPECT_FALSE(table.map(Gpa(0x1000), Hpa(kHighest << 1), kFrameBytes, {kRwx}));
    EXPECT_TRUE(table.map(Gpa(0x1000), Hpa(kHighest), kFrameBytes, {kRwx}));
  }
  EXPECT_EQ(hal.arena().frames_in_use(), before);
}

// CPUID of a Zen 3: 48 physical bits, 1 GiB pages, 32768 ASIDs, flush by ASID, and INVLPGB, which
// reaches nested translations where EBX bit 21 says so.
TEST(SvmCapabilities, AreWhatCpuidSays) {
  SvmCpuid cpuid;
  cpuid.extended_features_edx = 1u << 26;
  cpuid.sizes_eax = 0x3030;
  cpuid.sizes_ebx = 1u << 3 | 1u << 21;
  cpuid.asids = 0x8000;
  cpuid.svm_edx = 1u << 6;
  const Capabilities found = capabilities_from_svm(cpuid, 4, kResetPat);
  EXPECT_EQ(found.physical_bits, 48);
  EXPECT_EQ(found.leaf_levels, 0b0111);
  EXPECT_EQ(found.most_levels, 4);
  EXPECT_EQ(found.vmid_bits, 15);
  EXPECT_TRUE(found.hardware_dirty && found.flush_by_asid && found.upper_bit_8_reserved);
  EXPECT_EQ(found.fences, &svm::kInvlpgbTlbsync);
  cpuid.sizes_ebx = 1u << 3;
  cpuid.extended_features_edx = cpuid.svm_edx = 0;
  cpuid.asids = 0x17;  // 23: those below 16
  const Capabilities less = capabilities_from_svm(cpuid, 5, kResetPat);
  EXPECT_EQ(less.leaf_levels, 0b0011);
  EXPECT_EQ(less.vmid_bits, 4);
  EXPECT_FALSE(less.flush_by_asid);
  EXPECT_EQ(less.fences, nullptr);
}

// 8000001FH of a Zen 2: SME, the C-bit in 47 (0x2f), 5 bits less (5 << 6 is 0x140). Addresses get
// shorter when SYSCFG says so, whether or not an entry has the C-bit.
TEST(SvmCapabilities, HaveShorterAddressesWithMemoryEncryption) {
  SvmCpuid cpuid;
  cpuid.sizes_eax = 0x3030;
  cpuid.encryption_eax = 1;
  cpuid.encryption_ebx = 0x16f;
  EXPECT_EQ(capabilities_from_svm(cpuid, 4, kResetPat).physical_bits, 48);
  EXPECT_EQ(capabilities_from_svm(cpuid, 4, kResetPat).encryption_bit, 0);
  cpuid.encryption_enabled = true;
  EXPECT_EQ(capabilities_from_svm(cpuid, 4, kResetPat).physical_bits, 43);
  EXPECT_EQ(capabilities_from_svm(cpuid, 4, kResetPat).encryption_bit, 47);
  cpuid.encryption_eax = 0;
  EXPECT_EQ(capabilities_from_svm(cpuid, 4, kResetPat).physical_bits, 48);
}

}  // namespace
}  // namespace nestwalk::addrspace::npt_format_test
