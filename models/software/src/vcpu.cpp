// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/vcpu.hpp"

#include <algorithm>
#include <utility>

namespace nestwalk::software {
Vcpu::Vcpu(models::Board& board, Cores& cores, VcpuPlace place, Guest* guest,
           Hypervisor& hypervisor, const models::MachineShape& machine, GuestTables tables,
           GuestStream& stream, const ProgramShape& program)
    : board_(board),
      cores_(cores),
      core_(board.core(place.core)),
      attention_(cores.attention(place.core)),
      vcpu_(place.vcpu),
      number_(place.core),
      guest_(guest),
      hypervisor_(hypervisor),
      costs_(machine.software),
      core_shape_(machine.core),
      program_(program),
      records_(stream),
      pace_(std::min(costs_.instructions_per_1000_cycles, 1000 * core_shape_.width)),
      load_ports_(core_shape_.load_ports),
      store_ports_(core_shape_.store_ports),
      stores_(board.wheel(), board.hierarchy(), core_.paths.data, core_shape_.store_buffer, *this),
      compares_(tables == GuestTables::Recorded) {
  const u32 slots = has_window() ? core_shape_.window : 1;
  for (u32 n = 0; n < slots; ++n) slots_.push_back(std::make_unique<Slot>(*this));
  cores.join(place.core);
}

void Vcpu::begin(u64 limit, u64 warmup) {
  records_.begin(limit, warmup, [this] {
    if (milestones_ != nullptr) milestones_->on_warm(vcpu_);
  });
  life_ = Life::Begun;
  counts_.begin = ready_at_ = board_.wheel().now();
  begin_pause(&VcpuCounts::waiting_cycles);
  front_.start(run());
}

models::Task<> Vcpu::run() {
  models::Call core(
      [this](models::Actor& owner) { return cores_.ask(number_, owner, board_.wheel().now()); });
  co_await core;
  co_await come_to_core(true);
  if (guest_ != nullptr) co_await enter_space(0);
  if (has_stopped()) co_return;
  if (has_window()) {
    co_await play_window();
  } else {
    co_await play_in_order();
  }
}

// In order: a record begins when the one before it is over.
models::Task<> Vcpu::play_in_order() {
  Slot& slot = *slots_[0];
  for (;;) {
    if (may_play_at_once()) play_at_once();
    if (slot.done) {
      if (!records_.fetch()) break;
      if (needs_attention()) co_await attend();
      if (has_stopped()) co_return;
      gap_end_ = board_.wheel().now() + gap();
      co_await models::Until(board_.wheel(), gap_end_);
      if (records_.is_event()) {
        co_await play_event();
        if (has_stopped()) co_return;
        continue;
      }
      if (core_shape_.hides_fetch_hits && take_hidden_fetch()) continue;
      if (has_stores() && records_.access().kind == models::AccessKind::Write) {
        co_await wait_for_port();
      }
      slot.number = slot.place = records_.accesses();
      slot.access = &records_.take_access();
      begin(slot);
    }
    turn_.issue(slot);
    co_await turn_;
  }
  finish();
}

// The stream -------------------------------------------------------------------------------------

// What the instructions before the next access or event take.
Cycle Vcpu::gap() {
  const Cycle cycles = pace_.cycles(count_instructions(), left_of_cycle_);
  counts_.instruction_cycles += cycles;
  return cycles + gap_lost_;
}

u64 Vcpu::count_instructions() {
  const u64 instructions = records_.instructions();
  counts_.instructions += instructions;
  if (counts_.instructions >= watched_) [[unlikely]]
    order_->moved();
  gap_lost_ = cores_.lost(number_);
  counts_.interrupted_cycles += gap_lost_;
  return instructions;
}

// Nothing more begins.
void Vcpu::finish() {
  records_.end_warmup();
  counts_.end = board_.wheel().now();
  life_ = Life::Finished;
  if (!draining()) {
    end();
  } else if (order_ != nullptr) {
    order_->moved();  // it is behind nobody, whatever is still under way
  }
}

// Nothing is under way any more.
void Vcpu::end() {
  counts_.unpaid_cycles += cores_.lost(number_);
  mmu_totals_ = mmu_totals();
  has_core_ = false;
  hypervisor_.end_guest(number_);
  if (order_ != nullptr) order_->moved();
  cores_.give_up(number_, board_.wheel().now());
}

// Accesses under way are not finished: their cycles are counted apart. The vCPU keeps its core
// until its MMU is through with what it asked for.
void Vcpu::stop(std::string why) {
  if (hypervisor_.is_stuck(number_)) {
    why = "a vCPU faults for ever on a page that is permitted: something stale is never removed";
  }
  charge_under_way(counts_, board_.wheel().now());
  stopped_ = std::move(why);
  for (const auto& slot : slots_) slot->done = slot->done || slot->state != State::Translates;
  pass_done();
  finish();
}

VcpuCounts Vcpu::counts_until(Cycle now) const {
  VcpuCounts counts = counts_;
  if (begun() && !finished()) charge_under_way(counts, now);
  return counts;
}

void Vcpu::charge_under_way(VcpuCounts& counts, Cycle now) const {
  if (event_cycles_ != nullptr) counts.*event_cycles_ += now - event_since_;
  for (const auto& slot : slots_) {
    if (slot->done || has_stopped()) continue;
    // Who has its data is known when they are there: they count then.
    const Cycle until = slot->state == State::HasAddress ? slot->mark : now;
    counts.unfinished_cycles += until - slot->issued;
    cycles_of(counts, *slot) += until - slot->mark;
  }
  // Instructions are counted when they begin.
  const auto take_ahead = [&](Cycle end, Cycle most_lost) {
    const Cycle ahead = std::max(end, now) - now;
    const Cycle of_lost = std::min(ahead, most_lost);
    counts.interrupted_cycles -= of_lost;
    counts.instruction_cycles -= ahead - of_lost;
  };
  if (!has_window()) {
    take_ahead(gap_end_, gap_lost_);
  } else if (life_ == Life::Finished) {
    counts.stalled_cycles += now - counts_.end;
  } else if (turn_.is_awaited()) {
    take_ahead(ready_at_, std::max(lost_until_, now) - now);
    counts.stalled_cycles += std::max(ready_at_, now) - ready_at_;
  }
}

// Sums ------------------------------------------------------------------------------------------

Cycle VcpuCounts::data_cycles() const {
  Cycle sum = 0;
  for (const auto& kind : data) {
    for (const Cell& cell : kind) sum += cell.cycles;
  }
  return sum;
}

std::optional<std::string> Vcpu::contradiction() const {
  const VcpuCounts& all = counts_;
  const Cycle in_accesses = latencies_.sum() + all.untranslatable_cycles + all.unfinished_cycles;
  const Cycle in_parts = all.translation_cycles + all.exit_cycles + all.guest_cycles +
                         all.held_cycles + all.data_cycles();
  const auto differ = [](const char* what, Cycle sum, Cycle whole) {
    return std::string(what) + " add up to " + std::to_string(sum) + " cycles, not " +
           std::to_string(whole);
  };
  if (in_parts != in_accesses) return differ("the parts of accesses", in_parts, in_accesses);
  if (has_window() && stopped_) return std::nullopt;  // whatever had to begin then
  const Cycle waited = all.stalled_cycles + (has_window() ? 0 : in_accesses);
  const Cycle sum = all.instruction_cycles + all.interrupted_cycles + waited + all.switch_cycles +
                    all.fence_cycles + all.operation_cycles + all.scheduling_cycles +
                    all.waiting_cycles + all.ordered_cycles;
  if (sum != all.end - all.begin) return differ("what a vCPU did", sum, all.end - all.begin);
  return std::nullopt;
}

}  // namespace nestwalk::software
