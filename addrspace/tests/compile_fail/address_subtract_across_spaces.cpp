// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: no match for 'operator-'.*Gva.*Gpa|invalid operands to binary expression.*Gva.*Gpa

// There is no distance between a virtual and a physical address.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

static_assert(Gva(0x3000) - Gva(0x1000) == 0x2000);

#ifdef MUST_FAIL
constexpr u64 kDistance = Gva(0x3000) - Gpa(0x1000);
#endif
