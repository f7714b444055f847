// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// From an Invalidation to the architecture's instructions, as data.
//
// emit_fences() calls a sink with one Fence after the other: a simulator replays them, a test
// records them, fence_execute.hpp runs them. What the rules demand:
//
//   x86-64   INVEPT for whatever takes something away; nothing for new entries, and nothing for
//            more permission: the EPT violation that a stale entry causes removes it (Intel SDM
//            vol. 3C, "Guidelines for Use of the INVEPT Instruction").
//   AArch64  The stores made visible (DSB ISHST); stage-2 entries by IPA, or all of the VMID; a
//   DSB;
//            then the combined entries, which no IPA selects (TLBI VMALLE1IS); DSB, ISB. New
//            entries only need to be visible (Arm ARM D8, "TLB maintenance").
//   RISC-V   HFENCE.GVMA with GPA >> 2 for leaves, with rs1 = x0 once a table went; for new
//            entries, too, unless invalid ones are not cached (Svvptc). A cached invalid entry
//            above a new table is left to the spurious fault that it may cause: that fence takes
//            rs1 = x0.
//
// INVEPT and HFENCE.GVMA act on the processor that executes them. Every processor that may run the
// VM needs them: reaching the others (IPI, kick, SBI RFENCE) is the Hal's part. TLBI ...IS
// broadcasts by itself.
#pragma once

#include <type_traits>

#include "nestwalk/addrspace/capabilities.hpp"
#include "nestwalk/addrspace/fence_policy.hpp"
#include "nestwalk/addrspace/fence_range.hpp"

