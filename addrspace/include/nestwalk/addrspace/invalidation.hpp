// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What an operation changed in the tables, so that the right fence follows: no less, no more.
//
// The engine gathers one Invalidation per operation and hands it to the Hal once, after the last
// store that takes something away and before any frame is freed. Where the architecture demands
// break-before-make there are two: the break, and the make, which only publishes new entries.
#pragma once

#include <new>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::addrspace {

/// Kinds of change, as a set.
class Changes {
 public:
  constexpr Changes() = default;
  constexpr explicit Changes(u16 bits) : bits_(bits) {}
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool any_of(Changes wanted) const { return (bits_ & wanted.bits_) != 0; }
  friend constexpr Changes operator|(Changes a, Changes b) {
    return Changes(static_cast<u16>(a.bits_ | b.bits_));
  }
  friend constexpr bool operator==(Changes, Changes) = default;

 private:
  u16 bits_ = 0;
};

namespace change {
inline constexpr Changes kNone{};
inline constexpr Changes kReserved{1};        ///< a lazy promise: no entry was stored
inline constexpr Changes kMadeValid{2};       ///< invalid -> valid
inline constexpr Changes kMorePermission{4};  ///< valid, something newly allowed
inline constexpr Changes kLessPermission{8};  ///< valid, something newly forbidden
inline constexpr Changes kUnmapped{16};       ///< valid -> invalid
inline constexpr Changes kMoved{32};          ///< valid, another output address
inline constexpr Changes kMemoryType{64};     ///< valid, another memory type
inline constexpr Changes kCleaned{128};       ///< the dirty state was cleared
inline constexpr Changes kResized{256};       ///< a leaf became a table of smaller leaves
inline constexpr Changes kSpurious{512};      ///< a fault on an entry that permits the access
inline constexpr Changes kMadeGlobal{1024};   ///< valid for all ASIDs: copies under old tags stay
/// A stale copy of the old entry would permit or reach what the new one does not.
inline constexpr Changes kRevoking =
    kLessPermission | kUnmapped | kMoved | kMemoryType | kCleaned | kResized | kMadeGlobal;
}  // namespace change

/// The operation behind an invalidation.
enum class Cause : u8 { MapLinear, MapAllocated, Fault, Unmap, Protect, Remap, DirtyLog };

/// Which translations are meant: the tags that the hardware puts on what it caches.
struct VmTag {
  u64 root_register = 0;     ///< EPTP, nCR3, VTTBR_EL2 or hgatp
  u64 control_register = 0;  ///< VTCR_EL2; 0 where there is none
  u16 vmid = 0;
};

template <class A>
class Invalidation {
 public:
  /// Neighbouring leaves of one size that changed alike.
  struct Run {
    A start;
    u64 size;
    u8 leaf_shift;  ///< log2 of the size of the leaves
    bool table;     ///< a table that translated part of the run was unlinked
    bool owned;     ///< the frames behind it are the engine's
    Changes changes;
    bool hull = false;  ///< some of its leaves may not have changed

    constexpr A end() const { return start + size; }
    constexpr A last() const { return start + (size - 1); }
    constexpr u64 leaves() const { return size >> leaf_shift; }
  };

  static constexpr unsigned kMaxRuns = 32;

  Invalidation(Cause cause, VmTag tag, A subject) : tag_(tag), subject_(subject), cause_(cause) {}

  /// One run, known from the start.
  Invalidation(Cause cause, VmTag tag, A subject, A start, unsigned leaf_shift, Changes changes,
               bool owned)
      : tag_(tag), subject_(subject), leaves_(1), changes_(changes), count_(1), cause_(cause) {
    ::new (static_cast<void*>(&runs_[0]))
        Run{start, u64{1} << leaf_shift, static_cast<u8>(leaf_shift), false, owned, changes};
  }

  constexpr Cause cause() const { return cause_; }
  constexpr const VmTag& tag() const { return tag_; }
  /// The address that the caller named: the start of the range, or where the guest faulted.
  constexpr A subject() const { return subject_; }

  constexpr bool empty() const { return count_ == 0; }
  constexpr const Run* begin() const { return runs_; }
  constexpr const Run* end() const { return runs_ + count_; }
  constexpr Changes changes() const { return changes_; }
  constexpr bool tables() const { return tables_; }
  /// How many leaves the runs cover.
  constexpr u64 leaves() const { return leaves_; }
  /// False once runs had to be fused over unchanged pages, because there were too many.
  constexpr bool exact() const { return exact_; }

