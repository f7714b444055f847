// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// For fuzzers: changes parts of JSON to values that a JSON Schema permits there, or nearly so.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#include "nestwalk/models/base/json.hpp"
#include "nestwalk/models/base/text_file.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace nestwalk::models {

class JsonMutator {
 public:
  JsonMutator(const Json& schema, unsigned seed) : root_(schema), random_(seed) {}

  /// Discarded, if it is not JSON, or nests too deep for a visitor that is recursive.
  static Json parsed(const std::string& text) {
    try {
      check_json(text, "");
      return Json::parse(text, nullptr, false);
    } catch (const TextError&) {
      return Json(Json::value_t::discarded);
    }
  }

  /// What libFuzzer's custom mutator does; the text is JSON again, most of the time.
  std::size_t mutate(std::uint8_t* data, std::size_t size, std::size_t most) {
    if (one_of(10) == 0) return LLVMFuzzerMutate(data, size, most);
    Json document = parsed({reinterpret_cast<const char*>(data), size});
    if (document.is_discarded() || one_of(20) == 0) document = made_of(root_, 0);
    for (std::size_t times = 1 + one_of(3); times != 0; --times) change(document, root_, 0);
    const std::string text = document.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > most) return LLVMFuzzerMutate(data, size, most);
    std::memcpy(data, text.data(), text.size());
    return text.size();
  }

 private:
  static constexpr unsigned kDeepest = 12;

  std::size_t one_of(std::size_t count) { return random_() % count; }

  // The schema that permits everything.
  static const Json& any() {
    static const Json kAny = Json::object();
    return kAny;
  }

  // No copy: a schema is large.
  static const Json& part_of(const Json& schema, const char* key) {
    const auto found = schema.find(key);
    return found == schema.end() ? any() : *found;
  }

  // Through $ref, and into one of several schemas.
  const Json& resolved(const Json& schema) {
    if (!schema.is_object()) return any();  // "items": false
    // Beside the items of a pair, it only says what may follow them.
    if (schema.contains("$ref") && !schema.contains("prefixItems")) {
      const std::string path = schema["$ref"];
      return resolved(root_.at(Json::json_pointer(path.substr(1))));
    }
    if (schema.contains("then")) {
      return resolved(part_of(schema, one_of(4) == 0 ? "then" : "else"));
    }
    for (const char* const key : {"anyOf", "oneOf"}) {
      if (schema.contains(key)) return resolved(schema[key][one_of(schema[key].size())]);
    }
    return schema;
  }

  void change(Json& value, const Json& of, unsigned depth) {
    const Json& schema = resolved(of);
    const bool deeper = !value.empty() && value.is_structured() && one_of(6) != 0;
    if (!deeper || depth > kDeepest) {
      value = one_of(8) == 0 ? anything() : made_of(schema, depth);
      return;
    }
    if (value.is_array()) {
      const std::size_t n = one_of(value.size());
      if (one_of(8) == 0) return value.push_back(Json(value[n]));
      if (one_of(8) == 0) return value.erase(n);
      const Json& first = part_of(schema, "prefixItems");
      return change(value[n], n < first.size() ? first[n] : part_of(schema, "items"), depth + 1);
    }
    const Json& parts = part_of(schema, "properties");
    if (!parts.empty() && one_of(3) == 0) {
      const auto part = std::next(parts.begin(), static_cast<std::ptrdiff_t>(one_of(parts.size())));
      value[part.key()] = made_of(part.value(), depth + 1);
      return;
    }
    const auto at = std::next(value.begin(), static_cast<std::ptrdiff_t>(one_of(value.size())));
    if (one_of(10) == 0) {
      value.erase(at.key());
      return;
    }
    if (one_of(20) == 0) {  // a key that is not known
      value[at.key() + "s"] = Json(at.value());
      return;
    }
    change(at.value(), part_of(parts, at.key().c_str()), depth + 1);
  }

  Json made_of(const Json& of, unsigned depth) {
    const Json& schema = resolved(of);
    if (depth > kDeepest) return nullptr;
    if (schema.contains("const")) return schema["const"];
    if (schema.contains("enum")) return schema["enum"][one_of(schema["enum"].size())];
    if (schema.contains("pattern")) return text();
    std::string type = "object";
    if (schema.contains("type")) {
      const Json& types = schema["type"];
      type = types.is_array() ? types[one_of(types.size())].get<std::string>()
                              : types.get<std::string>();
    }
    if (type == "integer" || type == "number") return number(schema);
    if (type == "boolean") return one_of(2) == 0;
    if (type == "string") return text();
    if (type == "null") return nullptr;
    if (type == "array") return array_of(schema, depth);
    Json made = Json::object();
    const Json& required = part_of(schema, "required");
    const Json& parts = part_of(schema, "properties");
    for (const auto& [name, part] : parts.items()) {
      const bool needed = std::find(required.begin(), required.end(), name) != required.end();
      if (needed || one_of(3) == 0) made[name] = made_of(part, depth + 1);
    }
    return made;
  }

  Json array_of(const Json& schema, unsigned depth) {
    Json made = Json::array();
    for (const Json& each : part_of(schema, "prefixItems")) {
      made.push_back(made_of(each, depth + 1));
    }
    if (schema.contains("maxItems") && made.size() == 2 && one_of(3) == 0) {
      made[1] = "guess";  // with its range
      for (int bound = 0; bound < 2; ++bound) {
        made.push_back(made_of(part_of(schema, "prefixItems")[0], depth + 1));
      }
    }
    if (!made.empty()) return made;
    for (std::size_t count = 1 + one_of(2); count != 0; --count) {
      made.push_back(made_of(part_of(schema, "items"), depth + 1));
    }
    return made;
  }

  // Within the bounds, at them, or beyond.
  Json number(const Json& schema) {
    const auto least = schema.value("minimum", std::uint64_t{0});
    const auto most = schema.value("maximum", ~std::uint64_t{0} >> one_of(64));
    switch (one_of(6)) {
      case 0:
        return least;
      case 1:
        return most;
      case 2:
        return most + 1;
      case 3:
        return std::uint64_t{1} << one_of(64);
      default:
        return least + random_() % (most - least + 1 == 0 ? most : most - least + 1);
    }
  }

  Json text() {
    static const char* const kTexts[] = {"4K",   "64K",      "2M",    "1G",        "512G", "0x0",
                                         "auto", "0+2M",     "guess", "4G+64M",    "",     "rw",
                                         "0",    "manual x", "1T",    "0x1000+4K", "x",    "128T"};
    return kTexts[one_of(std::size(kTexts))];
  }

  Json anything() {
    switch (one_of(7)) {
      case 0:
        return nullptr;
      case 1:
        return Json::array();
      case 2:
        return Json::object();
      case 3:
        return -1;
      case 4:
        return 0.5;
      case 5:
        return true;
      default:
        return text();
    }
  }

  const Json& root_;
  std::minstd_rand random_;
};

}  // namespace nestwalk::models
