// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A complete Hal, for files that show what is wrong with another.
#pragma once

#include "nestwalk/addrspace/hal.hpp"

namespace nestwalk::addrspace {

template <class Input, class PhysicalAddress>
struct SomeHal : HalBase<SomeHal<Input, PhysicalAddress>, PhysicalAddress> {
  Result<PhysicalAddress> alloc_run(unsigned order, FrameUse use);
  void free_run(PhysicalAddress start, unsigned order);
  Hva phys_to_virt(PhysicalAddress at) const;
  PhysicalAddress virt_to_phys(Hva at) const;
  void invalidate(const Invalidation<Input>& change);
  Capabilities capabilities() const;
};

}  // namespace nestwalk::addrspace
