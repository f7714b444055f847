// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "obligation.hpp"

namespace nestwalk::checker {
namespace {

using models::By;
using models::FenceRequest;
using models::FenceRow;

bool overlaps(u64 first, u64 bytes, const Obligation& obligation) {
  return first - obligation.start < obligation.bytes || obligation.start - first < bytes;
}

/// FEAT_TTL: an operand may say of which granule and level the leaf is, and then no other entry has
/// to go. Bits 47:46 and 45:44; of ranges, the level is in 38:37 (Arm ARM D8, "TTL").
bool hint_fits(const FenceRequest& request, const Obligation& obligation, const Vm& vm) {
  constexpr unsigned kLastLevel = 3;
  const auto kind = request.op->operand;
  const bool may =
      kind == addrspace::FenceOperand::Ipa || kind == addrspace::FenceOperand::IpaRange;
  const u64 operand = request.instruction.operand;
  const u64 granule = operand >> 46 & 3;
  if (!may || granule == 0) return true;
  const u64 hint = operand >> (request.bytes > 1 ? 37 : 44) & 3;
  if (10 + 2 * granule != vm.nested.geometry.shift(0)) return false;
  const u64 level = kLastLevel - obligation.level;
  return hint == 0 || (obligation.table ? hint > level : hint == level);
}

}  // namespace

bool has_tag(const FenceRequest& request, const Vm& vm) {
  const FenceRow& row = row_of(request);
  if (row.has(fence::kRoot) && models::root_of(request.root) != models::root_of(vm.root_register))
    return false;
  if (row.has(fence::kVmid) && request.vmid != vm.vmid) return false;
  if (row.has(fence::kHost) && vm.vmid != 0) return false;
  return !row.has(fence::kGuests) || vm.vmid != 0;
}

bool is_unshifted(const FenceRequest& request, const Obligation& obligation) {
  for (const unsigned shift : kWrongShifts) {
    for (const u64 address : {request.address >> shift, request.address << shift}) {
      if (address != 0 && address - obligation.start < obligation.bytes) return true;
    }
  }
  return false;
}

Effect effect_of(const FenceRequest& request, const Obligation& obligation, const Vm& vm) {
  const FenceRow& row = row_of(request);
  if (obligation.change == Change::Retired) {
    // Nothing is walked any more: the parts go one by one.
    if (row.structures == 0 || row.by != By::Nothing) return {};
    if (!has_tag(request, vm)) return {0, Failure::WrongTag};
    u8 parts = 0;
    if ((row.structures & fence::kSecond) != 0) parts |= kNested;
    if ((row.structures & fence::kFirst) != 0 && row.has(fence::kGlobals)) parts |= kCombined;
    const bool both = vm.nested.format->extension().whole_vm_includes_linear;
    if ((row.structures & fence::kFirst) != 0 && row.has(fence::kGlobals) &&
        (both || (row.structures & fence::kSecond) == 0)) {
      parts |= kLinear;
    }
    return {parts, Failure::WrongKind};
  }
  // No address of the guest's own selects all that was merged.
  if (row.structures == 0 || row.by == By::Virtual || row.has(fence::kAsid)) return {};
  if (!has_tag(request, vm)) {
    const bool second = (row.structures & fence::kSecond) != 0;
    return {0, second ? Failure::WrongTag : Failure::WrongKind};
  }
  if (row.by == By::GuestPhysical) {
    if (!overlaps(request.address & ~vm.operand_tag, request.bytes, obligation)) {
      return {0, is_unshifted(request, obligation) ? Failure::Unshifted : Failure::WrongOperand};
    }
    if ((request.address & vm.operand_tag) != vm.operand_tag) return {0, Failure::WrongOperand};
  }
  if (row.by == By::GuestPhysical && !hint_fits(request, obligation, vm)) {
    return {0, Failure::WrongLevel};
  }
  const u8 wanted = obligation.table ? fence::kNestedWalk : fence::kNestedTlb;
  u8 parts = 0;
  if ((row.structures & wanted) != 0) parts |= kNested;
  const bool all_first = (row.structures & fence::kFirst) == fence::kFirst;
  const bool first_alone = (row.structures & fence::kSecond) == 0;
  // What was merged with a global entry of the guest's is global, too.
  if (all_first && (first_alone || (parts != 0 && row.has(fence::kGlobals)))) parts |= kCombined;
  const bool other = (row.structures & fence::kSecond & ~wanted) != 0;
  return {parts, other && obligation.table ? Failure::LeafOnly : Failure::WrongKind};
}

}  // namespace nestwalk::checker
