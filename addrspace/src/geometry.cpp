// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/addrspace/geometry.hpp"

namespace nestwalk::addrspace {

const char* to_string(Architecture architecture) {
  constexpr const char* kNames[] = {"x86_64", "aarch64", "riscv64"};
  return kNames[static_cast<unsigned>(architecture)];
}

}  // namespace nestwalk::addrspace
