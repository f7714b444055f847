// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'hal\.invalidate\(invalidation\)' (is|would be) invalid

// Nested tables change guest-physical translations: fences for virtual addresses will not do.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

using Table = PageTable<Ept, SomeHal<Gpa, Hpa>>;

#ifdef MUST_FAIL
using WrongTable = PageTable<Ept, SomeHal<Gva, Hpa>>;
#endif
