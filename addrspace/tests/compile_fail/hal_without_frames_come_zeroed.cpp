// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: 'H::kFramesComeZeroed' (is|would be) invalid

// HalBase supplies this, and a Hal may replace it, but not do without: a Hal says whether its
// frames come zeroed.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

struct Lacking : SomeHal<Gpa, Hpa> {
#ifdef MUST_FAIL
 private:
  static constexpr bool kFramesComeZeroed = false;
#endif
};

using Table = PageTable<Ept, Lacking>;
