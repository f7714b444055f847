// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// vCPUs that share cores, guests that share VMIDs, vCPUs in the order of their trace, and what the
// hypervisor does by the clock: derived by hand.

#include "by_hand.hpp"

namespace nestwalk::sim::sharing_test {
namespace {

// Without accessed flags, which the first walk would have to set.
constexpr const char* kLinear =
    "--set hypervisor.backing=linear --set hypervisor.hardware_dirty=false ";

class Sharing : public ByHand {
 protected:
  void expect_values(const Json& statistics, const Values& expected) {
    for (const auto& [name, value] : expected) {
      EXPECT_DOUBLE_EQ(statistics.value(name, -1.0), value) << name;
    }
  }
  /// A guest that reads a page of its own, each time after 60 instructions.
  void guest(Architecture architecture, const std::string& name, u32 reads) {
    begin(architecture, Mode::GuestPhysical, 1, name);
    for (u32 n = 0; n < reads; ++n) access(0, AccessKind::Read, 0x5000, 60);
    finish();
  }
};

// Two vCPUs on one core, a slice of 100. Linear memory has leaves of 2M: a read of a page is 1 in
// the TLB, 30 for the three levels and 10. An INVVPID of 100 before each entry after the other vCPU
// lets every read walk.
//
//     0  the first one: 60 instructions, 41
//   101  its slice is over: 500 to leave, 2000 for the switch
//  2601  the second one enters, 100 and 500, and its slice begins: 60, 41
//  3302  leaves: 2500
//  5802  the first one enters, 600: 60, 41
//  6503  leaves: 2500
//  9003  the second one enters, 600: 60, 41
//  9704  leaves: 2500
// 12204  the first one enters, 600: 60, 41
// 12905  its end; the second one enters, 600: 60, 41
// 13606  its end
TEST_F(Sharing, AVcpuGivesUpItsCoreAfterItsSlice) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 2);
  for (int n = 0; n < 3; ++n) {
    access(0, AccessKind::Read, 0x5000, 60);
    access(1, AccessKind::Read, 0x205000, 60);
  }
  finish();
  const Json run =
      statistics_of("t.nwt", std::string(kLinear) + "--set host.cores=1 --set host.time_slice=100");
  const double begin = run["time.begin"];
  expect_values(run, {{"time.cycles", begin + 13606},
                      {"time.instructions", 6 * 60},
                      {"time.accesses", 6 * 41},
                      {"time.scheduling", 4 * 2500 + 5 * (100 + 500)},
                      {"time.waiting", 2601 + 3 * (5802 - 2601) + (12905 - 12204)},
                      {"host.departures", 4},
                      {"host.cycles.exit", 2000},
                      {"host.cycles.handler", 8000},
                      {"host.cycles.entry", 2500},
                      {"host.cycles.fences", 500},
                      {"host.vmid_rollovers", 0},
                      {"fence.entries", 5},
                      {"walk.count", 6}});
}

// On AMD each has its own ASID: nothing is fenced, and each walks once.
TEST_F(Sharing, VcpusWithTagsOfTheirOwnKeepWhatTheyHave) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 2);
  for (int n = 0; n < 3; ++n) {
    access(0, AccessKind::Read, 0x5000, 60);
    access(1, AccessKind::Read, 0x205000, 60);
  }
  finish();
  const std::string options = std::string(kLinear) +
                              "--set machine.extension=svm --set host.cores=1 "
                              "--set host.time_slice=50 ";
  const Json own = statistics_of("t.nwt", options);
  expect_values(own, {{"time.scheduling", 4 * 2500 + 5 * 500},
                      {"host.departures", 4},
                      {"host.cycles.fences", 0},
                      {"fence.entries", 0},
                      {"walk.count", 2}});
  const Json shared = statistics_of("t.nwt", options + "--set host.vmids_of=guests");
  expect_values(shared, {{"fence.entries", 5}, {"walk.count", 6}});
  // One ASID for two of them: each takes the other's, and flushes what is cached under it.
  expect("nestwalk run t.nwt -p machine.json --set host.vmids_of=vcpus", 2,
         "host.vmids_of is vcpus, which is not supported yet for vmx\n");
}

