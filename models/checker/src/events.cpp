// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/events.hpp"

namespace nestwalk::checker {

void tell(Events& events, const Moment& when, const addrspace::Fence& fence, const Vm& vm,
          Cycle cycles) {
  using addrspace::FenceOp;
  switch (fence.op) {
    case FenceOp::DsbIshst:
      return events.barrier_issued(when, Barrier::DsbIshst);
    case FenceOp::DsbIsh:
    case FenceOp::DsbSy:
      return events.barrier_issued(when, Barrier::DsbIsh);
    case FenceOp::Isb:
      return events.barrier_issued(when, Barrier::Isb);
    default:
      models::Regime regime;
      regime.nested = vm.nested;
      regime.vmid = vm.vmid;
      return events.fence_issued(when, models::from_engine(fence, regime), cycles);
  }
}

}  // namespace nestwalk::checker
