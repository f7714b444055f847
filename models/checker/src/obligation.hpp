// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a store left behind in the caches, and what a fence does about it.
#pragma once

#include "nestwalk/checker/finding.hpp"
#include "nestwalk/models/fence_table.hpp"

namespace nestwalk::checker {

constexpr u64 bit(u32 processor) { return u64{1} << processor; }

/// Copies of one entry, by the structure that may hold them.
enum Part : u8 {
  kNested = 1,    ///< second-stage entries
  kCombined = 2,  ///< merged with the guest's own translation
  kLinear = 4,    ///< the guest's own translation alone
};
inline constexpr unsigned kParts = 3;

struct Obligation {
  /// A fence that was issued and not waited for yet.
  struct InFlight {
    u32 issuer;
    u8 part;
    u64 processors;
  };
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
  u32 operation = 0;              ///< which of the names
  u64 serial = 0;                 ///< which operation of all
  std::size_t issued_before = 0;  ///< fences of the operation that came before the store
  bool returned = false;          ///< the operation did
  u64 left[kParts] = {};          ///< processors that may hold it, by part
  u64 sent[kParts] = {};          ///< processors to which a fence for it went
  u64 visible = 0;  ///< processors whose fences count: the store is ordered before them
  u64 ordered = 0;  ///< RISC-V: processors whose HINVAL counts, after an SFENCE.W.INVAL
  std::vector<InFlight> in_flight{};
  Failure closest = Failure::Missing;
  models::FenceRequest closest_fence{};
  std::size_t finding = kNone;  ///< that reports it
  bool watched = false;         ///< and accesses are compared with it
  bool freed = false;           ///< reported as used after free

  u64 held() const { return left[0] | left[1] | left[2]; }
  bool holds(u32 processor, u64 gpa) const {
    return (held() & bit(processor)) != 0 && gpa - start < bytes;
  }
  u64 end() const { return start + bytes; }
  bool is_open() const { return held() != 0 || (need == Demand::Need::Visible && visible == 0); }
};

/// What an instruction would do to an obligation on a processor where it is ordered after the
/// store.
struct Effect {
  u8 parts = 0;                       ///< what it removes
  Failure miss = Failure::WrongKind;  ///< if that is nothing
};
Effect effect_of(const models::FenceRequest& request, const Obligation& obligation, const Vm& vm);

inline const models::FenceRow& row_of(const models::FenceRequest& request) {
  return models::kFenceRows[static_cast<unsigned>(request.kind)];
}
/// x86: bits 51:12 of the EPTP.
constexpr u64 ep4ta(u64 root_register) {
  return root_register & addrspace::low_mask(52) & ~addrspace::low_mask(12);
}

}  // namespace nestwalk::checker
