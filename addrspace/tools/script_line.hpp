// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A line of an operation script, read word by word.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "nestwalk/addrspace/flags.hpp"

namespace nestwalk::addrspace {

/// A line that is not an operation. Its text is `expected ..., found ...`.
class MalformedLine : public std::runtime_error {
 public:
  MalformedLine(const std::string& expected, const std::string& found)
      : std::runtime_error("expected " + expected + ", found " + found) {}
};

/// `0x1abc`.
std::string hex(u64 value);
/// Fit for a message on a terminal: `?` for whatever is not a printable ASCII character.
std::string printable(std::string_view text);
/// The same of a script's word: between quotes, and its begin only if it is long.
std::string quoted(std::string_view text);

/// The letters of a flag set.
struct FlagLetters {
  Access access;
  bool device = false;
  bool uncached = false;

  /// Fails with UnsupportedFlags for `d` and `n` together: no architecture has a memory type that
  /// is both.
  Result<MappingFlags> mapping() const;
  /// Does this type of memory have what `d` and `n` ask for?
  bool fits_memory(MemoryType type) const {
    return (!device || type == MemoryType::Device) && (!uncached || type == MemoryType::Uncached);
  }
};
/// The opposite: the letters, or `-` for none.
std::string letters(MappingFlags flags);

/// Takes the words of a line from left to right; each throws MalformedLine if the next word is not
/// what it expects.
class ScriptLine {
 public:
  explicit ScriptLine(std::string_view line) : rest_(line) { skip_space(); }

  bool empty() const { return rest_.empty(); }
  std::string_view word(const std::string& expected);

  /// Hexadecimal with 0x, 64 bits at most.
  u64 number(const std::string& what);
  Gpa gpa() { return Gpa(number("a guest-physical address")); }
  Hpa hpa() { return Hpa(number("a host-physical address")); }
  u64 size() { return number("a size"); }
  unsigned levels();
  FlagLetters flags();

  /// One of `choices`, as an index.
  template <std::size_t N>
  std::size_t choice(const char* const (&choices)[N]) {
    std::string expected = choices[0];
    for (std::size_t n = 1; n < N; ++n) {
      expected += std::string(n + 1 < N ? ", " : " or ") + choices[n];
    }
    const std::string_view text = word(expected);
    for (std::size_t n = 0; n < N; ++n) {
      if (text == choices[n]) return n;
    }
    throw MalformedLine(expected, quoted(text));
  }

  /// Nothing may follow. To be called before an operation changes anything.
  void end() const;

 private:
  void skip_space();

  std::string_view rest_;
};

}  // namespace nestwalk::addrspace
