// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the extensions share when they turn an Invalidation into instructions.
#pragma once

#include "nestwalk/addrspace/capabilities.hpp"
#include "nestwalk/addrspace/fence_policy.hpp"
#include "nestwalk/addrspace/geometry.hpp"

namespace nestwalk::addrspace::detail {

/// Too many places for one instruction each, or a list that names unchanged pages, too: one for
/// such a page would remove nothing that has to go.
template <class Needs>
bool takes_whole_vm(const FencePolicy& policy, const Invalidation<Gpa>& change, Needs&& needs) {
  if (policy.most_selective == 0 || change.whole()) return true;
  u64 leaves = 0;
  for (const auto& run : change) {
    if (!needs(run)) continue;
    if (run.hull) return true;
    leaves += run.leaves();
  }
  return leaves > policy.most_selective;
}

}  // namespace nestwalk::addrspace::detail
