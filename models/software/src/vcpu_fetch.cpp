// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the core's shape lets begin, or hides.

#include <algorithm>

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {

using models::AccessKind;

// When a port, and an entry of its queue, are free for an access; kNever: when something is over.
Cycle Vcpu::port_free_at(AccessKind kind, Cycle now) {
  if (kind == AccessKind::Read && has_window()) {
    return loads_ == core_shape_.load_queue ? models::kNever : load_ports_.free_at(now);
  }
  if (kind == AccessKind::Write && has_stores()) {
    const Cycle entry = stores_.free_at(now);
    return entry == models::kNever ? entry : store_ports_.free_at(entry);
  }
  return now;
}

// In order.
models::Task<> Vcpu::wait_for_port() {
  models::Wheel& wheel = board_.wheel();
  begin_pause(&VcpuCounts::stalled_cycles);
  for (;;) {
    const Cycle at = port_free_at(AccessKind::Write, wheel.now());
    if (at == wheel.now()) break;
    if (at == models::kNever) {
      co_await port_;
    } else {
      co_await models::Until(wheel, at);
    }
  }
  end_pause();
}

// Instruction fetch runs ahead: a fetch that the first TLB and the first cache have takes no time.
// It is looked up when the instructions before it are issued. False if it is none.
bool Vcpu::take_hidden_fetch() {
  const GuestAccess& access = records_.access();
  if (access.kind != AccessKind::Execute || !access.is(GuestAccess::kAddress)) return false;
  if (compares_ && disagrees(access)) return false;
  if (replayed_ != nullptr &&
      (!replayed_->knows_tables(number_) || !replayed_->prepare(number_, access))) {
    return false;
  }
  models::Mmu& mmu = *core_.mmu;
  const models::Translation* const found = mmu.in_first(access.address, access.kind);
  if (found == nullptr || !models::Mmu::usable(*found, access.kind, true)) return false;
  const u64 host = found->host_of(access.address);
  models::MemoryHierarchy& hierarchy = board_.hierarchy();
  if (!hierarchy.hits_first(core_.paths.fetches, Hpa(host), false)) return false;
  hide_fetch(*found, host);
  return true;
}

void Vcpu::hide_fetch(const models::Translation& found, u64 host) {
  const u64 number = records_.accesses();
  const GuestAccess& access = records_.take_access();
  const Cycle now = board_.wheel().now();
  models::Mmu& mmu = *core_.mmu;
  ++counts_.hidden_fetches;
  counts_.hidden_cycles += mmu.first_latency(access.kind);
  count_data(access.kind, board_.hierarchy().first_served(core_.paths.fetches), 0);
  if (latencies_.count() == 0) counts_.first_access_end = now;
  count_access(access.kind, 0);
  if (hypervisor_.watcher() != nullptr) [[unlikely]]
    tell(access, host);
  if (replayed_ != nullptr) [[unlikely]] {
    models::Mmu::Outcome outcome;
    outcome.host = host;
    outcome.guest_physical = found.guest_physical_of(access.address);
    replayed_->judge(number_, number, access, outcome);
  }
  if (number >= next_told_) [[unlikely]] {
    listener_->on_story({number, access, now, 0, {}});
    next_told_ = listener_->next_wanted(number + 1);
  }
  // Last: a prefetcher that is told may fill the TLB.
  mmu.use_first({access.address, access.kind, true}, found);
}

}  // namespace nestwalk::software
