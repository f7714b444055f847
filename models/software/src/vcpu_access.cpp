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

bool Vcpu::spend(Cycle cycles) {
  models::Wheel& wheel = board_.wheel();
  if (wheel.advance(wheel.now() + cycles)) return true;
  gap_end_ = wheel.now() + cycles;
  wheel.schedule(gap_end_, *this, kFront);
  return false;
}

// What the instructions before the next access or event take.
Cycle Vcpu::gap(u64 instructions) {
  counts_.instructions += instructions;
  if (counts_.instructions >= watched_) [[unlikely]]
    order_->moved();
  const Cycle cycles = pace_.cycles(instructions);
  counts_.instruction_cycles += cycles;
  gap_lost_ = cores_.lost(number_);
  counts_.interrupted_cycles += gap_lost_;
  return cycles + gap_lost_;
}

// There is an access or an event that comes next; false at the end.
bool Vcpu::fetch_batch() {
  for (;;) {
    const bool has_access = at_ != batch_.accesses.size();
    if (!has_access && batch_.event != nullptr) return true;
    if (left_ == 0 && !begin_rest()) return finish();
    if (has_access) return true;
    at_ = 0;
    if (!stream_.next(batch_)) return finish();
    // Not before: a vCPU without records takes no memory for it.
    if (compares_ && known_.empty()) known_.resize(kKnownPages);
  }
}

// What comes after the warm-up; false if nothing does.
bool Vcpu::begin_rest() {
  if (rest_ == 0) return false;
  left_ += std::exchange(rest_, 0);
  if (milestones_ != nullptr) milestones_->on_warm(vcpu_);
  return true;
}

// In order ---------------------------------------------------------------------------------------

// From state to state, as long as the next one is due in this cycle. Flat: calls would cost as much
// as what they do.
[[gnu::flatten]] void Vcpu::play_in_order() {
  Slot& slot = slots_[0];
  for (;;) {
    if (!slot.done) {
      if (!perform(slot, 0)) return;
      retire(slot);
    }
    if (front_ == Front::Next) [[likely]] {
      if (may_play_at_once()) {
        if (!play_at_once()) return;
        if (!slot.done) continue;
      }
      if (!fetch_record()) return;
      front_ = needs_attention() ? Front::Attend : Front::Ready;
    }
    if (front_ == Front::Ready) [[likely]] {
      const bool event = at_ == batch_.accesses.size();
      front_ = event ? Front::Event : Front::Issue;
      if (!spend(gap(event ? batch_.event->instructions : batch_.accesses[at_].instructions)))
        return;
    }
    if (front_ == Front::Issue) [[likely]] {
      front_ = Front::Next;
      slot.access = &batch_.accesses[at_++];
      begin(slot);
      continue;
    }
    if (!rare_front()) return;
  }
}

// An access ---------------------------------------------------------------------------------------

void Vcpu::begin(Slot& slot) {
  slot.number = issued();
  --left_;
  slot.issued = slot.mark = board_.wheel().now();
  slot.state = State::Translate;
  slot.done = slot.left_out = slot.was_refused = false;
  slot.witness = nullptr;
  if (slot.number >= next_told_) [[unlikely]] {
    slot.witness = &slot.own_witness;
    slot.witness->begin(slot.issued);
    next_told_ = listener_->next_wanted(slot.number + 1);
  }
  if (!slot.access->is(GuestAccess::kAddress)) [[unlikely]]
    leave_out(slot);
}

bool Vcpu::leave_out(Slot& slot) {
  end_fault(slot);
  slot.left_out = true;
  slot.state = State::Over;
  return true;
}

