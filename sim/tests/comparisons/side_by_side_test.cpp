// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Runs beside each other, as text.

#include "comparisons/side_by_side.hpp"

#include <gmock/gmock.h>

namespace nestwalk::sim::side_by_side_test {
namespace {

using testing::StartsWith;

Case run_of(RunOf of, unsigned nanoseconds, unsigned accesses = 7) {
  Case made;
  for (const auto& [key, value] : of) made.name += made.name.empty() ? value : " " + value;
  made.of = std::move(of);
  made.core = "in order, width 1";
  made.statistics = {{"time.ns", nanoseconds}, {"access.total", accesses}};
  return made;
}
Case policy(const char* name, unsigned nanoseconds, const char* preset = "zen4") {
  return run_of({{"trace", "g"}, {"preset", preset}, {"policy", name}}, nanoseconds);
}

// 300, 150 and 600 ns: 300 / 150 = 2, 600 / 150 = 4.
TEST(Verdict, IsByTimeTheFastestFirst) {
  EXPECT_EQ(verdict_of({policy("lazy", 300), policy("eager", 150), policy("linear", 600)}),
            "g, zen4: eager is fastest, 150 ns; lazy takes 2.00 times as long, linear takes 4.00 "
            "times as long\n");
}

TEST(Verdict, ComparesPoliciesOfOneMachineElseMachines) {
  EXPECT_EQ(verdict_of({policy("lazy", 300), policy("eager", 150), policy("lazy", 40, "zen3"),
                        policy("eager", 50, "zen3")}),
            "g, zen4: eager is fastest, 150 ns; lazy takes 2.00 times as long\n"
            "g, zen3: lazy is fastest, 40.0 ns; eager takes 1.25 times as long\n");
  EXPECT_EQ(verdict_of({policy("lazy", 300), policy("lazy", 400, "zen3")}),
            "g, lazy: zen4 is fastest, 300 ns; zen3 takes 1.33 times as long\n");
  EXPECT_EQ(verdict_of({run_of({{"trace", "g"}, {"directory", "a"}}, 20),
                        run_of({{"trace", "g"}, {"directory", "b"}}, 10)}),
            "g: b is fastest, 10.0 ns; a takes 2.00 times as long\n");
}

TEST(Verdict, IsOnlyOfWholeRunsOfTheSameAccesses) {
  EXPECT_EQ(verdict_of({policy("lazy", 300)}), "");
  const RunOf other = {{"trace", "g"}, {"preset", "zen4"}, {"policy", "eager"}};
  EXPECT_EQ(verdict_of({policy("lazy", 300), run_of(other, 150, 8)}), "");
  Case cut = policy("eager", 150);
  cut.ended_early = "interrupted";
  EXPECT_EQ(verdict_of({policy("lazy", 300), cut}), "");
  EXPECT_EQ(verdict_of({policy("lazy", 0), policy("eager", 0)}), "");
}

// Ratios are against the first run of the trace: 150 / 300, 600 / 300. Each line of the two parts
// has at most 32 letters: "statistic  g zen4 lazy" are 22, and 14 + 2 more for each other run.
TEST(SideBySide, ComesInPartsThatFit) {
  const std::vector<Case> runs = {policy("lazy", 300), policy("eager", 150), policy("linear", 600)};
  EXPECT_EQ(side_by_side(runs, {"time.*"}, 0),
            "statistic  g zen4 lazy  g zen4 eager  ratio  g zen4 linear  ratio\n"
            "time.ns            300           150   0.50            600   2.00\n");
  EXPECT_EQ(side_by_side(runs, {"time.*"}, 45),
            "statistic  g zen4 lazy  g zen4 eager  ratio\n"
            "time.ns            300           150   0.50\n"
            "\n"
            "statistic  g zen4 linear  ratio\n"
            "time.ns              600   2.00\n");
  // Not one run fits.
  EXPECT_THAT(side_by_side(runs, {"time.*"}, 10), StartsWith("statistic  g zen4 lazy\n"));
}

TEST(SideBySide, NotesAreSaidOnceForAMachine) {
  std::vector<Case> runs = {policy("lazy", 300), policy("eager", 150), policy("lazy", 40, "zen3")};
  for (Case& each : runs) each.values = UsedValues{9, 7, 1};
  EXPECT_EQ(notes_of(runs),
            "core: in order, width 1\nguesses: 7 of the machine's 9 values that were used\n");
  runs[2].core = "out of order";
  runs[1].values = UsedValues{8, 6, 1};
  EXPECT_EQ(notes_of(runs),
            "core of zen4: in order, width 1\ncore of zen3: out of order\n"
            "guesses of g zen4 lazy: 7 of the machine's 9 values that were used\n"
            "guesses of g zen4 eager: 6 of the machine's 8 values that were used\n"
            "guesses of zen3: 7 of the machine's 9 values that were used\n");
}

TEST(SideBySide, RowsForProgramsSayWhatEachRunIsOf) {
  std::vector<Case> runs = {policy("lazy", 300), run_of({{"trace", "h"}, {"directory", "d"}}, 5)};
  runs[0].values = UsedValues{9, 7, 1};
  runs[1].failure = "no memory";
  runs[1].statistics = Json::object();
  EXPECT_EQ(one_row_each_csv(runs, {"time.ns"}),
            "run,trace,preset,policy,directory,outcome,core,values,guesses,time.ns\n"
            "g zen4 lazy,g,zen4,lazy,,whole,\"in order, width 1\",9,7,300\n"
            "h d,h,,,d,failed,\"in order, width 1\",,,\n");
  const Json json = as_json(runs, {"time.ns"});
  EXPECT_EQ(json["cases"][0]["of"]["policy"], "lazy");
  EXPECT_EQ(json["cases"][0]["statistics"], Json({{"time.ns", 300}}));
  EXPECT_EQ(json["cases"][1]["failure"], "no memory");
}

}  // namespace
}  // namespace nestwalk::sim::side_by_side_test
