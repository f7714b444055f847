// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for descriptions of sweeps, up to the configurations of the first and the last
// point.

#include "../../models/testing/json_mutator.hpp"
#include "memory_file.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/traces/error.hpp"
#include "program/output.hpp"
#include "sweeps/spec.hpp"

namespace nestwalk::sim {
namespace {

const Json& schema() {
  static const Json kSchema = Json::parse(R"({
    "type": "object", "required": ["format", "version", "traces", "presets"], "properties": {
      "format": {"const": "nestwalk-sweep"}, "version": {"const": 1}, "name": {"type": "string"},
      "traces": {"type": "array", "items": {"type": "string"}},
      "presets": {"type": "array", "items": {"enum": ["simple", "zen4", "none", "./none.json"]}},
      "policies": {"type": "array", "items": {"enum": ["lazy", "guest.seed=1", "none"]}},
      "set": {"type": "object", "properties": {
        "guest.memory": {"type": "string"}, "walker.slots": {"type": "integer"}}},
      "vary": {"type": "array", "items": {"type": "object", "properties": {
        "walker.slots": {"type": "array", "items": {"type": "integer"}},
        "guest.seed": {"enum": ["1..8", "1..9*3", "0.5..2+0.5", "64K..1M*4", "8..1", "1..x", "0..1*2"]},
        "core.kind": {"type": "array", "items": {"type": "string"}}}}},
      "design": {"enum": ["product", "zip", {"latin-hypercube": 4}, {"latin-hypercube": 4, "seed": 2},
                          {"seed": 2}]}}})");
  return kSchema;
}

}  // namespace
}  // namespace nestwalk::sim

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk;
  using namespace nestwalk::sim;
  static const MemoryFile kFile;
  kFile.hold({reinterpret_cast<const char*>(data), size});
  try {
    SweepSpec spec;
    read_spec(kFile.name(), spec);
    if (spec.presets.empty()) return 0;
    const SweepPoints points(spec);
    if (points.size() == 0) std::abort();
    for (const std::size_t n : {std::size_t{0}, points.size() - 1}) {
      (void)name_of(points.at(n), points.spec());
      (void)points.configuration_of(points.at(n));
    }
    // What is handed to the tasks of a job is the same sweep.
    kFile.hold(json_document(as_json(points.spec(), FileNames::Whole)));
    SweepSpec again;
    read_spec(kFile.name(), again);
    if (SweepPoints(again).size() != points.size()) std::abort();
  } catch (const UsageError&) {  // What makes no sense.
  } catch (const models::PresetError&) {
  } catch (const traces::InputError&) {
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  return nestwalk::models::JsonMutator(nestwalk::sim::schema(), seed).mutate(data, size, most);
}
