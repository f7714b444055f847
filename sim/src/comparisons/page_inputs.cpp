// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/page_inputs.hpp"

#include <filesystem>
#include <span>

#include "comparisons/cases.hpp"
#include "nestwalk/models/base/text_file.hpp"
#include "nestwalk/traces/error.hpp"
#include "program/output.hpp"

namespace nestwalk::sim {
namespace {

constexpr addrspace::u64 kMostLevel = 7;

enum class Kind { Text, Flag, Count, Level, Number, Positive, Any };

struct Field {
  const char* name;
  Kind kind;
  bool is_needed = true;
};

// Of the commands' JSON, what the page shows. Fields that are not needed came later, or are not
// known of every item.
constexpr Field kStory[] = {{"vcpu", Kind::Count},      {"access", Kind::Count},
                            {"kind", Kind::Text},       {"address", Kind::Text},
                            {"cycles", Kind::Count},    {"begin", Kind::Count},
                            {"core", Kind::Text, false}};
constexpr Field kStep[] = {{"step", Kind::Text},
                           {"sentence", Kind::Text},
                           {"start", Kind::Count},
                           {"cycles", Kind::Count},
                           {"address", Kind::Text, false},
                           {"hit", Kind::Flag, false},
                           {"guest_level", Kind::Level, false},
                           {"nested_level", Kind::Level, false},
                           {"before", Kind::Text, false},
                           {"value", Kind::Text, false},
                           {"meaning", Kind::Text, false},
                           {"from", Kind::Text, false},
                           {"waited", Kind::Text, false},
                           {"note", Kind::Text, false}};
constexpr Field kAgreement[] = {{"machine", Kind::Text},
                                {"measured", Kind::Text},
                                {"times", Kind::Text},
                                {"surroundings", Kind::Text, false},
                                {"mean_error", Kind::Number}};
constexpr Field kPoint[] = {{"point", Kind::Text},           {"probe", Kind::Text},
                            {"page_bytes", Kind::Positive},  {"bytes", Kind::Positive},
                            {"measured_ns", Kind::Positive}, {"simulated_ns", Kind::Positive},
                            {"error", Kind::Number}};
constexpr Field kCheck[] = {{"errors", Kind::Count},
                            {"warnings", Kind::Count},
                            {"notes", Kind::Count},
                            {"unlisted", Kind::Count},
                            {"ended_early", Kind::Text, false}};
constexpr Field kFinding[] = {{"finding", Kind::Text},          {"severity", Kind::Text},
                              {"sentence", Kind::Text},         {"count", Kind::Count},
                              {"operation", Kind::Text},        {"issued", Kind::Text},
                              {"site", Kind::Text, false},      {"line", Kind::Count, false},
                              {"because", Kind::Text, false},   {"reason", Kind::Text, false},
                              {"change", Kind::Text, false},    {"gpa", Kind::Count, false},
                              {"demanded", Kind::Text, false},  {"manual", Kind::Text, false},
                              {"section", Kind::Text, false},   {"hits", Kind::Count, false},
                              {"cycles", Kind::Number, false},  {"price", Kind::Any, false},
                              {"processors", Kind::Text, false}};
constexpr Field kSure[] = {{"draws", Kind::Count}, {"seed", Kind::Count}};
constexpr Field kSpread[] = {{"preset", Kind::Number}, {"least", Kind::Number},
                             {"p5", Kind::Number},     {"median", Kind::Number},
                             {"p95", Kind::Number},    {"most", Kind::Number}};
constexpr Field kDrawnCase[] = {{"name", Kind::Text}, {"machine", Kind::Text}};
constexpr Field kOrder[] = {{"less", Kind::Text},
                            {"more", Kind::Text},
                            {"same", Kind::Flag},
                            {"statistic", Kind::Text},
                            {"holds", Kind::Count}};

const char* to_string(Kind kind) {
  switch (kind) {
    case Kind::Text:
      return "a text";
    case Kind::Flag:
      return "true or false";
    case Kind::Count:
      return "a whole number";
    case Kind::Level:
      return "a level from 0 to 7";
    case Kind::Number:
      return "a number";
    case Kind::Positive:
      return "a number above 0";
    case Kind::Any:
      break;
  }
  return "a value";
}

bool is_of(Kind kind, const Json& value) {
  switch (kind) {
    case Kind::Text:
      return value.is_string();
    case Kind::Flag:
      return value.is_boolean();
    case Kind::Count:
      return value.is_number_unsigned();
    case Kind::Level:
      return value.is_number_unsigned() && value.get<addrspace::u64>() <= kMostLevel;
    case Kind::Number:
      return value.is_number();
    case Kind::Positive:
      return value.is_number() && value.get<double>() > 0;
    case Kind::Any:
      break;
  }
  return true;
}

/// A value of a file, and where it stands there: points[3].
class Place {
 public:
  Place(const std::string& file, const Json& value, std::string name = {})
      : file_(file), value_(value), name_(std::move(name)) {}

  const Json& value() const { return value_; }

