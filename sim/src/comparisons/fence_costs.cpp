// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/fence_costs.hpp"

#include <algorithm>
#include <deque>

#include "replay/generated_trace.hpp"
#include "replay/storm.hpp"
#include "results/statistics.hpp"

namespace nestwalk::sim {
namespace {

/// Statistics that are shown.
constexpr struct {
  const char* column;
  const char* statistic;
} kColumns[] = {{"exits", "exit.total"},         {"cycles", "time.cycles"},
                {"in fences", "fence.cycles"},   {"fences", "engine.fences"},
                {"IPIs", "fence.interrupts"},    {"refills", "fence.refills"},
                {"lost by guests", "fence.lost"}};

}  // namespace

std::vector<FenceCosts> find_fence_costs(const FenceCostsWanted& wanted, unsigned at_a_time) {
  std::deque<GeneratedTrace> storms;
  for (const unsigned vcpus : wanted.vcpus) {
    Words parameters = wanted.storm;
    parameters.push_back("vcpus=" + std::to_string(vcpus));
    storms.emplace_back("storm", storm_parameters(parameters));
  }
  std::vector<Plan> plans;
  std::vector<FenceCosts> found;
  for (const auto& setting : wanted.settings) {
    for (std::size_t n = 0; n < storms.size(); ++n) {
      const unsigned vcpus = wanted.vcpus[n];
      const std::string name =
          setting.machine + ", " + setting.policy + ", " + std::to_string(vcpus) + " vCPUs";
      plans.push_back({name, storms[n].path(), setting.configuration});
      found.push_back({setting.machine, setting.policy, vcpus, {}});
    }
  }
  std::vector<Case> cases = run_cases(std::move(plans), at_a_time);
  for (std::size_t n = 0; n < found.size(); ++n) found[n].run = std::move(cases[n]);
  return found;
}

Table as_table(const std::vector<FenceCosts>& found) {
  Table table = {{"machine", "policy", "vCPUs", "operations"}};
  for (const auto& column : kColumns) table[0].push_back({column.column});
  const bool outcomes = !std::all_of(found.begin(), found.end(),
                                     [](const FenceCosts& each) { return is_whole(each.run); });
  if (outcomes) table[0].push_back({"outcome"});
  for (const FenceCosts& each : found) {
    const Json& statistics = each.run.statistics;
    table.push_back({{each.machine}, {each.policy}, {std::to_string(each.vcpus)}});
    std::vector<Cell>& row = table.back();
    row.push_back({std::to_string(operations_of(statistics))});
    for (const auto& column : kColumns) {
      row.push_back({text_of(statistics.value(column.statistic, Json()))});
    }
    if (outcomes) row.push_back({outcome_of(each.run)});
  }
  return table;
}

Json as_json(const std::vector<FenceCosts>& found) {
  Json rows = Json::array();
  for (const FenceCosts& each : found) {
    rows.push_back({{"machine", each.machine},
                    {"policy", each.policy},
                    {"vcpus", each.vcpus},
                    {"complete", is_whole(each.run)},
                    {"ended_early", each.run.ended_early},
                    {"failure", each.run.failure},
                    {"operations", operations_of(each.run.statistics)},
                    {"statistics", each.run.statistics}});
  }
  return {{"format", "nestwalk-fence-costs"}, {"version", 1}, {"rows", rows}};
}

}  // namespace nestwalk::sim
