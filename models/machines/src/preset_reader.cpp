// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "preset_reader.hpp"

#include <algorithm>
#include <bit>

#include "nestwalk/models/base/nearest.hpp"

namespace nestwalk::models {
namespace {

constexpr const char* kKinds[] = {"cpuid", "manual", "measured", "paper", "guess"};

std::string listed(const auto& words, const char* between) {
  std::string list;
  for (const auto& word : words) list.append(list.empty() ? "" : between).append(word);
  return list;
}

}  // namespace

PresetReader::PresetReader(const Json& object, std::string path, std::vector<PresetSource>& sources)
    : object_(&object), path_(std::move(path)), sources_(&sources) {
  if (!object.is_object()) fail("", "is not an object");
}

PresetReader::PresetReader(Json& schema, SchemaOf what) : schema_(&schema), what_(what) {
  schema = {{"type", "object"}, {"additionalProperties", false}};
}

// What has() asked for may be left out.
Json& PresetReader::described(const char* key) {
  if (what_ == SchemaOf::Machine && std::find(known_.begin(), known_.end(), key) == known_.end()) {
    (*schema_)["required"].push_back(key);
  }
  return (*schema_)["properties"][key];
}

void PresetReader::describe_plain(Field field, const Json& value) {
  Json& schema = described(field.key);
  if (*field.sentence != '\0') {
    schema["description"] = parameter::with_unit(field.sentence, field.unit);
  }
  schema.update(value);
}

void PresetReader::describe(Field field, const Json& value, MayHaveRange may_have_range) {
  Json pair = pair_of(value);
  if (may_have_range == MayHaveRange::Yes) {
    pair.erase("items");
    pair["maxItems"] = 4;
    pair["$ref"] = "#/$defs/range";
  }
  describe_plain(field, what_ == SchemaOf::Machine ? pair : Json{{"anyOf", {value, pair}}});
}

Json PresetReader::pair_of(const Json& value) {
  return {{"type", "array"},
          {"prefixItems", {value, {{"$ref", "#/$defs/source"}}}},
          {"items", false},
          {"minItems", 2}};
}

Json PresetReader::schema_of_ranges() {
  const Json bound = {{"type", "integer"}};
  return {{"description", "what comes behind a guess: the least and the most that is likely"},
          {"if", {{"minItems", 3}}},
          {"then",
           {{"minItems", 4}, {"prefixItems", {true, {{"pattern", "^guess( |$)"}}, bound, bound}}}}};
}

Json PresetReader::schema_of_sources() {
  return {{"description", "where a value comes from"},
          {"type", "string"},
          {"pattern", "^(" + listed(kKinds, "|") + ")( |$)"}};
}

std::string PresetReader::path_of(const std::string& key) const {
  return path_.empty() || key.empty() ? path_ + key : path_ + "." + key;
}

void PresetReader::fail(const std::string& key, const std::string& what) const {
  throw PresetError(path_of(key) + " " + what);
}

bool PresetReader::has(const char* key) {
  known_.emplace_back(key);
  return describes() || object_->contains(key);
}

const Json& PresetReader::claim(const char* key) {
  known_.emplace_back(key);
  const auto found = object_->find(key);
  if (found == object_->end()) {
    std::vector<std::string> present;
    for (const auto& [name, value] : object_->items()) present.push_back(name);
    const std::string similar = nearest(key, present);
    fail(key, similar.empty() ? "is missing" : "is missing; there is \"" + similar + "\"");
  }
  return *found;
}

const Json& PresetReader::sourced(const char* key) {
  const Json& pair = claim(key);
  const bool has_range = pair.is_array() && pair.size() == 4;
  if (!pair.is_array() || (pair.size() != 2 && !has_range) || !pair[1].is_string()) {
    fail(key, "is " + pair.dump() + ", not [value, \"source\"]");
  }
  const std::string source = pair[1];
  const std::string kind = source.substr(0, source.find(' '));
  if (std::find(std::begin(kKinds), std::end(kKinds), kind) == std::end(kKinds)) {
    fail(key,
         "has the source \"" + source + "\", which begins with none of " + listed(kKinds, ", "));
  }
  sources_->push_back({path_of(key), source, {}, {}});
  if (has_range) sources_->back().range = range_of(key, pair);
  return pair[0];
}

PresetSource::Range PresetReader::range_of(const char* key, const Json& guess) const {
  const Json &value = guess[0], &source = guess[1], &least = guess[2], &most = guess[3];
  if (!source.get<std::string>().starts_with("guess")) {
    fail(key, "is " + guess.dump() + "; expected a range only of a guess");
  }
  if (!value.is_number_unsigned() || !least.is_number_unsigned() || !most.is_number_unsigned() ||
      least > value || value > most) {
    fail(key, "is " + guess.dump() +
                  "; expected [number, \"guess\", least, most] with the number "
                  "from least to most");
  }
  return {least, most};
}

std::string PresetReader::text(Field field) {
  if (schema_ != nullptr) {
    describe_plain(field, {{"type", "string"}});
    return {};
  }
  const Json& value = claim(field.key);
  if (!value.is_string()) fail(field.key, "is " + value.dump() + ", not a string");
  return value;
}

u32 PresetReader::number(Field field, u64 least, u64 most) {
  if (schema_ != nullptr) {
    describe(field, {{"type", "integer"}, {"minimum", least}, {"maximum", most}},
             MayHaveRange::Yes);
    return static_cast<u32>(least);
  }
  const Json& value = sourced(field.key);
  const auto expect = [&](const Json& number) {
    if (number.is_number_unsigned() && number.get<u64>() >= least && number.get<u64>() <= most)
      return;
    fail(field.key, "is " + number.dump() + ", not a number from " + std::to_string(least) +
                        " to " + std::to_string(most));
  };
  expect(value);
  if (const auto& range = sources_->back().range) {
    expect(range->least);
    expect(range->most);
  }
  sources_->back().number = {value.get<u64>(), least, most, false};
  return value.get<u32>();
}

unsigned PresetReader::choice(Field field, const std::vector<std::string>& words) {
  if (schema_ != nullptr) {
    describe(field, {{"enum", words}});
    return 0;
  }
  const Json& value = sourced(field.key);
  const auto found = std::find(words.begin(), words.end(), value);
  if (found != words.end()) return static_cast<unsigned>(found - words.begin());
  fail(field.key, "is " + value.dump() + ", not one of " + listed(words, ", "));
}

void PresetReader::read(const parameter::PowerOfTwo& rule, Field field, u32& value) {
  if (schema_ != nullptr) {
    Json powers = Json::array();
    for (u64 power = std::bit_ceil(rule.least); power <= rule.most; power *= 2) {
      powers.push_back(power);
    }
    describe(field, {{"enum", powers}});
    return;
  }
  value = number(field, rule.least, rule.most);
  if (!std::has_single_bit(value)) {
    fail(field.key, "is " + std::to_string(value) + ", not a power of two");
  }
  sources_->back().number->power_of_two = true;
}

void PresetReader::read(const parameter::PageSizes&, Field field, std::vector<u8>& value) {
  static constexpr Word<u8> kSizes[] = {{"4K", 12},   {"8K", 13},   {"16K", 14}, {"32K", 15},
                                        {"64K", 16},  {"128K", 17}, {"2M", 21},  {"32M", 25},
                                        {"512M", 29}, {"1G", 30},   {"64G", 36}, {"512G", 39},
                                        {"4T", 42},   {"256T", 48}};
  if (schema_ != nullptr) {
    Json names = Json::array();
    for (const auto& size : kSizes) names.push_back(size.word);
    // Always with its source: two sizes would look like a value and its source.
    describe_plain(
        field,
        pair_of(
            {{"type", "array"}, {"items", {{"enum", names}}}, {"minItems", 1}, {"maxItems", 8}}));
    return;
  }
  const Json& list = sourced(field.key);
  value.clear();
  for (const Json& name : list) {
    const auto found = std::find_if(std::begin(kSizes), std::end(kSizes),
                                    [&](const auto& size) { return name == size.word; });
    if (found == std::end(kSizes))
      fail(field.key, "has the size " + name.dump() + ", which is none");
    value.push_back(found->value);
  }
  if (value.empty() || value.size() > 8) fail(field.key, "must have one to eight sizes");
}

PresetReader PresetReader::object(const char* key) {
  if (schema_ != nullptr) return {described(key), what_};
  return PresetReader(claim(key), path_of(key), *sources_);
}

std::vector<PresetReader> PresetReader::objects(const char* key) {
  if (schema_ != nullptr) {
    Json& list = described(key);
    list["type"] = "array";
    // A list takes the place of the one before it as a whole.
    return {PresetReader(list["items"], SchemaOf::Machine)};
  }
  const Json& list = claim(key);
  if (!list.is_array()) fail(key, "is not a list");
  std::vector<PresetReader> all;
  for (std::size_t n = 0; n < list.size(); ++n) {
    all.emplace_back(list[n], path_of(key) + "[" + std::to_string(n) + "]", *sources_);
  }
  return all;
}

void PresetReader::finish() const {
  if (schema_ != nullptr) return;
  for (const auto& [key, value] : object_->items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string similar = nearest(key, known_);
    fail(key, similar.empty() ? "is unknown" : "is unknown; did you mean \"" + similar + "\"?");
  }
}

}  // namespace nestwalk::models
