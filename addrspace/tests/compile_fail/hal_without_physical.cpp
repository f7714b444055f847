// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: Physical.* is (a )?private

// HalBase supplies this, and a Hal may replace it, but not do without: a Hal names the space of its
// frames.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

struct Lacking : SomeHal<Gpa, Hpa> {
#ifdef MUST_FAIL
 private:
  using Physical = Hpa;
#endif
};

using Table = PageTable<Ept, Lacking>;
