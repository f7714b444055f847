// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Traces that are written by hand, for a machine whose times are easy to add up.
//
// TLBs of one level that take 1 cycle and hold 16 pages; no other caches, so an entry or the data
// are a read or write of memory, which takes 10; one instruction a cycle; fences 100 on a core, 300
// everywhere. Software: exit and entry 500 each, handler 1000, emulation 2000, a run of frames 100,
// 4 KiB of zeros 400, a guest's fault 1000, its switch 200; another vCPU on a core 2000.
#pragma once

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "nestwalk/traces/writer.hpp"
#include "program.hpp"

namespace nestwalk::sim {

using namespace traces;
using Json = nlohmann::json;
using Values = std::map<std::string, double>;
using i64 = std::int64_t;

constexpr u64 kMemoryEnd = u64{64} << 20;  // of the guests

class ByHand : public Program {
 protected:
  void make_machine(const char* architecture) {
    Json machine = Json::parse(std::ifstream(NESTWALK_PRESETS "/simple.json"));
    machine["architecture"][0] = architecture;
    for (const char* const cache : {"guest_walk_cache", "nested_walk_cache", "nested_tlb"}) {
      machine["walker"].erase(cache);
    }
    machine["walker"]["enters_at"][0] = "memory";
    for (const char* const cache : {"l1i", "l1d", "l2", "l3"}) machine["caches"].erase(cache);
    machine["tlb"].erase("second");
    machine["tlb"]["data"]["arrays"].erase(1);
    // A bank has an access each ten cycles, and takes ten, whatever the row.
    for (const char* const time : {"controller", "trcd", "trp", "tras", "tburst"}) {
      machine["memory"][std::string(time) + "_ps"][0] = 0;
    }
    machine["memory"]["tcl_ps"][0] = 10'000;
    machine["memory"]["tccd_ps"][0] = 10'000;
    std::ofstream(folder() / "machine.json") << machine;
  }

  /// A trace is written by hand, too.
  void begin(Architecture architecture, Mode mode, u32 vcpus, const std::string& name = "t.nwt") {
    Header header;
    constexpr const char* kPresetNames[] = {"x86-64", "aarch64", "riscv64"};
    make_machine(kPresetNames[static_cast<unsigned>(architecture)]);
    header.architecture = architecture;
    header.mode = mode;
    header.vcpus = vcpus;
    header.lacks = mode == Mode::GuestPhysical ? kNoGva : kNoGpa;
    physical_ = mode == Mode::GuestPhysical;
    sink_ = create_sink((folder() / name).string());
    writer_ = std::make_unique<Writer>(*sink_, header);
  }
  void access(u32 vcpu, AccessKind kind, u64 address, u32 instructions = 0) {
    Access access{Gva(), Gpa(), {}, instructions, 8, kind, physical_ ? kGpaKnown : kGvaKnown};
    if (physical_) {
      access.gpa = Gpa(address);
    } else {
      access.gva = Gva(address);
    }
    writer_->append(vcpu, access);
  }
  void event(u32 vcpu, EventDetail detail, u64 instructions = 0) {
    writer_->append(vcpu, Event{instructions, std::move(detail)});
  }

  /// Runs it.
  Json statistics_of(const std::string& traces, const std::string& settings) {
    const Result result =
        run("nestwalk run " + traces + " -p machine.json --set guest.memory=64M " + settings +
            " -o run --force 2>&1");
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return Json::parse(std::ifstream(folder() / "run" / "stats.json"))["statistics"];
  }
  void finish() { writer_->finish(); }

  /// Runs it, and compares all statistics.
  void expect_run(const std::string& settings, Values expected) {
    finish();
    // The machine has a clock of 1 GHz.
    expected["time.ns"] = expected["time.cycles"];
    expected["latency.mean_ns"] = expected["latency.mean"];
    const Json statistics = statistics_of("t.nwt", settings);
    for (const auto& [name, value] : statistics.items()) {
      if (name.starts_with("vcpu")) continue;  // a part, which is checked with its sum
      EXPECT_DOUBLE_EQ(value.get<double>(), expected[name]) << name;
      expected.erase(name);
    }
    for (const auto& [name, value] : expected) ADD_FAILURE() << name << " is not among them";
  }

 private:
  bool physical_ = false;
  std::unique_ptr<ByteSink> sink_;
  std::unique_ptr<Writer> writer_;
};

}  // namespace nestwalk::sim
