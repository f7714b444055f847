// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/systemc/timekeeper.hpp"

#include <algorithm>

namespace nestwalk::systemc {

using sc_core::sc_time;
using sc_core::sc_time_stamp;

namespace {

constexpr Cycle kUnlimited = models::kNever - 1;

}  // namespace

Timekeeper::Timekeeper(const sc_core::sc_module_name& name, const sc_time& cycle, Cycle lookahead)
    : sc_module(name), cycle_(cycle), lookahead_(lookahead) {
  if (cycle == sc_core::SC_ZERO_TIME) {
    SC_REPORT_FATAL("/nestwalk/time",
                    "a cycle takes no time: it needs a length, or more resolution");
  }
  SC_METHOD(run);
  sensitive << due_;
}

Cycle Timekeeper::cycle_from(const sc_time& time) const {
  return (time.value() + cycle_.value() - 1) / cycle_.value();
}

// The last cycle of which the kernel's other processes need not know.
Cycle Timekeeper::before_others() const {
  const Cycle here = sc_time_stamp().value() / cycle_.value();
  if (sc_core::sc_pending_activity_at_current_time()) return here;
  if (!sc_core::sc_pending_activity_at_future_time()) return kUnlimited;
  const Cycle theirs = cycle_from(sc_time_stamp() + sc_core::sc_time_to_pending_activity());
  return std::max(here, theirs - 1);
}

void Timekeeper::run() {
  const Cycle here = sc_time_stamp().value() / cycle_.value();
  const Cycle farthest = lookahead_ < kUnlimited - here ? here + lookahead_ : kUnlimited;
  wheel_.run_until(std::min(farthest, before_others()));
  wake();
}

void Timekeeper::wake() {
  if (wheel_.next() > last_cycle()) return;
  const sc_time next = time_of(wheel_.next());
  due_.notify(next > sc_time_stamp() ? next - sc_time_stamp() : sc_core::SC_ZERO_TIME);
}

void Timekeeper::run_ahead() {
  ahead_ = true;
  wheel_.run_until(kUnlimited);
  ahead_ = false;
  wake();
}

}  // namespace nestwalk::systemc