// ASIDs 1 to 4, one vCPU. It begins under 1, and each of ten zaps, between which it touches what
// was taken away, gives it another: 2, 3, 4; then none is left, and with TLB_CONTROL 1 it has 1
// again; 2, 3, 4; the eighth one does the same; 2, 3. Of the twelve fences two flush.
TEST_F(Sharing, AFreshAsidInsteadOfAFlush) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 1);
  for (int n = 0; n < 30; ++n) access(0, AccessKind::Write, 0x5000, 40'000);
  finish();
  const std::string schedule =
      R"(--set machine.extension=svm --set 'hypervisor.schedule=[{"operation":"zap","at":150000,)"
      R"("every":100000,"times":10,"gpa":"0x5000","bytes":"4K"}]' --set host.vmids=4 )";
  const Json fresh = statistics_of("t.nwt", schedule + "--set hypervisor.fences=fresh-vmid");
  expect_values(
      fresh,
      {{"operation.zap", 10}, {"fence.zap", 10}, {"host.vmid_rollovers", 2}, {"fence.entries", 2}});
  const Json flushed = statistics_of("t.nwt", schedule);
  expect_values(flushed, {{"fence.zap", 10}, {"host.vmid_rollovers", 0}, {"fence.entries", 0}});
  // A flush takes 100 cycles on this machine.
  const double cycles = flushed["operation.cycles.fences"];
  EXPECT_EQ(cycles, 10 * 100);
  EXPECT_EQ(fresh["operation.cycles.fences"], 2 * 100);
  expect("nestwalk run t.nwt -p machine.json --set hypervisor.fences=fresh-vmid", 2,
         "hypervisor.fences is fresh-vmid, which needs host.vmids_of=vcpus\n");
}

constexpr std::pair<const char*, const char*> kCoresAndAsids[] = {
    {"1", "2"}, {"2", "3"},
#ifndef NESTWALK_SANITIZED
    {"1", "8"}, {"2", "2"}, {"3", "8"}, {"4", "3"},
#endif
};
// Fences that come while a core is on its way in: the entry is long, and interrupts are fast.
TEST_F(Sharing, AnAsidThatIsReplacedOnTheWayInIsNotUsed) {
  for (const char* const machine :
       {"",
        "--set machine.software.entry_cycles=20000 "
        "--set machine.fence.ipi_cycles=10 ",
        "--set host.vmids=3 --set host.cores=2 --set host.time_slice=100"}) {
    const Result result =
        run(std::string("nestwalk check --storm -p zen4 --policy fresh-vmid vcpus=4 "
                        "accesses=1500 bytes=256K period=10 burst=8 seed=1 ") +
            machine + " | tail -1");
    EXPECT_THAT(result.output, testing::HasSubstr("nothing")) << machine;
  }
}

// A flush is of the ASID that runs; the other vCPUs of the guest owe theirs until they enter.
TEST_F(Sharing, TagsOfVcpusAreFlushedBeforeTheyAreUsedAgain) {
  ASSERT_EQ(run("nestwalk trace gen smp vcpus=4 accesses=1500 bytes=1M -o s.nwt").exit_code, 0);
  const auto check = [&](const std::string& options) {
    return run(
        R"(nestwalk check -p zen4 --set core.kind=in-order s.nwt --set host.time_slice=50000)" +
        options + R"( --set 'hypervisor.schedule=[{"operation":"zap","at":100000,"every":100000,)" +
        R"("times":10,"gpa":0,"bytes":"2M"}]' | tail -1)");
  };
  for (const char* const policy : {"precise", "fresh-vmid"}) {
    for (const auto& [cores, asids] : kCoresAndAsids) {
      const std::string host = std::string(" --set host.cores=") + cores +
                               " --set host.vmids=" + asids + " --policy " + policy;
      EXPECT_THAT(check(host).output, testing::HasSubstr("nothing")) << host;
      for (const char* const left_out : {"1", "2", "7"}) {
        EXPECT_THAT(
            check(host + " --set hypervisor.drop_fence=" + left_out).output,
            testing::AnyOf(testing::HasSubstr("use after free"), testing::HasSubstr("tag reused")))
            << host << " without " << left_out;
      }
    }
  }
}

