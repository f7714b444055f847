// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The fences of each architecture, by short names.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "nestwalk/models/fences/fence_unit.hpp"

namespace nestwalk::models {

namespace hext = addrspace::hext;
namespace stage2 = addrspace::stage2;
namespace vmx = addrspace::vmx;
namespace x86_64 = addrspace::x86_64;

inline bool is_one_of(FenceOp op, std::initializer_list<FenceOp> ops) {
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}

/// A hypervisor's and a guest's, but for barriers.
inline std::vector<FenceOp> fences_of(Architecture architecture) {
  std::vector<FenceOp> all;
  const auto add = [&](std::span<const FenceOp> ops) {
    std::copy_if(ops.begin(), ops.end(), std::back_inserter(all),
                 [](FenceOp op) { return op->structures != 0 || !op->orders_only(); });
  };
  switch (architecture) {
    case Architecture::X86_64:
      add(vmx::kFences);
      add(x86_64::kFences);
      all.push_back(vmx::kEntryWithoutVpid);
      break;
    case Architecture::AArch64:
      add(stage2::kFences);
      break;
    case Architecture::RiscV64:
      add(hext::kFences);
      all.push_back(hext::kSfenceWInval);
      all.push_back(hext::kSfenceInvalIr);
      break;
  }
  return all;
}

}  // namespace nestwalk::models
