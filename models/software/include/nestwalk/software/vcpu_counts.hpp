// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a virtual processor counts, and whom it tells what it does.
#pragma once

#include <span>

#include "nestwalk/models/translation/walk.hpp"
#include "nestwalk/models/translation/witness.hpp"
#include "nestwalk/software/stream.hpp"

namespace nestwalk::software {

struct VcpuCounts {
  using Cell = models::WalkTotals::Cell;

  u64 accesses[3] = {};  ///< by AccessKind
  u64 instructions = 0;
  u64 hidden_fetches = 0;  ///< that took no time
  u64 buffered_stores = 0;
  u64 switches = 0;
  u64 fences = 0;  ///< of the guest
  u64 guest_faults = 0;
  u64 exits = 0;           ///< of its accesses; the guest kernel's exits are not among them
  u64 emulated = 0;        ///< accesses outside of the guest's memory
  u64 forbidden = 0;       ///< accesses that the hypervisor does not permit
  u64 untranslatable = 0;  ///< accesses for which the guest can have no translation: left out
  Cycle begin = 0;         ///< this and the next two: of one vCPU
  Cycle first_access_end = 0;
  Cycle end = 0;

  // Where the vCPU's time went. These, and in order its accesses, add up to it.
  Cycle instruction_cycles = 0;
  Cycle interrupted_cycles = 0;  ///< by fences for other vCPUs' exits
  Cycle scheduling_cycles = 0;   ///< to leave its core to another vCPU, and to come back
  Cycle waiting_cycles = 0;      ///< for its core
  Cycle ordered_cycles = 0;      ///< for vCPUs that the trace has before it
  Cycle stalled_cycles = 0;      ///< nothing could begin: out of order, or a store buffer is full
  Cycle switch_cycles = 0;
  Cycle fence_cycles = 0;
  Cycle operation_cycles = 0;

  // Where the accesses' time went. These add up to the latencies and the next two.
  Cycle translation_cycles = 0;
  Cycle exit_cycles = 0;
  Cycle guest_cycles = 0;
  Cycle held_cycles = 0;                         ///< faults that waited for what was before them
  Cell data[2][models::WalkTotals::kSources]{};  ///< of data and of fetches, by who had it
  Cell& data_of(models::AccessKind kind, models::Served served) {
    return data[kind == models::AccessKind::Execute ? 1 : 0][static_cast<unsigned>(served)];
  }

  Cycle hidden_cycles = 0;  ///< of TLB lookups that took no time: of hidden fetches
  Cycle untranslatable_cycles = 0;
  Cycle unfinished_cycles = 0;  ///< of accesses under way when it had to stop, data excepted
  Cycle unpaid_cycles = 0;      ///< that interrupts took, when nothing came after them

  u64 total() const { return accesses[0] + accesses[1] + accesses[2]; }
  Cycle data_cycles() const;
};

/// What a vCPU does while none of its accesses is under way.
struct PauseKind {
  const char* name;
  const char* sentence;
  Cycle VcpuCounts::*cycles;
};
inline constexpr PauseKind kPauses[] = {
    {"switches", "in switches of the guest's address space", &VcpuCounts::switch_cycles},
    {"fences", "in fences of the guest", &VcpuCounts::fence_cycles},
    {"operations", "in operations of the hypervisor", &VcpuCounts::operation_cycles},
    {"scheduling", "giving up cores to others, and coming back", &VcpuCounts::scheduling_cycles},
    {"waiting", "for cores that others had", &VcpuCounts::waiting_cycles},
    {"ordered", "for vCPUs that the trace has before them", &VcpuCounts::ordered_cycles}};
/// In order: a store waits for an entry of the store buffer.
inline constexpr PauseKind kStoreBufferFull{"store buffer full", "for room in the store buffer",
                                            &VcpuCounts::stalled_cycles};

/// A pause that is over.
struct PauseStory {
  const PauseKind& kind;
  Cycle begin;
  Cycle end;
  std::span<const models::WitnessStep> steps;  ///< of operations and switches, some of its time
};

/// An access that is over, and what became of it.
struct AccessStory {
  u64 number;  ///< of the vCPU's accesses, from 0
  const GuestAccess& access;
  Cycle begin;
  Cycle latency;
  std::span<const models::WitnessStep> steps;  ///< they add up to the latency
};
class AccessListener {
 public:
  /// The first access from this number on that it wants to hear of.
  virtual u64 next_wanted(u64 number) = 0;
  virtual void on_story(const AccessStory& story) = 0;
  virtual void on_pause(const PauseStory&) {}

 protected:
  AccessListener() = default;
  AccessListener(const AccessListener&) = default;
  AccessListener& operator=(const AccessListener&) = default;
  ~AccessListener() = default;
};

/// Somebody who looks at a run when its vCPUs come to certain places.
class Milestones {
 public:
  /// The vCPU comes to a marker.
  virtual void on_phase(u32 vcpu, const GuestPhase& phase) = 0;
  /// It has played the accesses that only warm the machine up.
  virtual void on_warm(u32 vcpu) = 0;

 protected:
  Milestones() = default;
  Milestones(const Milestones&) = default;
  Milestones& operator=(const Milestones&) = default;
  ~Milestones() = default;
};

}  // namespace nestwalk::software
