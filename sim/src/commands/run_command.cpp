// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"

#include <sys/utsname.h>

#include <map>
#include <thread>

#include "configuration/configuration_options.hpp"
#include "nestwalk/traces/reader.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "program/signals.hpp"
#include "replay/replay.hpp"
#include "results/run_directory.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u64;

constexpr const char* kText =
    "Replays a trace: a guest with real page tables, under a hypervisor that runs the engine, on\n"
    "the simulated machine of a preset. Several traces are several guests, side by side. Prints\n"
    "what it cost, or writes a directory with config.resolved.json, stats.json, stats.txt and\n"
    "run.json.";

/// Parameters that are options as well.
struct Shortcut {
  const char* option;
  const char* value;
  const char* sentence;
};
constexpr Shortcut kShortcuts[] = {
    {"limit", "N", "at most so many accesses of each vCPU"},
    {"warmup", "N", "so many of these come before the statistics begin"},
    {"from", "PHASE", "statistics begin with this phase of the trace"},
    {"to", "PHASE", "statistics and the run end with this one"},
};

// How many records there are to play: what time is left is judged by it.
u64 records_of(const std::string& trace, u64 limit) {
  std::map<addrspace::u32, u64> records;
  for (const traces::IndexEntry& block : traces::Reader(traces::open_source(trace)).read_index()) {
    records[block.vcpu] += block.records;
  }
  u64 sum = 0;
  for (const auto& [vcpu, count] : records) sum += limit == 0 ? count : std::min(count, limit);
  return sum;
}

Json host() {
  utsname system{};
  uname(&system);
  return {{"system", std::string(system.sysname) + " " + system.release},
          {"machine", system.machine},
          {"processors", std::thread::hardware_concurrency()}};
}

double rate_of(const Replay& run) {
  return run.host_seconds > 0 ? static_cast<double>(run.accesses) / run.host_seconds : 0;
}

Json record_of(const CommandLine& line, const Configuration& configuration, const Replay& run,
               const Json& stats) {
  return {{"format", "nestwalk-run"},
          {"version", NESTWALK_VERSION},
          {"command", line.command()},
          {"trace", line.get<Words>("traces").size() == 1 ? Json(line.get<Words>("traces")[0])
                                                          : Json(line.get<Words>("traces"))},
          {"core", run.core},
          {"seed", configuration.value_at("guest.seed")},
          {"complete", run.ended_early.empty()},
          {"ended_early", run.ended_early},
          {"stats_checksum", checksum_of(stats)},
          {"host", host()},
          {"host_seconds", run.host_seconds},
          {"accesses_per_host_second", rate_of(run)}};
}

void declare(CommandLine& line) {
  line.about(std::string(kText).append("\n\n").append(help_of_parameters()));
  declare_preset(line);
  declare_settings(line);
  for (const Shortcut& each : kShortcuts) {
    line.option(
        each.option, po::value<std::string>()->value_name(each.value),
        (std::string(each.sentence) + ": --set run." + each.option + "=" + each.value).c_str());
  }
  line.option("output,o", po::value<std::string>()->value_name("DIR"), "the directory to write")
      .flag("phases", "statistics of each phase of the trace, too: --set run.phases=true")
      .flag("json", "print the statistics as JSON")
      .flag("force", "overwrite what is in the directory")
      .operand("traces", "TRACE...", po::value<Words>()->required(), -1)
      .ignores("without --output", {"force"});
}

int run(const CommandLine& line) {
  const Words& traces = line.get<Words>("traces");
  Configuration configuration = configuration_of(line);
  for (const Shortcut& each : kShortcuts) {
    if (!line.has(each.option)) continue;
    const std::string value = line.get<std::string>(each.option);
    configuration.set(std::string("run.") + each.option + "=" + value,
                      std::string("--") + each.option + " " + value);
  }
  if (line.has("phases")) configuration.set("run.phases=true", "--phases");
  std::optional<RunDirectory> directory;
  if (line.has("output")) {
    directory.emplace(line.get<std::string>("output"), line.has("force"));
  }

  Replay played;
  {
    Progress progress;
    const u64 limit = configuration.value_at("run.limit").get<u64>();
    u64 total = 0;
    for (const std::string& each : traces) total += progress.shown() ? records_of(each, limit) : 0;
    const Interruptible guard;
    played = replay(traces, configuration,
                    [&](u64 accesses) { progress.update(accesses, total, accesses); });
  }
  for (const std::string& each : played.disagreements) warn(each);
  const u64 refused = std::get<u64>(value_of(played.statistics, "operation.refused"));
  if (refused != 0) {
    warn("the engine refused " + std::to_string(refused) + " operations of the hypervisor");
  }
  if (!played.ended_early.empty()) warn("the run ended early: " + played.ended_early);
  const Json stats =
      as_json(played.statistics, played.histograms, played.core, played.values, played.ended_early);
  const std::string json = json_document(stats);
  const std::string text =
      as_text(played.statistics, played.core, played.values, played.ended_early);
  if (line.has("json") || !directory) TextOutput().write(line.has("json") ? json : text);
  if (directory) {
    directory->write({json_document(configuration.document()), json, text,
                      json_document(record_of(line, configuration, played, stats))});
  }
  return played.ended_early.empty() ? kDone : kIncomplete;
}

}  // namespace

constexpr Command kRunCommand = {"run", "replays a trace", declare, run};

}  // namespace nestwalk::sim
