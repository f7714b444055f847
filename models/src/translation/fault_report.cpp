// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/fault_report.hpp"

#include "nestwalk/models/base/hex.hpp"

namespace nestwalk::models {

std::string to_text(const FaultReport& report) {
  std::string text(report.event);
  const char* separator = "; ";
  for (const FaultReport::Register& each : report.registers) {
    if (each.name.empty()) break;
    text.append(separator).append(each.name).append(" ").append(hex(each.value));
    separator = ", ";
  }
  return text;
}

}  // namespace nestwalk::models
