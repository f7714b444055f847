// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration/values.hpp"

#include <string>

namespace nestwalk::sim {

using models::Json;

namespace {

// A value of a machine stands beside where it comes from.
const Json& without_source(const Json& value) {
  return value.is_array() && value.size() >= 2 && value[1].is_string() ? value[0] : value;
}

// Of a list the parts that are objects, such as the arrays of a TLB, have paths of their own.
void collect_values(const Json& value, const std::string& path, Json& values) {
  const Json& plain = without_source(value);
  if (&plain == &value && value.is_object()) {
    for (const auto& [key, part] : value.items()) {
      if (key == "about" || key == "sources") continue;
      collect_values(part, path.empty() ? key : path + "." + key, values);
    }
  } else if (&plain == &value && value.is_array() && !value.empty() && value[0].is_object()) {
    for (std::size_t n = 0; n < value.size(); ++n) {
      collect_values(value[n], path + "." + std::to_string(n), values);
    }
  } else {
    values[path] = plain;
  }
}

}  // namespace

Json values_of(const Json& configuration) {
  Json values = Json::object();
  collect_values(configuration, "", values);
  return values;
}

}  // namespace nestwalk::sim
