// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/hypervisor.hpp"

#include <algorithm>
#include <bit>

namespace nestwalk::software {
namespace {

using addrspace::Backend;

constexpr std::size_t kExitCause = HostOperation::kKinds;
constexpr std::size_t kBeginCause = HostOperation::kKinds + 1;
constexpr std::size_t kEntryCause = HostOperation::kKinds + 2;
/// Of FenceCounts, as a watcher is told.
constexpr const char* kCauses[FenceCounts::kCauses] = {"map",
                                                       "zap",
                                                       "protect",
                                                       "dirty-log-start",
                                                       "dirty-log-harvest",
                                                       "dirty-log-stop",
                                                       "inflate",
                                                       "deflate",
                                                       "fault",
                                                       "begin",
                                                       "entry"};

// Memory that is there from the start comes in parts, so that the list of what the engine did stays
// small; linear parts are the largest runs that the host has.
constexpr u64 kEagerPart = u64{64} << 20;
constexpr u64 kLinearPart = addrspace::kGiB;
/// A trace may ask for more at a time than a host has.
constexpr u64 kOperationPart = addrspace::kGiB;

void add_parts(std::vector<MemoryRange>& parts, const MemoryRange& range, u64 most) {
  const u64 end = range.start + range.bytes;
  for (u64 at = range.start; at < end;) {
    const u64 next = std::min(end, (at / most + 1) * most);
    parts.push_back({at, next - at});
    at = next;
  }
}

bool is_of_log(HostOperation::Kind kind) {
  using Kind = HostOperation::Kind;
  return kind == Kind::LogStart || kind == Kind::LogHarvest || kind == Kind::LogStop;
}

std::vector<MemoryRange> parts_of(const std::vector<MemoryRange>& memory, Backend backend) {
  if (backend.kind == Backend::Kind::Lazy) return memory;
  const u64 most = backend.kind == Backend::Kind::Eager ? kEagerPart : kLinearPart;
  std::vector<MemoryRange> parts;
  for (const MemoryRange& range : memory) add_parts(parts, range, most);
  return parts;
}

}  // namespace

Hypervisor::Hypervisor(models::Board& board, models::FenceUnit& fences, HostSpace& space,
                       Recording& recording, const models::SoftwareShape& costs, Cores& cores,
                       Vmids& vmids, Vmids::Holder vmid, u32 first_core)
    : board_(board),
      fences_(fences),
      space_(space),
      recording_(recording),
      costs_(costs),
      first_core_(first_core),
      places_(board.cores(), Place::Never),
      repeats_(board.cores()),
      cores_(cores),
      vmids_(vmids),
      vmid_(vmid),
      entered_(board.cores(), 0),
      ran_(board.cores(), kNobody),
      lock_(board.wheel()) {
  for (u32 core = 0; core < board.cores(); ++core) {
    workers_.emplace_back(board, fences, core, recording.extension().entries, costs,
                          static_cast<Shootdowns*>(this));
  }
}

void Hypervisor::watch(Watcher* watcher) {
  watcher_ = watcher;
  fences_.watch(watcher);
  for (Worker& worker : workers_) worker.watch(watcher);
}

void Hypervisor::put_place(u32 core, Place place) {
  const bool was = places_[core] == Place::Guest;
  places_[core] = place;
  cores_.set_in_guest(core, place == Place::Guest);
  if (watcher_ == nullptr || was == (place == Place::Guest)) return;
  if (was) return watcher_->left(core);
  watcher_->entered(core, vcpu_tags_ != nullptr ? ran_[core] : 0, vmid(core, ran_[core]));
}
void Hypervisor::begin_guest(u32 core, u32 vcpu) {
  ran_[core] = vcpu;
  vmids_.put_on(core, &vmid_);
  if (vcpu_tags_ != nullptr) vcpu_tags_->put_on(core, vmid_.tag, vcpu);
  put_place(core, Place::Guest);
}
void Hypervisor::end_guest(u32 core) {
  put_place(core, Place::Over);
  vmids_.put_on(core, nullptr);
}

// Taking turns on cores ---------------------------------------------------------------------------

models::Task<> Hypervisor::leave_guest(u32 core) {
  Meter charges = meter(schedule_.cycles);
  put_place(core, Place::Host);
  ++schedule_.departures;
  co_await charges.spend_as_event(Part::Exit, costs_.exit_cycles);
  co_await charges.spend(Part::Handler, costs_.host_switch_cycles);
  vmids_.put_on(core, nullptr);
}

void Hypervisor::take_vmid(u32 core, u32 vcpu) {
  if (vcpu_tags_ != nullptr) {
    if (vcpu_tags_->renew(core, vcpu)) {
      if (vcpu_tags_->owes_fences(core)) {
        ++schedule_.vmid_rollovers;
        if (watcher_ != nullptr) watcher_->took_vmids_back(core);
      }
      if (heard_) heard_(vcpu, vcpu_tags_->tag(core, vcpu));
    }
    return vcpu_tags_->put_on(core, vmid_.tag, vcpu);
  }
  if (!vmids_.is_current(vmid_)) {
    ++renewals_;
    if (vmids_.renew(vmid_)) {
      ++schedule_.vmid_rollovers;
      vmids_.owe_fences(core);
    }
    const Result<void> named = space_.set_vmid(vmid_.tag);
    models::check(named.ok(), "hypervisor", "a VMID that the tables can have", board_.wheel().now(),
                  vmid_.tag);
    if (heard_) heard_(std::nullopt, vmid_.tag);
  }
  vmids_.put_on(core, &vmid_);
}

models::Task<> Hypervisor::enter_guest(u32 core, u32 vcpu) {
  Meter charges = meter(schedule_.cycles);
  put_place(core, Place::Host);
  while (!vmids_.may_enter(core)) {
    models::Call others([&](models::Actor& owner) {
      vmids_.wait(owner, 0);
      return false;
    });
    co_await others;
    charges.charge(Part::Lock);
  }
  if (must_fence_entry(core, vcpu)) {
    charges.add(co_await play(core, kEntryCause));
    if (vmids_.owes_fences(core)) vmids_.end_fences(board_.wheel());
    if (vcpu_tags_ != nullptr) vcpu_tags_->end_fences(core);
  }
  co_await resume_guest(core, charges);
}

// What has to be invalidated before a vCPU runs there under the guest's VMID; false if nothing has.
bool Hypervisor::must_fence_entry(u32 core, u32 vcpu) {
  if (vcpu_tags_ != nullptr) return must_fence_vcpu(core, vcpu);
  const bool is_first = entered_[core] != renewals_;
  entered_[core] = renewals_;
  const bool another_vcpu = another_ran(core, vcpu);
  ran_[core] = vcpu;
  const bool rolls_over = vmids_.owes_fences(core);
  if (has_vmids_ && !rolls_over && !is_first && !another_vcpu) return false;
  record(core);
  const models::Extension& extension = recording_.extension();
  if (rolls_over || !has_vmids_) {
    recording_.fences(
        [&](models::FenceSink sink) { extension.emit_rollover(recording_.machine(), sink); });
  }
  recording_.own_fences([&](models::FenceSink sink) {
    // Nothing is cached under a new VMID, so which vCPU ran last does not matter. Without any, as
    // KVM on RISC-V does for each vCPU that it loads (kvm_riscv_mmu_update_hgatp), and VS with it.
    if (is_first || !has_vmids_) return extension.emit_first_entry(space_.tag(), sink);
    if (another_vcpu) extension.emit_vcpu_switch(recording_.machine(), space_.tag(), sink);
  });
  return true;
}

// The same where each vCPU has an ASID of its own: the flushes that were put off while it did not
// run; or, when the core had no ASID left, a flush of all.
bool Hypervisor::must_fence_vcpu(u32 core, u32 vcpu) {
  ran_[core] = vcpu;
  const bool rolls_over = vcpu_tags_->owes_fences(core);
  const std::vector<addrspace::Fence> owed = vcpu_tags_->take_owed(core, vcpu);
  if (!rolls_over && owed.empty()) return false;
  record(core);
  recording_.own_fences([&](models::FenceSink sink) {
    if (rolls_over) return recording_.extension().emit_rollover(recording_.machine(), sink);
    for (const addrspace::Fence& fence : owed) sink(fence);
  });
  return true;
}

// Of the vCPU that an interrupt took out of the guest for a moment. One that is out already gets
// it on its way in.
void Hypervisor::replace_vmid(u32 core) {
  if (places_[core] != Place::Guest) return;
  put_place(core, Place::Host);
  take_vmid(core, ran_[core]);
  if (vcpu_tags_->owes_fences(core)) {
    const auto execute = [&](const addrspace::Fence& fence) {
      models::FenceRequest request = models::request_of(fence, vmid_.tag, 0);
      request.engine = true;
      fences_.execute(core, request);
      cores_.take_time(core, board_.fence().cycles(fence.op->cost));
    };
    recording_.extension().emit_rollover(recording_.machine(), models::FenceSink(execute));
    vcpu_tags_->end_fences(core);
  }
  put_vmid(core);
  put_place(core, Place::Guest);
}

// The vCPU that is on the core goes on under the VMID that it has now.
void Hypervisor::put_vmid(u32 core) {
  models::Mmu& mmu = *board_.core(core).mmu;
  models::Regime regime = mmu.regime();
  regime.vmid = vmid(core, ran_[core]);
  mmu.set_regime(regime.tagged(board_.tags()));
  mmu.restart();
}

// Fences ------------------------------------------------------------------------------------------

Cycle Hypervisor::kick_cycles() const {
  return board_.fence().cycles_or(models::kKickCost, costs_.exit_cycles);
}

// What runs the guest has to leave it first.
std::span<const models::InterruptTarget> Hypervisor::targets(u32 core) {
  targets_.clear();
  const bool rolls_over = vmids_.owes_fences(core);
  if (!recording_.policy().interrupts && !rolls_over) return targets_;
  for (u32 n = 0; n < places_.size(); ++n) {
    const bool concerned = rolls_over ? cores_.is_used(n) : places_[n] != Place::Never;
    if (n == core || !concerned) continue;
    targets_.push_back({n, cores_.in_guest(n) ? kick_cycles() : 0});
  }
  return targets_;
}

void Hypervisor::sent(const models::FenceUnit::Sequence& sequence) {
  fence_counts_.interrupts += sequence.interrupts;
  for (std::size_t n = 0; n < sequence.each.size(); ++n) {
    const u32 core = targets_[n].core;
    if (!cores_.in_guest(core)) continue;
    cores_.take_time(core, kick_cycles() + sequence.each[n] + costs_.entry_cycles);
  }
}

FaultOutcome Hypervisor::end_of_repeats(u32 core, Gpa gpa, FaultOutcome outcome) {
  Repeats& repeats = repeats_[core];
  const u64 page = gpa.value() / kFrameBytes;
  const bool again = outcome == FaultOutcome::AlreadyMapped && page == repeats.page;
  repeats = {page, again ? repeats.count + 1 : 0};
  return is_stuck(core) ? FaultOutcome::OutOfMemory : outcome;  // whatever ends it
}

void Hypervisor::record(u32 core) {
  const models::Regime& regime = board_.core(core).mmu->regime();
  recording_.begin(named(regime.vmid), regime.asid);
  fences_before_ = recording_.counts().fences;
}

// What the engine did since record(), in simulated time.
models::Task<PartCycles> Hypervisor::play(u32 core, std::size_t cause, models::Witness* witness) {
  space_.flush();
  fence_counts_.by_cause[cause] += recording_.counts().fences - fences_before_;
  if (watcher_ != nullptr) watcher_->began(core, kCauses[cause]);
  const PartCycles cycles = co_await workers_[core].play(
      recording_.take(), witness,
      cause == kBeginCause ? Worker::Clears::AtOnce : Worker::Clears::ByLine);
  if (watcher_ != nullptr) watcher_->ended(core);
  co_return cycles;
}

models::Task<> Hypervisor::begin(const std::vector<MemoryRange>& memory, Backend backend) {
  backend_ = backend;
  const std::vector<MemoryRange> parts = parts_of(memory, backend);
  co_await models::EventAt(board_.wheel(), board_.wheel().now());
  for (std::size_t n = 0; n < parts.size() && !begin_error_; ++n) {
    record(first_core_);
    const Result<void> done = map_part(parts[n]);
    if (!done) begin_error_ = done.error();
    models::add(begin_cycles_, co_await play(first_core_, kBeginCause));
  }
  began_ = true;
}

Result<void> Hypervisor::map_part(const MemoryRange& part) {
  Backend backend = backend_;
  if (backend.kind == Backend::Kind::Linear) {
    const Result<Hpa> run = board_.memory().allocate(
        static_cast<unsigned>(std::bit_width((part.bytes - 1) / kFrameBytes)));
    if (!run) return run.error();
    backend.base = *run;
  }
  return space_.map(Gpa(part.start), part.bytes, backend);
}

// Exits -------------------------------------------------------------------------------------------

models::Task<FaultOutcome> Hypervisor::handle(u32 core, Gpa gpa, Access access,
                                              models::Witness* witness) {
  Meter charges = meter(counts_.cycles, witness);
  put_place(core, Place::Host);
  if (watcher_ != nullptr) watcher_->faulted(core, gpa, access);
  models::Lock::Turn turn(lock_);
  co_await leave_for_engine(turn, charges);
  record(core);
  FaultOutcome outcome = space_.handle_fault(gpa, access);
  ++counts_.by_outcome[static_cast<std::size_t>(outcome)];
  outcome = end_of_repeats(core, gpa, outcome);
  charges.add(co_await play(core, kExitCause, witness));
  release(turn, core);
  if (outcome == FaultOutcome::NoArea) {
    co_await charges.spend(Part::Emulation, costs_.emulation_cycles);
  }
  co_await resume_guest(core, charges);
  co_return outcome;
}

models::Task<> Hypervisor::operate(u32 core, HostOperation operation, models::Witness* witness) {
  Meter charges = meter(operations_.cycles, witness);
  put_place(core, Place::Host);
  models::Lock::Turn turn(lock_);
  co_await leave_for_engine(turn, charges);
  ++operations_.by_kind[static_cast<std::size_t>(operation.kind)];
  bool refused = !is_allowed(operation);
  for (const OperationPart& part : parts_of_operation(operation)) {
    record(core);
    operation.gpa = Gpa(part.range.start);
    operation.bytes = part.range.bytes;
    refused = refused || !carry_out(operation, part);
    charges.add(co_await play(core, static_cast<std::size_t>(operation.kind), witness));
    if (refused) break;
  }
  if (refused) ++operations_.refused;
  release(turn, core);
  co_await resume_guest(core, charges);
}

models::Task<> Hypervisor::leave_for_engine(models::Lock::Turn& turn, Meter& charges) {
  co_await charges.spend_as_event(Part::Exit, costs_.exit_cycles);
  const Cycle asked = board_.wheel().now();
  co_await turn;
  lock_asked_ = asked;
  lock_got_ = board_.wheel().now();
  charges.charge(Part::Lock);
  co_await charges.spend(Part::Handler, costs_.handler_cycles);
}

void Hypervisor::release(models::Lock::Turn& turn, u32 core) {
  if (lock_listener_ != nullptr) [[unlikely]]
    lock_listener_->on_lock(core, lock_asked_, lock_got_, board_.wheel().now());
  turn.end();
}

models::Task<> Hypervisor::resume_guest(u32 core, Meter& charges) {
  const u32 vcpu = ran_[core];
  const auto lacks_vmid = [&] {
    return vcpu_tags_ != nullptr && !vcpu_tags_->is_current(core, vcpu);
  };
  // An interrupt on the way in takes effect before the guest runs: the entry is made again.
  do {
    while (lacks_vmid()) {
      take_vmid(core, vcpu);
      if (must_fence_vcpu(core, vcpu)) {
        charges.add(co_await play(core, kEntryCause));
        vcpu_tags_->end_fences(core);
      }
      put_vmid(core);
    }
    co_await charges.spend_as_event(Part::Entry, costs_.entry_cycles);
  } while (lacks_vmid());
  put_place(core, Place::Guest);
}

Result<void> Hypervisor::replace(const HostOperation& operation, Backend backend) {
  const Result<void> gone = space_.unmap(operation.gpa, operation.bytes);
  return gone ? space_.map(operation.gpa, operation.bytes, backend) : gone;
}

// Not where it touches what operations leave alone.
bool Hypervisor::is_allowed(const HostOperation& operation) const {
  const u64 start = operation.gpa.value();
  if (start + operation.bytes < start) return false;
  if (operation.bytes == 0) return true;
  const MemoryRange range{start, operation.bytes};
  return std::none_of(left_alone_.begin(), left_alone_.end(),
                      [&](const auto& touches) { return touches(range); });
}

// As a rule one. A range that the engine refuses stays whole, so that it is refused as a whole. The
// dirty log is that of all the guest's memory, whatever the operation names.
std::vector<Hypervisor::OperationPart> Hypervisor::parts_of_operation(
    const HostOperation& operation) const {
  using Kind = HostOperation::Kind;
  const auto all = space_.range();
  const MemoryRange whole = is_of_log(operation.kind)
                                ? MemoryRange{all.start().value(), all.size()}
                                : MemoryRange{operation.gpa.value(), operation.bytes};
  const auto range = addrspace::GpaRange::make(Gpa(whole.start), whole.bytes);
  const bool is_good = range && all.contains(*range) && range->is_aligned(kFrameBytes);
  const bool has_many_steps = operation.kind != Kind::Deflate;
  if (!is_good || !has_many_steps || whole.bytes <= kOperationPart) return {{whole, true, true}};
  std::vector<MemoryRange> ranges;
  add_parts(ranges, whole, kOperationPart);
  std::vector<OperationPart> parts;
  for (const MemoryRange& each : ranges) parts.push_back({each, false, false});
  parts.front().first = true;
  parts.back().last = true;
  return parts;
}

Result<void> Hypervisor::carry_out(const HostOperation& operation, const OperationPart& part) {
  using Kind = HostOperation::Kind;
  // What comes back comes as the policy has it, or when it is touched.
  const Backend lazily = backend_.kind == Backend::Kind::Lazy ? backend_ : Backend::lazy();
  switch (operation.kind) {
    case Kind::Map:
      return replace(operation, Backend::eager(backend_.largest_level));
    case Kind::Zap:
      return replace(operation, lazily);
    case Kind::Inflate:
      return space_.unmap(operation.gpa, operation.bytes);
    case Kind::Deflate:
      return space_.map(operation.gpa, operation.bytes, lazily);
    case Kind::Protect:
      return space_.protect(operation.gpa, operation.bytes, operation.access);
    case Kind::LogStart:
    case Kind::LogHarvest:
    case Kind::LogStop:
      return carry_out_on_log(operation.kind, part);
  }
  return {};
}

// The log is on from the first part of its start to the last part of its end.
Result<void> Hypervisor::carry_out_on_log(HostOperation::Kind kind, const OperationPart& part) {
  using Kind = HostOperation::Kind;
  const auto range = *addrspace::GpaRange::make(Gpa(part.range.start), part.range.bytes);
  if (kind == Kind::LogStart && part.first) return space_.start_log(range);
  if (kind == Kind::LogStop) return part.last ? space_.stop_log(range) : space_.release_log(range);
  const Result<u64> bytes = space_.harvest_log(range);
  if (!bytes) return bytes.error();
  if (kind == Kind::LogHarvest) operations_.bytes_dirty += *bytes;
  return {};
}

void Hypervisor::charge_recorded_store(models::Served served, Cycle cycles) {
  charge_recorded(Part::Tables, cycles);
  auto& cell = recorded_entries_[static_cast<std::size_t>(served)];
  ++cell.references;
  cell.cycles += cycles;
}

EntryCells Hypervisor::entries() const {
  EntryCells sum = recorded_entries_;
  for (const Worker& worker : workers_) models::add(sum, worker.entries());
  return sum;
}

}  // namespace nestwalk::software
