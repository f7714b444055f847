// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk explain`

#include <algorithm>

#include "commands/commands.hpp"
#include "configuration/configuration_options.hpp"
#include "program/output.hpp"
#include "program/signals.hpp"
#include "replay/replay.hpp"
#include "replay/story.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u32;
using addrspace::u64;

constexpr std::size_t kMostStories = 1000;

void declare(CommandLine& line) {
  line.about(
      "Replays a trace and tells of single accesses what every cycle went to: lookups, entries of\n"
      "tables with what they mean and where they came from, faults, the software's work. The "
      "steps\n"
      "add up to the access's latency. Parameters are those of `nestwalk run`.");
  declare_preset(line);
  declare_policy(line);
  declare_settings(line);
  line.option("access", po::value<std::vector<u64>>()->value_name("N"),
              "an access of the vCPU, by its number from 0; may be repeated")
      .option("worst", po::value<std::size_t>()->value_name("COUNT"),
              "the slowest accesses of the vCPU; 1 without --access")
      .option("vcpu", po::value<u32>()->default_value(0), "which one")
      .flag("json", "as JSON")
      .operand("trace", "TRACE", po::value<std::string>()->required());
}

int run(const CommandLine& line) {
  if (line.has("access") && line.has("worst")) {
    throw UsageError("nestwalk explain: --access or --worst, not both");
  }
  const std::size_t worst = line.has("worst") ? line.get<std::size_t>("worst") : 1;
  if (worst == 0 || worst > kMostStories) {
    throw UsageError("nestwalk explain: --worst is " + std::to_string(worst) +
                     ", not a number from 1 to " + std::to_string(kMostStories));
  }
  std::vector<u64> numbers;
  if (line.has("access")) numbers = line.get<std::vector<u64>>("access");
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());

  Configuration configuration = configuration_of(line);
  configuration.expect_whole_run("nestwalk explain");
  const u32 vcpu = line.get<u32>("vcpu");
  std::unique_ptr<Storyteller> teller;
  const Interruptible guard;
  const Replay played = replay(
      {line.get<std::string>("trace")}, configuration, [](u64) {},
      [&](Simulation& simulation) {
        if (vcpu >= simulation.vcpus()) {
          throw UsageError("nestwalk explain: --vcpu " + std::to_string(vcpu) +
                           ", but the trace has " + std::to_string(simulation.vcpus()));
        }
        teller = numbers.empty() ? std::make_unique<Storyteller>(simulation, vcpu, worst)
                                 : std::make_unique<Storyteller>(simulation, vcpu, numbers);
        simulation.vcpu(vcpu).tell(*teller);
      });
  if (!played.ended_early.empty()) warn("the run ended early: " + played.ended_early);
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
