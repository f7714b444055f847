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

using Target = vmx::Extension;

namespace detail {
struct InvalidationDescriptor {
  u64 first;
  u64 second;
};
// "VMfail" shows in CF or ZF: a type that the processor lacks, or an invalid descriptor.
inline bool invept(u64 type, const InvalidationDescriptor& what) {
  bool failed;
  asm volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(what), "r"(type) : "memory");
  return !failed;
}
inline bool invvpid(u64 type, const InvalidationDescriptor& what) {
  bool failed;
  asm volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(what), "r"(type) : "memory");
  return !failed;
}
inline constexpr u64 kSingleContext = 1;
inline constexpr u64 kAllContexts = 2;

// A fence that did not happen must not look like one: what is wider does instead, or nothing goes
// on.
inline void invept_or_trap(u64 type, u64 eptp) {
  if (!invept(type, {eptp, 0}) && !invept(kAllContexts, {0, 0})) __builtin_trap();
}
inline void invvpid_or_trap(u64 type, u64 vpid) {
  if (!invvpid(type, {vpid, 0}) && !invvpid(kAllContexts, {0, 0})) __builtin_trap();
}
}  // namespace detail

inline void execute(const Fence& fence) {
  u64 cr3 = 0;
  if (fence.op == vmx::kInveptSingle) {
    return detail::invept_or_trap(detail::kSingleContext, fence.operand);
  }
  if (fence.op == vmx::kInveptAll) {
    return detail::invept_or_trap(detail::kAllContexts, 0);
  }
  if (fence.op == vmx::kInvvpidSingle) {
    return detail::invvpid_or_trap(detail::kSingleContext, fence.operand);
  }
  if (fence.op == vmx::kInvvpidAll) {
    return detail::invvpid_or_trap(detail::kAllContexts, 0);
  }
  if (fence.op == vmx::kInvlpg) {
    asm volatile("invlpg (%0)" : : "r"(fence.operand) : "memory");
    return;
  }
  if (fence.op == vmx::kMovCr3) {
    asm volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "+r"(cr3) : : "memory");
    return;
  }
  __builtin_trap();  // a fence of another architecture
}

#elif defined(__aarch64__)

using Target = stage2::Extension;

inline void execute(const Fence& fence) {
  if (fence.op == stage2::kDsbIshst) {
    asm volatile("dsb ishst" : : : "memory");
    return;
  }
  if (fence.op == stage2::kDsbIsh) {
    asm volatile("dsb ish" : : : "memory");
    return;
  }
  if (fence.op == stage2::kDsbSy) {
    asm volatile("dsb sy" : : : "memory");
    return;
  }
  if (fence.op == stage2::kIsb) {
    asm volatile("isb" : : : "memory");
    return;
  }
  if (fence.op == stage2::kIpas2e1.is) {
    asm volatile("tlbi ipas2e1is, %0" : : "r"(fence.operand) : "memory");
    return;
  }
  if (fence.op == stage2::kIpas2le1.is) {
    asm volatile("tlbi ipas2le1is, %0" : : "r"(fence.operand) : "memory");
    return;
  }
  // By their encodings: assemblers want FEAT_TLBIRANGE named.
  if (fence.op == stage2::kRipas2e1.is) {
    asm volatile("sys #4, c8, c0, #2, %0" : : "r"(fence.operand) : "memory");
    return;
  }
  if (fence.op == stage2::kRipas2le1.is) {
    asm volatile("sys #4, c8, c0, #6, %0" : : "r"(fence.operand) : "memory");
    return;
  }
  if (fence.op == stage2::kVmalle1.is) {
    asm volatile("tlbi vmalle1is" : : : "memory");
    return;
  }
  if (fence.op == stage2::kVmalls12e1.is) {
    asm volatile("tlbi vmalls12e1is" : : : "memory");
    return;
  }
  if (fence.op == stage2::kIpas2e1.local) {
    asm volatile("tlbi ipas2e1, %0" : : "r"(fence.operand) : "memory");
    return;
  }
  if (fence.op == stage2::kIpas2le1.local) {
    asm volatile("tlbi ipas2le1, %0" : : "r"(fence.operand) : "memory");
    return;
  }
  if (fence.op == stage2::kVmalle1.local) {
    asm volatile("tlbi vmalle1" : : : "memory");
    return;
  }
  if (fence.op == stage2::kVmalls12e1.local) {
    asm volatile("tlbi vmalls12e1" : : : "memory");
    return;
  }
  if (fence.op == stage2::kAlle1.is) {
    asm volatile("tlbi alle1is" : : : "memory");
    return;
  }
  if (fence.op == stage2::kVae2.is) {
    asm volatile("tlbi vae2is, %0" : : "r"(fence.operand) : "memory");
    return;
  }
  if (fence.op == stage2::kAlle2.is) {
    asm volatile("tlbi alle2is" : : : "memory");
    return;
  }
  __builtin_trap();
}