// The same on two cores, each for itself; the second one later, so that they do not meet in memory.
TEST_F(Sharing, VcpusWithCoresOfTheirOwnDoNotWait) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 2);
  for (int n = 0; n < 3; ++n) {
    access(0, AccessKind::Read, 0x5000, 60);
    access(1, AccessKind::Read, 0x205000, n == 0 ? 1060 : 60);
  }
  finish();
  const Json run = statistics_of("t.nwt", std::string(kLinear) + "--set host.time_slice=100");
  const double begin = run["time.begin"];
  expect_values(run, {{"time.cycles", begin + 1000 + 3 * 60 + 41 + 11 + 11},
                      {"time.scheduling", 0},
                      {"time.waiting", 0},
                      {"host.departures", 0}});
}

// Three guests take turns on a core, four reads each, a read a turn: 12 arrivals. There are two
// VMIDs, and each guest comes back after two others: it has lost its own each time. Of the arrivals
// every second one finds none left: 6 rollovers. After one nothing is cached of anybody, so each
// turn walks; RISC-V removes a guest's own translations under its new VMID when it arrives, too.
// With three VMIDs, each guest walks once. AMD's ASIDs are the vCPUs', and the third one gets one
// when it arrives, not at the start: from there on every second arrival finds none, 5 of 12.
TEST_F(Sharing, VmidsRollOverWhereThereAreMoreGuests) {
  const struct {
    Architecture architecture;
    double fences;
    double rollovers = 6;
    const char* machine = "";
  } kRows[] = {{Architecture::X86_64, 6},
               {Architecture::X86_64, 5, 5, "--set machine.extension=svm "},
               {Architecture::AArch64, 6},
               {Architecture::RiscV64, 6 + 12}};
  for (const auto& row : kRows) {
    for (const char* const name : {"a.nwt", "b.nwt", "c.nwt"}) guest(row.architecture, name, 4);
    const std::string host =
        kLinear + std::string(row.machine) + "--set host.cores=1 --set host.time_slice=1 ";
    const Json shared = statistics_of("a.nwt b.nwt c.nwt", host + "--set host.vmids=2");
    expect_values(shared, {{"access.total", 12},
                           {"host.vmid_rollovers", row.rollovers},
                           {"fence.entries", row.fences},
                           {"walk.count", 12},
                           {"fence.interrupts", 0}});
    const Json own = statistics_of("a.nwt b.nwt c.nwt", host);
    expect_values(own, {{"host.vmid_rollovers", 0}, {"fence.entries", 0}, {"walk.count", 3}});
    // Every guest tells of itself: of the core's MMU, what was its own.
    for (const char* const vm : {"vm0.", "vm1.", "vm2."}) {
      EXPECT_EQ(own[std::string(vm) + "walk.count"], 1) << vm;
      EXPECT_EQ(own[std::string(vm) + "tlb.first_hits"], 3) << vm;
      EXPECT_EQ(shared[std::string(vm) + "walk.count"], 4) << vm;
    }
  }
}

// Without VMIDs, each of the twelve arrivals fences all of the second stage and, as under a new
// VMID, the guest's own translations. No number is taken from anybody.
TEST_F(Sharing, WithoutVmidsEachArrivalFencesAll) {
  for (const char* const name : {"a.nwt", "b.nwt", "c.nwt"}) guest(Architecture::RiscV64, name, 4);
  const Json run =
      statistics_of("a.nwt b.nwt c.nwt", std::string(kLinear) +
                                             "--set host.cores=1 --set host.time_slice=1 "
                                             "--set machine.tags.vmid_bits=0");
  expect_values(run, {{"access.total", 12},
                      {"host.vmid_rollovers", 0},
                      {"fence.entries", 2 * 12},
                      {"walk.count", 12}});
}

