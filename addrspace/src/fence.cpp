// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/fence.hpp"

namespace nestwalk::addrspace {
namespace {

enum class Operands : u8 { None, Address, Register, RegisterAndVmid, Vmid };

struct FenceRow {
  const char* mnemonic;
  Operands operands;
  bool broadcast;
};

// In the order of the enumerators.
constexpr FenceRow kFences[] = {
    {"invept single-context", Operands::Register, false},
    {"invept all-context", Operands::None, false},
    {"invvpid single-context", Operands::Register, false},
    {"invlpg", Operands::Address, false},
    {"mov cr3", Operands::None, false},
    {"dsb ishst", Operands::None, true},
    {"dsb ish", Operands::None, true},
    {"dsb sy", Operands::None, true},
    {"isb", Operands::None, false},
    {"tlbi ipas2e1is", Operands::Register, true},
    {"tlbi ipas2le1is", Operands::Register, true},
    {"tlbi vmalle1is", Operands::None, true},
    {"tlbi vmalls12e1is", Operands::None, true},
    {"tlbi vae2is", Operands::Register, true},
    {"tlbi alle2is", Operands::None, true},
    {"hfence.gvma", Operands::RegisterAndVmid, false},
    {"hfence.gvma zero", Operands::Vmid, false},
    {"hfence.gvma zero, zero", Operands::None, false},
    {"hfence.vvma zero, zero", Operands::None, false},
};
static_assert(sizeof(kFences) / sizeof(kFences[0]) == kFenceOpCount);

const FenceRow& row_of(FenceOp op) { return kFences[static_cast<unsigned>(op)]; }

}  // namespace

Text<64> to_text(const Fence& fence) {
  const FenceRow& row = row_of(fence.op);
  Text<64> text;
  text.add(row.mnemonic);
  switch (row.operands) {
    case Operands::None:
      break;
    case Operands::Address:
      text.add(" [").add_hex(fence.operand).add(']');
      break;
    case Operands::Register:
      text.add(", ").add_hex(fence.operand);
      break;
    case Operands::RegisterAndVmid:
      text.add(' ').add_hex(fence.operand).add(", ").add_decimal(fence.vmid);
      break;
    case Operands::Vmid:
      text.add(", ").add_decimal(fence.vmid);
      break;
  }
  return text;
}

bool is_broadcast(FenceOp op) { return row_of(op).broadcast; }

const char* to_string(FencePolicy policy) {
  constexpr const char* kNames[] = {"precise", "context", "original-0.3.0"};
  return kNames[static_cast<unsigned>(policy)];
}

}  // namespace nestwalk::addrspace
