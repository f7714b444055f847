// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// One run: a SystemC platform, a guest and its hypervisor on it, and a trace that they replay. A
// process can have one.
#pragma once

#include <functional>

#include "configuration.hpp"
#include "fence_feed.hpp"
#include "nestwalk/systemc/platform.hpp"
#include "report.hpp"

namespace nestwalk::sim {

class Simulation final : private models::Actor {
 public:
  using OpenStream = std::function<std::unique_ptr<software::GuestStream>(addrspace::u32 vcpu)>;

  Simulation(const RunShape& shape, addrspace::u32 vcpus, const OpenStream& open);

  /// Runs until all vCPUs are done, or until `interrupted` says so. `progress` is told now and then
  /// how many accesses were played.
  void run(const std::function<bool()>& interrupted,
           const std::function<void(addrspace::u64)>& progress);

  /// Before run(): tells a checker of fences all that it has to know.
  void check(checker::Events& events);
  /// Why it ended early; empty if it did not.
  const std::string& ended_early() const { return ended_early_; }
  addrspace::u64 accesses() const;
  /// Throws std::logic_error if they contradict each other.
  Statistics statistics();
  software::Totals totals();

 private:
  void on_cycle(addrspace::u32) override;  // the guest has its memory

  RunShape shape_;
  systemc::Platform platform_;
  std::unique_ptr<software::Recording> recording_;
  std::unique_ptr<software::HostSpace> space_;
  std::unique_ptr<software::Hypervisor> hypervisor_;
  std::unique_ptr<software::Guest> guest_;
  std::unique_ptr<FenceFeed> feed_;
  std::vector<std::unique_ptr<software::GuestStream>> streams_;
  std::vector<std::unique_ptr<software::Vcpu>> vcpus_;
  std::string ended_early_;
};

}  // namespace nestwalk::sim
