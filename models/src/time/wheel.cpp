// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/time/wheel.hpp"

#include <algorithm>
#include <bit>

namespace nestwalk::models {

Wheel::Wheel() {
  pool_.reserve(1024);
  far_.reserve(64);
}

inline u32 Wheel::take_event() {
  const u32 event = free_;
  if (event == kNone) [[unlikely]] {
    pool_.emplace_back();
    return static_cast<u32>(pool_.size() - 1);
  }
  free_ = pool_[event].next;
  return event;
}

inline void Wheel::append(Cycle at, Actor& actor, u32 what) {
  const u32 event = take_event();
  pool_[event] = {&actor, what, kNone};
  const u32 index = static_cast<u32>(at % kSlots);
  Slot& slot = slots_[index];
  (slot.first == kNone ? slot.first : pool_[slot.last].next) = event;
  slot.last = event;
  occupied_[index / 64] |= u64{1} << index % 64;
}

void Wheel::schedule(Cycle at, Actor& actor, u32 what) {
  check(at >= now_, "wheel", "an event that is not in the past", now_, at);
  next_ = std::min(next_, at);
  if (at - now_ < kSlots) {
    quiet_until_ = std::min(quiet_until_, at);
    append(at, actor, what);
    return;
  }
  far_.push_back({at, order_++, &actor, what});
  std::push_heap(far_.begin(), far_.end());
  look_ahead();
}

void Wheel::look_ahead() {
  quiet_until_ = std::min(next_, horizon_ + 1);
  if (!far_.empty()) quiet_until_ = std::min(quiet_until_, far_.front().at - (kSlots - 1));
}

bool Wheel::advance_far(Cycle at) {
  if (at >= next_ || at > horizon_) return at == now_;
  now_ = at;
  bring_near();
  look_ahead();
  return true;
}

// Far events enter their slots as soon as these come within reach, before anything else can be
// scheduled there: so the order within a cycle stays that of scheduling.
void Wheel::bring_near() {
  while (!far_.empty() && far_.front().at - now_ < kSlots) {
    std::pop_heap(far_.begin(), far_.end());
    const Far event = far_.back();
    far_.pop_back();
    append(event.at, *event.actor, event.what);
  }
}

// The first slot from that of now(), around the wheel; kNone if all are empty.
u32 Wheel::first_occupied() const {
  constexpr u32 kWords = kSlots / 64;
  const u32 start = static_cast<u32>(now_ % kSlots);
  const u64 ahead = occupied_[start / 64] >> start % 64;
  if (ahead != 0) return start + static_cast<u32>(std::countr_zero(ahead));
  for (u32 n = 1; n <= kWords; ++n) {
    const u32 word = (start / 64 + n) % kWords;
    if (occupied_[word] != 0)
      return word * 64 + static_cast<u32>(std::countr_zero(occupied_[word]));
  }
  return kNone;
}

Cycle Wheel::earliest() const {
  const u32 slot = first_occupied();
  if (slot != kNone) return now_ + ((slot + kSlots - now_ % kSlots) % kSlots);
  return far_.empty() ? kNever : far_.front().at;
}

void Wheel::run_until(Cycle horizon) {
  horizon_ = horizon;
  look_ahead();
  while (next_ <= horizon_) {
    now_ = next_;
    if (!far_.empty()) bring_near();
    const u32 index = static_cast<u32>(now_ % kSlots);
    Slot& slot = slots_[index];
    const u32 taken = slot.first;
    const Event event = pool_[taken];
    pool_[taken].next = free_;
    free_ = taken;
    slot.first = event.next;
    if (slot.first == kNone) {
      occupied_[index / 64] &= ~(u64{1} << index % 64);
      next_ = earliest();
    }
    look_ahead();
    ++events_;
    event.actor->on_cycle(event.what);
  }
}

}  // namespace nestwalk::models
