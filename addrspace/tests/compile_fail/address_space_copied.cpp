// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: use of deleted function|implicitly-deleted copy constructor

// Two spaces would free the same tables.
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/format/ept.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

using Space = AddressSpace<Ept, SomeHal<Gpa, Hpa>>;

void use(Space& space) {
  Space moved(static_cast<Space&&>(space));
#ifdef MUST_FAIL
  Space copied(moved);
#endif
}
