// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Time inside the models: core cycles, counted from 0. SystemC's sc_time exists at sockets only.
#pragma once

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::models {

using addrspace::u16;
using addrspace::u32;
using addrspace::u64;
using addrspace::u8;

using Cycle = u64;
inline constexpr Cycle kNever = ~Cycle{0};

/// How long a cycle is.
struct ClockRate {
  u32 mhz = 1000;

  /// The nearest number of cycles.
  constexpr Cycle cycles(u64 picoseconds) const {
    return (picoseconds * mhz + 500'000) / 1'000'000;
  }
  constexpr double nanoseconds(double cycles) const { return cycles * 1000 / mhz; }
};

}  // namespace nestwalk::models
