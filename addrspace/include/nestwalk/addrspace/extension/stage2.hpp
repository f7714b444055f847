// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AArch64's second stage: TLBI and the barriers around it (Arm ARM D8, "TLB maintenance").
//
// The stores made visible (DSB ISHST); stage-2 entries by IPA, or all of the VMID; a DSB; then the
// combined entries, which no IPA selects (TLBI VMALLE1IS); DSB, ISB. New entries only need to be
// visible. TLBI ...IS broadcasts by itself.
#pragma once

#include "nestwalk/addrspace/extension/emit.hpp"
#include "nestwalk/addrspace/fence_range.hpp"

namespace nestwalk::addrspace::stage2 {

inline constexpr FenceCost kAddressCost{"tlbi_address", FenceCost::Like::Local};
inline constexpr FenceCost kRangeCost{"tlbi_range", FenceCost::Like::Local};
inline constexpr FenceCost kContextCost{"tlbi_context", FenceCost::Like::Local};
inline constexpr FenceCost kAddressBroadcastCost{"tlbi_address_broadcast",
                                                 FenceCost::Like::Broadcast};
inline constexpr FenceCost kRangeBroadcastCost{"tlbi_range_broadcast", FenceCost::Like::Broadcast};
inline constexpr FenceCost kContextBroadcastCost{"tlbi_context_broadcast",
                                                 FenceCost::Like::Broadcast};
inline constexpr FenceCost kDsbCost{"dsb", FenceCost::Like::Nothing};

inline constexpr FenceRow kDsbIshst{.name = "dsb ishst",
                                    .scope = fence::kForChanges,
                                    .order = FenceOrder::Stores,
                                    .own_title = "barrier"};
inline constexpr FenceRow kDsbIsh{.name = "dsb ish",
                                  .cost = &kDsbCost,
                                  .scope = fence::kForChanges,
                                  .order = FenceOrder::All,
                                  .own_title = "dsb"};
inline constexpr FenceRow kDsbSy{.name = "dsb sy",
                                 .cost = &kDsbCost,
                                 .scope = fence::kForChanges,
                                 .order = FenceOrder::All,
                                 .own_title = "dsb"};
// Of one processor: no policy's, which change tables that others walk.
inline constexpr FenceRow kDsbNshst{
    .name = "dsb nshst", .order = FenceOrder::OwnStores, .own_title = "barrier"};
inline constexpr FenceRow kDsbNsh{
    .name = "dsb nsh", .cost = &kDsbCost, .order = FenceOrder::OwnAll, .own_title = "dsb"};
inline constexpr FenceRow kIsb{.name = "isb",
                               .scope = fence::kForChanges,
                               .order = FenceOrder::Context,
                               .own_title = "barrier"};

/// A TLBI on one processor, broadcast to the inner, and to the outer shareable domain.
struct Tlbi {
  FenceRow local, is, os;
};

struct TlbiCosts {
  const FenceCost* local;
  const FenceCost* broadcast;
};
inline constexpr TlbiCosts kByAddress{&kAddressCost, &kAddressBroadcastCost};
inline constexpr TlbiCosts kByRange{&kRangeCost, &kRangeBroadcastCost};
inline constexpr TlbiCosts kByContext{&kContextCost, &kContextBroadcastCost};

/// Which of the three a policy's rules may name. Never the outer shareable one.
enum class ForChanges : u8 { No, Inner, InnerAndLocal };

struct TlbiReach {
  u8 structures;
  u16 scope;
  By by = By::Nothing;
};

constexpr Tlbi tlbi(const char* name, FenceOperand operand, TlbiCosts costs, TlbiReach reach,
                    ForChanges use = ForChanges::No, const Tlbi* single = nullptr) {
  const auto row = [&](const char* domain, const FenceCost* cost, u16 more,
                       const FenceRow* one) -> FenceRow {
    return {.name = Text<40>("tlbi ").add(name).add(domain),
            .operand = operand,
            .cost = cost,
            .structures = reach.structures,
            .scope = static_cast<u16>(reach.scope | more),
            .by = reach.by,
            .single = one};
  };
  const u16 local = use == ForChanges::InnerAndLocal ? fence::kForChanges : u16{0};
  const u16 inner = use != ForChanges::No ? fence::kForChanges : u16{0};
  const bool ranges = single != nullptr;
  return {row("", costs.local, local, ranges ? &single->local : nullptr),
          row("is", costs.broadcast, fence::kBroadcast | inner, ranges ? &single->is : nullptr),
          row("os", costs.broadcast, fence::kBroadcast, ranges ? &single->os : nullptr)};
}

// The second stage, by IPA, in the VMID that VTTBR_EL2 holds.
inline constexpr TlbiReach kIpa{fence::kSecond, fence::kVm | fence::kTables, By::GuestPhysical};
inline constexpr TlbiReach kIpaLeaf{fence::kNestedTlb, fence::kVm, By::GuestPhysical};
inline constexpr Tlbi kIpas2e1 =
    tlbi("ipas2e1", FenceOperand::Ipa, kByAddress, kIpa, ForChanges::InnerAndLocal);
inline constexpr Tlbi kIpas2le1 =
    tlbi("ipas2le1", FenceOperand::Ipa, kByAddress, kIpaLeaf, ForChanges::InnerAndLocal);
inline constexpr Tlbi kRipas2e1 =
    tlbi("ripas2e1", FenceOperand::IpaRange, kByRange, kIpa, ForChanges::Inner, &kIpas2e1);
inline constexpr Tlbi kRipas2le1 =
    tlbi("ripas2le1", FenceOperand::IpaRange, kByRange, kIpaLeaf, ForChanges::Inner, &kIpas2le1);
inline constexpr Tlbi kVmalle1 = tlbi("vmalle1", FenceOperand::None, kByContext,
                                      {fence::kFirst, fence::kVm}, ForChanges::InnerAndLocal);
inline constexpr Tlbi kVmalls12e1 =
    tlbi("vmalls12e1", FenceOperand::None, kByContext, {fence::kFirst | fence::kSecond, fence::kVm},
         ForChanges::InnerAndLocal);
inline constexpr Tlbi kAlle1 =
    tlbi("alle1", FenceOperand::None, kByContext, {fence::kFirst | fence::kSecond, fence::kGlobals},
         ForChanges::Inner);

// The first stage.
inline constexpr TlbiReach kVa{fence::kFirst, fence::kAddressSpace | fence::kTables, By::Virtual};
inline constexpr TlbiReach kVaAll{fence::kFirst, fence::kVm | fence::kTables, By::Virtual};
inline constexpr TlbiReach kVaLeaf{fence::kTlb, fence::kAddressSpace, By::Virtual};
inline constexpr TlbiReach kVaAllLeaf{fence::kTlb, fence::kVm, By::Virtual};
inline constexpr Tlbi kVae1 = tlbi("vae1", FenceOperand::Va, kByAddress, kVa);
inline constexpr Tlbi kVaae1 = tlbi("vaae1", FenceOperand::Va, kByAddress, kVaAll);
inline constexpr Tlbi kVale1 = tlbi("vale1", FenceOperand::Va, kByAddress, kVaLeaf);
inline constexpr Tlbi kVaale1 = tlbi("vaale1", FenceOperand::Va, kByAddress, kVaAllLeaf);
inline constexpr Tlbi kRvae1 = tlbi("rvae1", FenceOperand::VaRange, kByRange, kVa);
inline constexpr Tlbi kRvaae1 = tlbi("rvaae1", FenceOperand::VaRange, kByRange, kVaAll);
inline constexpr Tlbi kRvale1 = tlbi("rvale1", FenceOperand::VaRange, kByRange, kVaLeaf);
inline constexpr Tlbi kRvaale1 = tlbi("rvaale1", FenceOperand::VaRange, kByRange, kVaAllLeaf);
inline constexpr Tlbi kAside1 =
    tlbi("aside1", FenceOperand::Asid, kByContext, {fence::kFirst, fence::kAsidAlone});

// EL2's own regime: nothing of a guest.
inline constexpr Tlbi kVae2 = tlbi("vae2", FenceOperand::Va, kByAddress, {0, 0}, ForChanges::Inner);
inline constexpr Tlbi kAlle2 =
    tlbi("alle2", FenceOperand::None, kByContext, {0, 0}, ForChanges::Inner);

inline constexpr const Tlbi* kTlbi[] = {
    &kIpas2e1, &kIpas2le1, &kRipas2e1, &kRipas2le1, &kVmalle1, &kVmalls12e1,
    &kAlle1,   &kVae1,     &kVaae1,    &kVale1,     &kVaale1,  &kRvae1,
    &kRvaae1,  &kRvale1,   &kRvaale1,  &kAside1,    &kVae2,    &kAlle2};

namespace detail {
inline constexpr FenceOp kBarriers[] = {kDsbIshst, kDsbIsh, kDsbSy, kDsbNshst, kDsbNsh, kIsb};
struct Fences {
  FenceOp ops[sizeof(kBarriers) / sizeof(kBarriers[0]) + 3 * sizeof(kTlbi) / sizeof(kTlbi[0])];
};
constexpr Fences all_fences() {
  Fences all{};
  FenceOp* next = all.ops;
  for (const FenceOp barrier : kBarriers) *next++ = barrier;
  for (const Tlbi* form : kTlbi) {
    *next++ = form->local;
    *next++ = form->is;
    *next++ = form->os;
  }
  return all;
}
inline constexpr Fences kAllFences = all_fences();
}  // namespace detail
inline constexpr const auto& kFences = detail::kAllFences.ops;

inline constexpr Changes kNeedsTlbi =
    change::kRevoking | change::kMorePermission | change::kSpurious;
inline bool needs_tlbi(const Invalidation<Gpa>& change) {
  return change.changes().any_of(kNeedsTlbi) || change.tables();
}

struct Extension {
  static constexpr Architecture kIsa = Architecture::AArch64;

