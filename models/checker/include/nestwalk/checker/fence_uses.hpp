// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How often each fence of the hypervisor was executed, whether it was needed, and what it made
// processors look up again: counts, which sim gives prices.
#pragma once

#include <array>
#include <map>
#include <unordered_map>
#include <vector>

#include "nestwalk/checker/events.hpp"

namespace nestwalk::checker {

enum class Use : u8 {
  Needed,  ///< or insufficient: then there is a finding besides
  OverBroad,
  Excess,
};
inline constexpr unsigned kUses = 3;

/// Fences of one instruction, at one place, in one operation.
struct FenceUse {
  struct Counts {
    u64 fences = 0;
    u64 interrupts = 0;  ///< executed by a processor that was in a guest: it was interrupted
    u64 covered = 0;     ///< entries that needed them
    u64 refills = 0;     ///< pages that a processor used before and after, with TLBs that lose none
    /// Processors, fence by fence, that had been in the guest since all of it was removed there: so
    /// many TLBs may have to be filled again.
    u64 emptied = 0;
    u64 pages = 0;  ///< of 4 KiB, processor by processor, that fences by address took there
  };
  models::FenceOp op;
  u32 operation = 0;  ///< a number of the checker's
  Moment first{};
  std::array<Counts, kUses> counts{};  ///< by Use

  const Counts& of(Use use) const { return counts[static_cast<unsigned>(use)]; }
};

class FenceUses {
 public:
  /// A fence that was executed. Its number.
  u32 add(const Moment& when, models::FenceOp op, u32 operation, bool interrupts);
  void judge(u32 fence, Use use) { fences_[fence].use = use; }
  void cover(u32 fence, u64 entries) { fences_[fence].covered = entries; }

  /// The processor is in the guest from now on, or was told to be.
  void entered(u32 vm, u32 processor) { held_[{vm, processor}].may_hold = true; }
  /// The fence removes what the processor may hold of the VM: all, or of these addresses.
  void remove(u32 fence, u32 vm, u32 processor, bool inside);
  void remove(u32 fence, u32 vm, u32 processor, u64 gpa, u64 bytes);
  void accessed(u32 vm, u32 processor, u64 gpa);
  /// The VM ended.
  void forget(u32 vm);

  /// Did guests' accesses say what was looked up again? Otherwise, `emptied` and `pages` bound it.
  bool knows_accesses() const { return knows_accesses_; }
  /// In the order in which they came first.
  std::vector<FenceUse> uses() const;

 private:
  struct Fence {
    u32 place;
    Use use = Use::Needed;
    bool interrupts = false;
    u32 emptied = 0;
    u64 covered = 0, refills = 0, pages = 0;
  };
  /// Of one VM on one processor.
  struct Held {
    bool may_hold = false;                 ///< anything, since all was removed
    std::unordered_map<u64, u32> used;     ///< pages: fences before the last access to each
    std::unordered_map<u64, u32> removed;  ///< pages of these: the fence that named them first
    std::vector<u32> emptied_by;           ///< fences of all, in order
  };
  using PlaceKey = std::array<u64, 3>;  ///< operation, instruction, place in the hypervisor

  std::vector<Fence> fences_;
  std::vector<FenceUse> places_;
  std::map<PlaceKey, u32> numbers_;
  std::map<std::pair<u32, u32>, Held> held_;
  bool knows_accesses_ = false;
};

}  // namespace nestwalk::checker
