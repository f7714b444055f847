// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/schema.hpp"

#include <algorithm>
#include <regex>

#include "nestwalk/machines/preset.hpp"
#include "results/report.hpp"

namespace nestwalk::sim {
namespace {

Json document(const char* title, const char* description) {
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", title},
          {"description", description},
          {"type", "object"},
          {"additionalProperties", false}};
}

Json schema_of(const char* type, const char* unit, const std::string& sentence) {
  return {{"description", sentence + " (" + unit + ")"}, {"type", type}, {"minimum", 0}};
}

}  // namespace

Json configuration_schema() {
  Json schema = document("nestwalk configuration",
                         "What decides a run: nestwalk run --config. A run writes all of it.");
  Json& definitions = schema["$defs"];
  for (const auto& [name, what] : {std::pair("machine", models::SchemaOf::Machine),
                                   std::pair("part_of_machine", models::SchemaOf::PartOfMachine)}) {
    Json machine = models::preset_schema(what);
    definitions.update(machine["$defs"]);
    machine.erase("$defs");
    definitions[name] = machine;
  }
  // One with a name is whole, and takes the place of the preset.
  schema["properties"]["machine"] = {{"type", "object"},
                                     {"if", {{"required", {"name"}}}},
                                     {"then", {{"$ref", "#/$defs/machine"}}},
                                     {"else", {{"$ref", "#/$defs/part_of_machine"}}}};
  for (const Parameter& row : parameters()) {
    const std::string path = row.path;
    const std::size_t dot = path.find('.');
    Json& group = schema["properties"][path.substr(0, dot)];
    group["type"] = "object";
    group["additionalProperties"] = false;
    group["properties"][path.substr(dot + 1)] = schema_of(row);
  }
  return schema;
}

Json statistics_schema() {
  Json schema = document("nestwalk statistics", "What a run says: stats.json.");
  schema["required"] = {"format", "version", "complete",   "ended_early",
                        "core",   "values",  "statistics", "histograms"};
  Json& parts = schema["properties"];
  parts["format"]["const"] = "nestwalk-stats";
  parts["version"]["const"] = 1;
  parts["complete"] = {{"description", "did the run get to its end?"}, {"type", "boolean"}};
  parts["ended_early"] = {{"description", "why it did not; empty if it did"}, {"type", "string"}};
  parts["core"] = {{"description", "the model of the core, in words"}, {"type", "string"}};
  const Json count = {{"type", "integer"}, {"minimum", 0}};
  const auto counted = [&](const char* description) {
    Json one = count;
    one["description"] = description;
    return one;
  };
  parts["values"] = {{"description", "of the machine, that the run used"},
                     {"type", "object"},
                     {"additionalProperties", false},
                     {"required", {"used", "guesses", "with_range"}},
                     {"properties",
                      {{"used", counted("how many there are")},
                       {"guesses", counted("of these, whose source is a guess")},
                       {"with_range", counted("of the guesses, that have a range")}}}};
  Json& values = parts["statistics"];
  values = {{"type", "object"}, {"additionalProperties", false}, {"required", Json::array()}};
  for (const Row& row : rows_of_nothing()) {
    const bool is_of_family =
        std::ranges::any_of(statistic_families(), [&](const StatisticFamily& family) {
          return std::regex_search(row.name, std::regex(family.pattern));
        });
    if (row.omitted && is_of_family) continue;
    const char* const type = std::holds_alternative<double>(row.value) ? "number" : "integer";
    if (!row.omitted) values["required"].push_back(row.name);
    values["properties"][row.name] = schema_of(type, row.unit, row.sentence);
  }
  for (const StatisticFamily& family : statistic_families()) {
    values["patternProperties"][family.pattern] =
        schema_of(family.type, family.unit, family.sentence);
  }
  const Histogram latency = histogram_of({});
  const Json bin = {{"description", "the least and the largest value, and how many there are"},
                    {"type", "array"},
                    {"items", count},
                    {"minItems", 3},
                    {"maxItems", 3}};
  parts["histograms"] = {
      {"type", "object"},
      {"additionalProperties", false},
      {"required", {latency.name}},
      {"patternProperties",
       {{"^(vm[0-9]+\\.|phase\\.[A-Za-z0-9_-]+\\.)?" + latency.name + "$",
         {{"description", std::string(latency.sentence) + " (" + latency.unit + ")"},
          {"type", "array"},
          {"items", bin}}}}}};
  return schema;
}

}  // namespace nestwalk::sim
