// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the machine can do, as far as page tables and fences depend on it. A Hal reports it; the
// engine never writes an entry that the reported machine would refuse. The defaults are what every
// machine has: whatever is left out costs speed or is refused, and never goes wrong.
#pragma once

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/addrspace/extension/features.hpp"

namespace nestwalk::addrspace {

/// IA32_PAT after reset: WB, WT, UC-, UC, twice.
inline constexpr u64 kResetPat = 0x0007'0406'0007'0406;

struct Capabilities {
  u8 physical_bits = 32;              ///< x86 MAXPHYADDR; Arm PARange; RISC-V 56
  u8 leaf_levels = 0b0001;            ///< bit n: leaves at level n (EPT: VPID_CAP bits 16 and 17)
  u8 most_levels = 3;                 ///< EPT: VPID_CAP bit 7; RISC-V: the deepest mode of hgatp
  u8 vmid_bits = 0;                   ///< 16 with VPID; AMD's ASIDs; Arm: 8 or 16; RISC-V: VMIDLEN
  u8 granules = 0;                    ///< Arm: bit 0 for 4K, bit 1 for 16K, bit 2 for 64K
  u8 wide_granules = 0;               ///< Arm, the same: those with 52-bit descriptors
  bool execute_only = false;          ///< x86: IA32_VMX_EPT_VPID_CAP bit 0
  bool invept_single = false;         ///< x86: INVEPT of one context; without it, of all
  bool hardware_dirty = false;        ///< EPT A/D; Arm FEAT_HAFDBS; RISC-V Svadu
  bool page_memory_types = false;     ///< RISC-V Svpbmt; without it the platform decides
  bool napot_pages = false;           ///< RISC-V Svnapot: 16 pages may be one of 64 KiB
  bool caches_no_invalid = false;     ///< RISC-V Svvptc: an invalid entry is not cached for long
  bool flush_by_asid = false;         ///< AMD: TLB_CONTROL 3, of one ASID; without it, of all
  bool upper_bit_8_reserved = false;  ///< AMD: in PML4 and PML5 entries
  bool execute_disable = true;        ///< x86: EFER.NXE; without it, bit 63 is reserved
  bool tables_limit = true;           ///< Arm: APTable, UXNTable and PXNTable count (TCR_EL1.HPD)
  u8 encryption_bit = 0;              ///< AMD: the C-bit, where entries may have it; else 0
  const FenceFeature* fences = nullptr;  ///< null: none of them
  u64 host_pat = kResetPat;              ///< AMD: the host's IA32_PAT, which nested tables refer to

