// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/vcpu.hpp"

#include <algorithm>
#include <utility>

namespace nestwalk::software {
namespace {

using models::AccessKind;

Access access_of(const models::Fault& fault) {
  if (fault.for_table) {
    return fault.table_write || fault.reads_as_writes ? addrspace::kWrite : addrspace::kRead;
  }
  constexpr Access kAccess[] = {addrspace::kRead, addrspace::kWrite, addrspace::kExecute};
  return kAccess[static_cast<unsigned>(fault.access)];
}

}  // namespace

void Vcpu::begin(Slot& slot) {
  slot.issued = slot.mark = board_.wheel().now();
  slot.state = State::Translates;
  slot.done = slot.left_out = slot.was_refused = false;
  slot.kernel_calls = 0;
  slot.witness = nullptr;
  if (slot.number >= next_told_) [[unlikely]] {
    slot.witness = &slot.own_witness;
    slot.witness->begin(slot.issued);
    next_told_ = listener_->next_wanted(slot.number + 1);
  }
  if (has_stores() && slot.access->kind == AccessKind::Write) {
    store_ports_.use(slot.issued);
    slot.store = stores_.take(slot.place, slot.issued);
  }
  if (!slot.access->is(GuestAccess::kAddress)) [[unlikely]]
    leave_out(slot);
}

// One access after the other, each from its translation to its end. One that has begun already
// goes on (play_at_once). Nothing is counted any more when the vCPU has stopped.
models::Task<> Vcpu::play_accesses(Slot& slot) {
  for (;;) {
    while (slot.state == State::Translates) {
      if (compares_ && !slot.has_begun && disagrees(*slot.access)) {
        co_await call_kernel(slot);
        if (has_stopped()) co_return;
        continue;
      }
      if (replayed_ != nullptr && !replayed_->prepare(number_, *slot.access)) {
        leave_out(slot);
        break;
      }
      co_await slot.translation;
      if (has_stopped()) {
        slot.done = true;
        free_slots();
        co_return;
      }
      end_translation(slot);
      if (!slot.outcome.fault) [[likely]] {
        use_translation(slot);
        slot.state = State::HasAddress;
        if (has_stores() && slot.access->kind == AccessKind::Write) post_store(slot);
        break;
      }
      co_await take_fault(slot);
      if (has_stopped()) co_return;
    }
    if (slot.state == State::HasAddress) {
      co_await slot.data;
      if (has_stopped()) co_return;
      count_data(slot.access->kind, slot.served, board_.wheel().now() - slot.mark);
      if (slot.witness != nullptr) [[unlikely]]
        witness_data(slot);
    }
    retire(slot);
    co_await slot.next;
  }
}

bool Vcpu::translate(Slot& slot, models::Actor& owner) {
  if (std::exchange(slot.has_begun, false)) return slot.is_over;
  const GuestAccess& access = *slot.access;
  slot.told = hypervisor_.watcher() != nullptr && tell_of_hit(access);
  return core_.mmu->translate({access.address, access.kind, true, slot.witness, this}, owner, 0,
                              slot.outcome);
}

void Vcpu::end_translation(Slot& slot) {
  const Cycle now = board_.wheel().now();
  counts_.translation_cycles += now - slot.mark;
  slot.mark = now;
  if (slot.witness != nullptr) [[unlikely]]
    witness_translation(slot);
}

void Vcpu::use_translation(Slot& slot) {
  // Another access's fault brought what it needs.
  if (slot.faulting) [[unlikely]] {
    end_fault(slot);
    turn_.wake_by_wheel();
  }
  if (hypervisor_.watcher() != nullptr && !slot.told) [[unlikely]]
    tell(*slot.access, slot.outcome.host);
  if (replayed_ != nullptr) [[unlikely]]
    replayed_->judge(number_, slot.number, *slot.access, slot.outcome);
}

bool Vcpu::access_memory(Slot& slot, models::Actor& owner) {
  if (std::exchange(slot.has_begun, false)) return slot.is_over;
  return begin_data(slot, *slot.access, owner);
}

// A load that overlaps a buffered store is served by the store buffer, all of it.
bool Vcpu::begin_data(Slot& slot, const GuestAccess& access, models::Actor& owner) {
  models::Wheel& wheel = board_.wheel();
  const bool is_load = access.kind == AccessKind::Read;
  if (is_load && stores_.has(slot.outcome.host, access.bytes, slot.place, wheel.now())) {
    slot.served = models::Served::None;
    const Cycle ready = wheel.now() + core_shape_.forward_cycles;
    if (wheel.advance(ready)) return true;
    wheel.schedule(ready, owner, 0);
    return false;
  }
  return board_.hierarchy().access(path_of(access.kind == AccessKind::Execute),
                                   Hpa(slot.outcome.host), access.kind == AccessKind::Write, owner,
                                   0, slot.served);
}

// It is over: the store buffer waits for the line.
void Vcpu::post_store(Slot& slot) {
  ++counts_.buffered_stores;
  stores_.post(slot.store, slot.outcome.host, slot.access->bytes);
  slot.state = State::Over;
}

void Vcpu::on_line(models::Served served, bool was_known) {
  count_data(AccessKind::Write, served, 0);
  if (was_known) return;
  has_window() ? turn_.wake() : port_.wake(board_.wheel());
}

void Vcpu::leave_out(Slot& slot) {
  end_fault(slot);
  slot.left_out = true;
  slot.state = State::Over;
}

// The first TLB has its translation at once: a fence within its latency comes too late for it.
bool Vcpu::tell_of_hit(const GuestAccess& access) const {
  const models::Translation* const hit = core_.mmu->in_first(access.address, access.kind);
  if (hit == nullptr || !models::Mmu::usable(*hit, access.kind, true)) return false;
  tell(access, hit->host_of(access.address));
  return true;
}

// In the cycle in which the translation is used: the data may come later than a fence.
void Vcpu::tell(const GuestAccess& access, u64 host) const {
  hypervisor_.watcher()->accessed(number_, Gva(access.address), place_of(access), Hpa(host),
                                  access.kind == AccessKind::Write);
}

// The guest-physical address, from where what translates has it.
std::optional<Gpa> Vcpu::place_of(const GuestAccess& access) const {
  if (guest_ == nullptr && replayed_ == nullptr) return Gpa(access.address);
  if (guest_ != nullptr && !compares_) return guest_->where(number_, Gva(access.address));
  if (!access.is(GuestAccess::kGuestPhysical)) return std::nullopt;
  return Gpa(access.guest_physical);
}

void Vcpu::retire(Slot& slot) {
  slot.done = true;
  const Cycle now = board_.wheel().now();
  const Cycle latency = now - slot.issued;
  if (has_stores() && !has_window() && slot.access->kind == AccessKind::Write) stores_.retire(now);
  if (slot.witness != nullptr) [[unlikely]]
    listener_->on_story({slot.number, *slot.access, slot.issued, latency, slot.witness->steps()});
  if (slot.left_out) [[unlikely]] {
    ++counts_.untranslatable;
    counts_.untranslatable_cycles += latency;
    return;
  }
  if (latencies_.count() == 0) counts_.first_access_end = now;
  count_access(slot.access->kind, latency);
}

// The guest's tables have another page for the address than the trace says: its kernel changed them
// meanwhile, and does so now.
bool Vcpu::disagrees(const GuestAccess& access) {
  if (known_to_agree(access)) return false;
  if (!guest_->agrees(number_, Gva(access.address), Gpa(access.guest_physical))) return true;
  known_.add(access, guest_->moves());
  return false;
}

// Faults ------------------------------------------------------------------------------------------

// After it, the access translates again, or is over.
models::Task<> Vcpu::take_fault(Slot& slot) {
  const models::Fault& fault = slot.outcome.fault;
  if (slot.witness != nullptr) [[unlikely]]
    witness_fault(slot);
  if (replayed_ != nullptr) {
    using Answer = ReplayedTables::Answer;
    const Answer answer =
        replayed_->answer(number_, slot.number, *slot.access, fault, slot.was_refused);
    if (answer == Answer::Again) co_return;
    if (answer == Answer::Over) {
      leave_out(slot);
      co_return;
    }
  }
  if (fault.nested) {
    co_await leave_guest(slot);
  } else if (guest_ == nullptr || fault.kind == models::FaultKind::BadAddress) {
    leave_out(slot);  // without a first stage there is nobody to ask
  } else {
    co_await call_kernel(slot);
  }
}

models::Task<> Vcpu::leave_guest(Slot& slot) {
  if (is_early(slot)) {
    co_await hold(slot);
    co_return;
  }
  begin_handling(slot, State::Exited);
  ++counts_.exits;
  const Gpa gpa(slot.outcome.fault.guest_physical);
  const FaultOutcome outcome =
      co_await hypervisor_.handle(number_, gpa, access_of(slot.outcome.fault), slot.witness);
  if (outcome == FaultOutcome::OutOfMemory) {
    stop("the host is out of memory");
    co_return;
  }
  end_handling(slot, counts_.exit_cycles);
  end_fault(slot);
  if (resolved(outcome)) {
    if (replayed_ != nullptr) replayed_->backed(gpa.value());
    turn_.wake_by_wheel();
    co_return;
  }
  // A device answered, or the guest would have been told of an error: the access is over.
  ++(outcome == FaultOutcome::NoPermission ? counts_.forbidden : counts_.emulated);
  slot.state = State::Over;
}

models::Task<> Vcpu::call_kernel(Slot& slot) {
  if (is_early(slot)) {
    co_await hold(slot);
    co_return;
  }
  begin_handling(slot, State::InKernel);
  if (++slot.kernel_calls > kMostKernelCalls) {
    stop("one access called the guest's kernel " + std::to_string(kMostKernelCalls) +
         " times: " + why_again(*slot.access));
    co_return;
  }
  ++counts_.guest_faults;
  std::optional<Gpa> recorded;
  if (slot.access->is(GuestAccess::kGuestPhysical)) recorded = Gpa(slot.access->guest_physical);
  const GuestOutcome outcome =
      co_await guest_->handle(number_, Gva(slot.access->address), recorded, slot.witness);
  if (outcome != GuestOutcome::Mapped && outcome != GuestOutcome::NoAddress) {
    stop(reason_of(outcome));
    co_return;
  }
  end_handling(slot, counts_.guest_cycles);
  if (outcome == GuestOutcome::NoAddress) {
    leave_out(slot);
    co_return;
  }
  end_fault(slot);
  turn_.wake_by_wheel();
}

// Why the guest's kernel does not help.
const char* Vcpu::why_again(const GuestAccess& access) const {
  const std::optional<Gpa> mapped = guest_->where(number_, Gva(access.address));
  if (mapped && (!compares_ || mapped->value() == access.guest_physical)) {
    return "its page is mapped, but something stale is never removed";
  }
  if (order_ != nullptr) {
    return "other vCPUs' records name another page at its address, and each maps its own, where "
           "the trace has no order between them";
  }
  return "other vCPUs' records name another page at its address, and each maps its own; "
         "vcpu.order=recorded keeps them apart, if the trace has an order";
}

// A fault is taken when all before it is over: until then nobody knows that it will be.
models::Task<> Vcpu::hold(Slot& slot) {
  begin_fault(slot);
  slot.state = State::Held;
  co_await slot.turn;
  if (has_stopped()) co_return;
  end_handling(slot, counts_.held_cycles);
  if (slot.witness != nullptr) [[unlikely]]
    witness_held(slot);
}

void Vcpu::begin_fault(Slot& slot) {
  if (!std::exchange(slot.faulting, true)) ++faulting_;
}

void Vcpu::end_fault(Slot& slot) {
  if (std::exchange(slot.faulting, false)) --faulting_;
}

void Vcpu::begin_handling(Slot& slot, State state) {
  begin_fault(slot);
  slot.state = state;
}

// The access translates again. What it did until now took `cycles`.
void Vcpu::end_handling(Slot& slot, Cycle& cycles) {
  const Cycle now = board_.wheel().now();
  cycles += now - slot.mark;
  slot.mark = now;
  slot.state = State::Translates;
}

// What the time goes to that it spends in its state.
Cycle& Vcpu::cycles_of(VcpuCounts& counts, const Slot& slot) {
  switch (slot.state) {
    case State::Exited:
      return counts.exit_cycles;
    case State::InKernel:
      return counts.guest_cycles;
    case State::Held:
      return counts.held_cycles;
    default:
      return counts.translation_cycles;
  }
}

// For a witness ----------------------------------------------------------------------------------

// A hit in the first TLB tells nobody.
void Vcpu::witness_translation(Slot& slot) const {
  models::WitnessStep told;
  told.kind = &models::step::kFirstTlb;
  told.address = slot.access->address;
  told.hit = true;
  slot.witness->tell_rest(slot.mark, told);
}

void Vcpu::witness_held(Slot& slot) const {
  models::WitnessStep told;
  told.kind = &models::step::kHeld;
  slot.witness->tell(slot.mark, told);
}

void Vcpu::witness_fault(Slot& slot) const {
  slot.witness->tell(slot.mark, models::step_of(slot.outcome.fault));
}

void Vcpu::witness_data(Slot& slot) const {
  models::WitnessStep told;
  told.kind = &models::step::kData;
  told.address = slot.outcome.host;
  told.served = slot.served;
  slot.witness->tell(board_.wheel().now(), told);
}

}  // namespace nestwalk::software
