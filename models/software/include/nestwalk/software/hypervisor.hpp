// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The hypervisor of one guest: takes its exits, runs the engine, and pays for what that did.
//
// An exit costs, in this order: the exit; waiting until no other vCPU is in the engine; the
// handler; every step that the engine took (work.hpp); the entry. The engine's locks are one per
// guest.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "nestwalk/software/cores.hpp"
#include "nestwalk/software/host_space.hpp"
#include "nestwalk/software/vcpu_tags.hpp"
#include "nestwalk/software/vmids.hpp"

namespace nestwalk::software {

struct ExitCounts {
  static constexpr std::size_t kOutcomes = 7;
  u64 by_outcome[kOutcomes] = {};  ///< of FaultOutcome
  PartCycles cycles;               ///< from leaving the guest to being back, of all vCPUs
  u64 total() const {
    u64 sum = 0;
    for (const u64 count : by_outcome) sum += count;
    return sum;
  }
};

struct OperationCounts {
  u64 by_kind[HostOperation::kKinds] = {};
  u64 refused = 0;      ///< by the engine, or since the memory is the guest kernel's tables
  u64 bytes_dirty = 0;  ///< that harvests of the dirty log reported
  PartCycles cycles;    ///< likewise
};

/// What the engine's invalidations cost everybody.
struct FenceCounts {
  static constexpr std::size_t kCauses = HostOperation::kKinds + 3;
  /// Fences: of HostOperation::Kind, then of exits, of the begin, of entries.
  u64 by_cause[kCauses] = {};
  u64 interrupts = 0;  ///< of other cores
};

/// What sharing cores with others cost.
struct ScheduleCounts {
  u64 departures = 0;      ///< of vCPUs that gave up a core before they ended
  u64 vmid_rollovers = 0;  ///< all VMIDs were taken back
  PartCycles cycles;       ///< of leaving and coming back
};

/// Hears of the hypervisor's lock when somebody has given it back.
class LockListener {
 public:
  virtual void on_lock(u32 core, Cycle asked, Cycle got, Cycle released) = 0;

 protected:
  LockListener() = default;
  LockListener(const LockListener&) = default;
  LockListener& operator=(const LockListener&) = default;
  ~LockListener() = default;
};

class Hypervisor final : private Shootdowns {
 public:
  Hypervisor(models::Board& board, models::FenceUnit& fences, HostSpace& space,
             Recording& recording, const models::SoftwareShape& costs, Cores& cores, Vmids& vmids,
             Vmids::Holder vmid, u32 first_core = 0);
  /// Before its vCPUs begin. From here on each vCPU has an ASID of its core's, and the guest's VMID
  /// is only the number by which fences name the guest.
  void use(VcpuTags& tags) {
    vcpu_tags_ = &tags;
    tags.tell(vmid_.tag, [this](u32 core) { replace_vmid(core); });
  }
  /// The machine has none: whatever ran on a core before, nothing of it may be left there.
  void has_no_vmids() { has_vmids_ = false; }
  /// One of its vCPUs, and its core.
  void add(VcpuPlace vcpu) {
    if (vcpu_tags_ != nullptr) vcpu_tags_->join(vcpu.core, vcpu.vcpu);
  }

  /// The guest begins and ends to run on a core.
  void begin_guest(u32 core, u32 vcpu);
  void end_guest(u32 core);
  /// Its VMID is its own, and nothing of another guest is left under it anywhere; nor, on this
  /// core, of another vCPU.
  bool may_begin_at_once(u32 core, u32 vcpu) const {
    if (!has_vmids_) return false;
    if (vcpu_tags_ != nullptr) {
      return vcpu_tags_->is_current(core, vcpu) && !vcpu_tags_->owes_fences(core) &&
             !another_ran(core, vcpu);
    }
    return vmids_.is_current(vmid_) && vmids_.may_all_enter() && renewals_ == 0 &&
           !another_ran(core, vcpu);
  }
  /// A vCPU comes to a core: it gets a VMID, if its own or that of its guest was taken back.
  void take_vmid(u32 core, u32 vcpu);
  /// What a vCPU runs under.
  u16 vmid(u32 core, u32 vcpu) const {
    return vcpu_tags_ != nullptr ? vcpu_tags_->tag(core, vcpu) : vmid_.tag;
  }
  /// How fences name the guest that runs under this VMID.
  u16 named(u16 vmid) const { return vcpu_tags_ != nullptr ? vmid_.tag : vmid; }
  /// Hears of new ones: of a vCPU, or of all.
  void tell_of_vmids(std::function<void(std::optional<u32> vcpu, u16)> heard) {
    heard_ = std::move(heard);
  }
  /// Then it enters the guest, once nothing is left there of the VMID's last guest, nor of another
  /// vCPU; or leaves it again for somebody else.
  models::Task<> enter_guest(u32 core, u32 vcpu);
  models::Task<> leave_guest(u32 core);
  const ScheduleCounts& schedule_counts() const { return schedule_; }
  /// A core faults on one page for ever, though it is permitted: nothing removes what is stale.
  bool is_stuck(u32 core) const { return repeats_[core].count >= kMostRepeats; }
  const FenceCounts& fence_counts() const { return fence_counts_; }
  void watch(Watcher* watcher);
  Watcher* watcher() const { return watcher_; }
  /// Before begin(): this one hears of the lock.
  void tell(LockListener& listener) { lock_listener_ = &listener; }

