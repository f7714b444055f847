// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands.hpp"

#include <csignal>
#include <filesystem>

#include "configuration_options.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "replay.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;
using addrspace::u64;

constexpr const char* kText =
    "Replays a trace: a guest with real page tables, under a hypervisor that runs the engine, on\n"
    "the simulated machine of a preset. Prints what it cost, or writes a directory with\n"
    "config.resolved.json, stats.json, stats.txt and run.json.";

constexpr const char* kFiles[] = {"config.resolved.json", "stats.json", "stats.txt", "run.json"};

volatile std::sig_atomic_t g_interrupted = 0;

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

Json record_of(const std::string& trace, const CommandLine& line, const Replay& run) {
  const double accesses =
      static_cast<double>(std::get<u64>(value_of(run.statistics, "access.total")));
  return {{"format", "nestwalk-run"},
          {"version", NESTWALK_VERSION},
          {"command", line.command()},
          {"trace", trace},
          {"complete", run.ended_early.empty()},
          {"ended_early", run.ended_early},
          {"host_seconds", run.host_seconds},
          {"accesses_per_host_second", run.host_seconds > 0 ? accesses / run.host_seconds : 0}};
}

void declare(CommandLine& line) {
  line.about(std::string(kText).append("\n\n").append(help_of_parameters()));
  declare_preset(line);
  declare_settings(line);
  line.option("output,o", po::value<std::string>()->value_name("DIR"), "the directory to write")
      .flag("force", "overwrite what is in the directory")
      .operand("trace", "TRACE", po::value<std::string>()->required());
}

int run(const CommandLine& line) {
  const std::string trace = line.get<std::string>("trace");
  Configuration configuration = configuration_of(line);
  std::optional<fs::path> directory;
  if (line.has("output")) {
    directory = make_directory(line.get<std::string>("output"), line.has("force"));
  }

  std::signal(SIGINT, [](int) { g_interrupted = 1; });
  Replay played;
  {
    Progress progress;
    played = replay(
        trace, configuration, [] { return g_interrupted != 0; },
        [&](u64 accesses) { progress.update(accesses, 0, accesses); });
  }
  if (!played.ended_early.empty()) warn("the run ended early: " + played.ended_early);
  if (!directory) {
    TextOutput().write(as_text(played.statistics));
    return kDone;
  }
  const std::string texts[] = {
      configuration.document().dump(2) + "\n", as_json(played.statistics).dump(2) + "\n",
      as_text(played.statistics), record_of(trace, line, played).dump(2) + "\n"};
  for (std::size_t n = 0; n < std::size(kFiles); ++n) write_text(*directory / kFiles[n], texts[n]);
  return kDone;
}

}  // namespace

constexpr Command kRunCommand = {"run", "replays a trace", declare, run};

}  // namespace nestwalk::sim
