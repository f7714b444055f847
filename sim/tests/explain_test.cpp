// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk explain`: its steps are what the statistics count.

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "program.hpp"

namespace nestwalk::sim::explain_test {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class Explain : public Program {
 protected:
  Json told(const std::string& arguments) {
    const Result result = run("nestwalk explain " + arguments + " --json");
    EXPECT_EQ(result.exit_code, 0) << arguments;
    return Json::parse(result.output);
  }
  static std::uint64_t sum_of(const Json& story) {
    std::uint64_t sum = 0;
    for (const Json& step : story["steps"]) sum += step["cycles"].get<std::uint64_t>();
    return sum;
  }
};

// Forty accesses, told one by one: their cycles are the sum of the latencies in the statistics.
TEST_F(Explain, AllStoriesTogetherAreTheLatencies) {
  ASSERT_EQ(run("nestwalk trace gen gups bytes=64K updates=20 -o t.nwt").exit_code, 0);
  for (const std::string window : {"1", "8"}) {
    const std::string how = "t.nwt -p zen4 --set core.window=" + window;
    ASSERT_EQ(run("nestwalk run " + how + " -o run --force").exit_code, 0);
    const Json stats = Json::parse(run("cat run/stats.json").output)["statistics"];
    std::string numbers;
    for (int n = 0; n < 40; ++n) numbers += " --access " + std::to_string(n);
    const Json stories = told(how + numbers);
    ASSERT_EQ(stories.size(), 40u);
    std::uint64_t sum = 0;
    for (const Json& story : stories) {
      EXPECT_EQ(sum_of(story), story["cycles"]);
      sum += story["cycles"].get<std::uint64_t>();
    }
    EXPECT_EQ(sum, stats["latency.sum"]);
    const Json worst = told(how + " --worst 3");
    EXPECT_EQ(worst[0]["cycles"], stats["latency.max"]);
    EXPECT_GE(worst[1]["cycles"], worst[2]["cycles"]);
  }
}

// In order and out of order, with faults of both stages: what accesses took of each cause is what
// the statistics say. The kernel's exits count as exits.
TEST_F(Explain, CausesOfAllAccessesAreTheStatistics) {
  ASSERT_EQ(run("nestwalk trace gen zipf bytes=8M accesses=3000 -o t.nwt").exit_code, 0);
  for (const std::string how :
       {"t.nwt -p simple", "t.nwt -p zen4", "t.nwt -p rocket-h",
        "t.nwt -p cortex-a53 --policy eager", "t.nwt -p zen4 --policy native"}) {
    SCOPED_TRACE(how);
    const Json all = told(how + " --hot 1")["all"];
    const Json causes = all["causes"];
    const Json stats = Json::parse(run("nestwalk run " + how + " --json").output)["statistics"];
    const auto of = [&](const char* name) { return stats[name].get<std::uint64_t>(); };
    EXPECT_EQ(all["accesses"], of("access.total"));
    EXPECT_EQ(all["cycles"], of("latency.sum"));
    EXPECT_EQ(causes["TLBs and walks"], of("latency.translation"));
    EXPECT_EQ(causes["data"], of("latency.data"));
    const auto exits = causes["exits"].get<std::uint64_t>();
    const auto kernel = causes["guest's kernel"].get<std::uint64_t>();
    EXPECT_EQ(exits + kernel, of("latency.exits") + of("latency.guest"));
    // Some exits of the kernel are in switches of the address space, not in accesses.
    const std::uint64_t all_exits = of("latency.exits") + of("guest.cycles.exits");
    EXPECT_LE(exits, all_exits);
    EXPECT_LE(all_exits - exits, of("time.switches"));
    EXPECT_EQ(causes["held behind faults"], of("latency.held"));
  }
}

// Pages 0 to 3, each written twice, the last one five times.
TEST_F(Explain, HotPagesAreThoseWithMostCycles) {
  std::string rows = "kind,gva,size,vcpu\n";
  for (const int page : {0, 1, 2, 3, 0, 1, 2, 3, 3, 3, 3}) {
    rows += "write,0x" + std::to_string(4000 + page) + "000,8,0\n";
  }
  std::ofstream(folder() / "t.csv") << rows;
  const Result made = run("nestwalk trace import t.csv -f csv -o t.nwt 2>&1");
  ASSERT_EQ(made.exit_code, 0) << made.output;
  const Json small = told("t.nwt -p simple --policy native --hot 2");
  EXPECT_EQ(small["touched"], 4);
  ASSERT_EQ(small["pages"].size(), 2u);
  std::map<std::string, std::uint64_t> cycles;
  for (int n = 0; n < 11; ++n) {
    const Json story = told("t.nwt -p simple --policy native --access " + std::to_string(n))[0];
    cycles[story["address"]] += story["cycles"].get<std::uint64_t>();
    std::uint64_t sum = 0;
    for (const auto& [cause, part] : story["causes"].items()) sum += part.get<std::uint64_t>();
    EXPECT_EQ(sum, story["cycles"]);
  }
  for (const Json& page : small["pages"]) EXPECT_EQ(page["cycles"], cycles[page["address"]]);
  EXPECT_GE(small["pages"][0]["cycles"], small["pages"][1]["cycles"]);
  for (const auto& [address, sum] : cycles) EXPECT_LE(sum, small["pages"][0]["cycles"]) << address;
  const Json large = told("t.nwt -p simple --policy native --hot 2 --by 2M");
  EXPECT_EQ(large["touched"], 1);
  EXPECT_EQ(large["pages"][0]["address"], "0x4000000");
  EXPECT_EQ(large["pages"][0]["accesses"], 11);
  const Json late = told("t.nwt -p simple --policy native --hot 9 --warmup 8");
  EXPECT_EQ(late["touched"], 1);
  EXPECT_EQ(late["pages"][0]["accesses"], 3);
}

TEST_F(Explain, TellsTheSlowestOfEachCauseAndAfterTheWarmup) {
  ASSERT_EQ(run("nestwalk trace gen zipf bytes=256K accesses=300 -o t.nwt").exit_code, 0);
  std::string numbers;
  for (int n = 0; n < 300; ++n) numbers += " --access " + std::to_string(n);
  const Json all = told("t.nwt -p simple" + numbers);
  const auto most = [](const Json& story) {
    std::string name;
    for (const auto& [cause, cycles] : story["causes"].items()) {
      if (name.empty() || cycles > story["causes"][name]) name = cause;
    }
    return name;
  };
  std::map<std::string, std::uint64_t> slowest;
  std::uint64_t after = 0;
  for (const Json& story : all) {
    const auto cycles = story["cycles"].get<std::uint64_t>();
    slowest[most(story)] = std::max(slowest[most(story)], cycles);
    if (story["access"] >= 200) after = std::max(after, cycles);
  }
  const Json each = told("t.nwt -p simple --each-cause");
  EXPECT_EQ(each.size(), slowest.size());
  EXPECT_GE(each.size(), 2u);
  for (const Json& story : each) EXPECT_EQ(story["cycles"], slowest[most(story)]);
  const Json late = told("t.nwt -p simple --warmup 200");
  EXPECT_GE(late[0]["access"], 200);
  EXPECT_EQ(late[0]["cycles"], after);
  expect("nestwalk explain t.nwt -p simple --worst 1 --hot 2", 2,
         "nestwalk explain: one of --access, --worst, --each-cause and --hot\n");
  expect("nestwalk explain t.nwt -p simple --hot 0", 2,
         "nestwalk explain: --hot is 0, not a number from 1 to 1000\n");
}

TEST_F(Explain, SaysWhatEntriesMean) {
  ASSERT_EQ(run("nestwalk trace gen first-touch bytes=16K -o t.nwt").exit_code, 0);
  const Result result = run("nestwalk explain -p simple t.nwt --access 0");
  EXPECT_EQ(result.exit_code, 0);
  for (const char* const part :
       {"vCPU 0, access 0: write of 0x", "first TLB: miss for 0x",
        "guest fault: ", "not present, 0x", "exit: left the guest, the hypervisor",
        "(first stage, level 0: page of 4K at 0x", "(second stage, level 0: page of 4K at 0x",
        "second stage, level 3, for the data", "data: at 0x"}) {
    EXPECT_THAT(result.output, HasSubstr(part));
  }
}

// A user's write of a page that neither stage translates. x86-64: error code W/R and U/S (SDM vol.
// 3A, "Page-Fault Exceptions"); a write of a linear address that was translated, bits 1, 7 and 8
// (vol. 3C, "Exit Qualification for EPT Violations"). AArch64: EC 0x24 in bits 31:26, IL in bit 25,
// WnR in bit 6. RISC-V: causes 15 and 23.
TEST_F(Explain, SaysWhatTheRegistersHoldAfterAFault) {
  struct Expected {
    const char* preset;
    const char* first_stage;
    const char* second_stage;
  };
  ASSERT_EQ(run("nestwalk trace gen first-touch bytes=16K -o t.nwt").exit_code, 0);
  for (const Expected& expected :
       {Expected{"skylake-sp", "page fault; error code 0x6, CR2 0x",
                 "EPT violation; exit qualification 0x182, guest-physical address 0x"},
        Expected{"cortex-a76", "data abort; ESR_EL1 0x9200004", "data abort; ESR_EL2 0x9200004"},
        Expected{"rocket-h", "store/AMO page fault; vscause 0xf, vstval 0x",
                 "store/AMO guest-page fault; scause 0x17, stval 0x"}}) {
    const Result result =
        run(std::string("nestwalk explain t.nwt --access 0 -p ") + expected.preset);
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_THAT(result.output, HasSubstr(expected.first_stage));
    EXPECT_THAT(result.output, HasSubstr(expected.second_stage));
  }
}

// Of a vCPU without a core of the same number: its tables are those that its own core translates
// with.
TEST_F(Explain, ReadsTheTablesOfTheVcpusCore) {
  ASSERT_EQ(run("nestwalk trace gen smp vcpus=3 accesses=300 -o t.nwt").exit_code, 0);
  for (const char* const cores : {"1", "2", "3"}) {
    const Result result = run(std::string("nestwalk explain t.nwt -p zen4 --vcpu 2 --access 0 "
                                          "--set host.time_slice=1000 --set host.cores=") +
                              cores);
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_THAT(result.output, HasSubstr("vCPU 2, access 0: "));
    EXPECT_THAT(result.output, HasSubstr("(first stage, level 0: page of 4K at 0x"));
  }
}

TEST_F(Explain, SaysWhatItCannotTell) {
  ASSERT_EQ(run("nestwalk trace gen gups bytes=64K updates=20 -o t.nwt").exit_code, 0);
  expect("nestwalk explain -p simple t.nwt --access 40", 2,
         "nestwalk explain: --access 40: vCPU 0 has no such access\n");
  expect("nestwalk explain -p simple t.nwt --vcpu 1", 2,
         "nestwalk explain: --vcpu 1, but the trace has 1\n");
  expect("nestwalk explain -p simple t.nwt --worst 0", 2,
         "nestwalk explain: --worst is 0, not a number from 1 to 1000\n");
  expect("nestwalk explain -p simple t.nwt --worst 1 --access 1", 2,
         "nestwalk explain: one of --access, --worst, --each-cause and --hot\n");
}

}  // namespace
}  // namespace nestwalk::sim::explain_test
