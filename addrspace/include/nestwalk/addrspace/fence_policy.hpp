// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Which instructions follow a change, as data: the policies that there are, and rules for one's
// own.
#pragma once

#include "nestwalk/addrspace/extension/features.hpp"
#include "nestwalk/addrspace/invalidation.hpp"

namespace nestwalk::addrspace {

/// Above so many instructions for one operation, Precise takes the whole VM; and for more separate
/// runs than an Invalidation lists.
inline constexpr u32 kMostSelectiveFences = 512;

/// Leaves that changed in one of some ways, and the instructions for them, in order. Those that
/// name an address are issued for each of the leaves, others once.
struct FenceRule {
  static constexpr unsigned kMostOps = 8;
  struct Ops {
    FenceOp ops[kMostOps] = {};
    u8 count = 0;
    constexpr const FenceOp* begin() const { return ops; }
    constexpr const FenceOp* end() const { return ops + count; }
  };
  Changes changes{};
  bool tables = false;  ///< and where a table was unlinked
  Ops issue{};
  u32 most = kMostSelectiveFences;  ///< for more leaves: `beyond`
  Ops beyond{};
};

struct FencePolicy {
  enum class Source : u8 { Manual, Original030, Rules, Original0517 };
  const char* name = "";
  Source source = Source::Manual;
  /// Above so many instructions for one operation: the whole VM. 0: always.
  u32 most_selective = kMostSelectiveFences;
  const FenceFeature* feature = nullptr;  ///< used where the machine has it
  bool deferred = false;                  ///< not before the next VM entry: deferred.hpp
  bool interrupts = true;  ///< what does not broadcast is executed on the other processors, too
  const FenceRule* rules = nullptr;  ///< of Source::Rules; the first that fits a run counts
  u32 rule_count = 0;

  /// Some version of axaddrspace: to be compared, and not to be run.
  constexpr bool is_original() const {
    return source == Source::Original030 || source == Source::Original0517;
  }

  static const FencePolicy Precise;   ///< as narrow as the rules allow
  static const FencePolicy Context;   ///< the whole VM, whenever anything is needed
  static const FencePolicy Batched;   ///< Precise for a few pages
  static const FencePolicy Range;     ///< Precise, by range instructions
  static const FencePolicy Svinval;   ///< Precise, by Svinval
  static const FencePolicy Deferred;  ///< Precise, at the next VM entry
  /// What axaddrspace 0.3.0 issues, for comparison: the wrong kind everywhere.
  static const FencePolicy Original030;
  /// What axaddrspace 0.5.17 issues with axvm: of the right kind on RISC-V alone, and there on one
  /// hart.
  static const FencePolicy Original0517;
};
inline constexpr FencePolicy FencePolicy::Precise{.name = "precise"};
inline constexpr FencePolicy FencePolicy::Context{.name = "context", .most_selective = 0};
inline constexpr FencePolicy FencePolicy::Batched{.name = "batched", .most_selective = 32};
inline constexpr FencePolicy FencePolicy::Range{.name = "range", .feature = &stage2::kTlbiRange};
inline constexpr FencePolicy FencePolicy::Svinval{.name = "svinval", .feature = &hext::kSvinval};
inline constexpr FencePolicy FencePolicy::Deferred{.name = "deferred", .deferred = true};
inline constexpr FencePolicy FencePolicy::Original030{
    .name = "original-0.3.0", .source = FencePolicy::Source::Original030, .interrupts = false};
inline constexpr FencePolicy FencePolicy::Original0517{
    .name = "original-0.5.17", .source = FencePolicy::Source::Original0517, .interrupts = false};

inline constexpr const FencePolicy* kFencePolicies[] = {
    &FencePolicy::Precise,     &FencePolicy::Context,     &FencePolicy::Batched,
    &FencePolicy::Range,       &FencePolicy::Svinval,     &FencePolicy::Deferred,
    &FencePolicy::Original030, &FencePolicy::Original0517};

inline const char* to_string(const FencePolicy& policy) { return policy.name; }

}  // namespace nestwalk::addrspace
