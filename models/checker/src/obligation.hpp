// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a store left behind in the caches, and what a fence does about it.
#pragma once

#include <algorithm>
#include <list>
#include <memory>

#include "nestwalk/checker/finding.hpp"
#include "range_index.hpp"

namespace nestwalk::checker {

namespace fence = addrspace::fence;

constexpr u64 bit(u32 processor) { return u64{1} << processor; }

/// Copies of one entry, by the structure that may hold them.
enum Part : u8 {
  kNested = 1,    ///< second-stage entries
  kCombined = 2,  ///< merged with the guest's own translation
  kLinear = 4,    ///< the guest's own translation alone
};
inline constexpr unsigned kParts = 3;

/// Who has to look at an obligation, each once.
enum class Look : u8 {
  Second,  ///< fences of the second stage for all of a VM
  First,   ///< fences of the first stage: where only what was merged is left
  Entry,   ///< processors that enter the guest
};
inline constexpr unsigned kLooks = 3;

struct Task;

/// A fence, when it was executed.
struct Executed {
  models::FenceRequest request;
  Moment when;
  u64 order;  ///< among stores, fences and barriers
};
using ExecutedFence = std::shared_ptr<const Executed>;

struct Obligation {
  static constexpr std::size_t kNone = ~std::size_t{0};

  u32 vm = 0;
  u8 level = 0;
  u8 after_level = 0;
  bool table = false;  ///< what is stale is a table, or nothing where there is a table now
  Change change = Change::None;
  Demand::Need need = Demand::Need::Fence;
  u64 start = 0;
  u64 bytes = 0;
  u64 before = 0;
  u64 after = 0;
  models::Entry old{};
  Moment when{};
  u32 operation = 0;         ///< which of the names
  u64 serial = 0;            ///< which operation of all
  u64 order = 0;             ///< of the store among stores, fences and barriers
  bool posted = false;       ///< AArch64: the store is not seen before a barrier of its processor
  bool seen_by_own = false;  ///< but by that processor itself
  bool returned = false;     ///< the operation did
  bool settled = false;      ///< and it was judged
  u64 left[kParts] = {};     ///< processors that may hold it, by part
  u64 sent[kParts] = {};     ///< processors to which a fence for it went
  u64 going[kParts] = {};    ///< of these, those whose completion no barrier has waited for yet
  u32 flights = 0;           ///< how many of these
  Failure closest = Failure::Missing;
  ExecutedFence closest_fence{};
  ExecutedFence right[2]{};                   ///< the last one that removed it anywhere, by part
  std::size_t finding = kNone;                ///< that reports it
  bool use_pending = false;                   ///< what it leads to was given back, and not used yet
  std::vector<std::pair<u32, u64>> spared{};  ///< processors, and pages that they hold no more
  std::list<Obligation>::iterator self{};
  Task* task = nullptr;                       ///< whose operation stored it
  std::list<Obligation*>::iterator opened{};  ///< in its task's list, until it is settled
  RangeIndex<Obligation>::Handle place{};     ///< in its VM's index
  RangeIndex<Obligation>::Handle target{};    ///< in the index of host memory
  bool has_target = false;
  u64 seats[kLooks] = {};  ///< in the agendas; 0: in none

  u64 held() const { return left[0] | left[1] | left[2]; }
  /// Processors that hold only what was merged.
  u64 merged() const { return left[1] & ~left[0]; }
  /// A processor that holds it takes spurious faults, until it executes the fence.
  bool makes_fault() const { return need == Demand::Need::Tolerable && change != Change::Resized; }
  bool is_reported() const { return finding != kNone; }
  bool is_closed() const { return held() == 0 && flights == 0; }
  bool is_at_the_place_of(const Obligation& other) const {
    return start == other.start && level == other.level && table == other.table;
  }
  bool holds(u32 processor, u64 gpa) const {
    if ((held() & bit(processor)) == 0 || gpa - start >= bytes) return false;
    const std::pair page(processor, gpa >> addrspace::kFrameShift);
    return std::find(spared.begin(), spared.end(), page) == spared.end();
  }
  u64 end() const { return start + bytes; }
  /// The host memory that it leads to.
  u64 target_bytes(const Vm& shape) const {
    return old.kind == models::EntryKind::Table ? shape.nested.geometry.page_bytes() : bytes;
  }
};

/// What an instruction would do to an obligation on a processor where it is ordered after the
/// store.
struct Effect {
  u8 parts = 0;                       ///< what it removes
  Failure miss = Failure::WrongKind;  ///< if that is nothing
};
Effect effect_of(const models::FenceRequest& request, const Obligation& obligation, const Vm& vm);
/// Does the instruction act on this VM's tags?
bool has_tag(const models::FenceRequest& request, const Vm& vm);
/// Would the operand be right, if it were shifted otherwise?
inline constexpr unsigned kWrongShifts[] = {2, 4, 10, 12};
bool is_unshifted(const models::FenceRequest& request, const Obligation& obligation);

/// No two operations have the same; nor with the number of a processor added.
inline u64 key_of(models::FenceOp op) { return reinterpret_cast<std::uintptr_t>(op.row()); }
static_assert(sizeof(models::FenceRow) >= kMostProcessors);

inline const models::FenceRow& row_of(const models::FenceRequest& request) { return *request.op; }

}  // namespace nestwalk::checker
