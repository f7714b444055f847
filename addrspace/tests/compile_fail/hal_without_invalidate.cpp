// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'hal\.invalidate\(invalidation\)' (is|would be) invalid

// Every Hal says itself how to `invalidate`: HalBase does not know.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"

using namespace nestwalk::addrspace;

struct SomeHal : HalBase<SomeHal> {
  Result<Hpa> alloc_run(unsigned order, FrameUse use);
  void free_run(Hpa start, unsigned order);
  Hva phys_to_virt(Hpa at) const;
  Hpa virt_to_phys(Hva at) const;
#ifndef MUST_FAIL
  void invalidate(const Invalidation<Gpa>& change);
#endif
  Capabilities capabilities() const;
};

using Table = PageTable<Ept, SomeHal>;
