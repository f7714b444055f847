// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration/values.hpp"

#include <sstream>
#include <string>

namespace nestwalk::sim {

using models::Json;

namespace {

// A value of a machine stands beside where it comes from.
const Json& without_source(const Json& value) {
  return value.is_array() && value.size() >= 2 && value[1].is_string() ? value[0] : value;
}

// Of a list the parts that are objects, such as the arrays of a TLB, have paths of their own.
void collect_values(const Json& value, const std::string& path, bool in_machine, Json& values) {
  const Json& plain = in_machine ? without_source(value) : value;
  if (&plain == &value && value.is_object()) {
    for (const auto& [key, part] : value.items()) {
      if (key == "about" || key == "sources") continue;
      const bool of_machine = in_machine || (path.empty() && key == "machine");
      collect_values(part, path.empty() ? key : path + "." + key, of_machine, values);
    }
  } else if (&plain == &value && value.is_array() && !value.empty() && value[0].is_object()) {
    for (std::size_t n = 0; n < value.size(); ++n) {
      collect_values(value[n], path + "." + std::to_string(n), in_machine, values);
    }
  } else {
    values[path] = plain;
  }
}

}  // namespace

Json values_of(const Json& configuration) {
  Json values = Json::object();
  collect_values(configuration, "", !configuration.contains("machine"), values);
  return values;
}

namespace {

bool is_number(const std::string& part) {
  return !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
}

// Objects whose keys are numbers are lists.
Json with_lists(const Json& tree) {
  if (!tree.is_object()) return tree;
  Json list = Json::array(), object = Json::object();
  for (const auto& [key, value] : tree.items()) {
    Json part = with_lists(value);
    if (is_number(key)) list.push_back(part);
    object[key] = std::move(part);
  }
  return !list.empty() && list.size() == object.size() ? list : object;
}

}  // namespace

Json document_of(const Json& values) {
  Json tree = Json::object();
  for (const auto& [path, value] : values.items()) {
    Json* place = &tree;
    std::istringstream parts(path);
    for (std::string part; std::getline(parts, part, '.');) {
      if (!place->is_object()) *place = Json::object();
      place = &(*place)[part];
    }
    *place = value;
  }
  return with_lists(tree);
}

}  // namespace nestwalk::sim
