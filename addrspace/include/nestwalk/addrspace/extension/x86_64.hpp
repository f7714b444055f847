// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a guest of x86-64 fences its own page tables with (Intel SDM vol. 3A, "Operations that
// Invalidate TLBs and Paging-Structure Caches"), under the VPID or ASID that it runs with.
#pragma once

#include "nestwalk/addrspace/fence_op.hpp"

namespace nestwalk::addrspace::x86_64 {

inline constexpr FenceCost kInvlpgCost{"invlpg", FenceCost::Like::Local};
inline constexpr FenceCost kMovCr3Cost{"mov_cr3", FenceCost::Like::Local};
inline constexpr FenceCost kInvpcidAddressCost{"invpcid_address", FenceCost::Like::Local};
inline constexpr FenceCost kInvpcidContextCost{"invpcid_context", FenceCost::Like::Local};

// INVLPG removes all paging-structure entries of the PCID: no kTables.
inline constexpr FenceRow kInvlpg{.name = "invlpg",
                                  .operand = FenceOperand::Linear,
                                  .cost = &kInvlpgCost,
                                  .structures = fence::kFirst,
                                  .scope = fence::kAddressSpace,
                                  .by = By::Virtual,
                                  .own_title = "invlpg (guest)"};
inline constexpr FenceRow kMovCr3{.name = "mov cr3",
                                  .cost = &kMovCr3Cost,
                                  .structures = fence::kFirst,
                                  .scope = fence::kAsidAlone,
                                  .own_title = "mov cr3 (guest)"};
inline constexpr FenceRow kInvpcidAddress{.name = "invpcid individual-address",
                                          .cost = &kInvpcidAddressCost,
                                          .structures = fence::kFirst,
                                          .scope = fence::kAsidAlone | fence::kTables,
                                          .by = By::Virtual};
inline constexpr FenceRow kInvpcidSingle{.name = "invpcid single-context",
                                         .cost = &kInvpcidContextCost,
                                         .structures = fence::kFirst,
                                         .scope = fence::kAsidAlone};
inline constexpr FenceRow kInvpcidAll{.name = "invpcid all-context",
                                      .cost = &kInvpcidContextCost,
                                      .structures = fence::kFirst,
                                      .scope = fence::kVm};
inline constexpr FenceRow kInvpcidAllKeepGlobals{.name = "invpcid all-context, retaining globals",
                                                 .cost = &kInvpcidContextCost,
                                                 .structures = fence::kFirst,
                                                 .scope = fence::kVmid};

// The same instructions of the hypervisor: of VPID 0 in VMX root operation, of AMD's ASID 0.
namespace host {
inline constexpr FenceRow kInvlpg{
    .name = "invlpg",
    .operand = FenceOperand::Linear,
    .cost = &kInvlpgCost,
    .structures = fence::kFirst,
    .scope = fence::kHost | fence::kAsid | fence::kGlobals | fence::kForChanges,
    .by = By::Virtual,
    .own_title = "invlpg (host)"};
/// CR3 written with the value that it has.
inline constexpr FenceRow kMovCr3{.name = "mov cr3",
                                  .cost = &kMovCr3Cost,
                                  .structures = fence::kFirst,
                                  .scope = fence::kHost | fence::kAsid | fence::kForChanges,
                                  .own_title = "mov cr3 (host)"};

/// What axaddrspace issues on x86-64, whatever the extension.
struct Original {
  template <class Sink>
  static void emit_original_page(const FencePolicy&, u64 address, Sink&& sink) {
    sink(Fence{kInvlpg, 0, address});
  }
  template <class Sink>
  static void emit_original_all(const FencePolicy&, Sink&& sink) {
    sink(Fence{kMovCr3});
  }
};

}  // namespace host

inline constexpr FenceOp kFences[] = {kInvlpg,        kMovCr3,     kInvpcidAddress,
                                      kInvpcidSingle, kInvpcidAll, kInvpcidAllKeepGlobals};

}  // namespace nestwalk::addrspace::x86_64
