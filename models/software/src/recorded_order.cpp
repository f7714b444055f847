// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/recorded_order.hpp"

#include <algorithm>

namespace nestwalk::software {

bool RecordedOrder::may_go_on(std::size_t number) const {
  const u64 clock = members_[number].member->clock();
  for (std::size_t n = 0; n < members_.size(); ++n) {
    const Member& other = *members_[n].member;
    if (n == number || other.is_through()) continue;
    if (other.clock() < clock || (other.clock() == clock && n < number)) return false;
  }
  return true;
}

bool RecordedOrder::reach(const Member& member) {
  const auto row = std::find_if(members_.begin(), members_.end(),
                                [&](const Row& each) { return each.member == &member; });
  row->waits = !may_go_on(static_cast<std::size_t>(row - members_.begin()));
  const bool goes_on = !row->waits;
  moved();
  return goes_on;
}

u64 RecordedOrder::least_clock_waited_for(const Row& by) const {
  u64 least = kNobody;
  for (const Row& each : members_) {
    if (each.waits && &each != &by) least = std::min(least, each.member->clock());
  }
  return least;
}

void RecordedOrder::moved() {
  for (std::size_t n = 0; n < members_.size(); ++n) {
    if (!members_[n].waits || !may_go_on(n)) continue;
    members_[n].waits = false;
    members_[n].member->go_on();
  }
  for (const Row& each : members_) each.member->watch(least_clock_waited_for(each));
}

}  // namespace nestwalk::software
