// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Whether statistics add up, in runs of each kind. The program itself refuses a run in which a sum
// is not that of its parts, so a run that ends well says it of all of them; here is what parts of
// the simulator that count on their own have to agree about.

#include <cstring>
#include <nlohmann/json.hpp>
#include <regex>

#include "program.hpp"

namespace nestwalk::sim::sums_test {
namespace {

using Json = nlohmann::json;
using i64 = std::int64_t;

constexpr i64 kPageBytes = 4096,
              kLineBytes = 64;  // that the guest's kernel translates, and zeroes, at a time

struct Kind {
  std::string traces, options;
  std::string has = "";  // a statistic that is not 0 in such a run
  bool has_vcpus = false, is_native = false;
};

class Sums : public Program {
 protected:
  void generate(const std::string& generator, const std::string& file) {
    const Result result = run("nestwalk trace gen " + generator + " -o " + file + " 2>&1");
    ASSERT_EQ(result.exit_code, 0) << generator << result.output;
  }

  void expect_to_close(const Kind& kind) {
    const std::string command = "nestwalk run --json " + kind.traces + " " + kind.options;
    SCOPED_TRACE(command);
    const Result result = run(command + " 2>errors || { cat errors; false; }");
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const Json said = Json::parse(result.output);
    const Json& statistics = said["statistics"];
    const auto of = [&](const std::string& name) { return statistics.at(name).get<i64>(); };
    if (!kind.has.empty()) {
      EXPECT_GT(of(kind.has), 0);
    }
    const auto of_caches = [&](const std::string& what) {
      i64 sum = 0;
      for (const char* const level : {"l1.", "l2.", "l3.", "memory."}) {
        sum += of("cache." + std::string(level) + what);
      }
      return sum;
    };

    const i64 with_data = of("access.total") - of("access.emulated") - of("access.forbidden");
    EXPECT_EQ(of_caches("data") + of_caches("fetches") + of("store_buffer.forwarded"), with_data);
    // The kernel translates each page that it zeroes; natively it does not.
    const i64 zeroed = kind.is_native ? 0 : of("guest.bytes_zeroed") / kPageBytes;
    EXPECT_EQ(of("tlb.first_hits") + of("tlb.second_hits") + of("walk.count"),
              with_data + zeroed + of("walk.faults"));
    EXPECT_EQ(of_caches("software"), of("engine.entries_read") + of("engine.entries_written"));
    const bool overlaps = !said["core"].get<std::string>().starts_with("in order") ||
                          of("access.writes.buffered") != 0;
    if (!overlaps) {
      EXPECT_EQ(of("time.accesses"), of("latency.sum"));
    }
    const i64 in_memory = of("dram.row_hits") + of("dram.row_empty") + of("dram.row_conflicts");
    i64 prefetched = 0;
    for (const char* const level : {"l1", "l2", "l3"}) {
      const std::string name = std::string("prefetch.") + level + ".from_memory";
      if (statistics.contains(name)) prefetched += of(name);
    }
    EXPECT_LE(of("dram.write_backs") + prefetched, in_memory);
    // Clearing goes through caches, and may need each of its lines from memory.
    const bool clears = command.find("-p simple") == std::string::npos;
    const i64 cleared =
        clears ? (of("guest.bytes_zeroed") + of("engine.bytes_zeroed")) / kLineBytes : 0;
    const i64 most = of("cache.memory.served") + of("dram.write_backs") + prefetched + cleared;
    EXPECT_LE(in_memory, most);
    // Two accesses that wait for one line of memory are on a bank once, and so are a prefetch and
    // who waits for it.
    if (overlaps || kind.has_vcpus || prefetched != 0 || cleared != 0) return;
    EXPECT_EQ(in_memory, most);
  }
};

TEST_F(Sums, CloseInRunsOfEachKind) {
  generate("random accesses=3000 bytes=2M", "one.nwt");
  generate("phases accesses=1000 bytes=1M", "phases.nwt");
  generate("smp vcpus=3 accesses=1500 bytes=1M", "three.nwt");
  generate("storm vcpus=2 accesses=1000 period=10 bytes=4M", "storm.nwt");
  generate("processes accesses=4000 bytes=1M", "processes.nwt");
  const std::string overlaps = "-p zen4 --set guest.memory=64M ";
  const std::string machine =
      overlaps +
      "--set core.kind=in-order --set core.store_buffer=0 --set core.fetch_hits=exposed ";
  const std::string recorded = "'" NESTWALK_TRACE_SAMPLES
                               "/aarch64-linux.nwt' -p cortex-a53 --limit 2000 "
                               "--set core.store_buffer=0 ";
  const std::string shared = machine + "--set host.cores=1 --set host.time_slice=5000 ";
  const std::vector<Kind> kinds = {
      {.traces = "one.nwt", .options = machine, .has = "latency.guest"},
      {.traces = "one.nwt", .options = "-p simple --set guest.memory=64M", .has = "latency.guest"},
      {.traces = "processes.nwt", .options = "-p simple --set guest.memory=64M"},
      {.traces = "one.nwt", .options = overlaps, .has = "access.writes.buffered"},
      {.traces = "one.nwt", .options = overlaps + "--set core.kind=in-order"},
      {.traces = "one.nwt", .options = machine + "--warmup 700"},
      {.traces = "phases.nwt", .options = machine + "--phases", .has = "phase.start.walk.count"},
      {.traces = "phases.nwt", .options = overlaps + "--phases"},
      {.traces = "processes.nwt", .options = machine, .has = "time.switches"},
      {.traces = "three.nwt", .options = shared, .has = "time.waiting", .has_vcpus = true},
      {.traces = "three.nwt",
       .options = overlaps + "--set host.cores=1 --set host.time_slice=5000 ",
       .has = "time.scheduling",
       .has_vcpus = true},
      {.traces = "storm.nwt", .options = machine, .has = "time.ordered", .has_vcpus = true},
      {.traces = "storm.nwt",
       .options = "-p kunminghu --set guest.memory=64M",
       .has = "fence.lost",
       .has_vcpus = true},
      {.traces = "one.nwt three.nwt one.nwt",
       .options = shared + "--set host.vmids=2",
       .has = "host.vmid_rollovers",
       .has_vcpus = true},
      {.traces = recorded, .options = "--set guest.tables=replayed", .has = "replay.agreed"},
      {.traces = recorded, .options = "--set guest.tables=none", .has = "exit.total"},
  };
  for (const Kind& kind : kinds) expect_to_close(kind);
}

TEST_F(Sums, CloseForSamplesOnTwoStagesAndOne) {
  for (const auto& [name, preset] :
       {std::pair("x86_64", "zen4"), {"aarch64", "cortex-a76"}, {"riscv64", "rocket-h"}}) {
    for (const char* const what : {"-linux", "-nested"}) {
      const std::string trace =
          std::string("'" NESTWALK_TRACE_SAMPLES "/") + name + what + ".nwt' --limit 2000";
      const std::string options = std::string("-p ") + preset;
      expect_to_close({.traces = trace, .options = options});
      expect_to_close({.traces = trace,
                       .options = options + " --set hypervisor.backing=none",
                       .is_native = true});
    }
  }
}

TEST_F(Sums, CloseForEveryGenerator) {
  const std::string help = run("nestwalk trace gen --help").output;
  const std::string list = help.substr(help.find("Generators:\n"));
  const std::regex row("\n  ([a-z][a-z-]*) ");
  constexpr const char* kPresets[] = {"zen4", "cortex-a76", "rocket-h"};
  std::size_t count = 0;
  for (std::sregex_iterator each(list.begin(), list.end(), row), end; each != end; ++each) {
    const std::string name = (*each)[1];
    const std::string parameters = run("nestwalk trace gen " + name + " --help").output;
    std::string values;
    for (const char* const value : {"accesses=2000", "updates=2000", "bytes=2M"}) {
      const std::string key(value, std::strchr(value, '=') + 1);
      if (parameters.find("\n  " + key) != std::string::npos) values.append(" ").append(value);
    }
    generate(name + values, "t.nwt");
    const std::string preset = kPresets[count++ % std::size(kPresets)];
    expect_to_close({.traces = "t.nwt",
                     .options = "-p " + preset + " --set guest.memory=64M --limit 2000",
                     .has_vcpus = parameters.find("\n  vcpus=") != std::string::npos});
  }
  EXPECT_GT(count, 10u);
}

}  // namespace
}  // namespace nestwalk::sim::sums_test
