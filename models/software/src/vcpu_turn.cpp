// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// When it is a vCPU's turn: on its core, by the clock, in the order of the trace.

#include <algorithm>
#include <string>
#include <utility>

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {

// What was due besides the stream, one after the other; then the next record.
bool Vcpu::attend() {
  const Cycle now = board_.wheel().now();
  if (agenda_.next() <= now) {
    if (falls_behind(now)) {
      const ScheduledOperation& due = agenda_.due();
      return stop(std::string("the schedule's ") +
                  kOperationNames[static_cast<unsigned>(due.operation.kind)] + " every " +
                  std::to_string(due.every) +
                  " cycles takes longer than that, so the guest never"
                  " goes on");
    }
    begin_pause(&VcpuCounts::operation_cycles);
    front_ = Front::Attended;
    calls_.run(hypervisor_.operate(number_, agenda_.take()), *this, kFront);
    return false;
  }
  if (cores_.must_give_up(number_, now)) return leave_core(Front::Attend);
  cores_.set_alarm(number_, agenda_.next());
  operations_in_a_row_ = 0;
  front_ = Front::Ready;
  return true;
}

// A burst ends, and what piled up while others had the core is made up for; but where so many
// operations end later than they began, and as many are to come, the guest waits for ever.
bool Vcpu::falls_behind(Cycle now) {
  const Cycle late = now - agenda_.next();
  if (operations_in_a_row_ == 0) late_before_ = late;
  if (++operations_in_a_row_ <= kMostInARow) return false;
  operations_in_a_row_ = 1;
  return late >= std::exchange(late_before_, late) && agenda_.due().times > kMostInARow;
}

bool Vcpu::leave_core(Front resume) {
  resume_ = resume;
  front_ = Front::Leaving;
  regime_ = core_.mmu->regime();
  begin_pause(&VcpuCounts::scheduling_cycles);
  calls_.run(hypervisor_.leave_guest(number_), *this, kFront);
  return false;
}

void Vcpu::left_core() {
  end_pause();
  mmu_totals_ = mmu_totals();
  has_core_ = false;
  owed_ = cores_.lost(number_);
  front_ = Front::Away;
  const Cycle now = board_.wheel().now();
  begin_pause(out_of_turn_ ? &VcpuCounts::ordered_cycles : &VcpuCounts::waiting_cycles);
  if (!out_of_turn_) cores_.ask(number_, *this, now);
  cores_.give_up(number_, now);
}

void Vcpu::on_core() {
  end_pause();
  mmu_before_ = core_.mmu->totals();
  has_core_ = true;
  if (guest_ != nullptr) guest_->put_on(number_, vcpu_);
  if (replayed_ != nullptr) replayed_->put_on(number_, vcpu_);
  const bool is_first = front_ == Front::Begin;
  if (is_first && hypervisor_.may_begin_at_once()) {
    core_.mmu->set_regime(regime_);
    hypervisor_.begin_guest(number_);
    cores_.set_alarm(number_, agenda_.next());
    return board_.wheel().schedule(board_.wheel().now(), *this, kFront);
  }
  if (is_first) resume_ = Front::Begin;
  begin_pause(&VcpuCounts::scheduling_cycles);
  front_ = Front::Arriving;
  hypervisor_.take_vmid(number_);
  if (regime_.vmid != hypervisor_.vmid() && (regime_.guest.on() || regime_.nested.on())) {
    regime_.vmid = hypervisor_.vmid();
    regime_ = regime_.tagged(board_.tags());
  }
  core_.mmu->set_regime(regime_);
  calls_.run(hypervisor_.enter_guest(number_), *this, kFront);
}

bool Vcpu::arrive() {
  end_pause();
  cores_.owe(number_, std::exchange(owed_, 0));
  cores_.begin_slice(number_, board_.wheel().now());
  cores_.set_alarm(number_, agenda_.next());
  front_ = resume_;
  return true;
}

models::Mmu::Totals Vcpu::mmu_totals() const {
  models::Mmu::Totals totals = mmu_totals_;
  if (has_core_) {
    models::add(totals, core_.mmu->totals());
    models::take_away(totals, mmu_before_);
  }
  return totals;
}

// True if it may go on. Where others share the core, one of them may be who is waited for.
bool Vcpu::keep_time(u64 time) {
  clock_base_ += std::max(time, clock()) - clock();
  if (order_->reach(*this)) return true;
  out_of_turn_ = true;
  if (cores_.is_shared(number_)) return leave_core(Front::EventDone);
  begin_pause(&VcpuCounts::ordered_cycles);
  front_ = Front::Ordered;
  return false;
}

void Vcpu::go_on() {
  out_of_turn_ = false;
  if (front_ == Front::Ordered) {
    board_.wheel().schedule(board_.wheel().now(), *this, kFront);
  } else if (front_ == Front::Away) {
    end_pause();
    begin_pause(&VcpuCounts::waiting_cycles);
    cores_.ask(number_, *this, board_.wheel().now());
  }
}

}  // namespace nestwalk::software
