// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// RISC-V's hypervisor extension: HFENCE, and Svinval's parts of it (privileged spec, "Hypervisor
// Memory-Management Fence Instructions").
//
// HFENCE.GVMA with GPA >> 2 for leaves, with rs1 = x0 once a table went; for new entries, too,
// unless invalid ones are not cached (Svvptc). A cached invalid entry above a new table is left to
// the spurious fault that it may cause: that fence takes rs1 = x0. It acts on the hart that
// executes it: every hart that may run the VM needs it.
#pragma once

#include "nestwalk/addrspace/extension/emit.hpp"

namespace nestwalk::addrspace::hext {

inline constexpr FenceCost kGvmaAddressCost{"hfence_gvma_address", FenceCost::Like::Local};
inline constexpr FenceCost kGvmaAllCost{"hfence_gvma_all", FenceCost::Like::Local};
inline constexpr FenceCost kVvmaAddressCost{"hfence_vvma_address", FenceCost::Like::Local};
inline constexpr FenceCost kVvmaAllCost{"hfence_vvma_all", FenceCost::Like::Local};
inline constexpr FenceCost kHinvalCost{"hinval", FenceCost::Like::Local};
inline constexpr FenceCost kSfenceInvalIrCost{"sfence_inval_ir", FenceCost::Like::Local};

/// HFENCE and what Svinval has in its place: the same, but complete at SFENCE.INVAL.IR.
struct Hfence {
  FenceRow at_once, posted;
};

/// `names` and titles: what follows the mnemonic.
constexpr Hfence hfence(const char* form, const char* name, const char* title,
                        const char* posted_title, const FenceCost& cost, u8 structures, u16 scope,
                        By by) {
  const auto row = [&](const char* mnemonic, const char* own_title, const FenceCost& own_cost,
                       u16 more) -> FenceRow {
    return {.name = Text<40>(mnemonic).add(form).add(name),
            .operand = FenceOperand::Hart,
            .cost = &own_cost,
            .structures = structures,
            .scope = static_cast<u16>(scope | more),
            .by = by,
            .own_title = own_title};
  };
  return {row("hfence", title, cost, 0),
          row("hinval", posted_title, kHinvalCost, fence::kPosted | fence::kUnordered)};
}

// With rs1, only leaf entries are ordered; with rs2, globals stay. The VM is the one that hgatp
// holds. Of the guest's own, SFENCE.VMA and SINVAL.VMA with V = 1 are the same.
inline constexpr Hfence kVvmaAll =
    hfence(".vvma", " zero, zero", "hfence.vvma", "hinval.vvma", kVvmaAllCost, fence::kFirst,
           fence::kVm | fence::kForChanges, By::Nothing);
inline constexpr Hfence kVvmaAddress =
    hfence(".vvma", " rs1, zero", "hfence.vvma rs1", "hinval.vvma rs1", kVvmaAddressCost,
           fence::kTlb, fence::kVm, By::Virtual);
inline constexpr Hfence kVvmaAsid =
    hfence(".vvma", " zero", "hfence.vvma rs2", "hinval.vvma rs2", kVvmaAllCost, fence::kFirst,
           fence::kAsidAlone, By::Nothing);
inline constexpr Hfence kVvmaAddressAsid =
    hfence(".vvma", "", "hfence.vvma rs1, rs2", "hinval.vvma rs1, rs2", kVvmaAddressCost,
           fence::kTlb, fence::kAsidAlone, By::Virtual);

// A walk-cache entry of the first stage holds what a G-stage leaf made of a table's address: it
// goes with that leaf.
inline constexpr Hfence kGvmaAll =
    hfence(".gvma", " zero, zero", "hfence.gvma", "hinval.gvma", kGvmaAllCost,
           fence::kFirst | fence::kSecond, fence::kGlobals | fence::kForChanges, By::Nothing);
inline constexpr Hfence kGvmaVmid =
    hfence(".gvma", " zero", "hfence.gvma rs2", "hinval.gvma rs2", kGvmaAllCost,
           fence::kFirst | fence::kSecond, fence::kVm | fence::kForChanges, By::Nothing);
inline constexpr Hfence kGvmaAddress =
    hfence(".gvma", " rs1, zero", "hfence.gvma rs1", "hinval.gvma rs1", kGvmaAddressCost,
           fence::kFirst | fence::kNestedTlb, fence::kGlobals | fence::kTables, By::GuestPhysical);
inline constexpr Hfence kGvmaAddressVmid =
    hfence(".gvma", "", "hfence.gvma rs1, rs2", "hinval.gvma rs1, rs2", kGvmaAddressCost,
           fence::kFirst | fence::kNestedTlb, fence::kVm | fence::kTables | fence::kForChanges,
           By::GuestPhysical);

// Stores are visible when they are made, so SFENCE.W.INVAL has nothing to order in time.
inline constexpr FenceRow kSfenceWInval{.name = "sfence.w.inval",
                                        .scope = fence::kPosted | fence::kForChanges,
                                        .order = FenceOrder::Begin};
inline constexpr FenceRow kSfenceInvalIr{.name = "sfence.inval.ir",
                                         .cost = &kSfenceInvalIrCost,
                                         .scope = fence::kForChanges,
                                         .order = FenceOrder::End};

inline constexpr FenceOp kFences[] = {
    kGvmaAddressVmid.at_once, kGvmaVmid.at_once,        kGvmaAll.at_once,
    kGvmaAddress.at_once,     kVvmaAll.at_once,         kVvmaAddress.at_once,
    kVvmaAsid.at_once,        kVvmaAddressAsid.at_once, kSfenceWInval,
    kGvmaAddressVmid.posted,  kGvmaVmid.posted,         kGvmaAll.posted,
    kGvmaAddress.posted,      kVvmaAll.posted,          kVvmaAddress.posted,
    kVvmaAsid.posted,         kVvmaAddressAsid.posted,  kSfenceInvalIr};

struct Extension {
  static constexpr Architecture kIsa = Architecture::RiscV64;