TEST_F(Sharing, MoreVmidsThanTheMachineHasAreRefused) {
  guest(Architecture::AArch64, "a.nwt", 4);
  expect(
      "nestwalk run a.nwt -p machine.json --set machine.tags.vmid_bits=8 --set host.vmids=256", 2,
      "host.vmids is 256, but the machine has 8 bits for them (tags.vmid_bits): expected at most "
      "255\n");
}

// Two cores, three guests of which the first has a core for itself: what takes the VMIDs back
// reaches that core, too, where an x86 guest is interrupted for it, and a broadcast is not noticed.
TEST_F(Sharing, ARolloverReachesCoresWhereOthersRun) {
  for (const Architecture architecture : {Architecture::X86_64, Architecture::AArch64}) {
    guest(architecture, "a.nwt", 400);
    guest(architecture, "b.nwt", 4);
    guest(architecture, "c.nwt", 4);
    guest(architecture, "d.nwt", 4);
    // vCPUs 0 and 2 on core 0, 1 and 3 on core 1; the VMIDs are for four guests less one.
    const Json run = statistics_of(
        "a.nwt b.nwt c.nwt d.nwt",
        std::string(kLinear) + "--set host.cores=2 --set host.time_slice=1 --set host.vmids=3");
    EXPECT_GT(run["host.vmid_rollovers"].get<double>(), 0);
    EXPECT_EQ(run["fence.interrupts"].get<double>() > 0, architecture == Architecture::X86_64);
    EXPECT_EQ(run["access.total"], 412);
  }
}

// The trace says: the second one begins when the first has done 1000 instructions, and the first
// goes on when the second has done 1000.
//
//     0  the first: 500, 41, 500, 11
//  1052  it comes to 2000; the second is at 1000, and goes on: 700, 41
//  1793  the second's next record is at 2050, so the first goes on: 11
//  1804  its end; meanwhile the second: 350, 11
//  2154  its end
//
// As they come, the second one is the last, after 700, 41, 350, 11.
TEST_F(Sharing, VcpusKeepTheOrderOfTheTrace) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 2);
  access(0, AccessKind::Read, 0x5000, 500);
  access(0, AccessKind::Read, 0x5000, 500);
  event(0, TimeSync{2000});
  access(0, AccessKind::Read, 0x5000);
  event(1, TimeSync{1000});
  access(1, AccessKind::Read, 0x205000, 700);
  access(1, AccessKind::Read, 0x205000, 350);
  finish();
  const Json run = statistics_of("t.nwt", kLinear);
  const double begin = run["time.begin"];
  expect_values(run, {{"time.cycles", begin + 2154}, {"time.ordered", 1052 + (1793 - 1052)}});

  // With a window, instructions go on meanwhile: the first comes to 2000 when its second access,
  // from 1000 to 1011, is over; the second's next record is at 2050 when its first access begins,
  // at 1711.
  const Json window =
      statistics_of("t.nwt", std::string(kLinear) +
                                 "--set core.kind=out-of-order --set core.window=1024 "
                                 "--set core.load_queue=8");
  expect_values(window, {{"time.ordered", 1011 + (1711 - 1011)}});

  const Json free = statistics_of("t.nwt", std::string(kLinear) + "--set vcpu.order=free");
  expect_values(free, {{"time.cycles", begin + 1102}, {"time.ordered", 0}});

  // On one core, who waits gives it up: the first one at 2000, 2500 to leave, and 500 to come back
  // when the second one has ended.
  const Json shared = statistics_of("t.nwt", std::string(kLinear) + "--set host.cores=1");
  expect_values(shared, {{"host.departures", 1}, {"time.scheduling", 2500 + 2 * (100 + 500)}});
}

