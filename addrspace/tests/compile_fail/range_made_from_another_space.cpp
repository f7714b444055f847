// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: cannot convert .*Hpa.*Gpa|could not convert .*Hpa.*Gpa|no viable conversion.*Hpa.*Gpa

// The start of a range is an address of its space.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

static_assert(GpaRange::make(Gpa(0), 0x1000).ok());

#ifdef MUST_FAIL
static_assert(GpaRange::make(Hpa(0), 0x1000).ok());
#endif
