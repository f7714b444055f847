// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How a command line says what a run is like.
#pragma once

#include "configuration/configuration.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

/// Adds --preset, of which there is one.
void declare_preset(CommandLine& line);
/// Adds --policy, of which there is one.
void declare_policy(CommandLine& line);
/// Adds --limit, --warmup, --from, --to and --phases.
void declare_part(CommandLine& line);
/// Adds --config and --set.
void declare_settings(CommandLine& line);

/// "path=value", and what messages call what says so.
struct Setting {
  std::string assignment;
  std::string where;
};
/// --set and those of declare_part.
std::vector<Setting> settings_of(const CommandLine& line);
/// A preset with files and then settings over it. `who` chose the preset: nobody, if empty.
Configuration configuration_from(const std::string& preset, std::string who, const Words& files,
                                 const std::vector<Setting>& settings);
/// What --config, --set and those of declare_part make of a preset.
Configuration configuration_of(const CommandLine& line, const std::string& preset);
/// Of the one that --preset names, and under the one --policy. Throws UsageError where neither
/// --preset nor --config says which machine.
Configuration configuration_of(const CommandLine& line);
/// All that --preset names, where it may be repeated. Throws UsageError likewise.
Words presets_of(const CommandLine& line);

/// The parameters, a sentence each.
std::string help_of_parameters();

}  // namespace nestwalk::sim
