// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk gate` as a CI job runs it.

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "program.hpp"

namespace nestwalk::sim::gate_test {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

class Gate : public Program {
 protected:
  void SetUp() override {
    const Result made = run("nestwalk trace gen random bytes=1M accesses=2000 -o t.nwt 2>&1");
    ASSERT_EQ(made.exit_code, 0) << made.output;
    const auto one = [](const char* name, const char* backing) {
      return Json{{"name", name},
                  {"trace", "t.nwt"},
                  {"preset", "zen4"},
                  {"set", {"guest.memory=8M", std::string("hypervisor.backing=") + backing}}};
    };
    suite_ = {{"format", "nestwalk-suite"},
              {"version", 1},
              {"baseline", "b.json"},
              {"cases", {one("lazy", "lazy"), one("eager <&>", "eager")}}};
    write("s.json", suite_);
    expect("nestwalk gate s.json --update", 0, "");
  }
  void write(const std::string& file, const Json& json) {
    std::ofstream(folder() / file) << json.dump();
  }
  Json read(const std::string& file) {
    std::ifstream in(folder() / file);
    return Json::parse(in);
  }
  std::string text_of(const std::string& file) {
    std::ifstream in(folder() / file);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  Json suite_;
};

TEST_F(Gate, PassesWhatIsAsItWas) {
  expect("nestwalk gate s.json", 0, "All 2 runs are as they were.\n");
  expect("mkdir d; cd d; nestwalk gate ../s.json", 0, "All 2 runs are as they were.\n");
}

TEST_F(Gate, ANameDoesNotEndACellOfATable) {
  Json baseline = read("b.json");
  baseline["cases"]["a|b"] = Json::object();
  write("b.json", baseline);
  EXPECT_THAT(run("nestwalk gate s.json").output,
              HasSubstr("| a\\|b | the run | there | - | gone | |\n"));
  EXPECT_THAT(
      run("nestwalk run -p simple t.nwt -o 'a|b' && nestwalk compare 'a|b' --format markdown")
          .output,
      HasSubstr("| statistic | a\\|b |\n"));
}

// The baseline is changed by hand: 256 pages of 1 MiB fault once each.
TEST_F(Gate, SaysWhatChangedWorstFirst) {
  Json baseline = read("b.json");
  ASSERT_EQ(baseline["cases"]["lazy"]["guest.faults"], 256);
  baseline["cases"]["lazy"]["guest.faults"] = 250;          // + 2.4 %
  baseline["cases"]["eager <&>"]["guest.faults"] = 512;     // - 50 %
  baseline["cases"]["eager <&>"]["guest.moved_pages"] = 3;  // now 0: - 100 %
  baseline["cases"]["lazy"].erase("guest.spaces");
  baseline["configurations"]["lazy"]["hypervisor.backing"] = "eager";
  baseline["configurations"]["lazy"].erase("machine.walker.slots");
  write("b.json", baseline);
  suite_["headline"] = {{"guest.faults", "less"}, {"guest.spaces", "more"}};
  write("s.json", suite_);
  const std::string columns =
      "| run | statistic | before | now | change | |\n|---|---|---:|---:|---:|---|\n";
  const std::string first = "2 of 2 runs changed: 1 worse, 1 better.\n\n" + columns +
                            "| lazy | guest.spaces | - | 1 | new | |\n"
                            "| lazy | guest.faults | 250 | 256 | +2.40 % | worse |\n"
                            "| eager <&> | guest.faults | 512 | 256 | -50.00 % | better |\n"
                            "\nWhat changed in the configurations:\n\n"
                            "- lazy: hypervisor.backing was \"eager\", is \"lazy\"\n"
                            "- lazy: machine.walker.slots was not there, is 6\n\n";
  const std::string other = columns + "| eager <&> | guest.moved_pages | 3 | 0 | -100.00 % | |\n";
  expect("nestwalk gate s.json --junit j.xml --markdown m.md", 3,
         first + "1 other statistic changed; --all shows them.\n");
  expect("nestwalk gate s.json --all", 3, first + other);
  EXPECT_EQ(text_of("m.md"), first + "<details><summary>1 other statistic changed</summary>\n\n" +
                                 other + "\n</details>\n");
  EXPECT_THAT(
      run("nestwalk gate s.json --annotations").output,
      testing::EndsWith(
          "::error title=nestwalk gate::eager <&>: guest.faults -50.00 %25 (better), 1 other "
          "statistic changed\n"
          "::error title=nestwalk gate::lazy: guest.spaces new, guest.faults +2.40 %25 "
          "(worse)\n"));
  EXPECT_THAT(text_of("j.xml"), HasSubstr("tests=\"2\" failures=\"2\""));
  EXPECT_THAT(text_of("j.xml"), HasSubstr("name=\"eager &lt;&amp;&gt;\""));
  EXPECT_THAT(text_of("j.xml"), HasSubstr("guest.faults: 250 -&gt; 256 (+2.40 %) worse"));

  expect("nestwalk gate s.json --update && nestwalk gate s.json", 0,
         "All 2 runs are as they were.\n");
}

TEST_F(Gate, AllowsWhatTheSuiteAllows) {
  Json baseline = read("b.json");
  baseline["cases"]["lazy"]["guest.faults"] = 250;
  write("b.json", baseline);
  suite_["tolerances_percent"] = {{"guest.faults", 2.39}};
  write("s.json", suite_);
  EXPECT_EQ(run("nestwalk gate s.json").exit_code, 3);
  suite_["tolerances_percent"] = {{"guest.faults", 2.4}};
  write("s.json", suite_);
  EXPECT_EQ(run("nestwalk gate s.json").exit_code, 0);
  // A name counts more than a pattern, and of patterns the last one counts.
  for (const auto& [tolerances, exit_code] :
       std::vector<std::pair<Json, int>>{{{{"guest.*", 2.4}}, 0},
                                         {{{"guest.f*", 1}, {"guest.*", 2.4}}, 0},
                                         {{{"guest.f*", 2.4}, {"guest.*", 1}}, 3},
                                         {{{"guest.faults", 1}, {"guest.*", 2.4}}, 3}}) {
    std::ofstream(folder() / "s.json") << nlohmann::ordered_json::parse(suite_.dump());
    nlohmann::ordered_json suite = nlohmann::ordered_json::parse(suite_.dump());
    suite["tolerances_percent"] = nlohmann::ordered_json::parse(tolerances.dump());
    std::ofstream(folder() / "s.json") << suite;
    EXPECT_EQ(run("nestwalk gate s.json").exit_code, exit_code) << tolerances;
  }
}

TEST_F(Gate, SaysWhatVanishedAndWhatItIsAsJson) {
  Json baseline = read("b.json");
  baseline["cases"]["gone"] = baseline["cases"]["lazy"];
  write("b.json", baseline);
  const Result result = run("nestwalk gate s.json --json --junit j.xml");
  EXPECT_EQ(result.exit_code, 3);
  const Json report = Json::parse(result.output);
  EXPECT_EQ(report["passed"], false);
  EXPECT_EQ(report["runs"], 2);
  const Json gone = {{"run", "gone"},     {"statistic", "the run"}, {"headline", true},
                     {"verdict", ""},     {"before", "there"},      {"now", "-"},
                     {"percent", nullptr}};
  EXPECT_EQ(report["changes"], Json::array({gone}));
  EXPECT_THAT(text_of("j.xml"), HasSubstr("tests=\"3\" failures=\"1\""));
}

// 256 pages of 1 MiB fault once each; the limit of 1000 accesses leaves some out.
TEST_F(Gate, TakesDirectoriesOfRuns) {
  expect(
      "nestwalk run -p simple t.nwt --set guest.memory=8M -o now >out; "
      "nestwalk gate now --baseline d.json --update && nestwalk gate now --baseline d.json",
      0, "The one run is as it was.\n");
  // However the directory is typed.
  expect("nestwalk gate ./now/ --baseline d.json", 0, "The one run is as it was.\n");
  Json baseline = read("d.json");
  EXPECT_EQ(baseline["cases"]["now"]["guest.faults"], 256);
  baseline["cases"]["now"]["guest.faults"] = 250;  // + 2.4 %
  baseline["cases"]["another"] = baseline["cases"]["now"];
  write("d.json", baseline);
  const std::string table =
      "1 of 1 run changed: 1 in other statistics.\n\n"
      "| run | statistic | before | now | change | |\n"
      "|---|---|---:|---:|---:|---|\n"
      "| now | guest.faults | 250 | 256 | +2.40 % | |\n";
  expect("nestwalk gate now --baseline d.json --all", 3, table);
  expect("nestwalk gate now --baseline d.json --all --tolerance guest.faults=2.39", 3, table);
  expect("nestwalk gate now --baseline d.json --tolerance 'guest.*=2.4'", 0,
         "The one run is as it was.\n");
  expect("nestwalk gate now --baseline d.json --tolerance guest.faults=2.4", 0,
         "The one run is as it was.\n");
  expect("nestwalk gate now", 2, "nestwalk gate: directories need --baseline FILE\n");
  expect("nestwalk gate now --baseline d.json --tolerance guest.fault=1", 2,
         "nestwalk gate: tolerance of guest.fault: no run has this statistic; did you mean "
         "guest.faults?\n");
  expect("nestwalk gate now --baseline d.json --tolerance guest.faults", 2,
         "--tolerance guest.faults: not STATISTIC=PERCENT\n");
}

// As doubles, 2^53 + 1 is 2^53.
TEST_F(Gate, TellsLargeCountsApart) {
  expect("nestwalk run -p simple t.nwt -o now >out; nestwalk gate now --baseline d.json --update",
         0, "");
  Json stats = read("now/stats.json");
  Json baseline = read("d.json");
  const std::uint64_t count = std::uint64_t{1} << 53;
  stats["statistics"]["access.instructions"] = count;
  baseline["cases"]["now"]["access.instructions"] = count + 1;
  write("now/stats.json", stats);
  run("sed -i '/stats_checksum/d' now/run.json");
  write("d.json", baseline);
  expect("nestwalk gate now --baseline d.json --all", 3,
         "1 of 1 run changed: 1 in other statistics.\n\n"
         "| run | statistic | before | now | change | |\n"
         "|---|---|---:|---:|---:|---|\n"
         "| now | access.instructions | 9007199254740993 | 9007199254740992 | +0.00 % | |\n");
  expect("nestwalk gate now --baseline d.json --tolerance access.instructions=1", 0,
         "The one run is as it was.\n");
}

TEST_F(Gate, WorstIsRedOnATerminal) {
  Json baseline = read("b.json");
  baseline["cases"]["lazy"]["guest.faults"] = 250;       // + 2.4 %
  baseline["cases"]["eager <&>"]["guest.faults"] = 512;  // - 50 %
  write("b.json", baseline);
  const std::string output =
      run("script -qec \"env TERM=xterm '" NESTWALK_PROGRAM "' gate s.json --all\" /dev/null")
          .output;
  EXPECT_THAT(output, HasSubstr("\x1b[31m| eager <&> | guest.faults | 512 | 256 | -50.00 % | |"));
  EXPECT_THAT(output, HasSubstr("\x1b[33m| lazy | guest.faults | 250 | 256 | +2.40 % | |"));
}

TEST_F(Gate, SaysWhatIsWrongWithASuite) {
  expect("echo hello > x.json; nestwalk gate x.json", 4,
         "nestwalk: x.json: is not a JSON object; nestwalk gate --help shows a suite\n");
  expect("echo {} > x.json; nestwalk gate x.json", 4,
         "nestwalk: x.json: is not a nestwalk-suite of version 1\n");
  Json other = suite_;
  other["version"] = 2;
  write("x.json", other);
  expect("nestwalk gate x.json", 4, "nestwalk: x.json: is not a nestwalk-suite of version 1\n");
  other = suite_;
  other["cases"][1].erase("preset");
  write("x.json", other);
  expect("nestwalk gate x.json", 4, "nestwalk: x.json: \"preset\" is missing, or not text\n");
  other = suite_;
  other["cases"] = Json::array();
  write("x.json", other);
  expect("nestwalk gate x.json", 4,
         "nestwalk: x.json: \"cases\" is missing, empty or not a list\n");
  other = suite_;
  other["cases"][0]["set"] = {"guest.memroy=1G"};
  write("x.json", other);
  expect("nestwalk gate x.json", 2,
         "--set guest.memroy=1G: guest.memroy is unknown; did you mean memory?\n");
  other = suite_;
  other["cases"][0]["trace"] = "none.nwt";
  write("x.json", other);
  expect("nestwalk gate x.json", 4,
         "nestwalk: none.nwt: cannot be opened: No such file or directory\n");
  write("b.json", {{"format", "nestwalk-baseline"}, {"version", 1}, {"cases", 5}});
  expect("nestwalk gate s.json", 4, "nestwalk: b.json: \"cases\" is missing, or not an object\n");
  other = suite_;
  other["version"] = "1";
  write("x.json", other);
  expect("nestwalk gate x.json", 4, "nestwalk: x.json: is not a nestwalk-suite of version 1\n");
  other = suite_;
  other["tolerances_percent"] = 5;
  write("x.json", other);
  expect("nestwalk gate x.json", 4, "nestwalk: x.json: \"tolerances_percent\" is not an object\n");
  other = suite_;
  other["headline"] = {{"time.cycles", "fewer"}};
  write("x.json", other);
  expect("nestwalk gate x.json", 4,
         "nestwalk: x.json: headline: time.cycles is \"fewer\", not \"less\" or \"more\"\n");
  other["headline"] = {{"time.cycle", "less"}};
  write("x.json", other);
  expect("nestwalk gate x.json", 2,
         "nestwalk gate: headline time.cycle: no run has this statistic; did you mean "
         "time.cycles?\n");
  // Found before any run.
  expect("nestwalk gate s.json --tolerance 'exits.*=1'", 2,
         "nestwalk gate: tolerance of exits.*: no run has this statistic\n");
  expect("rm b.json; nestwalk gate s.json", 4,
         "nestwalk: b.json: cannot be read; --update writes it\n");
}

}  // namespace
}  // namespace nestwalk::sim::gate_test
