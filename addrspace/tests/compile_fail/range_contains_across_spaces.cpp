// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: no matching (member )?function for call to '(nestwalk::addrspace::Range<.*>::)?contains

// A range of one space does not contain addresses of another.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

constexpr GpaRange kRange = *GpaRange::make(Gpa(0), 0x1000);
static_assert(kRange.contains(Gpa(0x10)));

#ifdef MUST_FAIL
static_assert(kRange.contains(Gva(0x10)));
#endif
