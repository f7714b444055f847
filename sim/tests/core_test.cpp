// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The model of the core: where results name it, and how it is chosen.

#include <nlohmann/json.hpp>

#include "program.hpp"

namespace nestwalk::sim::core_test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Json = nlohmann::json;

class Core : public Program {
 protected:
  void SetUp() override {
    const Result made = run("nestwalk trace gen gups bytes=64K updates=100 -o t.nwt 2>&1");
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  Json json(const std::string& command) { return Json::parse(run(command).output); }
};

constexpr const char* kZen4 = "out of order, window 320, width 6, store buffer 64";

TEST_F(Core, IsNamedInEveryResult) {
  const std::string line = std::string("core: ") + kZen4 + "\n";
  EXPECT_THAT(run("nestwalk run t.nwt -p zen4").output,
              StartsWith(std::string("t.nwt on zen4: 3.70 GHz, ") + kZen4 + "\n"));
  EXPECT_THAT(run("nestwalk explain t.nwt -p zen4").output, StartsWith(line));
  EXPECT_EQ(json("nestwalk explain t.nwt -p zen4 --json")[0]["core"], kZen4);
  EXPECT_THAT(run("nestwalk compare t.nwt -p zen4").output, HasSubstr("\n" + line));
  EXPECT_THAT(run("nestwalk compare t.nwt -p zen4 --format csv").output, HasSubstr(kZen4));
  EXPECT_EQ(json("nestwalk compare t.nwt -p zen4 --json")["cases"][1]["core"], kZen4);
  ASSERT_EQ(run("nestwalk run t.nwt -p zen4 -o run").exit_code, 0);
  EXPECT_EQ(json("cat run/stats.json")["core"], kZen4);
  EXPECT_EQ(json("cat run/run.json")["core"], kZen4);
  EXPECT_THAT(run("nestwalk compare run run").output, HasSubstr("\n" + line));
  EXPECT_THAT(
      run("nestwalk compare t.nwt -p simple -p zen4 --policy lazy").output,
      HasSubstr("\ncore of simple: in order, width 1\ncore of zen4: " + std::string(kZen4) + "\n"));
}

TEST_F(Core, IsChosenByAShortPathOrTheWholeOne) {
  const char* const expected = "in order, width 6, store buffer 64";
  EXPECT_EQ(json("nestwalk run t.nwt -p zen4 --json --set core.kind=in-order")["core"], expected);
  EXPECT_EQ(json("nestwalk run t.nwt -p zen4 --json --set machine.core.kind=in-order")["core"],
            expected);
  const Result twice = run(
      "nestwalk run t.nwt -p zen4 --set core.kind=in-order --set machine.core.kind=in-order 2>&1");
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_THAT(twice.output, HasSubstr("machine.core.kind is set already, by"));
}

TEST_F(Core, TakesNothingThatItsKindDoesNotHave) {
  const auto refuses = [&](const std::string& set, const std::string& why) {
    const Result result = run("nestwalk run -p simple t.nwt --set " + set + " 2>&1");
    EXPECT_EQ(result.exit_code, 2) << set;
    EXPECT_THAT(result.output, HasSubstr("--set " + set + ": " + why)) << set;
  };
  refuses("core.window=4", "has no effect: core.kind is in-order");
  refuses("core.load_queue=4", "has no effect: core.kind is in-order");
  refuses("machine.core.load_ports=4", "has no effect: core.kind is in-order");
  refuses("core.store_ports=2", "has no effect: core.store_buffer is 0");
  refuses("core.forward_cycles=2", "has no effect: core.store_buffer is 0");
  refuses("vcpu.window=4", "vcpu.window is unknown");
}

// Updates at random that do not depend on each other: as the trace says, they overlap.
TEST_F(Core, HasTwoBounds) {
  const Json cases = json("nestwalk compare t.nwt -p zen4 --policy lazy --bounds --json")["cases"];
  ASSERT_EQ(cases.size(), 2u);
  EXPECT_EQ(cases[0]["name"], "lazy, trace");
  EXPECT_EQ(cases[1]["name"], "lazy, all");
  EXPECT_EQ(cases[1]["core"], std::string(kZen4) + ", all loads dependent");
  EXPECT_LE(cases[0]["statistics"]["time.cycles"], cases[1]["statistics"]["time.cycles"]);
}

}  // namespace
}  // namespace nestwalk::sim::core_test
