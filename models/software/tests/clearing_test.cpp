// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How frames are cleared: one of 64 lines, with a first cache of 4 cycles and four MSHRs over a
// memory of 100.

#include <gtest/gtest.h>

#include "nestwalk/models/machine/machine.hpp"
#include "nestwalk/models/time/process.hpp"
#include "nestwalk/software/clearing.hpp"

namespace nestwalk::software::clearing_test {
namespace {

using models::Clearing;
using models::Cycle;
using models::Hpa;

constexpr addrspace::u64 kBase = addrspace::u64{1} << 32;

class Clears : public testing::Test {
 protected:
  static models::MachineShape shape() {
    models::MachineShape machine;
    machine.l1d = models::DataCacheShape{64, 4, 4, 4};
    machine.memory = {.controller_ps = 100'000};
    machine.mmu.data_tlb.arrays = {{1, 4, {12}}};
    return machine;
  }
  /// How long it takes.
  Cycle clears(Clearing how, addrspace::u32 cycles, addrspace::u64 bytes = 4096) {
    models::SoftwareShape costs;
    costs.clearing = how;
    costs.zero_cycles = cycles;
    const Cycle begin = machine.wheel().now();
    models::Process process;
    process.start(clear(machine, 0, costs, Hpa(kBase), bytes));
    machine.wheel().run();
    EXPECT_FALSE(process.is_running());
    return machine.wheel().now() - begin;
  }
  bool is_cached(addrspace::u64 line) {
    return machine.hierarchy().hits_first(machine.core(0).paths.data, Hpa(kBase + line * 64),
                                          false);
  }

  models::Machine machine{shape(), addrspace::kGiB};
};

TEST_F(Clears, AtAConstantCost) {
  EXPECT_EQ(clears(Clearing::Constant, 77), 77u);
  EXPECT_EQ(clears(Clearing::Constant, 77, 8192), 154u);
  EXPECT_FALSE(is_cached(0));
}
// A line each cycle, but four at a time: those that begin at 0 to 3 are there at 104 to 107, and
// the next four, which have waited for their MSHRs, 104 later. The last of sixteen such groups: 16
// * 104 + 3.
TEST_F(Clears, ThroughCachesAsFastAsTheseTakeIt) {
  EXPECT_EQ(clears(Clearing::Cached, 64), 16u * 104 + 3);
  for (addrspace::u64 line = 0; line < 64; ++line) EXPECT_TRUE(is_cached(line));
  // What it finds there takes no more than the pace: the last line begins at 63, and is there
  // at 67.
  EXPECT_EQ(clears(Clearing::Cached, 64), 67u);
  EXPECT_EQ(clears(Clearing::Cached, 640), 640u);
}
TEST_F(Clears, AroundCaches) {
  clears(Clearing::Cached, 64);
  EXPECT_EQ(clears(Clearing::NonTemporal, 128), 128u);
  for (addrspace::u64 line = 0; line < 64; ++line) EXPECT_FALSE(is_cached(line));
  EXPECT_EQ(machine.hierarchy().dram_counts().write_backs, 64u);
}
// Large runs leave caches alone.
TEST_F(Clears, LargeRunsAtAConstantCost) {
  EXPECT_EQ(clears(Clearing::Cached, 64, 128 * addrspace::kKiB), 32u * 64);
  EXPECT_FALSE(is_cached(0));
}

}  // namespace
}  // namespace nestwalk::software::clearing_test
