// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What all parts of a run counted, added up; and whether it adds up.
#pragma once

#include "nestwalk/software/vcpu.hpp"

namespace nestwalk::software {

/// What grows while a run goes on: of two times, the difference is what happened between them.
struct TotalCounts {
  Cycle end = 0;          ///< of the last vCPU, or now
  Cycle vcpu_cycles = 0;  ///< from begin to end, of all vCPUs
  VcpuCounts vcpus;
  models::Mmu::Totals mmu;
  ExitCounts exits;
  OperationCounts operations;
  PartCycles begin;
  GuestCounts guest;
  FenceCounts fences;
  ScheduleCounts schedule;
  EntryCells entries{};  ///< that software read and wrote
};

struct Totals : TotalCounts {
  Distribution latencies;
  Cycle first_access = models::kNever;  ///< when the first one was over
  bool all_finished = true;             ///< none had to stop, none is under way

  /// What is under way counts up to now.
  void add(const Vcpu& vcpu, Cycle now);
  void add(const Hypervisor& hypervisor);
  void add(const Guest& guest);

  /// Another part of the same run.
  void add(const Totals& other);
  /// What was counted before. An access belongs to the time in which it ends; the cycles that it
  /// took before are not of that time.
  void take_away(const Totals& before);

  /// Time that is counted in two ways has to be the same. Which is not; none if all are.
  std::optional<std::string> contradiction() const;

 private:
  std::optional<std::string> contradiction_;  ///< of a vCPU
};

}  // namespace nestwalk::software
