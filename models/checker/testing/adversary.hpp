// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The worst processors that the virtualization extension permits: each keeps whatever the tables
// permit, without bounds, until a fence takes it away. Turns "may go wrong" into an access that
// does.
//
// What the tables say now is cached as well, and does no harm; so only what they said before is
// kept: each store leaves copies of the old entry, and of what hung below it, on every processor
// that may have them. This shares the tables with the checker, and nothing else: it knows no
// obligations, and decides by comparing what a copy says with what a walk finds.
#pragma once

#include <array>
#include <set>
#include <tuple>
#include <vector>

#include "nestwalk/checker/tables.hpp"

namespace nestwalk::checker {

class Adversary final : public Events {
 public:
  /// What the processors have cached before an entry changes.
  enum class Fills : u8 {
    Speculative,  ///< everything that the tables of a VM permit that they ran
    OnDemand,     ///< what accesses touched, and `fill`
  };
  enum class Wrong : u8 {
    Translation,  ///< the access goes where it must not, or is allowed what it must not
    Dirty,        ///< a write leaves no trace in the tables
    Table,        ///< a walk goes on in a table that was unlinked
    Fault,        ///< the access faults, though the tables permit it
    Combined,     ///< the guest's own old translation
  };
  struct Hit {
    Access access;
    Wrong wrong;
    u64 stale;   ///< the entry that was used
    u64 walked;  ///< what the tables say
  };

  explicit Adversary(Fills fills = Fills::Speculative) : fills_(fills) {}

  void vm_created(const Moment& when, const Vm& vm) override;
  void vm_destroyed(const Moment& when, u32 vm) override;
  void vm_entered(const Moment& when, u32 vm) override;
  void vm_left(const Moment& when, u32 vm) override;
  void vm_faulted(const Moment& when, u32 vm, u64 gpa, addrspace::Access access) override;
  void operation_begun(const Moment& when, std::string_view) override { ++depth_[when.processor]; }
  void operation_ended(const Moment& when) override;
  void entry_stored(const Moment& when, u64 slot, u64 before, u64 after) override;
  void frames_freed(const Moment& when, u64 first, u64 bytes) override;
  void frames_allocated(const Moment&, u64, u64) override {}
  void fence_issued(const Moment& when, const models::FenceRequest& request,
                    Cycle cycles = 0) override;
  void barrier_issued(const Moment& when, Barrier barrier) override;
  void accessed(const Access& access) override;

  /// A speculative walk.
  void fill(u32 processor, u32 vm, u64 gpa);

  /// Would this access go wrong now? One that faults does not.
  bool would_hit(u32 processor, u32 vm, u64 gpa, bool write, Wrong& wrong) const;
  /// The first ones.
  const std::vector<Hit>& hits() const { return hits_; }
  /// Faults that a cached invalid entry causes; the next fence ends them.
  u64 spurious() const { return spurious_; }
  u64 uses_after_free() const { return uses_after_free_; }
  /// Copies that made a processor fault although the tables permitted the access, and that it
  /// still had when it went back: it faults for ever.
  u64 repeated_faults() const { return repeated_faults_; }
  bool harmed() const {
    return hit_count_ + uses_after_free_ + conflicts_ + left_behind_ + repeated_faults_ != 0;
  }

 private:
  struct Copy {
    u32 processor;
    u32 vm;
    Tables::Found what;
    enum class Kind : u8 { Leaf, Table, Nothing } kind;
    u32 stored_by;
    bool visible;        ///< the store that made it stale was waited for, by who issues the fence
    bool visible_there;  ///< by the processor that stored, for itself alone
    std::vector<u64> holes;  ///< pages of a large leaf that it does not hold any more
    bool nested = true;
    bool combined = true;
    u32 nested_ends = kNobody;  ///< whose barrier ends it
    u32 combined_ends = kNobody;
    bool ends_there = false;  ///< by a fence for its own processor alone
    bool ordered = false;     ///< RISC-V: an SFENCE.W.INVAL came after the store
    bool freed = false;       ///< what it leads to was given back, while the processor was outside
    u64 faulted_at = kNowhere;    ///< the processor took a spurious fault there
    addrspace::Access refused{};  ///< of such an access
    bool alive() const { return nested || combined; }
  };
  /// What the guest's own tables and the second stage say together.
  struct Merged {
    u32 processor;
    u32 vm;
    u64 gva;  ///< of the page
    u16 asid;
    u64 gpa;
    u8 guest_shift;
    bool operator<(const Merged& other) const {
      return std::tie(processor, vm, gva, asid) <
             std::tie(other.processor, other.vm, other.gva, other.asid);
    }
  };
  struct Running {
    u64 inside = 0;
    u64 ran = 0;
    bool gone = false;
  };
  static constexpr u32 kNobody = ~u32{0};
  static constexpr u64 kNowhere = ~u64{0};
  static constexpr std::size_t kMostHits = 256;

  u32 number_of(u32 id) const;
  addrspace::Architecture architecture(u32 vm) const;
  u64 bytes(const Copy& copy) const { return tables_.bytes_of(copy.vm, copy.what.level); }
  void leave(const Moment& when, u32 vm, const Tables::Found& what, Copy::Kind kind);
  void leave_all(const Moment& when, const Tables::Place& place, u64 before, u64 after);
  void look_for_conflicts(const Moment& when, const Tables::Place& place, u64 before, u64 after);
  bool clashes(const Copy& copy, u64 gpa, addrspace::Access access, Wrong& wrong) const;
  bool disagrees(const Copy& copy) const;
  bool misleads(const Copy& copy) const;
  bool refuses(const Copy& copy, u64 gpa, addrspace::Access access) const;
  template <class Is>
  bool anywhere(const Copy& copy, Is&& is) const;
  bool is_usable(const Copy& copy) const;
  bool conflicts_with(const Copy& copy, const Tables::Found& made) const;
  void strike(const Moment& when, const models::FenceRequest& request, Copy& copy) const;
  void strike_merged(const Moment& when, const models::FenceRequest& request);
  void forget(const Moment& when, const models::FenceRequest& request);
  void finish(u32 processor, bool broadcast = true);

  Fills fills_;
  Tables tables_;
  std::vector<u32> ids_;
  std::vector<Running> running_;
  std::array<u32, kMostProcessors> depth_{};  ///< of operations
  std::vector<Copy> copies_;
  std::set<Merged> merged_;
  std::set<std::array<u64, 3>> touched_;        ///< processor, VM, page
  std::vector<std::array<u64, 3>> forgetting_;  ///< VM, issuer, processors: not waited for yet
  /// VM, processor, processors that see them: of new entries without a barrier.
  std::vector<std::array<u64, 3>> unseen_;
  std::vector<Hit> hits_;
  u64 hit_count_ = 0;
  u64 spurious_ = 0;
  u64 uses_after_free_ = 0;
  /// Valid entries stored while another translation of the same address was cached, where the
  /// extension forbids it.
  u64 conflicts_ = 0;
  /// Copies that a processor in the guest could use when an operation returned, and new entries
  /// that walks could not find yet.
  u64 left_behind_ = 0;
  u64 repeated_faults_ = 0;
};

const char* to_string(Adversary::Wrong wrong);

}  // namespace nestwalk::checker
