// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/points_table.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include "program/output.hpp"
#include "results/table.hpp"
#include "sweeps/effects.hpp"

namespace nestwalk::sim {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostRows = 60;

Table table_of(const std::vector<Case>& cases, const Patterns& patterns) {
  const std::vector<std::string> names =
      patterns.empty() ? std::vector<std::string>{"time.cycles", "latency.mean", "walk.count",
                                                  "walk.cycles_mean", "exit.total"}
                       : statistics_named(cases, patterns);
  const std::vector<std::string> keys = varied_keys(cases);
  Table table(1);
  table[0].push_back({"point"});
  for (const std::string& key : keys) table[0].push_back({key});
  for (const std::string& name : names) table[0].push_back({name});
  for (std::size_t n = 0; n < std::min(cases.size(), kMostRows); ++n) {
    const Case& run = cases[n];
    std::vector<Cell>& row = table.emplace_back();
    row.push_back({*find_in(run.of, "point")});
    for (const std::string& key : keys) {
      const std::string* const value = find_in(run.of, key);
      row.push_back({value == nullptr ? "" : printable(*value)});
    }
    if (!is_whole(run)) {
      row.push_back({outcome_of(run), Colour::Red});
      continue;
    }
    for (const std::string& name : names) {
      const auto value = run.statistics.find(name);
      row.push_back({value == run.statistics.end() ? "" : text_of(*value)});
    }
  }
  for (std::vector<Cell>& row : table) row.resize(table[0].size(), Cell(""));
  return table;
}

// Of one trace, which point took least time.
std::string fastest_of(const std::vector<Case>& cases) {
  std::string text;
  std::vector<std::string> traces;
  for (const Case& each : cases) {
    const std::string& trace = *find_in(each.of, "trace");
    if (std::find(traces.begin(), traces.end(), trace) == traces.end()) traces.push_back(trace);
  }
  for (const std::string& trace : traces) {
    const Case* fastest = nullptr;
    const Case* slowest = nullptr;
    const auto time = [](const Case& run) { return run.statistics["time.ns"].get<double>(); };
    for (const Case& each : cases) {
      if (!is_whole(each) || *find_in(each.of, "trace") != trace) continue;
      if (fastest == nullptr || time(each) < time(*fastest)) fastest = &each;
      if (slowest == nullptr || time(each) > time(*slowest)) slowest = &each;
    }
    if (fastest == slowest) continue;
    char ratio[32];
    std::snprintf(ratio, sizeof ratio, "%.3g", time(*slowest) / time(*fastest));
    text += (traces.size() == 1 ? "" : printable(fs::path(trace).stem().string()) + ": ") +
            "fastest: " + printable(fastest->name) + "; the slowest, " + printable(slowest->name) +
            ", takes " + ratio + " times as long\n";
  }
  return text;
}

// The largest effects first.
std::string effects_text(const std::vector<Case>& cases) {
  constexpr std::size_t kMost = 8;
  const std::vector<Effect> effects = effects_of(cases, "time.ns");
  if (effects.size() < 2) return "";
  std::string text = "effect on time, means over all else:\n";
  for (std::size_t n = 0; n < std::min(effects.size(), kMost); ++n) {
    const Effect& effect = effects[n];
    char ratio[32];
    std::snprintf(ratio, sizeof ratio, "  %.3f times  ", effect.ratio());
    text.append(ratio).append(printable(effect.key));
    text.append(" (").append(std::to_string(effect.means.size()));
    text.append(" values, least with ").append(printable(effect.value_of_least())).append(")\n");
  }
  return text;
}

}  // namespace

// Once for each reason.
void warn_of_trouble(const std::vector<Case>& cases) {
  std::map<std::string, std::pair<const Case*, std::size_t>> reasons;
  for (const Case& each : cases) {
    if (is_whole(each)) continue;
    auto& [first, count] = reasons[each.failure + each.ended_early];
    if (count++ == 0) first = &each;
  }
  constexpr std::size_t kMost = 10;
  std::size_t told = 0;
  for (const auto& [reason, found] : reasons) {
    const auto& [first, count] = found;
    if (++told > kMost) {
      warn(counted(reasons.size() - kMost, "other reason") + ": nestwalk sweep --list");
      break;
    }
    warn(trouble_of(*first) + (count == 1 ? "" : "; so did " + counted(count - 1, "other point")));
  }
}

std::string state_of(ResultsFile& results, const std::string& sweep) {
  const SweepCounts counts = results.counts_of(sweep);
  std::string text =
      sweep + ": " + counted(counts.points, "point") + ", " + std::to_string(counts.done) + " done";
  const auto add = [&](std::size_t number, const char* what) {
    if (number != 0) text += ", " + std::to_string(number) + " " + what;
  };
  add(counts.ended_early, "ended early");
  add(counts.failed, "failed");
  add(counts.open(), "open");
  return printable(text) + "\n";
}

std::string text_of_points(const std::vector<Case>& cases, const Patterns& patterns,
                           const std::string& file) {
  if (cases.empty()) return "";
  std::string text = formatted(table_of(cases, patterns), "table");
  text.insert(text.begin(), '\n');
  if (cases.size() > kMostRows) {
    text.append(counted(cases.size() - kMostRows, "more point"))
        .append(": nestwalk sweep --export csv ")
        .append(printable(file))
        .append("\n");
  }
  return text.append("\n").append(fastest_of(cases)).append(effects_text(cases));
}

}  // namespace nestwalk::sim
