// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "compare_command.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>
#include <thread>

#include "cases.hpp"
#include "nestwalk/traces/reader.hpp"
#include "output.hpp"
#include "statistics.hpp"
#include "table.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

constexpr const char* kText =
    "Replays one trace on every preset under every policy, in parallel, and puts the results side "
    "by\n"
    "side; or compares directories that nestwalk run wrote. A policy is a word, or parameters "
    "with\n"
    "commas between them: hypervisor.fault_around=4,guest.large_pages=true";

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
  };
  return kRows;
}

// What is shown if nobody asks for something else.
constexpr const char* kMainRows[] = {
    "access.total",        "access.untranslatable", "access.emulated",
    "time.first_access",   "time.cycles",           "latency.mean",
    "latency.p50",         "latency.p99",           "latency.p99.9",
    "latency.max",         "tlb.first_hits",        "tlb.second_hits",
    "walk.count",          "walk.references",       "exit.total",
    "exit.cycles",         "guest.faults",          "guest.cycles",
    "memory.backed",       "memory.tables",         "engine.entries_written",
    "engine.bytes_zeroed", "engine.fences"};

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
      Configuration configuration(preset_file(preset));
      if (line.has("config")) {
        for (const auto& file : line.get<std::vector<std::string>>("config")) {
          configuration.merge_file(file);
        }
      }
      if (line.has("set")) {
        for (const auto& text : line.get<std::vector<std::string>>("set")) configuration.set(text);
      }
      for (const std::string& setting : settings_of(policy)) configuration.set(setting);
      plans.push_back({name, trace, std::move(configuration)});
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

Table table_of(const std::vector<Case>& cases, bool all) {
  Table table(1);
  table[0].push_back("statistic");
  for (std::size_t n = 0; n < cases.size(); ++n) {
    table[0].push_back(cases[n].name);
    if (n != 0) table[0].push_back("ratio");
  }
  std::vector<std::string> names;
  if (all) {
    for (const auto& [name, value] : cases[0].statistics.items()) names.push_back(name);
  } else {
    names.assign(std::begin(kMainRows), std::end(kMainRows));
  }
  for (const std::string& name : names) {
    std::vector<std::string> row = {name};
    const Json first = cases[0].statistics.value(name, Json());
    for (std::size_t n = 0; n < cases.size(); ++n) {
      const Json value = cases[n].statistics.value(name, Json());
      row.push_back(text_of(value));
      if (n != 0) row.push_back(ratio_text(first, value));
    }
    table.push_back(row);
  }
  return table;
}

// For CSV.
std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char letter : text) result.append(letter == '"' ? 2 : 1, letter);
  return result + '"';
}

std::string separated(const Table& table, const char* begin, const char* between, const char* end) {
  std::string text;
  for (std::size_t r = 0; r < table.size(); ++r) {
    text += begin;
    for (std::size_t n = 0; n < table[r].size(); ++n) {
      if (n != 0) text += between;
      text += *begin == '\0' ? quoted(table[r][n]) : table[r][n];
    }
    text += end;
    if (r != 0 || *begin == '\0') continue;
    text += "|---|";  // Markdown: numbers to the right
    for (std::size_t n = 1; n < table[0].size(); ++n) text += "---:|";
    text += "\n";
  }
  return text;
}

std::string as_json_text(const std::vector<Case>& cases) {
  Json all = Json::array();
  for (const Case& each : cases) {
    all.push_back({{"name", each.name},
                   {"complete", each.ended_early.empty()},
                   {"ended_early", each.ended_early},
                   {"statistics", each.statistics}});
  }
  return Json{{"format", "nestwalk-comparison"}, {"version", 1}, {"cases", all}}.dump(2) + "\n";
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

}  // namespace

int run_compare_command(const Arguments& arguments) {
  using Words = std::vector<std::string>;
  CommandLine line("nestwalk compare [OPTIONS] TRACE|DIR...", help());
  line.option("preset,p", po::value<Words>()->default_value({"simple"}, "simple"),
              "a machine; may be repeated")
      .option("policy", po::value<Words>()->default_value({"lazy", "eager"}, "lazy, eager"),
              "a policy; may be repeated")
      .option("config", po::value<Words>()->value_name("FILE"), "JSON with parameters, for all")
      .option("set", po::value<Words>()->value_name("PATH=VALUE"), "for all of them")
      .option("format", po::value<std::string>()->default_value("table"),
              "table, markdown, csv or json")
      .flag("all", "all statistics, not only the main ones")
      .option("jobs,j",
              po::value<unsigned>()->default_value(
                  std::max(1u, std::thread::hardware_concurrency()), "one for each processor"),
              "runs at a time")
      .operand("inputs", po::value<Words>()->required(), -1);
  if (!line.parse(arguments)) return kDone;
  const std::string format = line.get<std::string>("format");
  if (format != "table" && format != "markdown" && format != "csv" && format != "json") {
    throw UsageError("--format " + format + ": not one of table, markdown, csv, json");
  }

  const Words& inputs = line.get<Words>("inputs");
  std::vector<Case> cases;
  if (fs::is_directory(inputs[0])) {
    for (const std::string& input : inputs) cases.push_back(read_case(input));
  } else {
    if (inputs.size() != 1) throw UsageError("nestwalk compare: one trace, or directories of runs");
    (void)traces::Reader(traces::open_source(inputs[0]));  // is it one?
    cases = run_cases(plans_of(line, inputs[0]), std::max(1u, line.get<unsigned>("jobs")));
  }
  for (const Case& each : cases) {
    if (!each.ended_early.empty()) warn(each.name + " ended early: " + each.ended_early);
  }
  const Table table = table_of(cases, line.has("all"));
  TextOutput().write(format == "table"      ? aligned(table)
                     : format == "markdown" ? separated(table, "| ", " | ", " |\n")
                     : format == "csv"      ? separated(table, "", ",", "\n")
                                            : as_json_text(cases));
  return kDone;
}

}  // namespace nestwalk::sim
