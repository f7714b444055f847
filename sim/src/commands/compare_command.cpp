// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "comparisons/break_even.hpp"
#include "comparisons/cases.hpp"
#include "comparisons/explanation.hpp"
#include "comparisons/fence_costs.hpp"
#include "comparisons/side_by_side.hpp"
#include "comparisons/suite.hpp"
#include "comparisons/sure.hpp"
#include "configuration/configuration_options.hpp"
#include "configuration/policies.hpp"
#include "nestwalk/traces/reader.hpp"
#include "nestwalk/traces/spool.hpp"
#include "program/output.hpp"
#include "program/signals.hpp"
#include "replay/storm.hpp"
#include "results/run_directory.hpp"
#include "results/statistic_names.hpp"
#include "results/table.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kText =
    "Replays each trace on every preset under every policy, in parallel, says which was fastest, "
    "and\n"
    "puts the results side by side; or compares directories that nestwalk run wrote. A policy is "
    "a\n"
    "word, or parameters with commas between them: "
    "hypervisor.fault_around=4,guest.large_pages=true\n"
    "CSV and JSON have a row for each run.\n"
    "With --sure, each run is made again with other values for the guesses of the presets, the "
    "same "
    "ones\n"
    "under each policy: in how many draws the order of two runs stays, how far each statistic "
    "goes, "
    "and\n"
    "which guesses that depends on (sim/README.md).\n"
    "With --break-even there is no trace: a guest writes once to each page of a part of its "
    "memory, "
    "and\n"
    "the part is sought at which two policies cost the same.\n"
    "With --storm there is none, either: its parameters follow (nestwalk trace gen storm --help), "
    "and\n"
    "what its fences cost is said for each number of vCPUs. Policies are those of fences then: "
    "all, or\n"
    "values of hypervisor.fences, or JSON files of rules (sim/README.md).";

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}

// Of what there are several: so runs differ.
std::string name_of(const RunOf& of, const std::map<std::string, std::size_t>& counts) {
  std::string name;
  for (const auto& [key, value] : of) {
    if (counts.at(key) > 1) name.append(name.empty() ? "" : " ").append(value);
  }
  return name.empty() ? *find_in(of, "policy") : name;
}

std::vector<Plan> plans_of(const CommandLine& line, const Words& traces) {
  const Words presets = presets_of(line);
  const Words wanted = once(line.get<Words>("policy"), "policy");
  Words dependences = {""};
  if (line.has("bounds")) {
    dependences.clear();
    for (const auto& [word, value] : software::kDependences) dependences.emplace_back(word);
  }
  const std::map<std::string, std::size_t> counts = {{"trace", traces.size()},
                                                     {"preset", presets.size()},
                                                     {"policy", wanted.size()},
                                                     {"dependences", 1}};
  std::map<std::string, int> stems;
  for (const std::string& trace : traces) ++stems[fs::path(trace).stem().string()];
  std::vector<Plan> plans;
  for (const std::string& trace : traces) {
    const std::string stem = fs::path(trace).stem().string();
    const std::string shown = stems[stem] == 1 ? stem : trace;
    for (const std::string& preset : presets) {
      for (const std::string& policy : wanted) {
        for (const std::string& word : dependences) {
          Configuration configuration = configuration_of(line, preset);
          use_policy(configuration, policy);
          const RunOf of = {
              {"trace", shown}, {"preset", configuration.machine_name()}, {"policy", policy}};
          Plan plan{name_of(of, counts), trace, std::move(configuration), of};
          if (!word.empty()) {
            plan.configuration.set("core.dependences=" + word, "--bounds");
            plan.of.emplace_back("dependences", word);
            plan.name += ", " + word;
          }
          plans.push_back(std::move(plan));
        }
      }
    }
  }
  return plans;
}

std::string help() { return kText + std::string("\n\n") + help_of_policies(); }

