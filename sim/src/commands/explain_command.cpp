// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk explain`

#include <algorithm>

#include "commands/commands.hpp"
#include "configuration/configuration_options.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/spool.hpp"
#include "program/output.hpp"
#include "program/progress.hpp"
#include "program/signals.hpp"
#include "replay/hot_spots.hpp"
#include "replay/replay.hpp"
#include "replay/story.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u32;
using addrspace::u64;

constexpr std::size_t kMostStories = 1000;

void declare(CommandLine& line) {
  line.about(
      "Replays a trace and tells of single accesses what every cycle went to: first in sums, then "
      "step\n"
      "by step, with lookups, entries of tables with what they mean and where they came from, "
      "faults\n"
      "and the software's work. The steps add up to the access's latency. Or, with --hot, on "
      "which\n"
      "pages all accesses spent their cycles. Parameters are those of `nestwalk run`.");
  declare_preset(line);
  declare_policy(line);
  declare_settings(line);
  declare_part(line);
  line.option("access", po::value<std::vector<u64>>()->value_name("N"),
              "an access of the vCPU, by its number from 0; may be repeated")
      .option("worst", po::value<std::size_t>()->value_name("COUNT"),
              "the slowest accesses of the vCPU; without this and the next ones: 1")
      .flag("each-cause", "the slowest access of each cause to which most of its cycles went")
      .option("hot", po::value<std::size_t>()->value_name("COUNT"),
              "the pages whose accesses took most cycles, of all vCPUs without --vcpu")
      .choice("by", hot_spot_sizes(), "of --hot: the size of the pages, 4K, 64K, 2M or 1G")
      .option("vcpu", po::value<u32>()->default_value(0), "which one")
      .flag("json", "as JSON")
      .operand("trace", "TRACE", po::value<std::string>()->required())
      .ignores("without --hot", {"by"});
}

void expect_vcpu(u32 vcpu, const Simulation& simulation) {
  if (vcpu < simulation.vcpus()) return;
  throw UsageError("nestwalk explain: --vcpu " + std::to_string(vcpu) + ", but the trace has " +
                   std::to_string(simulation.vcpus()));
}

std::size_t count_of(const CommandLine& line, const char* option) {
  const auto count = line.get<std::size_t>(option);
  if (count != 0 && count <= kMostStories) return count;
  throw UsageError("nestwalk explain: --" + std::string(option) + " is " + std::to_string(count) +
                   ", not a number from 1 to " + std::to_string(kMostStories));
}

Replay replay_for(const CommandLine& line, const std::function<void(Simulation&)>& prepare,
                  Configuration& configuration) {
  const std::string trace = line.get<std::string>("trace");
  (void)traces::Reader(traces::open_seekable(trace));
  Progress progress;
  const Interruptible guard;
  Replay played = replay(
      {trace}, configuration, [&](u64 accesses) { progress.update(accesses, 0, accesses); },
      prepare);
  if (!played.ended_early.empty()) warn("the run ended early: " + played.ended_early);
  return played;
}

int run_hot(const CommandLine& line, Configuration& configuration) {
  const std::size_t count = count_of(line, "hot");
  const std::string size = line.get<std::string>("by");
  HotSpots spots(shift_of(size), configuration.value_at("run.warmup").get<u64>());
  const Replay played = replay_for(
      line,
      [&](Simulation& simulation) {
        expect_vcpu(line.get<u32>("vcpu"), simulation);
        for (u32 vcpu = 0; vcpu < simulation.vcpus(); ++vcpu) {
          const bool wanted = !line.given("vcpu") || vcpu == line.get<u32>("vcpu");
          if (wanted) simulation.vcpu(vcpu).tell(spots);
        }
      },
      configuration);
  if (line.has("json")) {
    Json json = as_json(spots, count, size);
    json["core"] = played.core;
    json["ended_early"] = played.ended_early;
    TextOutput().write(json_document(json));
  } else {
    TextOutput().write("core: " + played.core + "\n" + as_text(spots, count, size));
  }
  return played.ended_early.empty() ? kDone : kIncomplete;
}

int run(const CommandLine& line) {
  const int kinds =
      line.has("access") + line.has("worst") + line.has("each-cause") + line.has("hot");
  if (kinds > 1) {
    throw UsageError("nestwalk explain: one of --access, --worst, --each-cause and --hot");
  }
  Configuration configuration = configuration_of(line);
  configuration.expect_whole_run("nestwalk explain", true);
  if (line.has("hot")) return run_hot(line, configuration);
  WantedStories wanted;
  wanted.first = configuration.value_at("run.warmup").get<u64>();
  wanted.of_each_cause = line.has("each-cause");
  if (line.has("worst")) wanted.slowest = count_of(line, "worst");
  std::vector<u64>& numbers = wanted.numbers;
  if (line.has("access") && wanted.first != 0) {
    throw UsageError("nestwalk explain: --access names accesses; leave out --warmup");
  }
  if (line.has("access")) numbers = line.get<std::vector<u64>>("access");
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());

  const u32 vcpu = line.get<u32>("vcpu");
  std::unique_ptr<Storyteller> teller;
  const Replay played = replay_for(
      line,
      [&](Simulation& simulation) {
        expect_vcpu(vcpu, simulation);
        teller = std::make_unique<Storyteller>(simulation, vcpu, wanted);
        simulation.vcpu(vcpu).tell(*teller);
      },
      configuration);
  const bool whole = played.ended_early.empty();
  if (whole && !numbers.empty() && teller->stories().size() != numbers.size()) {
    throw UsageError("nestwalk explain: --access " + std::to_string(numbers.back()) + ": vCPU " +
                     std::to_string(vcpu) + " has no such access");
  }
  std::string text = "core: " + played.core + "\n\n";
  Json all = Json::array();
  std::size_t all_told = 0;
  for (const Story& story : teller->stories()) {
    if (line.has("json")) {
      all.push_back(as_json(story));
      all.back()["core"] = played.core;
    } else {
      text.append(all_told++ == 0 ? "" : "\n").append(as_text(story));
    }
  }
  TextOutput().write(line.has("json") ? json_document(all) : text);
  return whole ? kDone : kIncomplete;
}

}  // namespace

constexpr Command kExplainCommand = {"explain", "tells why accesses took as long as they did",
                                     declare, run};

}  // namespace nestwalk::sim
