// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the processor that this is compiled for can do, read from its registers: privileged (ring 0,
// EL2, HS-mode), so only a hypervisor calls it.
#pragma once

#include "nestwalk/addrspace/capabilities.hpp"

namespace nestwalk::addrspace {

#if defined(__x86_64__)

inline Capabilities this_machine() {
  constexpr u32 kEptVpidCap = 0x48c;         // IA32_VMX_EPT_VPID_CAP
  constexpr u32 kAddressSizes = 0x80000008;  // CPUID: MAXPHYADDR in EAX[7:0]
  u32 low, high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(kEptVpidCap));
  u32 eax = kAddressSizes, ebx, ecx = 0, edx;
  asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return capabilities_from_ept_vpid_cap(u64{high} << 32 | low, static_cast<u8>(eax & 0xff));
}

namespace svm {
/// Of AMD: from CPUID, IA32_PAT, SYSCFG, and CR4.LA57 as the host has it by now.
inline Capabilities this_machine() {
  struct Leaf {
    u32 eax, ebx, ecx, edx;
  };
  const auto cpuid = [](u32 number) {
    Leaf leaf{number, 0, 0, 0};
    asm volatile("cpuid" : "+a"(leaf.eax), "=b"(leaf.ebx), "+c"(leaf.ecx), "=d"(leaf.edx));
    return leaf;
  };
  const auto read_msr = [](u32 number) {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return u64{high} << 32 | low;
  };
  constexpr u32 kPat = 0x277, kSyscfg = 0xc001'0010, kEncryption = 0x8000'001f;
  u64 cr4;
  asm volatile("mov %%cr4, %0" : "=r"(cr4));
  const Leaf sizes = cpuid(0x8000'0008), virtualization = cpuid(0x8000'000a);
  Leaf encryption{};
  if (cpuid(0x8000'0000).eax >= kEncryption) encryption = cpuid(kEncryption);
  const bool may_encrypt = (encryption.eax & 1) != 0;
  const SvmCpuid found{.extended_features_edx = cpuid(0x8000'0001).edx,
                       .sizes_eax = sizes.eax,
                       .sizes_ebx = sizes.ebx,
                       .asids = virtualization.ebx,
                       .svm_edx = virtualization.edx,
                       .encryption_eax = encryption.eax,
                       .encryption_ebx = encryption.ebx,
                       .encryption_enabled = may_encrypt && (read_msr(kSyscfg) >> 23 & 1) != 0};
  const bool five_levels = (cr4 >> 12 & 1) != 0;
  return capabilities_from_svm(found, five_levels ? 5 : 4, read_msr(kPat));
}
}  // namespace svm

#elif defined(__aarch64__)

inline Capabilities this_machine() {
  u64 mmfr0, mmfr1;
  asm volatile("mrs %0, id_aa64mmfr0_el1" : "=r"(mmfr0));
  asm volatile("mrs %0, id_aa64mmfr1_el1" : "=r"(mmfr1));
  return capabilities_from_id_registers(mmfr0, mmfr1);
}

#elif defined(__riscv)

/// Call it while no guest may run: hgatp is written, and put back. It keeps of MODE and VMID what
/// exists, and something legal otherwise. The extensions (Svpbmt, Svadu, Svvptc) are in the device
/// tree: set them in what this returns.
inline Capabilities this_machine() {
  constexpr u64 kVmid = u64{0x3fff} << 44;
  const auto keeps = [](u64 wanted) {
    u64 kept;
    asm volatile("csrw 0x680, %1\n\tcsrr %0, 0x680" : "=r"(kept) : "r"(wanted) : "memory");
    return kept;
  };
  u64 before, status;
  asm volatile("csrrci %0, sstatus, 2" : "=r"(status) : : "memory");  // SIE
  asm volatile("csrrw %0, 0x680, x0" : "=r"(before) : : "memory");
  u8 levels = 0;
  u64 kept = 0;
  for (u8 tried = 3; tried <= 5; ++tried) {  // MODE 8 is Sv39x4
    const u64 wanted = u64{tried} + 5;
    if (const u64 found = keeps(wanted << 60 | kVmid); found >> 60 == wanted) {
      levels = tried;
      kept = found;
    }
  }
  asm volatile("csrw 0x680, %0" : : "r"(before) : "memory");
  // A walk may have been tried under each of those: hfence.gvma x0, x0.
  asm volatile(".insn r 0x73, 0, 0x31, x0, x0, x0" : : : "memory");
  asm volatile("csrs sstatus, %0" : : "r"(status & 2) : "memory");
  u8 vmid_bits = 0;
  while ((kept & kVmid) >> (44 + vmid_bits) != 0) ++vmid_bits;
  return capabilities_from_hgatp(levels, vmid_bits);
}

#endif

}  // namespace nestwalk::addrspace
