// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Lines on the console, and the checks that they report.
#pragma once

#include "machine.hpp"

namespace nestwalk::baremetal {

void print(const char* text);
void print(u64 number);
template <class... Parts>
void print_line(Parts... parts) {
  (print(parts), ...);
  put('\n');
}

/// Prints what is wrong, and counts. Returns `fine`.
bool check(bool fine, const char* what);
/// The same for values, which are printed when they differ.
bool check_equal(u64 found, u64 expected, const char* what);

/// The last line, which says how many checks there were, and the exit status.
[[noreturn]] void finish();

}  // namespace nestwalk::baremetal
