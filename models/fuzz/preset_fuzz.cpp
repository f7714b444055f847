// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for presets: JSON, generated from its schema.

#include "../testing/json_mutator.hpp"
#include "nestwalk/machines/preset.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::models;
  try {
    const std::string text(reinterpret_cast<const char*>(data), size);
    (void)parse_preset(parse_json(text, "preset"), "preset");
  } catch (const TextError&) {    // What is no JSON.
  } catch (const PresetError&) {  // What makes no sense.
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  using namespace nestwalk::models;
  static const Json kSchema = preset_schema(SchemaOf::Machine);
  return JsonMutator(kSchema, seed).mutate(data, size, most);
}
