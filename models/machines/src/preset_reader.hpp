// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reads one JSON object field by field: every field is declared where it is read, with its range,
// and what no field claimed is an error. Or, with the same calls, describes such an object.
#pragma once

#include <initializer_list>
#include <span>

#include "nestwalk/machines/preset.hpp"

namespace nestwalk::models {

class PresetReader {
 public:
  PresetReader(const Json& object, std::string path, std::vector<PresetSource>& sources);
  /// Reads nothing: makes the JSON Schema of what is asked for. Everything is there then.
  PresetReader(Json& schema, SchemaOf what);

  std::string text(const char* key);
  /// A number in [least, most], with its source.
  u32 number(const char* key, u32 least, u32 most);
  u32 power_of_two(const char* key, u32 least, u32 most);
  /// The index of one of the words, with its source.
  unsigned choice(const char* key, std::span<const char* const> words);
  unsigned choice(const char* key, std::initializer_list<const char*> words) {
    return choice(key, std::span(words.begin(), words.size()));
  }
  /// Page sizes such as ["4K", "2M"], with their source; as log2.
  std::vector<u8> sizes(const char* key);

  /// Is there a key that may be left out?
  bool has(const char* key);
  bool describes() const { return schema_ != nullptr; }
  PresetReader object(const char* key);
  std::vector<PresetReader> objects(const char* key);
  /// Call at the end: complains about keys that nobody asked for.
  void finish() const;
  [[noreturn]] void fail(const std::string& key, const std::string& what) const;

  static Json schema_of_sources();

 private:
  const Json& claim(const char* key);
  const Json& sourced(const char* key);
  std::string path_of(const std::string& key) const;
  Json& described(const char* key);
  void describe(const char* key, const Json& value);
  static Json pair_of(const Json& value);

  const Json* object_ = nullptr;
  std::string path_;
  std::vector<PresetSource>* sources_ = nullptr;
  Json* schema_ = nullptr;
  SchemaOf what_ = SchemaOf::Machine;
  std::vector<std::string> known_;
};

}  // namespace nestwalk::models