  /// True once there are more runs than can be listed: only the whole VM covers them.
  constexpr bool whole() const { return leaves_ == kCountless; }

  /// What a later operation on the same VM changed, as well: in any order of addresses.
  void gather(const Invalidation& later) {
    for (const Run& run : later) gather(run);
    changes_ = changes_ | later.changes_;
    tables_ = tables_ || later.tables_;
    exact_ = exact_ && later.exact_;
    if (later.whole()) leaves_ = kCountless;
  }

  /// Addresses come in ascending order.
  void note(A start, u64 size, unsigned leaf_shift, Changes changes, bool owned = false) {
    changes_ = changes_ | changes;
    if (within_resized(start, size)) return;
    if (count_ != 0 && extends(runs_[count_ - 1], start, leaf_shift, changes, owned)) {
      runs_[count_ - 1].size += size;
      leaves_ += size >> leaf_shift;
      return;
    }
    append({start, size, static_cast<u8>(leaf_shift), false, owned, changes});
  }

  /// Like `note`, where some of the leaves may not have existed.
  void note_hull(A start, u64 size, unsigned leaf_shift, Changes changes, bool owned) {
    exact_ = false;
    note(start, size, leaf_shift, changes, owned);
    if (count_ != 0) runs_[count_ - 1].hull = true;
  }

  /// The table that translated `size` bytes from `start` was unlinked; its leaves are noted by now.
  void note_table(A start, u64 size, unsigned page_shift) {
    tables_ = true;
    if (count_ != 0 && runs_[count_ - 1].last() >= start &&
        runs_[count_ - 1].start <= start + (size - 1)) {
      runs_[count_ - 1].table = true;
      return;
    }
    append({start, u64{1} << page_shift, static_cast<u8>(page_shift), true, false, change::kNone});
  }

 private:
  static constexpr u64 kCountless = ~u64{0};

  void gather(const Run& run) {
    for (unsigned n = 0; n < count_; ++n) {
      Run& known = runs_[n];
      if (known.start != run.start || known.size != run.size ||
          known.leaf_shift != run.leaf_shift) {
        continue;
      }
      known.changes = known.changes | run.changes;
      known.table = known.table || run.table;
      known.owned = known.owned && run.owned;
      known.hull = known.hull || run.hull;
      return;
    }
    if (whole()) return;
    if (count_ == kMaxRuns) {
      leaves_ = kCountless;
      exact_ = false;
      return;
    }
    ::new (static_cast<void*>(&runs_[count_++])) Run(run);
    leaves_ += run.leaves();
  }

  static constexpr bool extends(const Run& run, A start, unsigned leaf_shift, Changes changes,
                                bool owned) {
    return run.end() == start && run.leaf_shift == leaf_shift && run.changes == changes &&
           run.owned == owned;
  }
  // A split large leaf is one run; the fence that removes it reaches every part of it.
  constexpr bool within_resized(A start, u64 size) const {
    if (!changes_.any_of(change::kResized)) return false;
    for (unsigned n = 0; n < count_; ++n) {
      const Run& run = runs_[n];
      if (run.changes.any_of(change::kResized) && size <= run.size && start >= run.start &&
          start - run.start <= run.size - size) {
        return true;
      }
    }
    return false;
  }
  void append(const Run& run) {
    if (count_ == kMaxRuns) return fuse(run);
    ::new (static_cast<void*>(&runs_[count_++])) Run(run);
    leaves_ += run.leaves();
  }
  // Out of runs: widen the last one over the gap.
  void fuse(const Run& run) {
    Run& last = runs_[kMaxRuns - 1];
    leaves_ -= last.leaves();
    last.size = run.end() - last.start;
    last.leaf_shift = last.leaf_shift < run.leaf_shift ? last.leaf_shift : run.leaf_shift;
    last.table = last.table || run.table;
    last.owned = last.owned && run.owned;
    last.changes = last.changes | run.changes;
    last.hull = true;
    leaves_ += last.leaves();
    exact_ = false;
  }

  VmTag tag_;
  A subject_;
  u64 leaves_ = 0;
  Changes changes_{};
  unsigned count_ = 0;
  Cause cause_;
  bool tables_ = false;
  bool exact_ = true;
  union {
    Run runs_[kMaxRuns];  // the first count_ are alive; clearing them all would cost too much
  };
};

}  // namespace nestwalk::addrspace
