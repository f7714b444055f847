// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk config`, and the schemas of what the program reads and writes.

#include <fstream>
#include <nlohmann/json.hpp>

#include "program.hpp"

namespace nestwalk::sim::config_test {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

class Config : public Program {
 protected:
  Json json(const std::string& command) {
    const Result result = run(command);
    EXPECT_EQ(result.exit_code, 0) << command;
    return Json::parse(result.output, nullptr, false);
  }
  /// By an implementation that is not ours.
  Result validate(const std::string& schema, const std::string& files) {
    return run("python3 '" NESTWALK_SIM_TESTS "/validate' '" NESTWALK_SCHEMAS "/" + schema + "' " +
               files + " 2>&1");
  }
};

TEST_F(Config, ListsPresetsAndParameters) {
  const std::string text = run("nestwalk config list").output;
  EXPECT_THAT(text, HasSubstr("\n  rocket-h          riscv64   Rocket with"));
  EXPECT_THAT(text,
              HasSubstr("\n  hypervisor.fault_around=0 (a number from 0 to 9)\n      lazy: "));
  const Json all = json("nestwalk config list --json");
  EXPECT_EQ(all["parameters"].size(),
            std::stoul(run("nestwalk config list | grep -c '^  [a-z]*[.][a-z_]*='").output));
  std::size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(NESTWALK_PRESETS)) {
    files += file.path().extension() == ".json" ? 1 : 0;
  }
  EXPECT_EQ(all["presets"].size(), files);
}

// The preset's file has [1, "manual rocket-chip ..."]; preset.cpp reads slots from 1 to 64.
TEST_F(Config, ExplainsAMachinesValueWithItsSource) {
  expect("nestwalk config explain -p rocket-h machine.walker.slots", 0,
         "machine.walker.slots = 1\n"
         "  range: a number from 1 to 64\n"
         "  source: manual rocket-chip HellaCache.scala, ICache.scala, RocketCore.scala, "
         "PTW.scala\n");
  expect("nestwalk config explain -p rocket-h machine.walker.slots --set machine.walker.slots=2", 0,
         "machine.walker.slots = 2\n"
         "  range: a number from 1 to 64\n"
         "  source: guess of the user\n");
  expect("nestwalk config explain -p rocket-h machine.tlb.data.arrays.1.sizes", 0,
         "machine.tlb.data.arrays.1.sizes = [\"2M\",\"1G\"]\n"
         "  range: a list, each one of 4K, 8K, 16K, 32K, 64K, 128K, 2M, 32M, 512M, 1G, 64G, 512G, "
         "4T, 256T\n"
         "  source: manual rocket-chip HellaCache.scala, ICache.scala, RocketCore.scala, "
         "PTW.scala\n");
}

// A guess with a range is a list of four: value, source, least, most.
TEST_F(Config, ExplainsEveryValueOfEveryPreset) {
  for (const auto& file : std::filesystem::directory_iterator(NESTWALK_PRESETS)) {
    const std::string name = file.path().stem().string();
    const Result result = run("nestwalk config explain -p " + name + " machine 2>&1");
    EXPECT_EQ(result.exit_code, 0) << name << "\n" << result.output.substr(0, 300);
    EXPECT_THAT(result.output, HasSubstr("\nmachine.walker.slots = "));
  }
  const Result result = run("nestwalk config explain -p zen4 tlb.second.latency_cycles");
  EXPECT_THAT(result.output,
              testing::MatchesRegex(
                  "machine.tlb.second.latency_cycles = [0-9]+\n  range: a number from .*\n"
                  "  source: guess.*, from [0-9]+ to [0-9]+\n"));
}

TEST_F(Config, ExplainsParametersAndAllBelowAPath) {
  expect("nestwalk config explain guest.memory --set guest.memory=64M", 0,
         "guest.memory = \"64M\"\n"
         "  range: a size from 2M to 128T, a list of START+SIZE such as "
         "0x80000000+512M, or auto\n"
         "  meaning: guest-physical memory: so much from 0, or where; auto: what the trace says, "
         "else 4G\n");
  const std::size_t values = json("nestwalk config print -p simple")["machine"]["fence"].size();
  EXPECT_EQ(run("nestwalk config explain -p simple machine.fence | grep -c source").output,
            std::to_string(values) + "\n");
  EXPECT_EQ(json("nestwalk config explain host.memory --json")[0]["value"], "64G");
  EXPECT_EQ(run("nestwalk config explain -p simple machine --json | grep -c '\"path\"'").output,
            run("nestwalk config explain -p simple machine | grep -c =").output);
  expect("nestwalk config explain -p simple machine.walker.slot", 2,
         "machine.walker.slot: machine.walker.slot is unknown; did you mean slots?\n");
  expect("nestwalk config explain -p simple quite.another", 2, "quite.another: quite is unknown\n");
}

