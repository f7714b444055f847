// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Traces so small that every statistic of their runs is derived by hand. What a test does not list
// has to be 0.

#include "by_hand.hpp"

namespace nestwalk::sim::by_hand_test {
namespace {

// Pages of 4K that the host has backed: a walk reads four entries, 40. The prefetch of the next
// page begins when a walk ends, or when a miss finds its page in the prefetch buffer; it takes 40,
// and the next access comes more than 100 later. So the first access takes 1 for the TLB, 40 and 10
// for the data, and each other one 1 and 10. The run ends before the prefetch after the last one is
// over.
TEST_F(ByHand, ATlbPrefetcherWalksForTheNextPage) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 1);
  for (u64 page = 0; page < 4; ++page) access(0, AccessKind::Read, page * 0x1000, 100);
  finish();
  const Json statistics = statistics_of(
      "t.nwt",
      "--set hypervisor.backing=eager --set hypervisor.large_pages=false "
      "--set hypervisor.hardware_dirty=false --set machine.tlb.prefetcher.policy=next_page");
  const Values expected = {{"walk.count", 1},
                           {"tlb.prefetch.asked", 4},
                           {"tlb.prefetch.filled", 3},
                           {"tlb.prefetch.used", 3},
                           {"tlb.prefetch.dropped", 0},
                           {"latency.sum", 1 + 40 + 10 + 3 * (1 + 10)},
                           {"cache.memory.walks", 4},
                           {"cache.memory.prefetches", 3 * 4},
                           {"cache.memory.prefetches.cycles", 3 * 40}};
  for (const auto& [name, value] : expected) EXPECT_EQ(statistics[name], value) << name;
}

