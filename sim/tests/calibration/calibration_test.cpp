// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The parts of a calibration.

#include <gmock/gmock.h>

#include <cmath>
#include <set>
#include <systemc>

#include "calibration/known_cpus.hpp"
#include "calibration/latencies.hpp"
#include "calibration/list_order.hpp"
#include "calibration/preset_value.hpp"
#include "calibration/probe.hpp"
#include "calibration/structures.hpp"

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
