// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Divides by a number that is known from the start, with one multiplication: the host takes tens of
// cycles for a division. Exact for numbers below 2^64 / divisor (Granlund, Montgomery: "Division by
// Invariant Integers using Multiplication").
#pragma once

#include "nestwalk/models/time.hpp"

namespace nestwalk::models {

class Divisor {
 public:
  explicit Divisor(u64 value)
      : value_(value), reciprocal_(value > 1 ? ~u64{0} / value + 1 : 0), most_(~u64{0} / value) {}
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
  u64 most_;
};

}  // namespace nestwalk::models
