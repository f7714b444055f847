// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Machines from JSON. Every value stands beside where it comes from:
//
//   "ways": [8, "cpuid 18H"]
//
// Sources begin with one of: cpuid, manual, measured, paper, guess. A number that is a guess may
// say in what range it is likely to be: [46, "guess of a similar core", 40, 55].
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "nestwalk/models/base/json.hpp"
#include "nestwalk/models/machine/machine_shape.hpp"

namespace nestwalk::models {

/// What a user gave us wrong: the message names the place, what was found and what was expected.
class PresetError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct PresetSource {
  std::string path;  ///< of the value: `tlb.data.arrays[0].ways`
  std::string source;
  struct Range {
    u64 least, most;
  };
  std::optional<Range> range{};  ///< of a guess
  /// Of a number: its value, and what it may be.
  struct Number {
    u64 value, least, most;
    bool power_of_two;
  };
  std::optional<Number> number{};

  bool is_guess() const { return source == "guess" || source.starts_with("guess "); }
};

struct Preset {
  MachineShape shape;
  std::vector<PresetSource> sources;
};

/// `name` is how messages call the machine: usually a file's name.
Preset parse_preset(const Json& machine, const std::string& name);
Preset load_preset(const std::string& file);
/// A whole machine, of a preset's file. With `"like": "zen3"` it says only what differs from
/// the preset of that name, in its own folder or one of `folders`; null takes a structure away
/// (JSON merge patch, RFC 7386).
Json whole_preset(const std::string& file, const std::vector<std::string>& folders = {});
/// A machine has all keys, and values with their sources; of a part, which is laid over a machine,
/// no key must be there, and values may be plain.
enum class SchemaOf { Machine, PartOfMachine };
/// JSON Schema (draft 2020-12), made by the code that reads machines.
Json preset_schema(SchemaOf what);

}  // namespace nestwalk::models
