// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: no match for 'operator<'.*Hpa.*Hva|invalid operands to binary expression.*Hpa.*Hva

// Nor does one of them come first.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

static_assert(Hpa(0x1000) < Hpa(0x2000));

#ifdef MUST_FAIL
static_assert(Hpa(0x1000) < Hva(0x2000));
#endif
