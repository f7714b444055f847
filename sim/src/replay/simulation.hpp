// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// One run: a SystemC platform, and guests under a hypervisor on it, each with a trace that it
// replays. A process can have one.
#pragma once

#include <functional>

#include "configuration/configuration.hpp"
#include "nestwalk/checker/fence_feed.hpp"
#include "nestwalk/systemc/platform.hpp"
#include "results/measurement.hpp"

namespace nestwalk::sim {

/// Why a run ended early that a signal ended.
inline constexpr const char* kInterrupted = "interrupted";

class Simulation {
 public:
  /// A source for each guest of the shape.
  Simulation(const RunShape& shape, const std::vector<software::GuestSource>& sources);

  /// Runs until all vCPUs are done, or until `interrupted` says so. `progress` is told now and then
  /// how many accesses were played.
  void run(const std::function<bool()>& interrupted,
           const std::function<void(addrspace::u64)>& progress);

  /// Why it ended early; empty if it did not.
  const std::string& ended_early() const { return ended_early_; }
  addrspace::u64 accesses() const;
  addrspace::u32 vcpus() const { return vms_[0]->vcpus(); }
  software::Vcpu& vcpu(addrspace::u32 n) { return vms_[0]->vcpu(n); }
  models::Board& board() { return platform_.board(); }
  models::FenceUnit& fences() { return platform_.fences(); }
  const models::MachineShape& machine() const { return shape_.machine; }
  models::Cycle now() { return platform_.time.wheel().now(); }
  /// What happens now belongs to the part of the run that statistics tell of.
  bool is_measuring() const { return measurement_->is_measuring(); }
  const software::HostSpace& host_space() const { return vms_[0]->host_space(); }
  const std::vector<std::unique_ptr<software::VirtualMachine>>& vms() const { return vms_; }
  /// Before run(): tells a checker of fences all that it has to know of the first guest.
  void watch_fences(checker::Events& events);
  /// Of the part of the run that is measured, then of its phases. Throws std::logic_error if what
  /// was counted in two ways differs.
  Statistics statistics();
  /// Likewise.
  std::vector<Histogram> histograms();
  software::Totals totals();

 private:
  void check_end();
  Measurement::Snapshot look();
  Measured measured(const std::vector<const software::VirtualMachine*>& vms);
  /// The whole, then its guests if there are several, its vCPUs likewise, then its phases.
  void for_each_part(
      const std::function<void(const std::string& prefix, const Measured& part)>& tell);

  RunShape shape_;
  systemc::Platform platform_;
  std::optional<software::Cores> cores_;
  std::optional<software::Vmids> vmids_;
  std::optional<software::VcpuTags> vcpu_tags_;
  std::vector<std::unique_ptr<software::VirtualMachine>> vms_;
  std::optional<checker::FenceFeed> feed_;
  std::unique_ptr<Measurement> measurement_;
  std::optional<Measurement::Snapshot> whole_;
  std::string ended_early_;
};

}  // namespace nestwalk::sim
