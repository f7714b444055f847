// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/vcpu.hpp"

#include "nestwalk/software/guest_fences.hpp"

#include <algorithm>
#include <utility>

namespace nestwalk::software {
namespace {

/// Pages for which a kernel issues one instruction each, where none names a range; for more it
/// takes all (Linux on x86: tlb_single_page_flush_ceiling).
constexpr u64 kMostSingleFences = 33;

}  // namespace

Vcpu::Vcpu(models::Board& board, Cores& cores, VcpuPlace place, Guest* guest,
           Hypervisor& hypervisor, const models::SoftwareShape& costs, GuestTables tables,
           GuestStream& stream, const VcpuShape& shape)
    : board_(board),
      cores_(cores),
      core_(board.core(place.core)),
      attention_(cores.attention(place.core)),
      vcpu_(place.vcpu),
      number_(place.core),
      guest_(guest),
      hypervisor_(hypervisor),
      costs_(costs),
      stream_(stream),
      slots_(shape.window),
      pace_(costs.instructions_per_1000_cycles),
      compares_(tables == GuestTables::Recorded) {
  cores.join(place.core);
}

void Vcpu::begin(u64 limit, u64 warmup) {
  limit_ = limit;
  left_ = warmup != 0 ? std::min(warmup, limit) : limit;
  rest_ = limit - left_;
  front_ = Front::Begin;
  counts_.begin = ready_at_ = board_.wheel().now();
  begin_pause(&VcpuCounts::waiting_cycles);
  cores_.ask(number_, *this, counts_.begin);
}

void Vcpu::on_cycle(u32 what) {
  if (slots_.size() == 1) return play_in_order();
  if (what == kFront) return play_window();
  go_on(what);
}

// The stream -------------------------------------------------------------------------------------

// What is not on an access's usual way; true if the next state is due in this cycle.
bool Vcpu::rare_front() {
  switch (front_) {
    case Front::Begin:
      front_ = guest_ == nullptr ? Front::Next : Front::Switched;
      if (guest_ == nullptr) return true;
      event_cycles_ = &VcpuCounts::switch_cycles;
      event_since_ = board_.wheel().now();
      calls_.run(guest_->enter(number_, 0), handled_, *this, kFront);
      return false;
    case Front::Attend:
      return attend();
    case Front::Attended:
      end_pause();
      front_ = Front::Attend;
      return true;
    case Front::Leaving:
      left_core();
      return false;
    case Front::Arriving:
      return arrive();
    case Front::Ordered:
      end_pause();
      front_ = Front::EventDone;
      return true;
    case Front::Event:
      return begin_event();
    case Front::Switched:
      if (handled_ != GuestOutcome::Mapped) return stop(reason());
      end_event();
      return true;
    case Front::Fencing:
      if (fences_left_ != 0) return issue_fence();
      end_event();
      return true;
    case Front::Stored:
      return store_entry();
    case Front::StoreFenced:
      hypervisor_.charge_recorded(Part::Fences, board_.wheel().now() - fence_since_);
      end_event();
      return true;
    case Front::EventDone:
      end_event();
      return true;
    default:
      return false;  // it is finished
  }
}

bool Vcpu::begin_event() {
  front_ = Front::EventDone;
  event_since_ = board_.wheel().now();
  if (const auto* const to = std::get_if<GuestSwitch>(&batch_.event->detail)) {
    if (guest_ == nullptr) return true;
    ++counts_.switches;
    event_cycles_ = &VcpuCounts::switch_cycles;
    known_.assign(known_.size(), {});
    front_ = Front::Switched;
    calls_.run(guest_->enter(number_, to->key), handled_, *this, kFront);
    return false;
  }
  if (const auto* const operation = std::get_if<HostOperation>(&batch_.event->detail)) {
    event_cycles_ = &VcpuCounts::operation_cycles;
    calls_.run(hypervisor_.operate(number_, *operation), *this, kFront);
    return false;
  }
  if (const auto* const fence = std::get_if<GuestFence>(&batch_.event->detail)) {
    ++counts_.fences;
    if (replayed_ != nullptr && !replayed_->knows_tables(number_)) return true;
    event_cycles_ = &VcpuCounts::fence_cycles;
    begin_fence(*fence);
    front_ = Front::Fencing;
    return issue_fence();
  }
  if (const auto* const phase = std::get_if<GuestPhase>(&batch_.event->detail)) {
    if (milestones_ != nullptr) milestones_->on_phase(vcpu_, *phase);
    return true;
  }
  if (const auto* const time = std::get_if<GuestTime>(&batch_.event->detail)) {
    return order_ == nullptr || keep_time(time->clock);
  }
  return replayed_ == nullptr || begin_replay_event();
}

// What the guest stores in its tables is among its accesses: only what its hypervisor did takes
// time of its own.
bool Vcpu::begin_replay_event() {
  const auto pass = [&](Part part, Cycle cycles) {
    event_cycles_ = &VcpuCounts::operation_cycles;
    hypervisor_.charge_recorded(part, cycles);
    return cycles;
  };
  const auto& detail = batch_.event->detail;
  if (const auto* const roots = std::get_if<TableRoots>(&detail)) {
    replayed_->enter(number_, *roots);
    return true;
  }
  if (const auto* const store = std::get_if<TableStore>(&detail)) {
    const bool charged = store->nested && board_.memory().contains(Hpa(store->address), 8);
    front_ = Front::Stored;
    if (!charged) return true;
    event_cycles_ = &VcpuCounts::operation_cycles;
    return board_.hierarchy().access(core_.paths.data, Hpa(store->address), true, *this, kFront,
                                     stored_);
  }
  if (std::holds_alternative<RecordedExit>(detail)) {
    return spend(pass(Part::Exit, costs_.exit_cycles) + pass(Part::Handler, costs_.handler_cycles));
  }
  if (std::holds_alternative<RecordedEntry>(detail)) {
    return spend(pass(Part::Entry, costs_.entry_cycles));
  }
  return true;
}

bool Vcpu::store_entry() {
  const TableStore& store = std::get<TableStore>(batch_.event->detail);
  const Cycle now = board_.wheel().now();
  if (event_cycles_ != nullptr) hypervisor_.charge_recorded_store(stored_, now - event_since_);
  const auto fence = store.nested ? replayed_->fence_for(store.address, store.value) : std::nullopt;
  replayed_->count_store(store.nested);
  if (!replayed_->store(store.nested, store.address, store.value)) {
    return stop("the trace has more page tables than are replayed");
  }
  front_ = Front::EventDone;
  if (!fence) return true;
  replayed_->count_fence();
  fence_since_ = now;
  front_ = Front::StoreFenced;
  hypervisor_.fences().issue(
      number_, *fence, is_broadcast(fence->kind) ? models::Reach::Own : models::Reach::Interrupts,
      *this, kFront);
  return false;
}

void Vcpu::end_event() {
  end_pause();
  batch_.event = nullptr;
  front_ = Front::Next;
}

void Vcpu::begin_pause(Cycle VcpuCounts::*cycles) {
  event_cycles_ = cycles;
  event_since_ = board_.wheel().now();
}

void Vcpu::end_pause() {
  const Cycle now = board_.wheel().now();
  if (event_cycles_ != nullptr) counts_.*event_cycles_ += now - event_since_;
  event_cycles_ = nullptr;
  ready_at_ = now;
}

// A range is one instruction on AArch64, as many as it has pages elsewhere.
void Vcpu::begin_fence(const GuestFence& fence) {
  const models::Regime& regime = core_.mmu->regime();
  const u64 bytes = fence.by_address ? std::max<u64>(fence.bytes, 1) : 0;
  const u64 pages = bytes / kFrameBytes + (bytes % kFrameBytes != 0 ? 1 : 0);
  const bool in_one = regime.architecture() == Architecture::AArch64 || !fence.by_address;
  const bool by_address = fence.by_address && (in_one || pages <= kMostSingleFences);
  fence_.kind = guest_fence(regime.architecture(), by_address, fence.by_space);
  fence_.vmid = regime.vmid;
  fence_.asid = replayed_ != nullptr ? replayed_->number_of(fence.asid) : regime.asid;
  fence_.address = fence.address;
  fence_.bytes = in_one ? std::max<u64>(bytes, 1) : kFrameBytes;
  fences_left_ = in_one || !by_address ? 1 : pages;
}

bool Vcpu::issue_fence() {
  --fences_left_;
  const models::FenceRequest now = fence_;
  fence_.address += kFrameBytes;
  hypervisor_.fences().issue(number_, now, models::Reach::Own, *this, kFront);
  return false;
}

// Why the guest could not do what it had to.
std::string Vcpu::reason() const {
  switch (handled_) {
    case GuestOutcome::OutOfMemory:
      return "the guest is out of memory";
    case GuestOutcome::Failed:
      return "the host is out of memory";
    case GuestOutcome::InKernel:
      return "the trace accesses what is beyond guest.memory, where the guest kernel's tables are";
    default:
      return "the guest's kernel lost its own memory";
  }
}

bool Vcpu::finish() {
  begin_rest();
  counts_.end = board_.wheel().now();
  front_ = Front::Finished;
  if (!draining()) {
    end();
  } else if (order_ != nullptr) {
    order_->moved();  // it is behind nobody, whatever is still under way
  }
  return false;
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

// What is under way stays unfinished: its time is told apart.
bool Vcpu::stop(std::string why) {
  if (hypervisor_.is_stuck(number_)) {
    why = "a vCPU faults for ever on a page that is permitted: something stale is never removed";
  }
  stopped_ = std::move(why);
  charge_under_way(counts_, board_.wheel().now());
  for (Slot& slot : slots_) slot.done = true;
  oldest_ = issued();
  return finish();
}

VcpuCounts Vcpu::counts_until(Cycle now) const {
  VcpuCounts counts = counts_;
  if (begun() && !finished()) charge_under_way(counts, now);
  return counts;
}

void Vcpu::charge_under_way(VcpuCounts& counts, Cycle now) const {
  if (event_cycles_ != nullptr) counts.*event_cycles_ += now - event_since_;
  for (const Slot& slot : slots_) {
    if (slot.done) continue;
    counts.unfinished_cycles += now - slot.issued;
    cycles_of(counts, slot) += now - slot.mark;
  }
  // Instructions are counted when they begin.
  if (slots_.size() == 1) {
    if (front_ == Front::Issue || front_ == Front::Event) {
      const Cycle ahead = std::max(gap_end_, now) - now;
      const Cycle of_lost = std::min(ahead, gap_lost_);
      counts.interrupted_cycles -= of_lost;
      counts.instruction_cycles -= ahead - of_lost;
    }
  } else if (front_ == Front::Next) {
    const Cycle ahead = std::max(ready_at_, now) - now;
    const Cycle of_lost = std::min(ahead, gap_lost_);
    counts.interrupted_cycles -= of_lost;
    counts.instruction_cycles -= ahead - of_lost;
    counts.stalled_cycles += std::max(ready_at_, now) - ready_at_;
  } else if (front_ == Front::Finished) {
    counts.stalled_cycles += now - counts_.end;
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
  if (slots_.size() > 1 && stopped_) return std::nullopt;  // whatever had to begin then
  const Cycle waited = slots_.size() == 1 ? in_accesses : all.stalled_cycles;
  const Cycle sum = all.instruction_cycles + all.interrupted_cycles + waited + all.switch_cycles +
                    all.fence_cycles + all.operation_cycles + all.scheduling_cycles +
                    all.waiting_cycles + all.ordered_cycles;
  if (sum != all.end - all.begin) return differ("what a vCPU did", sum, all.end - all.begin);
  return std::nullopt;
}

}  // namespace nestwalk::software
