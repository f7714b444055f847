// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk compare` as a user runs it.

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "program.hpp"

namespace nestwalk::sim::compare_test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Json = nlohmann::json;

class Compare : public Program {
 protected:
  void SetUp() override {
    const Result made = run("nestwalk trace gen random bytes=2M accesses=5000 -o t.nwt 2>&1");
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  Json json(const std::string& command, int exit_code = 0) {
    const Result result = run(command + " --format json");
    EXPECT_EQ(result.exit_code, exit_code) << command;
    return Json::parse(result.output);
  }
};

TEST_F(Compare, WhatEndedEarlyStandsBesideWhatDidNot) {
  const Json both =
      json("nestwalk compare -p simple t.nwt --set guest.memory=4G --set host.memory=1G", 5);
  ASSERT_EQ(both["cases"].size(), 2u);  // lazy, eager
  EXPECT_EQ(both["cases"][0]["complete"], true);
  EXPECT_EQ(both["cases"][0]["statistics"]["access.total"], 5000);
  EXPECT_EQ(both["cases"][1]["ended_early"], "the host is out of memory");
  EXPECT_EQ(both["cases"][1]["statistics"]["access.total"], 0);
}

// A storm on one page: after 10,000 accesses of each vCPU, and after 20,000, the hypervisor takes
// the page away; both from the first two numbers of the default seed. In between all are in the
// guest, and hit their TLBs. By hand, of `simple`: a zap is one INVEPT, 100. Another core has it
// after the interrupt (1000), leaves its guest (500), executes it (100): all are through after
// 1600. Its guest loses 500 + 100 and the way back, 500. Each core fills both its TLBs again,
// twice.
TEST_F(Compare, CountsWhatFencesCostByTheNumberOfVcpus) {
  const Json found = json(
      "nestwalk compare -p simple --storm bytes=4096 burst=1 accesses=29999 period=10000 --vcpus "
      "1,2,4 "
      "--policy precise --policy context");
  EXPECT_EQ(found["format"], "nestwalk-fence-costs");
  ASSERT_EQ(found["rows"].size(), 6u);
  for (std::size_t n = 0; n < 6; ++n) {
    const Json& row = found["rows"][n];
    const Json& values = row["statistics"];
    const unsigned vcpus = 1u << n % 3;
    EXPECT_EQ(row["machine"], "simple");
    EXPECT_EQ(row["policy"], n < 3 ? "precise" : "context");
    EXPECT_EQ(row["vcpus"], vcpus);
    EXPECT_EQ(row["operations"], 2);
    EXPECT_EQ(values["operation.zap"], 2);
    EXPECT_EQ(values["access.total"], vcpus * 29999);
    EXPECT_EQ(values["engine.fences"], 2);
    EXPECT_EQ(values["fence.interrupts"], 2 * (vcpus - 1));
    EXPECT_EQ(values["fence.cycles"], 2 * (vcpus == 1 ? 100 : 1600));
    EXPECT_EQ(values["fence.lost"], 2 * (vcpus - 1) * 1100);
    EXPECT_GE(values["fence.refills"], 4 * vcpus);
  }
}

TEST_F(Compare, StormsTakeTheFencePoliciesThatCheckTakes) {
  std::ofstream(folder() / "wide.json") << R"({"interrupts": true, "x86_64": [{"when": ["unmapped",
      "less_permission", "moved", "cleaned", "resized", "memory_type", "table"],
      "issue": ["invept all-context"]}]})";
  const std::string storm =
      "nestwalk compare -p simple --storm accesses=200 bytes=1M --vcpus 2 --policy ";
  expect(storm + "wide.json --policy all --format csv | cut -d, -f1-3", 0,
         "machine,policy,vCPUs\nsimple,wide,2\nsimple,precise,2\nsimple,context,2\n"
         "simple,batched,2\nsimple,range,2\nsimple,svinval,2\nsimple,deferred,2\n"
         "simple,original-0.3.0,2\nsimple,original-0.5.17,2\n");
  expect(storm + "precise --format markdown | head -2", 0,
         "| machine | policy | vCPUs | operations | exits | cycles | in fences | fences | IPIs | "
         "refills | lost by guests |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
  EXPECT_EQ(run(storm + "precize 2>&1").exit_code, 2);
  expect("nestwalk compare -p simple --storm --vcpus 1,two", 2,
         "nestwalk compare: --vcpus 1,two: not different numbers with commas between them\n");
  expect("nestwalk compare -p simple --storm vcpus=3", 2,
         "nestwalk compare: vcpus=3: --vcpus says how many there are\n");
}

