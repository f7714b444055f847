// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the processor's registers say about a fault.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "nestwalk/models/translation/fault.hpp"

namespace nestwalk::models {

struct FaultReport {
  struct Register {
    std::string_view name;  ///< as the manual calls it: CR2, ESR_EL2
    u64 value = 0;
    friend bool operator==(const Register&, const Register&) = default;
  };

  std::string_view event;  ///< such as "EPT violation"
  bool to_hypervisor = false;
  /// The registers that the event writes; unused elements have an empty name.
  std::array<Register, 4> registers{};

  /// 0 where the event does not write it.
  constexpr u64 operator[](std::string_view name) const {
    for (const Register& each : registers) {
      if (each.name == name) return each.value;
    }
    return 0;
  }
  friend bool operator==(const FaultReport&, const FaultReport&) = default;
};

/// "page fault; error code 0x6, CR2 0x100000000".
std::string to_text(const FaultReport& report);

}  // namespace nestwalk::models