TEST_F(Config, SetsWhatAPresetLeavesOut) {
  const auto fence = [&](const std::string& options) {
    return json("nestwalk config print -p rocket-h " + options)["machine"]["fence"];
  };
  EXPECT_FALSE(fence("").contains("cycles"));
  const Json set = {{"hinval", {7, "guess of the user"}}};
  EXPECT_EQ(fence("--set machine.fence.cycles.hinval=7")["cycles"], set);
  (void)run(R"(echo '{"machine": {"fence": {"cycles": {"hinval": 7}}}}' > c.json)");
  EXPECT_EQ(fence("--config c.json")["cycles"], set);
  expect("nestwalk config explain -p simple machine.fence.cycles", 2,
         "machine.fence.cycles: the preset has no machine.fence.cycles\n");
  expect("nestwalk config print -p simple --set machine.fence.cycles.hinvl=7", 2,
         "--set machine.fence.cycles.hinvl=7: machine.fence.cycles.hinvl is unknown; did you mean "
         "hinval?\n");
  // What the architecture does not have.
  const Result x86 =
      run("nestwalk config print -p simple --set machine.fence.cycles.hinval=7 2>&1");
  EXPECT_EQ(x86.exit_code, 2);
  EXPECT_THAT(x86.output, HasSubstr("fence.cycles.hinval is unknown"));
}

TEST_F(Config, PrintsWhatRunTakes) {
  expect(
      "nestwalk config print -p zen4 --set guest.memory=64M > c.json; "
      "nestwalk config print --config c.json | cmp - c.json",
      0, "");
  // A guess with its range is a value, too.
  const std::string ranged = "nestwalk config print -p zen3 --set machine.memory.controller_ps=";
  EXPECT_EQ(Json::parse(run(ranged + "7").output)["machine"]["memory"]["controller_ps"],
            Json::array({7, "guess of the user"}));
  const Json own = {7, "guess of mine", 5, 9};
  EXPECT_EQ(Json::parse(
                run(ranged + "'" + own.dump() + "'").output)["machine"]["memory"]["controller_ps"],
            own);
  const Result bad = run("nestwalk config print -p simple --set machine.walker.slots=0 2>&1");
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.output, HasSubstr("walker.slots is 0, not a number from 1 to 64"));
}

// What a user typed is neither left out nor given another name.
TEST_F(Config, AMachineOfAFileDoesNotReplaceOneThatWasChosen) {
  run("nestwalk config print -p zen4 > z.json; nestwalk config print -p simple > s.json; "
      "nestwalk trace gen random bytes=64K accesses=100 -o t.nwt");
  const std::string refused = "z.json: its machine, \"zen4\", differs from the one that ";
  const std::string hint = " chose; leave one out\n";
  for (const char* const command : {"run t.nwt", "explain t.nwt", "check t.nwt", "compare t.nwt",
                                    "compare --storm accesses=100", "config print"}) {
    expect(std::string("nestwalk ") + command + " -p rocket-h --config z.json", 2,
           refused + "--preset rocket-h" + hint);
    expect(std::string("nestwalk ") + command + " --config s.json --config z.json", 2,
           refused + "--config s.json" + hint);
  }
  expect("nestwalk check t.nwt --arch riscv64 --config z.json", 2,
         refused + "--arch riscv64" + hint);
  EXPECT_EQ(run("nestwalk run t.nwt -p zen4 --config z.json --config z.json").exit_code, 0);
  // Without a choice, the machine of the file is the one that is named.
  EXPECT_THAT(run("nestwalk check t.nwt --config z.json --json").output,
              HasSubstr("\"machine\": \"zen4\""));
}

