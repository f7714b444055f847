// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "simulation.hpp"

#include <stdexcept>

namespace nestwalk::sim {

using addrspace::u16;
using addrspace::u32;
using addrspace::u64;
using models::Cycle;
using software::Guest;
using software::GuestTables;
using software::MemoryRange;
using software::Vcpu;

namespace {

constexpr u16 kVmid = 1;
/// Simulated cycles after which the outside world is looked at.
constexpr Cycle kSlice = 50'000'000;

// The rules are wherever the shape is now.
addrspace::FencePolicy policy_of(const software::HypervisorShape& hypervisor) {
  addrspace::FencePolicy policy = hypervisor.fences;
  policy.rules = hypervisor.rules.data();
  policy.rule_count = static_cast<u32>(hypervisor.rules.size());
  return policy;
}

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
  addrspace::Capabilities machine =
      software::capabilities(architecture, shape.hypervisor.hardware_dirty);
  machine.tlbi_range = shape.machine.fence.tlbi_range;
  machine.svinval = shape.machine.fence.svinval;
  recording_ = std::make_unique<software::Recording>(board.memory(), architecture,
                                                     policy_of(shape_.hypervisor), machine,
                                                     shape.hypervisor.drop_fence);
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
                                            shape.guest.tables, *streams_.back(), shape.vcpu));
  }
}

void Simulation::check(checker::Events& events) {
  const addrspace::VmTag tag = space_->tag();
  checker::Vm vm;
  vm.vmid = tag.vmid;
  vm.root_register = tag.root_register;
  vm.nested = space_->stage();
  vm.caches_no_invalid = recording_->machine().caches_no_invalid;
  vm.invept_single = recording_->machine().invept_single;
  feed_ = std::make_unique<FenceFeed>(events, platform_.board(), vm);
  hypervisor_->watch(feed_.get());
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

software::Totals Simulation::totals() {
  software::Totals all;
  const Cycle now = platform_.time.wheel().now();
  models::Board& board = platform_.board();
  for (u32 core = 0; core < vcpus_.size(); ++core) {
    all.add(*vcpus_[core], now);
    all.add(*board.core(core).mmu);
  }
  all.add(*hypervisor_);
  if (guest_) all.add(*guest_);
  return all;
}

Statistics Simulation::statistics() {
  const software::Totals all = totals();
  if (const auto contradiction = all.contradiction()) {
    throw std::logic_error("the sums do not close: " + *contradiction);
  }
  models::Board& board = platform_.board();
  return statistics_of({all, space_->usage(), recording_->counts(), board.hierarchy().dram_counts(),
                        board.memory().frames().peak() * addrspace::kFrameBytes});
}

}  // namespace nestwalk::sim
