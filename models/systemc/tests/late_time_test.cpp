// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Times are exact as far as the kernel's 64 bits, and not only as far as a double's 53.

#include <unistd.h>

#include "platform_fixture.hpp"

namespace nestwalk::systemc::late_time_test {
namespace {

using sc_core::sc_time;

constexpr u64 kStarts[] = {u64{1} << 20, u64{1} << 53, u64{1} << 57, u64{1} << 61};

class LateTime : public testing::TestWithParam<u64> {
 protected:
  sc_time cycle() const { return sc_time::from_value(GetParam()); }
};

// The resolution is a picosecond. A cycle's begin is its number times its length, in integers, and
// a unit later the next cycle is the first that has not begun.
TEST_P(LateTime, OfACycleIsExact) {
  const Timekeeper time("time", cycle());
  ASSERT_EQ(time.last_cycle(), (u64{1} << 62) / GetParam());
  std::vector<Cycle> cycles = {time.last_cycle() - 1, time.last_cycle()};
  for (const u64 start : kStarts) {
    for (u64 n = 0; n < 100; ++n) cycles.push_back(start / GetParam() + n);
  }
  for (const Cycle at : cycles) {
    const sc_time begin = time.time_of(at);
    EXPECT_EQ(begin.value(), at * GetParam());
    EXPECT_EQ(time.cycle_from(begin), at);
    EXPECT_EQ(time.cycle_from(begin + sc_time::from_value(1)), at + 1);
  }
}

// Wakes up often enough that the models cannot run ahead.
struct Busy : sc_core::sc_module {
  explicit Busy(const sc_core::sc_module_name& name) : sc_module(name) {
    SC_METHOD(wake_up);
    sensitive << again;
    dont_initialize();
  }
  SC_HAS_PROCESS(Busy);
  void wake_up() {
    if (++times_ < 20'000) again.notify(sc_time::from_value(501));
  }
  unsigned times_ = 0;
  sc_core::sc_event again;
};

// Three accesses at each start, one after the other, by the same pages. From the second start on
// all is cached: each takes a cycle in the TLB and four in the L1, from the begin of its cycle.
TEST_P(LateTime, AnAccessTakesAsLongAsEver) {
  alarm(60);  // should it never end
  complain_by_throwing();
  standard::Initiator initiator("initiator");
  Platform platform("platform", simple(), addrspace::kGiB, cycle());
  initiator.out.bind(platform.core[0].data);
  Busy busy("busy");
  sc_core::sc_start(sc_core::SC_ZERO_TIME);
  GuestTables tables(platform.board(), 2);
  set_accessed_flags(platform.board().memory());
  platform.board().core(0).mmu->set_regime(tables.regime);
  u64 data = 0;
  for (const u64 start : kStarts) {
    initiator.responses.clear();
    for (u64 n = 0; n < 3; ++n) {
      tlm::tlm_generic_payload& payload = initiator.pool.take();
      fill(payload, tlm::TLM_READ_COMMAND, GuestTables::kBase, &data, 8);
      initiator.send_at(sc_time::from_value(start + 1 + n * 7'000'001), payload);
    }
    busy.times_ = 0;
    busy.again.notify(sc_time::from_value(start + 50) - sc_core::sc_time_stamp());
    sc_core::sc_start();
    ASSERT_EQ(initiator.responses.size(), 3u);
    for (u64 n = 0; n < 3; ++n) {
      const u64 sent = start + 1 + n * 7'000'001;
      const u64 begin = (sent + GetParam() - 1) / GetParam();
      if (start == kStarts[0] && n == 0) continue;  // a walk
      EXPECT_EQ(initiator.responses[n].at.value(), (begin + 5) * GetParam()) << start << ' ' << n;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(OfSeveralLengths, LateTime, testing::Values(333, 250, 1000));

}  // namespace
}  // namespace nestwalk::systemc::late_time_test
