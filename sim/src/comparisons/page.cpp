// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/page.hpp"

#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include "comparisons/side_by_side.hpp"
#include "nestwalk/models/base/text_file.hpp"
#include "nestwalk/traces/error.hpp"
#include "program/output.hpp"
#include "results/report.hpp"
#include "results/summary.hpp"
#include "results/used_values.hpp"

namespace nestwalk::sim {

extern const std::string_view kReportHtml;

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPlaceOfData = "@nestwalk-data@";

// Summaries need these; the rest of a configuration they take as it is.
void expect_machine(const Json& configuration, const std::string& file) {
  const Json machine = configuration.value("machine", Json());
  if (!machine.is_object()) throw traces::InputError(file, "has no machine");
  if (!machine.value("name", Json()).is_string()) {
    throw traces::InputError(file, "does not say the name of the machine");
  }
  if (!machine.contains("clock_mhz")) throw traces::InputError(file, "has no machine.clock_mhz");
}

Json as_json(const Summary& summary) {
  Json lines = Json::array();
  for (const SummaryLine& each : summary.lines) {
    const std::size_t begin = std::min(each.label.find_first_not_of(' '), each.label.size());
    lines.push_back({{"label", each.label.substr(begin)}, {"text", each.text}});
    if (each.share) lines.back()["share"] = *each.share;
  }
  return {{"title", summary.title},
          {"incomplete", summary.incomplete},
          {"settings", summary.settings},
          {"lines", std::move(lines)}};
}

// Of the time that a run took: what was before its vCPUs, and the rest shared out as the summary
// shares out the time of the vCPUs.
Json causes_of(const Summary& summary, const Json& statistics) {
  const auto is = [&](const char* name) { return statistics.value(name, 0.0); };
  const double all = is("time.ns");
  const double begin =
      is("time.cycles") == 0 ? 0 : all * std::min(1.0, is("time.begin") / is("time.cycles"));
  Json causes = Json::array();
  if (begin > 0) causes.push_back({{"label", "before the guest ran"}, {"ns", begin}});
  double rest = all - begin;
  for (const SummaryLine& each : summary.lines) {
    if (!each.share) continue;
    const double ns = (all - begin) * *each.share;
    rest -= ns;
    causes.push_back({{"label", each.label.substr(each.label.find_first_not_of(' '))}, {"ns", ns}});
  }
  if (rest > all / 1e6) causes.push_back({{"label", "other"}, {"ns", rest}});
  return causes;
}

// Without what says of which guest or phase it is.
std::string base_of(const std::string& name) {
  static const std::regex kPart(R"((vm[0-9]+|vcpu[0-9]+|phase\.[^.]*)\.(.*))");
  std::smatch parts;
  return std::regex_match(name, parts, kPart) ? base_of(parts[2].str()) : name;
}

// Unit and sentence of each statistic, once for all guests and phases.
Json meanings_of(const std::set<std::string>& names) {
  Json meanings = Json::object();
  for (const Row& row : rows_of_any()) {
    if (names.contains(row.name)) meanings[row.name] = {row.unit, row.sentence};
  }
  for (const StatisticFamily& family : statistic_families()) {
    const std::regex pattern(family.pattern);
    for (const std::string& name : names) {
      if (meanings.contains(name) || !std::regex_search(name, pattern)) continue;
      meanings[name] = {family.unit, family.sentence};
    }
  }
  return meanings;
}

// Each name once, with a value of each case, null where it has none.
Json table_of(const std::vector<PageCase>& cases) {
  Json names = Json::array(), values = Json::array();
  std::set<std::string> known, bases;
  for (const PageCase& from : cases) {
    for (const auto& [name, value] : from.run.statistics.items()) {
      if (!known.insert(name).second) continue;
      names.push_back(name);
      bases.insert(base_of(name));
    }
  }
  for (const PageCase& each : cases) {
    Json column = Json::array();
    for (const Json& name : names) {
      column.push_back(each.run.statistics.value(name.get<std::string>(), Json()));
    }
    values.push_back(std::move(column));
  }
  return {{"names", std::move(names)},
          {"main", main_statistics()},
          {"meanings", meanings_of(bases)},
          {"values", std::move(values)}};
}

Json as_json(const PageCase& each) {
  const Summary summary = summary_of({each.configuration, each.stats, each.record});
  const std::string* const trace = find_in(each.run.of, "trace");
  return {{"name", each.run.name},
          {"trace", trace == nullptr ? "" : *trace},
          {"machine", each.configuration.at("machine").at("name")},
          {"complete", is_whole(each.run)},
          {"summary", as_json(summary)},
          {"causes", causes_of(summary, each.run.statistics)},
          {"ns_per_cycle", each.run.statistics.value("time.cycles", 0.0) == 0
                               ? Json()
                               : Json(each.run.statistics.value("time.ns", 0.0) /
                                      each.run.statistics.value("time.cycles", 0.0))},
          {"histograms", each.stats.value("histograms", Json::object())}};
}

}  // namespace

