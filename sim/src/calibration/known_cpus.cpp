// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/known_cpus.hpp"

namespace nestwalk::sim {
namespace {

/// By what CPUID says, as /proc/cpuinfo has it; the first row that fits. Models of AMD's family 25
/// from 0x10 and from 0x60 on are Zen 4, the others Zen 3 (Linux, arch/x86/kernel/cpu/amd.c).
constexpr struct {
  const char* vendor;
  u64 family, least_model, most_model;
  const char* preset;
} kRows[] = {
    {"AuthenticAMD", 25, 0x10, 0x1f, "zen4"},
    {"AuthenticAMD", 25, 0x60, 0xaf, "zen4"},
    {"AuthenticAMD", 25, 0x00, 0xff, "zen3"},
    {"AuthenticAMD", 26, 0x00, 0xff, "zen4"},
    {"GenuineIntel", 6, 0x55, 0x55, "skylake-sp"},
    {"GenuineIntel", 6, 0x6a, 0x6a, "ice-lake-sp"},
    {"GenuineIntel", 6, 0x6c, 0x6c, "ice-lake-sp"},
    {"GenuineIntel", 6, 0x8f, 0x8f, "sapphire-rapids"},
    {"GenuineIntel", 6, 0xcf, 0xcf, "sapphire-rapids"},
};

}  // namespace

std::optional<std::string> preset_like(const MeasuredMachine& machine) {
  for (const auto& row : kRows) {
    if (machine.vendor == row.vendor && machine.family == row.family &&
        machine.model >= row.least_model && machine.model <= row.most_model) {
      return row.preset;
    }
  }
  return std::nullopt;
}

}  // namespace nestwalk::sim
