// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// nestwalk config: what can be decided, what it means, and what was.

#include <sstream>

#include "commands/commands.hpp"
#include "commands/schema.hpp"
#include "configuration/configuration_options.hpp"
#include "program/output.hpp"

namespace nestwalk::sim {
namespace {

/// A value of a configuration, and what is known of it.
struct Entry {
  std::string path;
  Json value;
  std::string source;  ///< of a machine's value
  std::string range;
  std::string sentence;
};

void print(const Json& document) { TextOutput().write(json_document(document)); }

// ---- entries ----

std::string range_in(const Json& schema) {
  if (schema.contains("anyOf")) return range_in(schema["anyOf"][0]);
  if (schema.contains("prefixItems")) return range_in(schema["prefixItems"][0]);
  if (schema.contains("items")) return "a list, each " + range_in(schema["items"]);
  if (schema.contains("minimum")) {
    return "a number from " + schema["minimum"].dump() + " to " + schema["maximum"].dump();
  }
  if (!schema.contains("enum")) return "text";
  std::string words;
  for (const Json& word : schema["enum"]) {
    words.append(words.empty() ? "" : ", ");
    words += word.is_string() ? word.get<std::string>() : word.dump();
  }
  return "one of " + words;
}

// Values of a machine stand beside their source, guesses also beside what they may be.
bool is_sourced(const Json& value) {
  return value.is_array() && (value.size() == 2 || value.size() == 4) && value[1].is_string();
}

std::string source_of(const Json& value) {
  std::string text = value[1].get<std::string>();
  if (value.size() == 4) text += ", from " + value[2].dump() + " to " + value[3].dump();
  return text;
}

// Every value at or below `place`.
void collect(const std::string& path, const Json& place, const Json& schema,
             std::vector<Entry>& entries) {
  if (const Parameter* const row = parameter_at(path)) {
    entries.push_back({path, place, "", range_of(*row), row->sentence});
  } else if (place.is_object()) {
    for (const auto& [key, value] : place.items()) {
      collect(path + "." + key, value, schema.at("properties").at(key), entries);
    }
  } else if (is_sourced(place)) {
    entries.push_back({path, place[0], source_of(place), range_in(schema), ""});
  } else if (place.is_array()) {
    for (std::size_t n = 0; n < place.size(); ++n) {
      collect(path + "." + std::to_string(n), place[n], schema.at("items"), entries);
    }
  } else {
    entries.push_back({path, place, "", range_in(schema), ""});
  }
}

std::vector<Entry> entries_at(const Configuration& configuration, const std::string& named) {
  const std::string path = whole_path(named);
  const Json& place = configuration.value_at(path);
  Json schema = configuration_schema();
  schema["properties"]["machine"] = Json(schema["$defs"]["machine"]);
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '.');) {
    const bool list = schema.contains("items");
    schema = Json(list ? schema["items"] : schema["properties"][part]);
  }
  std::vector<Entry> entries;
  collect(path, place, schema, entries);
  return entries;
}

std::string text_of(const Entry& entry) {
  std::string text = entry.path + " = " + entry.value.dump() + "\n";
  for (const auto& [label, what] :
       {std::pair("range", entry.range), {"source", entry.source}, {"meaning", entry.sentence}}) {
    if (!what.empty()) text.append("  ").append(label).append(": ").append(what) += '\n';
  }
  return text;
}

Json json_of(const Entry& entry) {
  Json json = {{"path", entry.path}, {"value", entry.value}, {"range", entry.range}};
  if (!entry.source.empty()) json["source"] = entry.source;
  if (!entry.sentence.empty()) json["sentence"] = entry.sentence;
  return json;
}

// ---- list ----

Json presets_known() {
  Json presets = Json::array();
  for (const std::string& name : preset_names()) {
    const models::Preset preset = models::load_preset(preset_file(name));
    presets.push_back(
        {{"name", name},
         {"architecture", addrspace::to_string(preset.shape.extension->isa->architecture)},
         {"about", preset.shape.about}});
  }
  return presets;
}

void declare_list(CommandLine& line) {
  line.about("Lists the presets, and the parameters with their values if nobody sets them.")
      .flag("json", "as JSON");
}

int run_list(const CommandLine& line) {
  const Json presets = presets_known();
  if (line.has("json")) {
    Json rows = Json::array();
    for (const Parameter& row : parameters()) {
      rows.push_back(json_of({row.path, row.standard, "", range_of(row), row.sentence}));
    }
    print({{"presets", presets}, {"parameters", rows}});
    return kDone;
  }
  std::string text = "Presets (--preset NAME):\n";
  for (const Json& preset : presets) {
    std::string row = "  " + preset["name"].get<std::string>();
    row.resize(20, ' ');
    row += preset["architecture"].get<std::string>();
    row.resize(30, ' ');
    text += row + preset["about"].get<std::string>() + "\n";
  }
  TextOutput().write(text.append("\n").append(help_of_parameters()));
  return kDone;
}

// ---- explain ----

void declare_explain(CommandLine& line) {
  Words paths = {"machine."};
  for (const Parameter& row : parameters()) paths.emplace_back(row.path);
  line.about(
          "Says of a parameter, of a value of the machine (machine.walker.slots), or of all below "
          "a\n"
          "path (machine.tlb, guest) what it is, what it may be and where it comes from.")
      .flag("json", "as JSON")
      .operand("path", "PATH", po::value<std::string>()->required())
      .words("path", std::move(paths));
  declare_preset(line);
  declare_settings(line);
}

int run_explain(const CommandLine& line) {
  // Parameters are the same on each machine.
  const bool any = !line.has("preset") && parameter_at(line.get<std::string>("path")) != nullptr;
  const Configuration configuration =
      any ? configuration_of(line, "simple") : configuration_of(line);
  configuration.check_machine();
  Json all = Json::array();
  std::string text;
  for (const Entry& entry : entries_at(configuration, line.get<std::string>("path"))) {
    all.push_back(json_of(entry));
    text += text_of(entry);
  }
  line.has("json") ? print(all) : TextOutput().write(text);
  return kDone;
}

// ---- print and schema ----

void declare_print(CommandLine& line) {
  line.about(
      "Prints the configuration that a preset, files and settings make, as JSON. What is \"auto\"\n"
      "is decided when there is a trace: a run's directory has that.");
  declare_preset(line);
  declare_settings(line);
}

int run_print(const CommandLine& line) {
  const Configuration configuration = configuration_of(line);
  configuration.check_machine();
  print(configuration.document());
  return kDone;
}

void declare_schema(CommandLine& line) {
  line.about("Prints the JSON Schema (draft 2020-12) of configurations, or of stats.json.")
      .operand("document", "[configuration|stats]",
               po::value<std::string>()->default_value("configuration"))
      .words("document", {"configuration", "stats"});
}

int run_schema(const CommandLine& line) {
  const auto& document = line.get<std::string>("document");
  if (document != "configuration" && document != "stats") {
    throw UsageError("nestwalk config schema: " + document + ": not one of configuration, stats");
  }
  print(document == "stats" ? statistics_schema() : configuration_schema());
  return kDone;
}

}  // namespace

constexpr Command kConfigList = {"list", "lists presets and parameters", declare_list, run_list};
constexpr Command kConfigExplain = {"explain", "says what a value is, may be and comes from",
                                    declare_explain, run_explain};
constexpr Command kConfigPrint = {"print", "prints a configuration", declare_print, run_print};
constexpr Command kConfigSchema = {"schema", "prints a JSON Schema", declare_schema, run_schema};

}  // namespace nestwalk::sim