// Until the access has to wait; true when it is over.
bool Vcpu::perform(Slot& slot, u32 index) {
  const GuestAccess& access = *slot.access;
  for (;;) {
    switch (slot.state) {
      case State::Translate:
        if (!known_.empty() && disagrees(slot)) return handle_guest_fault(slot);
        if (replayed_ != nullptr && !replayed_->prepare(number_, access)) return leave_out(slot);
        slot.state = State::Translated;
        slot.told = hypervisor_.watcher() != nullptr && tell_of_hit(slot);
        if (!core_.mmu->translate({access.address, access.kind, true, slot.witness, this}, *this,
                                  index, slot.outcome)) {
          return false;
        }
        [[fallthrough]];
      case State::Translated: {
        const Cycle now = board_.wheel().now();
        counts_.translation_cycles += now - slot.mark;
        slot.mark = now;
        if (slot.witness != nullptr) [[unlikely]]
          witness_translation(slot);
        if (slot.outcome.fault) [[unlikely]] {
          if (!after_translation(slot)) return false;
          break;
        }
        // Somebody else's fault brought what it needs.
        if (slot.faulting) [[unlikely]] {
          end_fault(slot);
          wake_front();
        }
        if (hypervisor_.watcher() != nullptr && !slot.told) [[unlikely]]
          tell(slot, slot.outcome.host);
        if (replayed_ != nullptr) [[unlikely]]
          replayed_->judge(number_, slot.number, access, slot.outcome);
        slot.state = State::Accessed;
        if (!access_memory(slot, index)) return false;
        [[fallthrough]];
      }
      case State::Accessed: {
        const Cycle now = board_.wheel().now();
        count_data(access.kind, slot.served, now - slot.mark);
        if (slot.witness != nullptr) [[unlikely]]
          witness_data(slot);
        return true;
      }
      case State::Over:
        return true;
      default:
        if (!rare_step(slot)) return false;
    }
  }
}

bool Vcpu::access_memory(Slot& slot, u32 index) {
  const AccessKind kind = slot.access->kind;
  return board_.hierarchy().access(path_of(kind == AccessKind::Execute), Hpa(slot.outcome.host),
                                   kind == AccessKind::Write, *this, index, slot.served);
}

// The first TLB has its translation at once: a fence within its latency comes too late for it.
bool Vcpu::tell_of_hit(const Slot& slot) const {
  const GuestAccess& access = *slot.access;
  const models::Translation* const hit = core_.mmu->in_first(access.address, access.kind);
  if (hit == nullptr || !models::Mmu::usable(*hit, access.kind, true)) return false;
  tell(slot, hit->host_of(access.address));
  return true;
}

// In the cycle in which the translation is used: the data may come later than a fence.
void Vcpu::tell(const Slot& slot, u64 host) const {
  const GuestAccess& access = *slot.access;
  std::optional<Gpa> guest_physical;
  if (access.is(GuestAccess::kGuestPhysical)) guest_physical = Gpa(access.guest_physical);
  if (guest_ == nullptr) guest_physical = Gpa(access.address);
  hypervisor_.watcher()->accessed(number_, Gva(access.address), guest_physical, Hpa(host),
                                  access.kind == AccessKind::Write);
}

