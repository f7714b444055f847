// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/side_by_side.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <span>

#include "program/output.hpp"
#include "results/summary.hpp"
#include "results/table.hpp"
#include "results/used_values.hpp"

namespace nestwalk::sim {
namespace {

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

// Against the first case.
std::string ratio_text(const Json& first, const Json& value) {
  if (!first.is_number() || !value.is_number() || first.get<double>() == 0) return "";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value.get<double>() / first.get<double>());
  return text;
}

Better better_of(const std::string& name) {
  for (const auto& row : kMainRows) {
    if (name == row.name) return row.better;
  }
  return Better::Neither;
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

// A part of the cases, beside each other; ratios are against the first of all.
struct Part {
  const std::vector<Case>& cases;
  std::size_t begin, end;

  template <class Text>
  std::vector<Cell> row(const std::string& label, Text&& text_of_case) const {
    std::vector<Cell> cells = {{label}};
    for (std::size_t n = begin; n < end; ++n) {
      cells.push_back(text_of_case(cases[n]));
      if (n != 0) cells.push_back({""});
    }
    return cells;
  }
};

std::vector<Cell> row_of(const Part& part, const std::string& name) {
  std::vector<Json> values;
  for (const Case& each : part.cases) values.push_back(each.statistics.value(name, Json()));
  std::vector<Cell> row = {{name}};
  for (std::size_t n = part.begin; n < part.end; ++n) {
    row.push_back({text_of(values[n]), colour_of(values[n], values, better_of(name))});
    if (n != 0) row.push_back({ratio_text(values[0], values[n])});
  }
  return row;
}

Cell outcome_cell(const Case& run) {
  return {outcome_of(run), run.failure.empty() ? Colour::Plain : Colour::Red};
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

Table table_of(const Part& part, const std::vector<std::string>& names, bool has_notes) {
  Table table(1);
  table[0].push_back({"statistic"});
  for (std::size_t n = part.begin; n < part.end; ++n) {
    table[0].push_back({part.cases[n].name});
    if (n != 0) table[0].push_back({"ratio"});
  }
  for (const Note& note : kNotes) {
    if (!has_notes || !is_known(note, part.cases)) continue;
    table.push_back(part.row(note.label, [&](const Case& run) { return Cell(note.text_of(run)); }));
  }
  if (std::ranges::any_of(part.cases, [](const Case& each) { return !is_whole(each); })) {
    table.push_back(part.row("outcome", outcome_cell));
  }
  for (const std::string& name : names) table.push_back(row_of(part, name));
  return table;
}

// Of the widest line.
std::size_t width_of(const Table& table) {
  std::vector<std::size_t> widths(table[0].size());
  for (const auto& row : table) {
    for (std::size_t n = 0; n < row.size(); ++n)
      widths[n] = std::max(widths[n], printable(row[n].text).size());
  }
  std::size_t all = 2 * (widths.size() - 1);
  for (const std::size_t each : widths) all += each;
  return all;
}

// What all cases of a verdict share: all that they are of but one.
std::string shared_words(const Case& run, const std::string& but) {
  std::string text;
  for (const auto& [key, value] : run.of) {
    if (key != but) text.append(text.empty() ? "" : ", ").append(value);
  }
  return text;
}

std::string what_is(const Case& run, const std::string& key) {
  const std::string* const found = find_in(run.of, key);
  return found == nullptr ? run.name : *found;
}

// In the order in which the traces come; ratios are for runs of one.
std::vector<std::vector<Case>> by_trace(const std::vector<Case>& cases) {
  std::vector<std::vector<Case>> groups;
  std::map<std::string, std::size_t> places;
  for (const Case& each : cases) {
    const std::string* const trace = find_in(each.of, "trace");
    const auto [place, is_new] = places.emplace(trace == nullptr ? "" : *trace, groups.size());
    if (is_new) groups.emplace_back();
    groups[place->second].push_back(each);
  }
  return groups;
}

// Of runs of the same accesses, by a statistic of their time.
std::string verdict_of(std::vector<const Case*> runs, const std::string& key, bool short_traces) {
  const auto time = [](const Case* run) { return run->statistics.value("time.ns", 0.0); };
  const auto accesses = [](const Case* run) { return run->statistics.value("access.total", 0.0); };
  std::stable_sort(runs.begin(), runs.end(),
                   [&](const Case* a, const Case* b) { return time(a) < time(b); });
  const Case* const best = runs[0];
  if (time(best) == 0) return "";
  for (const Case* const each : runs) {
    if (accesses(each) != accesses(best)) return "";
  }
  std::string shared = shared_words(*best, key);
  const std::string* const trace = find_in(best->of, "trace");
  if (trace != nullptr && short_traces && shared.starts_with(*trace)) {
    shared.replace(0, trace->size(), std::filesystem::path(*trace).filename().string());
  }
  std::string text = shared.empty() ? "" : shared + ": ";
  const bool ties = time(runs[1]) == time(best);
  text += what_is(*best, key) + (ties ? " takes " : " is fastest, ") + duration_text(time(best));
  constexpr std::size_t kMost = 6;
  for (std::size_t n = 1; n < std::min(runs.size(), kMost); ++n) {
    char ratio[32];
    std::snprintf(ratio, sizeof ratio, "%.2f", time(runs[n]) / time(best));
    text += (n == 1 ? "; " : ", ") + what_is(*runs[n], key) +
            (time(runs[n]) == time(best) ? " as long"
                                         : std::string(" takes ") + ratio + " times as long");
  }
  return printable(text) + "\n";
}

}  // namespace

std::vector<std::string> statistics_named(const std::vector<Case>& cases,
                                          const Patterns& patterns) {
  if (patterns.empty()) return main_statistics();
  std::vector<std::string> names;
  std::set<std::string> known;
  for (const Case& each : cases) {
    for (const auto& row : each.statistics.items()) {
      const std::string& name = row.key();
      const bool wanted = std::ranges::any_of(patterns, [&](const std::string& pattern) {
        return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
      });
      if (wanted && known.insert(name).second) names.push_back(name);
    }
  }
  if (names.empty()) {
    std::string text;
    for (const std::string& each : patterns) text.append(text.empty() ? "" : " ").append(each);
    throw UsageError("no statistic is called " + text);
  }
  return names;
}

Patterns main_statistics() {
  Patterns names;
  for (const auto& row : kMainRows) names.emplace_back(row.name);
  return names;
}

std::string verdict_of(const std::vector<Case>& cases) {
  // What differs last is what is compared: policies, or else machines; or directories.
  std::map<std::string, std::set<std::string>> values;
  for (const Case& each : cases) {
    for (const auto& [key, value] : each.of) values[key].insert(value);
  }
  std::string key = "name";
  for (const char* const each : {"directory", "preset", "policy"}) {
    if (values[each].size() > 1) key = each;
  }
  std::vector<std::string> groups;
  std::map<std::string, std::vector<const Case*>> members;
  for (const Case& each : cases) {
    const std::string group = shared_words(each, key);
    if (!members.contains(group)) groups.push_back(group);
    members[group].push_back(&each);
  }
  // Without their folders, unless two of them have one name then.
  std::set<std::string> names;
  for (const std::string& trace : values["trace"]) {
    names.insert(std::filesystem::path(trace).filename().string());
  }
  const bool short_traces = names.size() == values["trace"].size();
  std::string text;
  for (const std::string& group : groups) {
    const std::vector<const Case*>& runs = members[group];
    const bool whole = std::ranges::all_of(runs, [](const Case* each) { return is_whole(*each); });
    if (runs.size() > 1 && whole) text += verdict_of(runs, key, short_traces);
  }
  if (groups.size() == cases.size() && values["trace"].size() > 1) {
    text = counted(values["trace"].size(), "trace") +
           ", one run of each: what they cost is put side by side; since their accesses differ, it "
           "does not say which machine or policy is better\n";
  }
  return text;
}

std::string side_by_side(const std::vector<Case>& cases, const Patterns& patterns, unsigned width) {
  const std::vector<std::string> names = statistics_named(cases, patterns);
  std::string text;
  for (const std::vector<Case>& group : by_trace(cases)) {
    for (std::size_t begin = 0; begin < group.size();) {
      std::size_t end = width == 0 ? group.size() : begin + 1;
      while (end < group.size() &&
             width_of(table_of({group, begin, end + 1}, names, false)) <= width)
        ++end;
      text += text.empty() ? "" : "\n";
      text += formatted(table_of({group, begin, end}, names, false), "table");
      begin = end;
    }
  }
  return text;
}

std::string side_by_side_markdown(const std::vector<Case>& cases, const Patterns& patterns) {
  const std::vector<std::string> names = statistics_named(cases, patterns);
  std::string text;
  for (const std::vector<Case>& group : by_trace(cases)) {
    text += text.empty() ? "" : "\n";
    text += formatted(table_of({group, 0, group.size()}, names, true), "markdown");
  }
  return text;
}

std::string one_row_each_csv(const std::vector<Case>& cases, const Patterns& patterns) {
  const std::vector<std::string> names = statistics_named(cases, patterns);
  std::vector<std::string> keys;
  for (const Case& each : cases) {
    for (const auto& [key, value] : each.of) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  Table table(1);
  table[0].push_back({"run"});
  for (const std::string& key : keys) table[0].push_back({key});
  table[0].push_back({"outcome"});
  for (const char* const column : {"core", "values", "guesses"}) table[0].push_back({column});
  for (const std::string& name : names) table[0].push_back({name});
  for (const Case& run : cases) {
    std::vector<Cell>& row = table.emplace_back();
    row.push_back({run.name});
    for (const std::string& key : keys) {
      const std::string* const found = find_in(run.of, key);
      row.push_back({found == nullptr ? "" : *found});
    }
    row.push_back({outcome_of(run)});
    row.push_back({run.core});
    row.push_back({run.values ? std::to_string(run.values->used) : ""});
    row.push_back({run.values ? std::to_string(run.values->guesses) : ""});
    for (const std::string& name : names) {
      const auto value = run.statistics.find(name);
      row.push_back({value == run.statistics.end() ? "" : text_of(*value)});
    }
  }
  return formatted(std::move(table), "csv");
}

Json as_json(const std::vector<Case>& cases, const Patterns& patterns) {
  const std::vector<std::string> names =
      patterns.empty() ? std::vector<std::string>() : statistics_named(cases, patterns);
  Json all = Json::array();
  for (const Case& each : cases) {
    Json statistics = each.statistics;
    if (!patterns.empty()) {
      statistics = Json::object();
      for (const std::string& name : names) {
        if (each.statistics.contains(name)) statistics[name] = each.statistics[name];
      }
    }
    Json of = Json::object();
    for (const auto& [key, value] : each.of) of[key] = value;
    all.push_back({{"name", each.name},
                   {"of", of},
                   {"complete", each.ended_early.empty() && each.failure.empty()},
                   {"ended_early", each.ended_early},
                   {"failure", each.failure},
                   {"core", each.core},
                   {"values", each.values ? as_json(*each.values) : Json()},
                   {"statistics", statistics}});
  }
  return {{"format", "nestwalk-comparison"},
          {"version", 1},
          {"verdict", verdict_of(cases)},
          {"cases", all}};
}

std::string notes_of(const std::vector<Case>& cases) {
  std::string text;
  for (const Note& note : kNotes) {
    if (!is_known(note, cases)) continue;
    const auto tell = [&](const std::string& whose, const std::string& what) {
      text.append(note.label).append(whose.empty() ? "" : " of ").append(whose);
      text.append(": ").append(what).append("\n");
    };
    const std::string first = note.text_of(cases[0]);
    if (std::ranges::all_of(cases, [&](const Case& each) { return note.text_of(each) == first; })) {
      tell("", first);
      continue;
    }
    std::map<std::string, std::set<std::string>> of_preset;
    for (const Case& each : cases) of_preset[what_is(each, "preset")].insert(note.text_of(each));
    std::set<std::string> told;
    for (const Case& each : cases) {
      const std::string preset = what_is(each, "preset");
      const std::string whose = of_preset[preset].size() == 1 ? preset : each.name;
      if (told.insert(whose).second) tell(whose, note.text_of(each));
    }
  }
  return text;
}

}  // namespace nestwalk::sim
