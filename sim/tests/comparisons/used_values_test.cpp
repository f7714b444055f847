// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/used_values.hpp"

#include <fnmatch.h>
#include <gmock/gmock.h>

#include <fstream>
#include <set>

#include "program.hpp"
#include "results/report.hpp"

namespace nestwalk::sim::used_values_test {
namespace {

using addrspace::u64;
using testing::HasSubstr;

// Every value of a schema that stands beside its source.
void for_each_value(const Json& schema, const std::string& path,
                    const std::function<void(const std::string&)>& tell) {
  if (schema.contains("properties")) {
    for (const auto& [key, value] : schema["properties"].items()) {
      for_each_value(value, path.empty() ? key : path + "." + key, tell);
    }
  } else if (schema.contains("prefixItems")) {
    tell(path);
  } else if (schema.contains("items")) {
    for_each_value(schema["items"], path + "[0]", tell);
  }
}

TEST(UsedValues, EachValueOfAMachineHasARowAndEachRowAValue) {
  std::set<const UseRow*> rows;
  for_each_value(models::preset_schema(models::SchemaOf::Machine), "",
                 [&](const std::string& path) {
                   EXPECT_NE(use_row_of(path), nullptr) << path;
                   rows.insert(use_row_of(path));
                 });
  for (const UseRow& row : use_rows()) EXPECT_TRUE(rows.contains(&row)) << row.path;
}

TEST(UsedValues, RowsNameStatisticsThatThereAre) {
  std::vector<std::string> names = {"reference.guest0.nested0.update.l1"};
  for (const Row& row : rows_of_any()) names.push_back(row.name);
  for (const UseRow& row : use_rows()) {
    for (const char* const pattern : row.statistics) {
      EXPECT_TRUE(std::ranges::any_of(
          names, [&](const std::string& name) { return fnmatch(pattern, name.c_str(), 0) == 0; }))
          << row.path << ": " << pattern;
    }
  }
}

Json without_ranges(Json place) {
  if (place.is_array() && place.size() == 4 && place[1].is_string()) return {place[0], place[1]};
  if (place.is_structured()) {
    for (Json& each : place) each = without_ranges(each);
  }
  return place;
}

class UsedValuesOfRuns : public Program {
 protected:
  Json statistics(const std::string& command) {
    const Result result = run(command + " --json");
    EXPECT_EQ(result.exit_code, 0) << command;
    return Json::parse(result.output);
  }
  static Statistics statistics_of(const Json& stats) {
    Statistics statistics;
    for (const auto& [name, value] : stats["statistics"].items()) {
      statistics.push_back({name, value.get<double>(), "", ""});
    }
    return statistics;
  }
};

// By hand: without a second stage, its nested TLB, walk cache and walkers do not count, nor do
// exits; an in-order core has no window.
TEST_F(UsedValuesOfRuns, AreThoseOfWhatWasUsed) {
  run("nestwalk trace gen random bytes=1M accesses=2000 -o t.nwt");
  const std::string command = "nestwalk run t.nwt -p simple --set guest.memory=16M";
  const Configuration configuration(preset_file("simple"));
  const auto unused = [&](const std::string& settings) {
    return unused_values_of(configuration.machine(), statistics_of(statistics(command + settings)));
  };
  const auto native = unused(" --set hypervisor.backing=none"), nested = unused("");
  const auto has = [](const std::vector<std::string>& paths, const char* path) {
    return std::ranges::find(paths, path) != paths.end();
  };
  for (const char* const path :
       {"walker.nested_tlb.latency_cycles", "walker.nested_tlb.arrays[0].ways",
        "walker.nested_walk_cache.arrays[0].sets", "software.exit_cycles",
        "software.handler_cycles"}) {
    EXPECT_TRUE(has(native, path)) << path;
    EXPECT_FALSE(has(nested, path)) << path;
  }
  for (const char* const path :
       {"core.window", "core.load_ports", "caches.l1i.ways", "tlb.prefetcher.degree",
        "fence.local_cycles", "software.emulation_cycles", "software.host_switch_cycles"}) {
    EXPECT_TRUE(has(nested, path)) << path;
  }
  for (const char* const path :
       {"clock_mhz", "core.width", "walker.slots", "caches.l2.sets", "memory.banks",
        "software.guest_fault_cycles", "software.zero_cycles", "tlb.second.latency_cycles"}) {
    EXPECT_FALSE(has(native, path)) << path;
  }
}

TEST_F(UsedValuesOfRuns, ResultsSayHowManyAreGuesses) {
  run("nestwalk trace gen random bytes=1M accesses=2000 -o t.nwt");
  const Json stats = statistics("nestwalk run t.nwt -p zen4 --set guest.memory=16M -o d");
  const UsedValues values = *used_values_from(stats["values"]);
  EXPECT_GT(values.used, values.guesses);
  EXPECT_GT(values.guesses, values.with_range);
  EXPECT_GT(values.with_range, 0u);
  EXPECT_THAT(run("cat d/stats.txt").output, HasSubstr("\n# guesses: " + text_of(values) + "\n"));
  run("cp -r d e");
  const Json both = Json::parse(run("nestwalk compare d e --json").output);
  EXPECT_EQ(both["cases"][1]["values"], stats["values"]);
  EXPECT_THAT(run("nestwalk compare d e").output,
              HasSubstr("\nguesses: " + text_of(values) + "\n"));
  run("sed -i 's/\"with_range\": [0-9]*/\"with_range\": -1/' d/stats.json");
  const Result damaged = run("nestwalk compare d e 2>&1");
  EXPECT_EQ(damaged.exit_code, 4);
  EXPECT_THAT(damaged.output, HasSubstr("d/stats.json: values: expected how many were used, "));
  EXPECT_FALSE(used_values_from({{"used", 3}, {"guesses", 4}, {"with_range", 0}}));
  EXPECT_FALSE(used_values_from({{"used", 3}, {"guesses", "all"}, {"with_range", 0}}));
}

// All numbers that do not count are twice or half as large, or one more: the run is the same.
TEST_F(UsedValuesOfRuns, WhatDoesNotCountChangesNothing) {
  run("nestwalk trace gen random bytes=1M accesses=2000 -o random.nwt;"
      "nestwalk trace gen sequential bytes=1M accesses=2000 -o stream.nwt;"
      "nestwalk trace gen storm bytes=64K accesses=300 vcpus=2 -o storm.nwt");
  for (const std::string& name : preset_names()) {
    for (const char* const rest :
         {"random.nwt --set guest.memory=16M --set hypervisor.backing=none",
          "random.nwt --set guest.memory=16M --set hypervisor.backing=eager", "stream.nwt",
          "storm.nwt"}) {
      const std::string command =
          std::string("nestwalk run --set hypervisor.hardware_dirty=true ") + rest;
      const Json before = statistics(command + " -p " + name);
      Configuration configuration(preset_file(name));
      const models::Preset machine = configuration.machine();
      const std::vector<std::string> unused = unused_values_of(machine, statistics_of(before));
      std::vector<VariedNumber> others;
      for (const models::PresetSource& each : machine.sources) {
        if (!each.number || std::ranges::find(unused, each.path) == unused.end()) continue;
        const u64 value = each.number->value, twice = value == 0 ? 2 : 2 * value;
        const u64 other = twice <= each.number->most ? twice : std::max(value / 2, u64{1});
        if (other >= each.number->least) others.push_back({each.path, other});
      }
      EXPECT_FALSE(others.empty());
      configuration.vary_machine(others, configuration);
      Json document = {{"machine", configuration.document()["machine"]}};
      // They are of no range now.
      std::ofstream(folder() / "other.json") << without_ranges(document);
      const Json after = statistics(command + " --config other.json");
      for (const auto& [statistic, value] : before["statistics"].items()) {
        EXPECT_EQ(after["statistics"][statistic], value) << statistic << " " << name << " " << rest;
      }
      const unsigned used = before["values"]["used"];
      EXPECT_EQ(used + unused.size(), machine.sources.size());
    }
  }
}

}  // namespace
}  // namespace nestwalk::sim::used_values_test

// The kernel's library wants it.
extern "C" int sc_main(int, char**) { return 0; }