namespace nestwalk::addrspace {

namespace detail {

/// TLBI by IPA or VMID, HFENCE.VVMA: the VM is the one that VTTBR_EL2 or hgatp holds.
constexpr bool acts_on_selected_vm(FenceOp op) {
  return (op >= FenceOp::TlbiIpas2e1is && op <= FenceOp::TlbiVmalls12e1) ||
         op == FenceOp::HfenceVvmaAll || op == FenceOp::HinvalVvmaAll;
}

template <class Sink>
void emit_invept(const Capabilities& machine, const VmTag& tag, Sink& sink) {
  sink(machine.invept_single ? Fence{FenceOp::InveptSingle, 0, tag.root_register}
                             : Fence{FenceOp::InveptAll});
}

template <class Sink>
void emit_x86(const Invalidation<Gpa>& change, const Capabilities& machine, Sink& sink) {
  if (change.changes().any_of(change::kRevoking) || change.tables()) {
    emit_invept(machine, change.tag(), sink);
  }
}

inline constexpr Changes kNeedsTlbi =
    change::kRevoking | change::kMorePermission | change::kSpurious;
inline bool needs_tlbi(const Invalidation<Gpa>& change) {
  return change.changes().any_of(kNeedsTlbi) || change.tables();
}

inline bool run_needs_tlbi(const Invalidation<Gpa>::Run& run) {
  return run.changes.any_of(kNeedsTlbi) || run.table;
}

// By address: what the runs of a change need, one instruction after the other.
template <class Sink>
void emit_by_ipa(const Invalidation<Gpa>& change, bool ranges, Sink&& sink) {
  const RangeEncoding encoding = RangeEncoding::of(change.tag().control_register);
  for (const auto& run : change) {
    if (!run_needs_tlbi(run)) continue;
    const FenceOp op = run.table ? FenceOp::TlbiIpas2e1is : FenceOp::TlbiIpas2le1is;
    const auto one = [&](u64 address) { sink(Fence{op, 0, address >> 12}); };
    if (!ranges || run.leaves() == 1) {
      for (u64 n = 0; n < run.leaves(); ++n) one(run.start.value() + (n << run.leaf_shift));
      continue;
    }
    const FenceOp range = run.table ? FenceOp::TlbiRipas2e1is : FenceOp::TlbiRipas2le1is;
    for_each_range(encoding, run.start.value(), run.size, one, [&](u64 operand) {
      sink(Fence{range, 0, operand});
    });
  }
}

/// Too many places for one instruction each, or a list that names unchanged pages, too: one for
/// such a page would remove nothing that has to go.
template <class Needs>
bool takes_whole_vm(const FencePolicy& policy, const Invalidation<Gpa>& change, Needs&& needs) {
  if (policy.most_selective == 0 || change.whole()) return true;
  u64 leaves = 0;
  for (const auto& run : change) {
    if (!needs(run)) continue;
    if (run.hull) return true;
    leaves += run.leaves();
  }
  return leaves > policy.most_selective;
}

template <class Sink>
void emit_aarch64(const Invalidation<Gpa>& change, const FencePolicy& policy, bool ranges,
                  Sink& sink) {
  if (!needs_tlbi(change)) {
    if (!change.changes().any_of(change::kMadeValid)) return;
    sink(Fence{FenceOp::DsbIshst});
    sink(Fence{FenceOp::Isb});
    return;
  }
  bool whole_vm = takes_whole_vm(policy, change, run_needs_tlbi);
  if (ranges && !change.whole()) {
    u64 instructions = 0;
    emit_by_ipa(change, ranges, [&](const Fence&) { ++instructions; });
    whole_vm = instructions > policy.most_selective;
  }
  sink(Fence{FenceOp::DsbIshst});
  if (whole_vm) {
    sink(Fence{FenceOp::TlbiVmalls12e1is});
  } else {
    emit_by_ipa(change, ranges, sink);
    sink(Fence{FenceOp::DsbIsh});
    sink(Fence{FenceOp::TlbiVmalle1is});
  }
  sink(Fence{FenceOp::DsbIsh});
  sink(Fence{FenceOp::Isb});
}

struct GvmaOps {
  FenceOp address;
  FenceOp vmid;
};

template <class Sink>
void emit_riscv(const Invalidation<Gpa>& change, const FencePolicy& policy, bool new_entries_too,
                GvmaOps ops, Sink&& sink) {
  const u16 vmid = change.tag().vmid;
  Changes stale = change::kRevoking | change::kMorePermission | change::kSpurious;
  if (new_entries_too) stale = stale | change::kMadeValid;
  const bool whole_vm =
      takes_whole_vm(policy, change, [&](const auto& run) { return run.changes.any_of(stale); });
  // A spurious fault may come from a cached invalid entry of any level; by address, only leaves are
  // ordered.
  const bool any_level = new_entries_too && change.changes().any_of(change::kSpurious);
  if (change.tables() || any_level || (whole_vm && change.changes().any_of(stale))) {
    sink(Fence{ops.vmid, vmid});
    return;
  }
  for (const auto& run : change) {
    if (!run.changes.any_of(stale)) continue;
    for (u64 n = 0; n < run.leaves(); ++n) {
      sink(Fence{ops.address, vmid, (run.start.value() + (n << run.leaf_shift)) >> 2});
    }
  }
}

// "SINVAL.VMA ... ordered by SFENCE.W.INVAL and SFENCE.INVAL.IR" (RISC-V privileged spec, Svinval).
template <class Sink>
void emit_svinval(const Invalidation<Gpa>& change, const FencePolicy& policy, bool new_entries_too,
                  Sink& sink) {
  bool any = false;
  emit_riscv(change, policy, new_entries_too, {FenceOp::HinvalGvmaAddress, FenceOp::HinvalGvmaVmid},
             [&](const Fence& fence) {
               if (!any) sink(Fence{FenceOp::SfenceWInval});
               any = true;
               sink(fence);
             });
  if (any) sink(Fence{FenceOp::SfenceInvalIr});
}

/// An instruction as a rule means it: for an address, if it names one.
constexpr Fence instruction_for(FenceOp op, FenceOperand operand, const VmTag& tag, u64 address) {
  switch (operand) {
    case FenceOperand::None:
      return {op};
    case FenceOperand::Root:
      return {op, 0, tag.root_register};
    case FenceOperand::Vpid:
      return {op, 0, tag.vmid};
    case FenceOperand::Linear:
      return {op, 0, address};
    case FenceOperand::Page:
      return {op, 0, address >> 12};
    case FenceOperand::Range:
      return {op, 0, address};
    case FenceOperand::Quarter:
      return {op, tag.vmid, address >> 2};
    case FenceOperand::Vmid:
      return {op, tag.vmid};
  }
  return {op};
}

// Somebody's own rules, one after the other, each for the runs that no earlier one claims.
template <class Sink>
class OwnRules {
 public:
  using Run = typename Invalidation<Gpa>::Run;

