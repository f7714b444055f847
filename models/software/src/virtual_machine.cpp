// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/virtual_machine.hpp"

#include <algorithm>

namespace nestwalk::software {

namespace {

// What is left of memory where devices are not: an access there finds no area, and exits.
std::vector<MemoryRange> without(const std::vector<MemoryRange>& memory,
                                 const std::vector<MemoryRange>& holes) {
  std::vector<MemoryRange> rest;
  for (const MemoryRange& range : memory) {
    const u64 end = range.start + range.bytes;
    u64 at = range.start;
    for (auto hole = first_beyond(holes, at); hole != holes.end() && hole->start < end; ++hole) {
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

addrspace::Capabilities capabilities_of(const VmShape& vm, const models::MachineShape& machine,
                                        bool by_core) {
  addrspace::Capabilities all = machine.extension->capabilities(vm.hypervisor.hardware_dirty);
  all.napot_pages = machine.napot_pages;
  // What broadcasts names one ASID for all cores.
  all.fences = by_core ? nullptr : machine.fence.batches;
  return all;
}

u64 end_of(const std::vector<MemoryRange>& memory) {
  return memory.empty() ? addrspace::kGiB : memory.back().start + memory.back().bytes;
}

}  // namespace

VirtualMachine::VirtualMachine(const VmShape& shape, const PlayShape& play, const Host& host,
                               u32 first_vcpu, const GuestSource& source)
    : shape_(shape),
      board_(host.board),
      cores_(host.cores),
      play_(play),
      first_core_(first_vcpu % host.used_cores),
      memory_(memory_of(shape)),
      recording_(board_.memory(), *host.machine.extension, shape_.hypervisor.policy(),
                 capabilities_of(shape, host.machine, host.vcpu_tags != nullptr),
                 shape.hypervisor.drop_fence, shape.hypervisor.fences == &kFreshVmid) {
  const models::Extension& extension = *host.machine.extension;
  const models::SoftwareShape& costs = host.machine.software;
  Vmids::Holder holder;
  if (host.vcpu_tags != nullptr) {
    holder.tag = host.vcpu_tags->take_guest();
  } else {
    host.vmids.renew(holder);
  }
  const u16 vmid = holder.tag;
  space_ = make_host_space(extension, shape.hypervisor, end_of(memory_), vmid, recording_);
  hypervisor_ = std::make_unique<Hypervisor>(board_, host.fences, *space_, recording_, costs,
                                             host.cores, host.vmids, holder, first_core_);
  if (host.vcpu_tags != nullptr) hypervisor_->use(*host.vcpu_tags);
  if (host.machine.vmid_bits == 0 && shape.hypervisor.has_second_stage()) {
    hypervisor_->has_no_vmids();
  }
  hypervisor_->leave_alone([this](const MemoryRange& range) {
    const std::vector<MemoryRange>& devices = shape_.guest.mmio;
    const auto device = first_beyond(devices, range.start);
    return device != devices.end() && device->start < range.start + range.bytes;
  });
  if (has_kernel(shape.guest.tables)) {
    if (!extension.isa->has_levels(shape.guest.levels)) {
      throw ShapeError("there are no guest tables with " + std::to_string(shape.guest.levels) +
                       " levels");
    }
    guest_ = std::make_unique<Guest>(board_, *space_, *hypervisor_, recording_, shape.guest, costs,
                                     vmid, host.most_asids);
    if (host.machine.asid_bits == 0) guest_->has_no_asids();
  }
  models::Regime physical;
  physical.nested = space_->stage();
  if (shape.guest.tables == GuestTables::Replayed) {
    replayed_ = std::make_unique<ReplayedTables>(
        board_, shape.replays_host() ? nullptr : space_.get(), vmid, host.most_asids);
    source.load(*replayed_);
    hypervisor_->leave_alone(
        [this](const MemoryRange& range) { return replayed_->lies_in(range); });
  }
  hypervisor_->tell_of_vmids([this](std::optional<u32> vcpu, u16 next) {
    if (guest_ && !vcpu) guest_->set_vmid(next);
    if (replayed_) replayed_->set_vmid(vcpu, next);
  });
  for (u32 n = 0; n < shape.vcpus; ++n) {
    const VcpuPlace place{first_vcpu + n, (first_vcpu + n) % host.used_cores};
    hypervisor_->add(place);
    physical.vmid = hypervisor_->vmid(place.core, place.vcpu);
    physical = physical.tagged(board_.tags());
    if (replayed_) replayed_->set_vmid(place.vcpu, physical.vmid);
    streams_.push_back(source.open(n));
    vcpus_.push_back(std::make_unique<Vcpu>(board_, cores_, place, guest_.get(), *hypervisor_,
                                            host.machine, shape.guest.tables, *streams_.back(),
                                            play.program));
    if (!guest_) vcpus_.back()->set_regime(physical);
    if (replayed_) vcpus_.back()->replay(*replayed_);
    if (shape.ordered && shape.vcpus > 1) vcpus_.back()->keep_order(order_);
  }
  vcpus_[0]->set_agenda(Agenda(shape.hypervisor.schedule));
}

void VirtualMachine::begin() { start_.start(start()); }

models::Task<> VirtualMachine::start() {
  models::Call core([this](models::Actor& owner) {
    return cores_.ask(first_core_, owner, board_.wheel().now());
  });
  co_await core;
  co_await hypervisor_->begin(memory_, shape_.hypervisor.backend());
  begin_work_ = recording_.counts();
  cores_.give_up(first_core_, board_.wheel().now());
  if (hypervisor_->begin_error()) co_return;
  for (auto& vcpu : vcpus_) vcpu->begin(play_.limit, play_.warmup);
}

void VirtualMachine::rethrow() const {
  const auto error = hypervisor_->begin_error();
  if (error && *error != addrspace::Error::NoMemory) {
    throw ShapeError(std::string("the guest cannot have its memory: ") + to_string(*error));
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

void VirtualMachine::add_to(Totals& all, Cycle now) const {
  for (const auto& vcpu : vcpus_) all.add(*vcpu, now);
  all.add(*hypervisor_);
  if (guest_) all.add(*guest_);
}

Totals VirtualMachine::totals_of(u32 vcpu, Cycle now) const {
  Totals totals;
  totals.add(*vcpus_[vcpu], now);
  return totals;
}

}  // namespace nestwalk::software
