// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk calibrate` and `nestwalk validate` as a user runs them.

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "program.hpp"

namespace nestwalk::sim::calibrate_test {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

class Calibrate : public Program {
 protected:
  void write(const std::string& name, const Json& json) {
    std::ofstream(folder() / name) << json.dump(1);
  }
  Json read(const std::string& name) { return Json::parse(std::ifstream(folder() / name)); }
  static Json measured(const Json& points) {
    return {{"format", "nestwalk-machine"}, {"version", 1}, {"name", "m"}, {"points", points}};
  }
  static Json point(const char* pages, int kib, double ns) {
    return {{"probe", "lines"}, {"pages", pages}, {"bytes", kib * 1024}, {"ns", ns}};
  }
};

// `simple` has 1 GHz, an L1 of 32 KiB with 4 cycles, and a first TLB of 64 pages that takes 1: each
// load of 16 KiB takes 5 ns. 6.25 ns are 20 % too many of it.
TEST_F(Calibrate, ValidateSaysTheErrorOfEachPoint) {
  write("m.json", measured(Json::array({point("4K", 16, 5), point("2M", 16, 6.25)})));
  const Result found = run("nestwalk validate -p simple --against m.json --json --picture p.svg");
  ASSERT_EQ(found.exit_code, 0);
  const Json json = Json::parse(found.output);
  ASSERT_EQ(json["points"].size(), 2u);
  EXPECT_NEAR(json["points"][0]["simulated_ns"], 5, 0.01);
  EXPECT_NEAR(json["points"][0]["error"], 0, 0.0025);
  EXPECT_NEAR(json["points"][1]["error"], -0.2, 0.0025);
  EXPECT_NEAR(json["mean_error"], 0.1, 0.0025);
  EXPECT_EQ(json["worst_point"], "lines 2M 16K");
  EXPECT_THAT(run("cat p.svg").output, HasSubstr("all lines, 2M"));
  EXPECT_THAT(run("nestwalk validate -p simple --against m.json").output,
              HasSubstr("mean error 10.0 % of 2 points; the worst, lines 2M 16K, -20.0 %; "
                        "--guest-frames side-by-side\n"));
  EXPECT_EQ(json["surroundings"], "--guest-frames side-by-side");
}

// The least time has no error, and the median is a quarter more.
TEST_F(Calibrate, MediansAreCalledSo) {
  Json slow = point("4K", 16, 5);
  slow["p25"] = slow["p50"] = slow["p90"] = 6.25;
  write("m.json", measured(Json::array({slow})));
  const Result least = run("nestwalk validate -p simple --against m.json");
  EXPECT_THAT(least.output, testing::Not(HasSubstr("median")));
  const Result medians = run("nestwalk validate -p simple --against m.json --times median");
  EXPECT_THAT(medians.output, HasSubstr("median, ns"));
  EXPECT_THAT(medians.output, HasSubstr("mean error 20.0 % of 1 point (medians)"));
}

// All of it before the first run, which would say its objective.
TEST_F(Calibrate, APresetThatCannotBeWrittenIsRefusedAtOnce) {
  write("m.json", measured(Json::array({point("4K", 16, 5)})));
  write("mine3.json", {{"like", "zen3"}, {"name", "mine3"}});
  std::filesystem::create_directory(folder() / "sub");
  const std::string calibrate = "nestwalk calibrate --measured m.json ";
  expect(calibrate + "-p mine3.json -o sub/s.json", 2,
         "sub/s.json: would be like mine3, and there that is not mine3.json; write beside "
         "that file\n");
  expect(calibrate + "-p mine3.json -o ./mine3.json", 2,
         "./mine3.json is read; write to another file\n");
  expect(calibrate + "-p zen3 -o zen3.json", 2,
         "zen3.json: would be like zen3, which is itself; write to another file\n");
  expect(calibrate + "-p zen3 -o m.json", 2, "m.json is read; write to another file\n");
  const Result nowhere = run(calibrate + "-p zen3 -o none/s.json 2>&1");
  EXPECT_EQ(nowhere.exit_code, 2);
  EXPECT_THAT(nowhere.output,
              testing::AllOf(HasSubstr("none/s.json"), testing::Not(HasSubstr("objective"))));
  const Result picture =
      run("nestwalk validate -p simple --against m.json --picture none/p.svg 2>&1");
  EXPECT_THAT(picture.output,
              testing::AllOf(HasSubstr("none/p.svg"), testing::Not(HasSubstr("mean error"))));
  expect("nestwalk validate -p simple --against m.json --picture m.json", 2,
         "m.json is read; write to another file\n");
  EXPECT_EQ(run(calibrate + "-p mine3.json -o s.json 2>/dev/null").exit_code, 0);
  EXPECT_EQ(run("nestwalk validate -p s.json --against m.json").exit_code, 0);
}

// Pages of 1G are measured alone.
TEST_F(Calibrate, PointsOfWhichNoneIsSimulatedAreRefused) {
  write("m.json", measured(Json::array({point("1G", 16, 5)})));
  expect("nestwalk validate -p simple --against m.json", 2,
         "nestwalk validate: no point can be simulated: expected lines or pages, in pages of 4K or "
         "2M, of a power of two of bytes up to --most 4G\n");
}

TEST_F(Calibrate, WhatIsNoMeasurementIsRefused) {
  write("no.json", {{"format", "nestwalk-run"}});
  expect("nestwalk validate -p simple --against no.json", 4,
         "nestwalk: no.json: is not a nestwalk-machine of version 1\n");
  Json bad = measured(Json::array({point("4K", 16, 4)}));
  bad["points"][0]["pages"] = "8K";
  write("bad.json", bad);
  expect("nestwalk validate -p simple --against bad.json", 4,
         "nestwalk: bad.json: points[0].pages: expected 4K, 2M or 1G, found \"8K\"\n");
  bad["points"][0]["pages"] = "4K";
  bad["points"][0]["ns"] = -1;
  write("bad.json", bad);
  expect("nestwalk validate -p simple --against bad.json", 4,
         "nestwalk: bad.json: points[0].ns: expected a number above 0, found -1\n");
  write("twice.json", measured(Json::array({point("4K", 16, 4), point("4K", 16, 5)})));
  expect("nestwalk validate -p simple --against twice.json", 4,
         "nestwalk: twice.json: lines 4K 16K: is there twice\n");
}

// Each says two things that cannot both be, or something that nobody reads.
TEST_F(Calibrate, MeasurementsThatContradictThemselvesAreRefused) {
  const auto expect_refused = [&](const char* pointer, const Json& value,
                                  const std::string& message) {
    Json bad = measured(Json::array({point("4K", 16, 4)}));
    bad["points"][0].update({{"p25", 4}, {"p50", 5}, {"p90", 6}, {"samples", 5}});
    bad["caches"] = {{{"name", "l2"}, {"sets", 64}, {"ways", 8}}};
    bad[Json::json_pointer(pointer)] = value;
    write("bad.json", bad);
    for (const std::string command : {"validate -p simple --against", "calibrate --measured"}) {
      expect("nestwalk " + command + " bad.json", 4, "nestwalk: bad.json: " + message + "\n");
    }
  };
  expect_refused("/points/0/p25", 3.5,
                 "points[0].p25: expected a number that is not below ns, 4.0, found 3.5");
  expect_refused("/points/0/p50", 3.5,
                 "points[0].p50: expected a number that is not below p25, 4.0, found 3.5");
  expect_refused("/points/0/p90", 4.5,
                 "points[0].p90: expected a number that is not below p50, 5.0, found 4.5");
  expect_refused("/points/0/p90", "6",
                 "points[0].p90: expected a number that is not below p50, 5.0, found \"6\"");
  expect_refused("/points/0/samples", 1,
                 "points[0].samples: expected several, as p90 is not ns, found 1");
  expect_refused("/points/0/samples", 0,
                 "points[0].samples: expected a whole number from 1 to 18446744073709551615, "
                 "found 0");
  expect_refused("/points/0/chains", 4,
                 "points[0].chains: expected 1, as only overlap follows several lists, found 4");
  expect_refused("/points/0/tlb_misses", -1,
                 "points[0].tlb_misses: expected a number that is not below 0.0, found -1");
  expect_refused("/points/0/p95", 7, "points[0].p95: is no key of this format");
  expect_refused("/caches/0/size", 7, "caches[0].size: is no key of this format");
  expect_refused("/caches/0/name", "L2", "caches[0].name: expected l1d, l2 or l3, found \"L2\"");
  expect_refused("/caches/1", {{"name", "l2"}, {"sets", 64}, {"ways", 4}},
                 "caches[1].name: l2 is there twice");
  expect_refused("/clock", 3700, "clock: is no key of this format");
  expect_refused("/notes", Json::array({7}), "notes: expected a list of words, found [7]");
  // Native, as `measured` has it or as is meant without the key.
  expect_refused("/hypervisor", "KVMKVMKVM",
                 "hypervisor: expected nothing, as environment is native, found \"KVMKVMKVM\"");
  Json partial = measured(Json::array({point("4K", 16, 4)}));
  partial["points"][0]["p90"] = 6;
  write("bad.json", partial);
  expect("nestwalk validate -p simple --against bad.json", 4,
         "nestwalk: bad.json: points[0].p25: expected a number that is not below ns, 4.0, found "
         "nothing\n");
}

TEST_F(Calibrate, MediansThatWereNotMeasuredAreRefused) {
  write("m.json", measured(Json::array({point("4K", 16, 4)})));
  for (const std::string command :
       {"validate -p simple --against", "calibrate -p zen3 --measured"}) {
    const Result result = run("nestwalk " + command + " m.json --times median 2>&1");
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.output, HasSubstr("--times median: no point of "));
    EXPECT_THAT(result.output, testing::EndsWith(" has quantiles, p25, p50 and p90\n"));
  }
}

