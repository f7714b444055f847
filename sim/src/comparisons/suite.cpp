// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/suite.hpp"

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <string_view>

#include "nestwalk/models/base/text_file.hpp"
#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/spool.hpp"
#include "program/output.hpp"
#include "results/sums.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& file, const std::string& what) {
  throw traces::InputError(file, what);
}

std::string text_at(const Json& object, const char* key, const std::string& file) {
  if (!object.contains(key) || !object[key].is_string()) {
    fail(file, std::string("\"") + key + "\" is missing, or not text");
  }
  return object[key].get<std::string>();
}

void expect_keys(const Json& object, std::initializer_list<const char*> known,
                 const std::string& file) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), std::string_view(key)) == known.end()) {
      fail(file, "there is no key \"" + key + "\" in suites");
    }
  }
}

// Relative to the suite, unless it stands alone.
std::string beside(const std::string& file, const std::string& path) {
  return (fs::path(file).parent_path() / path).string();
}

Headline headline_of(const Json& json, const std::string& file) {
  if (!json.is_object() || json.empty()) {
    fail(file, "\"headline\" is not an object of statistics, each \"less\" or \"more\"");
  }
  Headline headline;
  for (const auto& [name, better] : json.items()) {
    if (better != "less" && better != "more") {
      fail(file, "headline: " + name + " is " + better.dump() + ", not \"less\" or \"more\"");
    }
    headline.emplace_back(name, better == "less" ? Direction::Less : Direction::More);
  }
  return headline;
}

}  // namespace

Headline standard_headline() {
  Headline headline;
  for (const char* const name : {"time.cycles", "latency.p99.9", "exit.total", "memory.backed"}) {
    headline.emplace_back(name, Direction::Less);
  }
  return headline;
}

Suite read_suite(const std::string& file) {
  const Json json =
      read_object(file, models::kMostWrittenBytes, "nestwalk gate --help shows a suite");
  expect_format(json, "nestwalk-suite", file);
  expect_keys(json,
              {"$schema", "format", "version", "baseline", "tolerances_percent", "headline",
               "vcpus", "cases"},
              file);
  Suite suite;
  suite.files.push_back(file);
  suite.baseline = beside(file, text_at(json, "baseline", file));
  if (json.contains("vcpus")) {
    if (!json["vcpus"].is_boolean()) fail(file, "\"vcpus\" is not true or false");
    suite.of_vcpus = json["vcpus"].get<bool>();
  }
  if (json.contains("tolerances_percent")) suite.tolerances = json["tolerances_percent"];
  if (!suite.tolerances.is_object()) fail(file, "\"tolerances_percent\" is not an object");
  for (const auto& [name, value] : suite.tolerances.items()) {
    if (!value.is_number() || value.get<double>() < 0) fail(file, "tolerance of " + name);
  }
  if (json.contains("headline")) suite.headline = headline_of(json["headline"], file);
  if (!json.contains("cases") || !json["cases"].is_array() || json["cases"].empty()) {
    fail(file, "\"cases\" is missing, empty or not a list");
  }
  for (const Json& each : json["cases"]) {
    if (!each.is_object()) fail(file, "a case is not an object");
    expect_keys(each, {"name", "trace", "preset", "set"}, file);
    Plan plan{text_at(each, "name", file), beside(file, text_at(each, "trace", file)),
              Configuration(preset_file(text_at(each, "preset", file)))};
    const auto same = [&](const Plan& other) { return other.name == plan.name; };
    if (std::any_of(suite.plans.begin(), suite.plans.end(), same)) {
      fail(file, "two cases are called " + plan.name);
    }
    (void)traces::Reader(traces::open_seekable(plan.trace));  // is it one?
    suite.files.insert(suite.files.end(), {plan.trace, preset_file(text_at(each, "preset", file))});
    const Json settings = each.value("set", Json::array());
    if (!settings.is_array()) fail(file, plan.name + ": \"set\" is not a list of texts");
    for (const Json& setting : settings) {
      if (!setting.is_string()) fail(file, plan.name + ": \"set\" is not a list of texts");
      plan.configuration.set(setting.get<std::string>());
    }
    suite.plans.push_back(std::move(plan));
  }
  return suite;
}

Baseline read_baseline(const std::string& file) {
  const Json json = read_object(file, models::kMostResultBytes, "--update writes it");
  expect_format(json, "nestwalk-baseline", file);
  if (!json.contains("cases") || !json["cases"].is_object()) {
    fail(file, "\"cases\" is missing, or not an object");
  }
  for (const auto& [name, statistics] : json["cases"].items()) {
    if (!statistics.is_object()) fail(file, name + " is not an object");
    for (const auto& [statistic, value] : statistics.items()) {
      expect_statistic(name + ": " + statistic, value, file);
    }
    if (const auto contradiction = contradiction_of({{"statistics", statistics}})) {
      fail(file, name + ": " + *contradiction);
    }
  }
  const Json configurations = json.value("configurations", Json::object());
  if (!configurations.is_object()) fail(file, "\"configurations\" is not an object");
  for (const auto& [name, values] : configurations.items()) {
    if (!values.is_object()) fail(file, "configurations: " + name + " is not an object");
  }
  return {json["cases"], configurations};
}

void write_baseline(const std::string& file, const std::vector<Case>& cases) {
  Json all = Json::object(), configurations = Json::object();
  for (const Case& each : cases) {
    all[each.name] = each.statistics;
    if (each.configuration.is_object()) configurations[each.name] = each.configuration;
  }
  const Json json = {{"format", "nestwalk-baseline"},
                     {"version", 1},
                     {"cases", all},
                     {"configurations", configurations}};
  write_text(file, json.dump(1) + "\n");
}

}  // namespace nestwalk::sim
