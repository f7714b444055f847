// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'const_hal\.read_entry\(physical\)' (is|would be) invalid

// HalBase supplies this, and a Hal may replace it, but not do without: a Hal reads table entries.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

struct Lacking : SomeHal<Gpa, Hpa> {
#ifdef MUST_FAIL
  u64 read_entry(Hpa slot) const = delete;
#endif
};

using Table = PageTable<Ept, Lacking>;
