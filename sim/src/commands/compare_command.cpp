// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <sstream>

#include "comparisons/break_even.hpp"
#include "comparisons/cases.hpp"
#include "comparisons/fence_costs.hpp"
#include "comparisons/sure.hpp"
#include "configuration/configuration_options.hpp"
#include "nestwalk/traces/reader.hpp"
#include "program/output.hpp"
#include "replay/storm.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"
#include "results/used_values.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kText =
    "Replays one trace on every preset under every policy, in parallel, and puts the results side "
    "by\n"
    "side; or compares directories that nestwalk run wrote. A policy is a word, or parameters "
    "with\n"
    "commas between them: hypervisor.fault_around=4,guest.large_pages=true\n"
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

/// Words for what is often compared.
struct Policy {
  const char* name;
  std::vector<const char*> settings;
  const char* sentence;
};
const std::vector<Policy>& policies() {
  static const std::vector<Policy> kRows = {
      {"lazy", {"hypervisor.backing=lazy"}, "a page when the guest touches it"},
      {"lazy-16", {"hypervisor.backing=lazy", "hypervisor.fault_around=4"}, "16 pages at a time"},
      {"lazy-2M",
       {"hypervisor.backing=lazy", "hypervisor.large_pages=true"},
       "2M where it is free"},
      {"eager", {"hypervisor.backing=eager"}, "all of its memory before the guest runs"},
      {"eager-2M", {"hypervisor.backing=eager", "hypervisor.large_pages=true"}, "in pages of 2M"},
      {"linear", {"hypervisor.backing=linear"}, "in one piece of host memory"},
      {"native", {"hypervisor.backing=none"}, "without a hypervisor: one stage"},
  };
  return kRows;
}

enum class Better { Neither, Less, More };

/// What is shown if nobody asks for something else, and which of two values is the better one.
constexpr struct {
  const char* name;
  Better better;
} kMainRows[] = {{"access.total", Better::Neither},      {"time.first_access", Better::Less},
                 {"time.cycles", Better::Less},          {"time.ns", Better::Less},
                 {"latency.mean", Better::Less},         {"latency.mean_ns", Better::Less},
                 {"latency.p50", Better::Less},          {"latency.p99", Better::Less},
                 {"latency.p99.9", Better::Less},        {"latency.max", Better::Less},
                 {"latency.translation", Better::Less},  {"latency.data", Better::Less},
                 {"latency.exits", Better::Less},        {"latency.guest", Better::Less},
                 {"tlb.first_hits", Better::More},       {"tlb.second_hits", Better::Neither},
                 {"walk.count", Better::Less},           {"walk.references", Better::Less},
                 {"walk.references_mean", Better::Less}, {"walk.cycles_mean", Better::Less},
                 {"exit.total", Better::Less},           {"exit.cycles", Better::Less},
                 {"guest.faults", Better::Less},         {"guest.cycles", Better::Less},
                 {"guest.cycles.exits", Better::Less},   {"memory.backed", Better::Less},
                 {"memory.tables", Better::Less},        {"engine.bytes_zeroed", Better::Less},
                 {"engine.fences", Better::Less}};

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) parts.push_back(part);
  return parts;
}

std::vector<std::string> settings_of(const std::string& policy) {
  for (const Policy& row : policies()) {
    if (policy == row.name) return {row.settings.begin(), row.settings.end()};
  }
  if (policy.find('=') == std::string::npos) {
    std::string known;
    for (const Policy& row : policies()) known.append(" ").append(row.name);
    throw UsageError("there is no policy '" + policy + "'; there are:" + known);
  }
  return split(policy, ',');
}

std::vector<Plan> plans_of(const CommandLine& line, const std::string& trace) {
  std::vector<Plan> plans;
  const auto& presets = line.get<std::vector<std::string>>("preset");
  const auto& wanted = line.get<std::vector<std::string>>("policy");
  for (const std::string& preset : presets) {
    for (const std::string& policy : wanted) {
      // What they differ in.
      std::string name = presets.size() > 1 ? fs::path(preset).stem().string() : "";
      if (wanted.size() > 1 && !name.empty()) name += ' ';
      if (wanted.size() > 1 || name.empty()) name += policy;
      Configuration configuration = configuration_of(line, preset);
      for (const std::string& setting : settings_of(policy))
        configuration.set(setting, "--policy " + policy);
      if (!line.has("bounds")) {
        plans.push_back({name, trace, std::move(configuration)});
        continue;
      }
      for (const auto& [word, dependences] : software::kDependences) {
        Configuration bound = configuration;
        bound.set(std::string("core.dependences=") + word, "--bounds");
        plans.push_back({name + ", " + word, trace, std::move(bound)});
      }
    }
  }
  return plans;
}

// Output -----------------------------------------------------------------------------------------

// Against the first case.
std::string ratio_text(const Json& first, const Json& value) {
  if (!first.is_number() || !value.is_number() || first.get<double>() == 0) return "";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value.get<double>() / first.get<double>());
  return text;
}

