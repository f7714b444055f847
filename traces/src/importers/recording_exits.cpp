// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "importers/recording_exits.hpp"

namespace nestwalk::traces::recording {
namespace {

// Numbers of STREAM.md.
enum Register : u64 { kExitCode = 48, kExitInfo1, kExitInfo2, kScause, kHtval, kHtinst };

using State = std::unordered_map<u64, u64>;

u64 value_of(const State& state, u64 code) {
  const auto found = state.find(code);
  return found == state.end() ? 0 : found->second;
}

// AMD APM volume 2, appendix C: of a nested page fault, EXITINFO2 is the address.
VmExit x86_exit(const State& state) {
  constexpr u64 kNestedPageFault = 0x400;
  VmExit exit{value_of(state, kExitCode), value_of(state, kExitInfo1), {}};
  if (exit.reason == kNestedPageFault) exit.gpa = Gpa(value_of(state, kExitInfo2));
  return exit;
}

// Privileged manual, "Trap Cause Codes": guest-page faults of fetch, load and store. htval is the
// address, shifted by two.
VmExit riscv_exit(const State& state) {
  VmExit exit{value_of(state, kScause), value_of(state, kHtinst), {}};
  if (exit.reason == 20 || exit.reason == 21 || exit.reason == 23) {
    exit.gpa = Gpa(value_of(state, kHtval) << 2);
  }
  return exit;
}

}  // namespace

VmExit vm_exit(Architecture architecture, const State& state) {
  switch (architecture) {
    case Architecture::X86_64:
      return x86_exit(state);
    case Architecture::RiscV64:
      return riscv_exit(state);
    default:
      return {};  // QEMU does not tell
  }
}

}  // namespace nestwalk::traces::recording