void declare(CommandLine& line) {
  Words words = policy_names();
  for (const std::string& name : fence_policies_of({"all"})) words.push_back(name);
  line.about(help())
      .option("preset,p", po::value<Words>()->value_name("PRESET"), "a machine; may be repeated")
      .words("preset", preset_names())
      .option(
          "policy",
          po::value<Words>()->default_value({"lazy", "eager"}, "lazy, eager")->value_name("POLICY"),
          "a policy; may be repeated")
      .words("policy", std::move(words))
      .choice("format", {"table", "markdown", "csv", "json"}, "table, markdown, csv or json")
      .flag("json", "--format json")
      .flag("all", "all statistics, not only the main ones")
      .option("statistics,s", po::value<Words>()->value_name("PATTERN"),
              "these statistics, such as 'exit.*'; may be repeated")
      .option("output,o", po::value<std::string>()->value_name("DIR"),
              "write each run into a directory there, as nestwalk run does")
      .flag("force", "overwrite what is in these directories")
      .flag("break-even", "the part of the memory at which two policies cost the same")
      .flag("bounds",
            "each case twice: with the dependences of the trace, and as if each load "
            "depended on the one before")
      .flag("sure",
            "how sure the results are: each case also with other values for the guesses of "
            "the presets")
      .option("draws", po::value<unsigned>()->default_value(200)->value_name("N"),
              "of --sure: how often other values are drawn")
      .option("seed", po::value<addrspace::u64>()->default_value(1)->value_name("N"),
              "of --sure: seed of the random numbers; each seed draws other values")
      .flag("explain",
            "of two cases, which values of their configurations make the difference: runs the "
            "second one with parts of it")
      .option("most-runs", po::value<std::size_t>()->default_value(kMostRuns)->value_name("N"),
              "of --explain")
      .flag("storm", "what fences cost in a trace that is generated, with these parameters")
      .option("vcpus", po::value<std::string>()->default_value("1,2,4,8,16")->value_name("N,..."),
              "of the storm: one run for each of these numbers")
      .operand("inputs", "[TRACE|DIR...|KEY=VALUE...]", po::value<Words>(), -1)
      .ignores("on directories", {"preset", "policy", "set", "config", "jobs", "bounds", "sure",
                                  "output", "limit", "warmup", "from", "to", "phases", "explain"})
      .ignores("with --break-even", {"all", "statistics", "bounds", "sure", "output", "explain"})
      .ignores("with --storm",
               {"all", "statistics", "break-even", "bounds", "sure", "output", "explain"})
      .ignores("with --sure", {"bounds", "statistics", "output", "explain"})
      .ignores("with --format csv", {"explain"})
      .ignores("without --explain", {"most-runs"})
      .ignores("without --output", {"force"})
      .ignores("with --all", {"statistics"})
      .ignores("without --storm", {"vcpus"})
      .ignores("without --sure", {"draws", "seed"})
      .ignores("with --json", {"format", "all"})
      .ignores("with --format json", {"all"});
  declare_settings(line);
  declare_part(line);
  declare_jobs(line);
}

// Each into a folder with its name. A folder that cannot be used is better found now.
void place_runs(std::vector<Plan>& plans, const CommandLine& line) {
  std::set<std::string> taken;
  for (Plan& plan : plans) {
    std::string name = plan.name;
    for (char& letter : name) {
      const bool plain = std::isalnum(static_cast<unsigned char>(letter)) != 0 ||
                         std::string_view("-._=").find(letter) != std::string_view::npos;
      if (!plain) letter = '_';
    }
    plan.directory = (fs::path(line.get<std::string>("output")) / name).string();
    plan.command = line.command();
    if (!taken.insert(plan.directory).second) {
      throw UsageError("nestwalk compare: two runs would be written into " + plan.directory);
    }
    const RunDirectory tried(plan.directory, line.has("force"));
  }
}

int run_break_even(const CommandLine& line, const std::string& format) {
  if (line.has("inputs")) throw UsageError("nestwalk compare: --break-even makes its own traces");
  const BreakEven found = find_break_even(plans_of(line, {""}), jobs_of(line));
  TextOutput().write(format == "json" ? json_document(as_json(found))
                                      : formatted(as_table(found), format));
  if (format == "table") TextOutput().write(printable(sentence_of(found)) + "\n");
  return kDone;
}

