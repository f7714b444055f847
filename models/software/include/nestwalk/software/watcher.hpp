// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Somebody who is told, in the order of time, all that matters for stale translations: what the
// hypervisor stores, fences and frees, when guests run, and what they access.
#pragma once

#include <optional>

#include "nestwalk/models/fences/fence_unit.hpp"
#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

class Watcher : public models::FenceWitness {
 public:
  /// The guest runs on the core from now on, until it left; one of its vCPUs, if each has a VMID of
  /// its own, else the first.
  virtual void entered(u32 core, u32 vcpu, u16 vmid) = 0;
  virtual void left(u32 core) = 0;
  /// The core has other VMIDs for all vCPUs that ran there.
  virtual void took_vmids_back(u32 core) = 0;
  /// It left because of such an access there.
  virtual void faulted(u32 core, Gpa at, addrspace::Access access) = 0;
  /// What the hypervisor does between, by name.
  virtual void began(u32 core, const char* operation) = 0;
  virtual void ended(u32 core) = 0;
  virtual void stored(u32 core, Hpa slot, u64 before, u64 after) = 0;
  virtual void allocated(u32 core, Hpa first, u64 bytes) = 0;
  virtual void freed(u32 core, Hpa first, u64 bytes) = 0;
  /// An access of the guest uses a translation, which leads to this host address.
  virtual void accessed(u32 core, Gva address, std::optional<Gpa> guest_physical, Hpa host,
                        bool write) = 0;
};

}  // namespace nestwalk::software
