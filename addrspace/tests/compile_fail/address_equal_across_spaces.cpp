// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: no match for 'operator=='.*Gpa.*Hpa|invalid operands to binary expression.*Gpa.*Hpa

// Addresses of two spaces are neither equal nor unequal.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

static_assert(Gpa(0x1000) == Gpa(0x1000));

#ifdef MUST_FAIL
static_assert(Gpa(0x1000) == Hpa(0x1000));
#endif
