// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "comparisons/suite.hpp"
#include "nestwalk/models/base/nearest.hpp"
#include "program/output.hpp"
#include "program/overwrite.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kText =
    "Makes the runs of a suite and compares every statistic with the suite's baseline: exactly, "
    "or\n"
    "within the tolerance that the suite names for it. Says what changed, worst first. Exit code "
    "3\n"
    "when something did. Or compares directories that nestwalk run wrote with --baseline.\n\n"
    "A suite is JSON; files are relative to it:\n"
    "  {\"format\": \"nestwalk-suite\", \"version\": 1, \"baseline\": \"baseline.json\",\n"
    "   \"tolerances_percent\": {\"latency.mean\": 0.5},\n"
    "   \"cases\": [{\"name\": \"lazy\", \"trace\": \"boot.nwt\", \"preset\": \"zen4\",\n"
    "              \"set\": [\"hypervisor.backing=lazy\"]}]}";

/// What is judged.
struct Work {
  std::string baseline;
  Json tolerances;
  std::vector<Case> cases;
  std::vector<std::string> files;  ///< that are read, but for the baseline
  bool whole = true;               ///< every run of the baseline has to be there
};

/// What is not as it was.
struct Change {
  std::string where;
  std::string statistic;
  std::string before;
  std::string now;
  double percent;  ///< infinite for what appeared, vanished or was 0
};

double percent_between(const Json& before, const Json& now) {
  if (!before.is_number() || !now.is_number() || before.get<double>() == 0) return INFINITY;
  return 100 * (now.get<double>() / before.get<double>() - 1);
}

// Where nothing is allowed, nothing is rounded: counts above 2^53 may be the same as doubles.
bool is_within(const Json& before, const Json& now, double percent) {
  if (percent == 0 || !before.is_number() || !now.is_number()) return false;
  const double was = before.get<double>();
  return 100 * std::abs(now.get<double>() - was) <= percent * std::abs(was);
}

void compare(const Case& now, const Json& before, const Json& tolerances,
             std::vector<Change>& changes) {
  Json names = before;
  names.update(now.statistics);
  for (const auto& [name, unused] : names.items()) {
    const Json was = before.value(name, Json());
    const Json is = now.statistics.value(name, Json());
    if (was == is) continue;
    if (is_within(was, is, tolerances.value(name, 0.0))) continue;
    changes.push_back({now.name, name, text_of(was), text_of(is), percent_between(was, is)});
  }
}

std::string percent_text(double percent) {
  if (std::isinf(percent)) return "new";
  char text[32];
  std::snprintf(text, sizeof text, "%+.2f %%", percent);
  return text;
}

Colour colour_of(const Change& change) {
  return std::abs(change.percent) >= 10 ? Colour::Red : Colour::Yellow;
}

std::string as_markdown(const std::vector<Change>& changes, std::size_t cases, bool colours) {
  if (changes.empty()) return "All " + std::to_string(cases) + " runs are as they were.\n";
  std::string text = "| run | statistic | before | now | change |\n|---|---|---:|---:|---:|\n";
  for (const Change& change : changes) {
    std::string row = "|";
    for (const std::string& cell : {change.where, change.statistic, change.before, change.now,
                                    percent_text(change.percent)}) {
      row.append(" ").append(markdown_cell(printable(cell))).append(" |");
    }
    text += coloured(row, colours ? colour_of(change) : Colour::Plain) + "\n";
  }
  return text;
}

std::string as_json_text(const std::vector<Change>& changes, std::size_t cases) {
  Json rows = Json::array();
  for (const Change& change : changes) {
    rows.push_back({{"run", change.where},
                    {"statistic", change.statistic},
                    {"before", change.before},
                    {"now", change.now},
                    {"percent", std::isinf(change.percent) ? Json() : Json(change.percent)}});
  }
  return json_document({{"format", "nestwalk-gate"},
                        {"version", 1},
                        {"passed", changes.empty()},
                        {"runs", cases},
                        {"changes", rows}});
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char letter : text) {
    switch (letter) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += letter;
    }
  }
  return result;
}

// A test case for each run.
std::string as_junit(const std::vector<Case>& cases, const std::vector<Change>& changes) {
  std::vector<std::string> runs;
  for (const Case& each : cases) runs.push_back(each.name);
  for (const Change& change : changes) {  // of a run that vanished, too
    if (std::find(runs.begin(), runs.end(), change.where) == runs.end()) {
      runs.push_back(change.where);
    }
  }
  const auto of = [&](const std::string& run) {
    std::string text;
    for (const Change& change : changes) {
      if (change.where != run) continue;
      text += printable(change.statistic) + ": " + change.before + " -> " + change.now + " (" +
              percent_text(change.percent) + ")\n";
    }
    return text;
  };
  std::string body;
  std::size_t failures = 0;
  for (const std::string& run : runs) {
    const std::string text = of(run);
    body += "  <testcase classname=\"nestwalk.gate\" name=\"" + escaped(printable(run)) + "\"";
    if (text.empty()) {
      body += "/>\n";
      continue;
    }
    ++failures;
    body += ">\n    <failure message=\"statistics changed\">" + escaped(text) +
            "</failure>\n  </testcase>\n";
  }
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"nestwalk gate\" tests=\"" +
         std::to_string(runs.size()) + "\" failures=\"" + std::to_string(failures) + "\">\n" +
         body + "</testsuite>\n";
}