  /// Gives the guest its memory, on its first core.
  models::Task<> begin(const std::vector<MemoryRange>& memory, addrspace::Backend backend);
  /// The guest left because of an access at a guest-physical address.
  models::Task<FaultOutcome> handle(u32 core, Gpa gpa, Access access, models::Witness* witness);
  /// An operation of the hypervisor's own, on a core whose guest it interrupts.
  models::Task<> operate(u32 core, HostOperation operation, models::Witness* witness = nullptr);

  models::FenceUnit& fences() { return fences_; }
  const OperationCounts& operations() const { return operations_; }
  /// Memory that operations leave alone: where the guest's kernel has its tables, or devices are.
  void leave_alone(std::function<bool(const MemoryRange&)> touches) {
    left_alone_.push_back(std::move(touches));
  }
  /// What a recorded hypervisor did, by the stream: its time counts as an operation's.
  void charge_recorded(Part part, Cycle cycles) { operations_.cycles[part] += cycles; }
  void charge_recorded_store(models::Served served, Cycle cycles);
  const ExitCounts& counts() const { return counts_; }
  EntryCells entries() const;
  /// Why begin() could not give the guest all; none if it could.
  std::optional<addrspace::Error> begin_error() const { return begin_error_; }
  bool began() const { return began_; }
  /// Giving the guest its memory took so long.
  const PartCycles& begin_cycles() const { return begin_cycles_; }

 private:
  enum class Place : u8 { Never, Guest, Host, Over };
  static constexpr u32 kMostRepeats = 1000;
  static constexpr u32 kNobody = ~u32{0};
  struct Repeats {
    u64 page = 0;
    u32 count = 0;
  };

  Meter meter(PartCycles& cycles, models::Witness* witness = nullptr) {
    return {board_.wheel(), cycles, "the hypervisor", witness};
  }
  models::Task<> leave_for_engine(models::Lock::Turn& turn, Meter& charges);
  void release(models::Lock::Turn& turn, u32 core);
  models::Task<> resume_guest(u32 core, Meter& charges);
  Result<void> map_part(const MemoryRange& part);
  Result<void> replace(const HostOperation& operation, addrspace::Backend backend);
  bool is_allowed(const HostOperation& operation) const;
  /// Of an operation, in their order.
  struct OperationPart {
    MemoryRange range;
    bool first, last;
  };
  std::vector<OperationPart> parts_of_operation(const HostOperation& operation) const;
  Result<void> carry_out(const HostOperation& operation, const OperationPart& part);
  Result<void> carry_out_on_log(HostOperation::Kind kind, const OperationPart& part);
  void record(u32 core);
  bool must_fence_entry(u32 core, u32 vcpu);
  bool must_fence_vcpu(u32 core, u32 vcpu);
  void replace_vmid(u32 core);
  void put_vmid(u32 core);
  /// Was it another vCPU that ran last on the core, of those of this guest?
  bool another_ran(u32 core, u32 vcpu) const {
    return space_.stage().on() && ran_[core] != kNobody && ran_[core] != vcpu;
  }
  FaultOutcome end_of_repeats(u32 core, Gpa gpa, FaultOutcome outcome);
  models::Task<PartCycles> play(u32 core, std::size_t cause, models::Witness* witness = nullptr);
  void put_place(u32 core, Place place);
  Cycle kick_cycles() const;
  std::span<const models::InterruptTarget> targets(u32 core) override;
  void sent(const models::FenceUnit::Sequence& sequence) override;

  models::Board& board_;
  models::FenceUnit& fences_;
  HostSpace& space_;
  Recording& recording_;
  models::SoftwareShape costs_;
  u32 first_core_;
  std::deque<Worker> workers_;  ///< by core; they stay where they are
  std::vector<Place> places_;   ///< by core, as the next one
  std::vector<Repeats> repeats_;
  Cores& cores_;
  Vmids& vmids_;
  Vmids::Holder vmid_;
  VcpuTags* vcpu_tags_ = nullptr;
  u32 renewals_ = 0;  ///< of its VMID
  bool has_vmids_ = true;
  std::vector<u32> entered_;  ///< by core: which of them ran there
  std::vector<u32> ran_;      ///< by core: the guest's vCPU that ran there last
  std::function<void(std::optional<u32>, u16)> heard_;
  ScheduleCounts schedule_;
  std::vector<models::InterruptTarget> targets_;
  FenceCounts fence_counts_;
  u64 fences_before_ = 0;
  Watcher* watcher_ = nullptr;
  LockListener* lock_listener_ = nullptr;
  Cycle lock_asked_ = 0, lock_got_ = 0;  ///< by the core that has it
  models::Lock lock_;                    ///< of the engine
  addrspace::Backend backend_;
  std::optional<addrspace::Error> begin_error_;
  bool began_ = false;
  PartCycles begin_cycles_;
  ExitCounts counts_;
  OperationCounts operations_;
  EntryCells recorded_entries_{};
  std::vector<std::function<bool(const MemoryRange&)>> left_alone_;
};

}  // namespace nestwalk::software
