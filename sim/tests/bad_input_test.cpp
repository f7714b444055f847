// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Configurations, statistics, suites, names and disks that cannot be.

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "bad_input.hpp"

namespace nestwalk::sim::bad_input_test {
namespace {

using testing::HasSubstr;

TEST_F(BadInput, FailedRunLeavesADirectoryAsItWas) {
  run("nestwalk run -p simple t.nwt -o d; cp -r d before; head -c -100 t.nwt > cut.nwt; mkdir "
      "empty");
  complains("nestwalk run -p simple cut.nwt -o d --force", 4, "cut.nwt: at byte ");
  expect("diff -r d before", 0, "");
  complains("nestwalk run -p simple cut.nwt -o empty", 4, "cut.nwt: at byte ");
  EXPECT_TRUE(std::filesystem::is_empty(folder() / "empty"));
}

TEST_F(BadInput, DirectoryThatCannotBe) {
  run("touch file");
  complains("nestwalk run -p simple t.nwt -o file/d", 2, "file/d: cannot be made: Not a directory");
  complains("nestwalk run -p simple t.nwt -o file --force", 2, "file: cannot be made: ");
  complains("nestwalk run -p simple t.nwt -o /proc/d", 2, "/proc/d: cannot be made: ");
}

TEST_F(BadInput, FullDisk) {
  run("nestwalk run -p simple t.nwt -o d; mv d/stats.json .; ln -s /dev/full d/stats.json");
  complains("nestwalk run -p simple t.nwt -o d --force", 1,
            "d/stats.json: cannot be written: No space left on device");
  EXPECT_FALSE(there("d/run.json"));  // and so it is not a run's
  complains("rm d/stats.json; cp stats.json d; nestwalk compare d", 4,
            "d/run.json: cannot be read");
  run("nestwalk run -p simple t.nwt -o e; nestwalk gate e --baseline b.json --update");
  complains("{ nestwalk gate e --baseline b.json --markdown /dev/full >/dev/null; }", 1,
            "/dev/full: cannot be written: No space left on device");
  EXPECT_EQ(run("test -c /dev/full").exit_code, 0);
  for (const char* const command :
       {"run -p simple t.nwt", "compare e", "gate e --baseline b.json", "config list",
        "config schema", "explain -p simple t.nwt", "man", "completion bash", "trace info t.nwt",
        "--help", "run --help"}) {
    complains(std::string("{ nestwalk ") + command + " >/dev/full; }", 1,
              "<stdout>: cannot be written: No space left on device");
    complains(std::string("{ nestwalk ") + command + " >&-; }", 1, "<stdout>: cannot be written");
  }
}

TEST_F(BadInput, BrokenJson) {
  run("echo '{\"guest\": ' > c.json; echo '[1]' > list.json; echo '{\"machine\": 5}' > m.json; "
      "printf '{\"guest\": {\"memory\": \"\\xff\"}}' > bytes.json; echo '{\"name\": 1}' > p.json");
  for (const char* const command :
       {"run t.nwt", "compare t.nwt", "explain t.nwt", "config print"}) {
    const std::string nestwalk = std::string("nestwalk ") + command;
    complains(nestwalk + " --config c.json", 2, "c.json: ");
    complains(nestwalk + " --config list.json", 2, "list.json: not a JSON object");
    complains(nestwalk + " --config m.json", 2, "m.json: machine is not a value");
    complains(nestwalk + " --config bytes.json", 2, "bytes.json: ");
    complains(nestwalk + " --config none.json", 2, "none.json: cannot be read");
    complains(nestwalk + " -p ./c.json", 2, "./c.json: ");
  }
  complains("nestwalk config print -p ./p.json", 2, "./p.json: name is 1, not a string");
  run("nestwalk run -p simple t.nwt -o d; echo '{}' > d/run.json");
  complains("nestwalk compare d", 4, "d/run.json: is not a nestwalk-run\n");
  run("echo '{\"format\": \"nestwalk-run\"}' > d/run.json");
  complains("nestwalk compare d", 4, "d/run.json: does not say whether the run ended early");
  run("sed -i 's/\"statistics\": {/\"statistics\": [1], \"more\": {/' d/stats.json");
  complains("nestwalk compare d", 4, "d/stats.json: has no statistics");
}

// Refused as soon as there is too much of them, and before memory is short: /dev/zero has no end.
TEST_F(BadInput, InputWithoutEnd) {
  const std::string bounded = "expected at most 4194304 bytes, found more";
  run("ulimit -t 20; nestwalk run -p simple t.nwt -o d; mkdir e; cp d/run.json e");
  for (const char* const command :
       {"run t.nwt -p /dev/zero", "run -p simple t.nwt --config /dev/zero",
        "config print -p /dev/zero", "check t.nwt --policy /dev/zero.json --config /dev/zero",
        "compare t.nwt -p /dev/zero"}) {
    complains(std::string("(ulimit -t 20; nestwalk ") + command + ")", 2, bounded);
  }
  complains("(ulimit -t 20; nestwalk gate /dev/zero)", 4, "/dev/zero: " + bounded);
  complains("(ulimit -t 20; ln -s /dev/zero e/stats.json; nestwalk compare e)", 4,
            "e/stats.json: expected at most 67108864 bytes, found more");
  complains("(ulimit -t 20; nestwalk gate d --baseline /dev/zero)", 4,
            "/dev/zero: expected at most 67108864 bytes, found more");
  complains("(ulimit -t 20; nestwalk check /dev/zero)", 4,
            "/dev/zero: line 1: expected a line of at most 4096 bytes, found a longer one");
  complains("nestwalk gate /proc/self/mem", 4, "/proc/self/mem: cannot be read");
  complains("nestwalk run t.nwt -p /proc/self/mem", 2, "/proc/self/mem: cannot be read");
}

TEST_F(BadInput, JsonThatNestsDeep) {
  const auto nested = [](std::size_t levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  std::ofstream(folder() / "deep.json") << nested(65);
  std::ofstream(folder() / "shallow.json") << nested(64);
  const std::string refused = "expected at most 64 levels of nesting, found more";
  complains("nestwalk run t.nwt -p simple --config deep.json", 2, "deep.json: " + refused);
  complains("nestwalk run t.nwt -p ./deep.json", 2, "deep.json: " + refused);
  complains("nestwalk gate deep.json", 4, "deep.json: " + refused);
  complains("nestwalk run t.nwt -p simple --config shallow.json", 2,
            "shallow.json: not a JSON object");
  complains("nestwalk run -p simple t.nwt --set guest.memory=" + nested(50'000), 2, refused);
}

TEST_F(BadInput, ScheduleThatLeavesTheGuestNoTime) {
  // A zap of 512 pages takes more than 100 cycles.
  const std::string schedule =
      "nestwalk run -p simple t.nwt --set "
      "\"hypervisor.schedule=[{\\\"operation\\\":\\\"zap\\\",\\\"at\\\":"
      "1000,\\\"every\\\":100,\\\"gpa\\\":0,\\\"bytes\\\":\\\"2M\\\"";
  const Result endless = run("ulimit -t 60; " + schedule + "}]\" 2>&1 >out");
  EXPECT_THAT(
      endless.output,
      HasSubstr("the run ended early: the schedule's zap every 100 cycles takes longer than "
                "that, so the guest never goes on\n"));
  // It ends: 50 of them follow each other without a break, and then the guest goes on.
  const Result burst = run("ulimit -t 60; " + schedule + ",\\\"times\\\":50}]\" 2>&1 >out");
  EXPECT_EQ(burst.exit_code, 0);
  EXPECT_EQ(burst.output, "");
  std::ofstream file(folder() / "long.json");
  file << R"({"hypervisor": {"schedule": [)";
  for (int n = 0; n < 4096; ++n) file << R"({"operation": "log_harvest", "at": 1},)";
  file << R"({"operation": "log_harvest", "at": 1}]}})";
  file.close();
  complains("nestwalk run t.nwt -p simple --config long.json", 2,
            "hypervisor.schedule: expected at most 4096 operations, found 4097");
}

TEST_F(BadInput, StatisticsThatNoRunHas) {
  run("nestwalk run -p simple t.nwt -o d; nestwalk gate d --baseline b.json --update");
  expect("nestwalk gate d --baseline b.json", 0, "The one run is as it was.\n");
  run("sed -i s/.access.total.:/\\\"more\\\":null,\\&/ b.json");
  complains("nestwalk gate d --baseline b.json", 4,
            "b.json: d: more: expected a number that is not negative, found null");
  run("sed -i s/:null/:-1/ b.json; sed -i 's/\"access.total\": [0-9]*/\"access.total\": -5/' "
      "d/stats.json");
  complains("nestwalk gate d --baseline b.json", 4,
            "d/stats.json: access.total: expected a number that is not negative, found -5");
  run("nestwalk run -p simple t.nwt -o d --force");
  complains("nestwalk gate d --baseline b.json", 4,
            "b.json: d: more: expected a number that is not negative, found -1");
}

TEST_F(BadInput, FenceRulesThatSayNothing) {
  complains("nestwalk run -p simple t.nwt --set 'hypervisor.fence_rules={\"bogus\":1}'", 2,
            "hypervisor.fence_rules: rules: expected a key, found 'bogus'");
  complains(
      "nestwalk run -p simple t.nwt --set hypervisor.fences=rules --set "
      "'hypervisor.fence_rules={\"x86_64\":[{}]}'",
      2, "hypervisor.fence_rules: x86_64.0.when: expected a list of changes, found nothing");
  complains(
      "nestwalk run -p simple t.nwt --set 'hypervisor.fence_rules={\"name\":7,\"x86_64\":[]}'", 2,
      "hypervisor.fence_rules: name: expected a text, found 7");
}

TEST_F(BadInput, StatisticsThatCannotBeAreRefused) {
  EXPECT_EQ(run("nestwalk run -p simple t.nwt -o d; nestwalk gate d --baseline b.json --update")
                .exit_code,
            0);
  // A change to stats.json, in Python.
  const auto say = [&](const std::string& change, const std::string& message) {
    run("rm -rf bad; cp -r d bad; python3 -c \"import json; s = json.load(open('d/stats.json')); "
        "v = s['statistics']; " +
        change + "; json.dump(s, open('bad/stats.json', 'w'))\"");
    complains("nestwalk compare d bad", 4, "bad/stats.json: " + message);
    complains("nestwalk gate bad --baseline b.json", 4, "bad/stats.json: " + message);
  };
  say("v['access.total'] += 1", "access.total is 20001, not the sum of its parts, 20000");
  say("v['walk.count.reads'] += 1", "walk.count is ");
  say("v['cache.l2.data'] += 1", "cache.l2.served is ");
  say("v['exit.cycles.entry'] += 1", "exit.cycles is ");
  say("v['walk.references'] += 1", "walk.references is ");
  say("v['translation.walks'] += 1; v['translation.cycles'] += 1", "translation.walks is ");
  say("v['latency.data'] += 1; v['latency.sum'] += 1", "latency.data is ");
  say("v['latency.held'] += 1", "latency.sum is ");
  say("v['time.accesses'] = 2 ** 64 - 1", "time.accesses is 18446744073709551615, more than ");
  say("v['time.waiting'] += 1", "time.vcpus is ");
  say("v['latency.p50'] = 10 ** 9", "latency.p50 is 1000000000, more than latency.p90, ");
  say("s['histograms'] = 5", "\"histograms\" is not an object");
  say("s['histograms']['latency'] = [[1, 2, 3]]",
      "the histogram latency is 3, not access.total, 20000");
  say("s['histograms']['latency'] = [[2, 1, 20000]]",
      "the histogram latency has bins that do not rise");
  say("s['histograms']['latency'] = [[1, 2]]", "the histogram latency has a bin that is not ");
  say("v['latency.mean'] = v['latency.max'] + 0.5", "latency.mean is ");
  say("h = s['histograms']['latency']; v['latency.max'] = h[-1][1] + 1", "latency.max is ");
  say("h = s['histograms']['latency']; v['latency.max'] = v['latency.p99.9'] = v['latency.p99'] = "
      "v['latency.p90'] = v['latency.p50'] = h[-1][0] - 1; v['latency.mean'] = 1",
      "latency.max is ");
  say("v['latency.p50'] = 0",
      "latency.p50 is 0, not in the bin of the histogram latency that has it, [");
  say("s['histograms']['latency'] = [[0, 1, 2**63], [2, 3, 2**63], [4, 2**63, 20000]]",
      "the histogram latency has 2^64 values or more");
  say("v['time.cycles'] = 1", "time.first_access is ");
  // With warmup, the first access is not measured. A trace has at most 4096 vCPUs.
  say("v['time.cycles'] = 1; v['time.first_access'] = 0",
      "time.vcpus is " +
          run("grep -o 'time.vcpus.*,' d/stats.json | cut -c14- | tr -d ',\n'").output +
          ", more than time.cycles, 1, of each of 4096 vCPUs");
  // A mean is its total by its count.
  say("v['walk.references_mean'] *= 1.001", "walk.references_mean is ");
  say("v['walk.references_mean'] = 1",
      "walk.references_mean is 1, not walk.references / walk.count");
  say("v['walk.cycles_mean'] *= 0.999", "walk.cycles_mean is ");
  say("v['walk.cycles_mean'] = 0", "walk.cycles_mean is 0, not translation.walks / walk.count, ");
  say("v['cache.l2.tables_share'] = 1.5",
      "cache.l2.tables_share is 1.5, not (cache.l2.walks + cache.l2.prefetches + "
      "cache.l2.software) / cache.l2.served, ");
  // Bins are no wider than a 128th of their values.
  say("v['latency.mean'] *= 1.01", "latency.mean is ");
  say("v['latency.mean'] *= 0.99", "latency.mean is ");
  say("v['latency.mean'] = 1", "latency.mean is 1, not from ");
  // What a row says, another one says as well, or its parts do.
  say("v['fence.lost'] += 7; v['fence.lost.paid'] += 7",
      "fence.lost.paid is 7, more than time.interrupted, 0");
  say("v['time.vcpus'] += 7; v['time.interrupted'] += 7",
      "time.interrupted is 7, not the sum of its parts, 0");
  say("v['cache.l2.walks'] -= 1; v['cache.l2.software'] += 1", "cache.l2.walks is ");
  say("v['cache.l2.walks.cycles'] += 1", "cache.l2.walks.cycles is ");
  say("v['exit.cycles'] += 9; v['exit.cycles.fences'] += 9",
      "exit.cycles.fences is 9, more than fence.cycles, ");
  say("v['access.reads'] = 0.5", "access.reads is 0.5, not a whole number");
  say("v['access.reads'] += 0.0", "access.reads is ");
  say("v['reference.data.l1'] = 1e300", "reference.data.l1 is 1e+300, not a whole number");
  say("v['memory.peak'] = v['memory.backed']", "memory.peak is ");
  say("v['memory.peak'] = 4096", "memory.backed is ");
  say("v['replay.agreed'] = 0.5", "replay.agreed is 0.5, not a whole number");
  say("del v['access.total']", "has no access.total");
  say("v['vm0.walk.count'] = 3", "has no vm0.");
  // What an older version did not count is no contradiction.
  run("rm -rf bad; cp -r d bad; sed -i '/access.fetches/d' bad/stats.json; "
      "sed -i '/stats_checksum/d' bad/run.json");
  EXPECT_EQ(run("nestwalk compare d bad").exit_code, 0);
  EXPECT_EQ(run("nestwalk run -p simple t.nwt t.nwt --limit 100 --force -o d").exit_code, 0);
  say("v['vm1.access.total'] += 1; v['vm1.access.reads'] += 1",
      "access.total is 200, not the sum of its guests' counts, 201");
  say("v['vm1.walk.references_mean'] = 0",
      "vm1.walk.references_mean is 0, not vm1.walk.references / vm1.walk.count, ");
}

// 1000 accesses with marker 1 before them, and as many with marker 2.
TEST_F(BadInput, PhasesThatAreNotTheWholeAreRefused) {
  EXPECT_EQ(
      run("nestwalk trace gen phases accesses=1000 bytes=1M -o p.nwt; "
          "nestwalk run -p simple p.nwt --phases -o d; nestwalk gate d --baseline b.json --update")
          .exit_code,
      0);
  const auto say = [&](const std::string& change, const std::string& message) {
    run("rm -rf bad; cp -r d bad; python3 -c \"import json; s = json.load(open('d/stats.json')); "
        "v = s['statistics']; name = [n for n in v if n.startswith('phase.') and "
        "n.endswith('.access.total')][-1][:-12]; " +
        change + "; json.dump(s, open('bad/stats.json', 'w'))\"");
    complains("nestwalk compare d bad", 4, "bad/stats.json: " + message);
    complains("nestwalk gate bad --baseline b.json", 4, "bad/stats.json: " + message);
  };
  // No other row of a phase says these.
  for (const char* const count :
       {"time.cycles", "access.instructions", "guest.faults", "dram.row_hits", "guest.switches"}) {
    say("v[name + '" + std::string(count) + "'] += 100000000", count + std::string(" is "));
  }
  say("v[name + 'walk.faults'] += 1", "walk.faults is ");
  say("v[name + 'access.total'] += 3; v[name + 'access.reads'] += 3; del s['histograms']",
      "access.total is ");
  say("[v.pop(n) for n in list(v) if n.startswith(name)]", "time.cycles is ");
  say("v[name + 'walk.cycles_mean'] += 1", "phase.");
  say("v[name + 'reference.guest3.nested3.update.none'] = 1; v[name + 'walk.references'] += 1; "
      "v[name + 'walk.references_mean'] = v[name + 'walk.references'] / v[name + 'walk.count']",
      "walk.references is ");
}

TEST_F(BadInput, BaselinesThatCannotBeAreRefused) {
  EXPECT_EQ(run("nestwalk run -p simple t.nwt -o d; nestwalk gate d --baseline b.json --update")
                .exit_code,
            0);
  run("python3 -c \"import json; s = json.load(open('b.json')); "
      "s['cases']['d']['walk.references_mean'] *= 1.001; json.dump(s, open('bad.json', 'w'))\"");
  complains("nestwalk gate d --baseline bad.json --tolerance walk.references_mean=1", 4,
            "bad.json: d: walk.references_mean is ");
}

TEST_F(BadInput, GateWritesOverNothingThatItReads) {
  std::ofstream(folder() / "s.json")
      << R"({"format": "nestwalk-suite", "version": 1, "baseline": "b.json",
             "cases": [{"name": "a", "trace": "t.nwt", "preset": "./p.json"}]})";
  run("nestwalk config print -p simple | python3 -c \"import json, sys; "
      "print(json.dumps(json.load(sys.stdin)['machine']))\" > p.json");
  EXPECT_EQ(run("nestwalk gate s.json --update && nestwalk run t.nwt -p ./p.json -o d").exit_code,
            0);
  run("ln -s t.nwt link.nwt; cp t.nwt t; cp s.json s; cp p.json p; cp b.json b; cp -r d old");
  for (const char* const file : {"s.json", "t.nwt", "./t.nwt", "link.nwt", "p.json"}) {
    complains(std::string("nestwalk gate s.json --update --baseline ") + file, 2,
              std::string(file) + " is read; write to another file");
    for (const char* const report : {"--junit ", "--markdown "}) {
      complains(std::string("nestwalk gate s.json ") + report + file, 2,
                std::string(file) + " is read; write to another file");
    }
  }
  complains("nestwalk gate s.json --junit b.json", 2, "b.json is read; write to another file");
  complains("nestwalk gate s.json --junit x --markdown ./x", 2, "x is written twice");
  for (const char* const file : {"d/stats.json", "d/run.json"}) {
    complains(std::string("nestwalk gate d --baseline b.json --junit ") + file, 2,
              std::string(file) + " is read; write to another file");
    complains(std::string("nestwalk gate d --update --baseline ") + file, 2,
              std::string(file) + " is read; write to another file");
  }
  expect("cmp t t.nwt && cmp s s.json && cmp p p.json && cmp b b.json && diff -r old d", 0, "");
}

// The last one would win, and nobody would be told.
TEST_F(BadInput, WhatIsSetTwiceIsRefused) {
  complains("nestwalk run -p simple t.nwt --limit 5 --set run.limit=10", 2,
            "--limit 5: run.limit is set already, by --set run.limit=10");
  complains("nestwalk run -p simple t.nwt --set core.dependences=all --set core.dependences=trace",
            2,
            "--set core.dependences=trace: core.dependences is set already, by "
            "--set core.dependences=all");
  complains("nestwalk compare -p simple t.nwt --policy eager --set hypervisor.backing=lazy", 2,
            "--policy eager: hypervisor.backing is set already, by --set hypervisor.backing=lazy");
  std::ofstream(folder() / "rules.json") << R"({"interrupts": true, "x86_64": []})";
  for (const std::string command :
       {"nestwalk compare --storm accesses=200 bytes=1M --vcpus 2 -p simple",
        "nestwalk check --storm accesses=200 bytes=1M -p simple"}) {
    complains(command + " --policy precise --set hypervisor.fences=context", 2,
              "--policy precise: hypervisor.fences is set already, by --set "
              "hypervisor.fences=context");
    complains(command + " --policy rules.json --set hypervisor.fence_rules={}", 2,
              "--policy rules.json: hypervisor.fence_rules is set already, by --set "
              "hypervisor.fence_rules={}");
  }
  complains("nestwalk trace gen random accesses=5 accesses=10 -o o.nwt", 2,
            "accesses is there twice");
  std::ofstream(folder() / "s.json")
      << R"({"format": "nestwalk-suite", "version": 1, "baseline": "b.json",
             "tolerances_percent": {"latency.mean": 1}, "cases": [{"name": "a", "trace": "t.nwt",
             "preset": "simple", "set": ["core.dependences=all", "core.dependences=trace"]}]})";
  complains("nestwalk gate s.json --update", 2, "core.dependences is set already");
  run("sed -i 's/, \"core.dependences=trace\"//' s.json; nestwalk gate s.json --update");
  complains("nestwalk gate s.json --tolerance latency.mean=1 --tolerance latency.mean=2", 2,
            "--tolerance latency.mean=2: latency.mean is there twice");
  EXPECT_EQ(run("nestwalk gate s.json --tolerance latency.mean=2").exit_code, 0);
}

TEST_F(BadInput, NamesThatNoFileCanHave) {
  const std::string name(300, 'n');
  run("ln -s loop loop");
  for (const std::string& file : {name, std::string("loop")}) {
    for (const char* const command : {"gate", "compare -p simple", "check", "run -p simple",
                                      "trace info", "trace import -o o.nwt -f recording"}) {
      complains(std::string("nestwalk ") + command + " " + file, 4, file);
    }
  }
  std::ofstream(folder() / "long.json") << R"({"like": ")" << name << R"("})";
  complains("nestwalk config print -p ./long.json", 2,
            "like is \"" + name + "\", but there is no preset of that name");
  std::ofstream(folder() / "zero.json") << R"({"like": "simple\u0000"})";
  complains("nestwalk config print -p ./zero.json", 2,
            R"(like is "simple\u0000", not the name of a preset)");
}

TEST_F(BadInput, NamesOfAnyBytes) {
  const auto is_clean = [](const std::string& text) {
    bool valid = true;
    try {
      (void)nlohmann::json(text).dump();  // throws, unless it is UTF-8
    } catch (const nlohmann::json::exception&) {
      valid = false;
    }
    return valid && text.find('\x1b') == std::string::npos;
  };
  run("mv t.nwt $'\\xff\\e[31m\\n.nwt'; cp $'\\xff\\e[31m\\n.nwt' ./$'a\\xff'");
  run("nestwalk config print -p simple | python3 -c \"import json, sys; "
      "print(json.dumps(json.load(sys.stdin)['machine']))\" > $'p\\xff\\e.json'");
  run("printf 'nestwalk-fence-log 1\\n0 0 vm 1 ept root=0x10000\\n0 0 store 0x10000 0 0x21007\\n"
      "0 0 store 0x21000 0 0x22007\\n0 0 store 0x22000 0 0x23007\\n0 0 store 0x23028 0 0x95037\\n"
      "0 1 enter 1\\n7 0 begin a\\377\\033\\n8 0 store 0x23028 0x95037 0\\n9 0 end\\n' > "
      "$'l\\xff\\e'");
  struct Line {
    const char* command;
    int exit_code;
  };
  for (const Line& line :
       std::initializer_list<Line>{{"run -p simple $N --json", 0},
                                   {"run -p simple $N -o $'d\\xff\\e\\n'", 0},
                                   {"compare -p simple $N --policy lazy --json", 0},
                                   {"compare $'d\\xff\\e\\n' --json", 0},
                                   {"compare $'d\\xff\\e\\n'", 0},
                                   {"compare $'d\\xff\\e\\n' --format csv", 0},
                                   {"compare $'d\\xff\\e\\n' --format markdown", 0},
                                   {"compare --break-even -p $'./p\\xff\\e.json' -p zen4 "
                                    "--policy lazy --set guest.memory=4M -j1",
                                    0},
                                   {"check --storm accesses=500 bytes=64K -p $'./p\\xff\\e.json' "
                                    "--details --policy original-0.3.0",
                                    3},
                                   {"check $'l\\xff\\e'", 3},
                                   {"check $'l\\xff\\e' --details", 3},
                                   {"check $'l\\xff\\e' --json", 3},
                                   {"explain -p simple $N --json", 0},
                                   {"check $N --json", 0},
                                   {"trace info $N", 0},
                                   {"trace stats $N", 0},
                                   {"trace cut $N --count 5 -o c.nwt", 0},
                                   {"trace info c.nwt", 0},  // it has the command line
                                   {"trace info c.nwt --json", 0},
                                   {"trace split $N --prefix $'s\\xff'", 0},
                                   {"gate $'d\\xff\\e\\n' --baseline $'b\\xff.json' --update", 0},
                                   {"gate $'d\\xff\\e\\n' --baseline $'b\\xff.json' --json", 0},
                                   {"trace verify $N --json", 4},
                                   {"run -p simple $'no\\xff\\e\\n'", 4},
                                   {"check $'no\\xff\\e\\n'", 4},
                                   {"run $N -p $'\\xff\\e'", 2},
                                   {"run $N -p $'./\\xff\\e'", 2},
                                   {"run -p simple $N --config $'\\xff\\e'", 2},
                                   {"run -p simple $N --set $'guest.memory=\\xff\\e'", 2},
                                   {"run -p simple $N --set $'\\xff\\e=1'", 2},
                                   {"compare -p simple $N --policy $'\\xff\\e'", 2},
                                   {"$'\\xff\\e'", 2}}) {
    const Result result = run(
        "N=$'\\xff\\e[31m\\n.nwt'; nestwalk " +
        std::regex_replace(std::string(line.command), std::regex("\\$N"), "\"$$N\"") + " 2>error");
    EXPECT_EQ(result.exit_code, line.exit_code) << line.command;
    EXPECT_TRUE(is_clean(result.output)) << line.command << result.output;
    const Result error = run("cat error");
    EXPECT_TRUE(is_clean(error.output)) << line.command << error.output;
    const bool has_line = line.exit_code != 0 && line.exit_code != 3;  // 3 is a judgement
    EXPECT_EQ(std::count(error.output.begin(), error.output.end(), '\n'), has_line)
        << line.command << error.output;
  }
  complains("nestwalk run -p simple $'no\\xff\\e\\n'", 4,
            "nestwalk: no\\xff\\x1b\\n: cannot be opened");
}

TEST_F(BadInput, JunitIsXmlWhateverNamesThereAre) {
  run("nestwalk run -p simple t.nwt -o $'d<\\xff\\e\\n'; nestwalk gate $'d<\\xff\\e\\n' --baseline "
      "b.json "
      "--update; "
      "sed -i 's/\"access.total\":/\"a\\\\u001b\\\\n<\\\\uffff\": 4, &/' b.json");
  EXPECT_EQ(run("nestwalk gate $'d<\\xff\\e\\n' --baseline b.json --junit j.xml").exit_code, 3);
  expect(
      "python3 -c \"import xml.dom.minidom as m; "
      "print(m.parse('j.xml').getElementsByTagName('testcase')[0].getAttribute('name'))\"",
      0, "d<\\xff\\x1b\\n\n");
  EXPECT_THAT(run("cat j.xml").output, HasSubstr("a\\x1b\\n&lt;\\xef\\xbf\\xbf: 4 -&gt; - (gone)"));
}

TEST_F(BadInput, AbsurdNumbers) {
  complains("nestwalk run -p simple t.nwt --limit 99999999999999999999", 2,
            "run.limit is 1e+20, not a number from 0");
  complains("nestwalk run -p simple t.nwt --limit -5", 2, "'-5' is negative");
  complains("nestwalk run -p simple t.nwt --limit 1e-3", 2, "run.limit is 0.001, not a number");
  // 2^64 + 2^40 bytes, of which 64 bits hold 1T.
  complains("nestwalk run -p simple t.nwt --set guest.memory=16777217T", 2, "not a size from 2M");
  complains("nestwalk run -p simple t.nwt --set guest.memory=999999999999999T", 2,
            "not a size from 2M");
  complains("nestwalk run -p simple t.nwt --set guest.memory=0", 2,
            "not a size from 2M to 128T, a list of START+SIZE such as ");
  complains("nestwalk run -p simple t.nwt --set hypervisor.fault_around=1e400", 2,
            "hypervisor.fault_around");
  complains("nestwalk run -p simple t.nwt --set machine.walker.slots=1e99", 2,
            "slots is 1e+99, not a number");
  complains("nestwalk run -p simple t.nwt --set machine.caches.l1d.sets=48", 2,
            "not a power of two");
  complains("nestwalk trace info t.nwt --window 0", 2, "--window is at least 1");
  expect(
      "nestwalk compare -p simple t.nwt --jobs 4294967295 --policy lazy -s access.total --format "
      "csv | tail -n "
      "1 | cut -d, -f1,10",
      0, "lazy,20000\n");
}

}  // namespace
}  // namespace nestwalk::sim::bad_input_test
