// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no known conversion).*Gpa.*Hpa

// A guest-physical address is no host-physical one.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

constexpr u64 frame_number(Hpa at) { return at.value() >> kFrameShift; }

static_assert(frame_number(Hpa(0x1000)) == 1);

#ifdef MUST_FAIL
constexpr u64 kFrame = frame_number(Gpa(0x1000));
#endif