void Vcpu::retire(Slot& slot) {
  slot.done = true;
  const Cycle now = board_.wheel().now();
  const Cycle latency = now - slot.issued;
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

// Whatever was missing may be there: again. The time went to `cycles`.
void Vcpu::again(Slot& slot, Cycle& cycles) {
  const Cycle now = board_.wheel().now();
  cycles += now - slot.mark;
  slot.mark = now;
  if (slot.witness != nullptr && slot.state == State::Held) [[unlikely]]
    witness_held(slot);
  core_.witness = nullptr;
  slot.state = State::Translate;
}

// The end of what a fault needed; true if the next state is due in this cycle.
bool Vcpu::rare_step(Slot& slot) {
  switch (slot.state) {
    case State::Exited:
      if (backed_ == FaultOutcome::OutOfMemory) return stop("the host is out of memory");
      again(slot, counts_.exit_cycles);
      end_fault(slot);
      if (resolved(backed_)) {
        if (replayed_ != nullptr) replayed_->backed(slot.outcome.fault.guest_physical);
        wake_front();
        return true;
      }
      // A device answered, or the guest would have been told of an error: the access is over.
      ++(backed_ == FaultOutcome::NoPermission ? counts_.forbidden : counts_.emulated);
      slot.state = State::Over;
      return true;
    case State::GuestHandled:
      if (handled_ != GuestOutcome::Mapped && handled_ != GuestOutcome::NoAddress) {
        return stop(reason());
      }
      again(slot, counts_.guest_cycles);
      if (handled_ == GuestOutcome::NoAddress) return leave_out(slot);
      end_fault(slot);
      wake_front();
      return true;
    default:
      return false;
  }
}

// Was it seen before that the guest's tables have the page for the address that the trace says?
bool Vcpu::known_to_agree(const GuestAccess& access) const {
  if (!access.is(GuestAccess::kGuestPhysical)) return true;
  const u64 page = access.address / kFrameBytes;
  const KnownPage& known = known_[page % kKnownPages];
  return known.page == page && known.guest_page == access.guest_physical / kFrameBytes &&
         known_moves_ == guest_->moves();
}

// The guest's tables have another page for the address than the trace says: its kernel changed them
// meanwhile, and does so now.
bool Vcpu::disagrees(const Slot& slot) {
  const GuestAccess& access = *slot.access;
  if (known_to_agree(access)) return false;
  if (known_moves_ != guest_->moves()) {
    known_moves_ = guest_->moves();
    known_.assign(known_.size(), {});
  }
  const u64 page = access.address / kFrameBytes;
  KnownPage& known = known_[page % kKnownPages];
  if (!guest_->agrees(number_, Gva(access.address), Gpa(access.guest_physical))) return true;
  known = {page, access.guest_physical / kFrameBytes};
  return false;
}

bool Vcpu::after_translation(Slot& slot) {
  const models::Fault& fault = slot.outcome.fault;
  if (slot.witness != nullptr) [[unlikely]]
    witness_fault(slot);
  if (replayed_ != nullptr) {
    using Answer = ReplayedTables::Answer;
    const Answer answer =
        replayed_->answer(number_, slot.number, *slot.access, fault, slot.was_refused);
    slot.state = State::Translate;
    if (answer == Answer::Again) return true;
    if (answer == Answer::Over) return leave_out(slot);
  }
  if (fault.nested) {
    if (hold(slot)) return false;
    take_fault(slot, State::Exited);
    ++counts_.exits;
    calls_.run(hypervisor_.handle(number_, Gpa(fault.guest_physical), access_of(fault)), backed_,
               *this, index_of(slot));
    return false;
  }
  // Without a first stage there is nobody to ask.
  if (guest_ == nullptr || fault.kind == models::FaultKind::BadAddress) return leave_out(slot);
  return handle_guest_fault(slot);
}

bool Vcpu::handle_guest_fault(Slot& slot) {
  if (hold(slot)) return false;
  take_fault(slot, State::GuestHandled);
  ++counts_.guest_faults;
  std::optional<Gpa> recorded;
  if (slot.access->is(GuestAccess::kGuestPhysical)) recorded = Gpa(slot.access->guest_physical);
  calls_.run(guest_->handle(number_, Gva(slot.access->address), recorded), handled_, *this,
             index_of(slot));
  return false;
}

void Vcpu::begin_fault(Slot& slot) {
  if (!std::exchange(slot.faulting, true)) ++faulting_;
}

void Vcpu::end_fault(Slot& slot) {
  if (std::exchange(slot.faulting, false)) --faulting_;
}

void Vcpu::take_fault(Slot& slot, State state) {
  begin_fault(slot);
  slot.state = state;
  core_.witness = slot.witness;
}

// A fault is taken when all before it is over: until then nobody knows that it will be.
bool Vcpu::hold(Slot& slot) {
  if (slots_.size() == 1 || slot.number == oldest_) return false;
  begin_fault(slot);
  slot.state = State::Held;
  return true;
}

// What the time goes to that it spends in its state.
Cycle& Vcpu::cycles_of(VcpuCounts& counts, const Slot& slot) {
  switch (slot.state) {
    case State::Exited:
      return counts.exit_cycles;
    case State::GuestHandled:
      return counts.guest_cycles;
    case State::Held:
      return counts.held_cycles;
    case State::Accessed:
      return counts.data_of(slot.access->kind, slot.served).cycles;
    default:
      return counts.translation_cycles;
  }
}

// With a window -----------------------------------------------------------------------------------

void Vcpu::go_on(u32 index) {
  Slot& slot = slots_[index];
  if (slot.done || !perform(slot, index)) return;  // all is done when the vCPU had to stop
  retire(slot);
  free_slots();
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
  const models::Fault& fault = slot.outcome.fault;
  models::WitnessStep told;
  told.kind = fault.nested ? &models::step::kNestedFault : &models::step::kGuestFault;
  told.address = fault.nested ? fault.guest_physical : fault.virtual_address;
  told.note = models::kFaultKindNames[static_cast<unsigned>(fault.kind)];
  slot.witness->tell(slot.mark, told);
}

void Vcpu::witness_data(Slot& slot) const {
  models::WitnessStep told;
  told.kind = &models::step::kData;
  told.address = slot.outcome.host;
  told.served = slot.served;
  slot.witness->tell(board_.wheel().now(), told);
}

}  // namespace nestwalk::software
