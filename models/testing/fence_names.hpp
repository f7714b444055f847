// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The fences of each extension, by short names.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/models/fences/fence_unit.hpp"

namespace nestwalk::models {

namespace hext = addrspace::hext;
namespace stage2 = addrspace::stage2;
namespace svm = addrspace::svm;
namespace vmx = addrspace::vmx;
namespace x86_64 = addrspace::x86_64;

inline bool is_one_of(FenceOp op, std::initializer_list<FenceOp> ops) {
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}

/// A hypervisor's and a guest's, but for barriers.
inline std::vector<FenceOp> fences_of(const Extension& extension) {
  std::vector<FenceOp> all;
  for (const std::span<const FenceOp> ops : {extension.fences, extension.isa->fences}) {
    std::copy_if(ops.begin(), ops.end(), std::back_inserter(all),
                 [](FenceOp op) { return op->structures != 0 || !op->orders_only(); });
  }
  if (&extension == &kVmx) all.push_back(vmx::kEntryWithoutVpid);
  if (&extension == &kHext) {
    all.push_back(hext::kSfenceWInval);
    all.push_back(hext::kSfenceInvalIr);
  }
  return all;
}

}  // namespace nestwalk::models
