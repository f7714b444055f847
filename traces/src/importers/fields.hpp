// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Taking lines apart, without allocating.
#pragma once

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/traces/error.hpp"

namespace nestwalk::traces {

/// The number at the front of `text`, which is taken away; nothing when there is none.
inline std::optional<addrspace::u64> take_number(std::string_view& text, int base) {
  addrspace::u64 value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc()) return {};
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

inline bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// A hexadecimal number with or without 0x.
inline std::optional<addrspace::u64> take_hex(std::string_view& text) {
  take_prefix(text, "0x");
  return take_number(text, 16);
}

/// The whole text as a number: hexadecimal when it begins with 0x.
inline std::optional<addrspace::u64> whole_number(std::string_view text) {
  const auto value = take_prefix(text, "0x") ? take_number(text, 16) : take_number(text, 10);
  return text.empty() ? value : std::nullopt;
}

inline std::optional<addrspace::u64> whole_hex(std::string_view text) {
  const auto value = take_hex(text);
  return text.empty() ? value : std::nullopt;
}

inline void skip_any(std::string_view& text, std::string_view letters) {
  text.remove_prefix(std::min(text.find_first_not_of(letters), text.size()));
}

/// What comes before the next of `letters`; that letter and all that follow it are taken as well.
inline std::string_view take_word(std::string_view& text, std::string_view letters = " \t") {
  const std::string_view word = text.substr(0, text.find_first_of(letters));
  text.remove_prefix(word.size());
  skip_any(text, letters);
  return word;
}

/// "5488.890967:", seconds as perf and ftrace print them, in nanoseconds.
inline std::optional<addrspace::u64> time_of(std::string_view word) {
  constexpr addrspace::u64 kNanoseconds = 1'000'000'000;
  if (!word.ends_with(':')) return {};
  word.remove_suffix(1);
  const auto seconds = take_number(word, 10);
  if (!seconds || *seconds >= ~addrspace::u64{0} / kNanoseconds || !take_prefix(word, "."))
    return {};
  const std::size_t digits = word.size();
  auto fraction = take_number(word, 10);
  if (!fraction || !word.empty() || digits > 9) return {};
  for (std::size_t n = digits; n < 9; ++n) *fraction *= 10;
  return *seconds * kNanoseconds + *fraction;
}

/// Columns have a name each; those of the name Skip are passed over.
template <class Column>
void expect_each_once(const std::vector<Column>& columns) {
  for (auto column = columns.begin(); column != columns.end(); ++column) {
    if (*column == Column::Skip || std::find(columns.begin(), column, *column) == column) continue;
    throw RecordError("the columns have one of them twice");
  }
}

/// The first line of what an input begins with that is not empty and does not begin with `comment`.
inline std::string_view first_line(std::string_view beginning, std::string_view comment = "") {
  while (!beginning.empty()) {
    const std::size_t end = std::min(beginning.find('\n'), beginning.size());
    std::string_view line = beginning.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && (comment.empty() || !line.starts_with(comment))) return line;
    beginning.remove_prefix(std::min(end + 1, beginning.size()));
  }
  return {};
}

}  // namespace nestwalk::traces
