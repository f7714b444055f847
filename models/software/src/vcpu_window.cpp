// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// With a window: several accesses are under way. Accesses that are issued have numbers; those
// before `oldest_` are over.

#include <utility>

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {

// A record begins as soon as it may.
models::Task<> Vcpu::play_window() {
  while (records_.fetch()) {
    ready_at_ += gap();
    while (turn_.has_issued() || !is_due()) {
      co_await turn_;
      if (has_stopped()) co_return;
    }
    const Cycle now = board_.wheel().now();
    counts_.stalled_cycles += now - ready_at_;
    ready_at_ = now;
    if (needs_attention()) co_await attend();
    if (has_stopped()) co_return;
    if (!records_.is_event()) {
      issue();
      continue;
    }
    co_await play_event();
    if (has_stopped()) co_return;
  }
  finish();
  turn_.begin_issued();
}

// May the next record begin, and is it its time?
bool Vcpu::is_due() const { return may_begin() && board_.wheel().now() >= ready_at_; }

bool Vcpu::may_begin() const {
  const u64 under_way = records_.accesses() - oldest_;
  if (records_.is_event() || needs_attention()) return under_way == 0;
  const GuestAccess& access = records_.access();
  return faulting_ == 0 && under_way < slots_.size() && is_over(last_fetch_) &&
         (!access.is(GuestAccess::kDependent) || is_over(last_read_));
}

bool Vcpu::is_over(u64 number) const {
  return number == kNever || number < oldest_ || slots_[number % slots_.size()]->done;
}

void Vcpu::issue() {
  Slot& slot = slot_of(records_.accesses());
  slot.number = records_.accesses();
  slot.own = records_.take_access();
  slot.access = &slot.own;
  begin(slot);
  if (slot.own.kind == models::AccessKind::Read) last_read_ = slot.number;
  if (slot.own.kind == models::AccessKind::Execute) last_fetch_ = slot.number;
  turn_.issue(slot);
}

void Vcpu::on_over() {
  if (has_window()) free_slots();
  turn_.wake();
}

void Vcpu::pass_done() {
  while (draining() && slot_of(oldest_).done) ++oldest_;
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
  if (oldest_ != records_.accesses()) slot_of(oldest_).turn.wake(board_.wheel());
}

// Its turn ---------------------------------------------------------------------------------------

// An access that is over when it begins lets the next one begin: a round for each, not a call.
bool Vcpu::Turn::wait() {
  is_awaited_ = true;
  models::Wheel& wheel = vcpu_.board_.wheel();
  waits_ = !vcpu_.has_window() || !vcpu_.may_begin();
  if (!waits_) wheel.schedule(std::max(wheel.now(), vcpu_.ready_at_), *this, 0);
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
