// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk compare --sure` as a user runs it.

#include "by_hand.hpp"

namespace nestwalk::sim::sure_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// Four pages that are read, each after 100 instructions, on a machine that has no other guesses
// than a test says. Each page is a fault of the guest's kernel, which takes
// software.guest_fault_cycles once; one instruction a cycle.
class Sure : public ByHand {
 protected:
  void SetUp() override {
    begin(Architecture::X86_64, Mode::User, 1);
    for (u64 page = 0; page < 4; ++page) access(0, AccessKind::Read, page * 0x1000, 100);
    finish();
    machine_ = Json::parse(std::ifstream(folder() / "machine.json"));
    without_guesses(machine_);
  }
  void guess(const char* path, const Json& value) {
    machine_[Json::json_pointer(path)] = value;
    std::ofstream(folder() / "machine.json") << machine_;
  }
  std::string command(const std::string& options) const {
    return "nestwalk compare t.nwt -p ./machine.json --set guest.memory=64M --sure " + options;
  }
  Json sure(const std::string& options) {
    const Result result = run(command(options + " --json"));
    EXPECT_EQ(result.exit_code, 0) << options;
    return Json::parse(result.output);
  }

 private:
  static void without_guesses(Json& place) {
    const bool is_pair = place.is_array() && place.size() >= 2 && place[1].is_string();
    if (is_pair) {
      place[1] = "manual";
    } else if (place.is_structured()) {
      for (Json& each : place) without_guesses(each);
    }
  }

  Json machine_;
};

// Ten strata of 500 to 1500 with the guess in the middle: 100 cycles each. Seven are below 1200.
// Four faults: the shortest of the draws is from 2000 to 1600 less than the preset's own run.
TEST_F(Sure, SaysInHowManyDrawsAnOrderHolds) {
  guess("/software/guest_fault_cycles", {1000, "guess", 500, 1500});
  const Json found = sure(
      "--draws 10 --policy lazy --policy hypervisor.backing=lazy,software.guest_fault_cycles=1200");
  ASSERT_EQ(found["cases"].size(), 2u);
  ASSERT_EQ(found["orders"].size(), 1u);
  const Json& order = found["orders"][0];
  EXPECT_EQ(order["less"], "lazy");
  EXPECT_EQ(order["statistic"], "time.cycles");
  EXPECT_EQ(order["holds"], 7);
  const Json& varied = found["cases"][0]["statistics"]["time.cycles"];
  EXPECT_EQ(found["cases"][0]["statistics"]["guest.faults"]["preset"], 4);
  const double own = varied["preset"];
  EXPECT_GE(varied["least"], own - 4 * 500);
  EXPECT_LE(varied["least"], own - 4 * 400);
  EXPECT_GE(varied["most"], own + 4 * 400);
  EXPECT_LE(varied["most"], own + 4 * 500);
  // What a policy says stays, in each draw; so the ratio is one to it.
  const Json& fixed = found["cases"][1]["statistics"]["time.cycles"];
  EXPECT_EQ(fixed["preset"], own + 4 * 200);
  EXPECT_EQ(fixed["least"], fixed["preset"]);
  EXPECT_EQ(fixed["most"], fixed["preset"]);
  EXPECT_DOUBLE_EQ(order["ratio"]["preset"], (own + 800) / own);
  EXPECT_DOUBLE_EQ(order["ratio"]["least"], (own + 800) / varied["most"].get<double>());
  EXPECT_DOUBLE_EQ(order["ratio"]["most"], (own + 800) / varied["least"].get<double>());
}

// Four faults of 200 cycles more. What the first policy sets is the preset's own value, and does
// not vary either.
TEST_F(Sure, WhatAPolicySetsStaysThoughItIsThePresetsOwn) {
  guess("/software/guest_fault_cycles", {1000, "guess", 500, 1500});
  const Json found = sure(
      "--draws 10 --policy software.guest_fault_cycles=1000 "
      "--policy software.guest_fault_cycles=1200");
  const Json& order = found["orders"][0];
  EXPECT_EQ(order["less"], "software.guest_fault_cycles=1000");
  EXPECT_EQ(order["holds"], 10);
  for (const Json& each : found["cases"]) {
    const Json& time = each["statistics"]["time.cycles"];
    EXPECT_EQ(time["least"], time["most"]) << each["name"];
  }
  const double own = found["cases"][0]["statistics"]["time.cycles"]["preset"];
  EXPECT_EQ(found["cases"][1]["statistics"]["time.cycles"]["preset"], own + 4 * 200);
}