TEST_F(Config, ShippedSchemasAreWhatTheProgramGenerates) {
  const std::string hint = "nestwalk config schema DOCUMENT > sim/schema/DOCUMENT.json";
  expect("nestwalk config schema | cmp - '" NESTWALK_SCHEMAS "/configuration.json'  # " + hint, 0,
         "");
  expect("nestwalk config schema stats | cmp - '" NESTWALK_SCHEMAS "/stats.json'  # " + hint, 0,
         "");
  EXPECT_THAT(run("nestwalk config schema stat 2>&1").output,
              HasSubstr("not one of configuration, stats"));
}

TEST_F(Config, RunsFitTheSchemas) {
  for (const char* const preset : {"simple", "zen4", "cortex-a76", "rocket-h"}) {
    const Result made =
        run("nestwalk trace gen random bytes=4M accesses=2000 -o t.nwt && "
            "nestwalk run t.nwt -o " +
            std::string(preset) + " -p " + preset + " 2>&1");
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  const std::string samples = NESTWALK_TRACE_SAMPLES;
  run("nestwalk run " + samples + "/x86_64-nested.nwt --set run.limit=50000 -p skylake-sp -o x");
  for (const auto& [schema, file] : {std::pair("configuration.json", "*/config.resolved.json"),
                                     {"stats.json", "*/stats.json"}}) {
    const Result result = validate(schema, file);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(result.output, "5 valid\n");
  }
}

TEST_F(Config, EveryPresetFitsTheSchema) {
  const Result result = run("for f in '" NESTWALK_PRESETS
                            "'/*.json; do nestwalk config print -p $f > $(basename $f); done");
  ASSERT_EQ(result.exit_code, 0);
  EXPECT_THAT(validate("configuration.json", "*.json").output, HasSubstr("11 valid"));
}

TEST_F(Config, SchemasRefuseWhatTheProgramRefuses) {
  int files = 0;
  const auto write = [&](const char* kind, const std::string& text, int exit_code) {
    const std::string file = kind + std::to_string(files++) + ".json";
    std::ofstream(folder() / file) << text;
    const bool is_whole = text.find("\"about\"") != std::string::npos;
    const Result result =
        run(std::string("nestwalk config print ") + (is_whole ? "" : "-p simple ") + "--config " +
            file + " 2>&1 >/dev/null");
    EXPECT_EQ(result.exit_code, exit_code) << text << result.output;
  };
  const auto refused = [&](const std::string& text) { write("refused", text, 2); };
  const auto taken = [&](const std::string& text) { write("taken", text, 0); };
  refused(R"({"guest": {"memroy": "1G"}})");
  refused(R"({"guest": {"memory": "1X"}})");
  refused(R"({"hypervisor": {"fault_around": 10}})");
  refused(R"({"hypervisor": {"backing": "lasy"}})");
  refused(R"({"guest": {"large_pages": 1}})");
  refused(R"({"machine": {"walker": {"slots": 65}}})");
  refused(R"({"machine": {"walker": {"slots": [4, "rumour"]}}})");
  refused(R"({"machine": {"caches": {"line_bytes": 48}}})");
  // A whole machine, and each array of one that is changed, says where its values come from.
  std::ifstream in(NESTWALK_PRESETS "/zen3.json");
  Json whole = Json::parse(in);
  const auto with = [&](const char* path, const Json& value) {
    Json changed = {{"machine", whole}};
    changed[Json::json_pointer(path)] = value;
    return changed.dump();
  };
  refused(with("/machine/walker/slots", 2));
  refused(with("/machine/walker", {{"slots", {2, "guess"}}}));
  refused(with("/machine/tlb/data/arrays/0/ways", 4));
  refused(R"({"machine": {"name": "mine"}})");
  refused(R"({"machine": {"tlb": {"data": {"arrays": [{"sets": 4, "ways": 4, "sizes": ["4K"],
              "replacement": "lru"}]}}}})");
  taken(with("/machine/walker/slots", {2, "guess"}));
  taken(R"({"guest": {"memory": "1G"}, "machine": {"walker": {"slots": 64}}})");
  taken(R"({"machine": {"walker": {"slots": [64, "guess"]}}, "guest": {"memory": 4194304}})");
  EXPECT_THAT(validate("configuration.json", "refused*").output, HasSubstr("\n0 valid\n"));
  EXPECT_EQ(validate("configuration.json", "taken*").output, "3 valid\n");
}

}  // namespace
}  // namespace nestwalk::sim::config_test