  OwnRules(const FencePolicy& policy, const Invalidation<Gpa>& change, Sink& sink)
      : policy_(policy), change_(change), sink_(sink) {}

  void emit() {
    for (u32 number = 0; number < policy_.rule_count; ++number) {
      const FenceRule& rule = policy_.rules[number];
      u64 leaves = 0;
      for (const Run& run : change_) leaves += rule_of(run) == number ? run.leaves() : 0;
      const bool unlisted = change_.whole() && change_.changes().any_of(rule.changes);
      if (leaves == 0 && !unlisted) continue;
      const bool many = leaves > rule.most || unlisted;
      for (const FenceOp op : many ? rule.beyond : rule.issue) emit(op, number);
    }
  }

 private:
  u32 rule_of(const Run& run) const {
    u32 number = 0;
    for (; number < policy_.rule_count; ++number) {
      const FenceRule& rule = policy_.rules[number];
      if (run.changes.any_of(rule.changes) || (run.table && rule.tables)) break;
    }
    return number;
  }
  void emit(FenceOp op, u32 number) {
    const FenceOperand operand = traits_of(op).operand;
    const auto issue = [&](u64 address) {
      sink_(instruction_for(op, operand, change_.tag(), address));
    };
    if (!names_address(operand)) return issue(0);
    const RangeEncoding encoding = RangeEncoding::of(change_.tag().control_register);
    for (const Run& run : change_) {
      if (rule_of(run) != number) continue;
      if (operand == FenceOperand::Range) {
        emit_range(op, encoding, run);
        continue;
      }
      for (u64 n = 0; n < run.leaves(); ++n) issue(run.start.value() + (n << run.leaf_shift));
    }
  }
  // What no range instruction can say, its sibling for one page does.
  void emit_range(FenceOp op, RangeEncoding encoding, const Run& run) {
    const FenceOp one =
        op == FenceOp::TlbiRipas2e1is ? FenceOp::TlbiIpas2e1is : FenceOp::TlbiIpas2le1is;
    for_each_range(
        encoding, run.start.value(), run.size,
        [&](u64 address) {
          sink_(Fence{one, 0, address >> 12});
        },
        [&](u64 range) {
          sink_(Fence{op, 0, range});
        });
  }
  static constexpr bool names_address(FenceOperand operand) {
    return operand == FenceOperand::Linear || operand == FenceOperand::Page ||
           operand == FenceOperand::Range || operand == FenceOperand::Quarter;
  }

  const FencePolicy& policy_;
  const Invalidation<Gpa>& change_;
  Sink& sink_;
};

// axaddrspace 0.3.0: one flush per address up to 32 of a batch, else a full one; per page, without
// a limit, for allocated memory; the operand as the caller had it.
template <class Sink>
class Original030 {
 public:
  Original030(Architecture architecture, Sink& sink) : architecture_(architecture), sink_(sink) {}

  void emit(const Invalidation<Gpa>& change) {
    if (change.cause() == Cause::Fault) return one(change.subject().value());
    // It has no dirty log: as for any large batch.
    if (change.cause() == Cause::DirtyLog) return all();
    constexpr u64 kBatch = 32;
    u64 batched = 0;
    for (const auto& run : change) batched += in_batch(run) ? run.leaves() : 0;
    for (const auto& run : change) {
      if (in_batch(run) && batched > kBatch) continue;
      for (u64 n = 0; n < run.leaves(); ++n) one(run.start.value() + (n << run.leaf_shift));
    }
    if (batched > kBatch) all();
  }

 private:
  static bool in_batch(const typename Invalidation<Gpa>::Run& run) {
    return !run.owned || run.changes.any_of(change::kReserved);
  }
  void one(u64 address) {
    switch (architecture_) {
      case Architecture::X86_64:
        sink_(Fence{FenceOp::Invlpg, 0, address});
        break;
      case Architecture::AArch64:
        sink_(Fence{FenceOp::TlbiVae2is, 0, address});
        barriers();
        break;
      case Architecture::RiscV64:
        sink_(Fence{FenceOp::HfenceVvmaAll});
        break;
    }
  }
  void all() {
    switch (architecture_) {
      case Architecture::X86_64:
        sink_(Fence{FenceOp::MovCr3});
        break;
      case Architecture::AArch64:
        sink_(Fence{FenceOp::TlbiAlle2is});
        barriers();
        break;
      case Architecture::RiscV64:
        sink_(Fence{FenceOp::HfenceVvmaAll});
        break;
    }
  }
  void barriers() {
    sink_(Fence{FenceOp::DsbSy});
    sink_(Fence{FenceOp::Isb});
  }

