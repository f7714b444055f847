// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'hal\.write_entry\(physical, entry\)' (is|would be) invalid

// HalBase supplies this, and a Hal may replace it, but not do without: a Hal writes table entries.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

struct Lacking : SomeHal<Gpa, Hpa> {
#ifdef MUST_FAIL
  void write_entry(Hpa slot, u64 entry) = delete;
#endif
};

using Table = PageTable<Ept, Lacking>;
