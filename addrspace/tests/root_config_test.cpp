// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The values of the registers that name a root.
#include <gtest/gtest.h>

#include "full_machine.hpp"
#include "nestwalk/addrspace/formats.hpp"

namespace nestwalk::addrspace::root_config_test {
namespace {

Capabilities machine(u8 physical_bits) {
  Capabilities found = full_machine();
  found.physical_bits = physical_bits;
  found.vmid_bits = 8;
  return found;
}

constexpr u16 kWidestId = 0xffff;

// Intel SDM vol. 3C, "Extended-Page-Table Pointer (EPTP)": memory type of the walk in 2:0 (6 is
// write-back), walk length less 1 in 5:3, accessed and dirty flags in 6, root in N-1:12.
TEST(Eptp, holds_root_walk_length_and_write_back) {
  const Ept format(machine(46));
  // 6 | 3 << 3 = 0x1e; 6 | 4 << 3 = 0x26
  const RootConfig four = format.root_config(Hpa(0x1234'5000), Ept::geometry(4).value(), {});
  EXPECT_EQ(four.root_register, 0x1234'501eu);
  const RootConfig five = format.root_config(Hpa(0x1234'5000), Ept::geometry(5).value(), {});
  EXPECT_EQ(five.root_register, 0x1234'5026u);
}

TEST(Eptp, enables_accessed_and_dirty_flags_where_the_machine_has_them) {
  Capabilities with_flags = machine(52);
  with_flags.hardware_dirty = true;
  const Ept format(with_flags);
  // 0x1e | 1 << 6 = 0x5e
  const Hpa top(0x000f'ffff'ffff'f000);
  EXPECT_EQ(format.root_config(top, Ept::geometry(4).value(), {}).root_register,
            0x000f'ffff'ffff'f05eu);
}

TEST(Eptp, does_not_hold_the_vpid) {
  const Ept format(machine(46));
  const Geometry shape = Ept::geometry(4).value();
  EXPECT_EQ(format.root_config(Hpa(0x1000), shape, VmId{kWidestId}).root_register, 0x101eu);
  EXPECT_EQ(format.root_config(Hpa(0x1000), shape, {}).control_register, 0u);
}

// AMD APM vol. 2, "Enabling Nested Paging": nCR3 holds the root like CR3; appendix B, "VMCB
// Layout": the guest's ASID at 058h, TLB_CONTROL at 05Ch.
TEST(NestedCr3, holds_the_root_alone_and_the_vmcb_the_asid) {
  const Npt format(machine(48));
  for (const unsigned levels : {4u, 5u}) {
    const RootConfig config =
        format.root_config(Hpa(0x1234'5000), Npt::geometry(levels).value(), VmId{kWidestId});
    EXPECT_EQ(config.root_register, 0x1234'5000u);
    EXPECT_EQ(config.control_register, 0xffffu);  // TLB_CONTROL 0 above: nothing is flushed
  }
}

// RISC-V privileged architecture, "Hypervisor Guest Address Translation and Protection (hgatp)":
// MODE in 63:60 (8 Sv39x4, 9 Sv48x4, 10 Sv57x4), VMID in 57:44, PPN in 43:0.
TEST(Hgatp, holds_mode_vmid_and_page_number) {
  const Hpa root(0x8020'4000);  // page number 0x80204
  EXPECT_EQ(GStage::root_config(root, GStage::geometry(3).value(), VmId{5}).root_register,
            0x8000'5000'0008'0204u);
  EXPECT_EQ(GStage::root_config(root, GStage::geometry(4).value(), VmId{5}).root_register,
            0x9000'5000'0008'0204u);
  EXPECT_EQ(GStage::root_config(root, GStage::geometry(5).value(), VmId{5}).root_register,
            0xa000'5000'0008'0204u);
  EXPECT_EQ(GStage::root_config(root, GStage::geometry(5).value(), {}).control_register, 0u);
}

TEST(Hgatp, holds_the_widest_root_and_14_bits_of_vmid) {
  // The root is 16 KiB, aligned: the two lowest bits of its page number are 0. Bits 59:58 are 0,
  // so 14 ones of VMID make 0x3ff'f << 44.
  const Hpa root(0x00ff'ffff'ffff'c000);
  EXPECT_EQ(GStage::root_config(root, GStage::geometry(3).value(), VmId{0x3fff}).root_register,
            0x83ff'ffff'ffff'fffcu);
  EXPECT_EQ(GStage::root_config(root, GStage::geometry(3).value(), VmId{kWidestId}).root_register,
            0x83ff'ffff'ffff'fffcu);
}

// "Supervisor Address Translation and Protection (satp)": MODE in 63:60, ASID in 59:44, PPN.
TEST(Satp, holds_mode_asid_and_page_number) {
  const Gpa root(0x8020'1000);
  EXPECT_EQ(Sv::satp(root, Sv::geometry(3).value(), 5), 0x8000'5000'0008'0201u);
  EXPECT_EQ(Sv::satp(root, Sv::geometry(4).value(), 5), 0x9000'5000'0008'0201u);
  EXPECT_EQ(Sv::satp(root, Sv::geometry(5).value(), 5), 0xa000'5000'0008'0201u);
  EXPECT_EQ(Sv::satp(Gpa(0x00ff'ffff'ffff'f000), Sv::geometry(3).value(), kWidestId),
            0x8fff'ffff'ffff'ffffu);
}

// Intel SDM vol. 3A, "Control Registers": CR3 has the root in M-1:12 and, with CR4.PCIDE, the
// process-context identifier in 11:0.
TEST(Cr3, holds_root_and_pcid) {
  EXPECT_EQ(LongMode::cr3(Gpa(0x1000'0000), 0), 0x1000'0000u);
  EXPECT_EQ(LongMode::cr3(Gpa(0x1000'0000), 0x123), 0x1000'0123u);
  EXPECT_EQ(LongMode::cr3(Gpa(0x000f'ffff'ffff'f000), 0xfff), 0x000f'ffff'ffff'ffffu);
  EXPECT_EQ(LongMode::cr3(Gpa(0x1000'0000), kWidestId), 0x1000'0fffu);
}

// Arm ARM, "TTBR0_EL1": ASID in 63:48, BADDR[47:1] in 47:1, CnP in 0. With 52-bit addresses,
// BADDR[51:48] in 5:2.
TEST(Ttbr, holds_asid_and_root) {
  using Format = Stage1<Granule::k4K>;
  EXPECT_EQ(Format::ttbr(Gpa(0x4000'0000), 0x12), 0x0012'0000'4000'0000u);
  EXPECT_EQ(Format::ttbr(Gpa(0x0000'ffff'ffff'f000), kWidestId), 0xffff'ffff'ffff'f000u);
}

TEST(Ttbr, keeps_bits_51_to_48_of_the_root_in_bits_5_to_2) {
  using Format = Stage1<Granule::k64K, Width::k52>;
  // 0xa << 2 = 0x28
  EXPECT_EQ(Format::ttbr(Gpa(0x000a'0000'0001'0000), 0), 0x0000'0000'0001'0028u);
  EXPECT_EQ(Format::ttbr(Gpa(0x000f'ffff'ffff'0000), 1), 0x0001'ffff'ffff'003cu);
}

// "VTTBR_EL2": VMID in 63:48, the rest as in TTBR0_EL1.
template <class Format>
u64 vttbr(const Format& format, Hpa root, unsigned input_bits, u16 vmid) {
  const Geometry shape = Format::geometry(input_bits).value();
  return format.root_config(root, shape, VmId{vmid}).root_register;
}

TEST(Vttbr, holds_vmid_and_root) {
  const Stage2<Granule::k4K> format(machine(48));
  EXPECT_EQ(vttbr(format, Hpa(0x4000'2000), 40, 0x12), 0x0012'0000'4000'2000u);
  EXPECT_EQ(vttbr(format, Hpa(0x0000'ffff'ffff'f000), 48, 0xff), 0x00ff'ffff'ffff'f000u);
}

TEST(Vttbr, holds_16_bits_of_vmid_where_the_machine_has_them) {
  Capabilities wide = machine(48);
  wide.vmid_bits = 16;
  EXPECT_EQ(vttbr(Stage2<Granule::k4K>(wide), Hpa(0x4000'0000), 40, kWidestId),
            0xffff'0000'4000'0000u);
}

TEST(Vttbr, keeps_bits_51_to_48_of_the_root_in_bits_5_to_2) {
  const Stage2<Granule::k64K, Width::k52> large(machine(52));
  EXPECT_EQ(vttbr(large, Hpa(0x000a'0000'0001'0000), 52, 0), 0x0000'0000'0001'0028u);
  const Stage2<Granule::k4K, Width::k52> small(machine(52));
  EXPECT_EQ(vttbr(small, Hpa(0x000f'0000'0001'0000), 52, 0), 0x0000'0000'0001'003cu);
}

// Arm ARM, "VTCR_EL2": T0SZ in 5:0 is 64 less the input bits; SL0 in 7:6; IRGN0 in 9:8 and ORGN0 in
// 11:10 are 1 for write-back write-allocate; SH0 in 13:12 is 3 for inner shareable; TG0 in 15:14
// is 0 for 4K, 1 for 64K, 2 for 16K; PS in 18:16; VS in 19; HA in 21, HD in 22; bit 31 is RES1;
// DS in 32; SL2 in 33. Walks that are cacheable and shareable: 0x3000 | 0x400 | 0x100 = 0x3500.
constexpr u64 kAlways = 0x8000'3500;

template <class Format>
u64 vtcr(const Capabilities& capabilities, unsigned input_bits) {
  const Geometry shape = Format::geometry(input_bits).value();
  return Format(capabilities).root_config(Hpa(0), shape, {}).control_register;
}

TEST(Vtcr, says_how_the_walk_is_done) {
  // 4K, 40 of 40 bits: T0SZ 24 = 0x18; level 1 is SL0 1 -> 0x40; PS 2 -> 0x2'0000.
  EXPECT_EQ((vtcr<Stage2<Granule::k4K>>(machine(40), 40)), 0x8002'3558u);
  // 16K, 48 of 48 bits: T0SZ 16 = 0x10; level 1 is SL0 2 -> 0x80; TG0 2 -> 0x8000; PS 5.
  EXPECT_EQ((vtcr<Stage2<Granule::k16K>>(machine(48), 48)), 0x8005'b590u);
  // 64K, 40 of 40 bits: T0SZ 0x18; level 2 is SL0 1 -> 0x40; TG0 1 -> 0x4000; PS 2.
  EXPECT_EQ((vtcr<Stage2<Granule::k64K>>(machine(40), 40)), 0x8002'7558u);
}

TEST(Vtcr, has_the_input_size_for_every_size) {
  for (unsigned bits = 32; bits <= 48; ++bits) {
    EXPECT_EQ((vtcr<Stage2<Granule::k4K>>(machine(48), bits) & 0x3f), 64 - bits);
    EXPECT_EQ((vtcr<Stage2<Granule::k16K>>(machine(48), bits) & 0x3f), 64 - bits);
    EXPECT_EQ((vtcr<Stage2<Granule::k64K>>(machine(48), bits) & 0x3f), 64 - bits);
  }
}

// SL0 with 4K: 0 is level 2, 1 is level 1, 2 is level 0. With 16K and 64K: 0 is level 3, 1 is level
// 2, 2 is level 1; with 16K and DS, 3 is level 0. The levels are those of the geometry's tests.
TEST(Vtcr, starts_at_the_geometry_s_level) {
  const Capabilities narrow = machine(48);
  const auto sl0 = [](u64 value) { return value >> 6 & 3; };
  for (unsigned bits = 32; bits <= 48; ++bits) {
    SCOPED_TRACE(bits);
    const u64 expected_4k = bits <= 34 ? 0 : bits <= 43 ? 1 : 2;
    const u64 expected_16k = bits <= 40 ? 1 : 2;
    const u64 expected_64k = bits <= 33 ? 0 : bits <= 46 ? 1 : 2;
    EXPECT_EQ((sl0(vtcr<Stage2<Granule::k4K>>(narrow, bits))), expected_4k);
    EXPECT_EQ((sl0(vtcr<Stage2<Granule::k16K>>(narrow, bits))), expected_16k);
    EXPECT_EQ((sl0(vtcr<Stage2<Granule::k64K>>(narrow, bits))), expected_64k);
  }
}

TEST(Vtcr, describes_52_bit_walks) {
  // T0SZ 12 = 0xc; PS 6 -> 0x6'0000.
  // 4K: level 0 is SL0 2 -> 0x80, SL2 stays 0; DS -> 1 << 32.
  EXPECT_EQ((vtcr<Stage2<Granule::k4K, Width::k52>>(machine(52), 52)), 0x1'8006'358cu);
  // 16K: level 0 is SL0 3 -> 0xc0; TG0 2 -> 0x8000; DS.
  EXPECT_EQ((vtcr<Stage2<Granule::k16K, Width::k52>>(machine(52), 52)), 0x1'8006'b5ccu);
  // 64K: level 1 is SL0 2 -> 0x80; TG0 1 -> 0x4000; no DS: the granule has its own layout.
  EXPECT_EQ((vtcr<Stage2<Granule::k64K, Width::k52>>(machine(52), 52)), 0x8006'758cu);
}

// PS: 0 is 32 bits, then 36, 40, 42, 44, 48, 52.
TEST(Vtcr, has_the_physical_size_that_machine_and_entries_share) {
  using Narrow = Stage2<Granule::k4K>;
  using Wide = Stage2<Granule::k64K, Width::k52>;
  constexpr u8 kBits[] = {32, 36, 40, 42, 44, 48, 52};
  for (unsigned code = 0; code < 7; ++code) {
    const u64 in_48_bits = code == 6 ? 5 : code;
    EXPECT_EQ(vtcr<Narrow>(machine(kBits[code]), 32), kAlways | 32 | in_48_bits << 16);
    EXPECT_EQ((vtcr<Wide>(machine(kBits[code]), 42) >> 16 & 7), code);
  }
}

TEST(Vtcr, turns_on_what_the_machine_has) {
  using Format = Stage2<Granule::k4K>;
  const u64 plain = 0x8002'3558;
  Capabilities wide_vmid = machine(40);
  wide_vmid.vmid_bits = 16;
  EXPECT_EQ(vtcr<Format>(wide_vmid, 40), plain | 1 << 19);
  Capabilities dirty = machine(40);
  dirty.hardware_dirty = true;
  EXPECT_EQ(vtcr<Format>(dirty, 40), plain | 3 << 21);
}

}  // namespace
}  // namespace nestwalk::addrspace::root_config_test
