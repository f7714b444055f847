// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/device.hpp"

namespace nestwalk::addrspace {
namespace {

constexpr const char* kWidths[] = {"Byte", "Word", "Dword", "Qword"};

constexpr const char* kPort = "Port(";
constexpr const char* kSysRegAddr = "SysRegAddr(";

template <class RangeText, class A>
RangeText debug_text(const char* name, InclusiveRange<A> range) {
  RangeText text;
  text.add(name).add(" { start: ").add(to_text(range.start).c_str());
  return text.add(", end: ").add(to_text(range.end).c_str()).add(" }");
}

}  // namespace

const char* to_string(AccessWidth width) { return kWidths[static_cast<unsigned>(width)]; }

Text<16> to_text(Port port) { return Text<16>().add(kPort).add_decimal(port.number()).add(')'); }
Text<16> to_hex_text(Port port) { return Text<16>().add(kPort).add_hex(port.number()).add(')'); }
Text<16> to_upper_hex_text(Port port) {
  return Text<16>().add(kPort).add_upper_hex(port.number()).add(')');
}

Text<40> to_text(SysRegAddr address) {
  return Text<40>().add(kSysRegAddr).add_decimal(address.value()).add(')');
}
Text<40> to_hex_text(SysRegAddr address) {
  return Text<40>().add(kSysRegAddr).add_hex(address.value()).add(')');
}
Text<40> to_upper_hex_text(SysRegAddr address) {
  return Text<40>().add(kSysRegAddr).add_upper_hex(address.value()).add(')');
}

Text<56> to_text(PortRange range) { return debug_text<Text<56>>("PortRange", range); }
Text<24> to_hex_text(PortRange range) {
  return Text<24>().add_hex(range.start.number()).add("..=").add_hex(range.end.number());
}

// Callers of the original engine know the type by this name.
Text<112> to_text(SysRegRange range) { return debug_text<Text<112>>("SysRegAddrRange", range); }
Text<48> to_hex_text(SysRegRange range) {
  return Text<48>().add_hex(range.start.value()).add("..=").add_hex(range.end.value());
}

}  // namespace nestwalk::addrspace
