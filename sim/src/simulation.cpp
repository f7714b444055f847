// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "simulation.hpp"

#include <algorithm>

namespace nestwalk::sim {

using addrspace::u16;
using addrspace::u32;
using addrspace::u64;
using models::Cycle;
using software::FaultOutcome;
using software::Guest;
using software::GuestTables;
using software::MemoryRange;
using software::Vcpu;

namespace {

constexpr u16 kVmid = 1;
/// Simulated cycles after which the outside world is looked at.
constexpr Cycle kSlice = 50'000'000;

std::vector<MemoryRange> memory_of(const software::GuestShape& guest) {
  std::vector<MemoryRange> memory = guest.memory;
  if (guest.tables != GuestTables::None) memory.push_back(Guest::kernel_memory(guest.memory));
  return memory;
}

}  // namespace

Simulation::Simulation(const RunShape& shape, u32 vcpus, const OpenStream& open)
    : shape_(shape), platform_("platform", shape.machine, shape.host_bytes) {
  sc_core::sc_start(sc_core::SC_ZERO_TIME);  // elaborates
  models::Board& board = platform_.board();
  const auto architecture = shape.machine.architecture;
  if (shape.guest.tables != GuestTables::None &&
      !software::has_guest_levels(architecture, shape.guest.levels)) {
    throw software::ShapeError("there are no guest tables with " +
                               std::to_string(shape.guest.levels) + " levels");
  }
  recording_ = std::make_unique<software::Recording>(
      board.memory(), architecture, shape.hypervisor.fences,
      software::capabilities(architecture, shape.hypervisor.hardware_dirty));
  const std::vector<MemoryRange> memory = memory_of(shape.guest);
  space_ = make_host_space(architecture, shape.hypervisor,
                           memory.back().start + memory.back().bytes, kVmid, *recording_);
  const models::SoftwareShape& costs = shape.machine.software;
  hypervisor_ = std::make_unique<software::Hypervisor>(board, platform_.fences(), *space_,
                                                       *recording_, costs);
  if (shape.guest.tables != GuestTables::None) {
    guest_ = std::make_unique<Guest>(board, *space_, *hypervisor_, *recording_, shape.guest, costs,
                                     kVmid);
  } else {
    models::Regime physical;
    physical.nested = space_->stage();
    physical.vmid = kVmid;
    physical = physical.tagged(board.tags());
    for (u32 core = 0; core < board.cores(); ++core) board.core(core).mmu->set_regime(physical);
  }
  for (u32 core = 0; core < vcpus; ++core) {
    streams_.push_back(open(core));
    vcpus_.push_back(std::make_unique<Vcpu>(board, core, guest_.get(), *hypervisor_, costs,
                                            shape.guest.tables, *streams_.back()));
  }
}

void Simulation::on_cycle(u32) {
  if (hypervisor_->begin_error()) return;
  for (auto& vcpu : vcpus_) vcpu->begin(shape_.limit == 0 ? ~u64{0} : shape_.limit);
}

void Simulation::run(const std::function<bool()>& interrupted,
                     const std::function<void(u64)>& progress) {
  hypervisor_->begin(memory_of(shape_.guest), shape_.hypervisor.backend, *this, 0);
  models::Wheel& wheel = platform_.time.wheel();
  platform_.time.wake();
  while (wheel.next() != models::kNever) {
    platform_.time.run_at_most(kSlice);
    sc_core::sc_start(platform_.time.time_of(kSlice));
    progress(accesses());
    if (interrupted()) {
      ended_early_ = "interrupted";
      return;
    }
  }
  if (hypervisor_->begin_error()) {
    throw software::ShapeError(std::string("the guest cannot have its memory: ") +
                               to_string(*hypervisor_->begin_error()));
  }
  for (const auto& stream : streams_) stream->rethrow();
  for (const auto& vcpu : vcpus_) {
    if (vcpu->stopped() && ended_early_.empty()) ended_early_ = *vcpu->stopped();
  }
}

u64 Simulation::accesses() const {
  u64 sum = 0;
  for (const auto& vcpu : vcpus_) sum += vcpu->counts().total();
  return sum;
}

Statistics Simulation::statistics() const {
  Statistics rows;
  const auto add = [&](std::string name, auto value, const char* unit, const char* sentence) {
    rows.push_back({std::move(name), value, unit, sentence});
  };
  software::VcpuCounts all;
  software::Distribution latencies;
  models::Mmu::Counts mmu;
  Cycle end = 0;
  const Cycle now = const_cast<systemc::Platform&>(platform_).time.wheel().now();
  Cycle first_access = models::kNever;
  for (u32 n = 0; n < vcpus_.size(); ++n) {
    const software::VcpuCounts& counts = vcpus_[n]->counts();
    for (unsigned kind = 0; kind < 3; ++kind) all.accesses[kind] += counts.accesses[kind];
    all.instructions += counts.instructions;
    all.switches += counts.switches;
    all.fences += counts.fences;
    all.guest_faults += counts.guest_faults;
    all.exits += counts.exits;
    all.emulated += counts.emulated;
    all.untranslatable += counts.untranslatable;
    all.forbidden += counts.forbidden;
    end = std::max(end, vcpus_[n]->finished() ? counts.end : now);
    if (counts.total() != 0) first_access = std::min(first_access, counts.first_access_end);
    latencies.add(vcpus_[n]->latencies());
    const models::Mmu::Counts& part =
        const_cast<systemc::Platform&>(platform_).board().core(n).mmu->counts();
    mmu.first_hits += part.first_hits;
    mmu.second_hits += part.second_hits;
    mmu.walks += part.walks;
    mmu.merged += part.merged;
    mmu.references += part.references;
  }
  const auto mean = [](u64 sum, u64 count) {
    return count == 0 ? 0.0 : static_cast<double>(sum) / static_cast<double>(count);
  };

  add("time.cycles", end, "cycles", "from the start until the last vCPU was done");
  add("time.first_access", first_access == models::kNever ? Cycle{0} : first_access, "cycles",
      "from the start until the guest's first access was over");

  add("access.total", all.total(), "accesses", "that the vCPUs played");
  add("access.reads", all.accesses[0], "accesses", "that read");
  add("access.writes", all.accesses[1], "accesses", "that wrote");
  add("access.fetches", all.accesses[2], "accesses", "that fetched instructions");
  add("access.instructions", all.instructions, "instructions", "between the accesses");
  add("access.emulated", all.emulated, "accesses", "outside of the guest's memory: a device's");
  add("access.forbidden", all.forbidden, "accesses", "that the hypervisor does not permit");
  add("access.untranslatable", all.untranslatable, "accesses",
      "left out, since the guest's tables cannot have their addresses");

  add("latency.mean", latencies.mean(), "cycles", "of an access, from its begin to its end");
  add("latency.p50", latencies.percentile(500), "cycles",
      "that half of the accesses do not exceed");
  add("latency.p90", latencies.percentile(900), "cycles",
      "that 90 % of the accesses do not exceed");
  add("latency.p99", latencies.percentile(990), "cycles",
      "that 99 % of the accesses do not exceed");
  add("latency.p99.9", latencies.percentile(999), "cycles",
      "that 99.9 % of the accesses do not exceed");
  add("latency.max", latencies.max(), "cycles", "of the slowest access");

  add("tlb.first_hits", mmu.first_hits, "lookups", "that hit the first-level TLB");
  add("tlb.second_hits", mmu.second_hits, "lookups", "that hit the second-level TLB");
  add("walk.count", mmu.walks, "walks", "of the page-table walkers, the kernel's touches included");
  add("walk.merged", mmu.merged, "misses", "that waited for the walk of another one");
  add("walk.references", mmu.references, "references",
      "of walks: entries read or updated, and hits that spared some");
  add("walk.references_mean", mean(mmu.references, mmu.walks), "references", "of one walk");

  const software::ExitCounts& exits = hypervisor_->counts();
  static constexpr const char* kExits[software::ExitCounts::kOutcomes][2] = {
      {"exit.mapped", "that backed a page"},
      {"exit.made_writable", "that the dirty log wanted"},
      {"exit.already_mapped", "that found the page backed by somebody else"},
      {"exit.no_area", "for addresses without memory: a device's"},
      {"exit.no_permission", "for accesses that the hypervisor forbids"},
      {"exit.not_backed", "for memory that was taken away"},
      {"exit.out_of_memory", "for which the host had no frame"}};
  add("exit.total", exits.total(), "exits", "from the guest to the hypervisor");
  for (std::size_t n = 0; n < software::ExitCounts::kOutcomes; ++n) {
    add(kExits[n][0], exits.by_outcome[n], "exits", kExits[n][1]);
  }
  add("exit.cycles", exits.cycles, "cycles", "from leaving the guest to being back, of all vCPUs");
  add("exit.waiting", exits.waiting, "cycles", "of these, for other vCPUs to leave the engine");

  const software::OperationCounts& operations = hypervisor_->operations();
  static constexpr const char* kOperations[software::HostOperation::kKinds][2] = {
      {"operation.map", "that gave the guest new frames"},
      {"operation.zap", "that took frames away until they are touched"},
      {"operation.protect", "that changed what the guest may do"},
      {"operation.log_start", "that started the dirty log"},
      {"operation.log_harvest", "that read the dirty log"},
      {"operation.log_stop", "that stopped the dirty log"},
      {"operation.inflate", "that took frames away for good: a balloon's"},
      {"operation.deflate", "that promised them again"}};
  for (std::size_t n = 0; n < software::HostOperation::kKinds; ++n) {
    add(kOperations[n][0], operations.by_kind[n], "operations", kOperations[n][1]);
  }
  add("operation.refused", operations.refused, "operations", "that the engine refused");
  add("operation.bytes_dirty", operations.bytes_dirty, "bytes", "that the dirty log reported");

  const software::GuestCounts guest = guest_ ? guest_->counts() : software::GuestCounts{};
  add("guest.faults", guest.faults, "faults", "of the guest's own first stage");
  add("guest.large_pages", guest.large_pages, "faults", "of these, answered with 2M");
  add("guest.moved_pages", guest.moved_pages, "faults",
      "of these, where the trace has another page");
  add("guest.switches", all.switches, "switches", "between the guest's address spaces");
  add("guest.spaces", guest.spaces, "spaces", "that the guest made");
  add("guest.asid_rollovers", guest.asid_rollovers, "rollovers", "of the guest's ASIDs");
  add("guest.fences", all.fences, "fences", "that the guest issued");
  add("guest.table_frames", guest.table_frames, "frames",
      "that the guest's kernel took for tables");
  add("guest.bytes_zeroed", guest.bytes_zeroed, "bytes", "by the guest's kernel");
  add("guest.cycles", guest.cycles, "cycles",
      "in the guest's kernel, exits on the way included, of all vCPUs");
  add("guest.waiting", guest.waiting, "cycles", "of these, for other vCPUs to leave the kernel");

  const addrspace::SpaceUsage usage = space_->usage();
  const software::WorkCounts& work = recording_->counts();
  add("memory.backed", usage.tables.owned_bytes, "bytes", "of the guest that have host frames");
  add("memory.tables", usage.tables.table_bytes, "bytes", "of the hypervisor's page tables");
  add("engine.entries_read", work.entries_read, "entries",
      "of tables that the engine read, for the hypervisor and for the guest");
  add("engine.entries_written", work.entries_written, "entries", "of tables that it wrote");
  add("engine.bytes_zeroed", work.bytes_zeroed, "bytes", "by the hypervisor");
  add("engine.fences", work.fences, "fences", "that it issued, barriers not counted");
  return rows;
}

}  // namespace nestwalk::sim
