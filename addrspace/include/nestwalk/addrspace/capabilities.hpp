// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the machine can do, as far as page tables and fences depend on it. A Hal reports it; the
// engine never writes an entry that the reported machine would refuse.
#pragma once

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::addrspace {

struct Capabilities {
  u8 physical_bits = 48;           ///< x86 MAXPHYADDR; Arm PARange; RISC-V 56
  u8 leaf_levels = 0b0111;         ///< bit n: leaves at level n (EPT: VPID_CAP bits 16 and 17)
  bool execute_only = true;        ///< x86: IA32_VMX_EPT_VPID_CAP bit 0
  bool hardware_dirty = false;     ///< EPT A/D; Arm FEAT_HAFDBS; RISC-V Svadu
  bool page_memory_types = true;   ///< RISC-V: Svpbmt
  bool wide_vmid = false;          ///< Arm FEAT_VMID16
  bool caches_no_invalid = false;  ///< RISC-V Svvptc: an invalid entry is not cached for long
};

/// x86: from the value of IA32_VMX_EPT_VPID_CAP and the MAXPHYADDR of CPUID 80000008H.
constexpr Capabilities capabilities_from_ept_vpid_cap(u64 ept_vpid_cap, u8 physical_bits) {
  const auto bit = [&](unsigned n) { return (ept_vpid_cap >> n & 1) != 0; };
  Capabilities found;
  found.physical_bits = physical_bits;
  found.leaf_levels = static_cast<u8>(0b001 | (bit(16) ? 0b010 : 0) | (bit(17) ? 0b100 : 0));
  found.execute_only = bit(0);
  found.hardware_dirty = bit(21);
  return found;
}

/// Arm: from ID_AA64MMFR0_EL1 (PARange) and ID_AA64MMFR1_EL1 (HAFDBS, VMIDBits).
constexpr Capabilities capabilities_from_id_registers(u64 mmfr0, u64 mmfr1) {
  constexpr u8 kPhysicalBits[] = {32, 36, 40, 42, 44, 48, 52, 56};
  Capabilities found;
  const u64 range = mmfr0 & 0xf;
  found.physical_bits = kPhysicalBits[range < 8 ? range : 7];
  found.leaf_levels = 0b1111;  // which levels hold blocks follows from granule and descriptors
  found.hardware_dirty = (mmfr1 & 0xf) >= 2;
  found.wide_vmid = (mmfr1 >> 4 & 0xf) >= 2;
  return found;
}

}  // namespace nestwalk::addrspace
