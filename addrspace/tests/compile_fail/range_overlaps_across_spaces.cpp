// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no viable conversion|cannot convert).*Hpa.*Gpa

// Ranges of two spaces do not overlap.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

constexpr GpaRange kRange = *GpaRange::make(Gpa(0), 0x1000);
static_assert(kRange.overlaps(*GpaRange::make(Gpa(0), 0x2000)));

#ifdef MUST_FAIL
static_assert(kRange.overlaps(*HpaRange::make(Hpa(0), 0x2000)));
#endif
