// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: kAnyBytesAreAValue<.*evaluated to '?false

// A byte that is neither 0 nor 1 is no bool, and the guest may write any.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/guest_memory.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

void use(GuestMemory<AddressSpace<Ept, SomeHal<Gpa, Hpa>>>& memory) {
  (void)memory.load<u32>(Gpa(0x1000));
#ifdef MUST_FAIL
  (void)memory.load<bool>(Gpa(0x1000));
#endif
}
