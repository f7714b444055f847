// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: kAnyBytesAreAValue<.*evaluated to '?false

// A pointer of the host's is nothing for a guest to see.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/guest_memory.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

void use(GuestMemory<AddressSpace<Ept, SomeHal<Gpa, Hpa>>>& memory, const char* text) {
  (void)memory.store(Gpa(0x1000), *text);
#ifdef MUST_FAIL
  (void)memory.store(Gpa(0x1000), text);
#endif
}
