// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/clearing.hpp"

#include <algorithm>
#include <utility>

#include "nestwalk/models/time/process.hpp"

namespace nestwalk::software {

using addrspace::kFrameBytes;
using addrspace::u32;
using addrspace::u64;
using models::Cycle;

LineClearing::LineClearing(models::Board& board, u32 core, const models::SoftwareShape& costs,
                           models::Hpa start, u64 bytes)
    : board_(board),
      path_(board.core(core).paths.data),
      around_(costs.clearing == models::Clearing::NonTemporal),
      start_(start),
      lines_(bytes / board.hierarchy().line_bytes()),
      pace_(clearing_cycles(costs, bytes)) {}

bool LineClearing::begin(models::Actor& owner) {
  owner_ = &owner;
  begin_ = board_.wheel().now();
  board_.wheel().schedule(begin_, *this, kNext);
  return false;
}

void LineClearing::on_cycle(u32 what) {
  if (what == kNext) return store_next();
  --under_way_;
  if (std::exchange(waits_, false)) return store_next();
  end_if_done();
}

// The next line is due on the wheel before this one is looked for, which therefore does not go on
// beyond that cycle at once.
void LineClearing::store_next() {
  if (under_way_ == kMostUnderWay) {
    waits_ = true;
    return;
  }
  models::MemoryHierarchy& caches = board_.hierarchy();
  const models::Hpa at = start_ + next_ * caches.line_bytes();
  ++next_;
  models::Wheel& wheel = board_.wheel();
  if (next_ < lines_) wheel.schedule(std::max(wheel.now(), due(next_)), *this, kNext);
  if (around_) {
    caches.store_around(path_, at);
  } else if (!caches.access(path_, at, true, *this, kStored, served_)) {
    ++under_way_;
    return;
  }
  end_if_done();
}

void LineClearing::end_if_done() {
  if (next_ != lines_ || under_way_ != 0) return;
  models::Wheel& wheel = board_.wheel();
  wheel.schedule(std::max(wheel.now(), begin_ + pace_), *std::exchange(owner_, nullptr), 0);
}

models::Task<> clear(models::Board& board, u32 core, const models::SoftwareShape& costs,
                     models::Hpa start, u64 bytes) {
  models::Wheel& wheel = board.wheel();
  if (costs.clearing == models::Clearing::Constant || bytes > LineClearing::kMostBytes) {
    co_await models::Until(wheel, wheel.now() + clearing_cycles(costs, bytes));
    co_return;
  }
  LineClearing lines(board, core, costs, start, bytes);
  models::Call cleared([&](models::Actor& owner) { return lines.begin(owner); });
  co_await cleared;
}

Cycle clearing_cycles(const models::SoftwareShape& costs, u64 bytes) {
  return bytes / kFrameBytes * costs.zero_cycles;
}

}  // namespace nestwalk::software
