// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'hal\.alloc_frame\(use\)' (is|would be) invalid

// HalBase supplies this, and a Hal may replace it, but not do without: a Hal allocates single
// frames.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

struct Lacking : SomeHal<Gpa, Hpa> {
#ifdef MUST_FAIL
  Result<Hpa> alloc_frame(FrameUse use) = delete;
#endif
};

using Table = PageTable<Ept, Lacking>;
