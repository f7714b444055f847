// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// When it is a vCPU's turn: on its core, by the clock, in the order of the trace.

#include <algorithm>
#include <string>
#include <utility>

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {

// What is due besides the stream, one after the other. A vCPU that comes to its core plays a record
// before it leaves, even if operations that were due meanwhile took the whole slice.
models::Task<> Vcpu::attend() {
  for (;;) {
    const Cycle now = board_.wheel().now();
    if (agenda_.next() <= now) {
      if (falls_behind(now)) {
        const ScheduledOperation& due = agenda_.due();
        stop(std::string("the schedule's ") + word_of(kOperations, due.operation.kind) + " every " +
             std::to_string(due.every) +
             " cycles takes longer than that, so the guest never goes on");
        co_return;
      }
      begin_pause(&VcpuCounts::operation_cycles);
      co_await hypervisor_.operate(number_, agenda_.take(), pause_witness());
      end_pause();
    } else if (cores_.must_give_up(number_, now) && records_.taken() != records_before_) {
      operations_in_a_row_ = 0;
      co_await leave_core();
    } else {
      break;
    }
  }
  cores_.set_alarm(number_, agenda_.next());
  operations_in_a_row_ = 0;
}

// A burst ends, and what piled up while others had the core is made up for; but where so many
// operations end later than they began, and as many are to come, the guest waits for ever.
bool Vcpu::falls_behind(Cycle now) {
  const Cycle late = now - agenda_.next();
  const bool endless = agenda_.due().times > kMostInARow;
  if (std::exchange(begins_turn_, false)) {
    // Within a turn it may catch up, while others that do as well make it wait longer each time.
    later_turns_ = late > std::exchange(late_in_turn_, late) ? later_turns_ + 1 : 0;
    if (later_turns_ == 1) late_at_first_ = late;
    if (endless && later_turns_ > 1 && late / kMostGrowth >= late_at_first_) return true;
  }
  if (operations_in_a_row_ == 0) late_before_ = late;
  if (++operations_in_a_row_ <= kMostInARow) return false;
  operations_in_a_row_ = 1;
  return late >= std::exchange(late_before_, late) && endless;
}

// The vCPU has the core. What the core's MMU has counted until now is another vCPU's.
models::Task<> Vcpu::come_to_core(bool is_first) {
  end_pause();
  mmu_before_ = core_.mmu->totals();
  has_core_ = true;
  records_before_ = records_.taken();
  if (guest_ != nullptr) guest_->put_on(number_, vcpu_);
  if (replayed_ != nullptr) replayed_->put_on(number_, vcpu_);
  if (is_first && hypervisor_.may_begin_at_once(number_, vcpu_)) {
    core_.mmu->set_regime(regime_);
    hypervisor_.begin_guest(number_, vcpu_);
    cores_.set_alarm(number_, agenda_.next());
    co_await models::EventAt(board_.wheel(), board_.wheel().now());
    co_return;
  }
  begin_pause(&VcpuCounts::scheduling_cycles);
  hypervisor_.take_vmid(number_, vcpu_);
  if (replayed_ != nullptr && replayed_->knows_tables(number_)) {
    regime_ = replayed_->regime(number_);
  } else if (const u16 vmid = hypervisor_.vmid(number_, vcpu_);
             regime_.vmid != vmid && (regime_.guest.on() || regime_.nested.on())) {
    regime_.vmid = vmid;
    regime_ = regime_.tagged(board_.tags());
  }
  core_.mmu->set_regime(regime_);
  co_await hypervisor_.enter_guest(number_, vcpu_);
  end_pause();
  cores_.owe(number_, std::exchange(owed_, 0));
  cores_.begin_slice(number_, board_.wheel().now());
  begins_turn_ = true;
  cores_.set_alarm(number_, agenda_.next());
}

// Gives the core up, and comes back to it: when it has its turn there or, where it waits for other
// vCPUs of the trace, when that is over and it has its turn.
models::Task<> Vcpu::leave_core() {
  regime_ = core_.mmu->regime();
  begin_pause(&VcpuCounts::scheduling_cycles);
  co_await hypervisor_.leave_guest(number_);
  end_pause();
  mmu_totals_ = mmu_totals();
  has_core_ = false;
  owed_ = cores_.lost(number_);
  begin_pause(out_of_turn_ ? &VcpuCounts::ordered_cycles : &VcpuCounts::waiting_cycles);
  models::Call core([this](models::Actor& owner) {
    const bool asks = !out_of_turn_;
    if (!asks) away_ = &owner;  // go_on() asks
    // vCPUs that wait for the core come first. If there are none, it has the core again at once.
    cores_.give_up(number_, board_.wheel().now());
    return asks && cores_.ask(number_, owner, board_.wheel().now());
  });
  co_await core;
  co_await come_to_core(false);
}

models::Mmu::Totals Vcpu::mmu_totals() const {
  models::Mmu::Totals totals = mmu_totals_;
  if (has_core_) {
    models::add(totals, core_.mmu->totals());
    models::take_away(totals, mmu_before_);
  }
  return totals;
}

// The vCPU waits until no other one is behind it. It gives up a core that it shares, since the vCPU
// that it waits for may need that one.
models::Task<> Vcpu::keep_time(u64 time) {
  clock_base_ += std::max(time, clock()) - clock();
  if (order_->reach(*this)) co_return;
  out_of_turn_ = true;
  if (cores_.is_shared(number_)) {
    co_await leave_core();
    co_return;
  }
  begin_pause(&VcpuCounts::ordered_cycles);
  co_await others_;
  end_pause();
}

void Vcpu::go_on() {
  out_of_turn_ = false;
  others_.wake(board_.wheel());
  if (away_ == nullptr) return;
  end_pause();
  begin_pause(&VcpuCounts::waiting_cycles);
  models::Actor* const owner = std::exchange(away_, nullptr);
  if (cores_.ask(number_, *owner, board_.wheel().now())) owner->on_cycle(0);
}

}  // namespace nestwalk::software
