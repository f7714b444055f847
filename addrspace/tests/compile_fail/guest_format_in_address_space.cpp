// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: is_same_v<.*GvaTag.*GpaTag.*evaluated to '?false

// An AddressSpace is the guest's physical one: the guest's own tables do not make one.
#include "nestwalk/addrspace/address_space.hpp"
#include "nestwalk/addrspace/formats.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

using GuestTable = PageTable<LongMode, SomeHal<Gva, Gpa>>;
using Space = AddressSpace<Ept, SomeHal<Gpa, Hpa>>;

#ifdef MUST_FAIL
using GuestSpace = AddressSpace<LongMode, SomeHal<Gva, Gpa>>;
#endif