  template <class Sink>
  static void emit(const FencePolicy& policy, const Capabilities& machine,
                   const Invalidation<Gpa>& change, Sink&& sink) {
    if (!needs_tlbi(change)) {
      if (!change.changes().any_of(change::kMadeValid)) return;
      sink(Fence{kDsbIshst});
      sink(Fence{kIsb});
      return;
    }
    const bool ranges = policy.feature == &kTlbiRange && machine.fences == &kTlbiRange;
    bool whole_vm = addrspace::detail::takes_whole_vm(policy, change, run_needs_tlbi);
    if (ranges && !change.whole()) {
      u64 instructions = 0;
      emit_by_ipa(change, ranges, [&](const Fence&) { ++instructions; });
      whole_vm = instructions > policy.most_selective;
    }
    sink(Fence{kDsbIshst});
    if (whole_vm) {
      sink(Fence{kVmalls12e1.is});
    } else {
      emit_by_ipa(change, ranges, sink);
      sink(Fence{kDsbIsh});
      sink(Fence{kVmalle1.is});
    }
    sink(Fence{kDsbIsh});
    sink(Fence{kIsb});
  }
  template <class Sink>
  static void emit_retirement(const Capabilities&, const VmTag&, Sink&& sink) {
    emit_complete(kVmalls12e1.is, sink);
  }
  template <class Sink>
  static void emit_rollover(const Capabilities&, Sink&& sink) {
    emit_complete(kAlle1.is, sink);
  }
  template <class Sink>
  static void emit_first_entry(const VmTag&, Sink&&) {}
  template <class Sink>
  static void emit_vcpu_switch(const Capabilities&, const VmTag&, Sink&& sink) {
    sink(Fence{kVmalle1.local});
    sink(Fence{kDsbIsh});
    sink(Fence{kIsb});
  }

