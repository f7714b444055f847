// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/gate_report.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "program/output.hpp"
#include "results/table.hpp"

namespace nestwalk::sim {
namespace {

double percent_between(const Json& before, const Json& now) {
  if (!before.is_number() || !now.is_number()) return NAN;
  if (before.get<double>() == 0) return INFINITY;
  return 100 * (now.get<double>() / before.get<double>() - 1);
}

// Where nothing is allowed, nothing is rounded: counts above 2^53 may be the same as doubles.
bool is_within(const Json& before, const Json& now, double percent) {
  if (percent == 0 || !before.is_number() || !now.is_number()) return false;
  const double was = before.get<double>();
  return 100 * std::abs(now.get<double>() - was) <= percent * std::abs(was);
}

Verdict verdict_of(const std::string& statistic, double percent, const Headline& headline) {
  const auto found = std::find_if(headline.begin(), headline.end(),
                                  [&](const auto& each) { return each.first == statistic; });
  if (found == headline.end() || std::isnan(percent) || percent == 0) return Verdict::None;
  return (percent < 0) == (found->second == Direction::Less) ? Verdict::Better : Verdict::Worse;
}

void compare(const Case& now, const Json& before, const Judged& work, GateReport& report) {
  Json names = before;
  names.update(now.statistics);
  for (const auto& [name, unused] : names.items()) {
    const Json was = before.value(name, Json());
    const Json is = now.statistics.value(name, Json());
    if (was == is || is_within(was, is, tolerance_of(name, work.tolerances))) continue;
    const double percent = percent_between(was, is);
    const bool leads = std::any_of(work.headline.begin(), work.headline.end(),
                                   [&key = name](const auto& each) { return each.first == key; });
    (leads ? report.headline : report.others)
        .push_back({now.name, name, text_of(was), text_of(is), percent,
                    verdict_of(name, percent, work.headline)});
  }
}

void compare_configurations(const Case& now, const Json& before, GateReport& report) {
  if (!before.is_object() || !now.configuration.is_object()) return;  // one of them is not known
  Json paths = before;
  paths.update(now.configuration);
  for (const auto& [path, unused] : paths.items()) {
    const auto was = before.find(path), is = now.configuration.find(path);
    const bool had = was != before.end(), has = is != now.configuration.end();
    if (had && has && *was == *is) continue;
    report.configurations.push_back(
        {now.name, path, had ? was->dump() : "", has ? is->dump() : ""});
  }
}

// What appeared or vanished weighs most.
double weight_of(const Change& change) {
  return std::isnan(change.percent) ? INFINITY : std::abs(change.percent);
}

void sort_worst_first(std::vector<Change>& changes) {
  std::stable_sort(changes.begin(), changes.end(),
                   [](const Change& a, const Change& b) { return weight_of(a) > weight_of(b); });
}

std::string percent_text(const Change& change) {
  if (change.before == "-") return "new";
  if (change.now == "-") return "gone";
  if (std::isinf(change.percent)) return "from 0";
  char text[32];
  std::snprintf(text, sizeof text, "%+.2f %%", change.percent);
  return text;
}

Colour colour_of(const Change& change) {
  return weight_of(change) >= 10 ? Colour::Red : Colour::Yellow;
}

constexpr const char* kVerdicts[] = {"", "better", "worse"};
const char* word_of(const Change& change) {
  return kVerdicts[static_cast<std::size_t>(change.verdict)];
}

std::string table_of(const std::vector<Change>& changes, bool colours) {
  std::string text =
      "| run | statistic | before | now | change | |\n|---|---|---:|---:|---:|---|\n";
  for (const Change& change : changes) {
    std::string row = "|";
    for (const std::string& cell : {change.run, change.statistic, change.before, change.now,
                                    percent_text(change), std::string(word_of(change))}) {
      row.append(" ").append(markdown_cell(printable(cell))).append(cell.empty() ? "|" : " |");
    }
    text += coloured(row, colours ? colour_of(change) : Colour::Plain) + "\n";
  }
  return text;
}

std::set<std::string> changed_runs(const GateReport& report) {
  std::set<std::string> runs;
  for (const auto* const list : {&report.headline, &report.others}) {
    for (const Change& change : *list) runs.insert(change.run);
  }
  return runs;
}

// "2 of 9 runs changed: 1 better, 1 worse." A run of which one leading statistic is better and
// another one is worse is neither.
std::string first_line(const GateReport& report) {
  if (report.passed()) {
    return report.runs.size() == 1
               ? "The one run is as it was.\n"
               : "All " + counted(report.runs.size(), "run") + " are as they were.\n";
  }
  std::size_t better = 0, worse = 0, mixed = 0;
  std::set<std::string> changed = changed_runs(report);
  std::erase_if(changed, [&](const std::string& run) {
    return std::find(report.runs.begin(), report.runs.end(), run) == report.runs.end();
  });
  for (const std::string& run : changed) {
    const auto has = [&](Verdict verdict) {
      return std::any_of(report.headline.begin(), report.headline.end(), [&](const Change& each) {
        return each.run == run && each.verdict == verdict;
      });
    };
    const bool is_better = has(Verdict::Better), is_worse = has(Verdict::Worse);
    better += is_better && !is_worse;
    worse += is_worse && !is_better;
    mixed += is_worse && is_better;
  }
  std::string counts;
  const auto add = [&](std::size_t count, const char* what) {
    if (count == 0) return;
    counts.append(counts.empty() ? ": " : ", ").append(std::to_string(count)).append(what);
  };
  add(worse, " worse");
  add(better, " better");
  add(mixed, " better and worse");
  add(changed.size() - worse - better - mixed, " in other statistics");
  std::string text = std::to_string(changed.size()) + " of " + counted(report.runs.size(), "run") +
                     " changed" + counts + ".";
  if (report.missing != 0) {
    text += " Of the baseline " + counted(report.missing, "run") +
            (report.missing == 1 ? " is missing." : " are missing.");
  }
  return text + "\n";
}

std::string configurations_text(const GateReport& report) {
  std::string text;
  for (const ConfigurationChange& each : report.configurations) {
    text += "- " + printable(each.run) + ": " + printable(each.path) + " was " +
            (each.before.empty() ? "not there" : printable(each.before)) + ", is " +
            (each.now.empty() ? "gone" : printable(each.now)) + "\n";
  }
  return text.empty() ? "" : "\nWhat changed in the configurations:\n\n" + text;
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

}  // namespace

double tolerance_of(const std::string& statistic, const Json& tolerances) {
  const auto exact = tolerances.find(statistic);
  if (exact != tolerances.end()) return exact->get<double>();
  double percent = 0;
  for (const auto& [pattern, value] : tolerances.items()) {
    if (fnmatch(pattern.c_str(), statistic.c_str(), 0) == 0) percent = value.get<double>();
  }
  return percent;
}

bool GateReport::has_changed(const std::string& run) const {
  return changed_runs(*this).contains(run);
}

GateReport judge(const Judged& work) {
  GateReport report;
  for (const Case& each : work.now) {
    report.runs.push_back(each.name);
    compare(each, work.before.statistics.value(each.name, Json::object()), work, report);
    compare_configurations(each, work.before.configurations.value(each.name, Json()), report);
  }
  for (const auto& [name, statistics] : work.before.statistics.items()) {
    const bool there = std::find(report.runs.begin(), report.runs.end(), name) != report.runs.end();
    if (!work.whole || there) continue;
    report.headline.push_back({name, "the run", "there", "-", NAN});
    ++report.missing;
  }
  sort_worst_first(report.headline);
  sort_worst_first(report.others);
  // What is worse comes before what is better.
  std::stable_partition(report.headline.begin(), report.headline.end(),
                        [](const Change& each) { return each.verdict != Verdict::Better; });
  return report;
}

std::string as_text(const GateReport& report, bool all) {
  std::string text = first_line(report);
  if (!report.headline.empty()) text.append("\n").append(table_of(report.headline, true));
  text += configurations_text(report) + as_text(report.explanations);
  if (report.others.empty()) return text;
  if (all) return text + "\n" + table_of(report.others, true);
  return text + "\n" + counted(report.others.size(), "other statistic") +
         " changed; --all shows them.\n";
}

std::string as_markdown(const GateReport& report) {
  std::string text = first_line(report);
  if (!report.headline.empty()) text.append("\n").append(table_of(report.headline, false));
  text += configurations_text(report) + as_text(report.explanations);
  if (report.others.empty()) return text;
  return text + "\n<details><summary>" + counted(report.others.size(), "other statistic") +
         " changed</summary>\n\n" + table_of(report.others, false) + "\n</details>\n";
}

std::string as_annotations(const GateReport& report) {
  std::string text;
  for (const std::string& run : changed_runs(report)) {
    std::string what;
    for (const Change& change : report.headline) {
      if (change.run != run) continue;
      what += (what.empty() ? "" : ", ") + change.statistic + " " + percent_text(change);
      if (change.verdict != Verdict::None) what.append(" (").append(word_of(change)).append(")");
    }
    std::size_t others = 0;
    for (const Change& change : report.others) others += change.run == run;
    if (others != 0) {
      what += (what.empty() ? "" : ", ") + counted(others, "other statistic") + " changed";
    }
    // Percent signs and ends of lines have a meaning there; printable() leaves no ends of lines.
    std::string line;
    for (const char letter : printable(run + ": " + what)) {
      letter == '%' ? line.append("%25") : line.append(1, letter);
    }
    text += "::error title=nestwalk gate::" + line + "\n";
  }
  return text;
}

Json as_json(const GateReport& report) {
  Json rows = Json::array();
  for (const auto* const list : {&report.headline, &report.others}) {
    for (const Change& change : *list) {
      rows.push_back({{"run", change.run},
                      {"statistic", change.statistic},
                      {"headline", list == &report.headline},
                      {"verdict", word_of(change)},
                      {"before", change.before},
                      {"now", change.now},
                      {"percent", std::isfinite(change.percent) ? Json(change.percent) : Json()}});
    }
  }
  Json configurations = Json::array();
  for (const ConfigurationChange& each : report.configurations) {
    configurations.push_back(
        {{"run", each.run}, {"path", each.path}, {"before", each.before}, {"now", each.now}});
  }
  Json json = {{"format", "nestwalk-gate"},  {"version", 1},    {"passed", report.passed()},
               {"runs", report.runs.size()}, {"changes", rows}, {"configurations", configurations}};
  if (!report.explanations.empty()) json["explanations"] = as_json(report.explanations);
  return json;
}

std::string as_junit(const GateReport& report) {
  std::vector<std::string> runs = report.runs;
  for (const Change& change : report.headline) {  // of a run that vanished, too
    if (std::find(runs.begin(), runs.end(), change.run) == runs.end()) runs.push_back(change.run);
  }
  const auto of = [&](const std::string& run) {
    std::string text;
    for (const auto* const list : {&report.headline, &report.others}) {
      for (const Change& change : *list) {
        if (change.run != run) continue;
        text += printable(change.statistic) + ": " + change.before + " -> " + change.now + " (" +
                percent_text(change) + ")" + (change.verdict == Verdict::None ? "" : " ") +
                word_of(change) + "\n";
      }
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

}  // namespace nestwalk::sim
