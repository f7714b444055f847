// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a run's summary makes of its statistics.

#include "results/summary.hpp"

#include <gmock/gmock.h>

#include "configuration/configuration.hpp"

namespace nestwalk::sim::summary_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SummaryOfRun : public testing::Test {
 protected:
  Summary summary() const { return summary_of({configuration_, stats_, record_}); }
  std::string text_of(const std::string& label) const {
    for (const SummaryLine& each : summary().lines) {
      if (each.label == label) return each.text;
    }
    return "no line";
  }

  Json configuration_ = Configuration(preset_file("simple")).document();  // 1 GHz: 1 ns a cycle
  Json stats_ = {{"core", "in order, width 1"},
                 {"ended_early", ""},
                 {"values", {{"used", 9u}, {"guesses", 7u}, {"with_range", 1u}}},
                 {"statistics",
                  {{"time.ns", 2'000'000},
                   {"time.cycles", 2'000'000},
                   {"time.first_access", 1500},
                   {"time.vcpus", 2'000'000},
                   {"time.instructions", 500'000},
                   {"time.accesses", 1'500'000},
                   {"access.total", 100'000},
                   {"access.instructions", 400'000},
                   {"latency.mean", 30},
                   {"latency.p50", 4},
                   {"latency.p99", 1234},
                   {"latency.p99.9", 56'789},
                   {"latency.max", 1'234'567},
                   {"latency.sum", 3'000'000},
                   {"latency.held", 100'000},
                   {"latency.translation", 500'000},
                   {"latency.data", 1'500'000},
                   {"latency.exits", 100'000},
                   {"latency.guest", 800'000},
                   {"guest.cycles", 800'000},
                   {"guest.cycles.exits", 300'000},
                   {"tlb.first_hits", 90'000},
                   {"tlb.second_hits", 6'000},
                   {"walk.count", 4'000},
                   {"walk.references", 20'000},
                   {"walk.references_mean", 5.0},
                   {"walk.cycles_mean", 150.0},
                   {"cache.l1.walks", 10'000},
                   {"cache.memory.walks", 2'000},
                   {"exit.total", 500},
                   {"exit.mapped", 450},
                   {"exit.no_area", 50},
                   {"exit.cycles", 400'000},
                   {"memory.backed", 2 << 20},
                   {"memory.tables", 12 << 10},
                   {"engine.bytes_zeroed", 3 << 19}}}};
  Json record_ = {{"trace", "somewhere/guest.nwt"}};
};

TEST_F(SummaryOfRun, SaysWhatRanOnWhat) {
  configuration_["hypervisor"]["fault_around"] = 4;
  configuration_["machine"]["walker"]["slots"] = {2, "guess of the user"};
  const Summary found = summary();
  EXPECT_EQ(found.incomplete, "");
  EXPECT_EQ(found.title, "guest.nwt on simple: 1.00 GHz, in order, width 1");
  EXPECT_THAT(found.settings,
              ElementsAre("guest.tables=auto, guest.memory=auto, hypervisor.backing=lazy, "
                          "hypervisor.fault_around=4, machine.walker.slots=2",
                          "guesses: 7 of the machine's 9 values that were used"));
  record_["trace"] = {"a.nwt", "b.nwt"};
  EXPECT_THAT(summary().title, testing::StartsWith("a.nwt, b.nwt on simple: "));
}

// Of 2,000,000. Of the kernel's 800,000, 300,000 are exits, with 100,000 of accesses' own. Of what
// accesses took together, 1,500,000 - 800,000 - 100,000 = 600,000 are left, shared out by 500,000
// and 1,500,000 of latencies: a quarter and three. To be held behind a fault is the time of that
// fault.
//   kernel          800,000 - 300,000      = 500,000    25.0 %
//   instructions                             500,000    25.0 %
//   data            600,000 * 3 / 4        = 450,000    22.5 %
//   exits           100,000 + 300,000      = 400,000    20.0 %
//   walks           600,000 / 4            = 150,000     7.5 %
TEST_F(SummaryOfRun, SharesOutAllTime) {
  std::vector<std::pair<std::string, std::string>> shares;
  for (const SummaryLine& each : summary().lines) {
    if (each.share) shares.emplace_back(each.label, each.text);
  }
  using testing::Pair;
  EXPECT_THAT(shares, ElementsAre(Pair("  guest's kernel", "25.0%"),
                                  Pair("  instructions", "25.0%"), Pair("  data", "22.5%"),
                                  Pair("  exits", "20.0%"), Pair("  TLBs and walks", "7.5%")));
}

TEST_F(SummaryOfRun, HasTheRatesThatPeopleAskFor) {
  EXPECT_EQ(text_of("time"), "2.00 ms, 2,000,000 cycles; the first access was over after 1.50 us");
  EXPECT_EQ(text_of("pace"), "100,000 accesses, 20.0 ns each; 400,000 instructions, IPC 0.200");
  EXPECT_EQ(text_of("latency"),
            "mean 30.0 ns, p50 4.00 ns, p99 1.23 us, p99.9 56.8 us, max 1.23 ms");
  stats_["statistics"]["time.begin"] = 1'000'000;
  EXPECT_EQ(text_of("time"),
            "2.00 ms, 2,000,000 cycles, 1.00 ms before the guest ran; the first access was over "
            "after 1.50 us");
  // 10,000 of 100,000 lookups miss the first level, 4,000 of these the second: 400,000
  // instructions.
  EXPECT_EQ(text_of("TLB"),
            "first level misses 10.0% (25.0 per 1000 instructions); second 40.0% of these");
  EXPECT_EQ(text_of("walks"),
            "4,000 (10.0 per 1000 instructions): 5.00 references and 150 cycles (150 ns) each, "
            "50.0% from L1, 10.0% from "
            "memory, the rest from walk caches");
  EXPECT_EQ(text_of("exits"), "500, 800 ns each: 450 backed a page, 50 devices");
  EXPECT_EQ(text_of("memory"), "2 MiB of the guest backed, in tables of 12 KiB; 1.50 MiB zeroed");
}

TEST_F(SummaryOfRun, LeavesOutWhatATraceDoesNotKnow) {
  stats_["statistics"]["access.instructions"] = 0;
  EXPECT_EQ(text_of("pace"), "100,000 accesses, 20.0 ns each");
  EXPECT_EQ(text_of("TLB"), "first level misses 10.0%; second 40.0% of these");
}

TEST_F(SummaryOfRun, OfNothingHasNoShares) {
  for (auto& [name, value] : stats_["statistics"].items()) value = 0;
  for (const SummaryLine& each : summary().lines) EXPECT_FALSE(each.share);
  EXPECT_EQ(text_of("time"), "0, 0 cycles");
}

TEST_F(SummaryOfRun, TheThreeLongestPhasesComeLast) {
  for (const char* const name : {"start", "boot", "idle", "work"}) {
    const addrspace::u64 cycles = name[0] == 's' ? 100'000 : name[0] == 'b' ? 400'000 : 700'000;
    const std::string place = std::string("phase.") + name;
    stats_["statistics"][place + ".time.cycles"] = cycles;
    stats_["statistics"][place + ".time.vcpus"] = cycles;
    stats_["statistics"][place + ".access.total"] = 10'000;
    stats_["statistics"][place + ".exit.total"] = 7;
  }
  std::vector<std::string> last;
  for (const SummaryLine& each : summary().lines) last.push_back(each.text);
  ASSERT_GE(last.size(), 3u);
  last.erase(last.begin(), last.end() - 3);
  EXPECT_THAT(last, ElementsAre("idle: 35.0% of the time, 70.0 ns an access, 7 exits, 0 walks",
                                "work: 35.0% of the time, 70.0 ns an access, 7 exits, 0 walks",
                                "boot: 20.0% of the time, 40.0 ns an access, 7 exits, 0 walks"));
}

TEST_F(SummaryOfRun, AnIncompleteOneSaysSoFirst) {
  stats_["ended_early"] = "interrupted";
  const std::string first = "incomplete: the run ended early: interrupted\n";
  EXPECT_THAT(as_text(summary(), 100, Bars::None), testing::StartsWith(first));
  EXPECT_THAT(as_comments(summary()), testing::StartsWith("# " + first));
}

// The widest label has 16 letters; a bar begins 2 + 7 + 2 after it, so that 20 of 47 are left.
TEST(SummaryText, FitsItsWidth) {
  Summary summary;
  summary.title = "guest.nwt on simple";
  summary.lines = {{"time", "2.00 ms, 2,000,000 cycles; the first access", {}},
                   {"  guest's kernel", "50.0%", 0.5},
                   {"  exits", "2.5%", 0.025}};
  const std::string plain =
      "guest.nwt on simple\n\n"
      "time              2.00 ms, 2,000,000 cycles;\n"
      "                  the first access\n"
      "  guest's kernel    50.0%";
  EXPECT_EQ(as_text(summary, 47, Bars::None), plain + "\n  exits              2.5%\n");
  EXPECT_EQ(as_text(summary, 47, Bars::Signs),
            plain + "  ##########\n  exits              2.5%  #\n");
  EXPECT_EQ(as_text(summary, 47, Bars::Blocks),
            plain + "  ██████████\n  exits              2.5%  ▌\n");
}

TEST(SummaryText, NumbersHaveThreeDigits) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1'000), "1,000");
  EXPECT_EQ(with_commas(18'446'744'073'709'551'615u), "18,446,744,073,709,551,615");
  EXPECT_EQ(duration_text(0), "0");
  EXPECT_EQ(duration_text(0.25), "0.250 ns");
  EXPECT_EQ(duration_text(0.00059), "0.000590 ns");
  EXPECT_EQ(duration_text(9.994), "9.99 ns");
  EXPECT_EQ(duration_text(9.996), "10.0 ns");
  EXPECT_EQ(duration_text(999.4), "999 ns");
  EXPECT_EQ(duration_text(999.6), "1.00 us");
  EXPECT_EQ(duration_text(61e9), "61.0 s");
  EXPECT_EQ(duration_text(3600e9), "3600 s");
  EXPECT_EQ(bytes_text(4096), "4 KiB");
  EXPECT_EQ(bytes_text(1.5 * (1 << 20)), "1.50 MiB");
}

}  // namespace
}  // namespace nestwalk::sim::summary_test

// SystemC's library asks for one.
extern "C" int sc_main(int, char**) { return 0; }
