// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/device.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace nestwalk::addrspace::device_test {
namespace {

constexpr AccessWidth kWidths[] = {AccessWidth::Byte, AccessWidth::Word, AccessWidth::Dword,
                                   AccessWidth::Qword};
constexpr u16 kLastPort = std::numeric_limits<u16>::max();
constexpr u64 kLastRegister = std::numeric_limits<u64>::max();

TEST(AccessWidth, comes_from_a_size_of_1_2_4_or_8_bytes) {
  EXPECT_EQ(access_width(1), AccessWidth::Byte);
  EXPECT_EQ(access_width(2), AccessWidth::Word);
  EXPECT_EQ(access_width(4), AccessWidth::Dword);
  EXPECT_EQ(access_width(8), AccessWidth::Qword);
}

TEST(AccessWidth, comes_from_no_other_size) {
  for (u64 bytes = 0; bytes <= 4096; ++bytes) {
    const bool is_width = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
    EXPECT_EQ(access_width(bytes).ok(), is_width) << bytes;
  }
  // Equal to a width in their low 32 bits.
  for (const u64 bytes : {u64{1}, u64{2}, u64{4}, u64{8}}) {
    EXPECT_FALSE(access_width((u64{1} << 32) + bytes).ok()) << bytes;
  }
  EXPECT_EQ(access_width(3), Error::OutOfRange);
  EXPECT_EQ(class_of(access_width(0).error()), ErrorClass::InvalidInput);
}

TEST(AccessWidth, is_ordered_by_size) {
  EXPECT_LT(AccessWidth::Byte, AccessWidth::Word);
  EXPECT_LT(AccessWidth::Word, AccessWidth::Dword);
  EXPECT_LT(AccessWidth::Dword, AccessWidth::Qword);
}

TEST(AccessWidth, knows_its_bytes_and_its_bits) {
  constexpr u64 kBytes[] = {1, 2, 4, 8};
  constexpr unsigned kBits[] = {8, 16, 32, 64};
  for (unsigned n = 0; n < 4; ++n) {
    EXPECT_EQ(size(kWidths[n]), kBytes[n]);
    EXPECT_EQ(bit_count(kWidths[n]), kBits[n]);
    EXPECT_EQ(bits_range(kWidths[n]), (BitRange{0, kBits[n]}));
    EXPECT_EQ(access_width(size(kWidths[n])), kWidths[n]);
  }
}

TEST(AccessWidth, has_a_name) {
  EXPECT_STREQ(to_string(AccessWidth::Byte), "Byte");
  EXPECT_STREQ(to_string(AccessWidth::Word), "Word");
  EXPECT_STREQ(to_string(AccessWidth::Dword), "Dword");
  EXPECT_STREQ(to_string(AccessWidth::Qword), "Qword");
}

TEST(Port, is_a_number_that_compares) {
  EXPECT_EQ(Port(0x3f8).number(), 0x3f8);
  EXPECT_EQ(Port().number(), 0);
  EXPECT_EQ(Port(0x60), Port(0x60));
  EXPECT_NE(Port(0x60), Port(0x64));
  EXPECT_LT(Port(0x60), Port(0x64));
  EXPECT_GT(Port(kLastPort), Port(0));
}

TEST(Port, prints_decimal_and_both_kinds_of_hexadecimal) {
  EXPECT_STREQ(to_text(Port(0x3f8)).c_str(), "Port(1016)");
  EXPECT_STREQ(to_hex_text(Port(0x3f8)).c_str(), "Port(0x3f8)");
  EXPECT_STREQ(to_upper_hex_text(Port(0x3f8)).c_str(), "Port(0x3F8)");
}

TEST(Port, prints_its_extremes_in_full) {
  EXPECT_STREQ(to_text(Port(0)).c_str(), "Port(0)");
  EXPECT_STREQ(to_hex_text(Port(0)).c_str(), "Port(0x0)");
  EXPECT_STREQ(to_text(Port(kLastPort)).c_str(), "Port(65535)");
  EXPECT_STREQ(to_hex_text(Port(kLastPort)).c_str(), "Port(0xffff)");
  EXPECT_STREQ(to_upper_hex_text(Port(kLastPort)).c_str(), "Port(0xFFFF)");
}

TEST(SysRegAddr, is_a_number_that_compares) {
  EXPECT_EQ(SysRegAddr(0xc000'0080).value(), 0xc000'0080);
  EXPECT_EQ(SysRegAddr().value(), 0u);
  EXPECT_EQ(SysRegAddr(0x10), SysRegAddr(0x10));
  EXPECT_LT(SysRegAddr(0x10), SysRegAddr(0x11));
  EXPECT_GT(SysRegAddr(kLastRegister), SysRegAddr(0));
}

TEST(SysRegAddr, prints_decimal_and_both_kinds_of_hexadecimal) {
  // 0x80b = 8 * 256 + 11
  EXPECT_STREQ(to_text(SysRegAddr(0x80b)).c_str(), "SysRegAddr(2059)");
  EXPECT_STREQ(to_hex_text(SysRegAddr(0x80b)).c_str(), "SysRegAddr(0x80b)");
  EXPECT_STREQ(to_upper_hex_text(SysRegAddr(0x80b)).c_str(), "SysRegAddr(0x80B)");
}

TEST(SysRegAddr, prints_its_extremes_in_full) {
  EXPECT_STREQ(to_text(SysRegAddr(0)).c_str(), "SysRegAddr(0)");
  EXPECT_STREQ(to_text(SysRegAddr(kLastRegister)).c_str(), "SysRegAddr(18446744073709551615)");
  EXPECT_STREQ(to_hex_text(SysRegAddr(kLastRegister)).c_str(), "SysRegAddr(0xffffffffffffffff)");
  EXPECT_STREQ(to_upper_hex_text(SysRegAddr(kLastRegister)).c_str(),
               "SysRegAddr(0xFFFFFFFFFFFFFFFF)");
}

TEST(PortRange, contains_both_its_ends) {
  const PortRange keyboard{Port(0x60), Port(0x64)};
  EXPECT_FALSE(keyboard.contains(Port(0x5f)));
  EXPECT_TRUE(keyboard.contains(Port(0x60)));
  EXPECT_TRUE(keyboard.contains(Port(0x62)));
  EXPECT_TRUE(keyboard.contains(Port(0x64)));
  EXPECT_FALSE(keyboard.contains(Port(0x65)));
}

TEST(PortRange, may_be_a_single_port_or_all_ports) {
  const PortRange one{Port(0x80), Port(0x80)};
  const PortRange all{Port(0), Port(kLastPort)};
  for (u64 number = 0; number <= kLastPort; ++number) {
    const Port port(static_cast<u16>(number));
    EXPECT_EQ(one.contains(port), number == 0x80) << number;
    EXPECT_TRUE(all.contains(port)) << number;
  }
}

TEST(PortRange, contains_nothing_when_it_starts_after_its_end) {
  const PortRange backwards{Port(0x64), Port(0x60)};
  for (u64 number = 0; number <= kLastPort; ++number) {
    EXPECT_FALSE(backwards.contains(Port(static_cast<u16>(number)))) << number;
  }
}

TEST(PortRange, prints_as_numbers_and_as_a_structure) {
  const PortRange range{Port(0x60), Port(0x64)};
  EXPECT_STREQ(to_hex_text(range).c_str(), "0x60..=0x64");
  EXPECT_STREQ(to_text(range).c_str(), "PortRange { start: Port(96), end: Port(100) }");

  const PortRange longest{Port(kLastPort), Port(kLastPort)};
  EXPECT_STREQ(to_hex_text(longest).c_str(), "0xffff..=0xffff");
  EXPECT_STREQ(to_text(longest).c_str(), "PortRange { start: Port(65535), end: Port(65535) }");
}

TEST(SysRegRange, contains_both_its_ends) {
  const SysRegRange x2apic{SysRegAddr(0x800), SysRegAddr(0x8ff)};
  EXPECT_FALSE(x2apic.contains(SysRegAddr(0x7ff)));
  EXPECT_TRUE(x2apic.contains(SysRegAddr(0x800)));
  EXPECT_TRUE(x2apic.contains(SysRegAddr(0x8ff)));
  EXPECT_FALSE(x2apic.contains(SysRegAddr(0x900)));
  EXPECT_FALSE(x2apic.contains(SysRegAddr(kLastRegister)));
}

TEST(SysRegRange, may_reach_the_last_register_and_may_be_backwards) {
  const SysRegRange all{SysRegAddr(0), SysRegAddr(kLastRegister)};
  EXPECT_TRUE(all.contains(SysRegAddr(0)));
  EXPECT_TRUE(all.contains(SysRegAddr(kLastRegister)));

  const SysRegRange backwards{SysRegAddr(kLastRegister), SysRegAddr(0)};
  EXPECT_FALSE(backwards.contains(SysRegAddr(0)));
  EXPECT_FALSE(backwards.contains(SysRegAddr(0x800)));
  EXPECT_FALSE(backwards.contains(SysRegAddr(kLastRegister)));
}

TEST(SysRegRange, prints_as_numbers_and_as_a_structure) {
  // 0x800 = 2048, 0x8ff = 2048 + 255
  const SysRegRange range{SysRegAddr(0x800), SysRegAddr(0x8ff)};
  EXPECT_STREQ(to_hex_text(range).c_str(), "0x800..=0x8ff");
  EXPECT_STREQ(to_text(range).c_str(),
               "SysRegAddrRange { start: SysRegAddr(2048), end: SysRegAddr(2303) }");

  const SysRegRange longest{SysRegAddr(kLastRegister), SysRegAddr(kLastRegister)};
  EXPECT_STREQ(to_hex_text(longest).c_str(), "0xffffffffffffffff..=0xffffffffffffffff");
  EXPECT_STREQ(to_text(longest).c_str(),
               "SysRegAddrRange { start: SysRegAddr(18446744073709551615), "
               "end: SysRegAddr(18446744073709551615) }");
}

TEST(InclusiveRange, equals_a_range_with_the_same_ends) {
  EXPECT_EQ((PortRange{Port(1), Port(2)}), (PortRange{Port(1), Port(2)}));
  EXPECT_NE((PortRange{Port(1), Port(2)}), (PortRange{Port(1), Port(3)}));
  EXPECT_NE((PortRange{Port(1), Port(2)}), (PortRange{Port(0), Port(2)}));
}

// What is written for ports must serve memory-mapped devices, too.
template <DeviceAddressRange R>
bool answers(const R& range, DeviceAddressOfT<R> address) {
  return range.contains(address);
}

TEST(DeviceAddressRange, is_half_open_for_guest_physical_addresses) {
  const GpaRange uart = GpaRange::make(Gpa(0x900'0000), 0x1000).value();
  EXPECT_FALSE(answers(uart, Gpa(0x8ff'ffff)));
  EXPECT_TRUE(answers(uart, Gpa(0x900'0000)));
  EXPECT_TRUE(answers(uart, Gpa(0x900'0fff)));
  EXPECT_FALSE(answers(uart, Gpa(0x900'1000)));
}

TEST(DeviceAddressRange, is_inclusive_for_ports_and_registers) {
  EXPECT_TRUE(answers(PortRange{Port(0x60), Port(0x64)}, Port(0x64)));
  EXPECT_TRUE(answers(SysRegRange{SysRegAddr(1), SysRegAddr(2)}, SysRegAddr(2)));
}

// A device with two windows: ranges of one's own fit the concept when they name their address.
struct TwoPorts {
  using Address = Port;
  Port index;
  Port data;
  constexpr bool contains(Port port) const { return port == index || port == data; }
};

TEST(DeviceAddressRange, need_not_be_contiguous) {
  const TwoPorts cmos{Port(0x70), Port(0x72)};
  EXPECT_TRUE(answers(cmos, Port(0x70)));
  EXPECT_FALSE(answers(cmos, Port(0x71)));
  EXPECT_TRUE(answers(cmos, Port(0x72)));
}

static_assert(DeviceAddress<Gpa> && DeviceAddress<Port> && DeviceAddress<SysRegAddr>);
static_assert(!DeviceAddress<Hpa> && !DeviceAddress<Gva> && !DeviceAddress<Hva>);
static_assert(!DeviceAddress<u64> && !DeviceAddress<AccessWidth>);
static_assert(DeviceAddressRange<GpaRange> && DeviceAddressRange<PortRange>);
static_assert(DeviceAddressRange<SysRegRange> && DeviceAddressRange<TwoPorts>);
static_assert(!DeviceAddressRange<HpaRange> && !DeviceAddressRange<GvaRange>);
static_assert(!DeviceAddressRange<InclusiveRange<Hpa>> && !DeviceAddressRange<Port>);
static_assert(!std::same_as<PortRange, SysRegRange>);

}  // namespace
}  // namespace nestwalk::addrspace::device_test
