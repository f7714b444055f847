// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A guest on the machine: its hypervisor with the engine's tables, its kernel or its recorded
// tables, its vCPUs on cores of their own.
#pragma once

#include <functional>

#include "configuration/configuration.hpp"
#include "nestwalk/software/totals.hpp"
#include "replay/fence_feed.hpp"

namespace nestwalk::sim {

/// Where a guest's records come from.
struct GuestSource {
  std::function<std::unique_ptr<software::GuestStream>(addrspace::u32 vcpu)> open;
  /// What is replayed, as it is at the begin; nothing if tables are not.
  std::function<void(software::ReplayedTables&)> load;
};

class VirtualMachine final {
 public:
  /// Where it runs.
  struct Host {
    models::Board& board;
    models::FenceUnit& fences;
    software::Cores& cores;
    software::Vmids& vmids;
  };
  /// Its vCPUs are those of the machine from `first_vcpu` on, and take turns on its cores.
  VirtualMachine(const VmShape& shape, const RunShape& run, const Host& host,
                 addrspace::u32 first_vcpu, addrspace::u16 most_asids, const GuestSource& source);

  /// Before begin(): tells a checker of fences all that it has to know.
  void check(checker::Events& events);
  /// Before begin().
  void tell(software::Milestones& milestones) {
    for (const auto& vcpu : vcpus_) vcpu->tell(milestones);
  }
  /// Gives it its memory; then its vCPUs begin.
  void begin();
  /// After the run: throws what its memory cannot be, or what ended a stream.
  void rethrow() const;
  /// Why it ended before its trace did; none if it did not.
  std::optional<std::string> stopped() const;

  addrspace::u32 vcpus() const { return static_cast<addrspace::u32>(vcpus_.size()); }
  software::Vcpu& vcpu(addrspace::u32 n) { return *vcpus_[n]; }
  const software::Vcpu& vcpu(addrspace::u32 n) const { return *vcpus_[n]; }
  const software::HostSpace& host_space() const { return *space_; }
  addrspace::u64 reserved_frames() const { return guest_ ? guest_->reserved_frames() : 0; }
  const software::WorkCounts& work() const { return recording_.counts(); }
  bool has_left_out_fence() const { return recording_.has_left_out_fence(); }
  /// Null if no recorded tables are replayed.
  const software::ReplayedTables* replayed() const { return replayed_.get(); }
  void add_to(software::Totals& totals, models::Cycle now) const;

 private:
  models::Task<> start();

  VmShape shape_;
  models::Board& board_;
  software::Cores& cores_;
  addrspace::u64 limit_;
  addrspace::u64 warmup_;
  addrspace::u32 first_core_;
  std::vector<software::MemoryRange> memory_;
  software::Recording recording_;
  std::unique_ptr<software::HostSpace> space_;
  std::unique_ptr<software::Hypervisor> hypervisor_;
  std::unique_ptr<software::Guest> guest_;
  std::unique_ptr<FenceFeed> feed_;
  std::unique_ptr<software::ReplayedTables> replayed_;
  software::RecordedOrder order_;
  std::vector<std::unique_ptr<software::GuestStream>> streams_;
  std::vector<std::unique_ptr<software::Vcpu>> vcpus_;
  models::Process start_;
};

}  // namespace nestwalk::sim
