// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the software on a machine is like: a guest, and the hypervisor under it. What their work
// costs beside the memory that they touch is in the machine's shape.
#pragma once

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "nestwalk/addrspace/area.hpp"
#include "nestwalk/addrspace/fence.hpp"
#include "nestwalk/models/machine/machine_shape.hpp"

namespace nestwalk::software {

using addrspace::Gpa;
using addrspace::Gva;
using addrspace::Hpa;
using addrspace::kFrameBytes;
using addrspace::u16;
using addrspace::u32;
using addrspace::u64;
using addrspace::u8;
using models::Cycle;

enum class GuestTables : u8 {
  None,        ///< the guest does not translate: its accesses are at guest-physical addresses
  FirstTouch,  ///< the guest backs a page when it touches it, with the next frame that is free
  Recorded,    ///< likewise, with the guest-physical page that the trace names
  Replayed,    ///< the tables that the trace carries
};
inline constexpr const char* kGuestTablesNames[] = {"none", "first-touch", "recorded", "replayed"};

/// Does the guest's kernel run, and build tables?
constexpr bool has_kernel(GuestTables tables) {
  return tables == GuestTables::FirstTouch || tables == GuestTables::Recorded;
}

/// Which of its free frames the guest takes next.
enum class Placement : u8 {
  Linear,  ///< from the lowest up
  Random,  ///< any, as after a long time of running
  Buddy,   ///< from the smallest free block, as Linux does
};
inline constexpr const char* kPlacementNames[] = {"linear", "random", "buddy"};

/// Guest-physical, in whole pages of 2 MiB, in ascending order.
struct MemoryRange {
  u64 start;
  u64 bytes;
};

/// The first range that ends after an address; ranges are in ascending order, and apart.
inline std::vector<MemoryRange>::const_iterator first_beyond(const std::vector<MemoryRange>& ranges,
                                                             u64 at) {
  const auto next =
      std::upper_bound(ranges.begin(), ranges.end(), at,
                       [](u64 address, const MemoryRange& range) { return address < range.start; });
  if (next == ranges.begin()) return next;
  const auto before = std::prev(next);
  return at - before->start < before->bytes ? before : next;
}

struct GuestShape {
  GuestTables tables = GuestTables::FirstTouch;
  Placement placement = Placement::Linear;
  bool large_pages = false;  ///< 2M where nothing is mapped yet: transparent huge pages
  u8 levels = 4;             ///< of its tables
  std::vector<MemoryRange> memory = {{0, addrspace::kGiB}};
  std::vector<MemoryRange> mmio = {};     ///< pages, in it or not, that are devices'
  std::vector<MemoryRange> devices = {};  ///< where the trace says that devices are
  u64 seed = 1;                           ///< of random placement, and of what is fragmented
  u32 fragmentation = 0;  ///< buddy: of 100 blocks of 2M, so many have a frame of somebody else's
};

struct VcpuShape {
  u32 window = 1;  ///< accesses under way at a time; 1: each begins when the one before is over
};

/// What the hypervisor does to the guest's memory by itself, or for a management tool.
struct HostOperation {
  enum class Kind : u8 {
    Map,      ///< new frames, now
    Zap,      ///< frames taken away; what is touched gets new ones
    Protect,  ///< other rights
    LogStart,
    LogHarvest,
    LogStop,
    Inflate,  ///< frames taken away for good: a balloon
    Deflate,  ///< until they are promised again
  };
  static constexpr std::size_t kKinds = 8;
  Kind kind = Kind::Map;
  Gpa gpa;
  u64 bytes = 0;
  addrspace::Access access = addrspace::kRwx;  ///< protect: what stays permitted
};
/// Of HostOperation::Kind.
inline constexpr const char* kOperationNames[HostOperation::kKinds] = {
    "map", "zap", "protect", "log_start", "log_harvest", "log_stop", "inflate", "deflate"};

/// At a time, and again.
struct ScheduledOperation {
  HostOperation operation;
  Cycle at = 0;     ///< from the start of the run
  Cycle every = 0;  ///< from one time to the next
  u64 times = 1;
};

struct HypervisorShape {
  /// Of the engine. Else the guest has the machine for itself, or the second stage is recorded.
  bool second_stage = true;
  addrspace::Backend backend = addrspace::Backend::lazy();
  u8 levels = 4;  ///< of its tables, as many as a walk reads
  bool hardware_dirty = true;
  addrspace::FencePolicy fences = addrspace::FencePolicy::Precise;
  std::vector<addrspace::FenceRule> rules;   ///< of fences, where it has its own
  u64 drop_fence = 0;                        ///< the instruction that is left out, from 1
  std::vector<ScheduledOperation> schedule;  ///< of its own operations, by the clock
};

}  // namespace nestwalk::software
