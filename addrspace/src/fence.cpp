// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/fence_op.hpp"

namespace nestwalk::addrspace {
namespace {

// rs1 and rs2: x0 is for all.
void add_hart_operands(Text<64>& text, const Fence& fence) {
  const FenceRow& row = *fence.op;
  const bool second = (row.structures & fence::kSecond) != 0;
  for (const char* at = row.name.c_str(); *at != '\0' && *at != ' '; ++at) text.add(*at);
  text.add(' ');
  row.by == By::Nothing ? text.add("zero") : text.add_hex(fence.operand);
  text.add(", ");
  row.has(second ? fence::kVmid : fence::kAsid) ? text.add_decimal(fence.vmid) : text.add("zero");
}

}  // namespace

Text<64> to_text(const Fence& fence) {
  const FenceRow& row = *fence.op;
  Text<64> text;
  if (row.operand == FenceOperand::Hart) {
    add_hart_operands(text, fence);
    return text;
  }
  text.add(row.name.c_str());
  switch (row.operand) {
    case FenceOperand::None:
    case FenceOperand::Hart:
      break;
    case FenceOperand::Linear:
      text.add(" [").add_hex(fence.operand).add(']');
      break;
    case FenceOperand::VpidLinear:
      text.add(", ").add_hex(fence.vmid).add(", ").add_hex(fence.operand);
      break;
    case FenceOperand::Root:
    case FenceOperand::Vpid:
    case FenceOperand::Ipa:
    case FenceOperand::IpaRange:
    case FenceOperand::Va:
    case FenceOperand::VaRange:
    case FenceOperand::Asid:
      text.add(", ").add_hex(fence.operand);
      break;
  }
  return text;
}

}  // namespace nestwalk::addrspace
