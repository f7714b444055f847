// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The nested tables that a machine has, and how their fences are carried out on it.
#pragma once

#include "machine.hpp"
#include "nestwalk/addrspace/fence_execute.hpp"
#include "nestwalk/addrspace/this_machine.hpp"

namespace nestwalk::baremetal {

#if defined(NESTWALK_SVM)
using NestedTables = Npt;
inline constexpr Geometry kNestedShape = *Npt::geometry(4);
#elif defined(__x86_64__)
using NestedTables = Ept;
inline constexpr Geometry kNestedShape = *Ept::geometry(4);
#elif defined(__aarch64__)
using NestedTables = Stage2<Granule::k4K>;
inline constexpr Geometry kNestedShape = *NestedTables::geometry(40);
#elif defined(__riscv)
using NestedTables = GStage;
inline constexpr Geometry kNestedShape = *GStage::geometry(3);
#endif

#if defined(NESTWALK_SVM)

inline Capabilities capabilities_here() { return svm::this_machine(); }
inline void carry_out(const Capabilities& machine, const Invalidation<Gpa>& change) {
  for (unsigned n = 0; n < kProcessors; ++n) {
    svm::execute_fences(FencePolicy::Precise, machine, change, next_vmrun(n, change.tag().vmid));
  }
  kick_second_processor();
}
/// Nobody is kicked.
inline void carry_out_one(const VmTag& tag, const Fence& fence) {
  for (unsigned n = 0; n < kProcessors; ++n) {
    if (!next_vmrun(n, tag.vmid).request(fence)) svm::execute(fence);
  }
}
/// Its VMID and its root can be used again.
inline void retire(const Capabilities& machine, const VmTag& tag) {
  for (unsigned n = 0; n < kProcessors; ++n) {
    svm::execute_retirement(machine, tag, next_vmrun(n, tag.vmid));
  }
}

#else

inline Capabilities capabilities_here() { return this_machine(); }
inline void carry_out(const Capabilities& machine, const Invalidation<Gpa>& change) {
  execute_fences(FencePolicy::Precise, machine, change);
}
inline void carry_out_one(const VmTag&, const Fence& fence) { execute(fence); }
inline void retire(const Capabilities& machine, const VmTag& tag) {
  execute_retirement(machine, tag);
}

#endif

}  // namespace nestwalk::baremetal
