// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <string>

#include "nestwalk/addrspace/text.hpp"

namespace nestwalk::models {

/// As messages and documents show addresses: "0x1f".
inline std::string hex(addrspace::u64 value) {
  return addrspace::Text<32>().add_hex(value).c_str();
}

}  // namespace nestwalk::models
