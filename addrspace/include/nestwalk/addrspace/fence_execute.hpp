// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fences as real instructions of the machine that this is compiled for. They are privileged (VMX
// root, EL2, HS-mode), so only a hypervisor calls this.
//
// Each instruction clobbers memory: the compiler may not move a table store across it.
#pragma once

#include "nestwalk/addrspace/fence.hpp"

namespace nestwalk::addrspace {

#if defined(__x86_64__)

inline constexpr Architecture kTarget = Architecture::X86_64;

namespace detail {
inline void invept(u64 type, u64 eptp) {
  const struct {
    u64 eptp;
    u64 reserved;
  } descriptor{eptp, 0};
  asm volatile("invept %0, %1" : : "m"(descriptor), "r"(type) : "cc", "memory");
}
}  // namespace detail

inline void execute(const Fence& fence) {
  u64 cr3 = 0;
  switch (fence.op) {
    case FenceOp::InveptSingle:
      return detail::invept(1, fence.operand);
    case FenceOp::InveptAll:
      return detail::invept(2, 0);
    case FenceOp::Invlpg:
      asm volatile("invlpg (%0)" : : "r"(fence.operand) : "memory");
      return;
    case FenceOp::MovCr3:
      asm volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "+r"(cr3) : : "memory");
      return;
    default:
      __builtin_trap();  // a fence of another architecture
  }
}

#elif defined(__aarch64__)

inline constexpr Architecture kTarget = Architecture::AArch64;

inline void execute(const Fence& fence) {
  switch (fence.op) {
    case FenceOp::DsbIshst:
      asm volatile("dsb ishst" : : : "memory");
      return;
    case FenceOp::DsbIsh:
      asm volatile("dsb ish" : : : "memory");
      return;
    case FenceOp::DsbSy:
      asm volatile("dsb sy" : : : "memory");
      return;
    case FenceOp::Isb:
      asm volatile("isb" : : : "memory");
      return;
    case FenceOp::TlbiIpas2e1is:
      asm volatile("tlbi ipas2e1is, %0" : : "r"(fence.operand) : "memory");
      return;
    case FenceOp::TlbiIpas2le1is:
      asm volatile("tlbi ipas2le1is, %0" : : "r"(fence.operand) : "memory");
      return;
    case FenceOp::TlbiVmalle1is:
      asm volatile("tlbi vmalle1is" : : : "memory");
      return;
    case FenceOp::TlbiVmalls12e1is:
      asm volatile("tlbi vmalls12e1is" : : : "memory");
      return;
    case FenceOp::TlbiVae2is:
      asm volatile("tlbi vae2is, %0" : : "r"(fence.operand) : "memory");
      return;
    case FenceOp::TlbiAlle2is:
      asm volatile("tlbi alle2is" : : : "memory");
      return;
    default:
      __builtin_trap();
  }
}

#elif defined(__riscv)

inline constexpr Architecture kTarget = Architecture::RiscV64;

// hfence.gvma and hfence.vvma by their encodings: assemblers want the H extension named.
inline void execute(const Fence& fence) {
  const u64 vmid = fence.vmid;
  switch (fence.op) {
    case FenceOp::HfenceGvmaAddress:
      asm volatile(".insn r 0x73, 0, 0x31, x0, %0, %1"
                   :
                   : "r"(fence.operand), "r"(vmid)
                   : "memory");
      return;
    case FenceOp::HfenceGvmaVmid:
      asm volatile(".insn r 0x73, 0, 0x31, x0, x0, %0" : : "r"(vmid) : "memory");
      return;
    case FenceOp::HfenceGvmaAll:
      asm volatile(".insn r 0x73, 0, 0x31, x0, x0, x0" : : : "memory");
      return;
    case FenceOp::HfenceVvmaAll:
      asm volatile(".insn r 0x73, 0, 0x11, x0, x0, x0" : : : "memory");
      return;
    default:
      __builtin_trap();
  }
}

#endif

#if defined(__x86_64__) || defined(__aarch64__) || defined(__riscv)

/// TLBI acts on the VMID that VTTBR_EL2 holds: while this lives, that is the VM's. (A hypervisor
/// with HCR_EL2.E2H = 1 clears HCR_EL2.TGE around it, or TLBI would mean the host's own regime.)
class VmSelected {
 public:
#if defined(__aarch64__)
  explicit VmSelected(const VmTag& tag) {
    asm volatile("mrs %0, vttbr_el2" : "=r"(previous_));
    switched_ = previous_ != tag.root_register;
    if (switched_) select(tag.root_register);
  }
  ~VmSelected() {
    if (switched_) select(previous_);
  }

 private:
  static void select(u64 vttbr) {
    asm volatile("msr vttbr_el2, %0\n\tisb" : : "r"(vttbr) : "memory");
  }
  u64 previous_ = 0;
  bool switched_ = false;
#else
  explicit VmSelected(const VmTag&) {}
#endif

 public:
  VmSelected(const VmSelected&) = delete;
  VmSelected& operator=(const VmSelected&) = delete;
};

/// Carries out on this processor what a policy demands: the body of a Hal's `invalidate`.
inline void execute_fences(FencePolicy policy, const Capabilities& machine,
                           const Invalidation<Gpa>& change) {
  const VmSelected selected(change.tag());
  emit_fences(kTarget, policy, machine, change, [](const Fence& fence) { execute(fence); });
}

#endif

}  // namespace nestwalk::addrspace
