// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Reads one JSON object field by field, as the rows of a struct say (parameter.hpp), or as the
// caller does; what no field claimed is an error. Or, with the same calls, describes such an
// object.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>

#include "nestwalk/machines/preset.hpp"
#include "nestwalk/models/base/parameter.hpp"

namespace nestwalk::models {

class PresetReader {
 public:
  PresetReader(const Json& object, std::string path, std::vector<PresetSource>& sources);
  /// Reads nothing: makes the JSON Schema of what is asked for. Everything is there then.
  PresetReader(Json& schema, SchemaOf what);

  /// Each row whose name is `group` and a key.
  template <class Shape>
  void read(Shape& shape, std::string_view group = "") {
    parameter::for_each_row<Shape>([&](const auto& row) {
      const std::string_view name = row.name;
      if (!name.starts_with(group) || name.find('.', group.size()) != name.npos) return;
      read(row.rule, {name.substr(group.size()).data(), row.sentence, row.unit}, shape.*row.member);
    });
  }

  struct Field {
    const char* key;
    const char* sentence;
    parameter::Unit unit = parameter::kNoUnit;
  };
  std::string text(Field field);
  /// A number in [least, most], with its source; a guess may have a range.
  u32 number(Field field, u64 least, u64 most);
  /// The index of one of the words, with its source.
  unsigned choice(Field field, const std::vector<std::string>& words);

  /// Is there a key that may be left out?
  bool has(const char* key);
  bool describes() const { return schema_ != nullptr; }
  PresetReader object(const char* key);
  std::vector<PresetReader> objects(const char* key);
  /// Call at the end: complains about keys that nobody asked for.
  void finish() const;
  [[noreturn]] void fail(const std::string& key, const std::string& what) const;

  static Json schema_of_sources();
  static Json schema_of_ranges();

 private:
  void read(const parameter::Number& rule, Field field, u32& value) {
    value = number(field, rule.least, rule.most);
  }
  template <class Rule, class Value>
  void read(const parameter::OrLeftOut<Rule>& rule, Field field, Value& value) {
    if (has(field.key)) read(static_cast<const Rule&>(rule), field, value);
  }
  void read(const parameter::PowerOfTwo& rule, Field field, u32& value);
  template <class Value>
  void read(const parameter::OneOf<Value>& rule, Field field, Value& value) {
    std::vector<std::string> words;
    for (const auto& each : rule.words) words.emplace_back(each.word);
    value = rule.words[choice(field, words)].value;
  }
  template <class Kind>
  void read(const parameter::Registered&, Field field, Kind& value) {
    const auto all = Kind::all();
    std::vector<std::string> names;
    for (const auto& each : all) names.emplace_back(row_of(each).name);
    value = Kind(row_of(all[choice(field, names)]));
  }
  template <class Row>
  static const Row& row_of(const Row& row) {
    return row;
  }
  template <class Row>
  static const Row& row_of(const Row* const& row) {
    return *row;
  }
  /// Page sizes such as ["4K", "2M"], with their source.
  void read(const parameter::PageSizes&, Field field, std::vector<u8>& value);

  const Json& claim(const char* key);
  const Json& sourced(const char* key);
  std::string path_of(const std::string& key) const;
  Json& described(const char* key);
  PresetSource::Range range_of(const char* key, const Json& guess) const;
  enum class MayHaveRange : bool { No, Yes };
  /// A value that stands beside its source; a guess of a number may have a range.
  void describe(Field field, const Json& value, MayHaveRange may_have_range = MayHaveRange::No);
  void describe_plain(Field field, const Json& value);
  static Json pair_of(const Json& value);

  const Json* object_ = nullptr;
  std::string path_;
  std::vector<PresetSource>* sources_ = nullptr;
  Json* schema_ = nullptr;
  SchemaOf what_ = SchemaOf::Machine;
  std::vector<std::string> known_;
};

}  // namespace nestwalk::models
