// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: no (match for|viable overloaded) '(operator)?='

// An address variable holds addresses of its own space.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

void use() {
  Gva at(0x1000);
  at = Gva(0x2000);
#ifdef MUST_FAIL
  at = Gpa(0x2000);
#endif
}