std::vector<unsigned> vcpus_of(const CommandLine& line) {
  const std::string wanted = line.get<std::string>("vcpus");
  std::vector<unsigned> numbers;
  bool good = !wanted.empty() && wanted.back() != ',';
  for (const std::string& text : split(wanted, ',')) {
    good = good && !text.empty() && text.size() <= 4 &&
           text.find_first_not_of("0123456789") == text.npos;
    const unsigned number = good ? static_cast<unsigned>(std::stoul(text)) : 0;
    good = good && std::find(numbers.begin(), numbers.end(), number) == numbers.end();
    numbers.push_back(number);
  }
  if (good) return numbers;
  throw UsageError("nestwalk compare: --vcpus " + wanted +
                   ": not different numbers with commas between them");
}

int run_storm(const CommandLine& line, const std::string& format) {
  FenceCostsWanted wanted{{}, vcpus_of(line), line.all("inputs")};
  for (const std::string& parameter : wanted.storm) {
    if (parameter.rfind("vcpus=", 0) == 0) {
      throw UsageError("nestwalk compare: " + parameter + ": --vcpus says how many there are");
    }
  }
  const Words policies = once(
      fence_policies_of(line.given("policy") ? line.get<Words>("policy") : Words{"all"}), "policy");
  for (const std::string& preset : presets_of(line)) {
    for (const std::string& policy : policies) {
      Configuration configuration = configuration_of(line, preset);
      configuration.expect_whole_run("nestwalk compare --storm");
      if (configuration.value_at("hypervisor.backing") == "none") {
        throw UsageError(
            "nestwalk compare --storm: hypervisor.backing is none: there are no fences");
      }
      const std::string name = use_fence_policy(configuration, policy);
      wanted.settings.push_back({configuration.machine_name(), name, configuration});
    }
  }
  const std::vector<FenceCosts> found = find_fence_costs(wanted, jobs_of(line));
  std::vector<Case> runs;
  for (const FenceCosts& each : found) runs.push_back(each.run);
  const ExitCode code = report_trouble(runs);
  TextOutput().write(format == "json" ? json_document(as_json(found))
                                      : formatted(as_table(found), format));
  return code;
}

// Draws, and what is said of runs, go by their names.
void expect_other_names(const std::vector<Plan>& plans) {
  std::set<std::string> names;
  for (const Plan& plan : plans) {
    if (names.insert(plan.name).second) continue;
    throw UsageError("nestwalk compare: --sure: two runs are called " + printable(plan.name) +
                     "; each preset needs a name of its own");
  }
}

int run_sure(const CommandLine& line, const std::string& format) {
  const unsigned draws = line.get<unsigned>("draws");
  if (draws == 0 || draws > kMostDraws) {
    throw UsageError("nestwalk compare: --draws " + std::to_string(draws) +
                     ": not a number from 1 to " + std::to_string(kMostDraws));
  }
  const Words inputs = once(line.all("inputs"), "trace");
  std::error_code none;
  if (!inputs.empty() && fs::is_directory(inputs[0], none)) line.found("on directories");
  if (inputs.size() != 1) throw UsageError("nestwalk compare: --sure takes one trace");
  (void)traces::Reader(traces::open_seekable(inputs[0]));  // is it one?
  SureWanted wanted{{}, {}, draws, line.get<addrspace::u64>("seed")};
  const std::vector<Plan> plans = plans_of(line, inputs);
  expect_other_names(plans);
  const Words presets = presets_of(line);
  const auto policies = static_cast<std::ptrdiff_t>(plans.size() / presets.size());
  auto first = plans.begin();
  for (const std::string& preset : presets) {
    const Configuration configuration = configuration_of(line, preset);
    wanted.machines.push_back(
        {configuration.machine_name(), configuration, {first, first + policies}});
    first += policies;
  }
  if (!line.has("all") && format != "json") {
    wanted.statistics = main_statistics();
  }
  const Sure found = find_how_sure(wanted, jobs_of(line));
  if (format == "json") {
    TextOutput().write(json_document(as_json(found)));
    return kDone;
  }
  std::vector<Case> own;
  for (const Sure::Runs& each : found.runs) own.push_back(each.own);
  TextOutput().write((format == "table" ? notes_of(own) : "") + formatted(found, format));
  return kDone;
}

