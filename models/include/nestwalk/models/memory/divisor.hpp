// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Divides by a number that is known from the start. Up to 2^64 / divisor that is one multiplication
// (Granlund, Montgomery: "Division by Invariant Integers using Multiplication"); the host takes
// tens of cycles for a division.
#pragma once

#include "nestwalk/models/base/check.hpp"

namespace nestwalk::models {

class Divisor {
 public:
  explicit Divisor(u64 value)
      : value_(value),
        reciprocal_(value > 1 ? ~u64{0} / value + 1 : 0),
        most_(value > 0 ? ~u64{0} / value : 0) {
    check(value != 0, "divisor", "another number than 0", 0, value);
  }
  u64 value() const { return value_; }
  struct Parts {
    u64 quotient;
    u64 remainder;
  };
  Parts divide(u64 number) const {
    __extension__ using Wide = unsigned __int128;
    if (value_ == 1) return {number, 0};
    if (number > most_) [[unlikely]]
      return {number / value_, number % value_};
    const u64 quotient = static_cast<u64>(static_cast<Wide>(number) * reciprocal_ >> 64);
    return {quotient, number - quotient * value_};
  }

 private:
  u64 value_;
  u64 reciprocal_;
  u64 most_;  ///< that is multiplied
};

}  // namespace nestwalk::models
