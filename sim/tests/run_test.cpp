// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk run` as a user runs it.

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "program.hpp"

namespace nestwalk::sim {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Json = nlohmann::json;

class Run : public Program {
 protected:
  std::string text_of(const std::string& file) const {
    std::ifstream in(folder() / file);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  Json json_of(const std::string& file) const { return Json::parse(text_of(file)); }
  Json statistics(const std::string& directory) const {
    return json_of(directory + "/stats.json")["statistics"];
  }
  /// A command that must work.
  void must(const std::string& command) {
    const Result result = run(command + " 2>&1");
    EXPECT_EQ(result.exit_code, 0) << command << "\n" << result.output;
  }
};

TEST_F(Run, WritesADirectoryThatMakesItAgain) {
  must("nestwalk trace gen random bytes=4M accesses=20000 -o t.nwt");
  must("nestwalk run t.nwt -p zen4 --set hypervisor.backing=eager --set guest.memory=64M -o a");
  must("nestwalk run t.nwt --config a/config.resolved.json -o b");
  EXPECT_EQ(text_of("a/stats.json"), text_of("b/stats.json"));
  EXPECT_EQ(text_of("a/stats.txt"), text_of("b/stats.txt"));
  EXPECT_EQ(text_of("a/config.resolved.json"), text_of("b/config.resolved.json"));
  const Json record = json_of("a/run.json");
  EXPECT_EQ(record["complete"], true);
  EXPECT_EQ(record["trace"], "t.nwt");
  // Each number once, with its sentence; on one line, for grep.
  const Json values = statistics("a");
  EXPECT_EQ(values["access.total"], 20000);
  EXPECT_THAT(text_of("a/stats.txt"), HasSubstr("access.total"));
  std::istringstream lines(text_of("a/stats.txt"));
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_THAT(line, testing::ContainsRegex("^[a-z0-9._]+ +[0-9.]+  # .+ \\([a-z]+\\)$"));
  }
  EXPECT_EQ(count, values.size());
}

// What follows from the trace by hand: 1024 pages of 4 MiB, each touched (20,000 accesses at random
// leave out hardly one), 25 % writes.
TEST_F(Run, LazyAndEagerDifferAsTheyMust) {
  must("nestwalk trace gen sequential bytes=4M accesses=524288 -o t.nwt");
  must("nestwalk run t.nwt --set guest.memory=16M --set hypervisor.backing=lazy -o lazy");
  must("nestwalk run t.nwt --set guest.memory=16M --set hypervisor.backing=eager -o eager");
  const Json lazy = statistics("lazy");
  const Json eager = statistics("eager");
  EXPECT_EQ(lazy["guest.faults"], 1024);
  EXPECT_EQ(eager["guest.faults"], 1024);
  EXPECT_EQ(lazy["exit.total"], 1024 + lazy["guest.table_frames"].get<unsigned>());
  EXPECT_EQ(eager["exit.total"], 0);
  EXPECT_EQ(lazy["memory.backed"], lazy["guest.bytes_zeroed"]);
  EXPECT_EQ(eager["memory.backed"], (16 + 64) << 20);  // and the kernel's own
  EXPECT_LT(lazy["time.first_access"], eager["time.first_access"]);
  EXPECT_GT(lazy["latency.max"], eager["latency.max"]);
}

// 512 pages, and nobody below who could be asked for them.
TEST_F(Run, WithoutAHypervisorThereIsOneStage) {
  must("nestwalk trace gen first-touch bytes=2M -o t.nwt");
  must("nestwalk run t.nwt --set guest.memory=16M --set hypervisor.backing=none -o native");
  const Json native = statistics("native");
  EXPECT_EQ(native["guest.faults"], 512);
  EXPECT_EQ(native["exit.total"], 0);
  EXPECT_EQ(native["memory.tables"], 0);
  expect("nestwalk run t.nwt --set hypervisor.backing=none --set host.memory=1G", 2,
         "nestwalk: the guest cannot have its memory: out of memory\n");
  must("printf \"kind,gpa\\nr,1\\n\" | nestwalk trace import --architecture x86_64 -o p.nwt");
  expect("nestwalk run p.nwt --set hypervisor.backing=none", 2,
         "guest.tables and hypervisor.backing are none: no stage\n");
}

TEST_F(Run, ReplaysTheSamplesOfEachArchitecture) {
  const std::string samples = NESTWALK_TRACE_SAMPLES;
  for (const auto& [sample, preset] :
       {std::pair("x86_64", "skylake-sp"), {"aarch64", "cortex-a76"}, {"riscv64", "rocket-h"}}) {
    must("nestwalk run " + samples + "/" + sample + "-nested.nwt -p " + preset + " -o " + sample +
         " --set run.limit=200000");
    const Json values = statistics(sample);
    EXPECT_EQ(values["access.total"], 200000) << sample;
    EXPECT_EQ(values["access.untranslatable"], 0) << sample;
    EXPECT_GT(values["exit.mapped"], 0) << sample;
    EXPECT_EQ(values["exit.total"], values["exit.mapped"]) << sample;
  }
}

TEST_F(Run, PlaysAllVcpusOfATrace) {
  must("nestwalk trace gen smp vcpus=4 accesses=20000 -o t.nwt");
  must("nestwalk run t.nwt -o a");
  EXPECT_EQ(statistics("a")["access.total"], 4 * 20000);
  EXPECT_EQ(json_of("a/config.resolved.json")["machine"]["cores"][0], 4);
}

TEST_F(Run, EndsEarlyWhenMemoryDoes) {
  must("nestwalk trace gen first-touch bytes=2G -o t.nwt");
  const Result result =
      run("nestwalk run t.nwt --set host.memory=1G --set guest.memory=4G -o a 2>&1");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("the run ended early: the host is out of memory"));
  EXPECT_EQ(json_of("a/run.json")["complete"], false);
  EXPECT_EQ(json_of("a/run.json")["ended_early"], "the host is out of memory");
}

