// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: (conversion from|no viable conversion).*(int|long).*Gpa

// A number becomes an address only where the code says which kind.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

constexpr Gpa kSaid = Gpa(0x1000);

#ifdef MUST_FAIL
constexpr Gpa kUnsaid = 0x1000;
#endif