// As above, with an operation every 5000 cycles on the first one: 500 to exit and 500 to enter
// alone are more than its slice, and it is away for more than 5000. So each time that it comes to
// its core something is due, which takes the slice. It plays one read all the same, then leaves;
// the second one, whose reads but the first take 71, plays one in its first turn, two in its
// second. Then the first has ended: each has left twice.
TEST_F(Sharing, AVcpuPlaysARecordBeforeItLeavesAgain) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 2);
  for (int n = 0; n < 40; ++n) {
    if (n < 3) access(0, AccessKind::Read, 0x5000, 60);
    access(1, AccessKind::Read, 0x205000, 60);
  }
  finish();
  const Json run = statistics_of(
      "t.nwt", std::string(kLinear) +
                   "--set host.cores=1 --set host.time_slice=100 --set 'hypervisor.schedule=["
                   R"({"operation":"log_stop","at":1,"every":5000,"times":1000000}]')");
  EXPECT_EQ(run["access.total"], 43);
  EXPECT_EQ(run["host.departures"], 4);
}

// vCPUs 0 and 2 share a core, and vCPU 2 has ended long since when vCPU 0 leaves it to wait for
// vCPU 1. That one moves on while vCPU 0 is still leaving: nobody else wants the core, so it has it
// again.
TEST_F(Sharing, WhoLeavesACoreThatNobodyWantsHasItAgain) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 3);
  access(2, AccessKind::Read, 0x7000, 1);
  for (u64 n = 1; n <= 20; ++n) {
    event(0, TimeSync{n});
    access(0, AccessKind::Read, 0x5000, 1);
    event(1, TimeSync{n});
    access(1, AccessKind::Read, 0x6000, 1);
  }
  finish();
  const Json run = statistics_of("t.nwt", "--set host.cores=2");
  EXPECT_EQ(run["access.total"], 41);
}

// Three vCPUs read one address, each with another page there. A walk through memory alone takes
// longer than the kernel, which has caches, to put another page there: the page is taken from
// whoever comes to it, before that has its translation.
TEST_F(Sharing, VcpusThatTakeAPageFromEachOtherForEverAreTold) {
  std::ofstream csv(folder() / "t.csv");
  csv << "kind,gva,gpa,vcpu,instructions\n";
  for (int n = 0; n < 3; ++n) {
    for (int vcpu = 0; vcpu < 3; ++vcpu) {
      csv << "read,0x10000000,0x100" << vcpu << "000," << vcpu << ",1\n";
    }
  }
  csv.close();
  EXPECT_EQ(run("nestwalk trace import -f csv t.csv --architecture x86_64 -o t.nwt").exit_code, 0);
  const std::string command =
      "nestwalk run -p simple --set guest.memory=64M t.nwt "
      "--set machine.walker.enters_at=memory --set vcpu.order=free "
      "--set machine.memory.controller_ps=3000000";
  const Result result = run(command + " 2>&1 >out");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.output, testing::HasSubstr("name another page at its address"));
}

// A trace without an order has none that could be kept.
TEST_F(Sharing, NobodyWaitsWhereTheTraceKnowsNoOrder) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 2);
  access(0, AccessKind::Read, 0x5000, 500);
  access(1, AccessKind::Read, 0x205000, 700);
  finish();
  expect_values(statistics_of("t.nwt", kLinear), {{"time.ordered", 0}});
}

