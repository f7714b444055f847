// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/guest.hpp"

#include <algorithm>
#include <numeric>

#include "nestwalk/software/guest_fences.hpp"

namespace nestwalk::software {
namespace {

using models::AccessKind;

constexpr u64 kLargeBytes = u64{2} << 20;
/// The direct map's own address space.
constexpr u16 kKernelAsid = 0xffff;

}  // namespace

MemoryRange Guest::kernel_memory(const std::vector<MemoryRange>& memory) {
  u64 bytes = 0;
  for (const MemoryRange& range : memory) bytes += range.bytes;
  // Tables of 4K pages take a 512th, if every page of memory is mapped once.
  const u64 wanted = std::max(bytes / 64, u64{64} << 20);
  const u64 end = memory.back().start + memory.back().bytes;
  return {end, (wanted + kLargeBytes - 1) & ~(kLargeBytes - 1)};
}

Guest::Guest(models::Board& board, HostSpace& host, Hypervisor& hypervisor, Recording& recording,
             const GuestShape& shape, const models::SoftwareShape& costs, u16 vmid, u16 most_asids)
    : board_(board),
      host_(host),
      hypervisor_(hypervisor),
      recording_(recording),
      shape_(shape),
      costs_(costs),
      tables_(host, recording),
      frames_(shape),
      jobs_(board.cores()),
      on_(board.cores()),
      current_(board.cores()),
      asids_(most_asids),
      vmid_(vmid) {
  std::iota(on_.begin(), on_.end(), 0u);
  const MemoryRange kernel = kernel_memory(shape.memory);
  hypervisor.leave_alone([kernel](const MemoryRange& range) {
    return range.start < kernel.start + kernel.bytes && range.start + range.bytes > kernel.start;
  });
  next_table_ = Gpa(kernel.start);
  last_table_ = Gpa(kernel.start + kernel.bytes);
  kernel_.nested = host.stage();
  kernel_.vmid = vmid;
  kernel_.asid = kKernelAsid;
  kernel_ = kernel_.tagged(board.tags());
  for (u32 core = 0; core < board.cores(); ++core) {
    workers_.emplace_back(board, hypervisor.fences(), core, recording.architecture(), costs);
  }
}

void Guest::put_on(u32 core, u32 vcpu) {
  on_[core] = vcpu;
  if (vcpu >= current_.size()) current_.resize(vcpu + 1);
}

void Guest::set_vmid(u16 vmid) {
  vmid_ = vmid;
  kernel_.vmid = vmid;
  kernel_ = kernel_.tagged(board_.tags());
}

void Guest::enter(u32 core, u64 key, models::Actor& owner, u32 what, GuestOutcome& outcome) {
  Job job;
  job.outcome = &outcome;
  job.enters = true;
  job.key = key;
  job.owner = &owner;
  job.what = what;
  jobs_[core] = job;
  begin(core, costs_.guest_switch_cycles);
}

void Guest::handle(u32 core, Gva address, std::optional<Gpa> recorded, models::Actor& owner,
                   u32 what, GuestOutcome& outcome) {
  ++counts_.faults;
  Job job;
  job.address = address;
  job.recorded = recorded;
  job.owner = &owner;
  job.what = what;
  job.outcome = &outcome;
  jobs_[core] = job;
  begin(core, costs_.guest_fault_cycles);
}

void Guest::begin(u32 core, u64 cycles) {
  Job& job = jobs_[core];
  job.state = State::Trapped;
  job.mark = board_.wheel().now();
  board_.wheel().schedule(job.mark + cycles, *this, core);
}

GuestSpace& Guest::tables_for(const Space& space, Gva address) const {
  return upper_ && (address.value() >> 55 & 1) != 0 ? *upper_ : *space.tables;
}

bool Guest::agrees(u32 core, Gva address, Gpa recorded) const {
  const std::optional<GuestPage> page = tables_for(space_on(core), address).query(address);
  return !page || page->gpa == recorded;
}

void Guest::on_cycle(u32 core) {
  while (step(core)) {
  }
}

bool Guest::spend(u32 core, u64 cycles) {
  models::Wheel& wheel = board_.wheel();
  if (wheel.advance(wheel.now() + cycles)) return true;
  wheel.schedule(wheel.now() + cycles, *this, core);
  return false;
}

void Guest::charge_to(u32 core, Part part) {
  Job& job = jobs_[core];
  charge(job.enters ? counts_.switch_cycles : counts_.fault_cycles, part, job.mark,
         board_.wheel().now(), board_.core(core).witness, "the guest's kernel");
}

// What the job was waiting for, in the state that it is in.
void Guest::account(u32 core) {
  const Job& job = jobs_[core];
  switch (job.state) {
    case State::Trapped:
      return charge_to(core, Part::Handler);
    case State::StockTouched:
    case State::PageTouched:
      return charge_to(core, Part::Translation);
    case State::StockZeroed:
    case State::PageZeroed:
      return charge_to(core, Part::Zeroing);
    case State::Changed:
    case State::Ended:
      models::add(job.enters ? counts_.switch_cycles : counts_.fault_cycles,
                  workers_[core].cycles());
      jobs_[core].mark = board_.wheel().now();
      return;
    default:
      return charge_to(core, Part::Exits);
  }
}

// One state; true if the next one is due in this cycle.
bool Guest::step(u32 core) {
  Job& job = jobs_[core];
  account(core);
  switch (job.state) {
    case State::Trapped:
      return take_lock(core);
    case State::Stock:
      return stock(core);
    case State::StockTouched:
      return after_touch(core, State::Stock, State::StockZeroed);
    case State::StockZeroed:
      tables_.stock(next_table_);
      next_table_ = next_table_ + kFrameBytes;
      ++counts_.table_frames;
      job.state = State::Stock;
      return true;
    case State::Page:
      return choose_page(core);
    case State::Touch:
      if (job.backed == FaultOutcome::OutOfMemory) return finish(core, GuestOutcome::Failed);
      // Memory that the hypervisor keeps from it is not zeroed, but may be mapped.
      if (!resolved(job.backed)) job.done_bytes = job.page_bytes;
      if (job.done_bytes == job.page_bytes) {
        job.state = State::Change;
        return true;
      }
      job.state = State::PageTouched;
      return touch(core, job.page + job.done_bytes);
    case State::PageTouched:
      return after_touch(core, State::Touch, State::PageZeroed);
    case State::PageZeroed:
      job.done_bytes += kFrameBytes;
      job.state = State::Touch;
      return true;
    case State::Change:
      return change(core);
    case State::Changed:
      return finish(core, GuestOutcome::Mapped);
    case State::Ended:
      job.state = job.lacking;
      return true;
    case State::Idle:
      break;
  }
  models::check(false, "guest", "a fault that is under way", board_.wheel().now(), core);
  return false;
}

bool Guest::take_lock(u32 core) {
  if (locked_) {
    waiting_.push_back(core);
    return false;
  }
  locked_ = true;
  Job& job = jobs_[core];
  charge_to(core, Part::Lock);
  const bool known = job.enters && spaces_.contains(job.key);
  job.state = known ? State::Change : State::Stock;
  return true;
}

// So many frames for tables that nothing can run out of them half-way.
bool Guest::stock(u32 core) {
  Job& job = jobs_[core];
  if (tables_.in_stock() >= kMostTableFrames) {
    job.state = job.enters ? State::Change : State::Page;
    return true;
  }
  if (!resolved(job.backed)) {
    const bool empty = job.backed == FaultOutcome::OutOfMemory;
    return finish(core, empty ? GuestOutcome::Failed : GuestOutcome::TakenAway);
  }
  if (next_table_ == last_table_) return end_oldest_space(core, State::Stock);
  job.state = State::StockTouched;
  return touch(core, next_table_);
}

// A write through the direct map.
bool Guest::touch(u32 core, Gpa at) {
  if (!kernel_.nested.on()) {  // the direct map is all that there is, and a hit
    jobs_[core].touched = {};
    return true;
  }
  models::Mmu& mmu = *board_.core(core).mmu;
  const models::Regime user = mmu.regime();
  mmu.set_regime(kernel_);
  if (models::Witness* const witness = board_.core(core).witness) {
    models::WitnessStep told;
    told.kind = &models::step::kTouch;
    told.address = at.value();
    witness->tell(board_.wheel().now(), told);
  }
  const bool done = mmu.translate({at.value(), AccessKind::Write, false, board_.core(core).witness},
                                  *this, core, jobs_[core].touched);
  mmu.set_regime(user);
  return done;
}

bool Guest::after_touch(u32 core, State again, State next) {
  Job& job = jobs_[core];
  const models::Fault& fault = job.touched.fault;
  if (!fault) {
    job.state = next;
    counts_.bytes_zeroed += kFrameBytes;
    return spend(core, costs_.zero_cycles);
  }
  job.state = again;
  if (models::Witness* const witness = board_.core(core).witness) {
    models::WitnessStep told;
    told.kind = &models::step::kNestedFault;
    told.address = fault.guest_physical;
    told.note = models::kFaultKindNames[static_cast<unsigned>(fault.kind)];
    witness->tell(board_.wheel().now(), told);
  }
  hypervisor_.handle(core, Gpa(fault.guest_physical), addrspace::kWrite, *this, core, job.backed);
  return false;
}

bool Guest::choose_page(u32 core) {
  Job& job = jobs_[core];
  Space& space = *current(core);
  const GuestSpace& tables = tables_for(space, job.address);
  if (!tables.accepts(job.address)) return finish(core, GuestOutcome::NoAddress);
  const std::optional<GuestPage> mapped = tables.query(job.address);
  const bool follows = shape_.tables == GuestTables::Recorded;
  if (follows && (!job.recorded || !tables.reaches(*job.recorded))) {
    return finish(core, GuestOutcome::NoAddress);
  }
  // Another vCPU may have been faster.
  if (mapped && (!follows || mapped->gpa == *job.recorded)) {
    return finish(core, GuestOutcome::Mapped);
  }
  job.page_bytes = kFrameBytes;
  job.state = State::Touch;
  if (follows) {
    job.page = job.recorded->aligned_down(kFrameBytes);
    if (!is_memory(job.page)) job.done_bytes = job.page_bytes;  // a device: nothing to zero
    return true;
  }
  std::optional<Gpa> page;
  const u64 region = job.address.value() / kLargeBytes;
  if (shape_.large_pages && !space.in_small_pages.contains(region)) {
    page = frames_.take_large();
    if (page) job.page_bytes = kLargeBytes;
  }
  if (!page) {
    page = frames_.take();
    space.in_small_pages.insert(region);
  }
  if (!page) return end_oldest_space(core, State::Page);
  if (&tables == space.tables.get()) space.pages.push_back({*page, job.page_bytes});
  if (job.page_bytes == kLargeBytes) ++counts_.large_pages;
  job.page = *page;
  return true;
}

// No record says that a process has ended. When frames run out, it is the one in which no vCPU has
// been for the longest time: should it come back, it faults as a new one does.
bool Guest::end_oldest_space(u32 core, State lacking) {
  auto oldest = spaces_.end();
  for (auto at = spaces_.begin(); at != spaces_.end(); ++at) {
    const bool runs =
        std::find(current_.begin(), current_.end(), at->second.get()) != current_.end();
    if (runs) continue;
    if (oldest == spaces_.end() || at->second->entered < oldest->second->entered) oldest = at;
  }
  if (oldest == spaces_.end()) return finish(core, GuestOutcome::OutOfMemory);
  ++counts_.ended_spaces;
  Job& job = jobs_[core];
  job.lacking = lacking;
  job.state = State::Ended;
  recording_.begin(kernel_);
  const Space& space = *oldest->second;
  for (const GuestPage& page : space.pages) frames_.give_back(page.gpa, page.bytes);
  recording_.fence(
      {guest_fence(recording_.architecture(), false, true), 0, vmid_, space.regime.asid, 0, 1});
  spaces_.erase(oldest);
  workers_[core].play(recording_.take(), *this, core);
  return false;
}

bool Guest::is_memory(Gpa at) const {
  const auto in = [&](const std::vector<MemoryRange>& ranges) {
    return std::any_of(ranges.begin(), ranges.end(), [&](const MemoryRange& range) {
      return at.value() - range.start < range.bytes;
    });
  };
  return in(shape_.memory) && !in(shape_.mmio);
}

bool Guest::change(u32 core) {
  Job& job = jobs_[core];
  recording_.begin(kernel_);
  if (job.enters) {
    enter_space(core, job.key);
  } else {
    GuestSpace& tables = tables_for(*current(core), job.address);
    const Gva start = job.address.aligned_down(job.page_bytes);
    if (tables.query(job.address)) {
      ++counts_.moved_pages;
      const Result<void> unmapped = tables.unmap(start, job.page_bytes);
      models::check(unmapped.ok(), "guest", "a page that can be unmapped", board_.wheel().now(),
                    start.value());
      recording_.fence({guest_fence(recording_.architecture(), true, true), 0, vmid_,
                        current(core)->regime.asid, start.value(), job.page_bytes});
    }
    const Result<void> mapped = tables.map(start, job.page, job.page_bytes);
    models::check(mapped.ok(), "guest", "a page that can be mapped", board_.wheel().now(),
                  start.value());
  }
  job.state = State::Changed;
  workers_[core].play(recording_.take(), *this, core);
  return false;
}

void Guest::enter_space(u32 core, u64 key) {
  std::unique_ptr<Space>& space = spaces_[key];
  if (!space) {
    space = std::make_unique<Space>();
    space->tables = make_guest_space(recording_.architecture(), shape_.levels, tables_);
    if (recording_.architecture() == Architecture::AArch64 && !upper_) {
      upper_ = make_upper_space(shape_.levels, tables_);
    }
    ++counts_.spaces;
  }
  current(core) = space.get();
  space->entered = ++entries_;
  if (!asids_.is_current(space->asid)) take_asid(*space);
  if (space->regime.vmid != vmid_) {
    space->regime.vmid = vmid_;
    space->regime = space->regime.tagged(board_.tags());
  }
  board_.core(core).mmu->set_regime(space->regime);
}

// Those of the address spaces that its vCPUs are in stay what they are.
void Guest::take_asid(Space& space) {
  std::vector<TagPool::Holder*> running;
  for (Space* const other : current_) {
    if (other != nullptr) running.push_back(&other->asid);
  }
  if (asids_.renew(space.asid, running)) {
    ++counts_.asid_rollovers;
    recording_.fence({guest_fence(recording_.architecture(), false, false), 0, vmid_, 0, 0, 1});
  }
  space.regime.guest = space.tables->stage();
  if (upper_) space.regime.guest_upper = upper_->stage();
  space.regime.nested = host_.stage();
  space.regime.vmid = vmid_;
  space.regime.asid = space.asid.tag;
  space.regime = space.regime.tagged(board_.tags());
}

bool Guest::finish(u32 core, GuestOutcome outcome) {
  Job& job = jobs_[core];
  job.state = State::Idle;
  *job.outcome = outcome;
  locked_ = false;
  if (!waiting_.empty()) {
    const u32 next = waiting_.front();
    waiting_.pop_front();
    take_lock(next);
    board_.wheel().schedule(board_.wheel().now(), *this, next);
  }
  job.owner->on_cycle(job.what);
  return false;
}

EntryCells Guest::entries() const {
  EntryCells sum{};
  for (const Worker& worker : workers_) models::add(sum, worker.entries());
  return sum;
}

}  // namespace nestwalk::software
