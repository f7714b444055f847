// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Short texts in fixed buffers, for code that has neither a heap nor a C library.
#pragma once

#include <cstddef>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::addrspace {

/// A zero-terminated text of at most `N - 1` characters; what does not fit is cut off.
template <std::size_t N>
class Text {
 public:
  constexpr Text() = default;
  constexpr Text(const char* text) { add(text); }

  constexpr const char* c_str() const { return characters_; }
  constexpr std::size_t size() const { return size_; }

  constexpr Text& add(const char* text) {
    while (*text != '\0') add(*text++);
    return *this;
  }
  constexpr Text& add(char character) {
    if (size_ + 1 < N) {
      characters_[size_++] = character;
      characters_[size_] = '\0';
    }
    return *this;
  }
  constexpr Text& add_decimal(u64 value) { return add_digits(value, 10, "0123456789"); }
  constexpr Text& add_hex(u64 value) { return add("0x").add_digits(value, 16, "0123456789abcdef"); }
  constexpr Text& add_upper_hex(u64 value) {
    return add("0x").add_digits(value, 16, "0123456789ABCDEF");
  }

  friend constexpr bool operator==(const Text& a, const char* b) {
    const char* c = a.characters_;
    while (*c != '\0' && *c == *b) ++c, ++b;
    return *c == *b;
  }

 private:
  constexpr Text& add_digits(u64 value, unsigned base, const char* digits) {
    char reversed[20] = {};
    unsigned count = 0;
    do {
      reversed[count++] = digits[value % base];
      value /= base;
    } while (value != 0);
    while (count != 0) add(reversed[--count]);
    return *this;
  }

  char characters_[N] = {};
  std::size_t size_ = 0;
};

/// `GPA:0x1abc`, and so for the other address types.
template <class Tag>
constexpr Text<32> to_text(Address<Tag> address) {
  return Text<32>().add(Tag::kName).add(':').add_hex(address.value());
}
/// `GPA:0x1ABC`.
template <class Tag>
constexpr Text<32> to_upper_text(Address<Tag> address) {
  return Text<32>().add(Tag::kName).add(':').add_upper_hex(address.value());
}
/// `GPA:0x1000..GPA:0x2000`.
template <class A>
constexpr Text<64> to_text(Range<A> range) {
  return Text<64>().add(to_text(range.start()).c_str()).add("..").add(to_text(range.end()).c_str());
}

}  // namespace nestwalk::addrspace