  template <class Sink>
  static void emit(const FencePolicy& policy, const Capabilities& machine,
                   const Invalidation<Gpa>& change, Sink&& sink) {
    const bool new_entries_too = !machine.caches_no_invalid;
    if (policy.feature != &kSvinval || machine.fences != &kSvinval) {
      return emit_gvma(change, policy, new_entries_too,
                       {kGvmaAddressVmid.at_once, kGvmaVmid.at_once}, sink);
    }
    // "SINVAL.VMA ... ordered by SFENCE.W.INVAL and SFENCE.INVAL.IR" (Svinval).
    bool any = false;
    emit_gvma(change, policy, new_entries_too, {kGvmaAddressVmid.posted, kGvmaVmid.posted},
              [&](const Fence& fence) {
                if (!any) sink(Fence{kSfenceWInval});
                any = true;
                sink(fence);
              });
    if (any) sink(Fence{kSfenceInvalIr});
  }
  /// HFENCE.VVMA needs hgatp to hold the VM; what is walked meanwhile goes with HFENCE.GVMA.
  template <class Sink>
  static void emit_retirement(const Capabilities&, const VmTag& tag, Sink&& sink) {
    sink(Fence{kVvmaAll.at_once, tag.vmid});
    sink(Fence{kGvmaVmid.at_once, tag.vmid});
  }
  template <class Sink>
  static void emit_rollover(const Capabilities&, Sink&& sink) {
    sink(Fence{kGvmaAll.at_once});
  }
  /// HFENCE.VVMA reaches the VMID that hgatp holds, so it has to wait until then.
  template <class Sink>
  static void emit_first_entry(const VmTag& tag, Sink&& sink) {
    sink(Fence{kVvmaAll.at_once, tag.vmid});
  }
  template <class Sink>
  static void emit_vcpu_switch(const Capabilities&, const VmTag& tag, Sink&& sink) {
    sink(Fence{kVvmaAll.at_once, tag.vmid});
  }

  template <class Sink>
  static void emit_original_page(const FencePolicy& policy, u64, Sink&& sink) {
    emit_original_all(policy, sink);
  }
  template <class Sink>
  static void emit_original_all(const FencePolicy& policy, Sink&& sink) {
    const bool first_stage = policy.source == FencePolicy::Source::Original030;
    sink(Fence{first_stage ? kVvmaAll.at_once : kGvmaAll.at_once});
  }

 private:
  struct Ops {
    FenceOp address, vmid;
  };

  template <class Sink>
  static void emit_gvma(const Invalidation<Gpa>& change, const FencePolicy& policy,
                        bool new_entries_too, Ops ops, Sink&& sink) {
    const u16 vmid = change.tag().vmid;
    Changes stale = change::kRevoking | change::kMorePermission | change::kSpurious;
    if (new_entries_too) stale = stale | change::kMadeValid;
    const bool whole_vm = addrspace::detail::takes_whole_vm(
        policy, change, [&](const auto& run) { return run.changes.any_of(stale); });
    // A spurious fault may come from a cached invalid entry of any level; by address, only leaves
    // are ordered.
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
};

}  // namespace nestwalk::addrspace::hext
