// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/preset_value.hpp"

#include <sstream>

namespace nestwalk::sim {
namespace {

bool is_index(const std::string& part) {
  return !part.empty() && part.find_first_not_of("0123456789") == part.npos;
}

// Null where there is nothing.
const Json* below(const Json* place, const std::string& part) {
  if (place->is_array()) {
    const bool fits = is_index(part) && std::stoul(part) < place->size();
    return fits ? &(*place)[std::stoul(part)] : nullptr;
  }
  return place->is_object() && place->contains(part) ? &(*place)[part] : nullptr;
}

}  // namespace

std::optional<PresetValue> preset_value(const Configuration& machine, const std::string& path) {
  const Json* place = &machine.document()["machine"];
  std::istringstream parts(path);
  for (std::string part; place != nullptr && std::getline(parts, part, '.');) {
    place = below(place, part);
  }
  if (place == nullptr || !place->is_array() || place->empty()) return std::nullopt;
  PresetValue found{(*place)[0], {}};
  if (place->size() == 4 && (*place)[2].is_number_unsigned() && (*place)[3].is_number_unsigned()) {
    found.range = {(*place)[2].get<addrspace::u64>(), (*place)[3].get<addrspace::u64>()};
  }
  return found;
}

void put_value(Json& preset, const Json& machine, const std::string& path, Json value) {
  Json* to = &preset;
  const Json* from = &machine;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '.');) {
    from = below(from, part);
    if (to->is_array()) {
      to = &(*to)[std::stoul(part)];
      continue;
    }
    Json& next = (*to)[part];
    if (next.is_null()) next = is_index(part) || from->is_array() ? *from : Json::object();
    to = &next;
  }
  *to = std::move(value);
}

}  // namespace nestwalk::sim