  [[noreturn]] void fail(const std::string& expected) const {
    constexpr std::size_t kMostShown = 60;
    std::string found = value_.is_discarded() || value_.is_structured()
                            ? value_.type_name()
                            : value_.dump(-1, ' ', true, Json::error_handler_t::replace);
    if (found.size() > kMostShown) found = found.substr(0, kMostShown) + "...";
    throw traces::InputError(
        file_, (name_.empty() ? "" : name_ + ": ") + "expected " + expected + ", found " + found);
  }
  Place at(const std::string& key) const {
    if (!value_.is_object()) fail("an object");
    const auto found = value_.find(key);
    const std::string name = name_.empty() ? printable(key) : name_ + "." + printable(key);
    if (found == value_.end()) throw traces::InputError(file_, name + ": is missing");
    return {file_, *found, name};
  }
  std::vector<Place> items() const {
    if (!value_.is_array()) fail("an array");
    std::vector<Place> all;
    for (std::size_t n = 0; n < value_.size(); ++n) {
      all.emplace_back(file_, value_[n], name_ + "[" + std::to_string(n) + "]");
    }
    return all;
  }
  /// The fields alone.
  Json only(std::span<const Field> fields) const {
    if (!value_.is_object()) fail("an object");
    Json result = Json::object();
    for (const Field& field : fields) {
      if (!field.is_needed && !value_.contains(field.name)) continue;
      const Place place = at(field.name);
      if (!is_of(field.kind, place.value())) place.fail(to_string(field.kind));
      result[field.name] = place.value();
    }
    return result;
  }
  Json list(const std::string& key, std::span<const Field> fields) const {
    Json result = Json::array();
    for (const Place& each : at(key).items()) result.push_back(each.only(fields));
    return result;
  }

 private:
  const std::string& file_;
  const Json& value_;
  std::string name_;
};

Json story_of(const Place& from) {
  Json story = from.only(kStory);
  story["steps"] = from.list("steps", kStep);
  const Place causes = from.at("causes");
  if (!causes.value().is_object()) causes.fail("an object");
  story["causes"] = Json::object();
  for (const auto& [name, cycles] : causes.value().items()) {
    const Field field{name.c_str(), Kind::Count};
    story["causes"].update(causes.only({&field, 1}));
  }
  return story;
}

Json agreement_of(const Place& from) {
  Json agreement = from.only(kAgreement);
  agreement["points"] = from.list("points", kPoint);
  if (agreement["points"].empty()) from.at("points").fail("at least one point");
  return agreement;
}

Json check_of(const Place& from, Json name) {
  Json check = from.only(kCheck);
  check["name"] = std::move(name);
  check["findings"] = from.list("findings", kFinding);
  return check;
}

std::string text_at(const Place& from, const char* key) {
  const Field field{key, Kind::Text};
  return from.only({&field, 1})[key].get<std::string>();
}

Json spread_of(const Place& from) {
  Json sure = from.only(kSure);
  sure["cases"] = Json::array();
  for (const Place& each : from.at("cases").items()) {
    Json drawn = each.only(kDrawnCase);
    drawn["statistics"] = Json::object();
    const Place statistics = each.at("statistics");
    if (!statistics.value().is_object()) statistics.fail("an object");
    for (const auto& [name, spread] : statistics.value().items()) {
      drawn["statistics"][name] = statistics.at(name).only(kSpread);
    }
    sure["cases"].push_back(std::move(drawn));
  }
  sure["orders"] = Json::array();
  for (const Place& each : from.at("orders").items()) {
    sure["orders"].push_back(each.only(kOrder));
    sure["orders"].back()["ratio"] = each.at("ratio").only(kSpread);
  }
  return sure;
}

}  // namespace

void add_page_input(PageInputs& inputs, const std::string& file) {
  constexpr const char* kHint =
      "expected a run's directory, or the JSON of nestwalk explain, validate, check or compare "
      "--sure";
  const Json json = read_json(file, models::kMostResultBytes, kHint);
  const Place whole(file, json);
  if (json.is_array()) {
    for (const Place& each : whole.items()) inputs.stories.push_back(story_of(each));
    return;
  }
  const Json format = json.is_object() ? json.value("format", Json()) : Json();
  if (format.is_string()) expect_format(json, format.get<std::string>(), file);
  if (format == "nestwalk-agreement") {
    inputs.agreements.push_back(agreement_of(whole));
  } else if (format == "nestwalk-findings") {
    inputs.checks.push_back(check_of(whole, printable(text_at(whole, "checked"))));
  } else if (format == "nestwalk-check") {
    for (const Place& each : whole.at("runs").items()) {
      inputs.checks.push_back(
          check_of(each, text_at(each, "machine") + ", " + text_at(each, "policy")));
    }
  } else if (format == "nestwalk-sure") {
    inputs.spreads.push_back(spread_of(whole));
  } else {
    throw traces::InputError(file, std::string("is none of what the page shows; ") + kHint);
  }
}

}  // namespace nestwalk::sim
