// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: no match for 'operator\+'.*Gpa|invalid operands to binary expression.*Gpa

// The sum of two addresses means nothing.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

static_assert(Gpa(0x1000) + u64{0x1000} == Gpa(0x2000));

#ifdef MUST_FAIL
constexpr Gpa kSum = Gpa(0x1000) + Gpa(0x1000);
#endif
