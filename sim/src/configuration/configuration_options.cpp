// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration/configuration_options.hpp"

#include "configuration/policies.hpp"

namespace nestwalk::sim {
namespace {

/// Parameters that are options as well.
struct Shortcut {
  const char* option;
  const char* value;
  const char* sentence;
};
constexpr Shortcut kShortcuts[] = {
    {"limit", "N", "at most so many accesses of each vCPU"},
    {"warmup", "N", "so many of these come before the statistics begin"},
    {"from", "PHASE", "statistics begin with this phase of the trace"},
    {"to", "PHASE", "statistics and the run end with this one"},
};

// Where nobody says which machine, what is laid over it is only to be looked at.
constexpr const char* kAnyMachine = "simple";

[[noreturn]] void fail_without_machine(const CommandLine& line) {
  std::string text = line.path() + ": which machine? --preset NAME, one of";
  for (const std::string& name : preset_names()) text.append(" ").append(name);
  throw UsageError(text + "; or --config FILE with a machine");
}

}  // namespace

void declare_preset(CommandLine& line) {
  line.option("preset,p", po::value<std::string>()->value_name("PRESET"),
              "the machine: a name of models/presets, or a file")
      .words("preset", preset_names());
}

void declare_policy(CommandLine& line) {
  line.option("policy", po::value<std::string>()->value_name("POLICY"),
              "how the guest gets its memory: a word, or parameters with commas between them")
      .words("policy", policy_names());
}

void declare_part(CommandLine& line) {
  for (const Shortcut& each : kShortcuts) {
    line.option(
        each.option, po::value<std::string>()->value_name(each.value),
        (std::string(each.sentence) + ": --set run." + each.option + "=" + each.value).c_str());
  }
  line.flag("phases", "statistics of each phase of the trace, too: --set run.phases=true");
}

void declare_settings(CommandLine& line) {
  Words assignments;
  for (const Parameter& row : parameters()) assignments.push_back(std::string(row.path) + "=");
  line.option("set", po::value<Words>()->value_name("PATH=VALUE"), "one parameter; may be repeated")
      .words("set", std::move(assignments))
      .option("config", po::value<Words>()->value_name("FILE"),
              "a JSON file with parameters, or a machine instead of --preset; before --set; may "
              "be repeated");
}

std::vector<Setting> settings_of(const CommandLine& line) {
  std::vector<Setting> settings;
  for (const std::string& text : line.all("set")) settings.push_back({text, "--set " + text});
  for (const Shortcut& each : kShortcuts) {
    if (!line.has(each.option)) continue;
    const std::string value = line.get<std::string>(each.option);
    settings.push_back({std::string("run.") + each.option + "=" + value,
                        std::string("--") + each.option + " " + value});
  }
  if (line.has("phases")) settings.push_back({"run.phases=true", "--phases"});
  return settings;
}

Configuration configuration_from(const std::string& preset, std::string who, const Words& files,
                                 const std::vector<Setting>& settings) {
  Configuration configuration(preset_file(preset));
  for (const std::string& file : files) {
    configuration.merge_file(file, who);
    if (!configuration.machine_file().empty()) who = "--config " + configuration.machine_file();
  }
  for (const Setting& each : settings) configuration.set(each.assignment, each.where);
  return configuration;
}

Configuration configuration_of(const CommandLine& line, const std::string& preset) {
  std::string who;
  if (line.has("preset")) who = "--preset " + preset;
  if (line.given("arch")) who = "--arch " + line.get<std::string>("arch");
  return configuration_from(preset, std::move(who), line.all("config"), settings_of(line));
}

Configuration configuration_of(const CommandLine& line) {
  const bool named = line.has("preset");
  Configuration configuration =
      configuration_of(line, named ? line.get<std::string>("preset") : kAnyMachine);
  if (!named && configuration.machine_file().empty()) fail_without_machine(line);
  if (line.has("policy")) use_policy(configuration, line.get<std::string>("policy"));
  return configuration;
}

Words presets_of(const CommandLine& line) {
  if (line.has("preset")) return once(line.get<Words>("preset"), "preset");
  if (configuration_of(line, kAnyMachine).machine_file().empty()) fail_without_machine(line);
  return {kAnyMachine};  // the place of which a machine takes
}

std::string help_of_parameters() {
  std::string text = "Parameters (--set PATH=VALUE):\n";
  for (const Parameter& row : parameters()) {
    text += "  " + std::string(row.path) + "=" + row.standard.dump() + " (" + range_of(row) +
            ")\n      " + row.sentence + "\n";
  }
  return text + "  machine...\n      every value of the preset, such as machine.walker.slots=2\n";
}

}  // namespace nestwalk::sim
