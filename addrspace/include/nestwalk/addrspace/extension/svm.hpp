// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AMD-V with nested paging: what VMRUN flushes, INVLPGA, INVLPGB and TLBSYNC (AMD APM vol. 2, 15.16
// "TLB Control"; vol. 3 for the instructions).
//
// Whatever is cached for a guest has its ASID. No instruction takes a guest-physical address: a
// change that takes something away flushes the ASID. That is done by VMRUN, as the VMCB's
// TLB_CONTROL says, on each processor before it runs the guest again; or by INVLPGB everywhere,
// where the machine has it. Nothing for new entries, which are not cached while not present, nor
// for more permission: before it faults, the processor drops what is cached and walks the tables
// again (5.5.3 "TLB Management", "Invalidation of Table Entry Upgrades" and "Use of Cached Entries
// When Reporting a Page Fault Exception").
#pragma once

#include "nestwalk/addrspace/extension/emit.hpp"
#include "nestwalk/addrspace/extension/x86_64.hpp"

namespace nestwalk::addrspace::svm {

inline constexpr FenceCost kVmrunAsidCost{"vmrun_flush_asid", FenceCost::Like::Local};
inline constexpr FenceCost kVmrunAllCost{"vmrun_flush_all", FenceCost::Like::Local};
inline constexpr FenceCost kInvlpgaCost{"invlpga", FenceCost::Like::Local};
inline constexpr FenceCost kInvlpgbCost{"invlpgb", FenceCost::Like::Broadcast};
inline constexpr FenceCost kTlbsyncCost{"tlbsync", FenceCost::Like::Nothing};

// VMRUN, by the TLB_CONTROL of the VMCB that it runs. Of all ASIDs, the host's as well; of the
// guest's; of the guest's but for global pages. Global is what the guest's tables say (15.25.7), so
// the last one keeps translations that a change of the nested tables made stale: after that it is 3
// or 1 (15.16.1).
inline constexpr FenceRow kVmrunAll{.name = "vmrun tlb_control=1",
                                    .cost = &kVmrunAllCost,
                                    .structures = fence::kFirst | fence::kSecond,
                                    .scope = fence::kGlobals | fence::kForChanges};
inline constexpr FenceRow kVmrunAsid{.name = "vmrun tlb_control=3",
                                     .operand = FenceOperand::Vpid,
                                     .cost = &kVmrunAsidCost,
                                     .structures = fence::kFirst | fence::kSecond,
                                     .scope = fence::kVm | fence::kForChanges};
inline constexpr FenceRow kVmrunAsidKeepGlobals{.name = "vmrun tlb_control=7",
                                                .operand = FenceOperand::Vpid,
                                                .cost = &kVmrunAsidCost,
                                                .structures = fence::kFirst | fence::kSecond,
                                                .scope = fence::kVmid | fence::kForChanges};
/// VMRUN with another ASID than the VM had: what is cached under that one is not used any more.
inline constexpr FenceRow kVmrunFreshAsid{
    .name = "vmrun another asid", .operand = FenceOperand::Vpid, .scope = fence::kVmid};
/// ECX: the ASID, rAX: a linear address. It is not for nested translations (15.16.2). It may flush
/// all cached entries of upper levels (5.5.3), but nothing says that it must: they stay.
inline constexpr FenceRow kInvlpga{.name = "invlpga",
                                   .operand = FenceOperand::VpidLinear,
                                   .cost = &kInvlpgaCost,
                                   .structures = fence::kFirst,
                                   .scope = fence::kVm | fence::kTables,
                                   .by = By::Virtual};

// INVLPGB with ASID valid (rAX bit 2) and globals (bit 3); with nested translations (bit 5), too.
inline constexpr u16 kByInvlpgb =
    fence::kVm | fence::kBroadcast | fence::kPosted | fence::kForChanges;
inline constexpr FenceRow kInvlpgbNested{.name = "invlpgb asid nested",
                                         .operand = FenceOperand::Vpid,
                                         .cost = &kInvlpgbCost,
                                         .structures = fence::kFirst | fence::kSecond,
                                         .scope = kByInvlpgb};
inline constexpr FenceRow kInvlpgb{.name = "invlpgb asid",
                                   .operand = FenceOperand::Vpid,
                                   .cost = &kInvlpgbCost,
                                   .structures = fence::kFirst,
                                   .scope = kByInvlpgb};
inline constexpr FenceRow kTlbsync{.name = "tlbsync",
                                   .cost = &kTlbsyncCost,
                                   .scope = fence::kForChanges,
                                   .order = FenceOrder::End};

using x86_64::host::kInvlpg;
using x86_64::host::kMovCr3;

inline constexpr FenceOp kFences[] = {kVmrunAll, kVmrunAsid,     kVmrunAsidKeepGlobals,
                                      kInvlpga,  kInvlpgbNested, kInvlpgb,
                                      kTlbsync,  kInvlpg,        kMovCr3};

struct Extension : x86_64::host::Original {
  static constexpr Architecture kIsa = Architecture::X86_64;

  template <class Sink>
  static void emit(const FencePolicy&, const Capabilities& machine, const Invalidation<Gpa>& change,
                   Sink&& sink) {
    if (change.changes().any_of(change::kRevoking) || change.tables()) {
      flush(machine, change.tag(), sink);
    }
  }
  /// At VMRUN: the first one under that ASID.
  template <class Sink>
  static void emit_retirement(const Capabilities& machine, const VmTag& tag, Sink&& sink) {
    flush(machine, tag, sink);
  }
  template <class Sink>
  static void emit_rollover(const Capabilities&, Sink&& sink) {
    sink(Fence{kVmrunAll});
  }
  template <class Sink>
  static void emit_first_entry(const VmTag&, Sink&&) {}
  template <class Sink>
  static void emit_vcpu_switch(const Capabilities& machine, const VmTag& tag, Sink&& sink) {
    sink(at_vmrun(machine, tag));
  }

 private:
  template <class Sink>
  static void flush(const Capabilities& machine, const VmTag& tag, Sink& sink) {
    if (machine.fences == &kInvlpgbTlbsync) {
      sink(Fence{kInvlpgbNested, 0, tag.vmid});
      sink(Fence{kTlbsync});
      return;
    }
    sink(at_vmrun(machine, tag));
  }
  static constexpr Fence at_vmrun(const Capabilities& machine, const VmTag& tag) {
    return machine.flush_by_asid ? Fence{kVmrunAsid, 0, tag.vmid} : Fence{kVmrunAll};
  }
};

}  // namespace nestwalk::addrspace::svm
