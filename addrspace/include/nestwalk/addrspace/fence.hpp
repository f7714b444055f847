// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// From an Invalidation to an extension's instructions, as data.
//
// emit_fences() calls a sink with one Fence after the other: a simulator replays them, a test
// records them, fence_execute.hpp runs them. What the manuals demand is in extension/.
//
// Where an instruction acts on the processor that executes it alone, reaching the others (IPI,
// kick, SBI RFENCE) is the Hal's part.
#pragma once

#include <type_traits>

#include "nestwalk/addrspace/extension/hext.hpp"
#include "nestwalk/addrspace/extension/stage2.hpp"
#include "nestwalk/addrspace/extension/svm.hpp"
#include "nestwalk/addrspace/extension/vmx.hpp"

namespace nestwalk::addrspace {

namespace detail {

/// The VM is the one that VTTBR_EL2 or hgatp holds, not one that an operand names.
constexpr bool selects_vm(FenceOp op) {
  if (!op->has(fence::kVmid)) return false;
  switch (op->operand) {
    case FenceOperand::Vpid:
    case FenceOperand::VpidLinear:
      return false;
    case FenceOperand::Hart:
      return (op->structures & fence::kSecond) == 0;
    default:
      return true;
  }
}

/// An instruction as a rule means it: for an address, if it names one.
constexpr Fence instruction_for(FenceOp op, const VmTag& tag, u64 address) {
  switch (op->operand) {
    case FenceOperand::None:
    case FenceOperand::VpidLinear:
    case FenceOperand::Asid:
      return {op};
    case FenceOperand::Root:
      return {op, 0, tag.root_register};
    case FenceOperand::Vpid:
      return {op, 0, tag.vmid};
    case FenceOperand::Linear:
    case FenceOperand::IpaRange:
    case FenceOperand::VaRange:
      return {op, 0, address};
    case FenceOperand::Ipa:
    case FenceOperand::Va:
      return {op, 0, address >> 12};
    case FenceOperand::Hart:
      return {op, op->has(fence::kVmid) && !selects_vm(op) ? tag.vmid : u16{0}, address >> 2};
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
    const auto issue = [&](u64 address) { sink_(instruction_for(op, change_.tag(), address)); };
    if (!names_address(op)) return issue(0);
    const RangeEncoding encoding = RangeEncoding::of(change_.tag().control_register);
    for (const Run& run : change_) {
      if (rule_of(run) != number) continue;
      if (op->single != nullptr) {
        emit_range(op, encoding, run);
        continue;
      }
      for (u64 n = 0; n < run.leaves(); ++n) issue(run.start.value() + (n << run.leaf_shift));
    }
  }
  // What no range instruction can say, its sibling for one page does.
  void emit_range(FenceOp op, RangeEncoding encoding, const Run& run) {
    const FenceOp one = *op->single;
    for_each_range(
        encoding, run.start.value(), run.size,
        [&](u64 address) {
          sink_(Fence{one, 0, address >> 12});
        },
        [&](u64 range) {
          sink_(Fence{op, 0, range});
        });
  }
  static constexpr bool names_address(FenceOp op) {
    const bool by_virtual = op->operand == FenceOperand::Linear || op->operand == FenceOperand::Va;
    return by_virtual || op->by != By::Nothing;
  }

  const FencePolicy& policy_;
  const Invalidation<Gpa>& change_;
  Sink& sink_;
};

// axaddrspace, the operand as the caller had it. 0.3.0: one flush per address up to 32 of a batch,
// else a full one; per page, without a limit, for allocated memory. 0.5.17: one for each leaf that
// is stored, whatever comes of it; none for a lazy promise, nor for a table that goes. (Of itself
// it never flushes all; here it does where which leaves were stored is not known any more.)
template <class Extension, class Sink>
class Original {
 public:
  Original(const FencePolicy& policy, Sink& sink) : policy_(policy), sink_(sink) {}

  void emit(const Invalidation<Gpa>& change) {
    if (policy_.source == FencePolicy::Source::Original030) return emit_batch(change);
    if (!change.exact()) return all();
    for (const auto& run : change) {
      if (run.changes != change::kReserved && !run.changes.empty()) each(run);
    }
  }

 private:
  using Run = typename Invalidation<Gpa>::Run;

  void emit_batch(const Invalidation<Gpa>& change) {
    if (change.cause() == Cause::Fault) return one(change.subject().value());
    // It has no dirty log: as for any large batch.
    if (change.cause() == Cause::DirtyLog) return all();
    constexpr u64 kBatch = 32;
    u64 batched = 0;
    for (const Run& run : change) batched += in_batch(run) ? run.leaves() : 0;
    for (const Run& run : change) {
      if (!in_batch(run) || batched <= kBatch) each(run);
    }
    if (batched > kBatch) all();
  }
  static bool in_batch(const Run& run) {
    return !run.owned || run.changes.any_of(change::kReserved);
  }
  void each(const Run& run) {
    for (u64 n = 0; n < run.leaves(); ++n) one(run.start.value() + (n << run.leaf_shift));
  }
  void one(u64 address) { Extension::emit_original_page(policy_, address, sink_); }
  void all() { Extension::emit_original_all(policy_, sink_); }

  const FencePolicy& policy_;
  Sink& sink_;
};

}  // namespace detail

/// Calls sink(Fence) for each instruction that the policy issues, in order.
template <class Extension, class Sink>
void emit_fences(const FencePolicy& policy, const Capabilities& machine,
                 const Invalidation<Gpa>& change, Sink&& sink) {
  using To = std::remove_reference_t<Sink>;
  switch (policy.source) {
    case FencePolicy::Source::Original030:
    case FencePolicy::Source::Original0517:
      return detail::Original<Extension, To>(policy, sink).emit(change);
    case FencePolicy::Source::Rules:
      return detail::OwnRules<To>(policy, change, sink).emit();
    case FencePolicy::Source::Manual:
      return Extension::emit(policy, machine, change, sink);
  }
}

/// Calls sink(Fence) for what must come between a VM's end and the next use of its VMID, VPID or
/// root frame: until then its translations, the guest's own included, stay under those tags.
template <class Extension, class Sink>
void emit_retirement(const Capabilities& machine, const VmTag& tag, Sink&& sink) {
  Extension::emit_retirement(machine, tag, sink);
}

/// Calls sink(Fence) for what must come when the VMIDs of all VMs that do not run are taken back,
/// before one of them is used again: on every processor, or once where fences broadcast.
template <class Extension, class Sink>
void emit_rollover(const Capabilities& machine, Sink&& sink) {
  Extension::emit_rollover(machine, sink);
}

/// What must come besides on each processor, before it runs a VM under a VMID that another one had
/// before `emit_rollover`.
template <class Extension, class Sink>
void emit_first_entry(const VmTag& tag, Sink&& sink) {
  Extension::emit_first_entry(tag, sink);
}

/// What must come on a processor before it runs a virtual processor of a VM, if the last one of
/// that VM that it ran was another one with the same VMID: ASIDs and PCIDs are each virtual
/// processor's own, and so are the address spaces that it uses them for.
template <class Extension, class Sink>
void emit_vcpu_switch(const Capabilities& machine, const VmTag& tag, Sink&& sink) {
  Extension::emit_vcpu_switch(machine, tag, sink);
}

}  // namespace nestwalk::addrspace
