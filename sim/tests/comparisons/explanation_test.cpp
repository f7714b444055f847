// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which values moved a statistic, where that is known by construction.

#include "comparisons/explanation.hpp"

#include <fstream>

#include "program.hpp"

namespace nestwalk::sim::explanation_test {
namespace {

using testing::HasSubstr;

bool has(const Things& set, std::size_t thing) {
  return std::ranges::find(set, thing) != set.end();
}

Things smallest(std::size_t count, const std::function<bool(const Things&)>& explains) {
  const Smallest found = smallest_of(count, [&](const std::vector<Things>& sets) {
    const auto first = std::ranges::find_if(sets, explains);
    return first == sets.end()
               ? std::nullopt
               : std::optional<std::size_t>(static_cast<std::size_t>(first - sets.begin()));
  });
  EXPECT_TRUE(found.is_smallest);
  return found.things;
}

TEST(SmallestSet, IsTheOneThingThatMatters) {
  for (std::size_t count = 1; count < 20; ++count) {
    for (std::size_t thing = 0; thing < count; ++thing) {
      EXPECT_EQ(smallest(count, [&](const Things& set) { return has(set, thing); }), Things{thing});
    }
  }
}

TEST(SmallestSet, HasAllThatMatterOnlyTogether) {
  for (std::size_t one = 0; one < 9; ++one) {
    for (std::size_t other = one + 1; other < 9; ++other) {
      EXPECT_EQ(smallest(9, [&](const Things& set) { return has(set, one) && has(set, other); }),
                (Things{one, other}));
    }
  }
}

// 3 is refused without 0, so the smallest set that has 3 has both.
TEST(SmallestSet, GrowsByWhatAThingCannotBeWithout) {
  EXPECT_EQ(smallest(8, [&](const Things& set) { return has(set, 3) && has(set, 0); }),
            (Things{0, 3}));
}

TEST(SmallestSet, IsAsSmallAsItWasWhenTheSearchEnds) {
  std::size_t asked = 0;
  const Smallest found =
      smallest_of(8, [&](const std::vector<Things>&) -> std::optional<std::size_t> {
        if (asked++ == 1) throw SearchEnded();
        return 1;  // the second half
      });
  EXPECT_FALSE(found.is_smallest);
  EXPECT_EQ(found.things, (Things{4, 5, 6, 7}));
}

TEST(ValueChanges, AreAsDeepAsTheyCanBeSet) {
  const Json before = Json::parse(R"({"machine": {"name": "a", "tlb": {"arrays": [{"ways": 1}]},
      "walker": {"slots": 2}}, "guest": {"memory": ["0+1"]}})");
  const Json now = Json::parse(R"({"machine": {"name": "b", "tlb": {"arrays": [{"ways": 4},
      {"ways": 8}]}, "walker": {"slots": 2}}, "guest": {"memory": ["0+2"]}})");
  std::vector<std::string> paths;
  for (const ValueChange& each : value_changes(before, now)) paths.push_back(each.path);
  EXPECT_EQ(paths, (std::vector<std::string>{"machine.tlb.arrays.0.ways", "machine.tlb.arrays.1",
                                             "guest.memory"}));
}

class Explained : public Program {
 protected:
  void SetUp() override {
    const Result made = run("nestwalk trace gen random bytes=1M accesses=2000 -o t.nwt 2>&1");
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  /// A suite whose baseline has other settings.
  void suite(const std::vector<std::string>& before, const std::vector<std::string>& now) {
    write(before);
    expect("nestwalk gate s.json --update", 0, "");
    write(now);
  }

 private:
  void write(const std::vector<std::string>& settings) {
    const Json one = {{"name", "one"}, {"trace", "t.nwt"}, {"preset", "zen4"}, {"set", settings}};
    const Json json = {
        {"format", "nestwalk-suite"},
        {"version", 1},
        {"baseline", "b.json"},
        {"headline", {{"exit.cycles", "less"}, {"exit.total", "less"}, {"guest.faults", "less"}}},
        {"cases", Json::array({one})}};
    std::ofstream(folder() / "s.json") << json.dump();
  }
};

// One vCPU has its core alone, so that time slices end nothing; it never fences by the threshold;
// nothing is drawn at random where nothing is fragmented.
TEST_F(Explained, TheOneValueThatMatters) {
  const std::vector<std::string> other = {"host.time_slice=20000000",
                                          "hypervisor.fence_threshold=64", "guest.seed=7"};
  std::vector<std::string> now = other;
  now.push_back("machine.software.exit_cycles=1680");
  suite({"machine.software.exit_cycles=680"}, now);
  const Result result = run("nestwalk gate s.json --explain");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.output,
              HasSubstr("\nWhy one changed, of 4 values that differ:\n\n- exit.cycles "));
  EXPECT_THAT(result.output,
              HasSubstr(": machine.software.exit_cycles 680 -> 1680 alone gives 100.0 % of the "
                        "change; the other 3 values give 0.0 %\n"));
  const Json json = Json::parse(run("nestwalk gate s.json --explain --json").output);
  const Json& reason = json["explanations"][0]["reasons"][0];
  EXPECT_EQ(reason["statistic"], "exit.cycles");
  EXPECT_EQ(reason["share"], 1);
  EXPECT_EQ(reason["by_program"], 0);
  EXPECT_EQ(reason["values"].size(), 1u);
  run("nestwalk gate s.json --explain --markdown m.md");
  EXPECT_THAT(run("cat m.md").output, HasSubstr("\n- exit.cycles "));
  const Result few = run("nestwalk gate s.json --explain --most-runs 1");
  EXPECT_EQ(few.exit_code, 3);
  EXPECT_THAT(few.output, HasSubstr("\nNot finished: more than 1 run would be needed.\n"));
}

