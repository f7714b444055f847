// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <filesystem>

#include "comparisons/gate_report.hpp"
#include "nestwalk/models/base/nearest.hpp"
#include "program/output.hpp"
#include "program/overwrite.hpp"
#include "program/signals.hpp"
#include "results/statistic_names.hpp"
#include "results/statistics.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kText =
    "Makes the runs of a suite and compares every statistic with the suite's baseline: exactly, "
    "or\n"
    "within the tolerance that the suite names for it. Says what changed: first the statistics of "
    "the\n"
    "suite's headline, whether they are better or worse, and what differs in the configurations. "
    "Exit\n"
    "code 3 when something changed. Or compares directories that nestwalk run wrote with "
    "--baseline.\n\n"
    "A suite is JSON; files are relative to it:\n"
    "  {\"format\": \"nestwalk-suite\", \"version\": 1, \"baseline\": \"baseline.json\",\n"
    "   \"headline\": {\"time.cycles\": \"less\", \"tlb.first_hits\": \"more\"},\n"
    "   \"tolerances_percent\": {\"latency.mean\": 0.5, \"exit.*\": 1},\n"
    "   \"cases\": [{\"name\": \"lazy\", \"trace\": \"boot.nwt\", \"preset\": \"zen4\",\n"
    "              \"set\": [\"hypervisor.backing=lazy\"]}]}";

/// What is judged.
struct Work {
  std::string baseline;
  Json tolerances;
  std::vector<Plan> plans;  ///< of a suite; none where directories are judged
  std::vector<Case> cases;
  std::vector<std::string> files;  ///< that are read, but for the baseline
  Headline headline = standard_headline();
  bool whole = true;  ///< every run of the baseline has to be there
};

// "latency.mean=0.5"
void add_tolerance(Json& tolerances, const std::string& text) {
  const std::size_t equals = text.find('=');
  const Json percent =
      Json::parse(text.substr(std::min(equals, text.size() - 1) + 1), nullptr, false);
  if (equals == std::string::npos || !percent.is_number() || percent.get<double>() < 0) {
    throw UsageError("--tolerance " + text + ": not STATISTIC=PERCENT");
  }
  const std::string name = text.substr(0, equals);
  if (tolerances.contains(name))
    throw UsageError("--tolerance " + text + ": " + name + " is there twice");
  tolerances[name] = percent;
}

// What no run can have is a mistake that is found before the runs.
void expect_possible_names(const Work& work) {
  for (const auto& [name, percent] : work.tolerances.items()) {
    expect_possible_statistic(name, "nestwalk gate: tolerance of ");
  }
  for (const auto& [name, direction] : work.headline) {
    expect_possible_statistic(name, "nestwalk gate: headline ");
  }
}

// Of many vCPUs, a baseline would have little else.
void leave_out_vcpus(std::vector<Case>& cases) {
  for (Case& each : cases) {
    Json left = Json::object();
    for (const auto& [name, value] : each.statistics.items()) {
      if (!name.starts_with(kVcpuPrefix)) left[name] = value;
    }
    each.statistics = std::move(left);
  }
}

// A tolerance or a headline for what none of these runs has is a mistake, too.
void check_names(const Work& work) {
  std::vector<std::string> known;
  for (const Case& each : work.cases) {
    for (const auto& [name, value] : each.statistics.items()) known.push_back(name);
  }
  const auto expect_known = [&](const std::string& name, const char* what, bool as_pattern) {
    const bool is_there = std::any_of(known.begin(), known.end(), [&](const std::string& each) {
      return as_pattern ? fnmatch(name.c_str(), each.c_str(), 0) == 0 : each == name;
    });
    if (is_there) return;
    const std::string similar = models::nearest(name, known);
    throw UsageError(std::string("nestwalk gate: ") + what + name + ": no run has this statistic" +
                     (similar.empty() ? "" : "; did you mean " + similar + "?"));
  };
  for (const auto& [name, percent] : work.tolerances.items()) {
    expect_known(name, "tolerance of ", true);
  }
  for (const auto& [name, direction] : work.headline) expect_known(name, "headline ", false);
}

// No output is an input, and no two outputs are one file.
void expect_outputs(const CommandLine& line, const Work& work) {
  std::vector<std::string> outputs;
  std::vector<std::string> inputs = work.files;
  (line.has("update") ? outputs : inputs).push_back(work.baseline);
  for (const char* const report : {"junit", "markdown"}) {
    if (line.has(report)) outputs.push_back(line.get<std::string>(report));
  }
  for (const std::string& output : outputs) expect_not_read(output, inputs);
  expect_different(outputs);
}