// Frames of the host, in their order: the root, the engine's shortcuts and list of areas, and what
// faults take. All are in four rows of 8 KiB.
//
// A fault where the root is empty costs 2050 in the engine: it reads the root's entry, takes three
// tables and the page, 100 and 400 each, and writes an entry for each of the four.
//
// The zap looks at the way to both ends of its page, 4 entries each; goes down, 4, and parks the
// leaf; finds the other 511 entries of the page's table empty, and parks the entry above; likewise
// for two more tables, up to the root: 8 + 4 + 3 * 511 read and 4 written. It issues an INVEPT.
// Then it reads the root's entry, goes through the 512 entries of each of the three tables, gives
// back four frames, and clears the entry: 1 + 3 * 512 read, 1 written.
TEST_F(ByHand, X86FirstTouchZapAndDevice) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 1);
  // 1, 10 for the root; 500, 1000, 2050, 500; 1, 40 for four levels, 10.
  access(0, AccessKind::Read, 0x5000);      // 4112
  access(0, AccessKind::Write, 0x5008, 3);  // 1 + 10
  event(0, HypervisorOperation{Operation::Unmap, Gpa(0x5000), 0x1000}, 2);
  access(0, AccessKind::Read, 0x5000);  // all is gone: 4112 again
  // The tables of the page reach there, but nobody promised it: 1, three levels 30, 500, 1000, 2000
  // for the device, 500; the engine's list of areas is no table.
  access(0, AccessKind::Read, kMemoryEnd);  // 4031

  constexpr double kZapReads = 8 + 4 + 3 * 511 + 1 + 3 * 512;
  constexpr double kZap = 500 + 1000 + 10 * (kZapReads + 5) + 100 + 4 * 100 + 500;
  constexpr double kLatencies = 4112 + 11 + 4112 + 4031;
  constexpr double kEntries = 1 + 4 + kZapReads + 5 + 1 + 4;
  expect_run(
      "--set hypervisor.hardware_dirty=false",
      {
          {"time.cycles", 100 + 5 + kZap + kLatencies},
          {"time.first_access", 100 + 4112},
          {"time.begin", 100},  // a frame for the list of areas
          {"time.vcpus", 5 + kZap + kLatencies},
          {"time.instructions", 5},
          {"time.accesses", kLatencies},
          {"time.operations", kZap},
          {"access.total", 4},
          {"access.reads", 3},
          {"access.writes", 1},
          {"access.instructions", 5},
          {"access.emulated", 1},
          {"latency.mean", kLatencies / 4},
          {"latency.p50", 4031},
          {"latency.p90", 4112},
          {"latency.p99", 4112},
          {"latency.p99.9", 4112},
          {"latency.max", 4112},
          {"latency.sum", kLatencies},
          {"latency.translation", 6 + 130},
          {"latency.exits", kLatencies - (6 + 130) - 30},
          {"latency.data", 30},
          {"tlb.first_hits", 1},
          {"tlb.first_hits.writes", 1},
          {"walk.count", 5},  // one and one again for either first touch, and one for the device
          {"walk.count.reads", 5},
          {"walk.faults", 3},
          {"walk.references", 1 + 4 + 1 + 4 + 3},
          {"walk.references_mean", 13. / 5},
          {"walk.cycles_mean", 130. / 5},
          {"translation.cycles", 6 + 130},
          {"translation.tlbs", 2 + 1 + 2 + 1},
          {"translation.walks", 130},
          {"reference.data.nested3.memory", 5},
          {"reference.data.nested3.memory.cycles", 50},
          {"reference.data.nested2.memory", 3},
          {"reference.data.nested2.memory.cycles", 30},
          {"reference.data.nested1.memory", 3},
          {"reference.data.nested1.memory.cycles", 30},
          {"reference.data.nested0.memory", 2},
          {"reference.data.nested0.memory.cycles", 20},
          {"cache.memory.served", 3 + 13 + kEntries},
          {"cache.memory.data", 3},
          {"cache.memory.data.cycles", 30},
          {"cache.memory.walks", 13},
          {"cache.memory.walks.cycles", 130},
          {"cache.memory.software", kEntries},
          {"cache.memory.software.cycles", 10 * kEntries},
          {"cache.memory.tables_share", (13 + kEntries) / (3 + 13 + kEntries)},
          {"dram.row_empty", 4},
          {"dram.row_hits", 3 + 13 + kEntries - 4},
          {"exit.total", 3},
          {"exit.mapped", 2},
          {"exit.no_area", 1},
          {"exit.cycles", 2 * 4050 + 4000},
          {"exit.cycles.exit", 3 * 500},
          {"exit.cycles.handler", 3 * 1000},
          {"exit.cycles.tables", 2 * 50},
          {"exit.cycles.frames", 2 * 400},
          {"exit.cycles.zeroing", 2 * 1600},
          {"exit.cycles.emulation", 2000},
          {"exit.cycles.entry", 3 * 500},
          {"operation.zap", 1},
          {"operation.cycles", kZap},
          {"operation.cycles.exit", 500},
          {"operation.cycles.handler", 1000},
          {"operation.cycles.tables", 10 * (kZapReads + 5)},
          {"operation.cycles.frames", 400},
          {"operation.cycles.fences", 100},
          {"operation.cycles.entry", 500},
          {"memory.backed", 0x1000},
          {"memory.tables", 0x5000},  // the root, three tables, the shortcuts
          {"memory.peak", 0x7000},    // and the list of areas, and the page
          {"engine.entries_read", 2 + kZapReads},
          {"engine.entries_written", 4 + 5 + 4},
          {"engine.bytes_zeroed", 2 * 0x4000},
          {"engine.fences", 1},
          {"fence.zap", 1},
          {"fence.cycles", 100},
          {"fence.refills", 1},  // the page's entry in the TLB
      });
}

