// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: cannot convert .*Hpa.* to|no viable conversion from .*Hpa

// An address becomes a number only where the code asks for its value.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

constexpr u64 kAsked = Hpa(0x1000).value();

#ifdef MUST_FAIL
constexpr u64 kUnasked = Hpa(0x1000);
#endif
