// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration/configuration_options.hpp"

namespace nestwalk::sim {

void declare_preset(CommandLine& line) {
  line.option("preset,p", po::value<std::string>()->default_value("simple")->value_name("PRESET"),
              "the machine: a name of models/presets, or a file")
      .words("preset", preset_names());
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

Configuration configuration_of(const CommandLine& line, const std::string& preset) {
  Configuration configuration(preset_file(preset));
  std::string who;
  if (line.given("preset")) who = "--preset " + preset;
  if (line.given("arch")) who = "--arch " + line.get<std::string>("arch");
  for (const std::string& file : line.all("config")) {
    configuration.merge_file(file, who);
    if (!configuration.machine_file().empty()) who = "--config " + configuration.machine_file();
  }
  for (const std::string& text : line.all("set")) configuration.set(text);
  return configuration;
}

Configuration configuration_of(const CommandLine& line) {
  return configuration_of(line, line.get<std::string>("preset"));
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