#elif defined(__riscv)

using Target = hext::Extension;

// By their encodings: assemblers want the extensions H and Svinval named.
inline void execute(const Fence& fence) {
  const u64 vmid = fence.vmid;
  if (fence.op == hext::kGvmaAddressVmid.at_once) {
    asm volatile(".insn r 0x73, 0, 0x31, x0, %0, %1" : : "r"(fence.operand), "r"(vmid) : "memory");
    return;
  }
  if (fence.op == hext::kGvmaVmid.at_once) {
    asm volatile(".insn r 0x73, 0, 0x31, x0, x0, %0" : : "r"(vmid) : "memory");
    return;
  }
  if (fence.op == hext::kGvmaAll.at_once) {
    asm volatile(".insn r 0x73, 0, 0x31, x0, x0, x0" : : : "memory");
    return;
  }
  if (fence.op == hext::kVvmaAll.at_once) {
    asm volatile(".insn r 0x73, 0, 0x11, x0, x0, x0" : : : "memory");
    return;
  }
  if (fence.op == hext::kSfenceWInval) {
    asm volatile(".insn r 0x73, 0, 0x0c, x0, x0, x0" : : : "memory");
    return;
  }
  if (fence.op == hext::kGvmaAddressVmid.posted) {
    asm volatile(".insn r 0x73, 0, 0x33, x0, %0, %1" : : "r"(fence.operand), "r"(vmid) : "memory");
    return;
  }
  if (fence.op == hext::kGvmaVmid.posted) {
    asm volatile(".insn r 0x73, 0, 0x33, x0, x0, %0" : : "r"(vmid) : "memory");
    return;
  }
  if (fence.op == hext::kGvmaAll.posted) {
    asm volatile(".insn r 0x73, 0, 0x33, x0, x0, x0" : : : "memory");
    return;
  }
  if (fence.op == hext::kVvmaAll.posted) {
    asm volatile(".insn r 0x73, 0, 0x13, x0, x0, x0" : : : "memory");
    return;
  }
  if (fence.op == hext::kSfenceInvalIr) {
    asm volatile(".insn r 0x73, 0, 0x0c, x0, x0, x1" : : : "memory");
    return;
  }
  __builtin_trap();
}

#endif

#if defined(__x86_64__) || defined(__aarch64__) || defined(__riscv)

/// TLBI acts on the VMID that VTTBR_EL2 holds, HFENCE.VVMA on that of hgatp: while this lives, that
/// is the VM's, and no interrupt can find it so. (A hypervisor with HCR_EL2.E2H = 1 clears
/// HCR_EL2.TGE around it, or TLBI would mean the host's own regime.) INVEPT names its VM.
class VmSelected {
 public:
#if defined(__aarch64__)
  explicit VmSelected(const VmTag& tag) {
    asm volatile("mrs %0, daif\n\tmsr daifset, #3" : "=r"(interrupts_) : : "memory");
    asm volatile("mrs %0, vttbr_el2\n\tmrs %1, vtcr_el2" : "=r"(root_), "=r"(control_));
    switched_ = root_ != tag.root_register || control_ != tag.control_register;
    if (switched_) select(tag.root_register, tag.control_register);
  }
  ~VmSelected() {
    if (switched_) select(root_, control_);
    asm volatile("msr daif, %0" : : "r"(interrupts_) : "memory");
  }