Work work_of(const CommandLine& line) {
  const Words& inputs = line.get<Words>("inputs");
  Work work;
  bool of_vcpus = false;
  work.tolerances = Json::object();
  Json typed = Json::object();
  for (const std::string& text : line.all("tolerance")) add_tolerance(typed, text);
  std::error_code none;
  if (fs::is_directory(inputs[0], none)) {
    line.found("on directories");
    if (!line.has("baseline")) throw UsageError("nestwalk gate: directories need --baseline FILE");
    work.tolerances = typed;
    expect_possible_names(work);
    for (const std::string& input : once(inputs, "directory")) {
      work.cases.push_back(read_case(input));
      for (const char* const name :
           {"stats.json", "run.json", "stats.txt", "config.resolved.json"}) {
        work.files.push_back(input + "/" + name);
      }
    }
    work.whole = false;
    work.baseline = line.get<std::string>("baseline");
    expect_outputs(line, work);
  } else {
    if (inputs.size() != 1) throw UsageError("nestwalk gate: one suite, or directories of runs");
    Suite suite = read_suite(inputs[0]);
    work.baseline = line.has("baseline") ? line.get<std::string>("baseline") : suite.baseline;
    work.tolerances = suite.tolerances;
    work.tolerances.update(typed);
    work.headline = suite.headline;
    of_vcpus = suite.of_vcpus;
    work.files = suite.files;
    expect_outputs(line, work);
    expect_possible_names(work);
    if (!line.has("update")) (void)read_baseline(work.baseline);  // is it one?
    work.plans = suite.plans;
    work.cases = run_cases(std::move(suite.plans), jobs_of(line));
  }
  if (!of_vcpus) leave_out_vcpus(work.cases);
  return work;
}

void declare(CommandLine& line) {
  line.about(kText)
      .flag("update", "make what is now the baseline")
      .option("baseline", po::value<std::string>()->value_name("FILE"),
              "compare with this one; directories need it")
      .option("tolerance", po::value<Words>()->value_name("STATISTIC=PERCENT"),
              "by how much a statistic, or all of a pattern such as 'exit.*', may differ; may be "
              "repeated")
      .flag("all", "all statistics that changed, not only the leading ones")
      .flag("explain",
            "of each run that changed, which values of its configuration moved the headline: runs "
            "it with parts of the difference")
      .option("most-runs", po::value<std::size_t>()->default_value(kMostRuns)->value_name("N"),
              "of --explain, for each run that changed")
      .flag("annotations", "print lines that GitHub's workflows show beside a commit")
      .option("junit", po::value<std::string>()->value_name("FILE"), "a report for CI, JUnit's XML")
      .option("markdown", po::value<std::string>()->value_name("FILE"),
              "a report for a pull request")
      .flag("json", "print the report as JSON")
      .operand("inputs", "SUITE|DIR...", po::value<Words>()->required(), -1)
      .ignores("on directories", {"jobs", "explain"})
      .ignores("with --update",
               {"tolerance", "junit", "markdown", "json", "all", "annotations", "explain"})
      .ignores("without --explain", {"most-runs"})
      .ignores("with --json", {"all", "annotations"});
  declare_jobs(line);
}

void explain_changes(GateReport& report, const Work& work, const Baseline& before,
                     const ExplanationEffort& effort) {
  for (std::size_t n = 0; n < work.plans.size(); ++n) {
    const Plan& plan = work.plans[n];
    if (!report.has_changed(plan.name) || !before.statistics.contains(plan.name)) continue;
    ExplanationWanted wanted{plan.name + " changed",
                             plan,
                             before.configurations.value(plan.name, Json()),
                             before.statistics[plan.name],
                             work.cases[n].statistics,
                             {}};
    for (const Change& change : report.headline) {
      if (change.run == plan.name) wanted.statistics.push_back(change.statistic);
    }
    report.explanations.push_back(explain(wanted, effort));
  }
}

int run(const CommandLine& line) {
  const Work work = work_of(line);
  const ExitCode trouble = report_trouble(work.cases);
  if (trouble != kDone && line.has("update")) {
    throw NoResult(trouble, work.baseline + ": is not updated: not every run is complete");
  }
  if (trouble != kDone) return trouble;
  check_names(work);
  if (line.has("update")) {
    write_baseline(work.baseline, work.cases);
    return kDone;
  }
  const Baseline before = read_baseline(work.baseline);
  GateReport report = judge({work.cases, before, work.tolerances, work.headline, work.whole});
  ExitCode code = report.passed() ? kDone : kFailed;
  if (line.has("explain")) {
    const Interruptible guard;
    explain_changes(report, work, before, {jobs_of(line), line.get<std::size_t>("most-runs")});
    if (interrupted()) code = worse_of(code, kIncomplete);
  }
  if (line.has("markdown")) write_text(line.get<std::string>("markdown"), as_markdown(report));
  if (line.has("junit")) write_text(line.get<std::string>("junit"), as_junit(report));
  if (line.has("json")) {
    TextOutput().write(json_document(as_json(report)));
  } else {
    TextOutput().write(as_text(report, line.has("all")) +
                       (line.has("annotations") ? as_annotations(report) : ""));
  }
  return code;
}

}  // namespace

constexpr Command kGateCommand = {"gate", "compares the runs of a suite with a baseline", declare,
                                  run};

}  // namespace nestwalk::sim
