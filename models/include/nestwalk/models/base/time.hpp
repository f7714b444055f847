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

}  // namespace nestwalk::models