// Of all statistics that any of them has: first those of the first case, in its order.
std::vector<std::string> names_of(const std::vector<Case>& cases) {
  std::vector<std::string> names;
  std::set<std::string> known;
  for (const Case& each : cases) {
    for (const auto& [name, value] : each.statistics.items()) {
      if (known.insert(name).second) names.push_back(name);
    }
  }
  return names;
}

// Green and red: the best and the worst of a row, where they differ.
Colour colour_of(const Json& value, const std::vector<Json>& row, Better better) {
  std::vector<double> numbers;
  for (const Json& each : row) {
    if (each.is_number()) numbers.push_back(each.get<double>());
  }
  if (!value.is_number() || better == Better::Neither) return Colour::Plain;
  const auto [least, most] = std::minmax_element(numbers.begin(), numbers.end());
  if (*least == *most) return Colour::Plain;
  const bool less = better == Better::Less;
  if (value.get<double>() == (less ? *least : *most)) return Colour::Green;
  return value.get<double>() == (less ? *most : *least) ? Colour::Red : Colour::Plain;
}

std::vector<Cell> row_of(const std::vector<Case>& cases, const std::string& name, Better better) {
  std::vector<Json> values;
  for (const Case& each : cases) values.push_back(each.statistics.value(name, Json()));
  std::vector<Cell> row = {{name}};
  for (std::size_t n = 0; n < cases.size(); ++n) {
    row.push_back({text_of(values[n]), colour_of(values[n], values, better)});
    if (n != 0) row.push_back({ratio_text(values[0], values[n])});
  }
  return row;
}

std::vector<Cell> outcomes_of(const std::vector<Case>& cases) {
  std::vector<Cell> row = {{"outcome"}};
  for (std::size_t n = 0; n < cases.size(); ++n) {
    row.push_back({outcome_of(cases[n]), cases[n].failure.empty() ? Colour::Plain : Colour::Red});
    if (n != 0) row.push_back({""});
  }
  return row;
}

// What is said of runs beside their statistics; "-": not known.
struct Note {
  const char* label;
  std::string (*text_of)(const Case& run);
};
constexpr const char* kUnknown = "-";
const Note kNotes[] = {
    {"core", [](const Case& run) { return run.core.empty() ? kUnknown : run.core; }},
    {"guesses", [](const Case& run) { return run.values ? text_of(*run.values) : kUnknown; }}};

bool is_known(const Note& note, const std::vector<Case>& cases) {
  return std::ranges::any_of(cases,
                             [&](const Case& each) { return note.text_of(each) != kUnknown; });
}

// Before a table: of each note a line for each run, or one if all have the same.
std::string notes_of(const std::vector<Case>& cases) {
  std::string text;
  for (const Note& note : kNotes) {
    if (!is_known(note, cases)) continue;
    const std::string first = note.text_of(cases[0]);
    if (std::ranges::all_of(cases, [&](const Case& each) { return note.text_of(each) == first; })) {
      text += std::string(note.label) + ": " + first + "\n";
      continue;
    }
    for (const Case& each : cases) {
      text += std::string(note.label) + " of " + each.name + ": " + note.text_of(each) + "\n";
    }
  }
  return text;
}

std::vector<Cell> row_of(const std::vector<Case>& cases, const Note& note) {
  std::vector<Cell> row = {{note.label}};
  for (std::size_t n = 0; n < cases.size(); ++n) {
    row.push_back({note.text_of(cases[n])});
    if (n != 0) row.push_back({""});
  }
  return row;
}

Table table_of(const std::vector<Case>& cases, bool all, bool has_notes) {
  Table table(1);
  table[0].push_back({"statistic"});
  for (std::size_t n = 0; n < cases.size(); ++n) {
    table[0].push_back({cases[n].name});
    if (n != 0) table[0].push_back({"ratio"});
  }
  for (const Note& note : kNotes) {
    if (has_notes && is_known(note, cases)) table.push_back(row_of(cases, note));
  }
  if (std::any_of(cases.begin(), cases.end(), [](const Case& each) { return !is_whole(each); })) {
    table.push_back(outcomes_of(cases));
  }
  if (all) {
    for (const std::string& name : names_of(cases)) {
      table.push_back(row_of(cases, name, Better::Neither));
    }
  } else {
    for (const auto& row : kMainRows) table.push_back(row_of(cases, row.name, row.better));
  }
  return table;
}

std::string as_json_text(const std::vector<Case>& cases) {
  Json all = Json::array();
  for (const Case& each : cases) {
    all.push_back({{"name", each.name},
                   {"complete", each.ended_early.empty() && each.failure.empty()},
                   {"ended_early", each.ended_early},
                   {"failure", each.failure},
                   {"core", each.core},
                   {"values", each.values ? as_json(*each.values) : Json()},
                   {"statistics", each.statistics}});
  }
  return json_document({{"format", "nestwalk-comparison"}, {"version", 1}, {"cases", all}});
}

std::string help() {
  std::string text = kText + std::string("\n\nPolicies:\n");
  for (const Policy& row : policies()) {
    std::string name = row.name;
    name.resize(10, ' ');
    text += "  " + name + row.sentence + "\n";
  }
  return text;
}

