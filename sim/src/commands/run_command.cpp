// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"

#include <map>
#include <memory>

#include "configuration/configuration_options.hpp"
#include "configuration/policies.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/spool.hpp"
#include "program/output.hpp"
#include "program/overwrite.hpp"
#include "program/progress.hpp"
#include "program/signals.hpp"
#include "replay/run_files.hpp"
#include "replay/timeline.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u64;

constexpr u64 kLeastTimeline = 64 << 10;

constexpr const char* kText =
    "Replays a trace: a guest with real page tables, under a hypervisor that runs the engine, on\n"
    "the simulated machine of a preset. Several traces are several guests, side by side. Prints\n"
    "what mattered, and writes a directory with config.resolved.json, stats.json, stats.txt and\n"
    "run.json.";

// How many records there are to play: what time is left is judged by it.
u64 records_of(const std::string& trace, u64 limit) {
  std::map<addrspace::u32, u64> records;
  for (const traces::IndexEntry& block :
       traces::Reader(traces::open_seekable(trace)).read_index()) {
    records[block.vcpu] += block.records;
  }
  u64 sum = 0;
  for (const auto& [vcpu, count] : records) sum += limit == 0 ? count : std::min(count, limit);
  return sum;
}

constexpr const char* kTimelineLimit = "128M";

std::optional<PerfettoTrace> timeline_of(const CommandLine& line) {
  if (!line.has("timeline")) return {};
  const auto& file = line.get<std::string>("timeline");
  if (file == "-") throw UsageError("nestwalk run: --timeline writes a file, not standard output");
  expect_not_read(file, line.get<Words>("traces"));
  const auto& text = line.get<std::string>("timeline-limit");
  const std::optional<u64> bytes = size_of(text);
  if (!bytes || *bytes < kLeastTimeline) {
    throw UsageError("nestwalk run: --timeline-limit: expected a size of at least 64K, found " +
                     text);
  }
  return std::optional<PerfettoTrace>(std::in_place, file, *bytes);
}

void declare(CommandLine& line) {
  line.about(std::string(kText)
                 .append("\n\n")
                 .append(help_of_policies())
                 .append("\n")
                 .append(help_of_parameters()));
  declare_preset(line);
  declare_settings(line);
  declare_policy(line);
  declare_part(line);
  line.option("output,o", po::value<std::string>()->value_name("DIR"), "the directory to write")
      .option("timeline", po::value<std::string>()->value_name("FILE"),
              "write what happened when, for https://ui.perfetto.dev; of the part that is measured "
              "(--warmup, --from, --to)")
      .option("timeline-limit",
              po::value<std::string>()->value_name("SIZE")->default_value(kTimelineLimit),
              "bytes of that file at most: it ends where it is full")
      .flag("all", "print all statistics, as stats.txt has them")
      .flag("json", "print all statistics as JSON")
      .flag("force", "overwrite what is in the directory")
      .operand("traces", "TRACE...", po::value<Words>()->required(), -1)
      .ignores("without --output", {"force"})
      .ignores("without --timeline", {"timeline-limit"});
}

int run(const CommandLine& line) {
  const Words& traces = line.get<Words>("traces");
  Configuration configuration = configuration_of(line);
  std::optional<RunDirectory> directory;
  if (line.has("output")) {
    directory.emplace(line.get<std::string>("output"), line.has("force"));
  }

  // What comes from a pipe is read here: from there on, the first signal ends only the run.
  for (const std::string& each : traces) (void)traces::Reader(traces::open_seekable(each));
  std::optional<PerfettoTrace> perfetto = timeline_of(line);
  std::unique_ptr<Timeline> timeline;
  Replay played;
  {
    Progress progress;
    const u64 limit = configuration.value_at("run.limit").get<u64>();
    u64 total = 0;
    for (const std::string& each : traces) total += progress.shown() ? records_of(each, limit) : 0;
    const Interruptible guard;
    played = replay(
        traces, configuration, [&](u64 accesses) { progress.update(accesses, total, accesses); },
        [&](Simulation& simulation) {
          if (!perfetto) return;
          timeline = std::make_unique<Timeline>(*perfetto, simulation, traces);
        },
        [&] {
          if (timeline) timeline->finish();
        });
  }
  if (perfetto && perfetto->is_full()) {
    warn(line.get<std::string>("timeline") + " is full: it ends at " +
         duration_text(static_cast<double>(*perfetto->full_at())) + " of " +
         duration_text(static_cast<double>(timeline->end())) +
         "; a part (--from, --to, --warmup, --set run.limit=N) or a larger --timeline-limit has "
         "more");
  }
  for (const std::string& each : played.disagreements) warn(each);
  const u64 refused = std::get<u64>(value_of(played.statistics, "operation.refused"));
  if (refused != 0) {
    warn("the engine refused " + counted(refused, "operation") + " of the hypervisor");
  }
  if (!played.ended_early.empty()) warn("the run ended early: " + played.ended_early);
  const RunFiles files = files_of(played, line.command(), traces, configuration);
  if (directory) directory->write(files.texts);
  TextOutput().write(line.has("json") ? files.stats_json()
                     : line.has("all")
                         ? files.stats_txt()
                         : as_text(files.summary, width_of_output(), bars_of_output()));
  return played.ended_early.empty() ? kDone : kIncomplete;
}

}  // namespace

constexpr Command kRunCommand = {"run", "replays a trace", declare, run};

}  // namespace nestwalk::sim
