// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'hal\.publish\(physical, bytes\)' (is|would be) invalid

// HalBase supplies this, and a Hal may replace it, but not do without: a Hal makes zeros
// visible to guests without caches.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

struct Lacking : SomeHal<Gpa, Hpa> {
#ifdef MUST_FAIL
  void publish(Hpa start, u64 bytes) = delete;
#endif
};

using Table = PageTable<Ept, Lacking>;
