// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/events.hpp"

namespace nestwalk::checker {

void tell(Events& events, const Moment& when, const addrspace::Fence& fence, const Vm& vm,
          Cycle cycles) {
  switch (fence.op->order) {
    case models::FenceOrder::Stores:
      return events.barrier_issued(when, Barrier::DsbIshst);
    case models::FenceOrder::All:
      return events.barrier_issued(when, Barrier::DsbIsh);
    case models::FenceOrder::OwnStores:
      return events.barrier_issued(when, Barrier::DsbNshst);
    case models::FenceOrder::OwnAll:
      return events.barrier_issued(when, Barrier::DsbNsh);
    case models::FenceOrder::Context:
      return events.barrier_issued(when, Barrier::Isb);
    case models::FenceOrder::Nothing:
    case models::FenceOrder::Begin:
    case models::FenceOrder::End:
      return events.fence_issued(when, models::request_of(fence, vm.vmid, 0), cycles);
  }
}

}  // namespace nestwalk::checker
