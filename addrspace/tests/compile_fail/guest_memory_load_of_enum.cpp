// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: kAnyBytesAreAValue<.*evaluated to '?false

// An enumeration has few of the values that its bytes can have.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/guest_memory.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

enum class Color : u32 { Red, Green };

void use(GuestMemory<AddressSpace<Ept, SomeHal<Gpa, Hpa>>>& memory) {
  (void)memory.load<u32>(Gpa(0x1000));
#ifdef MUST_FAIL
  (void)memory.load<Color>(Gpa(0x1000));
#endif
}