// An IPA of 32 bits: a root of four tables at level 1, and tables of pages. Frames: the root's
// four, the shortcuts, the areas, the table, the page; what is read lies in two rows. Times:
//
// vCPU 0 begins at 100: 1, root 10, exit until 611, handler until 1611; reads the root, takes a
// table and the page, writes two entries: 10 + 2 * 500 + 20, until 2641; entry, 1, 20, 10: 3172.
// vCPU 1 begins at 105: 1, waits 5 for the bank, root 10, exit until 621, waits until 2641 (2020),
// handler until 3641; goes down two
// entries to find it there, and looks at it again: 30;
// takes back what processors may hold of it,
// by two broadcasts of 300; entry, 1, 20, 10: 4802. vCPU 0 goes on at 13172 with the protection:
// 500, 1000; the way to both ends of the page, 2 * 2 entries, two read on the way down, one
// written: 70; two broadcasts; 500: 15842. vCPU 1 goes on at 34802: 1, 20 and a leaf that forbids
// it; 500, 1000 without a look at a table, 500: 36823.
TEST_F(ByHand, AArch64TwoVcpusAtOnePage) {
  begin(Architecture::AArch64, Mode::GuestPhysical, 2);
  access(0, AccessKind::Read, 0x5000);
  access(1, AccessKind::Read, 0x5008, 5);
  event(0, HypervisorOperation{Operation::Protect, Gpa(0x5000), 0x1000, kPermitRead}, 10000);
  access(1, AccessKind::Write, 0x5010, 30000);

  constexpr double kLatencies = 3072 + 4697 + 2021;
  constexpr double kExits = 3030 + 4650 + 2000;
  expect_run("--set hypervisor.levels=2 --set hypervisor.hardware_dirty=false",
             {
                 {"time.cycles", 36823},
                 {"time.first_access", 3172},
                 {"time.begin", 100},
                 {"time.vcpus", 15842 - 100 + 36823 - 100},
                 {"time.instructions", 40005},
                 {"time.accesses", kLatencies},
                 {"time.operations", 2670},
                 {"access.total", 3},
                 {"access.reads", 2},
                 {"access.writes", 1},
                 {"access.instructions", 40005},
                 {"access.forbidden", 1},
                 {"latency.mean", kLatencies / 3},
                 {"latency.p50", 3072},
                 {"latency.p90", 4697},
                 {"latency.p99", 4697},
                 {"latency.p99.9", 4697},
                 {"latency.max", 4697},
                 {"latency.sum", kLatencies},
                 {"latency.translation", 5 + 85},
                 {"latency.exits", kExits},
                 {"latency.data", 20},
                 {"walk.count", 5},
                 {"walk.count.reads", 4},
                 {"walk.count.writes", 1},
                 {"walk.faults", 3},
                 {"walk.references", 1 + 2 + 1 + 2 + 2},
                 {"walk.references_mean", 8. / 5},
                 {"walk.cycles_mean", 85. / 5},
                 {"translation.cycles", 5 + 85},
                 {"translation.tlbs", 5},
                 {"translation.walks", 80 + 5},
                 {"reference.data.nested1.memory", 5},
                 {"reference.data.nested1.memory.cycles", 50 + 5},
                 {"reference.data.nested0.memory", 3},
                 {"reference.data.nested0.memory.cycles", 30},
                 {"cache.memory.served", 2 + 8 + 13},
                 {"cache.memory.data", 2},
                 {"cache.memory.data.cycles", 20},
                 {"cache.memory.walks", 8},
                 {"cache.memory.walks.cycles", 85},
                 {"cache.memory.software", 13},
                 {"cache.memory.software.cycles", 130},
                 {"cache.memory.tables_share", 21. / 23},
                 {"dram.row_empty", 2},
                 {"dram.row_hits", 21},
                 {"dram.waiting", 5},
                 {"exit.total", 3},
                 {"exit.mapped", 1},
                 {"exit.already_mapped", 1},
                 {"exit.no_permission", 1},
                 {"exit.cycles", kExits},
                 {"exit.cycles.exit", 3 * 500},
                 {"exit.cycles.waiting", 2020},
                 {"exit.cycles.handler", 3 * 1000},
                 {"exit.cycles.tables", 30 + 30},
                 {"exit.cycles.frames", 200},
                 {"exit.cycles.zeroing", 800},
                 {"exit.cycles.fences", 600},
                 {"exit.cycles.entry", 3 * 500},
                 {"operation.protect", 1},
                 {"operation.cycles", 2670},
                 {"operation.cycles.exit", 500},
                 {"operation.cycles.handler", 1000},
                 {"operation.cycles.tables", 70},
                 {"operation.cycles.fences", 600},
                 {"operation.cycles.entry", 500},
                 {"memory.backed", 0x1000},
                 {"memory.tables", 0x6000},
                 {"memory.peak", 0x8000},
                 {"engine.entries_read", 1 + 3 + 6},
                 {"engine.entries_written", 2 + 1},
                 {"engine.bytes_zeroed", 0x2000},
                 {"engine.fences", 2 + 2},
                 {"fence.exits", 2},
                 {"fence.protect", 2},
                 {"fence.cycles", 600 + 600},
             });
}

