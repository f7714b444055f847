// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk report` as a user runs it. What a browser makes of the page: report_page_test.py.

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "program.hpp"

namespace nestwalk::sim::report_test {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

class Report : public Program {
 protected:
  void SetUp() override {
    const Result made =
        run("nestwalk trace gen random bytes=2M accesses=5000 -o t.nwt &&"
            "nestwalk compare t.nwt -p simple --set guest.memory=16M -o runs 2>&1");
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  std::string text_of(const std::string& file) {
    std::ifstream in(folder() / file);
    return (std::ostringstream() << in.rdbuf()).str();
  }
  // Where HTML says that a script ends.
  std::string data_of(const std::string& page) {
    const std::string begin = R"(<script id="data" type="application/json">)";
    const std::size_t at = page.find(begin);
    if (at == page.npos) return "";
    const std::size_t from = at + begin.size();
    return page.substr(from, page.find('<', from) - from);
  }
  Json document(const std::string& directories, int exit_code = 0) {
    const Result result = run("nestwalk report " + directories + " -o page.html");
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_EQ(result.output, "");
    return Json::parse(data_of(text_of("page.html")));
  }
};

TEST_F(Report, HasEveryStatisticOfEveryRun) {
  const Json page = document("runs/lazy runs/eager");
  const Json& table = page["table"];
  for (std::size_t n = 0; n < 2; ++n) {
    const std::string name = n == 0 ? "lazy" : "eager";
    EXPECT_EQ(page["cases"][n]["name"], name);
    const Json stats = Json::parse(text_of("runs/" + name + "/stats.json"));
    EXPECT_EQ(page["cases"][n]["histograms"], stats["histograms"]);
    Json shown = Json::object();
    for (std::size_t at = 0; at < table["names"].size(); ++at) {
      const Json& value = table["values"][n][at];
      if (!value.is_null()) shown[table["names"][at].get<std::string>()] = value;
    }
    EXPECT_EQ(shown, stats["statistics"]) << name;
  }
  EXPECT_EQ(table["meanings"]["time.cycles"],
            Json({"cycles", "from the start until the last vCPU was done"}));
  EXPECT_EQ(table["meanings"].size(), table["names"].size());
}

// Under eager, what comes before the vCPUs is of the same clock as all: its part of the time is
// time.begin / time.cycles.
TEST_F(Report, SharesOutTheWholeTime) {
  const Json page = document("runs/lazy runs/eager");
  for (const Json& each : page["cases"]) {
    const std::string name = each["name"];
    const Json is = Json::parse(text_of("runs/" + name + "/stats.json"))["statistics"];
    const double all = is["time.ns"].get<double>();
    double sum = 0;
    for (const Json& cause : each["causes"]) sum += cause["ns"].get<double>();
    EXPECT_NEAR(sum, all, all / 1e5) << name;
    EXPECT_EQ(each["causes"][0]["label"], "before the guest ran");
    EXPECT_NEAR(each["causes"][0]["ns"].get<double>() / all,
                is["time.begin"].get<double>() / is["time.cycles"].get<double>(), 1e-9);
  }
}

TEST_F(Report, GivesTheVerdictAndTheSummaryOfTheText) {
  const Json page = document("runs/lazy runs/eager");
  ASSERT_EQ(page["verdict"].size(), 1u);
  const std::string text = run("cd runs && nestwalk compare lazy eager | head -1").output;
  EXPECT_EQ(page["verdict"][0].get<std::string>() + "\n", text);
  const std::string summary = run("nestwalk run t.nwt -p simple --set guest.memory=16M").output;
  const Json& lazy = page["cases"][0]["summary"];
  EXPECT_THAT(summary, HasSubstr("t.nwt on simple: "));
  EXPECT_EQ(lazy["title"], summary.substr(0, summary.find('\n')));
  EXPECT_EQ(lazy["lines"][0]["label"], "time");
  EXPECT_THAT(summary, HasSubstr(lazy["lines"][0]["text"].get<std::string>()));
}

TEST_F(Report, TakesAnyNameOfADirectory) {
  const std::string name = R"($'runs/</script><b>&amp;\xff@nestwalk-data@')";
  ASSERT_EQ(run("mkdir 'runs/<' && mv runs/lazy " + name).exit_code, 0);
  const Json page = document(name + " runs/eager");
  EXPECT_EQ(page["cases"].size(), 2u);
  // The folder that both are in is left out, and what is no UTF-8 is spelled as in C.
  EXPECT_EQ(page["cases"][0]["name"], "</script><b>&amp;\\xff@nestwalk-data@");
}

// Each document whole but for its file: what is wrong is named with its place.
TEST_F(Report, ShowsWhatOtherCommandsPrint) {
  const std::string curves =
      R"({"format":"nestwalk-agreement","version":1,"machine":"m","measured":"r","times":"least",)"
      R"("mean_error":0.5,"points":[{"point":"lines 4K 16K","probe":"lines","page_bytes":4096,)"
      R"("bytes":16384,"measured_ns":2.0,"simulated_ns":3.0,"error":0.5,"unknown":1}]})";
  std::ofstream(folder() / "curves.json") << curves;
  const Json page = document("curves.json");
  EXPECT_EQ(page["cases"], Json::array());
  Json expected = Json::parse(curves);
  expected.erase("format");
  expected.erase("version");
  expected["points"][0].erase("unknown");
  EXPECT_EQ(page["agreements"], Json::array({expected}));
  EXPECT_EQ(document("curves.json runs/lazy")["cases"].size(), 1u);

  const std::string all =
      "nestwalk explain t.nwt -p simple --set guest.memory=16M --worst 2 --json";
  ASSERT_EQ(run(all + " > stories.json").exit_code, 0);
  const Json told = Json::parse(text_of("stories.json"));
  EXPECT_EQ(document("stories.json")["stories"], told);
}

TEST_F(Report, NamesThePlaceOfWhatIsWrongInAFile) {
  const auto complaint = [&](const std::string& text) {
    std::ofstream(folder() / "in.json") << text;
    const Result result = run("nestwalk report in.json -o page.html 2>&1");
    EXPECT_EQ(result.exit_code, 4) << text;
    return result.output;
  };
  const std::string sure = R"({"format":"nestwalk-sure","version":1,"draws":1,"seed":1,)";
  EXPECT_EQ(complaint(sure +
                      R"("cases":[{"name":"a","machine":"m","statistics":{"x":{"preset":"1"}}}]})"),
            "nestwalk: in.json: cases[0].statistics.x.preset: expected a number, found \"1\"\n");
  EXPECT_EQ(complaint(R"([{"vcpu":0,"access":1,"kind":"read","address":"0x0","cycles":-5}])"),
            "nestwalk: in.json: [0].cycles: expected a whole number, found -5\n");
  EXPECT_EQ(complaint(R"({"format":"nestwalk-findings","version":1})"),
            "nestwalk: in.json: checked: is missing\n");
  EXPECT_EQ(complaint(R"({"format":"nestwalk-findings","version":2})"),
            "nestwalk: in.json: is not a nestwalk-findings of version 1\n");
  EXPECT_THAT(complaint("{}"),
              HasSubstr("in.json: is none of what the page shows; expected a run's"));
  EXPECT_THAT(complaint("x"), HasSubstr("in.json: is none of what the page shows"));
  EXPECT_THAT(run("nestwalk report in.json -o in.json 2>&1").output, HasSubstr("in.json"));
  EXPECT_EQ(text_of("in.json"), "x");
}

TEST_F(Report, SaysWhichRunIsIncomplete) {
  ASSERT_EQ(run("nestwalk run t.nwt -p simple --policy eager --set guest.memory=4G "
                "--set host.memory=1G -o early 2>&1")
                .exit_code,
            5);
  const Result result = run("nestwalk report runs/lazy early -o page.html 2>&1");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.output, "nestwalk: early ended early: the host is out of memory\n");
  const Json page = Json::parse(data_of(text_of("page.html")));
  EXPECT_EQ(page["cases"][0]["complete"], true);
  EXPECT_EQ(page["cases"][1]["complete"], false);
  EXPECT_EQ(page["cases"][1]["summary"]["incomplete"],
            "incomplete: the run ended early: the host is out of memory");
  EXPECT_EQ(page["verdict"], Json::array());
}

TEST_F(Report, RefusesDirectoriesAsCompareDoes) {
  ASSERT_EQ(run("cp -r runs/lazy bad && sed -i '/access.total/s/5000/5001/' bad/stats.json && "
                "mkdir empty && echo before >page.html")
                .exit_code,
            0);
  for (const std::string bad : {"bad", "empty", "nothing"}) {
    const Result report = run("nestwalk report " + bad + " -o page.html 2>&1");
    EXPECT_EQ(report.exit_code, 4);
    EXPECT_THAT(report.output, HasSubstr("nestwalk: " + bad + "/"));
    if (bad != "nothing") {
      EXPECT_EQ(report.output, run("nestwalk compare " + bad + " 2>&1").output);
    }
  }
  EXPECT_EQ(text_of("page.html"), "before\n");
}

TEST_F(Report, RefusesAConfigurationWithoutAMachine) {
  ASSERT_EQ(run("echo '{\"machine\": {\"name\": \"x\", \"clock_mhz\": [0, \"guess\"]}}' "
                ">runs/lazy/config.resolved.json && echo '{}' >runs/eager/config.resolved.json && "
                "sed -i /configuration_checksum/d runs/*/run.json")
                .exit_code,
            0);
  expect("nestwalk report runs/lazy", 4,
         "nestwalk: runs/lazy/config.resolved.json: machine.clock_mhz: expected a number above 0, "
         "found 0\n");
  expect("nestwalk report runs/eager", 4,
         "nestwalk: runs/eager/config.resolved.json: has no machine\n");
}

TEST_F(Report, DoesNotWriteOverWhatItReads) {
  expect("nestwalk report runs/lazy -o runs/lazy/stats.json", 2,
         "runs/lazy/stats.json is read; write to another file\n");
  EXPECT_EQ(run("nestwalk report runs/lazy -o /dev/full 2>&1").exit_code, 1);
  EXPECT_THAT(run("nestwalk report runs/lazy -o -").output, HasSubstr("<!doctype html>"));
}

}  // namespace
}  // namespace nestwalk::sim::report_test
