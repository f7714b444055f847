// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which part of a run statistics tell of: warm-up, phases.

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "nestwalk/traces/writer.hpp"
#include "program.hpp"

namespace nestwalk::sim::measurement_test {
namespace {

using namespace traces;
using Json = nlohmann::json;
using i64 = std::int64_t;

// Not a sum over time: how things are, or one value of a distribution.
bool is_sum(const std::string& name, const Json& value) {
  return value.is_number_integer() && !name.starts_with("memory.") && name != "time.first_access" &&
         name != "time.ns" && name != "latency.max" && !name.starts_with("latency.p");
}

class MeasuredPart : public Program {
 protected:
  Json stats(const std::string& options, const std::string& directory) {
    const Result result = run("nestwalk run t.nwt --set guest.memory=64M " + options + " -o " +
                              directory + " --force 2>&1");
    EXPECT_EQ(result.exit_code, 0) << options << "\n" << result.output;
    return Json::parse(std::ifstream(folder() / directory / "stats.json"));
  }
  Json values(const std::string& options, const std::string& directory = "run") {
    return stats(options, directory)["statistics"];
  }

  /// Two vCPUs that are never in step, so that at each marker of one the other is in the midst of
  /// something; hypervisor operations interrupt both. Markers: 1, 2 and 1 again, on each.
  void two_vcpus(u64 accesses) {
    Header header;
    header.architecture = Architecture::X86_64;
    header.mode = Mode::FullSystem;
    header.vcpus = 2;
    header.lacks = kNoGpa;
    const auto sink = create_sink((folder() / "t.nwt").string());
    Writer writer(*sink, header);
    u64 random = 1;
    for (u64 n = 0; n < accesses; ++n) {
      for (u32 vcpu = 0; vcpu < 2; ++vcpu) {
        random = random * 6364136223846793005 + 1442695040888963407;
        const u64 page = random >> 33 & 0x1ff;
        writer.append(vcpu, Access{Gva(page << 12),
                                   Gpa(),
                                   {},
                                   static_cast<u32>(random >> 60),
                                   8,
                                   page % 3 == 0 ? AccessKind::Write : AccessKind::Read,
                                   kGvaKnown});
        if (n % (accesses / 4) == accesses / 8) {
          const u64 marker = n * 4 / accesses;
          writer.append(vcpu, Event{1, PhaseMarker{1 + marker % 2, marker % 2 == 0 ? "a b" : ""}});
        }
      }
      if (n % 50 == 0) {
        writer.append(n % 100 == 0 ? 0 : 1,
                      Event{0, HypervisorOperation{Operation::Unmap, Gpa((n % 512) << 12), 4096}});
      }
    }
    writer.finish();
  }
};

// The sums of a run, less those of its beginning.
TEST_F(MeasuredPart, AWarmUpIsTheDifferenceOfTwoRuns) {
  ASSERT_EQ(run("nestwalk trace gen zipf bytes=32M accesses=20000 -o t.nwt").exit_code, 0);
  for (const std::string machine :
       {"-p rocket-h --set core.store_buffer=0", "-p skylake-sp --set core.window=8"}) {
    const Json all = values(machine);
    const Json begin = values(machine + " --limit 5000");
    const Json rest = values(machine + " --warmup 5000");
    // An access belongs to the time in which it ends: with a window, seven may be under way.
    if (machine.find("window") != std::string::npos) {
      EXPECT_GE(rest["access.total"].get<i64>(), 15000);
      EXPECT_LE(rest["access.total"].get<i64>(), 15007);
      continue;
    }
    EXPECT_EQ(rest["access.total"], 15000);
    for (const auto& [name, value] : rest.items()) {
      if (!is_sum(name, value)) continue;
      EXPECT_EQ(value.get<i64>(), all[name].get<i64>() - begin.value(name, i64{0})) << name;
    }
  }
}

// Whatever is under way when a phase ends is split to the cycle: nothing is lost or counted twice.
TEST_F(MeasuredPart, PhasesAddUpToTheWhole) {
  two_vcpus(4000);
  for (const std::string options : {"", "--set core.window=6"}) {
    const Json all = values(options + " --phases -p skylake-sp");
    Json sums = Json::object();
    std::set<std::string> phases;
    for (const auto& [name, value] : all.items()) {
      if (!name.starts_with("phase.")) continue;
      const std::size_t dot = name.find('.', 6);
      phases.insert(name.substr(6, dot - 6));
      const std::string plain = name.substr(dot + 1);
      if (is_sum(plain, value)) sums[plain] = sums.value(plain, i64{0}) + value.get<i64>();
      // What is split has no part below nothing.
      EXPECT_LT(value.get<double>(), 1e15) << name;
    }
    EXPECT_EQ(phases, (std::set<std::string>{"start", "a_b-1", "2"}));
    for (const auto& [name, value] : all.items()) {
      // Those of a single vCPU are of the whole alone.
      if (name.starts_with("phase.") || name.starts_with("vcpu") || !is_sum(name, value)) continue;
      EXPECT_EQ(sums.value(name, i64{0}), value.get<i64>()) << name << " " << options;
    }
  }
}

TEST_F(MeasuredPart, APhaseAloneIsThatPhaseOfTheWhole) {
  ASSERT_EQ(run("nestwalk trace gen phases accesses=3000 bytes=1M -o t.nwt").exit_code, 0);
  const Json all = stats("-p zen4 --phases", "all");
  const Json part = stats("-p zen4 --from 1 --to 2", "part");
  EXPECT_EQ(part["statistics"]["access.total"], 3000);
  for (const auto& [name, value] : part["statistics"].items()) {
    if (name.starts_with("phase.")) continue;
    EXPECT_EQ(value, all["statistics"]["phase.working-set-1." + name]) << name;
  }
  EXPECT_EQ(part["histograms"]["latency"], all["histograms"]["phase.working-set-1.latency"]);
  // It ends there, and is whole.
  const Json record = Json::parse(std::ifstream(folder() / "part" / "run.json"));
  EXPECT_EQ(record["complete"], true);
}

// 2000 accesses of a page that is there, each 1 for the TLB and 10 for memory, but the first: bins
// that hold one value each below 256.
TEST_F(MeasuredPart, AHistogramCountsEachLatency) {
  ASSERT_EQ(
      run("nestwalk trace gen phases phases=2 growth=1 accesses=4000 bytes=4M -o t.nwt").exit_code,
      0);
  const Json all = stats("-p zen4 --phases", "all");
  const auto check = [&](const std::string& prefix) {
    i64 count = 0, below = 0;
    i64 last = -1;
    const Json& values = all["statistics"];
    for (const Json& bin : all["histograms"][prefix + "latency"]) {
      const i64 from = bin[0].get<i64>();
      const i64 to = bin[1].get<i64>();
      EXPECT_LT(last, from);
      EXPECT_LE(to - from, from / 128) << "wider than a hundredth";
      count += bin[2].get<i64>();
      if (to < values[prefix + "latency.p50"].get<i64>()) below += bin[2].get<i64>();
      last = to;
    }
    EXPECT_EQ(count, values[prefix + "access.total"].get<i64>());
    EXPECT_LE(below * 2, count) << "half of them are below the median, at most";
    EXPECT_LE(values[prefix + "latency.max"].get<i64>(), last);
  };
  check("");
  check("phase.working-set-1.");
}

TEST_F(MeasuredPart, VcpusWithOtherPhasesHaveNoneInCommon) {
  Header header;
  header.vcpus = 2;
  header.lacks = kNoGpa | kNoHpa;
  const auto sink = create_sink((folder() / "t.nwt").string());
  Writer writer(*sink, header);
  for (const u32 vcpu : {0u, 1u}) {
    writer.append(vcpu, Event{1, PhaseMarker{1, "a"}});
    writer.append(vcpu, Event{1, PhaseMarker{2, vcpu == 0 ? "b" : "c"}});
  }
  writer.finish();
  EXPECT_EQ(run("nestwalk run -p simple t.nwt").exit_code, 0);
  const std::string message =
      "run.from, run.to and run.phases need the same phases on all vCPUs, but of vCPU 1, "
      "phase 1 is c-2, of another one b-2\n";
  expect("nestwalk run -p simple t.nwt --phases", 2, message);
  expect("nestwalk run -p simple t.nwt --set run.from=c", 2, message);
  expect("nestwalk run -p simple t.nwt --set run.to=b", 2, message);
}

TEST_F(MeasuredPart, AMeasurementThatNeverBeginsIsAnError) {
  ASSERT_EQ(run("nestwalk trace gen phases phases=2 accesses=100 -o t.nwt").exit_code, 0);
  // In order: with a window, what is under way when the warm-up ends is measured.
  const std::string run = "nestwalk run t.nwt -p zen4 --set core.kind=in-order ";
  expect(run + "--from boot", 2,
         "run.from is boot, but there are only the phases working-set-0, working-set-1\n");
  expect(run + "--from 1 --to 0", 2,
         "run.to is 0, but there are only the phases working-set-0, working-set-1, and "
         "none after run.from\n");
  expect(run + "--warmup 200", 2, "run.warmup is 200, and no vCPU plays more accesses than that\n");
  expect(run + "--warmup 20 --limit 20", 2,
         "run.warmup is 20, so nothing of run.limit, 20, is left\n");
  expect(run + "--warmup 20 --from 1", 2, "run.warmup and run.from: statistics begin once\n");
  ASSERT_EQ(this->run("nestwalk trace gen random accesses=100 -o t.nwt").exit_code, 0);
  expect(run + "--to 1", 2, "run.to is 1, but the trace has no phases\n");
}

}  // namespace
}  // namespace nestwalk::sim::measurement_test
