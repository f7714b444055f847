// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|cannot convert|no viable conversion|no known conversion).*Gpa.*Hpa

// Linear memory is host memory.
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/format/ept.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

Result<void> map(AddressSpace<Ept, SomeHal<Gpa, Hpa>>& space) {
#ifdef MUST_FAIL
  return space.map_linear(Gpa(0x1000), Gpa(0x2000), 0x1000, {kRead});
#else
  return space.map_linear(Gpa(0x1000), Hpa(0x2000), 0x1000, {kRead});
#endif
}
