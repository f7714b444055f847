// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "attempts.hpp"

#include <algorithm>

namespace nestwalk::checker {

using models::By;
using models::FenceRequest;

namespace {

constexpr std::size_t kMost = std::size_t{1} << 20;
/// Enough to say what was wrong with a fence.
constexpr u64 kMostLooks = 64;
/// AArch64: bit 63 of an IPA's operand is no part of it.
constexpr u64 address_of(const FenceRequest& request) {
  return request.address & addrspace::low_mask(63);
}

}  // namespace

void Attempts::add(const ExecutedFence& fence, bool fits) {
  if (all_.size() == kMost) clear();
  const FenceRequest& request = fence->request;
  all_.push_back({fence});
  const Attempt& attempt = all_.back();
  Group& group = groups_[key_of(request)];
  (fits ? group.fitting : group.others).push_back(&attempt);
  if (row_of(request).by == By::GuestPhysical) {
    group.by_address.add(address_of(request), request.bytes, attempt);
  }
}

/// What its effect depends on, besides the address.
Attempts::Key Attempts::key_of(const FenceRequest& request) {
  const models::FenceRow& row = row_of(request);
  const auto found = std::find(operations_.begin(), operations_.end(), request.op);
  const u64 kind = static_cast<u64>(found - operations_.begin());
  if (found == operations_.end()) operations_.push_back(request.op);
  if (row.structures == 0 || row.by == By::Virtual || row.has(fence::kAsid)) {
    return {kind, 0, 0};
  }
  return {kind, row.has(fence::kRoot) ? models::root_of(request.root) : 0,
          row.has(fence::kVmid) ? request.vmid : u64{0}};
}

void Attempts::clear() {
  groups_.clear();
  all_.clear();
}

/// The first one after the store that does not name its address.
const Attempts::Attempt* Attempts::first_elsewhere(const std::vector<const Attempt*>& attempts,
                                                   const Obligation& obligation,
                                                   const Vm& vm) const {
  auto at =
      std::upper_bound(attempts.begin(), attempts.end(), obligation.order,
                       [](u64 order, const Attempt* attempt) { return order < attempt->order(); });
  for (; at != attempts.end(); ++at) {
    const FenceRequest& request = (*at)->request();
    if (row_of(request).by != By::GuestPhysical || !has_tag(request, vm)) return *at;
    const u64 address = request.address & ~vm.operand_tag;
    const bool meets =
        address - obligation.start < obligation.bytes || obligation.start - address < request.bytes;
    if (!meets) return *at;
  }
  return nullptr;
}

/// One whose operand would be right, if it were shifted otherwise.
const Attempts::Attempt* Attempts::shifted(const Group& group, const Obligation& obligation) const {
  const Attempt* first = nullptr;
  const auto consider = [&](const Attempt& attempt) {
    if (attempt.order() <= obligation.order || attempt.request().address == 0) return;
    if (!is_unshifted(attempt.request(), obligation)) return;
    if (first == nullptr || attempt.order() < first->order()) first = &attempt;
  };
  for (const unsigned shift : kWrongShifts) {
    group.by_address.for_each(obligation.start << shift, obligation.bytes << shift, consider,
                              kMostLooks);
    group.by_address.for_each(obligation.start >> shift, (obligation.bytes >> shift) + 1, consider,
                              kMostLooks);
  }
  return first;
}

ExecutedFence Attempts::before(const Obligation& obligation, u64 since, const Vm& vm) const {
  const Attempt* found = nullptr;
  const auto consider = [&](const Attempt& attempt) {
    if (attempt.order() < since || attempt.order() > obligation.order) return;
    if (attempt.fence->when.processor != obligation.when.processor) return;
    if (found != nullptr && found->order() < attempt.order()) return;
    if ((effect_of(attempt.request(), obligation, vm).parts & kNested) != 0) found = &attempt;
  };
  for_each_group(vm, [&](const Group& group) {
    group.by_address.for_each(obligation.start, obligation.bytes, consider, kMostLooks);
    for (const auto* attempts : {&group.fitting, &group.others}) {
      auto at = std::lower_bound(
          attempts->begin(), attempts->end(), since,
          [](const Attempt* attempt, u64 order) { return attempt->order() < order; });
      // By what they name: all of them, or none.
      if (at != attempts->end() && row_of((*at)->request()).by == By::Nothing) consider(**at);
    }
  });
  return found == nullptr ? nullptr : found->fence;
}

}  // namespace nestwalk::checker
