// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/virtual_machine.hpp"

#include <algorithm>

namespace nestwalk::sim {

using addrspace::u16;
using addrspace::u32;
using addrspace::u64;
using software::Guest;
using software::MemoryRange;
using software::ReplayedTables;
using software::Vcpu;

namespace {

// What is left of memory where devices are not: an access there finds no area, and exits.
std::vector<MemoryRange> without(const std::vector<MemoryRange>& memory,
                                 const std::vector<MemoryRange>& holes) {
  std::vector<MemoryRange> rest;
  for (const MemoryRange& range : memory) {
    const u64 end = range.start + range.bytes;
    u64 at = range.start;
    for (auto hole = software::first_beyond(holes, at); hole != holes.end() && hole->start < end;
         ++hole) {
      if (hole->start > at) rest.push_back({at, hole->start - at});
      at = std::min(hole->start + hole->bytes, end);
    }
    if (at < end) rest.push_back({at, end - at});
  }
  return rest;
}

std::vector<MemoryRange> memory_of(const VmShape& vm) {
  if (vm.replays_host()) return {};
  std::vector<MemoryRange> memory = without(vm.guest.memory, vm.guest.mmio);
  if (has_kernel(vm.guest.tables)) memory.push_back(Guest::kernel_memory(vm.guest));
  return memory;
}

addrspace::Capabilities capabilities_of(const VmShape& vm, const models::MachineShape& machine) {
  addrspace::Capabilities all = machine.extension->capabilities(vm.hypervisor.hardware_dirty);
  all.tlbi_range = machine.fence.batches == models::FenceBatches::TlbiRange;
  all.svinval = machine.fence.batches == models::FenceBatches::Svinval;
  return all;
}

u64 end_of(const std::vector<MemoryRange>& memory) {
  return memory.empty() ? addrspace::kGiB : memory.back().start + memory.back().bytes;
}

}  // namespace

VirtualMachine::VirtualMachine(const VmShape& shape, const RunShape& run, const Host& host,
                               u32 first_vcpu, u16 most_asids, const GuestSource& source)
    : shape_(shape),
      board_(host.board),
      cores_(host.cores),
      limit_(run.limit == 0 ? ~u64{0} : run.limit),
      warmup_(run.part.warmup),
      first_core_(first_vcpu % run.cores),
      memory_(memory_of(shape)),
      recording_(board_.memory(), *run.machine.extension, shape_.hypervisor.policy(),
                 capabilities_of(shape, run.machine), shape.hypervisor.drop_fence) {
  using software::GuestTables;
  const models::Extension& extension = *run.machine.extension;
  const models::SoftwareShape& costs = run.machine.software;
  software::Vmids::Holder holder;
  host.vmids.renew(holder);
  const u16 vmid = holder.tag;
  space_ = make_host_space(extension, shape.hypervisor, end_of(memory_), vmid, recording_);
  hypervisor_ = std::make_unique<software::Hypervisor>(
      board_, host.fences, *space_, recording_, costs, host.cores, host.vmids, holder, first_core_);
  hypervisor_->leave_alone([this](const MemoryRange& range) {
    const std::vector<MemoryRange>& devices = shape_.guest.mmio;
    const auto device = software::first_beyond(devices, range.start);
    return device != devices.end() && device->start < range.start + range.bytes;
  });
  if (has_kernel(shape.guest.tables)) {
    if (!extension.isa->has_levels(shape.guest.levels)) {
      throw software::ShapeError("there are no guest tables with " +
                                 std::to_string(shape.guest.levels) + " levels");
    }
    guest_ = std::make_unique<Guest>(board_, *space_, *hypervisor_, recording_, shape.guest, costs,
                                     vmid, most_asids);
  }
  models::Regime physical;
  physical.nested = space_->stage();
  physical.vmid = vmid;
  physical = physical.tagged(board_.tags());
  if (shape.guest.tables == GuestTables::Replayed) {
    replayed_ = std::make_unique<ReplayedTables>(
        board_, shape.replays_host() ? nullptr : space_.get(), vmid, most_asids);
    source.load(*replayed_);
    hypervisor_->leave_alone(
        [this](const MemoryRange& range) { return replayed_->lies_in(range); });
  }
  hypervisor_->tell_of_vmids([this](u16 next) {
    if (guest_) guest_->set_vmid(next);
    if (replayed_) replayed_->set_vmid(next);
  });
  for (u32 n = 0; n < shape.vcpus; ++n) {
    const u32 vcpu = first_vcpu + n;
    streams_.push_back(source.open(n));
    vcpus_.push_back(std::make_unique<Vcpu>(
        board_, cores_, software::VcpuPlace{vcpu, vcpu % run.cores}, guest_.get(), *hypervisor_,
        costs, shape.guest.tables, *streams_.back(), run.vcpu));
    if (!guest_) vcpus_.back()->set_regime(physical);
    if (replayed_) vcpus_.back()->replay(*replayed_);
    if (shape.ordered && shape.vcpus > 1) vcpus_.back()->keep_order(order_);
  }
  vcpus_[0]->set_agenda(software::Agenda(shape.hypervisor.schedule));
}

void VirtualMachine::begin() { start_.start(start()); }

models::Task<> VirtualMachine::start() {
  models::Call core([this](models::Actor& owner) {
    return cores_.ask(first_core_, owner, board_.wheel().now());
  });
  co_await core;
  co_await hypervisor_->begin(memory_, shape_.hypervisor.backend());
  cores_.give_up(first_core_, board_.wheel().now());
  if (hypervisor_->begin_error()) co_return;
  for (auto& vcpu : vcpus_) vcpu->begin(limit_, warmup_);
}

void VirtualMachine::rethrow() const {
  const auto error = hypervisor_->begin_error();
  if (error && *error != addrspace::Error::NoMemory) {
    throw software::ShapeError(std::string("the guest cannot have its memory: ") +
                               to_string(*error));
  }
  for (const auto& stream : streams_) stream->rethrow();
}

std::optional<std::string> VirtualMachine::stopped() const {
  if (hypervisor_->begin_error()) return "the host is out of memory";
  for (const auto& vcpu : vcpus_) {
    if (vcpu->stopped()) return vcpu->stopped();
  }
  return std::nullopt;
}

void VirtualMachine::add_to(software::Totals& all, models::Cycle now) const {
  for (const auto& vcpu : vcpus_) all.add(*vcpu, now);
  all.add(*hypervisor_);
  if (guest_) all.add(*guest_);
}

void VirtualMachine::check(checker::Events& events) {
  if (!shape_.hypervisor.has_second_stage()) {
    throw software::ShapeError(
        "fences are checked of a second stage of the engine: hypervisor.backing is none or "
        "replayed");
  }
  const addrspace::VmTag tag = space_->tag();
  checker::Vm vm;
  vm.vmid = tag.vmid;
  vm.root_register = tag.root_register;
  vm.nested = space_->stage();
  vm.caches_no_invalid = recording_.machine().caches_no_invalid;
  vm.invept_single = recording_.machine().invept_single;
  feed_ = std::make_unique<FenceFeed>(events, board_, vm);
  hypervisor_->watch(feed_.get());
}

}  // namespace nestwalk::sim
