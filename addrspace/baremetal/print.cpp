// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "print.hpp"

namespace nestwalk::baremetal {
namespace {
u64 checks, failures;
}

void print(const char* text) {
  while (*text != 0) put(*text++);
}

void print(u64 number) { print(Text<32>().add_hex(number).c_str()); }

bool check(bool fine, const char* what) {
  ++checks;
  if (!fine) {
    ++failures;
    print_line("FAILED: ", what);
  }
  return fine;
}

bool check_equal(u64 found, u64 expected, const char* what) {
  if (check(found == expected, what)) return true;
  print_line("  found ", found, ", expected ", expected);
  return false;
}

void finish() {
  const bool success = checks != 0 && failures == 0;
  print_line(kMachineName, ": ", Text<32>().add_decimal(checks).c_str(), " checks, ",
             Text<32>().add_decimal(failures).c_str(), " failed");
  stop(success);
}

/// An exception in the hypervisor itself: cause, address of the instruction, address of the access.
extern "C" [[noreturn]] void unexpected_trap(u64 cause, u64 pc, u64 address);
void unexpected_trap(u64 cause, u64 pc, u64 address) {
  print_line("unexpected trap: cause ", cause, ", instruction at ", pc, ", address ", address);
  check(false, "no exception in the hypervisor");
  finish();
}

}  // namespace nestwalk::baremetal
