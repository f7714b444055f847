// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A machine whose times are easy to add up, with a hypervisor, a guest and vCPUs on it.
//
// A TLB lookup takes 1; there are no other caches, so every reference of a walk, every access and
// every entry that software reads or writes takes 10, and a walk of four levels 40.
#pragma once

#include <gtest/gtest.h>

#include "nestwalk/machines/extensions.hpp"
#include "nestwalk/models/machine/machine.hpp"
#include "nestwalk/software/totals.hpp"

namespace nestwalk::software {

using addrspace::Architecture;
using models::AccessKind;

constexpr u64 kReference = 10;
constexpr u64 kTlb = 1;
constexpr u64 kWalk = 4 * kReference;
constexpr u64 kExit = 100, kEntry = 50, kHandler = 30, kFrame = 7, kZero = 20;
constexpr u64 kGuestFault = 200, kGuestSwitch = 60, kEmulation = 500;

inline models::MachineShape easy(Architecture architecture, u32 cores, bool second_stage = true,
                                 const models::FenceShape& fence = {3, 5, 40}) {
  models::MachineShape shape;
  if (!second_stage) shape.memory_base = 0;
  shape.extension = &models::extension_of(architecture);
  shape.cores = cores;
  shape.mmu.data_tlb = {{{4, 4, {12}}, {1, 4, {21}}}, kTlb};
  shape.memory = {1, 4096, 8192, kReference, kReference, kReference};
  shape.fence = fence;
  shape.software = {1000,   kExit, kEntry,      kHandler,    kEmulation,
                    kFrame, kZero, kGuestFault, kGuestSwitch};
  return shape;
}

class ListStream final : public GuestStream {
 public:
  void add(const GuestAccess& access) {
    if (runs_.empty() || runs_.back().event) runs_.push_back({});
    runs_.back().accesses.push_back(access);
  }
  void read(u64 address, u32 instructions = 0) { add({address, 0, 0, instructions}); }
  void write(u64 address) { add({address, 0, 0, 0, AccessKind::Write}); }
  void recorded(u64 address, u64 guest_physical) {
    add({address, guest_physical, 0, 0, AccessKind::Read,
         GuestAccess::kAddress | GuestAccess::kGuestPhysical});
  }
  void add(const GuestEvent& event) {
    if (runs_.empty() || runs_.back().event) runs_.push_back({});
    runs_.back().event = event;
  }
  bool next(GuestBatch& batch) override {
    if (at_ == runs_.size()) return false;
    const Run& run = runs_[at_++];
    batch.accesses = run.accesses;
    batch.event = run.event ? &*run.event : nullptr;
    return true;
  }

 private:
  struct Run {
    std::vector<GuestAccess> accesses;
    std::optional<GuestEvent> event;
  };
  std::vector<Run> runs_;
  std::size_t at_ = 0;
};

class World {
 public:
  static constexpr u16 kVmid = 3;

  World(const GuestShape& guest_shape, const HypervisorShape& shape,
        Architecture architecture = Architecture::X86_64, u32 cores = 1,
        const VcpuShape& vcpu_shape = {}, const models::FenceShape& fence = {3, 5, 40})
      : World(guest_shape, shape, easy(architecture, cores, shape.has_second_stage(), fence),
              vcpu_shape) {}
  World(const GuestShape& guest_shape, const HypervisorShape& shape,
        const models::MachineShape& machine_shape, const VcpuShape& vcpu_shape = {})
      : shape_(shape),
        guest_shape_(guest_shape),
        machine(machine_shape, 2 * addrspace::kGiB),
        fences(machine),
        turns(machine_shape.cores),
        vmids(0xffff, machine_shape.cores),
        recording(machine.memory(), *machine_shape.extension, shape.policy(),
                  machine_shape.extension->capabilities(shape.hardware_dirty)),
        streams(machine_shape.cores) {
    const models::Extension& extension = *machine_shape.extension;
    memory_ = guest_shape.memory;
    const bool translates = guest_shape.tables != GuestTables::None;
    if (translates) memory_.push_back(Guest::kernel_memory(guest_shape));
    space = make_host_space(extension, shape, memory_.back().start + memory_.back().bytes, kVmid,
                            recording);
    const models::SoftwareShape& costs = machine_shape.software;
    Vmids::Holder vmid;
    while (vmid.tag != kVmid) vmids.renew(vmid);
    hypervisor =
        std::make_unique<Hypervisor>(machine, fences, *space, recording, costs, turns, vmids, vmid);
    if (translates) {
      guest = std::make_unique<Guest>(machine, *space, *hypervisor, recording, guest_shape, costs,
                                      kVmid, extension.isa->most_asids);
    }
    models::Regime physical;
    physical.nested = space->stage();
    physical.vmid = kVmid;
    physical = physical.tagged(machine.tags());
    for (u32 n = 0; n < machine_shape.cores; ++n) {
      vcpus.push_back(std::make_unique<Vcpu>(machine, turns, VcpuPlace{n, n}, guest.get(),
                                             *hypervisor, costs, guest_shape.tables, streams[n],
                                             vcpu_shape));
      if (!guest) vcpus.back()->set_regime(physical);
    }
  }
  void run() {
    start_.start(start());
    machine.wheel().run();
    EXPECT_EQ(totals().contradiction(), std::nullopt);
  }
  Totals totals() {
    Totals all;
    for (const auto& vcpu : vcpus) {
      if (hypervisor->began()) all.add(*vcpu, machine.wheel().now());
    }
    all.add(*hypervisor);
    if (guest) all.add(*guest);
    return all;
  }
  const VcpuCounts& counts(u32 n = 0) const { return vcpus[n]->counts(); }
  u64 latencies(u32 n = 0) const { return vcpus[n]->latencies().sum(); }
  /// What the engine does on the way takes so long.
  static u64 cycles_of(const WorkCounts& work) {
    return kReference * (work.entries_read + work.entries_written) +
           kFrame * (work.runs_allocated + work.runs_freed) +
           kZero * work.bytes_zeroed / kFrameBytes;
  }

 private:
  HypervisorShape shape_;
  GuestShape guest_shape_;
  std::vector<MemoryRange> memory_;

 public:
  models::Machine machine;
  models::FenceUnit fences;
  Cores turns;
  Vmids vmids;
  Recording recording;
  std::unique_ptr<HostSpace> space;
  std::unique_ptr<Hypervisor> hypervisor;
  std::unique_ptr<Guest> guest;
  std::vector<ListStream> streams;
  std::vector<std::unique_ptr<Vcpu>> vcpus;
  WorkCounts before;  ///< what was done when the vCPUs began

 private:
  models::Task<> start() {
    co_await hypervisor->begin(memory_, shape_.backend());
    before = recording.counts();
    if (hypervisor->begin_error()) co_return;
    for (auto& vcpu : vcpus) vcpu->begin(~u64{0});
  }

  models::Process start_;
};

/// What happened since.
inline WorkCounts since(const WorkCounts& before, const WorkCounts& now) {
  return {
      now.entries_read - before.entries_read,     now.entries_written - before.entries_written,
      now.runs_allocated - before.runs_allocated, now.frames_allocated - before.frames_allocated,
      now.runs_freed - before.runs_freed,         now.frames_freed - before.frames_freed,
      now.bytes_zeroed - before.bytes_zeroed,     now.fences - before.fences};
}

}  // namespace nestwalk::software
