// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk run` as a user runs it.

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "nestwalk/traces/writer.hpp"
#include "program.hpp"

namespace nestwalk::sim::run_test {
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

TEST_F(Run, VcpusWithoutRecordsCostNextToNothing) {
  using namespace traces;
  {
    const auto sink = create_sink((folder() / "t.nwt").string());
    Header header;
    header.vcpus = 4096;
    header.lacks = kNoGpa | kNoHpa;
    Writer writer(*sink, header);
    writer.append(4000, Access{Gva(0x1000), Gpa(), Hpa(), 1, 8, AccessKind::Read, kGvaKnown});
    writer.finish();
  }
  // Seconds of processor time. All vCPUs were looked at for each pair of them once: a minute.
  must("(ulimit -t 20; nestwalk run -p simple t.nwt --set host.cores=1 -o d)");
  EXPECT_EQ(statistics("d")["access.total"], 1);
#ifndef NESTWALK_SANITIZED  // whose shadow takes more than all else
  const Result kibibytes =
      run("python3 -c \"import resource, subprocess; "
          "subprocess.run(['" NESTWALK_PROGRAM
          "', 'run', 't.nwt', '--set', 'host.cores=1'], "
          "stdout=subprocess.DEVNULL); "
          "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\"");
  EXPECT_LT(std::stoi(kibibytes.output), 200'000);
#endif
}

// An address that is none is none, whatever the TLBs have for one that differs only in bits 63:59,
// which they do not know their entries by (Intel SDM vol. 1, "Canonical Addressing"; Arm ARM D8,
// "Input address size"; RISC-V privileged spec, "Virtual Address Translation Process").
TEST_F(Run, RefusesAddressesThatLookLikeCachedOnes) {
  std::ofstream(folder() / "a.csv") << "vcpu,gva,kind\n0,0x1000,write\n"
                                       "0,0x0800000000001000,read\n0,0x8000000000001000,write\n";
  std::ofstream(folder() / "g.csv") << "vcpu,gpa,kind\n0,0x1000,write\n0,0x0800000000001000,read\n";
  for (const auto& [architecture, preset] :
       {std::pair("x86_64", "skylake-sp"), {"aarch64", "cortex-a76"}, {"riscv64", "kunminghu"}}) {
    const std::string from =
        std::string("nestwalk trace import --from csv --architecture ") + architecture + " ";
    must(from + "a.csv -o a.nwt");
    for (const char* const kind : {"in-order", "out-of-order"}) {
      must(std::string("nestwalk run a.nwt --force -o a -p ") + preset +
           " --set core.kind=" + kind);
      EXPECT_EQ(statistics("a")["access.total"], 1) << architecture;
      EXPECT_EQ(statistics("a")["access.untranslatable"], 2) << architecture;
    }
    must(from + "g.csv -o g.nwt");
    must(std::string("nestwalk run g.nwt --force -o g -p ") + preset + " --set guest.tables=none");
    EXPECT_EQ(statistics("g")["access.emulated"], 1) << architecture;
  }
}

// A #GP removes no translation (Intel SDM vol. 3A, "Operations that Invalidate TLBs and
// Paging-Structure Caches": a page fault does), least of all that of another address.
TEST_F(Run, KeepsWhatIsCachedWhenAnAddressIsNone) {
  std::ofstream(folder() / "a.csv") << "kind,gva\nread,0x401000\nread,0x401000\n"
                                       "read,0xf800000000401000\nread,0x401000\nread,0x401000\n";
  must("nestwalk trace import --from csv --architecture x86_64 a.csv -o a.nwt");
  must("nestwalk run a.nwt -p skylake-sp -o a");
  EXPECT_EQ(statistics("a")["tlb.first_hits"], 3);  // all but the first, which faults and walks
}

// A table that the guest makes while the hypervisor takes its page away: it is in the memory that
// the page gets the next time.
TEST_F(Run, KeepsReplayedTablesWhoseMemoryIsTakenAway) {
  must("nestwalk trace merge '" NESTWALK_TRACE_SAMPLES "/x86_64-linux.nwt' '" NESTWALK_TRACE_SAMPLES
       "/x86_64-linux.nwt' -o t.nwt");
  const std::string replay =
      "nestwalk run t.nwt -p simple --set guest.tables=replayed --limit 250000 "
      "--set hypervisor.backing=eager -o a --force ";
  must(replay);
  const std::int64_t begin = statistics("a")["time.begin"];
  const std::int64_t end = statistics("a")["time.cycles"];
  EXPECT_EQ(statistics("a").value("replay.guest_faults", 0), 0);
  // The tables at these addresses are made in the middle of the run.
  for (int part = 0; part < 12; ++part) {
    const std::int64_t at = begin + (end - begin) * (520 + 5 * part) / 1000;
    must(replay + "--set 'hypervisor.schedule=[{\"operation\": \"zap\", \"gpa\": \"0x1a11000\", " +
         "\"bytes\": 16777216, \"at\": " + std::to_string(at) + "}]'");
    EXPECT_EQ(statistics("a").value("replay.guest_faults", 0), 0) << at;
  }
}

// 64 vCPUs play for much longer than the test waits. The second before the signal is at most one of
// processor time, however busy the machine is.
TEST_F(Run, EndsWithinTwoSecondsAfterASignal) {
  must("nestwalk trace gen smp vcpus=64 accesses=200000 -o t.nwt");
  const Result result = run(
      "python3 -c \"import resource, signal, subprocess, time\n"
      "run = subprocess.Popen(['" NESTWALK_PROGRAM
      "', 'run', '-p', 'simple', 't.nwt'], stdout=subprocess.DEVNULL, stderr=open('error', 'w'))\n"
      "time.sleep(1)\n"
      "run.send_signal(signal.SIGINT)\n"
      "run.wait()\n"
      "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
      "print(round((used.ru_utime + used.ru_stime) * 1000))\"");
  EXPECT_THAT(text_of("error"), HasSubstr("interrupted"));
  EXPECT_LT(std::stoi(result.output), 1000 + 2000) << "milliseconds of processor time";
}

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
  std::string title, settings, guesses;
  std::getline(lines, title);
  EXPECT_THAT(title, testing::StartsWith("# t.nwt on zen4: 3.70 GHz, out of order, window "));
  std::getline(lines, settings);
  EXPECT_EQ(settings, "# guest.tables=first-touch, guest.memory=64M, hypervisor.backing=eager");
  std::getline(lines, guesses);
  EXPECT_THAT(guesses, testing::StartsWith("# guesses: "));
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
  must("nestwalk run -p simple t.nwt --set guest.memory=16M --set hypervisor.backing=lazy -o lazy");
  must(
      "nestwalk run -p simple t.nwt --set guest.memory=16M --set hypervisor.backing=eager -o "
      "eager");
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
  must(
      "nestwalk run -p simple t.nwt --set guest.memory=16M --set hypervisor.backing=none -o "
      "native");
  const Json native = statistics("native");
  EXPECT_EQ(native["guest.faults"], 512);
  EXPECT_EQ(native["exit.total"], 0);
  EXPECT_EQ(native["memory.tables"], 0);
  must("printf \"kind,gpa\\nr,1\\n\" | nestwalk trace import --architecture x86_64 -o p.nwt");
  expect("nestwalk run -p simple p.nwt --set hypervisor.backing=none", 2,
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

// Every access arrives where it was recorded, in both stages. On AArch64 and RISC-V the recorded
// guest gives an ASID to another root without a fence: what TLBs may still hold then is told apart.
TEST_F(Run, ReplaysTheTablesOfATrace) {
  const std::string samples = NESTWALK_TRACE_SAMPLES;
  for (const auto& [sample, preset] :
       {std::pair("x86_64", "zen4"), {"aarch64", "cortex-a76"}, {"riscv64", "rocket-h"}}) {
    must("nestwalk run " + samples + "/" + sample + "-nested.nwt -p " + preset + " -o " + sample +
         " --set guest.tables=replayed --set hypervisor.backing=replayed");
    const Json values = statistics(sample);
    const unsigned stale = values["replay.stale"];
    const unsigned total = values["access.total"];
    if (std::string(sample) == "x86_64") {
      EXPECT_EQ(stale, 0u);
    }
    EXPECT_LT(stale, total / 100);
    EXPECT_EQ(values["replay.agreed"], total - stale) << sample;
    EXPECT_EQ(values["access.untranslatable"], 0) << sample;
    EXPECT_EQ(values["exit.total"], 0) << sample;
  }
  // The engine under the guest's own tables: what differs is when memory is there.
  for (const std::string backing : {"lazy", "eager"}) {
    must("nestwalk run " + samples + "/riscv64-linux.nwt -p rocket-h -o " + backing +
         " --set guest.tables=replayed --set hypervisor.backing=" + backing);
    const Json values = statistics(backing);
    EXPECT_EQ(values["replay.agreed"], values["access.total"]);
    EXPECT_EQ(values["exit.total"] == 0, backing == "eager");
  }
  expect("nestwalk run " + samples + "/x86_64-nested.nwt -p rocket-h --set guest.tables=replayed",
         2, "guest.tables is replayed, but the trace is not of the machine's architecture\n");
  expect("nestwalk run " + samples +
             "/x86_64-linux.nwt -p zen4 --set guest.tables=replayed "
             "--set hypervisor.backing=replayed",
         2, "hypervisor.backing is replayed, but the trace has no second stage\n");
  must("nestwalk trace gen random accesses=10 -o t.nwt");
  EXPECT_EQ(run("nestwalk run -p simple t.nwt --set guest.tables=replayed").exit_code, 2);
}

// SystemC counts time in 64 bits: 2^62 picoseconds are kept of it. Nine times 2^40 instructions, at
// 1000 cycles of 1 ns for each, are 9.9e18 ps: too many.
TEST_F(Run, EndsEarlyWhenSimulatedTimeDoes) {
  using namespace traces;
  {
    const auto sink = create_sink((folder() / "t.nwt").string());
    Header header;
    header.lacks = kNoGpa | kNoHpa;
    Writer writer(*sink, header);
    for (u64 n = 0; n < 9; ++n) writer.append(0, Event{u64{1} << 40, PhaseMarker{n, ""}});
    writer.append(0, Access{Gva(0x1000), Gpa(), Hpa(), 1, 8, AccessKind::Read, kGvaKnown});
    writer.finish();
  }
  const Result result = run("timeout 60 '" NESTWALK_PROGRAM
                            "' run -p simple t.nwt --set "
                            "machine.software.instructions_per_1000_cycles=1 -o d 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.output,
            "nestwalk: the run ended early: the simulated time is over: it is 4611686018427387 "
            "cycles at most\n");
  EXPECT_EQ(json_of("d/run.json")["complete"], false);
}

// RAM of 64 TiB, as a header may say, is no memory of the simulator until somebody takes it.
TEST_F(Run, MemoryOfTheGuestCostsWhatIsTaken) {
  must("nestwalk trace gen random accesses=20 -o t.nwt");
  for (const char* const placement : {"linear", "random"}) {
    must(std::string("(ulimit -t 20; nestwalk run -p simple t.nwt --set guest.memory=64T "
                     "--set hypervisor.mmio=1M+1M --set guest.placement=") +
         placement + " -o d --force)");
#ifndef NESTWALK_SANITIZED
    const Result kibibytes = run(std::string("python3 -c \"import resource, subprocess; "
                                             "subprocess.run(['" NESTWALK_PROGRAM
                                             "', 'run', 't.nwt', '--set', 'guest.memory=64T', "
                                             "'--set', 'guest.placement=") +
                                 placement +
                                 "'], stdout=subprocess.DEVNULL); "
                                 "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\"");
    EXPECT_LT(std::stoi(kibibytes.output), 300'000);
#endif
  }
}

// The guest's kernel has its tables behind the guest's memory, but where no device is: 20 accesses
// to a device there are all emulated. Where only the trace has something, it is the trace that is
// believed.
TEST_F(Run, TheKernelsMemoryIsNoDevices) {
  std::ofstream csv(folder() / "t.csv");
  csv << "vcpu,gva,gpa,kind\n";
  for (unsigned n = 0; n < 20; ++n) {
    csv << "0,0x" << std::hex << 0x7000'0000 + n * 4096 << ",0x" << 0x20'0000 + n * 4096
        << ",read\n";
  }
  csv.close();
  must("nestwalk trace import --from csv --architecture x86_64 t.csv -o t.nwt");
  const std::string run_it = "nestwalk run t.nwt -p zen4 --set guest.memory=2M -o d --force ";
  must(run_it + "--set hypervisor.mmio=0x200000+64M");
  EXPECT_EQ(statistics("d")["access.emulated"], 20);
  const Result result = run(run_it + "2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.output, HasSubstr("the trace accesses what is beyond guest.memory, where the "
                                       "guest kernel's tables are"));
}

// A structure without arrays is none, on every way that accesses are played.
TEST_F(Run, StructuresWithoutArraysTakeNoTime) {
  must("nestwalk trace gen random accesses=5000 bytes=4M -o t.nwt");
  std::ifstream in(NESTWALK_PRESETS "/skylake-sp.json");
  const Json whole = Json::parse(in);
  for (const auto& [group, structure] : {std::pair("tlb", "second"),
                                         {"walker", "guest_walk_cache"},
                                         {"walker", "nested_walk_cache"},
                                         {"walker", "nested_tlb"}}) {
    Json preset = whole;
    ASSERT_EQ(preset[group].erase(structure), 1u);
    std::ofstream(folder() / "without.json") << preset;
    must("nestwalk run t.nwt -p ./without.json -o without --force");
    must(std::string("nestwalk run t.nwt -p skylake-sp -o empty --force --set machine.") + group +
         "." + structure + ".arrays=[]");
    EXPECT_EQ(statistics("without")["time.cycles"], statistics("empty")["time.cycles"])
        << structure;
  }
}

// Two guests side by side: each does what it does alone. (In order: with a window, who fetches a
// line of a shared cache first changes which walks are merged.)
TEST_F(Run, PlaysSeveralGuests) {
  must("nestwalk trace gen sequential bytes=4M accesses=20000 -o a.nwt");
  must("nestwalk trace gen smp vcpus=2 accesses=20000 -o b.nwt");
  must("nestwalk run a.nwt b.nwt -p zen4 --set core.kind=in-order --set guest.memory=64M -o both");
  must("nestwalk run a.nwt -p zen4 --set core.kind=in-order --set guest.memory=64M -o alone");
  const Json both = statistics("both");
  const Json alone = statistics("alone");
  EXPECT_EQ(both["access.total"], 3 * 20000);
  EXPECT_EQ(both["vm0.access.total"], 20000);
  EXPECT_EQ(both["vm1.access.total"], 2 * 20000);
  for (const char* const name : {"guest.faults", "exit.total", "walk.references", "exit.mapped"}) {
    EXPECT_EQ(both[std::string("vm0.") + name], alone[name]) << name;
    EXPECT_EQ(both[name], both[std::string("vm0.") + name].get<unsigned>() +
                              both[std::string("vm1.") + name].get<unsigned>())
        << name;
  }
  EXPECT_EQ(json_of("both/config.resolved.json")["machine"]["cores"][0], 3);
  must("nestwalk run a.nwt b.nwt --config both/config.resolved.json -o again");
  EXPECT_EQ(text_of("both/stats.json"), text_of("again/stats.json"));
}

// What one vCPU counts, of each; where there is one, the whole says it.
TEST_F(Run, SaysWhatEachVcpuDid) {
  must("nestwalk trace gen smp vcpus=3 accesses=2000 bytes=1M -o t.nwt");
  must("nestwalk run t.nwt -p zen4 -o d");
  const Json all = statistics("d");
  for (const char* const name :
       {"access.total", "access.writes", "time.vcpus", "time.waiting", "latency.sum",
        "latency.guest", "tlb.first_hits", "walk.count", "walk.references", "translation.walks"}) {
    std::uint64_t sum = 0;
    for (const char* const vcpu : {"vcpu0.", "vcpu1.", "vcpu2."}) {
      sum += all.at(vcpu + std::string(name)).get<std::uint64_t>();
    }
    EXPECT_EQ(all[name], sum) << name;
  }
  EXPECT_EQ(all["vcpu0.access.total"], 2000);
  std::uint64_t last = 0;
  for (const char* const vcpu : {"vcpu0.", "vcpu1.", "vcpu2."}) {
    last = std::max(last, all.at(std::string(vcpu) + "time.cycles").get<std::uint64_t>());
  }
  EXPECT_EQ(all["time.cycles"], last);
  EXPECT_FALSE(all.contains("vcpu3.access.total"));
  EXPECT_FALSE(all.contains("vcpu0.exit.total"));  // the hypervisor counts those of all
  must("nestwalk gate d --baseline b.json --update");
  EXPECT_EQ(text_of("b.json").find("vcpu0"), std::string::npos);
  must("nestwalk gate d --baseline b.json");
  must("nestwalk trace gen random accesses=100 -o one.nwt");
  must("nestwalk run one.nwt -p zen4 -o one");
  EXPECT_FALSE(statistics("one").contains("vcpu0.access.total"));
}

// Ten accesses of one page that is a device's: each exits, and none is ever cached. One beside it.
TEST_F(Run, ExitsOnEachAccessToADevice) {
  must(
      "echo kind,gva,gpa,size > t.csv; for n in 1 2 3 4 5 6 7 8 9 10; do "
      "echo read,0x7000,0x405000,8 >> t.csv; done; echo write,0x8000,0x406000,8 >> t.csv; "
      "nestwalk trace import --from csv t.csv -o t.nwt");
  must(
      "nestwalk run -p simple t.nwt --set guest.memory=64M --set hypervisor.mmio=0x405000+4K -o a");
  const Json values = statistics("a");
  EXPECT_EQ(values["access.total"], 11);
  EXPECT_EQ(values["access.emulated"], 10);
  EXPECT_EQ(values["exit.no_area"], 10);
  expect("nestwalk run -p simple t.nwt --set hypervisor.mmio=0x405000", 2,
         "--set hypervisor.mmio=0x405000: hypervisor.mmio is \"0x405000\", not a list of "
         "START+SIZE such as 0x80000000+512M\n");
}

// What the trace decides is in the directory: the run can be made again without asking it.
TEST_F(Run, ResolvesTheMemoryOfTheTrace) {
  const std::string sample = std::string(NESTWALK_TRACE_SAMPLES) + "/aarch64-linux.nwt";
  must("nestwalk run " + sample + " -p cortex-a76 --set run.limit=50000 -o a");
  const Json memory = json_of("a/config.resolved.json")["guest"]["memory"];
  ASSERT_TRUE(memory.is_array());
  EXPECT_EQ(memory[0], "1073741824+536870912");  // 512 MiB from 0x40000000
  must("nestwalk run " + sample + " --config a/config.resolved.json -o b");
  EXPECT_EQ(text_of("a/stats.json"), text_of("b/stats.json"));
}

TEST_F(Run, PlaysAllVcpusOfATrace) {
  must("nestwalk trace gen smp vcpus=4 accesses=20000 -o t.nwt");
  must("nestwalk run -p simple t.nwt -o a");
  EXPECT_EQ(statistics("a")["access.total"], 4 * 20000);
  EXPECT_EQ(json_of("a/config.resolved.json")["machine"]["cores"][0], 4);
}

// Accesses that waited for an MSHR and hit, or joined another miss, when they looked again: whoever
// waited behind them has its turn.
TEST_F(Run, PlaysToTheEndWithFewMshrs) {
  must("nestwalk trace gen sequential accesses=1000 -o q.nwt");
  must(
      "nestwalk run q.nwt -p rocket-h --set core.kind=out-of-order --set core.window=18 "
      "--set core.load_queue=18 -o a");
  EXPECT_EQ(statistics("a")["access.total"], 1000);
  must(
      "nestwalk trace gen smp vcpus=32 accesses=300 bytes=4096 shared=4K shared_percent=100 "
      "-o m.nwt");
  must("nestwalk run m.nwt -p zen4 --set machine.caches.l3.mshrs=1 -o b");
  EXPECT_EQ(statistics("b")["access.total"], 32 * 300);
}

TEST_F(Run, SaysHowItWasMade) {
  must("nestwalk trace gen smp vcpus=2 accesses=1000 -o t.nwt");
  must("nestwalk run -p simple t.nwt --limit 100 --set guest.seed=7 -o a");
  EXPECT_EQ(statistics("a")["access.total"], 2 * 100);
  const Json record = json_of("a/run.json");
  EXPECT_EQ(record["command"], "nestwalk run -p simple t.nwt --limit 100 --set guest.seed=7 -o a");
  EXPECT_EQ(record["seed"], 7);
  EXPECT_GT(record["accesses_per_host_second"], 0);
  EXPECT_GT(record["host"]["processors"], 0);
  EXPECT_EQ(run("nestwalk --version").output,
            "nestwalk " + record["version"].get<std::string>() + "\n");
  EXPECT_EQ(run("nestwalk run -p simple t.nwt --limit 100 --set guest.seed=7 --json").output,
            text_of("a/stats.json"));
}

TEST_F(Run, SaysHowLongItTakesAndCanBeInterrupted) {
  must("nestwalk trace gen random bytes=1G accesses=10M -o t.nwt");
  // In a terminal, until the line is there: it begins after a second.
  std::ofstream(folder() / "interrupt")
      << "set -m\n'" NESTWALK_PROGRAM "' run t.nwt -p zen4 -o a &\n"
      << "until grep -q M/s terminal; do sleep 0.1; done\nkill -INT $!\nwait $!\n";
  const Result result = run("timeout 100 script -qefc 'bash interrupt' terminal");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.output, testing::ContainsRegex("M records, [0-9.]+ M/s, [0-9]+ %, [0-9]+ s"));
  EXPECT_THAT(result.output, HasSubstr("the run ended early: interrupted"));
  EXPECT_EQ(json_of("a/run.json")["complete"], false);
  EXPECT_EQ(json_of("a/run.json")["ended_early"], "interrupted");
  EXPECT_GT(statistics("a")["access.total"], 0);
  EXPECT_LT(statistics("a")["access.total"], 10 << 20);
}

TEST_F(Run, EndsEarlyWhenMemoryDoes) {
  must("nestwalk trace gen first-touch bytes=2G -o t.nwt");
  const Result result =
      run("nestwalk run -p simple t.nwt --set host.memory=1G --set guest.memory=4G -o a 2>&1");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.output, HasSubstr("the run ended early: the host is out of memory"));
  EXPECT_EQ(json_of("a/run.json")["complete"], false);
  EXPECT_EQ(json_of("a/run.json")["ended_early"], "the host is out of memory");
}

// 4 GiB for the guest, before it runs, of a host that has 1 GiB. Eager backing takes parts of 64
// MiB: 15 fit, and with their tables the 16th does not. In one piece, nothing fits.
TEST_F(Run, EndsEarlyWhenTheGuestCannotHaveItsMemory) {
  must("nestwalk trace gen first-touch bytes=2M -o t.nwt");
  for (const char* const backing : {"eager", "linear", "none"}) {
    const Result result =
        run("nestwalk run -p simple t.nwt --force -o a --set host.memory=1G --set "
            "guest.memory=4G --set hypervisor.backing=" +
            std::string(backing) + " 2>&1");
    EXPECT_EQ(result.exit_code, 5) << backing;
    EXPECT_THAT(result.output, HasSubstr("the run ended early: the host is out of memory"));
    EXPECT_EQ(json_of("a/run.json")["complete"], false);
    EXPECT_EQ(json_of("a/run.json")["ended_early"], "the host is out of memory");
    const Json values = statistics("a");
    EXPECT_EQ(values["access.total"], 0);
    EXPECT_EQ(values["time.vcpus"], 0);
    EXPECT_EQ(values["time.cycles"], values["time.begin"]);
    EXPECT_EQ(values["memory.backed"], backing == std::string("eager") ? 15 << 26 : 0) << backing;
  }
}

TEST_F(Run, SaysWhatIsWrongWithItsParameters) {
  must("nestwalk trace gen random accesses=10 -o t.nwt");
  expect("nestwalk run -p simple t.nwt --set hypervisor.backnig=lazy", 2,
         "--set hypervisor.backnig=lazy: hypervisor.backnig is unknown; did you mean backing?\n");
  expect("nestwalk run -p simple t.nwt --set hypervisor.backing=lasy", 2,
         "--set hypervisor.backing=lasy: hypervisor.backing is \"lasy\", not one of eager, lazy, "
         "linear, none, replayed\n");
  expect("nestwalk run -p simple t.nwt --set guest.memory=1X", 2,
         "--set guest.memory=1X: guest.memory is \"1X\", not a size from 2M to 128T, a list "
         "of START+SIZE such as 0x80000000+512M, or auto\n");
  expect("nestwalk run -p simple t.nwt --set hypervisor", 2, "--set hypervisor: not PATH=VALUE\n");
  expect("nestwalk run -p simple t.nwt --set hypervisor=1", 2,
         "--set hypervisor=1: hypervisor is not a value\n");
  expect("nestwalk run -p simple t.nwt --set guest.tables=recorded", 2,
         "guest.tables is recorded, but the trace has no guest-physical addresses\n");
  EXPECT_THAT(run("nestwalk run t.nwt -p zen5 2>&1").output,
              StartsWith("there is no preset 'zen5'; there are:"));
  EXPECT_EQ(run("nestwalk run t.nwt -p zen5 2>&1").exit_code, 2);
  EXPECT_THAT(run("nestwalk run -p simple t.nwt --set machine.walker.slots=0 2>&1").output,
              HasSubstr("walker.slots is 0, not a number from 1 to 64"));
  must("mkdir full && touch full/x");
  expect("nestwalk run -p simple t.nwt -o full", 2, "full exists; --force overwrites it\n");
  must("printf '%.0s[' {1..100000} > deep.json");
  expect("nestwalk run t.nwt --config deep.json", 2,
         "deep.json: expected at most 64 levels of nesting, found more\n");
  expect("mkdir -p d/stats.json; nestwalk run -p simple t.nwt -o d --force", 2,
         "d/stats.json: is a directory\n");
  expect("nestwalk run -p simple missing.nwt", 4,
         "nestwalk: missing.nwt: cannot be opened: No such file or directory\n");
}

// The guest's kernel has its tables above its memory, where no device is.
TEST_F(Run, ADeviceUpToTheEndOfAllAddressesIsNamed) {
  using namespace traces;
  constexpr u64 kEnd = u64{64} << 20;
  {
    const auto sink = create_sink((folder() / "t.nwt").string());
    Header header;
    header.lacks = kNoGpa | kNoHpa;
    header.memory = {{Stage::Guest, 0, kEnd, "ram"},
                     {Stage::Guest, kEnd, ~u64{0} - kEnd - 1, "mmio"}};
    Writer writer(*sink, header);
    writer.append(0, Access{Gva(0x1000), Gpa(), Hpa(), 1, 8, AccessKind::Read, kGvaKnown});
    writer.finish();
  }
  expect("nestwalk run -p simple t.nwt", 2,
         "nestwalk: the guest's kernel needs 67108864 bytes above guest.memory, but there is a "
         "device up to "
         "the end of all addresses\n");
}

}  // namespace
}  // namespace nestwalk::sim::run_test
