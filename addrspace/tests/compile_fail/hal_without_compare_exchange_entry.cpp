// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'hal\.compare_exchange_entry\(physical, entry, entry\)' (is|would be) invalid

// HalBase supplies this, and a Hal may replace it, but not do without: a Hal replaces entries that
// the hardware may change.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

struct Lacking : SomeHal<Gpa, Hpa> {
#ifdef MUST_FAIL
  bool compare_exchange_entry(Hpa slot, u64 expected, u64 desired) = delete;
#endif
};

using Table = PageTable<Ept, Lacking>;