  template <class Sink>
  static void emit_original_page(const FencePolicy&, u64 address, Sink&& sink) {
    sink(Fence{kVae2.is, 0, address});
    emit_original_barriers(sink);
  }
  template <class Sink>
  static void emit_original_all(const FencePolicy&, Sink&& sink) {
    sink(Fence{kAlle2.is});
    emit_original_barriers(sink);
  }

 private:
  static bool run_needs_tlbi(const Invalidation<Gpa>::Run& run) {
    return run.changes.any_of(kNeedsTlbi) || run.table;
  }
  // By address: what the runs of a change need, one instruction after the other.
  template <class Sink>
  static void emit_by_ipa(const Invalidation<Gpa>& change, bool ranges, Sink&& sink) {
    const RangeEncoding encoding = RangeEncoding::of(change.tag().control_register);
    for (const auto& run : change) {
      if (!run_needs_tlbi(run)) continue;
      const FenceOp range = run.table ? kRipas2e1.is : kRipas2le1.is;
      const FenceOp page = *range->single;
      const auto one = [&](u64 address) { sink(Fence{page, 0, address >> 12}); };
      if (!ranges || run.leaves() == 1) {
        for (u64 n = 0; n < run.leaves(); ++n) one(run.start.value() + (n << run.leaf_shift));
        continue;
      }
      for_each_range(encoding, run.start.value(), run.size, one, [&](u64 operand) {
        sink(Fence{range, 0, operand});
      });
    }
  }
  template <class Sink>
  static void emit_complete(FenceOp op, Sink& sink) {
    sink(Fence{kDsbIshst});
    sink(Fence{op});
    sink(Fence{kDsbIsh});
    sink(Fence{kIsb});
  }
  template <class Sink>
  static void emit_original_barriers(Sink& sink) {
    sink(Fence{kDsbSy});
    sink(Fence{kIsb});
  }
};

}  // namespace nestwalk::addrspace::stage2