void declare(CommandLine& line) {
  Words words;
  for (const Policy& row : policies()) words.emplace_back(row.name);
  for (const std::string& name : fence_policies_of({"all"})) words.push_back(name);
  line.about(help())
      .option("preset,p",
              po::value<Words>()->default_value({"simple"}, "simple")->value_name("PRESET"),
              "a machine; may be repeated")
      .words("preset", preset_names())
      .option(
          "policy",
          po::value<Words>()->default_value({"lazy", "eager"}, "lazy, eager")->value_name("POLICY"),
          "a policy; may be repeated")
      .words("policy", std::move(words))
      .choice("format", {"table", "markdown", "csv", "json"}, "table, markdown, csv or json")
      .flag("json", "--format json")
      .flag("all", "all statistics, not only the main ones")
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
      .flag("storm", "what fences cost in a trace that is generated, with these parameters")
      .option("vcpus", po::value<std::string>()->default_value("1,2,4,8,16")->value_name("N,..."),
              "of the storm: one run for each of these numbers")
      .operand("inputs", "[TRACE|DIR...|KEY=VALUE...]", po::value<Words>(), -1)
      .ignores("on directories", {"preset", "policy", "set", "config", "jobs", "bounds", "sure"})
      .ignores("with --break-even", {"all", "bounds", "sure"})
      .ignores("with --storm", {"all", "break-even", "bounds", "sure"})
      .ignores("with --sure", {"bounds"})
      .ignores("without --storm", {"vcpus"})
      .ignores("without --sure", {"draws", "seed"})
      .ignores("with --json", {"format", "all"})
      .ignores("with --format json", {"all"});
  declare_settings(line);
  declare_jobs(line);
}

int run_break_even(const CommandLine& line, const std::string& format) {
  if (line.has("inputs")) throw UsageError("nestwalk compare: --break-even makes its own traces");
  const BreakEven found = find_break_even(plans_of(line, ""), jobs_of(line));
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
  const Words policies = line.given("policy") ? line.get<Words>("policy") : Words{"all"};
  for (const std::string& preset : line.get<Words>("preset")) {
    for (const std::string& policy : fence_policies_of(policies)) {
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
                     "; each preset needs a name of its own, each policy is given once");
  }
}

int run_sure(const CommandLine& line, const std::string& format) {
  const unsigned draws = line.get<unsigned>("draws");
  if (draws == 0 || draws > kMostDraws) {
    throw UsageError("nestwalk compare: --draws " + std::to_string(draws) +
                     ": not a number from 1 to " + std::to_string(kMostDraws));
  }
  const Words inputs = line.all("inputs");
  std::error_code none;
  if (!inputs.empty() && fs::is_directory(inputs[0], none)) line.found("on directories");
  if (inputs.size() != 1) throw UsageError("nestwalk compare: --sure takes one trace");
  (void)traces::Reader(traces::open_source(inputs[0]));  // is it one?
  SureWanted wanted{{}, {}, draws, line.get<addrspace::u64>("seed")};
  const std::vector<Plan> plans = plans_of(line, inputs[0]);
  expect_other_names(plans);
  const Words& presets = line.get<Words>("preset");
  const auto policies = static_cast<std::ptrdiff_t>(plans.size() / presets.size());
  auto first = plans.begin();
  for (const std::string& preset : presets) {
    const Configuration configuration = configuration_of(line, preset);
    wanted.machines.push_back(
        {configuration.machine_name(), configuration, {first, first + policies}});
    first += policies;
  }
  if (!line.has("all") && format != "json") {
    for (const auto& row : kMainRows) wanted.statistics.emplace_back(row.name);
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

int run(const CommandLine& line) {
  const std::string format = line.has("json") ? "json" : line.get<std::string>("format");
  if (line.has("break-even")) return run_break_even(line, format);
  if (line.has("storm")) return run_storm(line, format);
  if (line.has("sure")) return run_sure(line, format);
  const Words inputs = line.all("inputs");
  if (inputs.empty()) throw UsageError("nestwalk compare: a trace, or directories of runs");
  std::vector<Case> cases;
  std::error_code none;
  if (fs::is_directory(inputs[0], none)) {
    line.found("on directories");
    for (const std::string& input : inputs) cases.push_back(read_case(input));
  } else {
    if (inputs.size() != 1) throw UsageError("nestwalk compare: one trace, or directories of runs");
    (void)traces::Reader(traces::open_source(inputs[0]));  // is it one?
    cases = run_cases(plans_of(line, inputs[0]), jobs_of(line));
  }
  const ExitCode code = report_trouble(cases);
  if (format == "json") {
    TextOutput().write(as_json_text(cases));
    return code;
  }
  const bool is_table = format == "table";
  const std::string before = is_table ? notes_of(cases) : "";
  TextOutput().write(before + formatted(table_of(cases, line.has("all"), !is_table), format));
  return code;
}

}  // namespace

constexpr Command kCompareCommand = {
    "compare", "replays a trace on several machines, or under several policies", declare, run};

}  // namespace nestwalk::sim
