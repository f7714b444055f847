// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/fence_op.hpp"

namespace nestwalk::addrspace {
namespace {

using enum Architecture;
using Takes = FenceOperand;

// In the order of the enumerators.
constexpr FenceTraits kFences[] = {
    {"invept single-context", X86_64, Takes::Root, false},
    {"invept all-context", X86_64, Takes::None, false},
    {"invvpid single-context", X86_64, Takes::Vpid, false},
    {"invvpid all-context", X86_64, Takes::None, false},
    {"invlpg", X86_64, Takes::Linear, false},
    {"mov cr3", X86_64, Takes::None, false},
    {"dsb ishst", AArch64, Takes::None, true},
    {"dsb ish", AArch64, Takes::None, true},
    {"dsb sy", AArch64, Takes::None, true},
    {"isb", AArch64, Takes::None, false},
    {"tlbi ipas2e1is", AArch64, Takes::Page, true},
    {"tlbi ipas2le1is", AArch64, Takes::Page, true},
    {"tlbi ripas2e1is", AArch64, Takes::Range, true},
    {"tlbi ripas2le1is", AArch64, Takes::Range, true},
    {"tlbi vmalle1is", AArch64, Takes::None, true},
    {"tlbi vmalls12e1is", AArch64, Takes::None, true},
    {"tlbi ipas2e1", AArch64, Takes::Page, false},
    {"tlbi ipas2le1", AArch64, Takes::Page, false},
    {"tlbi vmalle1", AArch64, Takes::None, false},
    {"tlbi vmalls12e1", AArch64, Takes::None, false},
    {"tlbi alle1is", AArch64, Takes::None, true},
    {"tlbi vae2is", AArch64, Takes::Page, true},
    {"tlbi alle2is", AArch64, Takes::None, true},
    {"hfence.gvma", RiscV64, Takes::Quarter, false},
    {"hfence.gvma zero", RiscV64, Takes::Vmid, false},
    {"hfence.gvma zero, zero", RiscV64, Takes::None, false},
    {"hfence.vvma zero, zero", RiscV64, Takes::None, false},
    {"sfence.w.inval", RiscV64, Takes::None, false},
    {"hinval.gvma", RiscV64, Takes::Quarter, false},
    {"hinval.gvma zero", RiscV64, Takes::Vmid, false},
    {"hinval.gvma zero, zero", RiscV64, Takes::None, false},
    {"hinval.vvma zero, zero", RiscV64, Takes::None, false},
    {"sfence.inval.ir", RiscV64, Takes::None, false},
};
static_assert(sizeof(kFences) / sizeof(kFences[0]) == kFenceOpCount);

}  // namespace

const FenceTraits& traits_of(FenceOp op) { return kFences[static_cast<unsigned>(op)]; }

Text<64> to_text(const Fence& fence) {
  const FenceTraits& row = traits_of(fence.op);
  Text<64> text;
  text.add(row.mnemonic);
  switch (row.operand) {
    case Takes::None:
      break;
    case Takes::Linear:
      text.add(" [").add_hex(fence.operand).add(']');
      break;
    case Takes::Root:
    case Takes::Vpid:
    case Takes::Page:
    case Takes::Range:
      text.add(", ").add_hex(fence.operand);
      break;
    case Takes::Quarter:
      text.add(' ').add_hex(fence.operand).add(", ").add_decimal(fence.vmid);
      break;
    case Takes::Vmid:
      text.add(", ").add_decimal(fence.vmid);
      break;
  }
  return text;
}

bool is_broadcast(FenceOp op) { return traits_of(op).broadcast; }

}  // namespace nestwalk::addrspace
