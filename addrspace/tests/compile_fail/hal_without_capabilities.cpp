// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'const_hal\.capabilities\(\)' (is|would be) invalid

// A Hal reports what the machine can do: nobody else knows.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

struct Lacking : SomeHal<Gpa, Hpa> {
#ifdef MUST_FAIL
  Capabilities capabilities() const = delete;
#endif
};

using Table = PageTable<Ept, Lacking>;