  Architecture architecture_;
  Sink& sink_;
};

}  // namespace detail

/// Calls sink(Fence) for each instruction that the policy issues, in order.
template <class Sink>
void emit_fences(Architecture architecture, const FencePolicy& policy, const Capabilities& machine,
                 const Invalidation<Gpa>& change, Sink&& sink) {
  using To = std::remove_reference_t<Sink>;
  switch (policy.source) {
    case FencePolicy::Source::Original030:
      return detail::Original030<To>(architecture, sink).emit(change);
    case FencePolicy::Source::Rules:
      return detail::OwnRules<To>(policy, change, sink).emit();
    case FencePolicy::Source::Manual:
      break;
  }
  switch (architecture) {
    case Architecture::X86_64:
      return detail::emit_x86(change, machine, sink);
    case Architecture::AArch64:
      return detail::emit_aarch64(change, policy, policy.ranges && machine.tlbi_range, sink);
    case Architecture::RiscV64:
      if (policy.svinval && machine.svinval) {
        return detail::emit_svinval(change, policy, !machine.caches_no_invalid, sink);
      }
      return detail::emit_riscv(change, policy, !machine.caches_no_invalid,
                                {FenceOp::HfenceGvmaAddress, FenceOp::HfenceGvmaVmid}, sink);
  }
}

/// Calls sink(Fence) for what must come between a VM's end and the next use of its VMID, VPID or
/// root frame: until then its translations, the guest's own included, stay under those tags.
template <class Sink>
void emit_retirement(Architecture architecture, const Capabilities& machine, const VmTag& tag,
                     Sink&& sink) {
  switch (architecture) {
    case Architecture::X86_64:
      detail::emit_invept(machine, tag, sink);
      // VPID 0 is the host's: such a guest ran without one.
      if (tag.vmid != 0 && machine.vmid_bits != 0) {
        sink(Fence{FenceOp::InvvpidSingle, 0, tag.vmid});
      }
      return;
    case Architecture::AArch64:
      sink(Fence{FenceOp::DsbIshst});
      sink(Fence{FenceOp::TlbiVmalls12e1is});
      sink(Fence{FenceOp::DsbIsh});
      sink(Fence{FenceOp::Isb});
      return;
    case Architecture::RiscV64:
      // HFENCE.VVMA needs hgatp to hold the VM; what is walked meanwhile goes with HFENCE.GVMA.
      sink(Fence{FenceOp::HfenceVvmaAll, tag.vmid});
      sink(Fence{FenceOp::HfenceGvmaVmid, tag.vmid});
      return;
  }
}

/// Calls sink(Fence) for what must come when the VMIDs of all VMs that do not run are taken back,
/// before one of them is used again: on every processor, or once where fences broadcast. The roots
/// stay in use, so what x86 keeps under a root only (guest-physical mappings) stays right.
template <class Sink>
void emit_rollover(Architecture architecture, const Capabilities& machine, Sink&& sink) {
  switch (architecture) {
    case Architecture::X86_64:
      if (machine.vmid_bits != 0) sink(Fence{FenceOp::InvvpidAll});
      return;
    case Architecture::AArch64:
      sink(Fence{FenceOp::DsbIshst});
      sink(Fence{FenceOp::TlbiAlle1is});
      sink(Fence{FenceOp::DsbIsh});
      sink(Fence{FenceOp::Isb});
      return;
    case Architecture::RiscV64:
      sink(Fence{FenceOp::HfenceGvmaAll});
      return;
  }
}

/// What must come besides on each processor, before it runs a VM under a VMID that another one had
/// before `emit_rollover`: HFENCE.VVMA reaches the VMID that hgatp holds, so it has to wait until
/// then. Nothing on the others.
template <class Sink>
void emit_first_entry(Architecture architecture, const VmTag& tag, Sink&& sink) {
  if (architecture == Architecture::RiscV64) sink(Fence{FenceOp::HfenceVvmaAll, tag.vmid});
}

}  // namespace nestwalk::addrspace