TEST_F(Run, SaysWhatIsWrongWithItsParameters) {
  must("nestwalk trace gen random accesses=10 -o t.nwt");
  expect("nestwalk run t.nwt --set hypervisor.backnig=lazy", 2,
         "--set hypervisor.backnig=lazy: hypervisor.backnig is unknown; did you mean backing?\n");
  expect("nestwalk run t.nwt --set hypervisor.backing=lasy", 2,
         "--set hypervisor.backing=lasy: hypervisor.backing is \"lasy\", not one of eager, lazy, "
         "linear, none\n");
  expect("nestwalk run t.nwt --set guest.memory=1X", 2,
         "--set guest.memory=1X: guest.memory is \"1X\", not a size from 2M to 128T, or auto\n");
  expect("nestwalk run t.nwt --set hypervisor", 2, "--set hypervisor: not PATH=VALUE\n");
  expect("nestwalk run t.nwt --set hypervisor=1", 2,
         "--set hypervisor=1: hypervisor is not a value\n");
  expect("nestwalk run t.nwt --set guest.tables=recorded", 2,
         "guest.tables is recorded, but the trace has no guest-physical addresses\n");
  EXPECT_THAT(run("nestwalk run t.nwt -p zen5 2>&1").output,
              StartsWith("there is no preset 'zen5'; there are:"));
  EXPECT_EQ(run("nestwalk run t.nwt -p zen5 2>&1").exit_code, 2);
  EXPECT_THAT(run("nestwalk run t.nwt --set machine.walker.slots=0 2>&1").output,
              HasSubstr("walker.slots is 0, not a number from 1 to 64"));
  must("mkdir full && touch full/x");
  expect("nestwalk run t.nwt -o full", 2, "full exists; --force overwrites it\n");
  expect("cat t.nwt | nestwalk run -", 4,
         "nestwalk: <stdin>: is replayed, so it has to be a file, neither a pipe nor compressed\n");
  must("printf '%.0s[' {1..100000} > deep.json");
  expect("nestwalk run t.nwt --config deep.json", 2, "deep.json: nests deeper than 64 levels\n");
  expect("mkdir -p d/stats.json; nestwalk run t.nwt -o d --force", 2,
         "d/stats.json: cannot be written\n");
  expect("nestwalk run missing.nwt", 4,
         "nestwalk: missing.nwt: cannot be opened: No such file or directory\n");
}

}  // namespace
}  // namespace nestwalk::sim
