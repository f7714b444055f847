// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0
// expect: use of deleted function|call to deleted constructor

// Two owners would free the same frame.
#include "nestwalk/addrspace/phys_frame.hpp"
#include "some_hal.hpp"

using namespace nestwalk::addrspace;

using Frame = PhysFrame<SomeHal<Gpa, Hpa>>;

void use(Frame& frame) {
  Frame moved(static_cast<Frame&&>(frame));
#ifdef MUST_FAIL
  Frame copied(moved);
#endif
}
