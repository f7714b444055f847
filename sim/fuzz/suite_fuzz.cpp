// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for suites: what `gate` reads before it runs anything. A trace of each case is
// there, whatever its name.

#include "comparisons/suite.hpp"

#include "../../models/testing/json_mutator.hpp"
#include "memory_file.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::sim {
namespace {

const MemoryFile& trace() {
  static const MemoryFile kFile;
  static const bool kWritten = [] {
    traces::MemorySink sink;
    traces::Writer(sink, traces::Header{}).finish();
    const std::vector<addrspace::u8>& bytes = sink.bytes();
    kFile.hold({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return true;
  }();
  (void)kWritten;
  return kFile;
}

std::string with_traces(const std::string& text) {
  Json suite = models::JsonMutator::parsed(text);
  if (!suite.is_object() || !suite.contains("cases") || !suite["cases"].is_array()) return text;
  for (Json& each : suite["cases"]) {
    if (each.is_object() && each.contains("trace") && each["trace"].is_string()) {
      each["trace"] = trace().name();
    }
  }
  return suite.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json& schema() {
  static const Json kSchema = Json::parse(R"({
    "type": "object", "required": ["format", "version", "baseline", "cases"], "properties": {
      "format": {"const": "nestwalk-suite"}, "version": {"const": 1}, "baseline": {"type": "string"},
      "tolerances_percent": {"type": "object", "properties": {"latency.mean": {"type": "number"}}},
      "cases": {"type": "array", "items": {
        "type": "object", "required": ["name", "trace", "preset"], "properties": {
          "name": {"type": "string"}, "trace": {"type": "string"},
          "preset": {"enum": ["simple", "zen4", "none", "./none.json"]},
          "set": {"type": "array", "items": {"enum": [
            "hypervisor.backing=lazy", "guest.memory=64M", "machine.walker.slots=2", "x", "=", "run="
          ]}}}}}}})");
  return kSchema;
}

}  // namespace
}  // namespace nestwalk::sim

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk;
  using namespace nestwalk::sim;
  static const MemoryFile kFile;
  kFile.hold(with_traces({reinterpret_cast<const char*>(data), size}));
  try {
    (void)read_suite(kFile.name());
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
