// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/guest.hpp"

#include <algorithm>
#include <numeric>

#include "nestwalk/software/clearing.hpp"

namespace nestwalk::software {
namespace {

using models::AccessKind;

constexpr u64 kLargeBytes = u64{2} << 20;
/// The direct map's own address space.
constexpr u16 kKernelAsid = 0xffff;
constexpr const char* kWhose = "the guest's kernel";

}  // namespace

const char* reason_of(GuestOutcome outcome) {
  switch (outcome) {
    case GuestOutcome::OutOfMemory:
      return "the guest is out of memory";
    case GuestOutcome::Failed:
      return "the host is out of memory";
    case GuestOutcome::Stale:
      return "the guest's kernel reached memory for its tables by a stale translation: nothing "
             "backs that";
    case GuestOutcome::InKernel:
      return "the trace accesses what is beyond guest.memory, where the guest kernel's tables are";
    default:
      return "the guest's kernel lost its own memory";
  }
}

MemoryRange Guest::kernel_memory(const GuestShape& shape) {
  u64 bytes = 0;
  for (const MemoryRange& range : shape.memory) bytes += range.bytes;
  // Tables of 4K pages take a 512th, if every page of memory is mapped once.
  const u64 wanted = std::max(bytes / 64, u64{64} << 20);
  const auto whole = [](u64 at) { return (at + kLargeBytes - 1) & ~(kLargeBytes - 1); };
  MemoryRange kernel{shape.memory.back().start + shape.memory.back().bytes, whole(wanted)};
  std::vector<MemoryRange> devices = shape.mmio;
  devices.insert(devices.end(), shape.devices.begin(), shape.devices.end());
  std::sort(devices.begin(), devices.end(),
            [](const MemoryRange& a, const MemoryRange& b) { return a.start < b.start; });
  for (const MemoryRange& device : devices) {
    const u64 end = device.start + device.bytes;
    const bool meets = device.start < kernel.start + kernel.bytes && end > kernel.start;
    if (!meets) continue;
    if (end > ~u64{0} - kLargeBytes - kernel.bytes) {
      throw ShapeError("the guest's kernel needs " + std::to_string(kernel.bytes) +
                       " bytes above guest.memory, but there is a device up to the end of all "
                       "addresses");
    }
    kernel.start = whole(end);
  }
  return kernel;
}

Guest::Guest(models::Board& board, HostSpace& host, Hypervisor& hypervisor, Recording& recording,
             const GuestShape& shape, const models::SoftwareShape& costs, u16 vmid, u16 most_asids)
    : board_(board),
      host_(host),
      hypervisor_(hypervisor),
      recording_(recording),
      shape_(shape),
      costs_(costs),
      tables_(host, recording, shape.frames, kernel_memory(shape)),
      frames_(shape),
      on_(board.cores()),
      current_(board.cores()),
      asids_(most_asids),
      lock_(board.wheel()),
      vmid_(vmid),
      kernel_(board.cores()) {
  std::iota(on_.begin(), on_.end(), 0u);
  const MemoryRange kernel = kernel_memory(shape);
  hypervisor.leave_alone([kernel](const MemoryRange& range) {
    return range.start < kernel.start + kernel.bytes && range.start + range.bytes > kernel.start;
  });
  for (u32 core = 0; core < board.cores(); ++core) {
    workers_.emplace_back(board, hypervisor.fences(), core, recording.isa().entries, costs);
  }
}

void Guest::put_on(u32 core, u32 vcpu) {
  on_[core] = vcpu;
  if (vcpu >= current_.size()) current_.resize(vcpu + 1);
}

void Guest::set_vmid(u16 vmid) { vmid_ = vmid; }

const models::Regime& Guest::kernel_on(u32 core) {
  models::Regime& kernel = kernel_[core];
  const u16 vmid = hypervisor_.vmid(core, on_[core]);
  if (kernel.asid == kKernelAsid && kernel.vmid == vmid) return kernel;
  kernel.nested = host_.stage();
  kernel.vmid = vmid;
  kernel.asid = kKernelAsid;
  return kernel = kernel.tagged(board_.tags());
}

bool Guest::agrees(u32 core, Gva address, Gpa recorded) const {
  const std::optional<Gpa> mapped = where(core, address);
  return !mapped || *mapped == recorded;
}

std::optional<Gpa> Guest::where(u32 core, Gva address) const {
  const std::optional<GuestPage> page = tables_for(space_on(core), address).space->query(address);
  return page ? std::optional(page->gpa) : std::nullopt;
}

models::Task<GuestOutcome> Guest::enter(u32 core, u64 key, models::Witness* witness) {
  Meter charges(board_.wheel(), counts_.switch_cycles, kWhose, witness);
  co_await charges.spend_as_event(Part::Handler, costs_.guest_switch_cycles);
  models::Lock::Turn turn(lock_);
  co_await turn;
  charges.charge(Part::Lock);
  if (!spaces_.contains(key)) {
    const GuestOutcome stocked = co_await stock_tables(core, charges);
    if (stocked != GuestOutcome::Mapped) co_return stocked;
  }
  recording_.begin(vmid_, kKernelAsid);
  enter_space(core, key);
  charges.add(co_await workers_[core].play(recording_.take(), charges.witness()));
  co_return GuestOutcome::Mapped;
}

models::Task<GuestOutcome> Guest::handle(u32 core, Gva address, std::optional<Gpa> recorded,
                                         models::Witness* witness) {
  ++counts_.faults;
  Meter charges(board_.wheel(), counts_.fault_cycles, kWhose, witness);
  co_await charges.spend_as_event(Part::Handler, costs_.guest_fault_cycles);
  models::Lock::Turn turn(lock_);
  co_await turn;
  charges.charge(Part::Lock);
  const GuestOutcome outcome = co_await map_page(core, address, recorded, charges);
  if (witness != nullptr) {
    models::WitnessStep told;
    told.kind = &models::step::kReturn;
    witness->tell(board_.wheel().now(), told);
  }
  co_return outcome;
}

models::Task<GuestOutcome> Guest::map_page(u32 core, Gva address, std::optional<Gpa> recorded,
                                           Meter& charges) {
  const GuestOutcome stocked = co_await stock_tables(core, charges);
  if (stocked != GuestOutcome::Mapped) co_return stocked;
  Choice choice = choose_page(core, address, recorded);
  while (std::holds_alternative<NoFrame>(choice)) {
    const bool ended = co_await end_oldest_space(core, charges);
    if (!ended) co_return GuestOutcome::OutOfMemory;
    choice = choose_page(core, address, recorded);
  }
  if (const auto* const outcome = std::get_if<GuestOutcome>(&choice)) co_return *outcome;
  const auto [page, is_memory] = std::get<ChosenPage>(choice);
  for (u64 at = 0; is_memory && at < page.bytes; at += kFrameBytes) {
    const FaultOutcome backed = co_await zero_frame(core, page.gpa + at, charges);
    if (backed == FaultOutcome::OutOfMemory) co_return GuestOutcome::Failed;
    // Memory that the hypervisor keeps from it is not zeroed, but may be mapped.
    if (!resolved(backed)) break;
  }
  if (page.bytes == kFrameBytes) {
    const GuestOutcome stocked_table = co_await stock_table_for(core, address, charges);
    if (stocked_table != GuestOutcome::Mapped) co_return stocked_table;
  }
  recording_.begin(vmid_, kKernelAsid);
  map(core, address, page);
  charges.add(co_await workers_[core].play(recording_.take(), charges.witness()));
  co_return GuestOutcome::Mapped;
}

// So many frames for tables that nothing can run out of them half-way.
models::Task<GuestOutcome> Guest::stock_tables(u32 core, Meter& charges) {
  while (tables_.in_stock() < kMostTableFrames) {
    const std::optional<Gpa> frame = tables_.next();
    if (!frame) {
      const bool ended = co_await end_oldest_space(core, charges);
      if (!ended) co_return GuestOutcome::OutOfMemory;
      continue;
    }
    const GuestOutcome backed = co_await back_table(core, *frame, charges);
    if (backed != GuestOutcome::Mapped) co_return backed;
    tables_.stock(*frame);
  }
  co_return GuestOutcome::Mapped;
}

// The lowest-level table of the address, where the frame policy reserves a frame for just this
// table.
models::Task<GuestOutcome> Guest::stock_table_for(u32 core, Gva address, Meter& charges) {
  const GuestSpace& space = *tables_for(*current(core), address).space;
  const Gva translated(space.stage().geometry.translated(address.value()));
  const std::optional<Gpa> frame = tables_.next_for(translated, space.number());
  if (!frame) co_return GuestOutcome::Mapped;
  const GuestOutcome backed = co_await back_table(core, *frame, charges);
  if (backed == GuestOutcome::Mapped) tables_.stock_for(translated, space.number(), *frame);
  co_return backed;
}

models::Task<GuestOutcome> Guest::back_table(u32 core, Gpa frame, Meter& charges) {
  const FaultOutcome backed = co_await zero_frame(core, frame, charges);
  GuestOutcome outcome = GuestOutcome::Mapped;
  if (backed == FaultOutcome::OutOfMemory) {
    outcome = GuestOutcome::Failed;
  } else if (!resolved(backed)) {
    outcome = GuestOutcome::TakenAway;
  } else if (!tables_.is_backed(frame)) {
    outcome = GuestOutcome::Stale;
  }
  if (outcome == GuestOutcome::Mapped) {
    ++counts_.table_frames;
  } else {
    tables_.drop(frame);
  }
  co_return outcome;
}

// Through the direct map. What the hypervisor does not resolve stays as it is.
models::Task<FaultOutcome> Guest::zero_frame(u32 core, Gpa frame, Meter& charges) {
  Hpa at;
  while (true) {
    const models::Mmu::Outcome touched = co_await touch(core, frame, charges.witness());
    const models::Fault& fault = touched.fault;
    charges.charge(Part::Translation);
    if (!fault) {
      at = host_.stage().on() ? Hpa(touched.host) : Hpa(frame.value());
      break;
    }
    if (charges.witness() != nullptr) {
      charges.witness()->tell(board_.wheel().now(), models::step_of(fault));
    }
    const FaultOutcome backed = co_await hypervisor_.handle(core, Gpa(fault.guest_physical),
                                                            addrspace::kWrite, charges.witness());
    charges.charge(Part::Exits);
    if (!resolved(backed)) co_return backed;
  }
  counts_.bytes_zeroed += kFrameBytes;
  co_await clear(board_, core, costs_, at, kFrameBytes);
  charges.charge(Part::Zeroing);
  co_return FaultOutcome::Mapped;
}

// A write.
models::Task<models::Mmu::Outcome> Guest::touch(u32 core, Gpa at, models::Witness* witness) {
  models::Mmu::Outcome outcome;
  if (!host_.stage().on()) co_return outcome;  // the direct map is all there is, and a hit
  if (witness != nullptr) {
    models::WitnessStep told;
    told.kind = &models::step::kTouch;
    told.address = at.value();
    witness->tell(board_.wheel().now(), told);
  }
  models::Call translation([&](models::Actor& owner) {
    return board_.core(core).mmu->translate_in(
        kernel_on(core), {at.value(), AccessKind::Write, false, witness}, owner, 0, outcome);
  });
  co_await translation;
  co_return outcome;
}

Guest::Choice Guest::choose_page(u32 core, Gva address, std::optional<Gpa> recorded) {
  Space& space = *current(core);
  Tables& half = tables_for(space, address);
  const GuestSpace& tables = *half.space;
  if (!tables.accepts(address)) return GuestOutcome::NoAddress;
  const std::optional<GuestPage> mapped = tables.query(address);
  const bool follows = shape_.tables == GuestTables::Recorded;
  if (follows && (!recorded || !tables.reaches(*recorded))) {
    return GuestOutcome::NoAddress;
  }
  // Another vCPU may have been faster.
  if (mapped && (!follows || mapped->gpa == *recorded)) return GuestOutcome::Mapped;
  if (follows) {
    const Gpa page = recorded->aligned_down(kFrameBytes);
    if (tables_.owns(page)) return GuestOutcome::InKernel;
    return ChosenPage{{page, kFrameBytes}, is_memory(page)};  // else a device
  }
  GuestPage page{Gpa(), kFrameBytes};
  std::optional<Gpa> frame;
  const u64 region = address.value() / kLargeBytes;
  if (shape_.large_pages && !half.in_small_pages.contains(region)) {
    frame = frames_.take_large();
    if (frame) page.bytes = kLargeBytes;
  }
  if (!frame) {
    frame = frames_.take(address.aligned_down(kFrameBytes), half.number);
    half.in_small_pages.insert(region);
  }
  if (!frame) return NoFrame{};
  page.gpa = *frame;
  if (&half == &space.tables) space.pages.push_back(page);
  if (page.bytes == kLargeBytes) ++counts_.large_pages;
  return ChosenPage{page, true};
}

// No record says that a process has ended. When frames run out, it is the one in which no vCPU has
// been for the longest time: should it come back, it faults as a new one does. False if there is
// none.
models::Task<bool> Guest::end_oldest_space(u32 core, Meter& charges) {
  auto oldest = spaces_.end();
  for (auto at = spaces_.begin(); at != spaces_.end(); ++at) {
    const bool runs =
        std::find(current_.begin(), current_.end(), at->second.get()) != current_.end();
    if (runs) continue;
    if (oldest == spaces_.end() || at->second->entered < oldest->second->entered) oldest = at;
  }
  if (oldest == spaces_.end()) co_return false;
  ++counts_.ended_spaces;
  recording_.begin(vmid_, kKernelAsid);
  const Space& space = *oldest->second;
  for (const GuestPage& page : space.pages) frames_.give_back(page.gpa, page.bytes);
  recording_.fence({recording_.isa().guest_fences.by_space, 0, vmid_, space.regime.asid, 0, 1});
  spaces_.erase(oldest);
  charges.add(co_await workers_[core].play(recording_.take(), charges.witness()));
  co_return true;
}

bool Guest::is_memory(Gpa at) const {
  const auto in = [&](const std::vector<MemoryRange>& ranges) {
    const auto range = first_beyond(ranges, at.value());
    return range != ranges.end() && range->start <= at.value();
  };
  return in(shape_.memory) && !in(shape_.mmio);
}

void Guest::map(u32 core, Gva address, const GuestPage& page) {
  GuestSpace& tables = *tables_for(*current(core), address).space;
  const Gva start = address.aligned_down(page.bytes);
  if (tables.query(address)) {
    ++counts_.moved_pages;
    const Result<void> unmapped = tables.unmap(start, page.bytes);
    models::check(unmapped.ok(), "guest", "a page that can be unmapped", board_.wheel().now(),
                  start.value());
    // Of the half that all spaces share, each may have it cached under its own ASID.
    const bool is_shared = &tables == upper_.space.get();
    recording_.fence({recording_.isa().guest_fences.of(true, !is_shared), 0, vmid_,
                      current(core)->regime.asid, start.value(), page.bytes});
  }
  const Result<void> mapped = tables.map(start, page.gpa, page.bytes);
  models::check(mapped.ok(), "guest", "a page that can be mapped", board_.wheel().now(),
                start.value());
}

void Guest::enter_space(u32 core, u64 key) {
  std::unique_ptr<Space>& space = spaces_[key];
  if (!space) {
    space = std::make_unique<Space>();
    space->tables.space = recording_.isa().guest_space(shape_.levels, tables_);
    if (recording_.isa().has_halves && !upper_.space) {
      upper_.space = recording_.isa().upper_space(shape_.levels, tables_);
    }
    ++counts_.spaces;
    space->tables.number = ++last_number_;
  }
  if (!has_asids_ && current(core) != nullptr && current(core) != space.get()) {
    recording_.fence({recording_.isa().guest_fences.all, 0, vmid_, 0, 0, 1});
  }
  current(core) = space.get();
  space->entered = ++entries_;
  if (!asids_.is_current(space->asid)) take_asid(core, *space);
  const u16 vmid = hypervisor_.vmid(core, on_[core]);
  if (space->regime.vmid != vmid) {
    space->regime.vmid = vmid;
    space->regime = space->regime.tagged(board_.tags());
  }
  board_.core(core).mmu->set_regime(space->regime);
}

// Those of the address spaces that its vCPUs are in stay what they are.
void Guest::take_asid(u32 core, Space& space) {
  std::vector<TagPool::Holder*> running;
  for (Space* const other : current_) {
    if (other != nullptr) running.push_back(&other->asid);
  }
  if (asids_.renew(space.asid, running)) {
    ++counts_.asid_rollovers;
    recording_.fence({recording_.isa().guest_fences.all, 0, vmid_, 0, 0, 1});
  }
  space.regime.guest = space.tables.space->stage();
  if (upper_.space) space.regime.guest_upper = upper_.space->stage();
  space.regime.nested = host_.stage();
  space.regime.vmid = hypervisor_.vmid(core, on_[core]);
  space.regime.asid = space.asid.tag;
  space.regime = space.regime.tagged(board_.tags());
}

EntryCells Guest::entries() const {
  EntryCells sum{};
  for (const Worker& worker : workers_) models::add(sum, worker.entries());
  return sum;
}

}  // namespace nestwalk::software
