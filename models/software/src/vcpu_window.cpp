// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Out of order: several accesses are under way, each in a slot. Slots are taken and freed in order,
// by accesses whose places are counted; those before `oldest_` are over.

#include <algorithm>
#include <utility>

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {

// A record begins as soon as it may.
models::Task<> Vcpu::play_window() {
  while (records_.fetch()) {
    begin_gap();
    while (turn_.has_issued() || !is_due()) {
      co_await turn_;
      if (has_stopped()) co_return;
      issue_instructions();
    }
    stall_until(board_.wheel().now());
    if (needs_attention()) co_await attend();
    if (has_stopped()) co_return;
    if (!records_.is_event()) {
      if (!core_shape_.hides_fetch_hits || !take_hidden_fetch()) issue();
      continue;
    }
    co_await play_event();
    if (has_stopped()) co_return;
  }
  finish();
  turn_.begin_issued();
}

void Vcpu::begin_gap() {
  unissued_ = count_instructions();
  lost_until_ = ready_at_ += gap_lost_;
  issue_instructions();
}

// Those for which the window has room: with the oldest access that is not over.
void Vcpu::issue_instructions() {
  if (unissued_ == 0) return;
  u64 room = unissued_;
  if (oldest_ != begun_) {
    room = std::min(room, slot_of(oldest_).position + core_shape_.window - 1 - position_);
  }
  if (room == 0) return;
  stall_until(std::max(ready_at_, board_.wheel().now()));
  const Cycle cycles = pace_.cycles(room, left_of_cycle_);
  counts_.instruction_cycles += cycles;
  ready_at_ += cycles;
  position_ += room;
  unissued_ -= room;
}

void Vcpu::stall_until(Cycle at) {
  counts_.stalled_cycles += at - ready_at_;
  ready_at_ = at;
}

// Is it the next record's time?
bool Vcpu::is_due() { return begins_at() <= board_.wheel().now(); }

// When the next record may begin, if no more has to be over for that; else kNever.
Cycle Vcpu::begins_at() {
  const u64 under_way = begun_ - oldest_;
  if (unissued_ != 0) return models::kNever;
  if (records_.is_event() || needs_attention()) return under_way == 0 ? ready_at_ : models::kNever;
  const GuestAccess& access = records_.access();
  if (faulting_ != 0 || under_way == slots_.size() || !is_over(last_fetch_) ||
      (waits_for_read(access) && !is_over(last_read_))) {
    return models::kNever;
  }
  return port_free_at(access.kind, std::max(ready_at_, board_.wheel().now()));
}

bool Vcpu::is_over(u64 place) const {
  return place == kNever || place < oldest_ || slot_of(place).done;
}

void Vcpu::issue() {
  Slot& slot = slot_of(begun_);
  slot.place = begun_++;
  slot.position = position_;
  slot.number = records_.accesses();
  slot.own = records_.take_access();
  slot.access = &slot.own;
  begin(slot);
  if (slot.own.kind == models::AccessKind::Read) {
    last_read_ = slot.place;
    load_ports_.use(slot.issued);
    ++loads_;
  }
  if (slot.own.kind == models::AccessKind::Execute) last_fetch_ = slot.place;
  turn_.issue(slot);
}

void Vcpu::on_over() {
  if (has_window()) free_slots();
  turn_.wake();
}

void Vcpu::pass_done() {
  for (; draining() && slot_of(oldest_).done; ++oldest_) {
    const models::AccessKind kind = slot_of(oldest_).own.kind;
    if (kind == models::AccessKind::Read) --loads_;
    if (kind == models::AccessKind::Write && has_stores()) stores_.retire(board_.wheel().now());
  }
}

// In order; then whoever waited for that goes on.
void Vcpu::free_slots() {
  pass_done();
  if (life_ == Life::Finished) {
    const Cycle now = board_.wheel().now();
    counts_.stalled_cycles += now - counts_.end;
    counts_.end = now;
    if (!draining()) return end();
  }
  if (oldest_ != begun_) slot_of(oldest_).turn.wake(board_.wheel());
}

// Its turn ---------------------------------------------------------------------------------------

// An access that is over when it begins lets the next one begin: a round for each, not a call.
bool Vcpu::Turn::wait() {
  is_awaited_ = true;
  models::Wheel& wheel = vcpu_.board_.wheel();
  const Cycle begins_at = vcpu_.has_window() ? vcpu_.begins_at() : models::kNever;
  waits_ = begins_at == models::kNever;
  if (!waits_) wheel.schedule(std::max(wheel.now(), begins_at), *this, 0);
  begins_ = true;
  begin_issued();
  begins_ = false;
  return !std::exchange(again_, false);
}

void Vcpu::Turn::begin_issued() {
  if (issued_ == nullptr) return;
  Slot& slot = *std::exchange(issued_, nullptr);
  if (slot.process.is_running()) return slot.next.on_cycle(0);
  slot.process.start(vcpu_.play_accesses(slot));
}

void Vcpu::Turn::wake() {
  if (!std::exchange(waits_, false)) return;
  if (begins_) {
    again_ = true;
  } else {
    on_cycle(0);
  }
}

// The fault that nothing could begin beside is handled: what follows begins beside the access that
// had it, which is only tried again.
void Vcpu::Turn::wake_by_wheel() {
  if (!vcpu_.has_window()) return;  // the access itself is waited for
  models::Wheel& wheel = vcpu_.board_.wheel();
  if (std::exchange(waits_, false)) wheel.schedule(wheel.now(), *this, 0);
}

}  // namespace nestwalk::software
