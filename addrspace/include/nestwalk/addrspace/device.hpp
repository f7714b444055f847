// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What emulated devices are addressed by: guest-physical ranges (half-open, as everywhere), I/O
// ports and system registers (inclusive ranges, so that the last port has a range, too).
#pragma once

#include <compare>
#include <concepts>
#include <cstdint>

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/addrspace/text.hpp"

namespace nestwalk::addrspace {

/// How much one access moves. A word is 16 bits, as in the x86 manuals. Ordered by size.
enum class AccessWidth : u8 { Byte, Word, Dword, Qword };

constexpr u64 size(AccessWidth width) { return u64{1} << static_cast<unsigned>(width); }
constexpr unsigned bit_count(AccessWidth width) { return 8u << static_cast<unsigned>(width); }

/// Bits [first, end) of a register or of a bus.
struct BitRange {
  unsigned first = 0;
  unsigned end = 0;
  friend constexpr bool operator==(BitRange, BitRange) = default;
};
constexpr BitRange bits_range(AccessWidth width) { return {0, bit_count(width)}; }

/// The width of an access of 1, 2, 4 or 8 bytes; fails with OutOfRange for any other size.
constexpr Result<AccessWidth> access_width(u64 bytes) {
  switch (bytes) {
    case 1:
      return AccessWidth::Byte;
    case 2:
      return AccessWidth::Word;
    case 4:
      return AccessWidth::Dword;
    case 8:
      return AccessWidth::Qword;
    default:
      return Error::OutOfRange;
  }
}

/// An x86 I/O port.
class Port {
 public:
  constexpr Port() = default;
  constexpr explicit Port(u16 number) : number_(number) {}

  constexpr u16 number() const { return number_; }

  friend constexpr auto operator<=>(Port, Port) = default;
  friend constexpr bool operator==(Port, Port) = default;

 private:
  u16 number_ = 0;
};

/// A system register by the number that the architecture's trap reports: an x86 MSR, the operand
/// fields of an Arm MRS or MSR, a RISC-V CSR.
class SysRegAddr {
 public:
  constexpr SysRegAddr() = default;
  constexpr explicit SysRegAddr(u64 value) : value_(value) {}

  constexpr u64 value() const { return value_; }

  friend constexpr auto operator<=>(SysRegAddr, SysRegAddr) = default;
  friend constexpr bool operator==(SysRegAddr, SysRegAddr) = default;

 private:
  u64 value_ = 0;
};

/// From `start` to `end`, both included. With start > end it contains nothing.
template <class A>
struct InclusiveRange {
  using Address = A;

  A start{};
  A end{};

  constexpr bool contains(A address) const { return start <= address && address <= end; }
  friend constexpr bool operator==(InclusiveRange, InclusiveRange) = default;
};

using PortRange = InclusiveRange<Port>;
using SysRegRange = InclusiveRange<SysRegAddr>;

/// Is A an address that a device answers to? A type says so here, because the other address
/// spaces have the same operations: an Hpa is no device address.
template <class A>
inline constexpr bool is_device_address_v = false;
template <>
inline constexpr bool is_device_address_v<Gpa> = true;
template <>
inline constexpr bool is_device_address_v<Port> = true;
template <>
inline constexpr bool is_device_address_v<SysRegAddr> = true;

template <class A>
concept DeviceAddress = is_device_address_v<A> && std::regular<A> && std::totally_ordered<A> &&
    requires(A address) {
  to_text(address);
};

/// The address type of a range: what the range names as `Address`, or what is said here.
template <class R>
struct DeviceAddressOf;
template <class R>
requires requires { typename R::Address; }
struct DeviceAddressOf<R> {
  using Type = typename R::Address;
};
template <>
struct DeviceAddressOf<GpaRange> {
  using Type = Gpa;
};
template <class R>
using DeviceAddressOfT = typename DeviceAddressOf<R>::Type;

/// The addresses of one device; they need not be contiguous.
template <class R>
concept DeviceAddressRange = DeviceAddress<DeviceAddressOfT<R>> &&
    requires(const R range, DeviceAddressOfT<R> address) {
  { range.contains(address) } -> std::same_as<bool>;
};

const char* to_string(AccessWidth width);

/// `Port(1016)`.
Text<16> to_text(Port port);
/// `Port(0x3f8)`.
Text<16> to_hex_text(Port port);
/// `Port(0x3F8)`.
Text<16> to_upper_hex_text(Port port);

/// `SysRegAddr(2064)`, and so on as for ports.
Text<40> to_text(SysRegAddr address);
Text<40> to_hex_text(SysRegAddr address);
Text<40> to_upper_hex_text(SysRegAddr address);

/// `PortRange { start: Port(96), end: Port(100) }`.
Text<56> to_text(PortRange range);
/// `0x60..=0x64`.
Text<24> to_hex_text(PortRange range);

/// `SysRegAddrRange { start: SysRegAddr(2048), end: SysRegAddr(2303) }`.
Text<112> to_text(SysRegRange range);
/// `0x800..=0x8ff`.
Text<48> to_hex_text(SysRegRange range);

}  // namespace nestwalk::addrspace
