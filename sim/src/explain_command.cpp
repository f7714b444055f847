// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "explain_command.hpp"

#include <algorithm>

#include "output.hpp"
#include "replay.hpp"
#include "story.hpp"

namespace nestwalk::sim {
namespace {

namespace po = boost::program_options;
using addrspace::u32;
using addrspace::u64;

constexpr const char* kText =
    "Replays a trace and tells of single accesses what every cycle went to: lookups, entries of\n"
    "tables with what they mean and where they came from, faults, the software's work. The steps\n"
    "add up to the access's latency. Parameters are those of `nestwalk run`.";

constexpr std::size_t kMostStories = 1000;

}  // namespace

int run_explain_command(const Arguments& arguments) {
  CommandLine line("nestwalk explain [OPTIONS] TRACE", kText);
  line.option("preset,p", po::value<std::string>()->default_value("simple"),
              "the machine: a name of models/presets, or a file")
      .option("set", po::value<std::vector<std::string>>()->value_name("PATH=VALUE"),
              "one parameter; may be repeated")
      .option("config", po::value<std::vector<std::string>>()->value_name("FILE"),
              "a JSON file with parameters; before --set; may be repeated")
      .option("access", po::value<std::vector<u64>>()->value_name("N"),
              "an access of the vCPU, by its number from 0; may be repeated")
      .option("worst", po::value<std::size_t>()->value_name("COUNT"),
              "the slowest accesses of the vCPU; 1 without --access")
      .option("vcpu", po::value<u32>()->default_value(0), "which one")
      .flag("json", "as JSON")
      .operand("trace", po::value<std::string>()->required(), 1);
  if (!line.parse(arguments)) return kDone;
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

  Configuration configuration(preset_file(line.get<std::string>("preset")));
  if (line.has("config")) {
    for (const auto& file : line.get<std::vector<std::string>>("config")) {
      configuration.merge_file(file);
    }
  }
  if (line.has("set")) {
    for (const auto& text : line.get<std::vector<std::string>>("set")) configuration.set(text);
  }

  const u32 vcpu = line.get<u32>("vcpu");
  std::unique_ptr<Storyteller> teller;
  const Replay run = replay(
      {line.get<std::string>("trace")}, configuration, [] { return false; }, [](u64) {},
      [&](Simulation& simulation) {
        if (vcpu >= simulation.vcpus()) {
          throw UsageError("nestwalk explain: --vcpu " + std::to_string(vcpu) +
                           ", but the trace has " + std::to_string(simulation.vcpus()));
        }
        teller = numbers.empty() ? std::make_unique<Storyteller>(simulation, vcpu, worst)
                                 : std::make_unique<Storyteller>(simulation, vcpu, numbers);
        simulation.vcpu(vcpu).tell(*teller);
      });
  if (!run.ended_early.empty()) warn("the run ended early: " + run.ended_early);
  if (!numbers.empty() && teller->stories().size() != numbers.size()) {
    throw UsageError("nestwalk explain: --access " + std::to_string(numbers.back()) + ": vCPU " +
                     std::to_string(vcpu) + " has no such access");
  }
  std::string text;
  Json all = Json::array();
  for (const Story& story : teller->stories()) {
    if (line.has("json")) {
      all.push_back(as_json(story));
    } else {
      text.append(text.empty() ? "" : "\n").append(as_text(story));
    }
  }
  TextOutput().write(line.has("json") ? all.dump(2) + "\n" : text);
  return kDone;
}

}  // namespace nestwalk::sim
