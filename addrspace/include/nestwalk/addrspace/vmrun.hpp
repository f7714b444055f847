// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AMD-V's fences on a real machine: instructions, and what is left to the next VMRUN.
//
// VMRUN flushes what the TLB_CONTROL of its VMCB says (byte 05Ch). That is a field, not an
// instruction, and nobody but the hypervisor writes it: a TlbControl gathers what it has to say.
// There is one for each VM and each processor that ran it, not for each VMCB, since what has to go
// is in the processor:
//
//   void invalidate(const Invalidation<Gpa>& change) {
//     for each processor that ran the VM:
//       svm::execute_fences(policy, machine, change, controls[processor]);
//     send an interrupt to each processor that is in the guest, and wait for its #VMEXIT
//   }
//   ... on the way in, on a processor:
//   CLGI
//   vmcb.tlb_control = controls[processor].take();
//   VMRUN
//
// What is requested while the guest runs is for the VMRUN after, and what is requested after `take`
// comes with a kick, which CLGI holds back until the guest runs and can be kicked out.
// After `invalidate` no processor is in the guest that did not flush, so memory may be given back
// (outside of guests, the current ASID is 0). With INVLPGB, which broadcasts, nothing is left for
// VMRUN, and it is enough to call it once.
#pragma once

#include "nestwalk/addrspace/fence.hpp"

namespace nestwalk::addrspace::svm {

/// Any processor requests; the one that it is of takes.
class TlbControl {
 public:
  /// Notes what VMRUN does. False if the fence is an instruction.
  [[nodiscard]] bool request(const Fence& fence) {
    for (const Row& row : kRows) {
      if (fence.op != row.op) continue;
      u8 before = __atomic_load_n(&value_, __ATOMIC_RELAXED);
      while (width(row.value) > width(before) &&
             !__atomic_compare_exchange_n(&value_, &before, row.value, false, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED)) {
      }
      return true;
    }
    return false;
  }
  /// What belongs into the VMCB of the VMRUN that comes now: the widest of what was requested since
  /// the last one. The processor does not clear the field.
  [[nodiscard]] u8 take() { return __atomic_exchange_n(&value_, u8{0}, __ATOMIC_ACQUIRE); }

 private:
  struct Row {
    FenceOp op;
    u8 value;
  };
  static constexpr Row kRows[] = {{kVmrunAll, 1}, {kVmrunAsid, 3}, {kVmrunAsidKeepGlobals, 7}};
  // 1 is of all ASIDs, 3 of the guest's, 7 of its pages that are not global, 0 of nothing.
  static constexpr unsigned width(u8 value) { return value == 0 ? 0 : 8u - value; }

  u8 value_ = 0;
};

#if defined(__x86_64__)

/// The instructions, by their encodings: assemblers do not know all of them.
inline void execute(const Fence& fence) {
  if (fence.op == kInvlpgbNested || fence.op == kInvlpgb) {
    constexpr u64 kAsid = 4, kGlobal = 8, kNested = 32;
    const u64 what = kAsid | kGlobal | (fence.op == kInvlpgbNested ? kNested : 0);
    asm volatile(".byte 0x0f, 0x01, 0xfe"
                 :
                 : "a"(what), "c"(u32{0}), "d"(static_cast<u32>(fence.operand))
                 : "memory");
    return;
  }
  if (fence.op == kTlbsync) {
    asm volatile(".byte 0x0f, 0x01, 0xff" : : : "memory");
    return;
  }
  if (fence.op == kInvlpga) {
    asm volatile(".byte 0x0f, 0x01, 0xdf" : : "a"(fence.operand), "c"(u32{fence.vmid}) : "memory");
    return;
  }
  __builtin_trap();  // a fence of another extension, or one of VMRUN
}

/// Carries out on this processor what a policy demands, or notes it for the next VMRUN there. Traps
/// on the fences of axaddrspace, which are there to be compared and not to be run.
inline void execute_fences(const FencePolicy& policy, const Capabilities& machine,
                           const Invalidation<Gpa>& change, TlbControl& next) {
  if (policy.is_original()) __builtin_trap();
  emit_fences<Extension>(policy, machine, change, [&](const Fence& fence) {
    if (!next.request(fence)) svm::execute(fence);
  });
}
/// What must come before a VM's ASID is used again: `next` is of the VM that gets it.
inline void execute_retirement(const Capabilities& machine, const VmTag& tag, TlbControl& next) {
  emit_retirement<Extension>(machine, tag, [&](const Fence& fence) {
    if (!next.request(fence)) svm::execute(fence);
  });
}
/// What must come when ASIDs are taken back.
inline void execute_rollover(const Capabilities& machine, TlbControl& next) {
  emit_rollover<Extension>(machine, [&](const Fence& fence) {
    if (!next.request(fence)) svm::execute(fence);
  });
}
/// What must come before another virtual processor of a VM than last runs under the same ASID.
inline void execute_vcpu_switch(const Capabilities& machine, const VmTag& tag, TlbControl& next) {
  emit_vcpu_switch<Extension>(machine, tag, [&](const Fence& fence) {
    if (!next.request(fence)) svm::execute(fence);
  });
}

#endif

}  // namespace nestwalk::addrspace::svm