// A write each 111 cycles, to eight pages in turn, for more than 330,000 cycles: what is due in
// between is made before the next record. Only how often, and what it finds, is asked.
TEST_F(Sharing, AScheduleIsKeptWhateverTheGuestDoes) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 1);
  for (u64 n = 0; n < 3000; ++n) access(0, AccessKind::Write, n % 8 * 0x1000, 100);
  finish();
  std::ofstream(folder() / "schedule.json") << R"({"hypervisor": {"schedule": [
    {"operation": "log_start", "at": 30000},
    {"operation": "log_harvest", "at": 100000, "every": 50000, "times": 3},
    {"operation": "zap", "at": 120000, "gpa": "0x3000", "bytes": "4K"},
    {"operation": "log_harvest", "at": "100M"}]}})";
  // Lazy memory, so that a zapped page comes back with one exit: 8 + 1 faults besides those of the
  // log. Each harvest finds the 8 pages; the one that never comes is due after the end.
  const Json run =
      statistics_of("t.nwt", "--config schedule.json --set hypervisor.hardware_dirty=false");
  expect_values(run, {{"operation.log_start", 1},
                      {"operation.log_harvest", 3},
                      {"operation.zap", 1},
                      {"operation.refused", 0},
                      {"operation.bytes_dirty", 3 * 8 * 4096},
                      {"exit.mapped", 9}});
}

TEST_F(Sharing, AScheduleThatMakesNoSenseIsOneLine) {
  begin(Architecture::X86_64, Mode::GuestPhysical, 1);
  access(0, AccessKind::Read, 0x5000);
  finish();
  const auto refused = [&](const std::string& row, const std::string& message) {
    std::ofstream(folder() / "s.json") << R"({"hypervisor": {"schedule": [)" << row << "]}}";
    expect("nestwalk run t.nwt -p machine.json --config s.json", 2, message + "\n");
  };
  const std::string where = "hypervisor.schedule.0";
  refused(R"({"operation": "zapp", "at": 1})",
          where + ".operation: expected an operation, found zapp; did you mean zap?");
  refused(R"({"operation": "zap", "at": 1, "gpa": 0})",
          where + ": expected a size as bytes, found none");
  refused(R"({"operation": "zap"})", where + ": expected cycles as at, found none");
  refused(R"({"operation": "log_stop", "at": 1, "gpas": 0})",
          where + ": expected a key, found gpas; did you mean gpa?");
  refused(R"({"operation": "log_stop", "at": 1, "times": 3})",
          where + ": expected cycles as every, found none");
  refused("7", where + ": expected an object, found 7");
}

// What one hypervisor frees, another one's guest has at once, while the first still clears tables
// there.
TEST_F(Sharing, GuestsThatPassFramesToEachOtherKeepTheirTables) {
  run("nestwalk trace gen random accesses=3000 bytes=1M -o r.nwt");
  run("nestwalk trace gen storm vcpus=2 accesses=800 bytes=256K period=50 burst=8 -o s.nwt");
  run("nestwalk trace gen smp vcpus=3 accesses=800 bytes=64K shared=32K -o p.nwt");
  for (const int at : {9000, 10000, 11000, 20000}) {
    const Result result = run(
        R"(nestwalk run -p zen4 r.nwt s.nwt p.nwt --set 'hypervisor.schedule=[
          {"operation":"zap","at":)" +
        std::to_string(at) + R"(,"every":500,"times":20,"gpa":"0x40000000","bytes":"2M"},
          {"operation":"deflate","at":10000,"every":50,"times":20,"gpa":0,"bytes":"2M"},
          {"operation":"map","at":10000,"gpa":4096,"bytes":"4M"}]' 2>&1 >out)");
    EXPECT_EQ(result.exit_code, 0) << at << ": " << result.output;
  }
}

// Each of two guests has an operation of some 2600 cycles every 3000: alone on the core, it can do
// them; together they wait longer for each other each turn.
TEST_F(Sharing, SchedulesThatTogetherTakeMoreThanACoreAreTold) {
  for (const char* const seed : {"1", "2"}) {
    ASSERT_EQ(run(std::string("nestwalk trace gen zipf accesses=6000 bytes=2M seed=") + seed +
                  " -o z" + seed + ".nwt")
                  .exit_code,
              0);
  }
  const std::string schedule =
      " -p zen4 --set host.cores=1 --set host.time_slice=1000000 --set 'hypervisor.schedule=[{"
      R"("operation":"inflate","at":1000,"every":3000,"gpa":0,"bytes":"2M"}]' 2>&1 >/dev/null)";
  const Result result = run("nestwalk run z1.nwt z2.nwt" + schedule);
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(
      result.output,
      testing::HasSubstr("the schedule's inflate every 3000 cycles takes longer than that, so "
                         "the guest never goes on"));
}

