// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace nestwalk::models {

void check_failed(const char* module, const char* expected, Cycle now, u64 state) {
  std::fprintf(stderr, "nestwalk: %s: expected %s; cycle %llu, state %#llx\n", module, expected,
               static_cast<unsigned long long>(now), static_cast<unsigned long long>(state));
  std::abort();
}

}  // namespace nestwalk::models
