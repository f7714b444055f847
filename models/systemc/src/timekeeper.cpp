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

// The rest of this delta cycle may bring more for the same cycle.
void Timekeeper::enter(u32 port, Cycle at, models::Actor& actor, u32 what) {
  arrived_.push_back({port, at, &actor, what, sc_core::sc_delta_count()});
  due_.notify(sc_core::SC_ZERO_TIME);
}

// Whatever came in delta cycles before that one takes its turn.
void Timekeeper::admit(u64 before_delta) {
  const auto end = std::find_if(arrived_.begin(), arrived_.end(),
                                [&](const Arrival& each) { return each.delta >= before_delta; });
  std::stable_sort(arrived_.begin(), end,
                   [](const Arrival& a, const Arrival& b) { return a.port < b.port; });
  for (auto each = arrived_.begin(); each != end; ++each) {
    const Cycle at = std::max(each->at, wheel_.now());
    std::vector<Arrival>& others = admitted_[at];
    if (others.empty()) wheel_.schedule(at, *this, 0);
    others.push_back(*each);
  }
  arrived_.erase(arrived_.begin(), end);
}

// The models first, and what they have yet to do in this cycle.
void Timekeeper::on_cycle(u32) {
  const Cycle now = wheel_.now();
  if (wheel_.next() == now) return wheel_.schedule(now, *this, 0);
  const auto admitted = admitted_.extract(now);
  for (const Arrival& each : admitted.mapped()) {
    wheel_.schedule(now, *each.actor, each.what);
  }
}

void Timekeeper::run() {
  admit(sc_core::sc_delta_count());
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
  admit(models::kNever);
  ahead_ = true;
  wheel_.run_until(kUnlimited);
  ahead_ = false;
  wake();
}

}  // namespace nestwalk::systemc
