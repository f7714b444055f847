// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The fences that were issued while something was to be discharged: which of them came closest is
// looked up only for what is reported.
#pragma once

#include <deque>
#include <map>

#include "obligation.hpp"
#include "range_index.hpp"

namespace nestwalk::checker {

class Attempts {
 public:
  /// `fits`: it discharged something.
  void add(const ExecutedFence& fence, bool fits);
  void clear();

  /// Tells `miss(failure, fence)` of each way in which the fences after the store failed it,
  /// except for those that named its address: these have been judged.
  template <class Miss>
  void after(const Obligation& obligation, const Vm& vm, Miss&& miss) const;
  /// A fence of this processor that would have sufficed, after `since` and before the store.
  ExecutedFence before(const Obligation& obligation, u64 since, const Vm& vm) const;

 private:
  struct Attempt {
    ExecutedFence fence;
    u64 order() const { return fence->order; }
    const models::FenceRequest& request() const { return fence->request; }
  };
  /// Those that differ by their address alone, in order.
  struct Group {
    std::vector<const Attempt*> fitting;
    std::vector<const Attempt*> others;
    RangeIndex<const Attempt> by_address;
  };
  using Key = std::array<u64, 3>;  ///< number of the operation, root, VMID

  Key key_of(const models::FenceRequest& request);
  template <class Visit>
  void for_each_group(const Vm& vm, Visit&& visit) const;
  const Attempt* first_elsewhere(const std::vector<const Attempt*>& attempts,
                                 const Obligation& obligation, const Vm& vm) const;
  const Attempt* shifted(const Group& group, const Obligation& obligation) const;

  std::deque<Attempt> all_;
  std::map<Key, Group> groups_;
  std::vector<models::FenceOp> operations_;  ///< in the order in which they came first
};

/// Of each kind, those with the VM's tags, and a few with others, which are all alike to it.
template <class Visit>
void Attempts::for_each_group(const Vm& vm, Visit&& visit) const {
  constexpr int kFew = 8;
  auto at = groups_.begin();
  while (at != groups_.end()) {
    const u64 kind = at->first[0];
    for (int n = 0; n < kFew && at != groups_.end() && at->first[0] == kind; ++n, ++at) {
      visit(at->second);
    }
    if (at == groups_.end() || at->first[0] != kind) continue;
    for (const Key& key :
         {Key{kind, models::root_of(vm.root_register), 0}, Key{kind, 0, vm.vmid}}) {
      const auto own = groups_.find(key);
      if (own != groups_.end() && !(own->first < at->first)) visit(own->second);
    }
    at = groups_.lower_bound({kind + 1, 0, 0});
  }
}

template <class Miss>
void Attempts::after(const Obligation& obligation, const Vm& vm, Miss&& miss) const {
  for_each_group(vm, [&](const Group& group) {
    if (const Attempt* other = first_elsewhere(group.others, obligation, vm)) {
      const Effect effect = effect_of(other->request(), obligation, vm);
      const bool operand =
          effect.miss == Failure::WrongOperand || effect.miss == Failure::Unshifted;
      const Attempt* unshifted = operand ? shifted(group, obligation) : nullptr;
      miss(unshifted != nullptr ? Failure::Unshifted
           : operand            ? Failure::WrongOperand
                                : effect.miss,
           unshifted != nullptr ? unshifted->fence : other->fence);
    }
    // What was meant for something else is no attempt, unless it stops short of this.
    if (const Attempt* fit = first_elsewhere(group.fitting, obligation, vm)) {
      const Effect effect = effect_of(fit->request(), obligation, vm);
      const bool operand =
          effect.miss == Failure::WrongOperand || effect.miss == Failure::Unshifted;
      if (effect.parts == kCombined) miss(Failure::WrongKind, fit->fence);
      if (effect.parts == 0 && operand) miss(Failure::RangeTooSmall, fit->fence);
    }
  });
}

}  // namespace nestwalk::checker