// Of the statistics that were asked for, or else the standard headline, those that differ.
std::vector<Explanation> explain_difference(const CommandLine& line, const std::vector<Plan>& plans,
                                            const std::vector<Case>& cases) {
  if (!is_whole(cases[0]) || !is_whole(cases[1])) return {};
  Words patterns = line.all("statistics");
  if (patterns.empty()) {
    for (const auto& [name, direction] : standard_headline()) patterns.push_back(name);
  }
  ExplanationWanted wanted{plans[1].name + " differs from " + plans[0].name,
                           plans[1],
                           cases[0].configuration,
                           {},
                           cases[1].statistics,
                           {}};
  for (const std::string& name : statistics_named(cases, patterns)) {
    const Json none = 0;
    if (cases[0].statistics.value(name, none) == cases[1].statistics.value(name, none)) continue;
    wanted.statistics.push_back(name);
  }
  return {explain(wanted, {jobs_of(line), line.get<std::size_t>("most-runs")})};
}

int run(const CommandLine& line) {
  const std::string format = line.has("json") ? "json" : line.get<std::string>("format");
  if (line.has("break-even")) return run_break_even(line, format);
  if (line.has("storm")) return run_storm(line, format);
  if (line.has("sure")) return run_sure(line, format);
  if (line.all("inputs").empty()) {
    throw UsageError("nestwalk compare: traces, or directories of runs");
  }
  const Words inputs = once(line.all("inputs"), "input");
  for (const std::string& pattern : line.all("statistics")) {
    expect_possible_statistic(pattern, "nestwalk compare: --statistics ");
  }
  std::vector<Case> cases;
  std::vector<Explanation> explanations;
  std::error_code none;
  for (const std::string& input : inputs) {
    if (fs::is_directory(input, none) == fs::is_directory(inputs[0], none)) continue;
    throw UsageError("nestwalk compare: traces or directories of runs, not both: " +
                     printable(inputs[0]) + ", " + printable(input));
  }
  if (fs::is_directory(inputs[0], none)) {
    line.found("on directories");
    for (const std::string& input : inputs) cases.push_back(read_case(input));
  } else {
    for (const std::string& input : inputs) {
      (void)traces::Reader(traces::open_seekable(input));  // is it one?
    }
    std::vector<Plan> plans = plans_of(line, inputs);
    if (line.has("output")) place_runs(plans, line);
    if (line.has("explain") && plans.size() != 2) {
      throw UsageError("nestwalk compare: --explain is of two cases, here are " +
                       std::to_string(plans.size()));
    }
    if (line.has("explain") && plans[0].trace != plans[1].trace) {
      throw UsageError("nestwalk compare: --explain is of two cases of one trace");
    }
    const Interruptible guard;
    cases = run_cases(plans, jobs_of(line));
    if (line.has("explain")) explanations = explain_difference(line, plans, cases);
  }
  ExitCode code = report_trouble(cases);
  if (interrupted()) code = worse_of(code, kIncomplete);
  Patterns patterns = line.all("statistics");
  if (line.has("all") || (format == "json" && patterns.empty())) patterns = {"*"};
  if (format == "json") {
    Json json = as_json(cases, patterns);
    if (!explanations.empty()) json["explanations"] = as_json(explanations);
    TextOutput().write(json_document(json));
  } else if (format == "csv") {
    TextOutput().write(one_row_each_csv(cases, patterns));
  } else if (format == "markdown") {
    TextOutput().write(side_by_side_markdown(cases, patterns) + as_text(explanations));
  } else {
    const std::string verdict = verdict_of(cases);
    TextOutput().write(verdict + (verdict.empty() ? "" : "\n") +
                       side_by_side(cases, patterns, is_terminal() ? width_of_output() : 0) + "\n" +
                       notes_of(cases) + as_text(explanations));
  }
  return code;
}

}  // namespace

constexpr Command kCompareCommand = {
    "compare", "replays a trace on several machines, or under several policies", declare, run};

}  // namespace nestwalk::sim
