// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "run_command.hpp"

#include <csignal>
#include <filesystem>

#include "output.hpp"
#include "progress.hpp"
#include "replay.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;
using addrspace::u64;

constexpr const char* kText =
    "Replays a trace: a guest with real page tables, under a hypervisor that runs the engine, on\n"
    "the simulated machine of a preset. Several traces are several guests, side by side. Prints "
    "what it cost, or writes a directory with\n"
    "config.resolved.json, stats.json, stats.txt and run.json.";

constexpr const char* kFiles[] = {"config.resolved.json", "stats.json", "stats.txt", "run.json"};

volatile std::sig_atomic_t g_interrupted = 0;

std::string help_of_parameters() {
  std::string text = "\n\nParameters (--set PATH=VALUE):\n";
  for (const Parameter& row : parameters()) {
    text += "  " + std::string(row.path) + "=" + Json::parse(row.standard).dump() + "\n      " +
            row.sentence + "\n";
  }
  return text + "  machine...\n      every value of the preset, such as machine.walker.slots=2\n";
}

// A directory that is new, empty, or may be overwritten.
fs::path make_directory(const std::string& path, bool force) {
  std::error_code none;
  if (fs::exists(path, none) && !force && !(fs::is_directory(path) && fs::is_empty(path))) {
    throw UsageError(path + " exists; --force overwrites it");
  }
  fs::create_directories(path, none);
  if (!fs::is_directory(path)) throw UsageError(path + ": cannot be made: " + none.message());
  // Better now than after the run.
  for (const char* const name : kFiles) write_text(fs::path(path) / name, "");
  return path;
}

Json record_of(const std::vector<std::string>& traces, const Arguments& arguments,
               const Replay& run) {
  std::string command = "nestwalk run";
  for (const std::string& argument : arguments) command += " " + argument;
  const double accesses =
      static_cast<double>(std::get<u64>(value_of(run.statistics, "access.total")));
  return {{"format", "nestwalk-run"},
          {"version", NESTWALK_VERSION},
          {"command", command},
          {"trace", traces.size() == 1 ? Json(traces[0]) : Json(traces)},
          {"complete", run.ended_early.empty()},
          {"ended_early", run.ended_early},
          {"host_seconds", run.host_seconds},
          {"accesses_per_host_second", run.host_seconds > 0 ? accesses / run.host_seconds : 0}};
}

}  // namespace

int run_run_command(const Arguments& arguments) {
  CommandLine line("nestwalk run [OPTIONS] TRACE...", kText + help_of_parameters());
  line.option("preset,p", po::value<std::string>()->default_value("simple"),
              "the machine: a name of models/presets, or a file")
      .option("set", po::value<std::vector<std::string>>()->value_name("PATH=VALUE"),
              "one parameter; may be repeated")
      .option("config", po::value<std::vector<std::string>>()->value_name("FILE"),
              "a JSON file with parameters; before --set; may be repeated")
      .option("output,o", po::value<std::string>()->value_name("DIR"), "the directory to write")
      .flag("force", "overwrite what is in the directory")
      .operand("traces", po::value<std::vector<std::string>>()->required(), -1);
  if (!line.parse(arguments)) return kDone;

  const auto& traces = line.get<std::vector<std::string>>("traces");
  Configuration configuration(preset_file(line.get<std::string>("preset")));
  if (line.has("config")) {
    for (const auto& file : line.get<std::vector<std::string>>("config")) {
      configuration.merge_file(file);
    }
  }
  if (line.has("set")) {
    for (const auto& text : line.get<std::vector<std::string>>("set")) configuration.set(text);
  }
  std::optional<fs::path> directory;
  if (line.has("output")) {
    directory = make_directory(line.get<std::string>("output"), line.has("force"));
  }

  std::signal(SIGINT, [](int) { g_interrupted = 1; });
  Replay run;
  {
    Progress progress;
    run = replay(
        traces, configuration, [] { return g_interrupted != 0; },
        [&](u64 accesses) { progress.update(accesses, 0, accesses); });
  }
  for (const std::string& line_of_one : run.disagreements) warn(line_of_one);
  if (!run.ended_early.empty()) warn("the run ended early: " + run.ended_early);
  if (!directory) {
    TextOutput().write(as_text(run.statistics));
    return kDone;
  }
  const std::string texts[] = {configuration.document().dump(2) + "\n",
                               as_json(run.statistics).dump(2) + "\n", as_text(run.statistics),
                               record_of(traces, arguments, run).dump(2) + "\n"};
  for (std::size_t n = 0; n < std::size(kFiles); ++n) write_text(*directory / kFiles[n], texts[n]);
  return kDone;
}

}  // namespace nestwalk::sim
