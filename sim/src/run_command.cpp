// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "run_command.hpp"

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "output.hpp"
#include "progress.hpp"
#include "simulation.hpp"
#include "trace_stream.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;
using addrspace::u32;
using addrspace::u64;

constexpr const char* kText =
    "Replays a trace: a guest with real page tables, under a hypervisor that runs the engine, on\n"
    "the simulated machine of a preset. Prints what it cost, or writes a directory with\n"
    "config.resolved.json, stats.json, stats.txt and run.json.";

volatile std::sig_atomic_t g_interrupted = 0;

std::string help_of_parameters() {
  std::string text = "\n\nParameters (--set PATH=VALUE):\n";
  for (const Parameter& row : parameters()) {
    text += "  " + std::string(row.path) + "=" + Json::parse(row.standard).dump() + "\n      " +
            row.sentence + "\n";
  }
  return text + "  machine...\n      every value of the preset, such as machine.walker.slots=2\n";
}

void write_file(const fs::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  out.close();
  if (!out) throw std::runtime_error(file.string() + ": cannot be written");
}

// A directory that is new, empty, or may be overwritten.
fs::path make_directory(const std::string& path, bool force) {
  std::error_code none;
  if (fs::exists(path, none) && !force && !(fs::is_directory(path) && fs::is_empty(path))) {
    throw UsageError(path + " exists; --force overwrites it");
  }
  fs::create_directories(path, none);
  if (!fs::is_directory(path)) throw UsageError(path + ": cannot be made: " + none.message());
  return path;
}

struct RunRecord {
  std::string trace;
  const Arguments& arguments;
  double seconds;
  u64 accesses;
  std::string ended_early;

  Json json() const {
    std::string command = "nestwalk run";
    for (const std::string& argument : arguments) command += " " + argument;
    return {
        {"format", "nestwalk-run"},
        {"version", NESTWALK_VERSION},
        {"command", command},
        {"trace", trace},
        {"complete", ended_early.empty()},
        {"ended_early", ended_early},
        {"host_seconds", seconds},
        {"accesses_per_host_second", seconds > 0 ? static_cast<double>(accesses) / seconds : 0}};
  }
};

}  // namespace

int run_run_command(const Arguments& arguments) {
  CommandLine line("nestwalk run [OPTIONS] TRACE", kText + help_of_parameters());
  line.option("preset,p", po::value<std::string>()->default_value("simple"),
              "the machine: a name of models/presets, or a file")
      .option("set", po::value<std::vector<std::string>>()->value_name("PATH=VALUE"),
              "one parameter; may be repeated")
      .option("config", po::value<std::vector<std::string>>()->value_name("FILE"),
              "a JSON file with parameters; before --set; may be repeated")
      .option("output,o", po::value<std::string>()->value_name("DIR"), "the directory to write")
      .flag("force", "overwrite what is in the directory")
      .operand("trace", po::value<std::string>()->required(), 1);
  if (!line.parse(arguments)) return kDone;

  const std::string trace = line.get<std::string>("trace");
  Configuration configuration(preset_file(line.get<std::string>("preset")));
  if (line.has("config")) {
    for (const auto& file : line.get<std::vector<std::string>>("config")) {
      configuration.merge_file(file);
    }
  }
  if (line.has("set")) {
    for (const auto& text : line.get<std::vector<std::string>>("set")) configuration.set(text);
  }
  const traces::Header header = traces::Reader(traces::open_source(trace)).header();
  const RunShape shape = configuration.resolve(header);
  std::optional<fs::path> directory;
  if (line.has("output")) {
    directory = make_directory(line.get<std::string>("output"), line.has("force"));
  }

  const bool physical = shape.guest.tables == software::GuestTables::None;
  Simulation simulation(shape, header.vcpus, [&](u32 vcpu) {
    return std::make_unique<TraceStream>(traces::open_source(trace), vcpu, physical);
  });
  std::signal(SIGINT, [](int) { g_interrupted = 1; });
  const auto start = std::chrono::steady_clock::now();
  {
    Progress progress(0);
    simulation.run([] { return g_interrupted != 0; },
                   [&](u64 accesses) { progress.update(accesses, accesses); });
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  const Statistics statistics = simulation.statistics();
  if (!simulation.ended_early().empty()) warn("the run ended early: " + simulation.ended_early());
  if (!directory) {
    TextOutput().write(as_text(statistics));
    return kDone;
  }
  const RunRecord record{trace, arguments, seconds, simulation.accesses(),
                         simulation.ended_early()};
  write_file(*directory / "config.resolved.json", configuration.document().dump(2) + "\n");
  write_file(*directory / "stats.json", as_json(statistics).dump(2) + "\n");
  write_file(*directory / "stats.txt", as_text(statistics));
  write_file(*directory / "run.json", record.json().dump(2) + "\n");
  return kDone;
}

}  // namespace nestwalk::sim