TEST_F(Compare, GivesWhatRunGives) {
  const Json both =
      json("nestwalk compare t.nwt --set guest.memory=16M -p zen4 -p rocket-h --policy lazy-16");
  ASSERT_EQ(both["cases"].size(), 2u);
  EXPECT_EQ(both["cases"][0]["name"], "zen4");
  for (std::size_t n = 0; n < 2; ++n) {
    const std::string preset = n == 0 ? "zen4" : "rocket-h";
    const Result alone = run("nestwalk run t.nwt --set guest.memory=16M -p " + preset +
                             " --set hypervisor.fault_around=4 -o " + preset);
    EXPECT_EQ(alone.exit_code, 0);
    std::ifstream file(folder() / preset / "stats.json");
    EXPECT_EQ(Json::parse(file)["statistics"], both["cases"][n]["statistics"]) << preset;
  }
  // The directories of the same runs say the same.
  const Json again = json("nestwalk compare zen4 rocket-h");
  EXPECT_EQ(again["cases"][1]["statistics"], both["cases"][1]["statistics"]);
}

TEST_F(Compare, DoesNotDependOnHowManyRunAtATime) {
  const std::string command =
      "nestwalk compare -p simple t.nwt --set guest.memory=16M --policy lazy --policy eager "
      "--policy "
      "lazy-2M ";
  EXPECT_EQ(run(command + "-j 1").output, run(command + "-j 3").output);
}

// 512 pages of 2 MiB: each is touched by 5000 accesses at random. Eager backing zeroes all 4096 of
// the guest's pages, eight times as many.
TEST_F(Compare, PrintsTablesOfEachKind) {
  const std::string command = "nestwalk compare -p simple t.nwt --set guest.memory=16M ";
  const std::string table = run(command).output;
  EXPECT_THAT(table, StartsWith("t, simple: lazy is fastest, "));
  EXPECT_THAT(table, testing::ContainsRegex("\n\nstatistic +lazy +eager +ratio\n"));
  EXPECT_THAT(table, testing::ContainsRegex("guest.faults +512 +512 +1.00\n"));
  EXPECT_THAT(table, HasSubstr("\n\ncore: in order, width 1\nguesses of lazy: "));
  const std::string rows = command + "-s guest.faults -s 'access.to?al' --format csv";
  EXPECT_EQ(run(rows + " | head -n 1").output,
            "run,trace,preset,policy,outcome,core,values,guesses,access.total,guest.faults\n");
  // "in order, width 1" has a comma.
  EXPECT_EQ(run(rows + " | tail -n 2 | cut -d, -f1-7,10-").output,
            "lazy,t,simple,lazy,whole,\"in order, width 1\",5000,512\n"
            "eager,t,simple,eager,whole,\"in order, width 1\",5000,512\n");
  const std::string markdown = run(command + "--format markdown").output;
  EXPECT_THAT(markdown, StartsWith("| statistic | lazy | eager | ratio |\n|---|---:|---:|---:|\n"));
  EXPECT_THAT(markdown, HasSubstr("\n| guest.faults | 512 | 512 | 1.00 |\n"));
  EXPECT_THAT(run(command + "--all").output, HasSubstr("access.untranslatable"));
}

TEST_F(Compare, SaysWhatIsWrong) {
  EXPECT_THAT(run("nestwalk compare -p simple t.nwt --policy lasy 2>&1").output,
              StartsWith("there is no policy 'lasy'; there are: lazy"));
  expect("nestwalk compare -p simple t.nwt --format xml", 2,
         "--format xml: not one of table, markdown, csv, json\n");
  expect("mkdir both; nestwalk compare both t.nwt", 2,
         "nestwalk compare: traces or directories of runs, not both: both, t.nwt\n");
  expect("mkdir empty; nestwalk compare empty", 4,
         "nestwalk: empty/stats.json: cannot be read; nestwalk run -o writes it\n");
  const Result result = run("nestwalk compare -p simple missing.nwt 2>&1");
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_EQ(result.output, "nestwalk: missing.nwt: cannot be opened: No such file or directory\n");
}

// Of each trace and machine the policies are compared, and ratios are of one trace's runs.
TEST_F(Compare, TakesSeveralTracesAndGivesAVerdictOfEach) {
  run("nestwalk trace gen first-touch bytes=1M -o small.nwt");
  const std::string all =
      "nestwalk compare t.nwt small.nwt -p simple -p zen4 --policy lazy --policy eager-2M "
      "--set guest.memory=16M ";
  const std::string text = run(all + "-s access.total").output;
  for (const char* const group : {"t, simple: ", "t, zen4: ", "small, simple: ", "small, zen4: "}) {
    EXPECT_THAT(text, HasSubstr(group));
  }
  EXPECT_THAT(text, testing::ContainsRegex("is fastest, [0-9.]+ [mu]s; [a-z2M-]+ takes [0-9.]+ "
                                           "times as long\n"));
  EXPECT_THAT(text, testing::ContainsRegex("access.total +5000 +5000 +1.00 +5000 +1.00 +5000 "
                                           "+1.00\n"));
  EXPECT_THAT(text, testing::ContainsRegex("access.total +256 +256 +1.00 +256 +1.00 +256 "
                                           "+1.00\n"));
  const Json found = json(all);
  ASSERT_EQ(found["cases"].size(), 8u);
  EXPECT_EQ(found["cases"][5]["name"], "small simple eager-2M");
  EXPECT_EQ(found["cases"][5]["of"],
            Json({{"trace", "small"}, {"preset", "simple"}, {"policy", "eager-2M"}}));
}