// The guest's kernel keeps seven frames in stock, each zeroed: 400. A space takes two of them, for
// the root and for shortcuts; the last that came are the first to go. The first space: 200 + 7 *
// 400.
//
// A fault in an empty space: 1, root 10; 1000; two frames for the stock and the page, 1200; the
// root's entry, read to see whether the page is there and again to map it, and three written, 50;
// 1, 30, 10: 2302. One beside it: 1, 30; 1000, 1200; twice three entries read, one written, 70; 41:
// 2342. (That one refills what the first took, and the second space what that took, so it finds
// seven.)
//
// Frames of 4 KiB from 64 MiB, two to a row and a bank: the first space has 6 and 8 and 7, the
// second 10 and 12 and 11; data lie in the guest's first three: four rows and two.
TEST_F(ByHand, RiscVGuestWithoutAHypervisor) {
  begin(Architecture::RiscV64, Mode::User, 1);
  access(0, AccessKind::Write, 0x40000000);                               // 2302
  access(0, AccessKind::Read, 0x40001000);                                // 2342
  event(0, GuestFence{FenceScope::Address, 0, Gva(0x40000000), 0x1000});  // 100
  access(0, AccessKind::Read, 0x40000000);                                // 1 + 30 + 10
  event(0, SpaceSwitch{0, 7});              // 200, with a new space of two frames of the stock
  access(0, AccessKind::Read, 0x40000000);  // 2302

  constexpr double kLatencies = 2302 + 2342 + 41 + 2302;
  constexpr double kTime = 3000 + 100 + 200 + kLatencies;
  expect_run("--set hypervisor.backing=none --set guest.levels=3",
             {
                 {"time.cycles", kTime},
                 {"time.first_access", 3000 + 2302},
                 {"time.vcpus", kTime},
                 {"time.accesses", kLatencies},
                 {"time.switches", 3000 + 200},
                 {"time.fences", 100},
                 {"access.total", 4},
                 {"access.reads", 3},
                 {"access.writes", 1},
                 {"latency.mean", kLatencies / 4},
                 {"latency.p50", 2302},
                 {"latency.p90", 2342},
                 {"latency.p99", 2342},
                 {"latency.p99.9", 2342},
                 {"latency.max", 2342},
                 {"latency.sum", kLatencies},
                 {"latency.translation", 7 + 170},
                 {"latency.guest", 3 * (1000 + 1200) + 50 + 70 + 50},
                 {"latency.data", 40},
                 {"walk.count", 7},
                 {"walk.count.reads", 5},
                 {"walk.count.writes", 2},
                 {"walk.faults", 3},
                 {"walk.references", 1 + 3 + 3 + 3 + 3 + 1 + 3},
                 {"walk.references_mean", 17. / 7},
                 {"walk.cycles_mean", 170. / 7},
                 {"translation.cycles", 7 + 170},
                 {"translation.tlbs", 7},
                 {"translation.walks", 170},
                 {"reference.guest2.memory", 7},
                 {"reference.guest2.memory.cycles", 70},
                 {"reference.guest1.memory", 5},
                 {"reference.guest1.memory.cycles", 50},
                 {"reference.guest0.memory", 5},
                 {"reference.guest0.memory.cycles", 50},
                 {"cache.memory.served", 4 + 17 + 17},
                 {"cache.memory.data", 4},
                 {"cache.memory.data.cycles", 40},
                 {"cache.memory.walks", 17},
                 {"cache.memory.walks.cycles", 170},
                 {"cache.memory.software", 17},
                 {"cache.memory.software.cycles", 170},
                 {"cache.memory.tables_share", 34. / 38},
                 {"dram.row_empty", 6},
                 {"dram.row_hits", 38 - 6},
                 {"guest.faults", 3},
                 {"guest.switches", 1},
                 {"guest.spaces", 2},
                 {"guest.fences", 1},
                 {"guest.table_frames", 7 + 2 + 2 + 2},
                 {"guest.bytes_zeroed", (13 + 3) * 0x1000},
                 {"guest.cycles", 200 + 200 + 3 * 1000 + 16 * 400 + 170},
                 {"guest.cycles.handler", 200 + 200 + 3 * 1000},
                 {"guest.cycles.zeroing", 16 * 400},
                 {"guest.cycles.tables", 50 + 70 + 50},
                 {"engine.entries_read", 2 + 6 + 2},
                 {"engine.entries_written", 3 + 1 + 3},
             });
}

// As many levels as a walk reads. The guest has three, and one page that its kernel does not know
// yet: a walk that stops at the root's entry, then one to the data. Nothing caches tables, so each
// entry of the guest costs n entries of the hypervisor and itself, and the data n more:
// (n + 1) + (3 * (n + 1) + n). The kernel writes zeros to twelve frames, each found by a walk of
// the hypervisor's tables: seven for its stock, of which the tables of both halves take four; four
// more then, and the page.
TEST_F(ByHand, AArch64LevelsAreThoseThatAWalkReads) {
  begin(Architecture::AArch64, Mode::User, 1);
  access(0, AccessKind::Read, 0x40000000);
  finish();
  for (const int n : {2, 3, 4}) {
    const Json statistics = statistics_of(
        "t.nwt",
        "--set guest.levels=3 --set hypervisor.backing=eager --set hypervisor.hardware_dirty=false "
        "--set hypervisor.levels=" +
            std::to_string(n));
    EXPECT_EQ(statistics["walk.references"], 12 * n + (n + 1) + (3 * (n + 1) + n)) << n;
  }
}