// Nothing is emulated, and no prefetcher is there.
TEST_F(Sure, FindsTheGuessThatMattersMost) {
  guess("/software/guest_fault_cycles", {1000, "guess", 100, 10'000});
  guess("/software/emulation_cycles", {2000, "guess", 100, 100'000});
  guess("/tlb/prefetcher/degree", {2, "guess"});
  const Json found = sure("--draws 40 --policy lazy --policy eager");
  const Json& machine = found["machines"][0];
  EXPECT_EQ(machine["name"], "machine");
  EXPECT_EQ(machine["guesses"], 3);
  EXPECT_EQ(machine["with_range"], 2);
  EXPECT_EQ(machine["half_to_twice"], 1);
  for (const Json& guess : machine["varied"]) {
    const double correlation = guess["rank_correlations"]["time.cycles of lazy"];
    if (guess["path"] == "software.guest_fault_cycles") {
      EXPECT_EQ(correlation, 1);
      EXPECT_EQ(std::abs(guess["rank_correlations"]["eager : lazy"].get<double>()), 1);
    } else {
      EXPECT_LT(std::abs(correlation), found["noise_of_rank_correlations"].get<double>());
    }
  }
  const std::string text = run(command("--draws 40 --policy lazy --policy eager")).output;
  EXPECT_THAT(text,
              HasSubstr("40 draws vary 3 of machine's 3 guesses (2 within the preset's range, 1 "
                        "from half to twice the value)\n"));
  EXPECT_THAT(text, testing::ContainsRegex("software.guest_fault_cycles +1000 +100 +10000 +1.00 +-"
                                           "1.00\n$"));
}

// The same one twice, whose clocks are drawn independently.
TEST_F(Sure, ComparesMachinesByTheClock) {
  guess("/clock_mhz", {1000, "guess", 500, 2000});
  run("cp machine.json other.json");
  const Json found = sure("-p ./other.json --policy lazy --draws 20");
  const Json& order = found["orders"][0];
  EXPECT_EQ(order["statistic"], "time.ns");
  EXPECT_EQ(order["same"], true);
  EXPECT_EQ(order["ratio"]["preset"], 1);
  EXPECT_LT(order["ratio"]["least"], 1);  // their draws are independent
  EXPECT_GT(order["ratio"]["most"], 1);
  EXPECT_EQ(found["machines"][0]["varied"][0]["rank_correlations"].size(), 2u);
}

TEST_F(Sure, ContainsWhatCompareSays) {
  const std::string preset = " -p zen4 --set guest.memory=64M";
  const Json plain = Json::parse(run("nestwalk compare -p simple t.nwt --json" + preset).output);
  const Json found =
      Json::parse(run("nestwalk compare -p simple t.nwt --sure --draws 9 --json" + preset).output);
  for (std::size_t n = 0; n < 2; ++n) {
    const Json& spreads = found["cases"][n]["statistics"];
    for (const auto& [name, value] : plain["cases"][n]["statistics"].items()) {
      const Json& spread = spreads[name];
      EXPECT_EQ(spread["preset"], value) << name;
      EXPECT_LE(spread["least"], value) << name;
      EXPECT_GE(spread["most"], value) << name;
      for (const auto& [rank, of_draws] : spread.items()) {
        EXPECT_EQ(of_draws.is_number_float(), value.is_number_float()) << name;
      }
      for (const char* const rank : {"p5", "median", "p95"}) {
        EXPECT_LE(spread["least"], spread[rank]) << name;
        EXPECT_GE(spread["most"], spread[rank]) << name;
      }
    }
    EXPECT_EQ(found["cases"][n]["values"], plain["cases"][n]["values"]);
  }
}

TEST_F(Sure, DependsOnTheSeedAloneNotOnHowManyRunAtATime) {
  for (const char* const format : {"table", "markdown", "csv", "json"}) {
    const std::string draws = std::string("nestwalk compare t.nwt --sure -p zen4 -p rocket-h ") +
                              "--set guest.memory=64M --draws 5 --format " + format;
    const std::string text = run(draws + " -j 1").output;
    EXPECT_FALSE(text.empty());
    EXPECT_EQ(run(draws + " -j 2").output, text) << format;
    if (std::string(format) != "csv") continue;
    EXPECT_EQ(run(draws + " --seed 1").output, text);
    EXPECT_NE(run(draws + " --seed 2").output, text);
  }
}

// A row each, of as many columns.
TEST_F(Sure, CsvIsOneTable) {
  guess("/software/guest_fault_cycles", {1000, "guess", 500, 1500});
  const std::string csv = command("--draws 3 --format csv");
  expect(csv + " | head -1", 0,
         "kind,of,name,preset,least,median,most,holds,draws,rank correlation\n");
  expect(csv + " | tr -cd ',\\n' | sort -u", 0, ",,,,,,,,,\n");
  EXPECT_THAT(run(csv).output,
              HasSubstr("\nguess of machine,time.cycles of lazy,software.guest_fault_cycles,1000,"
                        "500,,1500,,3,1.0000\n"));
}

// With 4 bits there are 15 VMIDs.
TEST_F(Sure, ADrawWithoutAResultLeavesNone) {
  guess("/tags", {{"vmid_bits", {4, "guess", 1, 8}}});
  const Result result = run(command("--draws 10 --set host.vmids=15 --policy lazy 2>&1"));
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.output, StartsWith("nestwalk: "));
  EXPECT_THAT(result.output, HasSubstr(" of 11 runs have no result, so there is none; the first: "
                                       "lazy, draw "));
  EXPECT_THAT(result.output, HasSubstr(" failed: host.vmids is 15, but the machine has "));
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1);
  // What is wrong without a draw is as wrong as without --sure.
  const std::string wrong = "--set hypervisor.levels=3 --policy lazy 2>&1";
  EXPECT_EQ(run("nestwalk compare -p simple t.nwt " + wrong).exit_code, 2);
  expect(command("--draws 1 " + wrong), 2,
         "nestwalk: lazy failed: there are no host tables with 3 levels\n");
}

// Where drawing takes more than a second, as with sanitizers, no run has begun.
TEST_F(Sure, IsIncompleteWhenItIsInterrupted) {
  run("nestwalk trace gen random bytes=1G accesses=10M -o t.nwt");
  const Result result = run("'" NESTWALK_PROGRAM
                            "' compare -p simple t.nwt --sure 2>error & sleep 1; "
                            "kill -INT $!; wait $!");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.output, "");
  EXPECT_THAT(run("cat error").output,
              testing::ContainsRegex("nestwalk: interrupted( after [0-9]+ of 402 runs)?\n$"));
}

TEST_F(Sure, SaysWhatIsWrong) {
  expect("nestwalk compare -p simple t.nwt --sure --draws 0", 2,
         "nestwalk compare: --draws 0: not a number from 1 to 1000\n");
  expect("nestwalk compare -p simple t.nwt --sure --draws 1001", 2,
         "nestwalk compare: --draws 1001: not a number from 1 to 1000\n");
  expect("nestwalk compare -p simple t.nwt --draws 10", 2,
         "nestwalk compare: --draws has no effect without --sure\n");
  expect("nestwalk compare --sure", 2, "nestwalk compare: --sure takes one trace\n");
  expect("nestwalk compare -p simple t.nwt --sure --bounds", 2,
         "nestwalk compare: --bounds has no effect with --sure\n");
  expect("nestwalk compare -p simple --break-even --sure", 2,
         "nestwalk compare: --sure has no effect with --break-even\n");
  expect(
      "mkdir -p e1 e2; cp machine.json e1/m.json; cp machine.json e2/m.json; "
      "nestwalk compare -p simple t.nwt --sure -p e1/m.json -p e2/m.json --policy lazy",
      2, "nestwalk compare: --sure: two runs are called m; each preset needs a name of its own\n");
  expect("mkdir d; nestwalk compare d --sure", 2,
         "nestwalk compare: --sure has no effect on directories\n");
}

}  // namespace
}  // namespace nestwalk::sim::sure_test
