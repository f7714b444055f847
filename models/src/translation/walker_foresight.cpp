// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a walker tells the host's caches of the walks to come, and fetches ahead itself.

#include <algorithm>

#include "nestwalk/models/translation/walker.hpp"

namespace nestwalk::models {

// The access after the next: the entry of the first stage. The next: the entry of the first stage
// is at hand, since this walk's predecessor expected it, and says which is the second stage's.
void Walker::foresee(const Regime& regime, const Upcoming& upcoming) const {
  if (!memory_.has_pointers()) return;
  expect(guest_slot(regime, upcoming.upcoming(1)));
  if (regime.nested.on()) expect(nested_slot(regime, upcoming.upcoming(0)));
}

// The lines of the entries of the lowest levels, the upper first; the walk will tell whether they
// are the right ones. Of the root's level there is nothing to fetch ahead: it is read first.
void Walker::fetch_ahead(const Stage& stage, u64 input) {
  if (stage.areas == nullptr) return;
  for (unsigned level = std::min(TableAreas::kLevels, stage.geometry.root_level()); level-- != 0;) {
    const std::optional<u64> slot = stage.areas->slot(input, level, stage.geometry);
    if (!slot || !memory_.contains(Hpa(*slot), sizeof(u64))) continue;
    if (hierarchy_.fetch_ahead(path_, Hpa(*slot))) ++fetched_ahead_;
  }
}

u64 Walker::guest_slot(const Regime& regime, u64 address) const {
  const Stage& guest = regime.guest_of(address);
  return guest.on() ? guest_tables_.slot(address, guest.geometry) : 0;
}

u64 Walker::nested_slot(const Regime& regime, u64 address) const {
  u64 input = address;
  if (const Stage& guest = regime.guest_of(address); guest.on()) {
    const u64 slot = guest_slot(regime, address);
    if (!memory_.contains(Hpa(slot), sizeof(u64))) return 0;
    const Entry leaf = guest.format->decode(memory_.load(Hpa(slot)), 0, slot);
    if (leaf.kind != EntryKind::Leaf) return 0;
    input = leaf.address;
  }
  return nested_tables_.slot(input, regime.nested.geometry);
}

}  // namespace nestwalk::models
