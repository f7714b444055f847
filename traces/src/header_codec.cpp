// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/container.hpp"

namespace nestwalk::traces {
namespace {

// In the file: 0 for none, otherwise the architecture + 1.
u64 number_of(const std::optional<Architecture>& architecture) {
  return architecture ? static_cast<u64>(*architecture) + 1 : 0;
}

std::optional<Architecture> architecture_of(u64 number) {
  if (number == 0) return std::nullopt;
  return static_cast<Architecture>(number - 1);
}

constexpr u64 kArchitectureNumbers = static_cast<u64>(Architecture::RiscV64) + 2;

template <class Enum>
Enum take_enum(ByteReader& from, const char* what) {
  return static_cast<Enum>(from.take_below(std::size(names_of(Enum{})), what));
}

}  // namespace

void put(ByteBuffer& to, const Header& header) {
  to.put_varint(number_of(header.architecture));
  to.put_varint(static_cast<u64>(header.mode));
  to.put_varint(header.vcpus);
  to.put_varint(header.lacks);
  for (const std::string* text :
       {&header.guest_tables, &header.host_tables, &header.producer, &header.command}) {
    to.put_string(*text);
  }
  to.put_varint(header.memory.size());
  for (const MemoryRange& range : header.memory) {
    to.put_varint(static_cast<u64>(range.stage));
    to.put_varint(range.start);
    to.put_varint(range.bytes);
    to.put_string(range.kind);
  }
  to.put_varint(header.provenance.size());
  for (const auto& [key, value] : header.provenance) {
    to.put_string(key);
    to.put_string(value);
  }
}

Header take_header(ByteReader& from) {
  Header header;
  header.architecture = architecture_of(from.take_below(kArchitectureNumbers, "an architecture"));
  header.mode = take_enum<Mode>(from, "a mode");
  header.vcpus = static_cast<u32>(from.take_from(1, kMaxVcpus, "a number of vCPUs"));
  header.lacks = from.take_below(u64{1} << std::size(kLackNames), "a set of what is lacking");
  for (std::string* text :
       {&header.guest_tables, &header.host_tables, &header.producer, &header.command}) {
    *text = from.take_string("a text of the header");
  }
  // They take memory one by one.
  const u64 ranges = from.take_from(0, kMaxMemoryRanges, "a number of memory ranges");
  for (u64 n = 0; n < ranges; ++n) {
    MemoryRange& range = header.memory.emplace_back();
    range.stage = take_enum<Stage>(from, "a stage");
    range.start = from.take_varint("a memory range");
    range.bytes = from.take_from(0, ~range.start, "bytes of a memory range");
    range.kind = from.take_string("the kind of a memory range");
  }
  const u64 notes = from.take_from(0, kMaxProvenance, "a number of notes on provenance");
  for (u64 n = 0; n < notes; ++n) {
    auto& [key, value] = header.provenance.emplace_back();
    key = from.take_string("a note on provenance");
    value = from.take_string("a note on provenance");
  }
  from.expect_end("the header");
  return header;
}

void put(ByteBuffer& to, const SideData& side) {
  to.put_varint(static_cast<u64>(side.when));
  to.put_varint(static_cast<u64>(side.stage));
  to.put_varint(side.vcpu);
  to.put_varint(side.registers.size());
  for (const auto& [name, value] : side.registers) {
    to.put_string(name);
    to.put_varint(value);
  }
  to.put_varint(side.pages.size());
  for (const TablePage& page : side.pages) {
    to.put_varint(page.address);
    to.put_varint(page.bytes.size());
    to.put_bytes(page.bytes);
  }
}

SideData take_side_data(ByteReader& from) {
  SideData side;
  side.when = take_enum<When>(from, "a time");
  side.stage = take_enum<Stage>(from, "a stage");
  side.vcpu = static_cast<u32>(from.take_below(kMaxVcpus, "a vCPU"));
  side.registers.resize(from.take_from(0, kMaxRegisters, "a number of registers"));
  for (auto& [name, value] : side.registers) {
    name = from.take_string("a register");
    value = from.take_varint("a register");
  }
  // They take memory one by one: what is no page ends it.
  const u64 pages = from.take_count(2, "pages");
  for (u64 n = 0; n < pages; ++n) {
    TablePage& page = side.pages.emplace_back();
    page.address = from.take_varint("a page's address");
    from.check_multiple(page.address, kPageBytes, "a page's address");
    const u64 length = from.take_from(kPageBytes, kPageBytes, "the length of a page");
    const std::span<const u8> bytes = from.take_bytes(length, "a page");
    page.bytes.assign(bytes.begin(), bytes.end());
  }
  from.expect_end("the side data");
  return side;
}

}  // namespace nestwalk::traces
