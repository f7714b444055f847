// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a stream has besides accesses.

#include <algorithm>
#include <string>

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {
namespace {

/// Pages for which a kernel issues one instruction each, where none names a range; for more it
/// takes all (Linux on x86: tlb_single_page_flush_ceiling).
constexpr u64 kMostSingleFences = 33;

}  // namespace

// Stores of the guest to its tables are also among its accesses, which take the time. Stores, exits
// and entries of the recorded hypervisor take time here.
models::Task<> Vcpu::play_event() {
  const auto& detail = records_.take_event().detail;
  if (const auto* const to = std::get_if<GuestSwitch>(&detail)) {
    if (guest_ != nullptr) {
      ++counts_.switches;
      known_.forget();
      co_await enter_space(to->key);
    }
  } else if (const auto* const operation = std::get_if<HostOperation>(&detail)) {
    begin_pause(&VcpuCounts::operation_cycles);
    co_await hypervisor_.operate(number_, *operation, pause_witness());
  } else if (const auto* const fence = std::get_if<GuestFence>(&detail)) {
    ++counts_.fences;
    if (replayed_ == nullptr || replayed_->knows_tables(number_)) co_await issue_fence(*fence);
  } else if (const auto* const phase = std::get_if<GuestPhase>(&detail)) {
    if (milestones_ != nullptr) milestones_->on_phase(vcpu_, *phase);
  } else if (const auto* const time = std::get_if<GuestTime>(&detail)) {
    if (order_ != nullptr) co_await keep_time(time->clock);
  } else if (replayed_ == nullptr) {
    // Records of tables and exits mean nothing where tables are not replayed.
  } else if (const auto* const roots = std::get_if<TableRoots>(&detail)) {
    replayed_->enter(number_, *roots);
  } else if (const auto* const store = std::get_if<TableStore>(&detail)) {
    co_await store_entry(*store);
  } else if (std::holds_alternative<RecordedExit>(detail)) {
    hypervisor_.charge_recorded(Part::Exit, costs_.exit_cycles);
    hypervisor_.charge_recorded(Part::Handler, costs_.handler_cycles);
    co_await operate_for(costs_.exit_cycles + costs_.handler_cycles);
  } else if (std::holds_alternative<RecordedEntry>(detail)) {
    hypervisor_.charge_recorded(Part::Entry, costs_.entry_cycles);
    co_await operate_for(costs_.entry_cycles);
  }
  if (has_stopped()) co_return;
  end_pause();
}

void Vcpu::begin_pause(Cycle VcpuCounts::*cycles) {
  event_cycles_ = cycles;
  event_since_ = board_.wheel().now();
  pause_witness_.begin(event_since_);
}

void Vcpu::end_pause() {
  const Cycle now = board_.wheel().now();
  if (event_cycles_ != nullptr) {
    counts_.*event_cycles_ += now - event_since_;
    if (listener_ != nullptr) [[unlikely]]
      tell_of_pause(now);
  }
  event_cycles_ = nullptr;
  ready_at_ = now;
}

void Vcpu::tell_of_pause(Cycle now) const {
  const auto kind =
      std::find_if(std::begin(kPauses), std::end(kPauses),
                   [&](const PauseKind& each) { return each.cycles == event_cycles_; });
  const bool is_stall = kind == std::end(kPauses);
  listener_->on_pause(
      {is_stall ? kStoreBufferFull : *kind, event_since_, now, pause_witness_.steps()});
}

models::Task<> Vcpu::enter_space(u64 key) {
  begin_pause(&VcpuCounts::switch_cycles);
  const GuestOutcome outcome = co_await guest_->enter(number_, key, pause_witness());
  outcome == GuestOutcome::Mapped ? end_pause() : stop(reason_of(outcome));
}

// A range is one instruction on AArch64, as many as it has pages elsewhere.
models::Task<> Vcpu::issue_fence(const GuestFence& fence) {
  begin_pause(&VcpuCounts::fence_cycles);
  const models::Regime& regime = core_.mmu->regime();
  const u64 bytes = fence.by_address ? std::max<u64>(fence.bytes, 1) : 0;
  const u64 pages = bytes / kFrameBytes + (bytes % kFrameBytes != 0 ? 1 : 0);
  const bool in_one = regime.isa().fences_take_ranges || !fence.by_address;
  const bool by_address = fence.by_address && (in_one || pages <= kMostSingleFences);
  models::FenceRequest request;
  request.op = regime.isa().guest_fences.of(by_address, fence.by_space);
  request.vmid = hypervisor_.named(regime.vmid);
  request.asid = replayed_ != nullptr ? replayed_->number_of(fence.asid) : regime.asid;
  request.address = fence.address;
  request.bytes = in_one ? std::max<u64>(bytes, 1) : kFrameBytes;
  for (u64 left = in_one || !by_address ? 1 : pages; left != 0; --left) {
    models::Call issued([&](models::Actor& owner) {
      hypervisor_.fences().issue(number_, request, models::Reach::Own, owner, 0);
      return false;
    });
    co_await issued;
    request.address += kFrameBytes;
  }
}

// An entry of a recorded table. One of the second stage is the hypervisor's work, and its fence.
models::Task<> Vcpu::store_entry(const TableStore& store) {
  models::Wheel& wheel = board_.wheel();
  begin_pause(&VcpuCounts::operation_cycles);
  if (store.nested && board_.memory().contains(Hpa(store.address), 8)) {
    models::Served served = models::Served::None;
    models::Call access([&](models::Actor& owner) {
      return board_.hierarchy().access(core_.paths.data, Hpa(store.address), true, owner, 0,
                                       served);
    });
    co_await access;
    hypervisor_.charge_recorded_store(served, wheel.now() - event_since_);
  }
  const auto fences = replayed_->store(store.nested, store.address, store.value);
  if (!fences) {
    stop("the trace has more page tables than are replayed");
    co_return;
  }
  for (const models::FenceRequest& fence : *fences) {
    const Cycle since = wheel.now();
    models::Call issued([&](models::Actor& owner) {
      hypervisor_.fences().issue(
          number_, fence, fence.op.is_broadcast() ? models::Reach::Own : models::Reach::Interrupts,
          owner, 0);
      return false;
    });
    co_await issued;
    hypervisor_.charge_recorded(Part::Fences, wheel.now() - since);
  }
}

}  // namespace nestwalk::software
