// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "row.hpp"

#include <charconv>
#include <sstream>

namespace nestwalk::models {

std::size_t words_in_front(const Words& words, const char* name) {
  // "hfence.gvma zero, zero" is written with commas.
  std::size_t count = 0;
  std::string expected;
  for (std::istringstream names(name); names >> expected; ++count) {
    if (expected.back() == ',') expected.pop_back();
    if (count == words.size() || words[count] != expected) return 0;
  }
  return count;
}

std::optional<u64> number_in(const std::string& word) {
  const bool hex = word.rfind("0x", 0) == 0;
  const char* const first = word.data() + (hex ? 2 : 0);
  const char* const last = word.data() + word.size();
  u64 value = 0;
  const auto [end, error] = std::from_chars(first, last, value, hex ? 16 : 10);
  if (error != std::errc() || end != last) return std::nullopt;
  return value;
}

std::optional<std::vector<u64>> numbers_after(const Words& words, std::size_t names) {
  std::vector<u64> values;
  for (std::size_t n = names; n < words.size(); ++n) {
    const auto value = number_in(words[n]);
    if (!value) return std::nullopt;
    values.push_back(*value);
  }
  return values;
}

}  // namespace nestwalk::models