  friend constexpr bool operator==(const Capabilities&, const Capabilities&) = default;
};

/// x86: from the value of IA32_VMX_EPT_VPID_CAP and the MAXPHYADDR of CPUID 80000008H.
constexpr Capabilities capabilities_from_ept_vpid_cap(u64 ept_vpid_cap, u8 physical_bits) {
  const auto bit = [&](unsigned n) { return (ept_vpid_cap >> n & 1) != 0; };
  Capabilities found;
  found.physical_bits = physical_bits;
  found.leaf_levels = static_cast<u8>(0b001 | (bit(16) ? 0b010 : 0) | (bit(17) ? 0b100 : 0));
  found.most_levels = bit(7) ? 5 : 4;
  found.vmid_bits = bit(32) && (bit(41) || bit(42)) ? 16 : 0;  // INVVPID, of one context or all
  found.execute_only = bit(0);
  found.invept_single = bit(20) && bit(25);
  found.hardware_dirty = bit(21);
  return found;
}

/// AMD: what CPUID says.
struct SvmCpuid {
  u32 extended_features_edx = 0;    ///< 80000001H: 1 GiB pages in bit 26
  u32 sizes_eax = 0;                ///< 80000008H: physical address bits in 7:0
  u32 sizes_ebx = 0;                ///< INVLPGB in bit 3, of nested translations as well in bit 21
  u32 asids = 0;                    ///< 8000000AH EBX: how many there are, the host's 0 included
  u32 svm_edx = 0;                  ///< 8000000AH EDX: flush by ASID in bit 6
  u32 encryption_eax = 0;           ///< 8000001FH: SME in bit 0
  u32 encryption_ebx = 0;           ///< the C-bit in 5:0, by how much addresses get shorter in 11:6
  bool encryption_enabled = false;  ///< not of CPUID: SYSCFG (MSR C0010010H), bit 23
};

/// AMD: nested tables are the host's, with as many levels as it uses, and have dirty flags always.
constexpr Capabilities capabilities_from_svm(const SvmCpuid& cpuid, u8 host_levels, u64 host_pat) {
  const auto bit = [](u32 value, unsigned n) { return (value >> n & 1) != 0; };
  Capabilities found;
  found.physical_bits = static_cast<u8>(cpuid.sizes_eax & 0xff);
  // Whether software sets the C-bit or not ("Secure Memory Encryption", 7.10.1).
  if (bit(cpuid.encryption_eax, 0) && cpuid.encryption_enabled) {
    found.encryption_bit = static_cast<u8>(cpuid.encryption_ebx & 0x3f);
    const u32 lost = cpuid.encryption_ebx >> 6 & 0x3f;
    found.physical_bits = static_cast<u8>(found.physical_bits - lost);
  }
  found.leaf_levels = bit(cpuid.extended_features_edx, 26) ? 0b0111 : 0b0011;
  found.most_levels = host_levels;
  // Those below the largest power of two that there are.
  while (found.vmid_bits < 16 && cpuid.asids >> (found.vmid_bits + 1u) != 0) ++found.vmid_bits;
  found.hardware_dirty = true;
  found.upper_bit_8_reserved = true;
  found.flush_by_asid = bit(cpuid.svm_edx, 6);
  if (bit(cpuid.sizes_ebx, 3) && bit(cpuid.sizes_ebx, 21)) found.fences = &svm::kInvlpgbTlbsync;
  found.host_pat = host_pat;
  return found;
}

/// Arm: from ID_AA64MMFR0_EL1 (PARange, granules of stage 2) and ID_AA64MMFR1_EL1 (HAFDBS,
/// VMIDBits).
constexpr Capabilities capabilities_from_id_registers(u64 mmfr0, u64 mmfr1) {
  constexpr u8 kPhysicalBits[] = {32, 36, 40, 42, 44, 48, 52, 56};
  const auto field = [](u64 id, unsigned low) { return static_cast<unsigned>(id >> low & 0xf); };
  Capabilities found;
  found.physical_bits = kPhysicalBits[field(mmfr0, 0) & 7];
  found.leaf_levels = 0b1111;  // which levels hold blocks follows from granule and descriptors
  found.most_levels = 5;       // and how many there are, too
  found.hardware_dirty = field(mmfr1, 0) >= 2;
  found.vmid_bits = field(mmfr1, 4) >= 2 ? 16 : 8;

  // TGranX_2: 0 says "as stage 1", 1 no, 2 yes, 3 yes with 52 bits. For stage 1, TGran4 and TGran64
  // say 0 yes and 15 no, TGran16 0 no and 1 yes; TGran4 1 and TGran16 2 add the 52 bits.
  const auto granule = [&](unsigned n, unsigned stage2, bool stage1, bool stage1_wide) {
    const bool yes = stage2 == 0 ? stage1 : stage2 >= 2;
    const bool wide = stage2 == 0 ? stage1_wide : stage2 >= 3;
    found.granules = static_cast<u8>(found.granules | (yes ? 1u << n : 0));
    found.wide_granules = static_cast<u8>(found.wide_granules | (wide ? 1u << n : 0));
  };
  granule(0, field(mmfr0, 40), field(mmfr0, 28) <= 1, field(mmfr0, 28) == 1);
  granule(1, field(mmfr0, 32), field(mmfr0, 20) >= 1, field(mmfr0, 20) == 2);
  granule(2, field(mmfr0, 36), field(mmfr0, 24) == 0, false);
  // The 64K granule has 52 bits where the physical address has them (FEAT_LPA).
  if (found.physical_bits >= 52) {
    found.wide_granules = static_cast<u8>(found.wide_granules | (found.granules & 0b100));
  }
  return found;
}

/// RISC-V: `most_levels` is the deepest mode, and `vmid_bits` the VMID, that hgatp keeps when they
/// are written to it. The extensions (Svpbmt, Svnapot, Svadu, Svvptc) stand in the device tree:
/// set them.
constexpr Capabilities capabilities_from_hgatp(u8 most_levels, u8 vmid_bits) {
  Capabilities found;
  found.physical_bits = 56;
  found.leaf_levels = 0b11111;
  found.most_levels = most_levels;
  found.vmid_bits = vmid_bits;
  return found;
}

}  // namespace nestwalk::addrspace
