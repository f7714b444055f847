// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Checks for what must never be: a broken one ends the simulation and says when and where.
#pragma once

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {

[[noreturn]] void check_failed(const char* module, const char* expected, Cycle now, u64 state);

/// `state` is the number that helps most to find the cause: an address, an index, a count.
inline void check(bool holds, const char* module, const char* expected, Cycle now, u64 state) {
  if (!holds) [[unlikely]]
    check_failed(module, expected, now, state);
}

}  // namespace nestwalk::models
