// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'hal\.alloc_run\(order, use\)' (is|would be) invalid

// Every Hal says itself how to `alloc_run`: HalBase does not know.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"

using namespace nestwalk::addrspace;

struct SomeHal : HalBase<SomeHal> {
#ifndef MUST_FAIL
  Result<Hpa> alloc_run(unsigned order, FrameUse use);
#endif
  void free_run(Hpa start, unsigned order);
  Hva phys_to_virt(Hpa at) const;
  Hpa virt_to_phys(Hva at) const;
  void invalidate(const Invalidation<Gpa>& change);
  Capabilities capabilities() const;
};

using Table = PageTable<Ept, SomeHal>;