TEST_F(Calibrate, AProcessorWithoutAPresetIsNamedWithThePresetsThereAre) {
  Json machine = measured(Json::array({point("4K", 16, 4)}));
  machine["cpu"] = "Pangolin 9";
  write("m.json", machine);
  const Result found = run("nestwalk calibrate --measured m.json 2>&1");
  EXPECT_EQ(found.exit_code, 2);
  EXPECT_THAT(found.output,
              HasSubstr("no preset is known for Pangolin 9; name one with --preset: "));
  EXPECT_THAT(found.output, HasSubstr(" zen4"));
}

// The lists of a machine whose values differ from those of the preset that the fit begins with. Its
// L2 has 128 KiB and its L3 1 MiB, so that lists need not be long.
TEST_F(Calibrate, LatenciesOfASimulatedMachineComeBack) {
  write("base.json",
        {{"like", "zen4"},
         {"name", "base"},
         {"caches", {{"l2", {{"sets", {256, "guess"}}}}, {"l3", {{"sets", {1024, "guess"}}}}}}});
  write(
      "hidden.json",
      {{"like", "base"},
       {"name", "hidden"},
       {"caches",
        {{"l2", {{"latency_cycles", {17, "guess"}}}}, {"l3", {{"latency_cycles", {61, "guess"}}}}}},
       {"memory", {{"controller_ps", {90000, "guess"}}}},
       {"tlb", {{"second", {{"latency_cycles", {8, "guess"}}}}}}});
  ASSERT_EQ(run("nestwalk calibrate --simulate ./hidden.json --only-measure --most 8M -o all.json")
                .exit_code,
            0);
  Json all = read("all.json"), points = Json::array();
  for (const Json& each : all["points"]) {
    const std::size_t bytes = each["bytes"];
    const bool is_plateau =
        bytes == 16384 || bytes == 65536 || bytes == 524288 || bytes == (8u << 20);
    if (is_plateau || each["probe"] == "pages") points.push_back(each);
  }
  all["points"] = points;
  write("m.json", all);
  const Result fitted =
      run("nestwalk calibrate --measured m.json -p ./base.json --fit latencies --name mine -o "
          "mine.json "
          "2>&1");
  ASSERT_EQ(fitted.exit_code, 0) << fitted.output;
  const Json mine = read("mine.json");
  const auto expect_near = [&](const Json& value, double hidden) {
    ASSERT_TRUE(value.is_array()) << mine.dump(1);
    EXPECT_NEAR(value[0].get<double>(), hidden, 0.05 * hidden) << mine.dump(1);
    EXPECT_THAT(value[1].get<std::string>(), testing::StartsWith("measured "));
  };
  EXPECT_EQ(mine["like"], "base");
  EXPECT_EQ(mine["name"], "mine");
  expect_near(mine["caches"]["l2"]["latency_cycles"], 17);
  expect_near(mine["caches"]["l3"]["latency_cycles"], 61);
  expect_near(mine["memory"]["controller_ps"], 90000);
  EXPECT_FALSE(mine["caches"].contains("l1d")) << "what was right stays the preset's";
  // The preset is one, and as near as the fit said.
  const Result validated = run("nestwalk validate -p ./mine.json --against m.json --json");
  ASSERT_EQ(validated.exit_code, 0);
  EXPECT_LT(Json::parse(validated.output)["mean_error"], 0.02);
}

