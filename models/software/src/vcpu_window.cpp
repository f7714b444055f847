// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// With a window: several accesses are under way. Accesses that are issued have numbers; those
// before `oldest_` are over.

#include "nestwalk/software/vcpu.hpp"

#include <utility>

namespace nestwalk::software {

// An access that is over when it begins lets the next one begin: a round for each, not a call.
void Vcpu::play_window() {
  if (front_runs_) {
    front_again_ = true;
    return;
  }
  front_runs_ = true;
  do {
    front_again_ = false;
    play_front();
  } while (front_again_);
  front_runs_ = false;
}

// Issues what may begin now. Time passes only when all that can begin has begun.
void Vcpu::play_front() {
  front_waits_ = false;
  while (front_ != Front::Finished) {
    if (front_ != Front::Next && front_ != Front::Ready) {
      if (!rare_front()) return;
      continue;
    }
    if (front_ == Front::Next && !plan_next()) return;
    const Cycle now = board_.wheel().now();
    counts_.stalled_cycles += now - ready_at_;
    ready_at_ = now;
    if (front_ == Front::Next && needs_attention()) {
      front_ = Front::Attend;
      continue;
    }
    front_ = Front::Next;
    known_record_ = false;
    if (at_ == batch_.accesses.size()) {
      front_ = Front::Event;
      continue;
    }
    return issue();
  }
}

// True if the next record may begin now. If not, the front waits for its time or for an access.
bool Vcpu::plan_next() {
  if (!known_record_) {
    if (!fetch_record()) return false;
    known_record_ = true;
    const bool event = at_ == batch_.accesses.size();
    ready_at_ += gap(event ? batch_.event->instructions : batch_.accesses[at_].instructions);
  }
  front_waits_ = !may_begin();
  if (front_waits_) return false;
  if (board_.wheel().now() >= ready_at_) return true;
  board_.wheel().schedule(ready_at_, *this, kFront);
  return false;
}

bool Vcpu::may_begin() const {
  const u64 under_way = issued() - oldest_;
  if (at_ == batch_.accesses.size() || needs_attention()) return under_way == 0;
  const GuestAccess& access = batch_.accesses[at_];
  return faulting_ == 0 && under_way < slots_.size() && is_over(last_fetch_) &&
         (!access.is(GuestAccess::kDependent) || is_over(last_read_));
}

bool Vcpu::is_over(u64 number) const {
  return number == kNever || number < oldest_ || slots_[number % slots_.size()].done;
}

// What follows is planned before the access takes its time.
void Vcpu::issue() {
  const u32 index = static_cast<u32>(issued() % slots_.size());
  Slot& slot = slots_[index];
  slot.own = batch_.accesses[at_++];
  slot.access = &slot.own;
  begin(slot);
  if (slot.own.kind == models::AccessKind::Read) last_read_ = slot.number;
  if (slot.own.kind == models::AccessKind::Execute) last_fetch_ = slot.number;
  if (plan_next()) board_.wheel().schedule(board_.wheel().now(), *this, kFront);
  go_on(index);
}

// The fault that nothing could begin beside is handled: what follows begins beside the access that
// had it, which is only tried again.
void Vcpu::wake_front() {
  if (!std::exchange(front_waits_, false)) return;
  board_.wheel().schedule(board_.wheel().now(), *this, kFront);
}

// In order; then whoever waited for that goes on.
void Vcpu::free_slots() {
  while (oldest_ != issued() && slots_[oldest_ % slots_.size()].done) ++oldest_;
  const Cycle now = board_.wheel().now();
  if (front_ == Front::Finished) {
    counts_.stalled_cycles += now - counts_.end;
    counts_.end = now;
    if (!draining()) return end();
  }
  if (oldest_ != issued()) {
    const u32 index = static_cast<u32>(oldest_ % slots_.size());
    Slot& slot = slots_[index];
    if (slot.state == State::Held) {
      again(slot, counts_.held_cycles);
      board_.wheel().schedule(now, *this, index);
    }
  }
  if (front_waits_) play_window();
}

}  // namespace nestwalk::software
