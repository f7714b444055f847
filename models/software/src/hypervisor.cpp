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
constexpr std::size_t kVmidCause = HostOperation::kKinds + 2;
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
                                                       "vmids"};

// Memory that is there from the start comes in parts, so that the list of what the engine did stays
// small; linear parts are the largest runs that the host has.
constexpr u64 kEagerPart = u64{64} << 20;
constexpr u64 kLinearPart = addrspace::kGiB;

std::vector<MemoryRange> parts_of(const std::vector<MemoryRange>& memory, Backend backend) {
  if (backend.kind == Backend::Kind::Lazy) return memory;
  const u64 most = backend.kind == Backend::Kind::Eager ? kEagerPart : kLinearPart;
  std::vector<MemoryRange> parts;
  for (const MemoryRange& range : memory) {
    const u64 end = range.start + range.bytes;
    for (u64 at = range.start; at < end;) {
      const u64 next = std::min(end, (at / most + 1) * most);
      parts.push_back({at, next - at});
      at = next;
    }
  }
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
      jobs_(board.cores()),
      places_(board.cores(), Place::Never),
      repeats_(board.cores()),
      cores_(cores),
      vmids_(vmids),
      vmid_(vmid),
      entered_(board.cores(), 0) {
  for (u32 core = 0; core < board.cores(); ++core) {
    workers_.emplace_back(board, fences, core, recording.architecture(), costs,
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
  was ? watcher_->left(core) : watcher_->entered(core);
}
void Hypervisor::begin_guest(u32 core) {
  vmids_.put_on(core, &vmid_);
  put_place(core, Place::Guest);
}
void Hypervisor::end_guest(u32 core) {
  put_place(core, Place::Over);
  vmids_.put_on(core, nullptr);
}

// Taking turns on cores ---------------------------------------------------------------------------

void Hypervisor::begin_schedule(u32 core, models::Actor& owner, u32 what) {
  Job job;
  job.schedules = true;
  job.owner = &owner;
  job.what = what;
  job.mark = board_.wheel().now();
  jobs_[core] = job;
  put_place(core, Place::Host);
}

void Hypervisor::leave_guest(u32 core, models::Actor& owner, u32 what) {
  begin_schedule(core, owner, what);
  ++schedule_.departures;
  jobs_[core].state = State::Exiting;
  later(core, costs_.exit_cycles);
}

void Hypervisor::take_vmid(u32 core) {
  if (!vmids_.is_current(vmid_)) {
    ++renewals_;
    rolls_over_ = vmids_.renew(vmid_);
    if (rolls_over_) ++schedule_.vmid_rollovers;
    const Result<void> named = space_.set_vmid(vmid_.tag);
    models::check(named.ok(), "hypervisor", "a VMID that the tables can have", board_.wheel().now(),
                  vmid_.tag);
    if (heard_) heard_(vmid_.tag);
  }
  vmids_.put_on(core, &vmid_);
}

void Hypervisor::enter_guest(u32 core, models::Actor& owner, u32 what) {
  begin_schedule(core, owner, what);
  arrive(core);
}

void Hypervisor::arrive(u32 core) {
  if (vmids_.is_fencing()) {
    jobs_[core].state = State::Held;
    return vmids_.wait(*this, core);
  }
  if (fence_vmid(core)) return;
  jobs_[core].state = State::Entering;
  later(core, costs_.entry_cycles);
}

// What has to be invalidated before the guest runs there under its VMID; false if nothing has.
bool Hypervisor::fence_vmid(u32 core) {
  const bool is_first = entered_[core] != renewals_;
  entered_[core] = renewals_;
  if (!rolls_over_ && !is_first) return false;
  record(core);
  const Architecture architecture = recording_.architecture();
  if (rolls_over_) {
    vmids_.begin_fencing();
    recording_.fences(
        [&](auto&& sink) { emit_rollover(architecture, recording_.machine(), sink); });
  }
  recording_.own_fences([&](auto&& sink) { emit_first_entry(architecture, space_.tag(), sink); });
  jobs_[core].state = State::Working;
  play(core, kVmidCause);
  return true;
}

// Fences ------------------------------------------------------------------------------------------

Cycle Hypervisor::kick_cycles() const {
  return board_.fence().cycles_or(models::FenceCost::Kick, costs_.exit_cycles);
}

// What runs the guest has to leave it first.
std::span<const models::InterruptTarget> Hypervisor::targets(u32 core) {
  targets_.clear();
  if (!recording_.policy().interrupts && !rolls_over_) return targets_;
  for (u32 n = 0; n < places_.size(); ++n) {
    const bool concerned = rolls_over_ ? cores_.is_used(n) : places_[n] != Place::Never;
    if (n == core || !concerned) continue;
    targets_.push_back({n, cores_.in_guest(n) ? kick_cycles() : 0});
  }
  return targets_;
}

void Hypervisor::sent(const models::FenceUnit::Sequence& sequence) {
  fence_counts_.interrupts += sequence.interrupts;
  if (sequence.interrupts == 0) return;
  for (const models::InterruptTarget& target : targets_) {
    if (!cores_.in_guest(target.core)) continue;
    cores_.take_time(target.core, kick_cycles() + sequence.each + costs_.entry_cycles);
  }
}

void Hypervisor::look_for_repeats(u32 core) {
  Repeats& repeats = repeats_[core];
  Job& job = jobs_[core];
  const u64 page = job.gpa.value() / kFrameBytes;
  const bool again = *job.outcome == FaultOutcome::AlreadyMapped && page == repeats.page;
  repeats = {page, again ? repeats.count + 1 : 0};
  if (is_stuck(core)) *job.outcome = FaultOutcome::OutOfMemory;  // whatever ends it
}

void Hypervisor::record(u32 core) {
  recording_.begin(board_.core(core).mmu->regime());
  fences_before_ = recording_.counts().fences;
}

// What the engine did since record(), in simulated time.
void Hypervisor::play(u32 core, std::size_t cause) {
  space_.flush();
  fence_counts_.by_cause[cause] += recording_.counts().fences - fences_before_;
  if (watcher_ != nullptr) watcher_->began(core, kCauses[cause]);
  workers_[core].play(recording_.take(), *this, core);
}

void Hypervisor::begin(const std::vector<MemoryRange>& memory, Backend backend,
                       models::Actor& owner, u32 what) {
  parts_ = parts_of(memory, backend);
  backend_ = backend;
  Job& job = jobs_[first_core_];
  job = {};
  job.state = State::Begin;
  job.owner = &owner;
  job.what = what;
  job.mark = board_.wheel().now();
  later(first_core_, 0);
}

// The next part of the guest's memory; false when there is no more.
bool Hypervisor::next_part(u32 core) {
  if (next_part_ == parts_.size() || begin_error_) return false;
  const MemoryRange& part = parts_[next_part_++];
  record(core);
  Backend backend = backend_;
  Result<void> done;
  if (backend.kind == Backend::Kind::Linear) {
    const Result<Hpa> run = board_.memory().allocate(
        static_cast<unsigned>(std::bit_width((part.bytes - 1) / kFrameBytes)));
    if (run) backend.base = *run;
    done = run ? space_.map(Gpa(part.start), part.bytes, backend) : Result<void>(run.error());
  } else {
    done = space_.map(Gpa(part.start), part.bytes, backend);
  }
  if (!done) begin_error_ = done.error();
  play(core, kBeginCause);
  return true;
}

void Hypervisor::handle(u32 core, Gpa gpa, Access access, models::Actor& owner, u32 what,
                        FaultOutcome& outcome) {
  Job job;
  job.gpa = gpa;
  job.access = access;
  job.outcome = &outcome;
  exit(core, job, owner, what);
}

void Hypervisor::operate(u32 core, const HostOperation& operation, models::Actor& owner, u32 what) {
  Job job;
  job.operation = operation;
  exit(core, job, owner, what);
}

void Hypervisor::exit(u32 core, Job job, models::Actor& owner, u32 what) {
  job.state = State::Exiting;
  job.owner = &owner;
  job.what = what;
  job.mark = board_.wheel().now();
  jobs_[core] = job;
  put_place(core, Place::Host);
  if (watcher_ != nullptr && !job.operation) watcher_->faulted(core, job.gpa, job.access);
  later(core, costs_.exit_cycles);
}

void Hypervisor::later(u32 core, u64 cycles) {
  board_.wheel().schedule(board_.wheel().now() + cycles, *this, core);
}

PartCycles& Hypervisor::cycles_of(const Job& job) {
  if (job.state == State::Begin) return begin_cycles_;
  if (job.schedules) return schedule_.cycles;
  return job.operation ? operations_.cycles : counts_.cycles;
}

void Hypervisor::charge_to(Job& job, u32 core, Part part) {
  charge(cycles_of(job), part, job.mark, board_.wheel().now(), board_.core(core).witness,
         "the hypervisor");
}

void Hypervisor::on_cycle(u32 core) {
  Job& job = jobs_[core];
  switch (job.state) {
    case State::Begin:
      models::add(begin_cycles_, workers_[core].cycles());
      if (watcher_ != nullptr && next_part_ != 0) watcher_->ended(core);
      if (next_part(core)) return;
      began_ = true;
      job.state = State::Idle;
      job.owner->on_cycle(job.what);
      return;
    case State::Exiting:
      charge_to(job, core, Part::Exit);
      if (job.schedules) {
        job.state = State::Choosing;
        return later(core, costs_.host_switch_cycles);
      }
      if (!locked_) return take_lock(core);
      waiting_.push_back(core);
      return;
    case State::Handling:
      charge_to(job, core, Part::Handler);
      return run_engine(core);
    case State::Choosing:
      charge_to(job, core, Part::Handler);
      vmids_.put_on(core, nullptr);
      return finish(job);
    case State::Held:
      charge_to(job, core, Part::Lock);
      return arrive(core);
    case State::Working:
      models::add(cycles_of(job), workers_[core].cycles());
      job.mark = board_.wheel().now();
      if (watcher_ != nullptr) watcher_->ended(core);
      if (!job.schedules) return leave(core);
      if (std::exchange(rolls_over_, false)) vmids_.end_fencing(board_.wheel());
      job.state = State::Entering;
      return later(core, costs_.entry_cycles);
    case State::Emulating:
      charge_to(job, core, Part::Emulation);
      job.state = State::Entering;
      return later(core, costs_.entry_cycles);
    case State::Entering:
      charge_to(job, core, Part::Entry);
      put_place(core, Place::Guest);
      return finish(job);
    case State::Idle:
      break;
  }
  models::check(false, "hypervisor", "an exit that is under way", board_.wheel().now(), core);
}

void Hypervisor::finish(Job& job) {
  job.state = State::Idle;
  job.owner->on_cycle(job.what);
}

void Hypervisor::take_lock(u32 core) {
  locked_ = true;
  Job& job = jobs_[core];
  charge_to(job, core, Part::Lock);
  job.state = State::Handling;
  later(core, costs_.handler_cycles);
}

void Hypervisor::run_engine(u32 core) {
  Job& job = jobs_[core];
  record(core);
  if (job.operation) {
    carry_out(*job.operation);
  } else {
    *job.outcome = space_.handle_fault(job.gpa, job.access);
    ++counts_.by_outcome[static_cast<std::size_t>(*job.outcome)];
    look_for_repeats(core);
  }
  job.state = State::Working;
  play(core, job.operation ? static_cast<std::size_t>(job.operation->kind) : kExitCause);
}

Result<void> Hypervisor::replace(const HostOperation& operation, Backend backend) {
  const Result<void> gone = space_.unmap(operation.gpa, operation.bytes);
  return gone ? space_.map(operation.gpa, operation.bytes, backend) : gone;
}

void Hypervisor::carry_out(const HostOperation& operation) {
  using Kind = HostOperation::Kind;
  ++operations_.by_kind[static_cast<std::size_t>(operation.kind)];
  // What comes back comes as the policy has it, or when it is touched.
  const Backend lazily = backend_.kind == Backend::Kind::Lazy ? backend_ : Backend::lazy();
  const auto done = [&]() -> Result<void> {
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
        return space_.start_log();
      case Kind::LogHarvest: {
        const Result<u64> bytes = space_.harvest_log();
        if (!bytes) return bytes.error();
        operations_.bytes_dirty += *bytes;
        return {};
      }
      case Kind::LogStop:
        return space_.stop_log();
    }
    return {};
  };
  const u64 end = operation.gpa.value() + operation.bytes;
  const MemoryRange range{operation.gpa.value(), operation.bytes};
  const bool touches =
      operation.bytes != 0 && std::any_of(left_alone_.begin(), left_alone_.end(),
                                          [&](const auto& leave) { return leave(range); });
  if (touches || end < operation.gpa.value() || !done()) ++operations_.refused;
}

void Hypervisor::charge_recorded_store(models::Served served, Cycle cycles) {
  charge_recorded(Part::Tables, cycles);
  auto& cell = recorded_entries_[static_cast<std::size_t>(served)];
  ++cell.references;
  cell.cycles += cycles;
}

void Hypervisor::leave(u32 core) {
  locked_ = false;
  Job& job = jobs_[core];
  const bool emulates = job.outcome != nullptr && *job.outcome == FaultOutcome::NoArea;
  job.state = emulates ? State::Emulating : State::Entering;
  later(core, emulates ? costs_.emulation_cycles : costs_.entry_cycles);
  if (waiting_.empty()) return;
  const u32 next = waiting_.front();
  waiting_.pop_front();
  take_lock(next);
}

EntryCells Hypervisor::entries() const {
  EntryCells sum = recorded_entries_;
  for (const Worker& worker : workers_) models::add(sum, worker.entries());
  return sum;
}

}  // namespace nestwalk::software