// It begins with the machine that was measured, but for what is around it: nothing has to change.
TEST_F(Calibrate, AMachineThatIsThePresetStaysSo) {
  ASSERT_EQ(run("nestwalk calibrate --simulate zen3 --only-measure --most 1M --host-pages 4K "
                "--guest-frames scattered -o all.json")
                .exit_code,
            0);
  Json all = read("all.json"), points = Json::array();
  for (const Json& each : all["points"]) {
    const std::size_t bytes = each["bytes"];
    if (bytes == 16384 || bytes == 524288 || bytes == 1048576) points.push_back(each);
  }
  all["points"] = points;
  write("m.json", all);
  const Result found = run("nestwalk calibrate --measured m.json -p zen3 --json 2>/dev/null");
  ASSERT_EQ(found.exit_code, 0);
  const Json fitted = Json::parse(found.output);
  for (const Json& each : fitted["values"]) EXPECT_EQ(each["value"], each["before"]) << each;
  EXPECT_EQ(fitted["surroundings"], "--host-pages 4K --guest-frames scattered");
}

// The machines of bench/machines, with the presets that were fitted to them: the shorter
// footprints, since these are quick.
TEST_F(Calibrate, FittedPresetsAreNearTheirMachines) {
  const std::string folder = NESTWALK_MACHINES;
  // The share of L3 that the second one has is seen at no one size: see sim/README.md.
  for (const auto& [name, bound] : {std::pair("epyc-7003-vm", 0.1), {"epyc-zen5-vm", 0.2}}) {
    const Json preset = Json::parse(std::ifstream(folder + "/" + name + ".preset.json"));
    const std::string about = preset["about"];
    // Under what it was fitted.
    const std::string options = about.substr(about.find("--host-pages"));
    const Result found =
        run("nestwalk validate -p '" + folder + "/" + name + ".preset.json' --against '" + folder +
            "/" + name + ".json' --most 16M --json " + options);
    ASSERT_EQ(found.exit_code, 0) << name;
    const Json json = Json::parse(found.output);
    EXPECT_GE(json["points"].size(), 12u) << name;
    EXPECT_LT(json["mean_error"], bound) << name << found.output;
  }
}

// Whatever the machine is: the smallest footprint is no slower than the largest.
TEST_F(Calibrate, ThisMachineIsMeasured) {
  const Result found =
      run("nestwalk calibrate --only-measure --most 1M --seconds 3 -o m.json 2>&1");
  if (found.exit_code == 5) {
    EXPECT_THAT(found.output, HasSubstr("not stable after "));
    EXPECT_FALSE(std::filesystem::exists(this->folder() / "m.json"));
    return;
  }
  ASSERT_EQ(found.exit_code, 0) << found.output;
  const Json machine = read("m.json");
  EXPECT_GT(machine["clock_mhz"], 100);
  double small = 0, large = 0;
  for (const Json& each : machine["points"]) {
    EXPECT_LE(each["ns"], each["p50"]);
    if (each["probe"] != "lines" || each["pages"] != "4K") continue;
    if (each["bytes"] == 16384) small = each["ns"];
    if (each["bytes"] == 1048576) large = each["ns"];
  }
  EXPECT_GT(small, 0.1);
  EXPECT_LE(small, large);
}

}  // namespace
}  // namespace nestwalk::sim::calibrate_test
