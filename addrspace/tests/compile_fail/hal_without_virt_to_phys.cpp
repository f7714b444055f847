// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'const_hal\.virt_to_phys\(virt\)' (is|would be) invalid

// Every Hal says itself how to `virt_to_phys`: HalBase does not know.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"

using namespace nestwalk::addrspace;

struct SomeHal : HalBase<SomeHal> {
  Result<Hpa> alloc_run(unsigned order, FrameUse use);
  void free_run(Hpa start, unsigned order);
  Hva phys_to_virt(Hpa at) const;
#ifndef MUST_FAIL
  Hpa virt_to_phys(Hva at) const;
#endif
  void invalidate(const Invalidation<Gpa>& change);
  Capabilities capabilities() const;
};

using Table = PageTable<Ept, SomeHal>;
