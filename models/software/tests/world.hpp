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
#include "nestwalk/software/virtual_machine.hpp"

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
  shape.memory = {.banks = 4096, .controller_ps = kReference * 1000};
  shape.fence = fence;
  shape.software = {.instructions_per_1000_cycles = 1000,
                    .exit_cycles = kExit,
                    .entry_cycles = kEntry,
                    .handler_cycles = kHandler,
                    .emulation_cycles = kEmulation,
                    .frame_cycles = kFrame,
                    .zero_cycles = kZero,
                    .guest_fault_cycles = kGuestFault,
                    .guest_switch_cycles = kGuestSwitch};
  return shape;
}

/// So many instructions and accesses, and nothing else that bounds what overlaps.
inline models::CoreShape overlapping(u32 window) {
  models::CoreShape core;
  core.kind = models::CoreKind::OutOfOrder;
  core.width = 32;
  core.window = window;
  core.load_queue = 1024;
  core.load_ports = core.store_ports = 16;
  return core;
}

inline models::MachineShape with_core(models::MachineShape shape, const models::CoreShape& core) {
  shape.core = core;
  return shape;
}

/// Copies share their records, and each begins with the first one.
class ListStream final : public GuestStream {
 public:
  void add(const GuestAccess& access) {
    if (runs_->empty() || runs_->back().event) runs_->push_back({});
    runs_->back().accesses.push_back(access);
  }
  void read(u64 address, u32 instructions = 0) { add({address, 0, 0, instructions}); }
  void write(u64 address, u32 instructions = 0) {
    add({address, 0, 0, instructions, AccessKind::Write});
  }
  void fetch(u64 address) { add({address, 0, 0, 0, AccessKind::Execute}); }
  void recorded(u64 address, u64 guest_physical) {
    add({address, guest_physical, 0, 0, AccessKind::Read,
         GuestAccess::kAddress | GuestAccess::kGuestPhysical});
  }
  void add(const GuestEvent& event) {
    if (runs_->empty() || runs_->back().event) runs_->push_back({});
    runs_->back().event = event;
  }
  bool next(GuestBatch& batch) override {
    if (at_ == runs_->size()) return false;
    const Run& run = (*runs_)[at_++];
    batch.accesses = run.accesses;
    batch.event = run.event ? &*run.event : nullptr;
    return true;
  }

 private:
  struct Run {
    std::vector<GuestAccess> accesses;
    std::optional<GuestEvent> event;
  };
  std::shared_ptr<std::vector<Run>> runs_ = std::make_shared<std::vector<Run>>();
  std::size_t at_ = 0;
};

inline models::Machine& with_policy(models::Machine& machine, models::FramePolicyKind frames) {
  machine.memory().choose_policy(frames);
  return machine;
}

/// So that the next one's VMID is not by chance the number of something else.
inline Vmids& with_other_guests(Vmids& vmids) {
  Vmids::Holder others[2];
  for (Vmids::Holder& other : others) vmids.renew(other);
  return vmids;
}

class World {
 public:
  World(const GuestShape& guest, const HypervisorShape& hypervisor,
        Architecture architecture = Architecture::X86_64, u32 cores = 1,
        const models::CoreShape& core = {}, const models::FenceShape& fence = {3, 5, 40})
      : World(guest, hypervisor,
              with_core(easy(architecture, cores, hypervisor.has_second_stage(), fence), core)) {}
  World(const GuestShape& guest, const HypervisorShape& hypervisor,
        const models::MachineShape& shape, const ProgramShape& program = {},
        models::FramePolicyKind frames = {})
      : machine(shape, 2 * addrspace::kGiB),
        fences(with_policy(machine, frames)),
        turns(shape.cores),
        vmids(0xffff, shape.cores),
        streams(shape.cores),
        vm({guest, hypervisor, shape.cores}, {program},
           {shape, machine, fences, turns, with_other_guests(vmids), shape.cores,
            shape.extension->isa->most_asids},
           0, {[this](u32 n) { return std::make_unique<ListStream>(streams[n]); }, [](auto&) {}}) {}

  void run() {
    vm.begin();
    machine.wheel().run();
    EXPECT_EQ(totals().contradiction(), std::nullopt);
  }
  Totals totals() {
    Totals all;
    vm.add_to(all, machine.wheel().now());
    return all;
  }
  const VcpuCounts& counts(u32 n = 0) const { return vm.vcpu(n).counts(); }
  u64 latencies(u32 n = 0) const { return vm.vcpu(n).latencies().sum(); }
  /// What the engine does on the way takes so long.
  static u64 cycles_of(const WorkCounts& work) {
    return kReference * (work.entries_read + work.entries_written) +
           kFrame * (work.runs_allocated + work.runs_freed) +
           kZero * work.bytes_zeroed / kFrameBytes;
  }

  models::Machine machine;
  models::FenceUnit fences;
  Cores turns;
  Vmids vmids;
  std::vector<ListStream> streams;
  VirtualMachine vm;
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
