// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: kAnyBytesAreAValue<.*evaluated to '?false

// Of a structure nobody knows whether any bytes are a value: its author says so.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/guest_memory.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

struct Message {
  u32 length;
  bool last;
};

void use(GuestMemory<AddressSpace<Ept, SomeHal<Gpa, Hpa>>>& memory) {
  (void)memory.load<u32>(Gpa(0x1000));
#ifdef MUST_FAIL
  (void)memory.load<Message>(Gpa(0x1000));
#endif
}
