// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Intel VMX with extended page tables: INVEPT and INVVPID (Intel SDM vol. 3C, "Operations that
// Invalidate Cached Mappings").
//
// INVEPT for whatever takes something away; nothing for new entries, and nothing for more
// permission: the EPT violation that a stale entry causes removes it ("Guidelines for Use of the
// INVEPT Instruction"). It acts on the processor that executes it: every processor that may run
// the VM needs it.
#pragma once

#include "nestwalk/addrspace/extension/emit.hpp"
#include "nestwalk/addrspace/extension/x86_64.hpp"

namespace nestwalk::addrspace::vmx {

inline constexpr FenceCost kInveptSingleCost{"invept_single", FenceCost::Like::Local};
inline constexpr FenceCost kInveptAllCost{"invept_all", FenceCost::Like::Local};
inline constexpr FenceCost kInvvpidAddressCost{"invvpid_address", FenceCost::Like::Local};
inline constexpr FenceCost kInvvpidContextCost{"invvpid_context", FenceCost::Like::Local};

inline constexpr FenceRow kInveptSingle{
    .name = "invept single-context",
    .operand = FenceOperand::Root,
    .cost = &kInveptSingleCost,
    .structures = fence::kFirst | fence::kSecond,
    .scope = fence::kRoot | fence::kGlobals | fence::kForChanges};
inline constexpr FenceRow kInveptAll{
    .name = "invept all-context",
    .cost = &kInveptAllCost,
    .structures = fence::kFirst | fence::kSecond,
    .scope = fence::kNested | fence::kGlobals | fence::kForChanges};
inline constexpr FenceRow kInvvpidAddress{.name = "invvpid individual-address",
                                          .operand = FenceOperand::VpidLinear,
                                          .cost = &kInvvpidAddressCost,
                                          .structures = fence::kFirst,
                                          .scope = fence::kVm | fence::kTables,
                                          .by = By::Virtual};
inline constexpr FenceRow kInvvpidSingle{.name = "invvpid single-context",
                                         .operand = FenceOperand::Vpid,
                                         .cost = &kInvvpidContextCost,
                                         .structures = fence::kFirst,
                                         .scope = fence::kVm | fence::kForChanges};
inline constexpr FenceRow kInvvpidAll{
    .name = "invvpid all-context",
    .cost = &kInvvpidContextCost,
    .structures = fence::kFirst,
    .scope = fence::kGuests | fence::kGlobals | fence::kForChanges};
inline constexpr FenceRow kInvvpidSingleKeepGlobals{
    .name = "invvpid retaining-globals",
    .operand = FenceOperand::Vpid,
    .cost = &kInvvpidContextCost,
    .structures = fence::kFirst,
    .scope = fence::kVmid,
    .own_title = "invvpid single-context, retaining globals"};
using x86_64::host::kInvlpg;
using x86_64::host::kMovCr3;
/// Not an instruction: what VM entries and exits without VPIDs remove.
inline constexpr FenceRow kEntryWithoutVpid{.name = "vm entry without vpid",
                                            .structures = fence::kFirst,
                                            .scope = fence::kHost | fence::kGlobals};

inline constexpr FenceOp kFences[] = {
    kInveptSingle, kInveptAll, kInvvpidAddress, kInvvpidSingle,
    kInvvpidAll,   kInvlpg,    kMovCr3,         kInvvpidSingleKeepGlobals};

struct Extension : x86_64::host::Original {
  static constexpr Architecture kIsa = Architecture::X86_64;

  template <class Sink>
  static void emit(const FencePolicy&, const Capabilities& machine, const Invalidation<Gpa>& change,
                   Sink&& sink) {
    if (change.changes().any_of(change::kRevoking) || change.tables()) {
      emit_invept(machine, change.tag(), sink);
    }
  }
  template <class Sink>
  static void emit_retirement(const Capabilities& machine, const VmTag& tag, Sink&& sink) {
    emit_invept(machine, tag, sink);
    // VPID 0 is the host's: such a guest ran without one.
    if (tag.vmid != 0 && machine.vmid_bits != 0) sink(Fence{kInvvpidSingle, 0, tag.vmid});
  }
  /// The roots stay in use, so what is kept under a root only (guest-physical mappings) stays
  /// right.
  template <class Sink>
  static void emit_rollover(const Capabilities& machine, Sink&& sink) {
    if (machine.vmid_bits != 0) sink(Fence{kInvvpidAll});
  }
  template <class Sink>
  static void emit_first_entry(const VmTag&, Sink&&) {}
  /// Entries and exits with VPID 0 leave nothing of the guest.
  template <class Sink>
  static void emit_vcpu_switch(const Capabilities& machine, const VmTag& tag, Sink&& sink) {
    if (tag.vmid != 0 && machine.vmid_bits != 0) sink(Fence{kInvvpidSingle, 0, tag.vmid});
  }

 private:
  template <class Sink>
  static void emit_invept(const Capabilities& machine, const VmTag& tag, Sink& sink) {
    sink(machine.invept_single ? Fence{kInveptSingle, 0, tag.root_register} : Fence{kInveptAll});
  }
};

}  // namespace nestwalk::addrspace::vmx
