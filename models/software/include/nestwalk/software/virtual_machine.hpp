// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A guest on the machine: its hypervisor with the engine's tables, its kernel or its recorded
// tables, its vCPUs and what they play.
#pragma once

#include <functional>
#include <memory>

#include "nestwalk/software/totals.hpp"

namespace nestwalk::software {

/// Where a guest's records come from.
struct GuestSource {
  std::function<std::unique_ptr<GuestStream>(u32 vcpu)> open;
  /// What is replayed, as it is at the begin; nothing if tables are not.
  std::function<void(ReplayedTables&)> load;
};

/// How vCPUs play their streams.
struct PlayShape {
  ProgramShape program;
  u64 limit = ~u64{0};  ///< accesses of each vCPU
  u64 warmup = 0;       ///< the first of them that are no more than that
};

class VirtualMachine final {
 public:
  /// Where it runs.
  struct Host {
    const models::MachineShape& machine;
    models::Board& board;
    models::FenceUnit& fences;
    Cores& cores;
    Vmids& vmids;
    u32 used_cores;                 ///< that vCPUs take turns on: the machine may have more
    u16 most_asids;                 ///< of each guest
    VcpuTags* vcpu_tags = nullptr;  ///< none: a VMID is a guest's
  };
  /// Its vCPUs are those of the machine from `first_vcpu` on, and take turns on its cores. Throws
  /// ShapeError where the machine has no such guest.
  VirtualMachine(const VmShape& shape, const PlayShape& play, const Host& host, u32 first_vcpu,
                 const GuestSource& source);
  VirtualMachine(const VirtualMachine&) = delete;
  VirtualMachine& operator=(const VirtualMachine&) = delete;

  /// Before begin(): this one is told all that a checker of fences has to know.
  void watch(Watcher& watcher) { hypervisor_->watch(&watcher); }
  /// Before begin().
  void tell(Milestones& milestones) {
    for (const auto& vcpu : vcpus_) vcpu->tell(milestones);
  }
  /// Gives it its memory; then its vCPUs begin.
  void begin();
  /// After the run: throws what its memory cannot be, or what ended a stream.
  void rethrow() const;
  /// Why it ended before its trace did; none if it did not.
  std::optional<std::string> stopped() const;

  u32 vcpus() const { return static_cast<u32>(vcpus_.size()); }
  Vcpu& vcpu(u32 n) { return *vcpus_[n]; }
  const Vcpu& vcpu(u32 n) const { return *vcpus_[n]; }
  Hypervisor& hypervisor() { return *hypervisor_; }
  const Hypervisor& hypervisor() const { return *hypervisor_; }
  const HostSpace& host_space() const { return *space_; }
  u64 reserved_frames() const { return guest_ ? guest_->reserved_frames() : 0; }
  /// What its tables and fences may use of the machine.
  const addrspace::Capabilities& capabilities() const { return recording_.machine(); }
  /// Null if no guest's kernel runs.
  const Guest* guest() const { return guest_.get(); }
  /// What was done on tables, and how much of it before the vCPUs began.
  const WorkCounts& work() const { return recording_.counts(); }
  const WorkCounts& begin_work() const { return begin_work_; }
  bool has_left_out_fence() const { return recording_.has_left_out_fence(); }
  /// Null if no recorded tables are replayed.
  ReplayedTables* replayed() { return replayed_.get(); }
  const ReplayedTables* replayed() const { return replayed_.get(); }
  void add_to(Totals& totals, Cycle now) const;
  /// What one vCPU counted: nothing of the hypervisor, nor of the guest's kernel.
  Totals totals_of(u32 vcpu, Cycle now) const;

 private:
  models::Task<> start();

  VmShape shape_;
  models::Board& board_;
  Cores& cores_;
  PlayShape play_;
  u32 first_core_;
  std::vector<MemoryRange> memory_;
  Recording recording_;
  WorkCounts begin_work_;
  std::unique_ptr<HostSpace> space_;
  std::unique_ptr<Hypervisor> hypervisor_;
  std::unique_ptr<Guest> guest_;
  std::unique_ptr<ReplayedTables> replayed_;
  RecordedOrder order_;
  std::vector<std::unique_ptr<GuestStream>> streams_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
  models::Process start_;
};

}  // namespace nestwalk::software
