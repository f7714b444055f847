// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/check_trace.hpp"

#include <algorithm>

#include "comparisons/cases.hpp"
#include "configuration/configuration_options.hpp"
#include "configuration/fence_rules.hpp"
#include "nestwalk/checker/checker.hpp"
#include "nestwalk/machines/extensions.hpp"
#include "program/children.hpp"
#include "program/output.hpp"
#include "replay/generated_trace.hpp"
#include "replay/replay.hpp"
#include "replay/storm.hpp"
#include "results/findings.hpp"
#include "results/table.hpp"

namespace nestwalk::sim {
namespace {

/// The machine for an extension of which only the name was said.
struct Machine {
  const models::Extension& extension;
  const char* preset;
};
constexpr Machine kMachines[] = {{models::kVmx, "sapphire-rapids"},
                                 {models::kSvm, "zen4"},
                                 {models::kStage2, "cortex-a76"},
                                 {models::kHext, "kunminghu"}};

struct Check {
  std::string machine;
  std::string policy;
  Configuration configuration;
};

Words machines_of(const CommandLine& line) {
  if (line.has("preset")) return line.get<Words>("preset");
  const std::string wanted = line.get<std::string>("arch");
  Words presets;
  std::string known;
  for (const Machine& machine : kMachines) {
    const char* const name = key_of(machine.extension);
    if (wanted == "all" || wanted == name) presets.push_back(machine.preset);
    known.append(", ").append(name);
  }
  if (presets.empty()) throw UsageError("--arch " + wanted + ": not one of all" + known);
  return presets;
}

std::vector<Check> checks_of(const CommandLine& line) {
  std::vector<Check> checks;
  for (const std::string& preset : machines_of(line)) {
    for (const std::string& policy : fence_policies_of(line.get<Words>("policy"))) {
      Configuration configuration = configuration_of(line, preset);
      configuration.expect_whole_run("nestwalk check");
      if (configuration.value_at("hypervisor.contiguous") == true) {
        throw UsageError(
            "nestwalk check: hypervisor.contiguous=true is not supported yet: fences of "
            "groups of pages are not judged");
      }
      const std::string name = use_fence_policy(configuration, policy);
      checks.push_back({configuration.machine_name(), name, std::move(configuration)});
    }
  }
  return checks;
}

// In a process of its own.
std::string run_check(const std::string& trace, Check& check) {
  checker::Checker checker;
  std::string details;
  Json findings;
  const Replay run = replay(
      {trace}, check.configuration, [](addrspace::u64) {},
      [&](Simulation& simulation) { simulation.watch_fences(checker); },
      [&] {  // it looks at the machine's formats
        checker.finish();
        for (const auto& finding : checker.findings()) details += describe(finding) + "\n";
        findings = findings_json(checker);
      });
  return json_document({{"machine", check.machine},
                        {"policy", check.policy},
                        {"errors", checker.errors()},
                        {"warnings", checker.warnings()},
                        {"notes", checker.notes()},
                        {"unlisted", checker.unlisted()},
                        {"ended_early", run.ended_early},
                        {"host_seconds", run.host_seconds},
                        {"statistics", as_json(run.statistics)["statistics"]},
                        {"findings", findings},
                        {"details", details}});
}

std::string name_of(const Json& result) {
  std::string name = result["machine"];
  return name.append(", ").append(result["policy"].get<std::string>());
}

// The kinds of findings and how often each was found: "wrong kind 12, missing 3".
std::string kinds_of(const Json& result) {
  std::vector<std::pair<std::string, addrspace::u64>> kinds;
  for (const Json& finding : result["findings"]) {
    const std::string name = finding["finding"];
    auto at = std::find_if(kinds.begin(), kinds.end(),
                           [&](const auto& kind) { return kind.first == name; });
    if (at == kinds.end()) at = kinds.insert(at, {name, 0});
    at->second += finding["count"].get<addrspace::u64>();
  }
  std::string text;
  for (const auto& [name, count] : kinds) {
    if (!text.empty()) text += ", ";
    text.append(name).append(" ").append(std::to_string(count));
  }
  return text.empty() ? "nothing" : text;
}

std::string as_text(const std::vector<Json>& results, bool details) {
  Table table = {{"machine", "policy", "operations", "fences", "errors", "warnings", "found"}};
  for (const Json& result : results) {
    const Json& statistics = result["statistics"];
    const addrspace::u64 operations =
        statistics["exit.total"].get<addrspace::u64>() + operations_of(statistics);
    table.push_back({result["machine"].get<std::string>(), result["policy"].get<std::string>(),
                     std::to_string(operations), statistics["engine.fences"].dump(),
                     result["errors"].dump(), result["warnings"].dump(), kinds_of(result)});
  }
  std::string text = formatted(table, "table");
  for (const Json& result : results) {
    if (!details || result["findings"].empty()) continue;
    text.append("\n").append(printable(name_of(result))).append("\n");
    text.append(result["details"].get<std::string>());
  }
  return text;
}

}  // namespace

void add_trace_options(CommandLine& line) {
  line.flag("storm", "a trace that is generated, with these parameters")
      .option("policy", po::value<Words>()->default_value({"precise"}, "precise"),
              "of fences, for traces; may be repeated; all")
      .option("arch", po::value<std::string>()->default_value("x86_64"),
              "x86_64 (with EPT), svm, aarch64, riscv64 or all: on a machine of each")
      .option("preset,p", po::value<Words>(),
              "the machine instead, or the one on which the fences of a log are priced; may be "
              "repeated")
      .ignores("on logs", {"policy", "arch", "jobs"})
      .ignores("on logs without --preset", {"set", "config"})
      .ignores("with --preset", {"arch"})
      .ignores("with --json", {"details", "format"});
  declare_settings(line);
  declare_jobs(line);
}

int check_traces(const CommandLine& line, const std::vector<std::string>& inputs) {
  const std::string format = line.get<std::string>("format");
  const bool json = line.has("json") || format == "json";
  if (format == "sarif") {
    throw UsageError(
        "nestwalk check: --format sarif is for logs: a trace has no lines to point at");
  }
  std::optional<GeneratedTrace> storm;
  if (line.has("storm")) storm.emplace("storm", storm_parameters(inputs));
  const std::string trace = storm ? storm->path() : inputs[0];
  std::vector<Check> checks = checks_of(line);
  std::vector<std::function<std::string()>> work;
  for (Check& check : checks) {
    work.push_back([&trace, &check] { return run_check(trace, check); });
  }
  std::vector<Json> results;
  addrspace::u64 bad = 0;
  ExitCode code = kDone;
  const auto outcomes = run_children(work, jobs_of(line));
  for (std::size_t n = 0; n < checks.size(); ++n) {
    const std::string name = checks[n].machine + ", " + checks[n].policy;
    if (outcomes[n].code != kDone) {
      throw NoResult(outcomes[n].code, name + ": " + outcomes[n].output);
    }
    results.push_back(Json::parse(outcomes[n].output));
    Json& result = results.back();
    bad += result["errors"].get<addrspace::u64>();
    if (line.has("strict")) bad += result["warnings"].get<addrspace::u64>();
    const std::string early = result["ended_early"];
    if (early.empty()) continue;
    warn(name + " ended early: " + early);
    code = kIncomplete;
  }
  std::string text = as_text(results, line.has("details"));
  if (json) {
    for (Json& result : results) result.erase("details");
    text = json_document({{"format", "nestwalk-check"}, {"version", 1}, {"runs", results}});
  }
  TextOutput().write(text);
  return bad == 0 ? code : worse_of(code, kFailed);
}

}  // namespace nestwalk::sim