// What two levels reach: 34 bits. Memory beyond that is refused, not given a level more.
TEST_F(ByHand, AArch64LevelsThatDoNotReachOverTheMemoryAreRefused) {
  begin(Architecture::AArch64, Mode::GuestPhysical, 1);
  access(0, AccessKind::Read, 0x4'0000'0000);
  finish();
  const std::string command = "nestwalk run -p machine.json --set guest.memory=17G t.nwt 2>&1 ";
  const Result refused = run(command + "--set hypervisor.levels=2");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.output, testing::HasSubstr("host tables with 2 levels do not reach over a "
                                                 "guest of 18253611008 bytes"));
  EXPECT_EQ(run(command + "--set hypervisor.levels=3 >out").exit_code, 0);
}

// A guest of 64 MiB, whose kernel has as much for itself. It writes once to each of n pages.
//
// Eager, before it runs: of 32768 pages each an entry written, in a table that is new and so not
// read, a frame, zeroed: 510; of the 64 tables of pages, and of those of levels 1 and 2, the entry
// above, read and written, and a frame, zeroed: 520 each; and for the second of two parts of 64 MiB
// the way through them: 20.
//
// Lazy, for each frame that the guest touches: 1, four levels 40; 500, 1000; in the engine 520 as
// above; 500: 2561. Where the table of pages is missing, too: three levels, three entries read, a
// table and another entry, 520 more in all; and the second
// fault there goes down four levels, since it is then that the engine remembers the way: 30. For
// the first of all, the kernel's: one level, one entry read, three tables: 1500 more.
//
// Frames are n and those of the kernel's tables: a stock of seven, of which the first space takes
// two and its first page three; each region of 2 MiB after the first takes one more. What was taken
// comes back to the stock with the next fault.
TEST_F(ByHand, BreakEvenIsWhereTheExitsCostWhatEagerMemoryDoes) {
  make_machine("x86-64");
  constexpr i64 kEager = 32768 * 510 + (64 + 2) * 520 + 20;
  const auto exits = [](i64 pages) {
    const i64 regions = (pages + 511) / 512;
    const i64 complete = (pages + 510) / 512;  // with a second page
    const i64 frames = pages + 7 + 2 + (pages > 1 ? 3 : 0) + (complete > 1 ? complete - 1 : 0);
    return 2561 * frames + 520 * regions + 30 * (complete + 1) + 1500;
  };
  const Result result =
      run("nestwalk compare --break-even -p machine.json --set guest.memory=64M "
          "--set hypervisor.hardware_dirty=false --format json 2>&1");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Json found = Json::parse(result.output);
  EXPECT_EQ(found["policies"], (Json{"lazy", "eager"}));
  EXPECT_EQ(found["memory_pages"], 16384);
  for (const Json& point : found["points"]) {
    const i64 pages = point["pages"];
    EXPECT_EQ(point["cycles"][0].get<i64>() - point["cycles"][1].get<i64>(), exits(pages) - kEager)
        << pages;
  }
  i64 exact = 1;
  while (exits(exact) <= kEager) ++exact;
  // To a thousandth of the memory: 16 pages.
  EXPECT_GE(found["break_even_pages"].get<i64>(), exact);
  EXPECT_LT(found["break_even_pages"].get<i64>(), exact + 16);
}

TEST_F(ByHand, BreakEvenSaysWhatItNeedsAndWhenThereIsNone) {
  make_machine("x86-64");
  // 2 MiB for the guest and 64 for its kernel: exits for 512 pages cost less than those 66.
  const Result none = run("nestwalk compare --break-even -p machine.json --set guest.memory=2M");
  EXPECT_THAT(none.output,
              testing::HasSubstr("\nlazy costs less, or the same, however much is touched\n"));
  expect("nestwalk compare -p simple --break-even", 2,
         "nestwalk compare: --break-even needs the guest's memory: --set guest.memory=256M\n");
  expect("nestwalk compare -p simple --break-even t.nwt", 2,
         "nestwalk compare: --break-even makes its own traces\n");
  expect("nestwalk compare -p simple --break-even --set guest.memory=2M --policy lazy", 2,
         "nestwalk compare: --break-even takes two policies on one preset, or one policy on two\n");
  expect("nestwalk compare", 2, "nestwalk compare: traces, or directories of runs\n");
}

}  // namespace
}  // namespace nestwalk::sim::by_hand_test
