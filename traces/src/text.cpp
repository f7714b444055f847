// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/text.hpp"

#include <charconv>
#include <concepts>

namespace nestwalk::traces {
namespace {

void append_number(std::string& to, u64 value, int base = 10) {
  char digits[24];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), value, base).ptr;
  to.append(digits, end);
}

void append_hex(std::string& to, u64 value) {
  to += "0x";
  append_number(to, value, 16);
}

void append_key(std::string& to, std::string_view key) {
  to += ' ';
  to += key;
  to += '=';
}

// A name that cannot break the line: other characters than printable ASCII, blanks, quotes and
// backslashes are written as \xNN.
void append_quoted(std::string& to, std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  to += '"';
  for (const char letter : text) {
    const auto byte = static_cast<u8>(letter);
    if (byte > 0x20 && byte < 0x7f && letter != '"' && letter != '\\') {
      to += letter;
    } else {
      to += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  to += '"';
}

struct AppendField {
  std::string& to;

  void operator()(const char* key, Gva value) const { hex(key, value.value()); }
  void operator()(const char* key, Gpa value) const { hex(key, value.value()); }
  void operator()(const char* key, u64 value) const { hex(key, value); }
  void operator()(const char* key, const std::string& value) const {
    append_key(to, key);
    append_quoted(to, value);
  }
  template <class Enum>
  requires std::is_enum_v<Enum>
  void operator()(const char* key, Enum value) const {
    append_key(to, key);
    to += names_of(value)[static_cast<std::size_t>(value)];
  }
  void hex(const char* key, u64 value) const {
    append_key(to, key);
    append_hex(to, value);
  }
};

void append_position(std::string& to, const Chunk& chunk, u64 record, u64 time) {
  append_number(to, chunk.vcpu);
  to += ' ';
  append_number(to, record);
  to += ' ';
  append_number(to, time);
  to += ' ';
}

void append_access(std::string& to, const Access& access) {
  to += kAccessKindNames[static_cast<u8>(access.kind)];
  const AppendField field{to};
  if (access.has(kGvaKnown)) field("gva", access.gva);
  if (access.has(kGpaKnown)) field("gpa", access.gpa);
  if (access.has(kHpaKnown)) field.hex("hpa", access.hpa.value());
  append_key(to, "size");
  append_number(to, access.size);
  append_key(to, "instructions");
  append_number(to, access.instructions);
  if (access.has(kDependent)) to += " dependent";
  if (access.has(kContinues)) to += " continues";
  to += '\n';
}

void append_event(std::string& to, const Event& event) {
  std::visit(
      [&](const auto& detail) {
        to += detail.kName;
        for_each_field(detail, AppendField{to});
      },
      event.detail);
  append_key(to, "instructions");
  append_number(to, event.instructions);
  to += '\n';
}

}  // namespace

void append_text(std::string& to, const Chunk& chunk) {
  u64 record = chunk.first_record;
  u64 time = chunk.time;
  for (const Access& access : chunk.accesses) {
    time = time_after(time, access);
    append_position(to, chunk, record++, time);
    append_access(to, access);
  }
  if (chunk.event == nullptr) return;
  append_position(to, chunk, record, time_after(time, *chunk.event));
  append_event(to, *chunk.event);
}

void append_text(std::string& to, const SideData& side) {
  const auto begin_line = [&](const char* what) {
    to += what;
    append_key(to, "when");
    to += kWhenNames[static_cast<u8>(side.when)];
    append_key(to, "stage");
    to += kStageNames[static_cast<u8>(side.stage)];
  };
  for (const auto& [name, value] : side.registers) {
    begin_line("register");
    append_key(to, "vcpu");
    append_number(to, side.vcpu);
    append_key(to, "name");
    append_quoted(to, name);
    append_key(to, "value");
    append_hex(to, value);
    to += '\n';
  }
  for (const TablePage& page : side.pages) {
    begin_line("page");
    append_key(to, "address");
    append_hex(to, page.address);
    append_key(to, "bytes");
    append_number(to, page.bytes.size());
    append_key(to, "crc32c");
    append_hex(to, crc32c(page.bytes));
    to += '\n';
  }
}

}  // namespace nestwalk::traces