TEST_F(Compare, WritesEachRunWhereItIsAskedTo) {
  const std::string command =
      "nestwalk compare t.nwt -p simple --set guest.memory=16M --policy lazy --policy "
      "hypervisor.fault_around=2 -o all ";
  ASSERT_EQ(run(command).exit_code, 0);
  EXPECT_EQ(run("ls all all/lazy | tr '\n' ' '").output,
            "all: hypervisor.fault_around=2 lazy  all/lazy: config.resolved.json run.json "
            "stats.json stats.txt ");
  const Json again = json("nestwalk compare all/lazy all/hypervisor.fault_around=2");
  EXPECT_EQ(again["cases"][0]["statistics"], json(command + "--force")["cases"][0]["statistics"]);
  expect(command, 2, "all/lazy exists; --force overwrites it\n");
}

TEST_F(Compare, MeasuresThePartThatRunWould) {
  const std::string part = "t.nwt -p simple --set guest.memory=16M --warmup 1000 --limit 3000 ";
  const Json both = json("nestwalk compare " + part + "--policy eager");
  EXPECT_EQ(both["cases"][0]["statistics"]["access.total"], 2000);
  const Result alone = run("nestwalk run " + part + "--policy eager --json");
  EXPECT_EQ(Json::parse(alone.output)["statistics"], both["cases"][0]["statistics"]);
}

TEST_F(Compare, AsksForAMachineAndForStatisticsThatThereAre) {
  for (const char* const command : {"compare t.nwt", "run t.nwt", "explain t.nwt"}) {
    const Result result = run(std::string("nestwalk ") + command + " 2>&1");
    EXPECT_EQ(result.exit_code, 2) << command;
    EXPECT_THAT(result.output, HasSubstr(": which machine? --preset NAME, one of cortex-a53 "));
  }
  EXPECT_EQ(run("nestwalk config print -p zen4 >zen4.json; nestwalk run t.nwt --config zen4.json "
                "--limit 10")
                .exit_code,
            0);
  expect("nestwalk compare t.nwt -p simple -s 'walks.*' --limit 10", 2,
         "nestwalk compare: --statistics walks.*: no run has this statistic\n");
}

// 3-level host tables are not an x86-64 thing.
TEST_F(Compare, FailingCaseTakesNothingWithIt) {
  const std::string command =
      "nestwalk compare -p simple t.nwt --set guest.memory=16M --policy hypervisor.levels=3 "
      "--policy lazy";
  const Result both = run(command + " --format csv 2>error");
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_THAT(both.output, StartsWith("run,trace,preset,policy,outcome,core,values,guesses,"));
  EXPECT_THAT(both.output,
              HasSubstr("\nhypervisor.levels=3,t,simple,hypervisor.levels=3,failed,,,,,"));
  EXPECT_THAT(both.output, HasSubstr("\nlazy,t,simple,lazy,whole,\"in order, width 1\","));
  EXPECT_EQ(run("cat error").output,
            "nestwalk: hypervisor.levels=3 failed: there are no host tables with 3 levels\n");
  const Result as_json = run(command + " --json 2>/dev/null");
  EXPECT_EQ(as_json.exit_code, 2);
  const Json cases = Json::parse(as_json.output)["cases"];
  EXPECT_EQ(cases[0]["complete"], false);
  EXPECT_EQ(cases[0]["failure"], "there are no host tables with 3 levels");
  EXPECT_EQ(cases[1]["complete"], true);
  EXPECT_EQ(cases[1]["statistics"]["guest.faults"], 512);
}

TEST_F(Compare, TakesRunsWithDifferentStatistics) {
  const auto write = [&](const std::string& name, const Json& statistics) {
    std::filesystem::create_directory(folder() / name);
    std::ofstream(folder() / name / "stats.json")
        << Json{{"format", "nestwalk-stats"}, {"version", 1}, {"statistics", statistics}};
    std::ofstream(folder() / name / "run.json")
        << R"({"format": "nestwalk-run", "ended_early": ""})";
  };
  write("a", {{"x", 4}, {"y", 2}});
  write("b", {{"x", 6}, {"z", 3}});
  expect("nestwalk compare a b --all --format csv", 0,
         "run,trace,directory,outcome,core,values,guesses,x,y,z\n"
         "a,,a,whole,,,,4,2,\nb,,b,whole,,,,6,,3\n");
  write("c", {{"x", "six"}});
  expect("nestwalk compare a c", 4,
         "nestwalk: c/stats.json: x: expected a number that is not negative, found \"six\"\n");
}

}  // namespace
}  // namespace nestwalk::sim::compare_test