// Either backs 2M at the first touch of any of its pages: 512 of 4K, or one of 2M. Each page
// faults only without both.
TEST_F(Explained, TwoThatMatterOnlyTogether) {
  suite({"hypervisor.fault_around=9", "hypervisor.large_pages=true"}, {"guest.seed=7"});
  const Json json = Json::parse(run("nestwalk gate s.json --explain --json").output);
  for (const Json& reason : json["explanations"][0]["reasons"]) {
    if (reason["statistic"] != "exit.total") continue;
    ASSERT_EQ(reason["values"].size(), 2u);
    EXPECT_EQ(reason["values"][0]["path"], "hypervisor.fault_around");
    EXPECT_EQ(reason["values"][1]["path"], "hypervisor.large_pages");
    EXPECT_LT(reason["values"][0]["share"], 0.05);
    EXPECT_LT(reason["values"][1]["share"], 0.05);
    EXPECT_EQ(reason["share"], 1);
    EXPECT_EQ(reason["share_of_others"], 0);
    return;
  }
  FAIL() << json;
}

// Of exit_cycles, fences, vmids_of and limit, each half has one of two values that go together
// only. VMIDs that are guests' cannot be fresh ones of vCPUs.
TEST_F(Explained, WhatIsNoConfigurationIsSkipped) {
  suite({"host.vmids_of=guests"},
        {"hypervisor.fences=fresh-vmid", "machine.software.exit_cycles=1680", "run.limit=5000"});
  const Result result = run("nestwalk gate s.json --explain");
  EXPECT_THAT(result.output,
              HasSubstr("refused and skipped, so that sets may be larger; the first: "
                        "hypervisor.fences is fresh-vmid, which needs "
                        "host.vmids_of=vcpus\n"));
  EXPECT_THAT(result.output, HasSubstr("machine.software.exit_cycles 680 -> 1680"));
}

TEST_F(Explained, TheProgramWhereNoValueDiffers) {
  suite({}, {});
  run("sed -i 's/\"guest.faults\": 256/\"guest.faults\": 251/' b.json");
  EXPECT_THAT(
      run("nestwalk gate s.json --explain").output,
      HasSubstr("\nWhy one changed: no value of its configuration differs: the program did, "
                "or the trace\n"));
}

// 256 pages of 1 MiB fault once each, whatever exits cost; the baseline was given 5 fewer.
TEST_F(Explained, TheProgramBesideAValue) {
  suite({"machine.software.exit_cycles=680"}, {"machine.software.exit_cycles=1680"});
  run("sed -i 's/\"guest.faults\": 256/\"guest.faults\": 251/' b.json");
  const std::string output = run("nestwalk gate s.json --explain").output;
  EXPECT_THAT(output, HasSubstr("- guest.faults 251 -> 256: the values that differ make no "
                                "difference; with equal values the program (or the trace) makes "
                                "+5\n"));
  EXPECT_THAT(output, HasSubstr("machine.software.exit_cycles 680 -> 1680, the only value that "
                                "differs, gives 100.0 % of the change\n"));
}

TEST_F(Explained, TwoPolicies) {
  const Result result =
      run("nestwalk compare t.nwt -p zen4 --explain -s exit.cycles --policy guest.seed=1 "
          "--policy guest.seed=7,machine.software.exit_cycles=1680 2>&1");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr(" alone gives 100.0 % of the change; the other value gives "
                                       "0.0 %\n"));
  expect("nestwalk compare t.nwt -p zen4 --explain --policy lazy", 2,
         "nestwalk compare: --explain is of two cases, here are 1\n");
}

}  // namespace
}  // namespace nestwalk::sim::explanation_test
