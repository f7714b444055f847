// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/vcpu.hpp"

#include <algorithm>

namespace nestwalk::software {
namespace {

using models::AccessKind;
using models::FenceKind;
using models::FenceRequest;

constexpr std::size_t kKnownPages = 1024;
/// Pages for which a kernel issues one instruction each, where none names a range; for more it
/// takes all (Linux on x86: tlb_single_page_flush_ceiling).
constexpr u64 kMostSingleFences = 33;

Access access_of(const models::Fault& fault) {
  if (fault.for_table) {
    return fault.table_write || fault.reads_as_writes ? addrspace::kWrite : addrspace::kRead;
  }
  constexpr Access kAccess[] = {addrspace::kRead, addrspace::kWrite, addrspace::kExecute};
  return kAccess[static_cast<unsigned>(fault.access)];
}

// By architecture; then: all, by address, by space, by both.
constexpr FenceKind kFences[3][4] = {
    {FenceKind::InvvpidSingle, FenceKind::InvlpgGuest, FenceKind::MovCr3Guest,
     FenceKind::InvlpgGuest},
    {FenceKind::TlbiVmalle1is, FenceKind::TlbiVaae1is, FenceKind::TlbiAside1is,
     FenceKind::TlbiVae1is},
    {FenceKind::VvmaAll, FenceKind::VvmaAddress, FenceKind::VvmaAsid, FenceKind::VvmaAddressAsid}};

}  // namespace

Vcpu::Vcpu(models::Board& board, u32 core, Guest* guest, Hypervisor& hypervisor,
           const models::SoftwareShape& costs, GuestTables tables, GuestStream& stream)
    : board_(board),
      core_(board.core(core)),
      number_(core),
      guest_(guest),
      hypervisor_(hypervisor),
      costs_(costs),
      stream_(stream),
      known_(tables == GuestTables::Recorded ? kKnownPages : 0) {}

void Vcpu::begin(u64 limit) {
  left_ = limit;
  state_ = State::Begin;
  counts_.begin = board_.wheel().now();
  board_.wheel().schedule(counts_.begin, *this, 0);
}

bool Vcpu::spend(u64 cycles) {
  models::Wheel& wheel = board_.wheel();
  if (wheel.advance(wheel.now() + cycles)) return true;
  wheel.schedule(wheel.now() + cycles, *this, 0);
  return false;
}

// What the instructions before the next access or event take. What is less than a cycle is kept.
bool Vcpu::gap(u64 instructions) {
  counts_.instructions += instructions;
  carry_ += instructions * 1000;
  const u64 per_cycle = costs_.instructions_per_1000_cycles;
  u64 cycles = 0;
  if (carry_ < 4 * per_cycle) [[likely]] {  // without a division
    for (; carry_ >= per_cycle; carry_ -= per_cycle) ++cycles;
  } else {
    cycles = carry_ / per_cycle;
    carry_ %= per_cycle;
  }
  return spend(cycles);
}

// From state to state, as long as the next one is due in this cycle.
void Vcpu::on_cycle(u32) {
  for (;;) {
    switch (state_) {
      case State::Next:
        if (!next()) return;
        if (state_ != State::Translate) break;
        [[fallthrough]];
      case State::Translate:
        issued_ = board_.wheel().now();
        [[fallthrough]];
      case State::Backed:
        state_ = State::Translated;
        if (!known_.empty() && disagrees()) return;
        if (!core_.mmu->translate({access_->address, access_->kind, true}, *this, 0, outcome_)) {
          return;
        }
        [[fallthrough]];
      case State::Translated:
        if (outcome_.fault) [[unlikely]] {
          if (!after_translation()) return;
          break;
        }
        state_ = State::Accessed;
        if (!access_memory()) return;
        [[fallthrough]];
      case State::Accessed:
        retire();
        break;
      default:
        if (!rare_step()) return;
    }
  }
}

bool Vcpu::access_memory() {
  const bool fetch = access_->kind == AccessKind::Execute;
  return board_.hierarchy().access(fetch ? core_.paths.fetches : core_.paths.data,
                                   Hpa(outcome_.host), access_->kind == AccessKind::Write, *this, 0,
                                   served_);
}

void Vcpu::retire() {
  const Cycle now = board_.wheel().now();
  if (latencies_.count() == 0) counts_.first_access_end = now;
  latencies_.add(now - issued_);
  ++counts_.accesses[static_cast<unsigned>(access_->kind)];
  state_ = State::Next;
}

// What is not on an access's usual way; true if the next state is due in this cycle.
bool Vcpu::rare_step() {
  switch (state_) {
    case State::Begin:
      state_ = guest_ == nullptr ? State::Next : State::Switched;
      if (guest_ == nullptr) return true;
      guest_->enter(number_, 0, *this, 0, handled_);
      return false;
    case State::Switched:
      if (handled_ != GuestOutcome::Mapped) return stop(reason());
      state_ = State::EventDone;
      return true;
    case State::Event:
      return begin_event();
    case State::EventDone:
      if (fences_left_ != 0) return issue_fence();
      batch_.event = nullptr;
      state_ = State::Next;
      return true;
    case State::Exited:
      if (resolved(backed_)) {
        state_ = State::Backed;
        return true;
      }
      if (backed_ == FaultOutcome::OutOfMemory) return stop("the host is out of memory");
      // A device answered, or the guest would have been told of an error: the access is over.
      ++(backed_ == FaultOutcome::NoPermission ? counts_.forbidden : counts_.emulated);
      state_ = State::Accessed;
      return true;
    case State::GuestHandled:
      if (handled_ == GuestOutcome::Mapped) {
        state_ = State::Backed;
        return true;
      }
      if (handled_ != GuestOutcome::NoAddress) return stop(reason());
      ++counts_.untranslatable;
      state_ = State::Next;
      return true;
    default:
      return false;  // it is finished
  }
}

bool Vcpu::next() {
  if (at_ == batch_.accesses.size()) {
    if (batch_.event != nullptr) {
      state_ = State::Event;
      return gap(batch_.event->instructions);
    }
    at_ = 0;
    if (left_ == 0 || !stream_.next(batch_)) return finish();
    return true;
  }
  if (left_-- == 0) {
    left_ = 0;
    return finish();
  }
  access_ = &batch_.accesses[at_++];
  if (!access_->knows_address) [[unlikely]] {
    ++counts_.untranslatable;
    return gap(access_->instructions);
  }
  state_ = State::Translate;
  return gap(access_->instructions);
}

// The guest's tables have another page for the address than the trace says: its kernel changed them
// meanwhile, and does so now.
bool Vcpu::disagrees() {
  if (!access_->knows_guest_physical) return false;
  if (known_moves_ != guest_->moves()) {
    known_moves_ = guest_->moves();
    known_.assign(known_.size(), {});
  }
  const u64 page = access_->address / kFrameBytes;
  KnownPage& known = known_[page % kKnownPages];
  if (known.page == page && known.guest_page == access_->guest_physical / kFrameBytes) return false;
  known = {page, access_->guest_physical / kFrameBytes};
  if (guest_->agrees(number_, Gva(access_->address), Gpa(access_->guest_physical))) return false;
  state_ = State::GuestHandled;
  ++counts_.guest_faults;
  guest_->handle(number_, Gva(access_->address), Gpa(access_->guest_physical), *this, 0, handled_);
  return true;
}

bool Vcpu::after_translation() {
  const models::Fault& fault = outcome_.fault;
  if (!fault.nested) {
    // Without a first stage there is nobody to ask.
    if (guest_ == nullptr || fault.kind == models::FaultKind::BadAddress) {
      ++counts_.untranslatable;
      state_ = State::Next;
      return true;
    }
    state_ = State::GuestHandled;
    ++counts_.guest_faults;
    std::optional<Gpa> recorded;
    if (access_->knows_guest_physical) recorded = Gpa(access_->guest_physical);
    guest_->handle(number_, Gva(access_->address), recorded, *this, 0, handled_);
    return false;
  }
  state_ = State::Exited;
  ++counts_.exits;
  hypervisor_.handle(number_, Gpa(fault.guest_physical), access_of(fault), *this, 0, backed_);
  return false;
}

bool Vcpu::begin_event() {
  state_ = State::EventDone;
  if (const auto* const to = std::get_if<GuestSwitch>(&batch_.event->detail)) {
    if (guest_ == nullptr) return true;
    ++counts_.switches;
    known_.assign(known_.size(), {});
    state_ = State::Switched;
    guest_->enter(number_, to->key, *this, 0, handled_);
    return false;
  }
  if (const auto* const operation = std::get_if<HostOperation>(&batch_.event->detail)) {
    hypervisor_.operate(number_, *operation, *this, 0);
    return false;
  }
  if (const auto* const fence = std::get_if<GuestFence>(&batch_.event->detail)) {
    ++counts_.fences;
    begin_fence(*fence);
    return issue_fence();
  }
  return true;
}

// A range is one instruction on AArch64, as many as it has pages elsewhere.
void Vcpu::begin_fence(const GuestFence& fence) {
  const models::Regime& regime = core_.mmu->regime();
  const u64 bytes = fence.by_address ? std::max<u64>(fence.bytes, 1) : 0;
  const u64 pages = bytes / kFrameBytes + (bytes % kFrameBytes != 0 ? 1 : 0);
  const bool in_one = regime.architecture() == Architecture::AArch64 || !fence.by_address;
  const bool by_address = fence.by_address && (in_one || pages <= kMostSingleFences);
  fence_.kind = kFences[static_cast<unsigned>(regime.architecture())]
                       [(by_address ? 1 : 0) + (fence.by_space ? 2 : 0)];
  fence_.vmid = regime.vmid;
  fence_.asid = regime.asid;
  fence_.address = fence.address;
  fence_.bytes = in_one ? std::max<u64>(bytes, 1) : kFrameBytes;
  fences_left_ = in_one || !by_address ? 1 : pages;
}

bool Vcpu::issue_fence() {
  --fences_left_;
  const FenceRequest now = fence_;
  fence_.address += kFrameBytes;
  hypervisor_.fences().issue(number_, now, models::Reach::Own, *this, 0);
  return false;
}

// Why the guest could not do what it had to.
std::string Vcpu::reason() const {
  switch (handled_) {
    case GuestOutcome::OutOfMemory:
      return "the guest is out of memory";
    case GuestOutcome::Failed:
      return "the host is out of memory";
    default:
      return "the guest's kernel lost its own memory";
  }
}

bool Vcpu::finish() {
  counts_.end = board_.wheel().now();
  state_ = State::Finished;
  return false;
}

bool Vcpu::stop(std::string why) {
  stopped_ = std::move(why);
  return finish();
}

}  // namespace nestwalk::software
