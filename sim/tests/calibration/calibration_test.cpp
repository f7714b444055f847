// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The parts of a calibration.

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <systemc>

#include "calibration/known_cpus.hpp"
#include "calibration/latencies.hpp"
#include "calibration/list_order.hpp"
#include "calibration/preset_value.hpp"
#include "calibration/structures.hpp"
#include "calibration/this_machine.hpp"

// SystemC's library wants it.
int sc_main(int, char**) { return 0; }

namespace nestwalk::sim::calibration_test {
namespace {

using addrspace::kKiB;
using addrspace::kMiB;

TEST(Calibration, AListVisitsEachNodeOnceAndIsKnownInBothDirections) {
  for (const unsigned bits : {1u, 2u, 5u, 8u, 13u}) {
    const ListOrder order(bits);
    std::set<u64> seen;
    u64 place = order.place_of(0);
    for (u64 n = 0; n < order.nodes(); ++n) {
      EXPECT_LT(place, order.nodes());
      EXPECT_EQ(order.position_of(order.place_of(n)), n);
      EXPECT_EQ(place, order.place_of(n)) << bits;
      seen.insert(place);
      place = order.after(place);
    }
    EXPECT_EQ(seen.size(), order.nodes());
    EXPECT_EQ(place, order.place_of(0)) << "the list is a ring";
  }
}

// Of 1024 nodes in pages of 64 lines, a line would have 16 if they were spread evenly.
TEST(Calibration, NodesOfPagesAreSpreadOverTheirLines) {
  std::vector<unsigned> lines(64);
  for (u64 n = 0; n < 1024; ++n) {
    const u64 at = spread_line(n, 4 * kKiB);
    EXPECT_EQ(at / (4 * kKiB), n);
    ++lines[at % (4 * kKiB) / 64];
  }
  EXPECT_GE(*std::min_element(lines.begin(), lines.end()), 8u);
  EXPECT_LE(*std::max_element(lines.begin(), lines.end()), 32u);
}

Cost cost(double cycles, std::initializer_list<double> counts) {
  Cost made{cycles, {}};
  std::copy(counts.begin(), counts.end(), made.counts.begin());
  return made;
}

class Fitted : public testing::Test {
 protected:
  Fitted() : base_(preset_file("zen4")), latencies_(base_) {
    latencies_.set_cycle(ns_of_cycle(base_));
  }
  Configuration base_;
  Latencies latencies_;
};

// A quarter of the loads is served by L3, half by the memory, and those have looked into L3 before:
// 10 cycles more of L3 are 7.5 more for a load. The L2 serves a fifth: 3 cycles more are 0.6.
TEST_F(Fitted, OtherLatenciesMakeOfATimeWhatTheirCountsSay) {
  const std::vector<Cost> costs = {cost(200, {0.05, 0.2, 0.25, 0.5, 0, 0})};
  Latencies other = latencies_;
  ASSERT_TRUE(other.move(Term::L3, 10));
  EXPECT_NEAR(predicted(costs, latencies_, other)[0].cycles, 207.5, 1e-9);
  ASSERT_TRUE(other.move(Term::L2, 3));
  EXPECT_NEAR(predicted(costs, latencies_, other)[0].cycles, 208.1, 1e-9);
}

// The memory's is in picoseconds: a step of 500 ps is 1.85 cycles of 3.7 GHz, for half of the
// loads.
TEST_F(Fitted, TheMemorysLatencyIsATime) {
  const std::vector<Cost> costs = {cost(200, {0.05, 0.2, 0.25, 0.5, 0, 0})};
  Latencies other = latencies_;
  ASSERT_TRUE(other.move(Term::Memory, 1));
  EXPECT_NEAR(predicted(costs, latencies_, other)[0].cycles, 200 + 1.85 / 2, 1e-9);
}

// What a load takes is the sum of its latencies, so three points give back three latencies.
TEST_F(Fitted, LatenciesThatMadeTheTimesAreFound) {
  const std::vector<Cost> costs = {cost(4, {1, 0, 0, 0, 0, 0}), cost(14, {0, 1, 0, 0, 0, 0}),
                                   cost(46, {0, 0, 1, 0, 0, 0}), cost(380, {0, 0, 0, 1, 0, 0})};
  Latencies hidden = latencies_;
  ASSERT_TRUE(hidden.move(Term::L2, 5));
  ASSERT_TRUE(hidden.move(Term::L3, -7));
  ASSERT_TRUE(hidden.move(Term::Memory, 40));
  const double ns = ns_of_cycle(base_);
  std::vector<double> targets;
  for (const Cost& each : predicted(costs, latencies_, hidden)) targets.push_back(each.cycles * ns);
  const Latencies found = sparse(latencies_, costs, targets, ns, 1);
  for (const Term term : {Term::L1, Term::L2, Term::L3, Term::SecondTlb, Term::Walk}) {
    EXPECT_EQ(found.cycles(term), hidden.cycles(term)) << static_cast<int>(term);
  }
  EXPECT_NEAR(found.cycles(Term::Memory), hidden.cycles(Term::Memory), 2);
}

// No point looks into the second TLB: its latency stays that of the preset.
TEST_F(Fitted, WhatNoPointDependsOnStaysAndIsSaid) {
  const std::vector<Cost> costs = {cost(4, {1, 0, 0, 0, 0, 0})};
  for (const FittedValue& each : latencies_.values(costs, {2.0}, 0.5)) {
    EXPECT_EQ(each.value, each.before) << each.path;
    if (each.path == "tlb.second.latency_cycles") {
      EXPECT_EQ(each.note, "a fifth more or less does not matter");
    }
  }
}

// The same, where an earlier step has moved it: no point speaks for a cycle more.
TEST_F(Fitted, AValueThatNoPointDeterminesIsWrittenAsAGuess) {
  const std::vector<Cost> costs = {cost(4, {1, 0, 0, 0, 0, 0})};
  const double before = latencies_.cycles(Term::SecondTlb);
  ASSERT_TRUE(latencies_.move(Term::SecondTlb, 1));
  MeasuredMachine measured;
  measured.cpu = "Pangolin 9";
  measured.date = "2026-11";
  Fit fit;
  fit.values = latencies_.values(costs, {2.0}, 0.5);
  fit.agreement.rows = {{{Probe::Lines, 4 * kKiB, 16 * kKiB, 1}, 2, 2}};
  const Json preset = preset_of(fit, measured, base_, "mine");
  const Json& value = preset["tlb"]["second"]["latency_cycles"];
  ASSERT_EQ(value.size(), 4u) << preset.dump(1);
  EXPECT_EQ(value[0], before + 1);
  EXPECT_EQ(value[1],
            "guess fitted to what was measured 2026-11: Pangolin 9, native, which does not "
            "determine it");
  EXPECT_LE(value[2], value[0]);
  EXPECT_GE(value[3], value[0]);
}

// Of a value that is determined, as here L1's by a load that it serves, the source is the machine.
TEST_F(Fitted, AValueThatAPointDeterminesIsMeasured) {
  const std::vector<Cost> costs = {cost(5, {1, 0, 0, 0, 0, 0})};
  for (const FittedValue& each : latencies_.values(costs, {2.5}, 0.5)) {
    EXPECT_EQ(each.range.has_value(), each.path != "caches.l1d.latency_cycles") << each.path;
  }
}

// With what would move each of them: caches that the processor tells of, and a curve that leaves L3
// at 1 MiB.
TEST(Calibration, StructuresThatAreNotSoughtStayThePresets) {
  const Configuration base(preset_file("zen3"));
  MeasuredMachine measured;
  measured.caches = {{"l1d", 64, 12}, {"l2", 2048, 16}};
  measured.points = {{{Probe::Lines, 2 * kMiB, kMiB, 1}, 5, {}, 1, {}},
                     {{Probe::Lines, 2 * kMiB, 64 * kMiB, 1}, 100, {}, 1, {}}};
  const Structures structures(base, measured, Structures::Sought::None);
  Configuration machine = base;
  structures.apply(machine);
  for (const FittedValue& each : structures.values()) {
    EXPECT_EQ(each.value, each.before) << each.path;
    EXPECT_EQ(preset_value(machine, each.path)->value, preset_value(base, each.path)->value)
        << each.path;
    EXPECT_EQ(each.note, "not sought") << each.path;
  }
}

// What is around the machine is no value of the preset.
TEST(Calibration, AStructureReturnsToThePresets) {
  const Configuration base(preset_file("zen3"));
  for (const Structure& each : Structures(base, {}).all()) {
    const Structures first(base, {});
    EXPECT_FALSE(first.returned(each)) << each.name;
    std::optional<Structures> moved = first.moved(each, 1);
    if (!moved) moved = first.moved(each, -1);
    ASSERT_TRUE(moved) << each.name;
    const std::optional<Structures> back = moved->returned(each);
    EXPECT_EQ(back.has_value(), each.name != "frames of the guest") << each.name;
    if (!back) continue;
    EXPECT_EQ(back->text_of(each), first.text_of(each)) << each.name;
  }
}

TEST(Calibration, StructuresOfThePresetAreTheFirstCandidates) {
  const Configuration base(preset_file("zen4"));
  Configuration machine = base;
  Structures(base, {}).apply(machine);
  machine.check_machine();
  for (const char* const path : {"caches.l3.ways", "tlb.second.arrays.0.ways"}) {
    EXPECT_EQ(preset_value(machine, path)->value, preset_value(base, path)->value) << path;
  }
}

TEST(Calibration, WhatTheProcessorSaysIsNotSought) {
  const Configuration base(preset_file("zen4"));
  MeasuredMachine measured;
  measured.caches = {{"l1d", 64, 12}};
  const Structures structures(base, measured);
  for (const Structure& each : structures.all()) EXPECT_NE(each.name, "caches.l1d");
  Configuration machine = base;
  structures.apply(machine);
  EXPECT_EQ(preset_value(machine, "caches.l1d.ways")->value, 12);
}

TEST(Calibration, AValueGoesIntoAPresetWithTheRestOfItsList) {
  const Configuration base(preset_file("zen4"));
  Json preset = Json::object();
  put_value(preset, base.document()["machine"], "tlb.second.arrays.0.ways", {7, "measured"});
  put_value(preset, base.document()["machine"], "caches.l2.latency_cycles", {15, "measured"});
  EXPECT_EQ(preset["tlb"]["second"]["arrays"].size(),
            base.document()["machine"]["tlb"]["second"]["arrays"].size());
  EXPECT_EQ(preset["tlb"]["second"]["arrays"][0]["ways"][0], 7);
  EXPECT_EQ(preset["caches"]["l2"].dump(), R"({"latency_cycles":[15,"measured"]})");
}

/// Files of a kernel.
class Kernel : public testing::Test {
 protected:
  Kernel()
      : root_(std::filesystem::temp_directory_path() /
              (std::string("nestwalk-kernel-") +
               testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(root_);
  }
  ~Kernel() override { std::filesystem::remove_all(root_); }
  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path file = root_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::string root() const { return root_.string(); }

 private:
  std::filesystem::path root_;
};

TEST_F(Kernel, AFlagOfX86SaysWhatIsAVm) {
  write("proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor lm\n\n");
  EXPECT_TRUE(this_machine(root()).is_virtual);
  write("proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu lm\n\n");
  EXPECT_FALSE(this_machine(root()).is_virtual);
  EXPECT_TRUE(this_machine(root()).notes.empty());
}

// As on Arm, whose `Features` have no flag for it.
TEST_F(Kernel, ElsewhereTheHypervisorsTracesSayIt) {
  write("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n\n");
  MeasuredMachine unknown = this_machine(root());
  EXPECT_FALSE(unknown.is_virtual);
  EXPECT_THAT(unknown.notes, testing::ElementsAre(kUnknownEnvironment));
  unknown.set_environment(true);
  EXPECT_TRUE(unknown.is_virtual);
  EXPECT_TRUE(unknown.notes.empty());
  write("sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
  write("sys/class/dmi/id/product_name", "c7g.metal\n");
  EXPECT_FALSE(this_machine(root()).is_virtual);
  write("sys/class/dmi/id/product_name", "c7g.large\n");
  EXPECT_EQ(this_machine(root()).hypervisor, "Amazon EC2");
  EXPECT_TRUE(this_machine(root()).is_virtual);
  write("proc/device-tree/hypervisor/compatible", std::string("linux,kvm\0", 10));
  EXPECT_EQ(this_machine(root()).hypervisor, "linux,kvm");
  write("sys/hypervisor/type", "xen\n");
  EXPECT_EQ(this_machine(root()).hypervisor, "xen");
}

// 8 GiB are free. A group has 4 MiB and uses 3, of which 1 is of files that can go: 2 are left. The
// one below it has 1 MiB and uses none.
TEST_F(Kernel, ControlGroupsLimitTheMemory) {
  EXPECT_EQ(available_bytes(root()), addrspace::kGiB) << "where nothing is said";
  write("proc/meminfo", "MemTotal:  16777216 kB\nMemAvailable:  8388608 kB\n");
  EXPECT_EQ(available_bytes(root()), 8 * addrspace::kGiB);
  write("sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(available_bytes(root()), 8 * addrspace::kGiB);
  write("sys/fs/cgroup/memory.max", "4194304\n");
  write("sys/fs/cgroup/memory.current", "3145728\n");
  EXPECT_EQ(available_bytes(root()), kMiB);
  write("sys/fs/cgroup/memory.stat", "anon 2097152\ninactive_file 1048576\n");
  EXPECT_EQ(available_bytes(root()), 2 * kMiB);
  write("sys/fs/cgroup/a/b/memory.max", "1048576\n");
  write("proc/self/cgroup", "0::/a/b\n");
  EXPECT_EQ(available_bytes(root()), kMiB);
}

TEST(Calibration, ProcessorsHaveTheirPresets) {
  MeasuredMachine machine;
  machine.vendor = "AuthenticAMD";
  machine.family = 25;
  machine.model = 1;
  EXPECT_EQ(preset_like(machine), "zen3");
  machine.model = 0x11;
  EXPECT_EQ(preset_like(machine), "zen4");
  machine.vendor = "SomebodyElse";
  EXPECT_EQ(preset_like(machine), std::nullopt);
}

}  // namespace
}  // namespace nestwalk::sim::calibration_test