PageCase read_page_case(const std::string& directory) {
  auto [run, configuration, stats, record] = read_case_files(directory);
  const std::string file = directory + "/config.resolved.json";
  if (configuration.is_null()) {
    throw traces::InputError(file, "cannot be read; nestwalk run -o writes it");
  }
  expect_machine(configuration, file);
  // Older versions do not say these.
  stats["core"] = run.core;
  stats["ended_early"] = run.ended_early;
  if (!stats.contains("values")) stats["values"] = Json();
  if (!record.contains("trace")) record["trace"] = "";
  return {std::move(run), std::move(configuration), std::move(stats), std::move(record)};
}

std::vector<std::string> short_names(const std::vector<std::string>& directories) {
  std::vector<std::vector<std::string>> parts;
  for (const std::string& each : directories) {
    std::vector<std::string>& of = parts.emplace_back();
    for (const fs::path& part : fs::path(each)) {
      if (!part.empty() && part != ".") of.push_back(part.string());
    }
  }
  std::size_t shared = 0;
  const auto is_shared = [&](std::size_t n) {
    return std::ranges::all_of(
        parts, [&](const auto& of) { return n + 1 < of.size() && of[n] == parts[0][n]; });
  };
  while (!parts.empty() && is_shared(shared)) ++shared;
  std::vector<std::string> names;
  for (std::size_t n = 0; n < parts.size(); ++n) {
    fs::path name;
    for (std::size_t at = shared; at < parts[n].size(); ++at) name /= parts[n][at];
    names.push_back(printable(name.empty() ? directories[n] : name.string()));
  }
  return names;
}

Json page_document(std::vector<PageCase> cases, const PageInputs& inputs) {
  std::vector<std::string> names;
  std::vector<Case> runs;
  for (const PageCase& each : cases) names.push_back(each.run.name);
  names = short_names(names);
  for (std::size_t n = 0; n < cases.size(); ++n) {
    cases[n].run.name = names[n];
    for (auto& [key, value] : cases[n].run.of) {
      if (key == "directory") value = names[n];
    }
    runs.push_back(cases[n].run);
  }
  Json verdict = Json::array();
  std::istringstream sentences(runs.empty() ? std::string() : verdict_of(runs));
  for (std::string line; std::getline(sentences, line);) verdict.push_back(line);
  Json all = Json::array();
  for (const PageCase& each : cases) all.push_back(as_json(each));
  return {{"format", "nestwalk-report"}, {"version", 1},
          {"program", NESTWALK_VERSION}, {"verdict", std::move(verdict)},
          {"cases", std::move(all)},     {"table", table_of(cases)},
          {"stories", inputs.stories},   {"agreements", inputs.agreements},
          {"checks", inputs.checks},     {"spreads", inputs.spreads}};
}

std::string as_page(const Json& document) {
  const std::size_t place = kReportHtml.find(kPlaceOfData);
  if (place == kReportHtml.npos) throw std::logic_error("report.html has no place for data");
  // A script of HTML ends at the first "</script", whatever it holds.
  std::string data;
  for (const char letter : document.dump(-1, ' ', true, Json::error_handler_t::replace)) {
    if (letter == '<') {
      data += "\\u003c";
    } else {
      data += letter;
    }
  }
  std::string page(kReportHtml.substr(0, place));
  return page.append(data).append(kReportHtml.substr(place + kPlaceOfData.size()));
}

}  // namespace nestwalk::sim
