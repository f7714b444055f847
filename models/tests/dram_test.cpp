// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Main memory by itself. All times in picoseconds are those of JEDEC's speed bins; with a clock of
// 1 THz, a cycle is a picosecond.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "nestwalk/models/memory/dram.hpp"

namespace nestwalk::models::dram_test {
namespace {

constexpr ClockRate kPicoseconds{1'000'000};

// DDR4-3200AA (JESD79-4): tCK 625 ps; CL, tRCD, tRP 22 tCK; tRAS 32 ns; tCCD_L 8 tCK; a burst of
// eight on 64 bits is 4 tCK. Rows of 8 KiB: 128 lines.
constexpr DramShape kDdr4{.channels = 1,
                          .banks = 16,
                          .bank_groups = 4,
                          .row_bytes = 8192,
                          .controller_ps = 30'000,
                          .tcl_ps = 13'750,
                          .trcd_ps = 13'750,
                          .trp_ps = 13'750,
                          .tras_ps = 32'000,
                          .tccd_ps = 5'000,
                          .tburst_ps = 2'500};
// DDR5-4800B (JESD79-5): tCK 416.67 ps; CL, tRCD, tRP 40, 39, 39 tCK of 416 ps, the standard's
// 16.64 and 16.22 ns; tRAS 32 ns; a burst of sixteen on 32 bits is 8 tCK; tCCD_L 12 tCK = 5 ns.
constexpr DramShape kDdr5{.channels = 2,
                          .banks = 32,
                          .bank_groups = 8,
                          .row_bytes = 8192,
                          .controller_ps = 30'000,
                          .tcl_ps = 16'640,
                          .trcd_ps = 16'220,
                          .trp_ps = 16'220,
                          .tras_ps = 32'000,
                          .tccd_ps = 5'000,
                          .tburst_ps = 3'333};

// Lines of kDdr4: group = line mod 4; then 128 lines fill the rows of all four groups' banks.
constexpr u64 kNextInBank = 4;         // the same bank and row
constexpr u64 kNextBank = 4 * 128;     // of the same group
constexpr u64 kNextRow = 4 * 4 * 128;  // of the same bank

TEST(Dram, OneAccessTakesWhatTheStandardSays) {
  Dram dram(kDdr4, 64, kPicoseconds);
  // Nothing open: tRCD + CL + burst.
  EXPECT_EQ(dram.access(0, 0), 30'000u + 13'750 + 13'750 + 2'500);
  // The open row: CL + burst.
  EXPECT_EQ(dram.access(kNextInBank, 1'000'000), 1'000'000u + 30'000 + 13'750 + 2'500);
  // Another row: tRP + tRCD + CL + burst.
  EXPECT_EQ(dram.access(kNextRow, 2'000'000),
            2'000'000u + 30'000 + 13'750 + 13'750 + 13'750 + 2'500);
  EXPECT_EQ(dram.counts().row_empty, 1u);
  EXPECT_EQ(dram.counts().row_hits, 1u);
  EXPECT_EQ(dram.counts().row_conflicts, 1u);
  EXPECT_EQ(dram.counts().waiting, 0u);
}
// Both arrive at 30000. RD 43750, data 57500 to 60000; the next RD of the bank 5000 later.
TEST(Dram, ColumnsOfOneRowFollowByTccd) {
  Dram dram(kDdr4, 64, kPicoseconds);
  EXPECT_EQ(dram.access(0, 0), 60'000u);
  EXPECT_EQ(dram.access(kNextInBank, 0), 65'000u);
  EXPECT_EQ(dram.counts().waiting, 13'750u + 5'000);  // for the row that opens, and tCCD
}
// Another group's bank opens its row meanwhile: only the bus is shared.
TEST(Dram, BanksOverlapAndBurstsFollowEachOther) {
  Dram dram(kDdr4, 64, kPicoseconds);
  EXPECT_EQ(dram.access(0, 0), 60'000u);
  EXPECT_EQ(dram.access(1, 0), 62'500u);
  EXPECT_EQ(dram.access(2, 0), 65'000u);
  EXPECT_EQ(dram.access(kNextBank, 0), 67'500u);
}
// ACT 30000; the row stays open until 62000 (tRAS), PRE, ACT 75750 (tRC = 45.75 ns, as in the
// standard), RD 89500, data 103250 to 105750.
TEST(Dram, AnotherRowWaitsForTras) {
  Dram dram(kDdr4, 64, kPicoseconds);
  EXPECT_EQ(dram.access(0, 0), 60'000u);
  EXPECT_EQ(dram.access(kNextRow, 0), 105'750u);
  // Where it was open for long enough, PRE comes at once.
  EXPECT_EQ(dram.access(0, 200'000), 200'000u + 73'750);
}
TEST(Dram, RowsThatAreNotUsedAreClosed) {
  DramShape shape = kDdr4;
  shape.row_timeout_ps = 100'000;
  Dram dram(shape, 64, kPicoseconds);
  // RD 43750: the next command is possible at 48750, and the row is open until 148750.
  EXPECT_EQ(dram.access(0, 0), 60'000u);
  EXPECT_EQ(dram.access(0, 118'749), 118'749u + 46'250);  // arrives at 148749; RD then
  // Next command 153749, closed from 253749, precharged at 267499.
  EXPECT_EQ(dram.access(0, 223'749), 267'499u + 13'750 + 13'750 + 2'500);
  EXPECT_EQ(dram.access(0, 10'000'000), 10'000'000u + 60'000);
  EXPECT_EQ(dram.counts().row_empty, 3u);
  EXPECT_EQ(dram.counts().row_conflicts, 0u);
}
// A burst that needs a row to open comes late; one that is asked for afterwards goes before it.
TEST(Dram, TheBusIsGivenToWhoeverComesFirst) {
  Dram dram(kDdr4, 64, kPicoseconds);
  dram.access(1, 0);  // opens a row in group 1
  dram.access(2, 0);
  EXPECT_EQ(dram.access(0, 1'000'000), 1'060'000u);  // ACT first: data 1057500 to 1060000
  EXPECT_EQ(dram.access(1, 1'000'000), 1'046'250u);  // an open row: data from 1043750
  // Just before the burst that was reserved: 1055000 to 1057500.
  EXPECT_EQ(dram.access(1 + kNextInBank, 1'011'250), 1'057'500u);
  // Where it would begin at 1056250, it waits for both.
  EXPECT_EQ(dram.access(2 + kNextInBank, 1'012'500), 1'062'500u);
}

// From line to line, 64 of them under way.
Cycle stream(const DramShape& shape, u64 lines) {
  Dram dram(shape, 64, kPicoseconds);
  std::array<Cycle, 64> under_way{};
  Cycle now = 0;
  for (u64 line = 0; line < lines; ++line) {
    Cycle& slot = under_way[line % under_way.size()];
    now = std::max(now, slot);
    slot = dram.access(line, now);
  }
  return *std::max_element(under_way.begin(), under_way.end());
}
// 25.6 GB/s for each channel of DDR4-3200, and 38.4 for both subchannels of DDR5-4800.
TEST(Dram, AStreamReachesTheBandwidth) {
  constexpr u64 kLines = 100'000;
  for (const auto& [shape, gigabytes] : {std::pair(kDdr4, 25.6), std::pair(kDdr5, 38.4)}) {
    const double bytes_per_ns = kLines * 64.0 / (static_cast<double>(stream(shape, kLines)) / 1000);
    EXPECT_LE(bytes_per_ns, gigabytes * 1.001);
    EXPECT_GE(bytes_per_ns, gigabytes * 0.95);
  }
}
// With all neighbouring lines in one bank, tCCD_L is the limit, 64 bytes in 5 ns: the first RD is
// at 43750, the last of a row 127 times 5000 later.
TEST(Dram, WithoutBankGroupsAStreamIsBoundByTccd) {
  DramShape shape = kDdr4;
  shape.bank_groups = 1;
  Dram dram(shape, 64, kPicoseconds);
  Cycle end = 0;
  for (u64 line = 0; line < 128; ++line) end = dram.access(line, 0);
  EXPECT_EQ(end, 43'750u + 127 * 5'000 + 13'750 + 2'500);
}
// Random rows of one bank, each asked for when the one before is there: it is opened 73750 ps
// before the next one arrives, so tRAS is over: tRP + tRCD + CL + burst + controller.
TEST(Dram, AChaseHasTheLatency) {
  Dram dram(kDdr4, 64, kPicoseconds);
  Cycle now = dram.access(0, 0);
  const Cycle begin = now;
  for (u64 n = 1; n <= 1000; ++n) now = dram.access(n * kNextRow, now);
  EXPECT_EQ(now - begin, 1000u * 73'750);
}
// Bursts never overlap, and none begins before it could, whatever is asked for.
TEST(DramBus, GivesEachTimeOnce) {
  std::mt19937_64 random(7);
  constexpr Cycle kBurst = 5;
  DramBus bus;
  std::vector<bool> taken(200'000);
  Cycle now = 0;
  for (unsigned n = 0; n < 10'000; ++n) {
    now += random() % 20 == 0 ? random() % 100 : random() % 8;
    const Cycle wanted = now + 10 + random() % (n % 3 == 0 ? 200 : 20);
    const Cycle given = bus.reserve(wanted, kBurst, now);
    ASSERT_GE(given, wanted);
    ASSERT_LT(given + kBurst, taken.size());
    for (Cycle cycle = given; cycle < given + kBurst; ++cycle) {
      ASSERT_FALSE(taken[cycle]) << "burst " << n;
      taken[cycle] = true;
    }
    // No gap before it would have done.
    Cycle free = 0;
    for (Cycle cycle = wanted; cycle < given; ++cycle) {
      free = taken[cycle] ? 0 : free + 1;
      ASSERT_LT(free, kBurst) << "burst " << n;
    }
  }
}

}  // namespace
}  // namespace nestwalk::models::dram_test
