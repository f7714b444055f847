// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/recorded_order.hpp"

#include <algorithm>
#include <utility>

namespace nestwalk::software {

bool RecordedOrder::reach(const Member& member) {
  drop_ended();
  const auto row = std::find_if(members_.begin(), members_.end(),
                                [&](const Row& each) { return each.member == &member; });
  row->waits = &*row != first();
  const bool goes_on = !row->waits;
  moved();
  return goes_on;
}

void RecordedOrder::drop_ended() {
  std::erase_if(members_, [](const Row& each) { return each.member->is_through(); });
}

// The one that nobody is before; null if all have ended.
RecordedOrder::Row* RecordedOrder::first() {
  const auto least = std::min_element(
      members_.begin(), members_.end(),
      [](const Row& a, const Row& b) { return a.member->clock() < b.member->clock(); });
  return least == members_.end() ? nullptr : &*least;
}

void RecordedOrder::moved() {
  drop_ended();
  Row* const next = first();
  if (next != nullptr && next->waits) {
    next->waits = false;
    next->member->go_on();
  }
  // The least clock that a member waits at is watched by all others, and the next one by itself.
  const Row* least_row = nullptr;
  u64 least = kNobody;
  u64 second = kNobody;
  for (const Row& each : members_) {
    if (!each.waits) continue;
    const u64 clock = each.member->clock();
    if (least_row == nullptr || clock < least) {
      second = std::exchange(least, clock);
      least_row = &each;
    } else {
      second = std::min(second, clock);
    }
  }
  for (const Row& each : members_) each.member->watch(&each == least_row ? second : least);
}

}  // namespace nestwalk::software
