// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "script_line.hpp"

#include <charconv>

namespace nestwalk::addrspace {
namespace {

constexpr const char* kSpace = " \t\r";

struct AccessLetter {
  char letter;
  Access access;
};
constexpr AccessLetter kAccessLetters[] = {
    {'r', kRead}, {'w', kWrite}, {'x', kExecute}, {'u', kUser}};

bool add_letter(FlagLetters& flags, char letter) {
  for (const AccessLetter& row : kAccessLetters) {
    if (row.letter != letter) continue;
    flags.access = flags.access | row.access;
    return true;
  }
  flags.device = flags.device || letter == 'd';
  flags.uncached = flags.uncached || letter == 'n';
  return letter == 'd' || letter == 'n';
}

template <class Integer>
bool parse(std::string_view text, Integer& value, int base) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  return error == std::errc() && stop == end;
}

}  // namespace

std::string hex(u64 value) { return Text<32>().add_hex(value).c_str(); }

std::string printable(std::string_view text) {
  std::string shown(text);
  for (char& character : shown) {
    if (character < ' ' || character > '~') character = '?';
  }
  return shown;
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 40;
  std::string shown = "'";
  shown += printable(text.substr(0, kLongest));
  return shown += text.size() > kLongest ? "...'" : "'";
}

Result<MappingFlags> FlagLetters::mapping() const {
  if (device && uncached) return Error::UnsupportedFlags;
  if (device) return MappingFlags{access, MemoryType::Device};
  if (uncached) return MappingFlags{access, MemoryType::Uncached};
  return MappingFlags{access, MemoryType::WriteBack};
}

std::string letters(MappingFlags flags) {
  std::string text;
  for (const AccessLetter& row : kAccessLetters) {
    if (flags.access.has(row.access)) text += row.letter;
  }
  if (flags.memory == MemoryType::Device) text += 'd';
  if (flags.memory == MemoryType::Uncached) text += 'n';
  return text.empty() ? "-" : text;
}

std::string_view ScriptLine::word(const std::string& expected) {
  if (empty()) throw MalformedLine(expected, "the end of the line");
  const std::string_view word = rest_.substr(0, rest_.find_first_of(kSpace));
  rest_.remove_prefix(word.size());
  skip_space();
  return word;
}

u64 ScriptLine::number(const std::string& what) {
  const std::string expected = what + " (a 64-bit number in hexadecimal, with 0x)";
  const std::string_view text = word(expected);
  u64 value = 0;
  if (!text.starts_with("0x") || !parse(text.substr(2), value, 16)) {
    throw MalformedLine(expected, quoted(text));
  }
  return value;
}

unsigned ScriptLine::levels() {
  const std::string expected = "a number of levels";
  const std::string_view text = word(expected);
  unsigned value = 0;
  if (!parse(text, value, 10)) throw MalformedLine(expected, quoted(text));
  return value;
}

FlagLetters ScriptLine::flags() {
  const std::string expected = "flags (letters of rwxudn, or -)";
  const std::string_view text = word(expected);
  FlagLetters flags;
  if (text == "-") return flags;
  for (const char letter : text) {
    if (!add_letter(flags, letter)) throw MalformedLine(expected, quoted(text));
  }
  return flags;
}

void ScriptLine::end() const {
  if (!empty()) throw MalformedLine("the end of the line", quoted(rest_));
}

void ScriptLine::skip_space() {
  const std::size_t first = rest_.find_first_not_of(kSpace);
  rest_.remove_prefix(first == std::string_view::npos ? rest_.size() : first);
}

}  // namespace nestwalk::addrspace
