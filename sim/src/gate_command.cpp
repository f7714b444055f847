// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cases.hpp"
#include "nestwalk/traces/error.hpp"
#include "nestwalk/traces/reader.hpp"
#include "output.hpp"
#include "statistics.hpp"

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kText =
    "Makes the runs of a suite and compares every statistic with the suite's baseline: exactly, "
    "or\n"
    "within the tolerance that the suite names for it. Says what changed, worst first. Exit code "
    "3\n"
    "when something did.\n\n"
    "A suite is JSON; files are relative to it:\n"
    "  {\"format\": \"nestwalk-suite\", \"version\": 1, \"baseline\": \"baseline.json\",\n"
    "   \"tolerances_percent\": {\"latency.mean\": 0.5},\n"
    "   \"cases\": [{\"name\": \"lazy\", \"trace\": \"boot.nwt\", \"preset\": \"zen4\",\n"
    "              \"set\": [\"hypervisor.backing=lazy\"]}]}";

struct Suite {
  std::string baseline;
  std::vector<Plan> plans;
  Json tolerances = Json::object();  ///< in percent, by statistic
};

/// What is not as it was.
struct Change {
  std::string where;
  std::string statistic;
  std::string before;
  std::string now;
  double percent;  ///< infinite for what appeared, vanished or was 0
};

[[noreturn]] void fail(const std::string& file, const std::string& what) {
  throw traces::InputError(file, what);
}

std::string text_at(const Json& object, const char* key, const std::string& file) {
  if (!object.contains(key) || !object[key].is_string()) {
    fail(file, std::string("\"") + key + "\" is missing, or not text");
  }
  return object[key].get<std::string>();
}

// Relative to the suite, unless it stands alone.
std::string beside(const std::string& file, const std::string& path) {
  return (fs::path(file).parent_path() / path).string();
}

Suite read_suite(const std::string& file) {
  const Json json = read_object(file, "nestwalk gate --help shows a suite");
  if (text_at(json, "format", file) != "nestwalk-suite" || json.value("version", 0) != 1) {
    fail(file, "is not a nestwalk-suite of version 1");
  }
  Suite suite;
  suite.baseline = beside(file, text_at(json, "baseline", file));
  if (json.contains("tolerances_percent")) suite.tolerances = json["tolerances_percent"];
  for (const auto& [name, value] : suite.tolerances.items()) {
    if (!value.is_number() || value.get<double>() < 0) fail(file, "tolerance of " + name);
  }
  if (!json.contains("cases") || !json["cases"].is_array() || json["cases"].empty()) {
    fail(file, "\"cases\" is missing, empty or not a list");
  }
  for (const Json& each : json["cases"]) {
    if (!each.is_object()) fail(file, "a case is not an object");
    Plan plan{text_at(each, "name", file), beside(file, text_at(each, "trace", file)),
              Configuration(preset_file(text_at(each, "preset", file)))};
    (void)traces::Reader(traces::open_source(plan.trace));  // is it one?
    const Json settings = each.value("set", Json::array());
    for (const Json& setting : settings) {
      if (!setting.is_string()) fail(file, plan.name + ": \"set\" is not a list of texts");
      plan.configuration.set(setting.get<std::string>());
    }
    suite.plans.push_back(std::move(plan));
  }
  return suite;
}

double percent_between(const Json& before, const Json& now) {
  if (!before.is_number() || !now.is_number() || before.get<double>() == 0) return INFINITY;
  return 100 * (now.get<double>() / before.get<double>() - 1);
}

bool is_within(const Json& before, const Json& now, double percent) {
  if (!before.is_number() || !now.is_number()) return false;
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

std::string as_markdown(const std::vector<Change>& changes, std::size_t cases) {
  if (changes.empty()) return "All " + std::to_string(cases) + " runs are as they were.\n";
  std::string text = "| run | statistic | before | now | change |\n|---|---|---:|---:|---:|\n";
  for (const Change& change : changes) {
    text += "| " + change.where + " | " + change.statistic + " | " + change.before + " | " +
            change.now + " | " + percent_text(change.percent) + " |\n";
  }
  return text;
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
  const auto of = [&](const Case& each) {
    std::string text;
    for (const Change& change : changes) {
      if (change.where != each.name) continue;
      text += change.statistic + ": " + change.before + " -> " + change.now + " (" +
              percent_text(change.percent) + ")\n";
    }
    return text;
  };
  std::string body;
  std::size_t failures = 0;
  for (const Case& each : cases) {
    const std::string text = of(each);
    body += "  <testcase classname=\"nestwalk.gate\" name=\"" + escaped(each.name) + "\"";
    if (text.empty()) {
      body += "/>\n";
      continue;
    }
    ++failures;
    body += ">\n    <failure message=\"statistics changed\">" + escaped(text) +
            "</failure>\n  </testcase>\n";
  }
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"nestwalk gate\" tests=\"" +
         std::to_string(cases.size()) + "\" failures=\"" + std::to_string(failures) + "\">\n" +
         body + "</testsuite>\n";
}

void write_baseline(const std::string& file, const std::vector<Case>& cases) {
  Json all = Json::object();
  for (const Case& each : cases) all[each.name] = each.statistics;
  write_text(file,
             Json{{"format", "nestwalk-baseline"}, {"version", 1}, {"cases", all}}.dump(1) + "\n");
}

void declare(CommandLine& line) {
  line.about(kText)
      .flag("update", "make what is now the baseline")
      .option("junit", po::value<std::string>()->value_name("FILE"), "a report for CI, JUnit's XML")
      .option("markdown", po::value<std::string>()->value_name("FILE"),
              "a report for a pull request")
      .operand("suite", "SUITE", po::value<std::string>()->required());
  declare_jobs(line);
}

int run(const CommandLine& line) {
  Suite suite = read_suite(line.get<std::string>("suite"));
  Json before = Json::object();
  if (!line.has("update")) {
    before = read_object(suite.baseline, "--update writes it").value("cases", Json::object());
  }
  const std::vector<Case> cases = run_cases(std::move(suite.plans), jobs_of(line));
  for (const Case& each : cases) {
    if (!each.ended_early.empty()) warn(each.name + " ended early: " + each.ended_early);
  }
  if (line.has("update")) {
    write_baseline(suite.baseline, cases);
    return kDone;
  }
  std::vector<Change> changes;
  for (const Case& each : cases) {
    compare(each, before.value(each.name, Json::object()), suite.tolerances, changes);
  }
  std::stable_sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) {
    return std::abs(a.percent) > std::abs(b.percent);
  });
  const std::string report = as_markdown(changes, cases.size());
  if (line.has("markdown")) write_text(line.get<std::string>("markdown"), report);
  if (line.has("junit")) write_text(line.get<std::string>("junit"), as_junit(cases, changes));
  TextOutput().write(report);
  return changes.empty() ? kDone : kFailed;
}

}  // namespace

constexpr Command kGateCommand = {"gate", "compares the runs of a suite with a baseline", declare,
                                  run};

}  // namespace nestwalk::sim