TEST_F(Sharing, TooFewVmidsForTheCoresAreRefused) {
  for (const char* const name : {"a.nwt", "b.nwt", "c.nwt"}) guest(Architecture::X86_64, name, 1);
  expect("nestwalk run a.nwt b.nwt c.nwt -p machine.json --set host.vmids=2", 2,
         "host.vmids is 2, but 3 cores run as many guests at once\n");
}

// Three guests on one core under two VMIDs: each takes over what another one had. Without one of
// the fences for that, a guest runs with another's translations: its kernel finds memory that it
// does not have, or its new pages are never seen. Whatever comes of it, it is said why.
TEST_F(Sharing, AFenceForAVmidThatIsLeftOutEndsTheRunAndIsNamed) {
  for (const char* const seed : {"1", "2", "3"}) {
    ASSERT_EQ(run(std::string("nestwalk trace gen random accesses=2000 bytes=1M seed=") + seed +
                  " -o g" + seed + ".nwt")
                  .exit_code,
              0);
  }
  unsigned ended = 0;
  for (const char* const left_out : {"1", "2", "3", "4", "5"}) {
    const Result result = run(std::string("nestwalk run g1.nwt g2.nwt g3.nwt -p cortex-a76 --set "
                                          "guest.memory=64M --set host.cores=1 --set host.vmids=2 "
                                          "--set host.time_slice=1000 --set "
                                          "hypervisor.drop_fence=") +
                              left_out + " 2>&1 >/dev/null");
    EXPECT_THAT(result.exit_code, testing::AnyOf(0, 5)) << result.output;
    EXPECT_THAT(result.output, testing::Not(testing::HasSubstr("other vCPUs")));
    if (result.exit_code != 5) continue;
    ++ended;
    EXPECT_THAT(result.output, testing::AllOf(testing::HasSubstr("stale"),
                                              testing::HasSubstr("a fence was left out, as "
                                                                 "hypervisor.drop_fence says")));
  }
  EXPECT_GE(ended, 2u);
}

// As above, with no order between the records: where the trace's order is kept already, to keep it
// is no advice.
TEST_F(Sharing, VcpusWithoutOrderBetweenThemAreNotToldToKeepIt) {
  Header header;
  header.architecture = Architecture::X86_64;
  header.mode = Mode::FullSystem;
  header.vcpus = 3;
  const auto sink = create_sink((folder() / "t.nwt").string());
  Writer writer(*sink, header);
  for (u32 n = 0; n < 9; ++n) {
    writer.append(n % 3, Access{Gva(0x1000'0000),
                                Gpa(0x10'0000 + 0x1000 * (n % 3)),
                                {},
                                1,
                                8,
                                AccessKind::Read,
                                kGvaKnown | kGpaKnown});
  }
  writer.finish();
  const std::string command =
      "nestwalk run t.nwt -p simple --set guest.memory=64M --set machine.walker.enters_at=memory "
      "--set machine.memory.controller_ps=3000000 --set vcpu.order=";
  const Result kept = run(command + "recorded 2>&1 >/dev/null");
  const Result free = run(command + "free 2>&1 >/dev/null");
  for (const Result& each : {kept, free}) {
    EXPECT_EQ(each.exit_code, 5);
    EXPECT_THAT(each.output, testing::HasSubstr("other vCPUs' records name another page"));
  }
  EXPECT_THAT(kept.output, testing::Not(testing::HasSubstr("vcpu.order=recorded")));
  EXPECT_THAT(free.output, testing::HasSubstr("vcpu.order=recorded keeps them apart"));
}

}  // namespace
}  // namespace nestwalk::sim::sharing_test
