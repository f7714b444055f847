// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/address_space.hpp"

namespace nestwalk::addrspace {

const char* to_string(FaultOutcome outcome) {
  constexpr const char* kNames[] = {"mapped",        "made writable", "already mapped", "no area",
                                    "no permission", "not backed",    "out of memory"};
  return kNames[static_cast<unsigned>(outcome)];
}

}  // namespace nestwalk::addrspace
