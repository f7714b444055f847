// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk explain`: its steps are what the statistics count.

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
         "nestwalk explain: --access or --worst, not both\n");
}

}  // namespace
}  // namespace nestwalk::sim::explain_test
