// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no known conversion).*Gpa.*Hpa

// A range of guest-physical addresses is none of host-physical ones.
#include "nestwalk/addrspace/address.hpp"

using namespace nestwalk::addrspace;

constexpr u64 frames(HpaRange range) { return range.size() >> kFrameShift; }

static_assert(frames(*HpaRange::make(Hpa(0), 0x2000)) == 2);

#ifdef MUST_FAIL
constexpr u64 kFrames = frames(*GpaRange::make(Gpa(0), 0x2000));
#endif
