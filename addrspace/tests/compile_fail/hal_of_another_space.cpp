// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: is_same_v<.*GpaTag.*HpaTag.*evaluated to '?false

// Tables of host-physical frames are not built from guest-physical ones.
#include "nestwalk/addrspace/format/ept.hpp"
#include "nestwalk/addrspace/page_table.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

using Table = PageTable<Ept, SomeHal<Gpa, Hpa>>;

#ifdef MUST_FAIL
using WrongTable = PageTable<Ept, SomeHal<Gpa, Gpa>>;
#endif