 private:
  void select(u64 root, u64 control) const {
    asm volatile("msr vtcr_el2, %0\n\tmsr vttbr_el2, %1\n\tisb"
                 :
                 : "r"(control), "r"(root)
                 : "memory");
  }
  u64 interrupts_ = 0;
  u64 root_ = 0;
  u64 control_ = 0;
  bool switched_ = false;
#elif defined(__riscv)
  explicit VmSelected(const VmTag& tag) {
    asm volatile("csrrci %0, sstatus, 2" : "=r"(status_) : : "memory");  // SIE
    // vsatp first: whoever's tables it names must not be walked under this VMID.
    asm volatile("csrrw %0, 0x280, x0" : "=r"(guest_root_) : : "memory");
    asm volatile("csrrw %0, 0x680, %1" : "=r"(root_) : "r"(tag.root_register) : "memory");
  }
  ~VmSelected() {
    asm volatile("csrw 0x680, %0" : : "r"(root_) : "memory");
    asm volatile("csrw 0x280, %0" : : "r"(guest_root_) : "memory");
    asm volatile("csrs sstatus, %0" : : "r"(status_ & 2) : "memory");
  }

 private:
  u64 status_ = 0;
  u64 guest_root_ = 0;
  u64 root_ = 0;
#else
  explicit VmSelected(const VmTag&) {}
#endif

 public:
  VmSelected(const VmSelected&) = delete;
  VmSelected& operator=(const VmSelected&) = delete;
};

/// Carries out on this processor what a policy demands: the body of a Hal's `invalidate`. Traps on
/// the fences of axaddrspace, which are there to be compared and not to be run.
inline void execute_fences(const FencePolicy& policy, const Capabilities& machine,
                           const Invalidation<Gpa>& change) {
  if (policy.is_original()) __builtin_trap();
  const auto run = [&] {
    emit_fences<Target>(policy, machine, change, [](const Fence& fence) { execute(fence); });
  };
#if defined(__aarch64__)
  if (stage2::needs_tlbi(change)) {
    const VmSelected selected(change.tag());
    return run();
  }
#endif
  run();
}

namespace detail {

inline void execute_for(const VmTag& tag, const Fence& fence) {
  if (!selects_vm(fence.op)) return execute(fence);
  const VmSelected selected(tag);
  execute(fence);
}

}  // namespace detail

/// Carries out on this processor what must come before the VM's VMID, VPID or root is used again:
/// with the tag of `AddressSpace::tag()`, before the space is destroyed. By then the VM's root is
/// in no processor's register any more, or it would be walked again.
inline void execute_retirement(const Capabilities& machine, const VmTag& tag) {
  emit_retirement<Target>(machine, tag,
                          [&](const Fence& fence) { detail::execute_for(tag, fence); });
}

/// Carries out on this processor what must come when VMIDs are taken back.
inline void execute_rollover(const Capabilities& machine) {
  emit_rollover<Target>(machine, [](const Fence& fence) { execute(fence); });
}
/// And before it runs a VM under one of them again.
inline void execute_first_entry(const VmTag& tag) {
  emit_first_entry<Target>(tag, [&](const Fence& fence) { detail::execute_for(tag, fence); });
}
/// And before it runs another virtual processor of a VM than last, under the same VMID.
inline void execute_vcpu_switch(const Capabilities& machine, const VmTag& tag) {
  emit_vcpu_switch<Target>(machine, tag,
                           [&](const Fence& fence) { detail::execute_for(tag, fence); });
}

#endif

}  // namespace nestwalk::addrspace
