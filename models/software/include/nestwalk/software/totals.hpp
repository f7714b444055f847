// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What all parts of a run counted, added up; and whether it adds up.
#pragma once

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {

struct Totals {
  Cycle end = 0;                        ///< of the last vCPU
  Cycle first_access = models::kNever;  ///< that was over
  Cycle vcpu_cycles = 0;                ///< from begin to end, of all vCPUs
  VcpuCounts vcpus;
  Distribution latencies;
  models::Mmu::Counts mmu;
  models::WalkTotals walks;
  Cycle mmu_cycles = 0;
  ExitCounts exits;
  OperationCounts operations;
  PartCycles begin;
  GuestCounts guest;
  FenceCounts fences;
  u64 refills = 0;           ///< of entries that the hypervisor's fences had removed
  EntryCells entries{};      ///< that software read and wrote
  bool all_finished = true;  ///< none had to stop, none is under way

  void add(const Vcpu& vcpu, Cycle now);
  /// vCPUs that have not begun.
  void add_waiting(Cycle now);
  void add(const models::Mmu& mmu);
  void add(const Hypervisor& hypervisor);
  void add(const Guest& guest);

  /// Time that is counted in two ways has to be the same. Which is not; none if all are.
  std::optional<std::string> contradiction() const;

 private:
  std::optional<std::string> contradiction_;  ///< of a vCPU
};

}  // namespace nestwalk::software
