// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for what runs wrote: the input is {"stats": ..., "run": ..., "configuration":
// ..., "baseline": ..., "input": ...}, a run's directory, a baseline and a file that the page
// shows. Where it is not, it is the text of each file.

#include <fstream>

#include "../../models/testing/json_mutator.hpp"
#include "comparisons/page.hpp"
#include "comparisons/suite.hpp"
#include "memory_file.hpp"
#include "nestwalk/traces/error.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

// A folder with the names of a run's files, which lie in memory.
class Directory {
 public:
  Directory() : path_(fs::temp_directory_path() / ("results-fuzz-" + std::to_string(getpid()))) {
    fs::create_directories(path_);
    fs::create_symlink(stats.name(), path_ / "stats.json");
    fs::create_symlink(run.name(), path_ / "run.json");
    fs::create_symlink(configuration.name(), path_ / "config.resolved.json");
  }
  ~Directory() { fs::remove_all(path_); }
  std::string path() const { return path_.string(); }

  MemoryFile stats;
  MemoryFile run;
  MemoryFile configuration;
  MemoryFile input;
  MemoryFile baseline;

 private:
  fs::path path_;
};

const Json& schema() {
  static const Json kSchema = Json::parse(R"({"type": "object", "properties": {
    "stats": {"type": "object", "required": ["format", "version", "statistics"], "properties": {
      "format": {"const": "nestwalk-stats"}, "version": {"const": 1},
      "statistics": {"type": "object", "properties": {
        "access.total": {"type": "integer"}, "latency.mean": {"type": "number"}}}}},
    "run": {"type": "object", "required": ["format", "ended_early"], "properties": {
      "format": {"const": "nestwalk-run"},
      "ended_early": {"type": "string"}}},
    "configuration": {"type": "object", "required": ["machine"], "properties": {
      "machine": {"type": "object", "required": ["name", "clock_mhz"], "properties": {
        "name": {"type": "string"}, "clock_mhz": {"type": "integer"}}}}},
    "input": {"type": "object", "required": ["format", "version"], "properties": {
      "format": {"enum": ["nestwalk-agreement", "nestwalk-findings", "nestwalk-check",
                          "nestwalk-sure"]},
      "version": {"const": 1}, "points": {"type": "array"}, "findings": {"type": "array"},
      "runs": {"type": "array"}, "cases": {"type": "array"}, "orders": {"type": "array"}}},
    "baseline": {"type": "object", "required": ["format", "version", "cases"], "properties": {
      "format": {"const": "nestwalk-baseline"}, "version": {"const": 1},
      "cases": {"type": "object", "properties": {"x": {"type": "object", "properties": {
        "access.total": {"type": "integer"}, "latency.mean": {"type": ["number", "null"]}}}}}}}}})");
  return kSchema;
}

template <class Read>
void try_to(Read&& read) {
  try {
    (void)read();
  } catch (const traces::InputError&) {  // What makes no sense.
  }
}

}  // namespace
}  // namespace nestwalk::sim

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::sim;
  static const Directory kDirectory;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const Json all = nestwalk::models::JsonMutator::parsed(text);
  const auto part = [&](const char* name) {
    return all.is_object() && all.contains(name)
               ? all[name].dump(-1, ' ', false, Json::error_handler_t::replace)
               : text;
  };
  kDirectory.stats.hold(part("stats"));
  kDirectory.run.hold(part("run"));
  kDirectory.configuration.hold(part("configuration"));
  kDirectory.baseline.hold(part("baseline"));
  kDirectory.input.hold(part("input"));
  try_to([] { return read_case(kDirectory.path()); });
  try_to([] {
    std::vector<PageCase> cases;
    cases.push_back(read_page_case(kDirectory.path()));
    return as_page(page_document(std::move(cases)));
  });
  try_to([] {
    PageInputs inputs;
    add_page_input(inputs, kDirectory.input.name());
    return as_page(page_document({}, inputs));
  });
  try_to([] { return read_baseline(kDirectory.baseline.name()); });
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  return nestwalk::models::JsonMutator(nestwalk::sim::schema(), seed).mutate(data, size, most);
}