void write_baseline(const std::string& file, const std::vector<Case>& cases) {
  Json all = Json::object();
  for (const Case& each : cases) all[each.name] = each.statistics;
  const Json json = {{"format", "nestwalk-baseline"}, {"version", 1}, {"cases", all}};
  write_text(file, json.dump(1) + "\n");
}

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

// A tolerance for what no run has is a mistake.
void check_tolerances(const Work& work) {
  std::vector<std::string> known;
  for (const Case& each : work.cases) {
    for (const auto& [name, value] : each.statistics.items()) known.push_back(name);
  }
  for (const auto& [name, percent] : work.tolerances.items()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string similar = models::nearest(name, known);
    throw UsageError("nestwalk gate: tolerance of " + name + ": no run has this statistic" +
                     (similar.empty() ? "" : "; did you mean " + similar + "?"));
  }
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
  work.tolerances = Json::object();
  std::error_code none;
  if (fs::is_directory(inputs[0], none)) {
    line.found("on directories");
    if (!line.has("baseline")) throw UsageError("nestwalk gate: directories need --baseline FILE");
    for (const std::string& input : inputs) {
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
    work.files = suite.files;
    expect_outputs(line, work);
    work.cases = run_cases(std::move(suite.plans), jobs_of(line));
  }
  Json typed = Json::object();
  for (const std::string& text : line.all("tolerance")) add_tolerance(typed, text);
  work.tolerances.update(typed);
  return work;
}

// The worst first.
std::vector<Change> changes_of(const Work& work, const Json& before) {
  std::vector<Change> changes;
  for (const Case& each : work.cases) {
    compare(each, before.value(each.name, Json::object()), work.tolerances, changes);
  }
  for (const auto& [name, statistics] : before.items()) {
    const bool there = std::any_of(work.cases.begin(), work.cases.end(),
                                   [&run = name](const Case& each) { return each.name == run; });
    if (work.whole && !there) changes.push_back({name, "the run", "there", "-", INFINITY});
  }
  std::stable_sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) {
    return std::abs(a.percent) > std::abs(b.percent);
  });
  return changes;
}

void declare(CommandLine& line) {
  line.about(kText)
      .flag("update", "make what is now the baseline")
      .option("baseline", po::value<std::string>()->value_name("FILE"),
              "compare with this one; directories need it")
      .option("tolerance", po::value<Words>()->value_name("STATISTIC=PERCENT"),
              "by how much a statistic may differ; may be repeated")
      .option("junit", po::value<std::string>()->value_name("FILE"), "a report for CI, JUnit's XML")
      .option("markdown", po::value<std::string>()->value_name("FILE"),
              "a report for a pull request")
      .flag("json", "print the report as JSON")
      .operand("inputs", "SUITE|DIR...", po::value<Words>()->required(), -1)
      .ignores("on directories", {"jobs"})
      .ignores("with --update", {"tolerance", "junit", "markdown", "json"});
  declare_jobs(line);
}

int run(const CommandLine& line) {
  const Work work = work_of(line);
  const ExitCode trouble = report_trouble(work.cases);
  if (trouble != kDone && line.has("update")) {
    throw NoResult(trouble, work.baseline + ": is not updated: not every run is complete");
  }
  if (trouble != kDone) return trouble;
  check_tolerances(work);
  if (line.has("update")) {
    write_baseline(work.baseline, work.cases);
    return kDone;
  }
  const std::vector<Change> changes = changes_of(work, read_baseline(work.baseline));
  const std::size_t runs = work.cases.size();
  if (line.has("markdown")) {
    write_text(line.get<std::string>("markdown"), as_markdown(changes, runs, false));
  }
  if (line.has("junit")) {
    write_text(line.get<std::string>("junit"), as_junit(work.cases, changes));
  }
  TextOutput().write(line.has("json") ? as_json_text(changes, runs)
                                      : as_markdown(changes, runs, true));
  return changes.empty() ? kDone : kFailed;
}

}  // namespace

constexpr Command kGateCommand = {"gate", "compares the runs of a suite with a baseline", declare,
                                  run};

}  // namespace nestwalk::sim
