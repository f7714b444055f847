// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Single values of a machine, with their range, by their path.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "configuration/configuration.hpp"

namespace nestwalk::sim {

struct PresetValue {
  Json value;
  std::optional<std::pair<addrspace::u64, addrspace::u64>> range;  ///< of a guess
};
/// Nothing if the machine lacks it.
std::optional<PresetValue> preset_value(const Configuration& machine, const std::string& path);
/// Puts a value with its source into a preset that is `like` a machine. A list of structures is
/// taken along as a whole, since a preset replaces it as one.
void put_value(Json& preset, const Json& machine, const std::string& path, Json value);

}  // namespace nestwalk::sim
