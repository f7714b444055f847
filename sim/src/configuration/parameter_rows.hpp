// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Rows beside a struct (nestwalk/models/base/parameter.hpp) as what users write: each rule's kind,
// the JSON of a member, and a member from JSON.
#pragma once

#include "configuration/parameter.hpp"
#include "configuration/schedule.hpp"
#include "nestwalk/models/base/parameter.hpp"

namespace nestwalk::sim {
namespace detail {

namespace rule = models::parameter;
using Kind = Parameter::Kind;
using Memory = std::vector<software::MemoryRange>;

constexpr Kind kind_of(const rule::Flag&) { return Kind::Flag; }
inline Json json_of(const rule::Flag&, bool value) { return value; }
inline void read(const rule::Flag&, const Json& from, const char*, bool& value) {
  value = from.get<bool>();
}

constexpr Kind kind_of(const rule::Number&) { return Kind::Number; }
Json json_of(const rule::Number&, std::unsigned_integral auto value) { return value; }
template <std::unsigned_integral Value>
void read(const rule::Number&, const Json& from, const char*, Value& value) {
  value = from.get<Value>();
}

constexpr Kind kind_of(const rule::Size&) { return Kind::Size; }
inline Json json_of(const rule::Size&, addrspace::u64 value) { return size_text(value); }
inline void read(const rule::Size&, const Json& from, const char*, addrspace::u64& value) {
  value = *size_of(from);
}

template <class Value>
constexpr Kind kind_of(const rule::OneOf<Value>&) {
  return Kind::Choice;
}
template <class Value>
Json json_of(const rule::OneOf<Value>& rule, const Value& value) {
  return word_of(rule.words, value);
}
template <class Value>
void read(const rule::OneOf<Value>& rule, const Json& from, const char*, Value& value) {
  const auto word = from.get<std::string>();
  for (const auto& each : rule.words) {
    if (word == each.word) value = each.value;
  }
}

constexpr Kind kind_of(const rule::Registered&) { return Kind::Choice; }
template <class Value>
Json json_of(const rule::Registered&, const Value& value) {
  return value.name();
}
template <class Value>
void read(const rule::Registered&, const Json& from, const char*, Value& value) {
  value = Value::called(from.get<std::string>());
}

constexpr Kind kind_of(const rule::Ranges&) { return Kind::Ranges; }
inline Json json_of(const rule::Ranges&, const Memory& value) { return sim::json_of(value); }
inline void read(const rule::Ranges& rule, const Json& from, const char*, Memory& value) {
  value = whole_pages(*ranges_of(from), rule.page);
}

constexpr Kind kind_of(const rule::SizeOrRanges&) { return Kind::SizeOrRanges; }
inline Json json_of(const rule::SizeOrRanges&, const Memory& value) { return sim::json_of(value); }
inline void read(const rule::SizeOrRanges& rule, const Json& from, const char*, Memory& value) {
  const auto size = size_of(from);
  value = whole_pages(size ? Memory{{0, *size}} : *ranges_of(from), rule.page);
}

constexpr Kind kind_of(const rule::Name&) { return Kind::Word; }
inline Json json_of(const rule::Name&, const std::string& value) {
  return value.empty() ? Json() : Json(value);
}
inline void read(const rule::Name&, const Json& from, const char*, std::string& value) {
  value = from.is_string() ? from.get<std::string>() : from.is_null() ? "" : from.dump();
}

constexpr Kind kind_of(const rule::Object&) { return Kind::Object; }
inline Json json_of(const rule::Object&, const software::FenceRules&) { return {}; }
// What they may say depends on the machine.
inline void read(const rule::Object&, const Json&, const char*, software::FenceRules&) {}

constexpr Kind kind_of(const rule::List&) { return Kind::List; }
using Schedule = std::vector<software::ScheduledOperation>;
inline Json json_of(const rule::List&, const Schedule&) { return Json::array(); }
inline void read(const rule::List&, const Json& from, const char* path, Schedule& value) {
  value = parse_schedule(from, path);
}

/// Of a row, and of what its struct is if nobody sets anything.
template <class Shape, class Value, class Rule>
Parameter parameter_of(const rule::Row<Shape, Value, Rule>& row, const Shape& plain) {
  Parameter made;
  made.path = row.name;
  made.kind = kind_of(row.rule);
  made.sentence = row.sentence;
  made.unit = row.unit;
  if constexpr (rule::kMayBeAuto<Rule>) {
    made.choices.push_back(kAuto);
    made.standard = kAuto;
  } else {
    made.standard = json_of(row.rule, plain.*row.member);
  }
  if constexpr (requires { row.rule.words; }) {
    for (const auto& each : row.rule.words) made.choices.push_back(each.word);
  }
  if constexpr (std::is_base_of_v<rule::Registered, Rule>) {
    for (const auto& each : Value::all()) made.choices.push_back(each.name);
  }
  if constexpr (requires { row.rule.least; }) {
    made.least = row.rule.least;
    made.most = row.rule.most;
  }
  return made;
}

}  // namespace detail

/// All that a user may set in a struct.
template <class Shape>
void add_parameters_of(std::vector<Parameter>& all) {
  const Shape plain{};
  models::parameter::for_each_row<Shape>(
      [&](const auto& row) { all.push_back(detail::parameter_of(row, plain)); });
}

/// All of a struct that a user may set, from a document whose values were checked. What is still
/// "auto" stays as it is.
template <class Shape>
void read_parameters(const Json& document, Shape& shape) {
  models::parameter::for_each_row<Shape>([&](const auto& row) {
    const Json& value = value_in(document, row.name);
    if (models::parameter::kMayBeAuto<decltype(row.rule)> && value == kAuto) return;
    detail::read(row.rule, value, row.name, shape.*row.member);
  });
}

}  // namespace nestwalk::sim
