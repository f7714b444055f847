// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// FNV-1a of 128 bits (Fowler, Noll, Vo): tells contents apart that differ by chance, not on
// purpose.
#pragma once

#include <string>
#include <string_view>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::models {

class Digest {
 public:
  Digest& add(std::string_view bytes) {
    for (const char byte : bytes) {
      state_ = (state_ ^ static_cast<unsigned char>(byte)) * kPrime;
    }
    return *this;
  }

  /// 32 hexadecimal digits.
  std::string text() const {
    std::string text(32, '0');
    Wide left = state_;
    for (std::size_t n = text.size(); n-- != 0; left >>= 4) {
      text[n] = "0123456789abcdef"[static_cast<unsigned>(left & 15)];
    }
    return text;
  }

 private:
  __extension__ using Wide = unsigned __int128;
  static constexpr Wide kPrime = (Wide{1} << 88) + 0x13b;
  Wide state_ = Wide{0x6c62272e07bb0142} << 64 | 0x62b821756295c58d;
};

}  // namespace nestwalk::models
