// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the software on a machine is like: a guest, and the hypervisor under it. What their work
// costs beside the memory that they touch is in the machine's shape.
#pragma once

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

#include "nestwalk/addrspace/area.hpp"
#include "nestwalk/addrspace/fence.hpp"
#include "nestwalk/models/base/parameter.hpp"
#include "nestwalk/models/machine/machine_shape.hpp"
#include "nestwalk/models/memory/frame_policy.hpp"

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
inline constexpr models::Word<GuestTables> kGuestTables[] = {
    {"none", GuestTables::None},
    {"first-touch", GuestTables::FirstTouch},
    {"recorded", GuestTables::Recorded},
    {"replayed", GuestTables::Replayed}};

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
inline constexpr models::Word<Placement> kPlacements[] = {
    {"linear", Placement::Linear}, {"random", Placement::Random}, {"buddy", Placement::Buddy}};

inline constexpr u64 kLargePageBytes = u64{2} << 20;

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
  models::FramePolicyKind frames{};
  u32 fragmentation = 0;  ///< of 100
  bool large_pages = false;
  u8 levels = 4;
  std::vector<MemoryRange> memory = {{0, addrspace::kGiB}};
  u64 seed = 1;                           ///< of what is fragmented, too
  std::vector<MemoryRange> mmio = {};     ///< in the memory or not
  std::vector<MemoryRange> devices = {};  ///< where the trace says that devices are

  static constexpr auto parameters() {
    using namespace models::parameter;
    return std::tuple{
        Row{"guest.tables", &GuestShape::tables, OrAuto{OneOf{kGuestTables}},
            "the guest's own page tables: none, built when a page is touched, likewise with the "
            "guest-physical pages that the trace names, or those that the trace carries; auto: "
            "what the trace has and every machine can play: none, recorded or first-touch"},
        Row{"guest.placement", &GuestShape::placement, OneOf{kPlacements},
            "which free frame a first touch takes: the lowest, any, or one of the smallest free "
            "block"},
        Row{"guest.frames", &GuestShape::frames, Registered{},
            "frame allocation policy: next (the next free frame, in the order of guest.placement), "
            "reservation (the first fault in 8 neighbouring pages reserves 8 contiguous frames, as "
            "PTEMagnet), or contiguous-tables (the page tables of each 1 GiB lie beside each "
            "other, in the order of its pages, as ASAP)"},
        Row{"guest.fragmentation", &GuestShape::fragmentation, Number{0, 100},
            "buddy: of 100 blocks of 2M, so many have a frame that is somebody else's", kInPerCent},
        Row{"guest.large_pages", &GuestShape::large_pages, Flag{},
            "2M pages where a first touch finds a whole 2M free"},
        Row{"guest.levels", &GuestShape::levels, OrAuto{Number{3, 5}},
            "of the guest's page tables; auto: as the trace has them, else 4"},
        Row{"guest.memory", &GuestShape::memory,
            OrAuto{SizeOrRanges{kLargePageBytes, u64{1} << 47, kLargePageBytes}},
            "guest-physical memory: so much from 0, or where; auto: what the trace says, else 4G"},
        Row{"guest.seed", &GuestShape::seed, Number{0, ~u64{0}},
            "seed of random placement and of guest.fragmentation"},
        Row{"hypervisor.mmio", &GuestShape::mmio, Ranges{kFrameBytes},
            "guest-physical addresses of devices, in pages: each access there exits and is "
            "emulated"},
    };
  }
};

/// Which loads have addresses that came out of the load before them.
enum class Dependences : u8 {
  Trace,  ///< those of which the trace says so
  All,
};
inline constexpr models::Word<Dependences> kDependences[] = {{"trace", Dependences::Trace},
                                                             {"all", Dependences::All}};

/// For results, beside the core's own words.
constexpr const char* note_of(Dependences dependences) {
  return dependences == Dependences::All ? ", all loads dependent" : "";
}

/// What is assumed of the guest's program, as the trace cannot say it.
struct ProgramShape {
  Dependences dependences = Dependences::Trace;

  static constexpr auto parameters() {
    using namespace models::parameter;
    return std::tuple{Row{
        "core.dependences", &ProgramShape::dependences, OneOf{kDependences},
        "trace: a load waits for the one before it where the trace has a dependence; all: every "
        "load does. Of a trace without dependences, these bound how much overlaps"}};
  }
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
inline constexpr models::Word<HostOperation::Kind> kOperations[HostOperation::kKinds] = {
    {"map", HostOperation::Kind::Map},
    {"zap", HostOperation::Kind::Zap},
    {"protect", HostOperation::Kind::Protect},
    {"log_start", HostOperation::Kind::LogStart},
    {"log_harvest", HostOperation::Kind::LogHarvest},
    {"log_stop", HostOperation::Kind::LogStop},
    {"inflate", HostOperation::Kind::Inflate},
    {"deflate", HostOperation::Kind::Deflate}};

/// At a time, and again.
struct ScheduledOperation {
  HostOperation operation;
  Cycle at = 0;     ///< from the start of the run
  Cycle every = 0;  ///< from one time to the next
  u64 times = 1;
};

/// When the guest's memory gets frames.
enum class Backing : u8 {
  Eager,     ///< before the guest runs
  Lazy,      ///< when it touches them
  Linear,    ///< before it runs, in one piece
  None,      ///< there is no hypervisor: the guest has the machine for itself
  Replayed,  ///< as the trace's second stage says
};
inline constexpr models::Word<Backing> kBackings[] = {{"eager", Backing::Eager},
                                                      {"lazy", Backing::Lazy},
                                                      {"linear", Backing::Linear},
                                                      {"none", Backing::None},
                                                      {"replayed", Backing::Replayed}};

/// Fences by rules of one's own.
struct FenceRules {
  bool interrupts = true;
  bool deferred = false;
  std::vector<addrspace::FenceRule> rules;
};
/// Stands for them among the policies.
inline constexpr addrspace::FencePolicy kOwnRules{.name = "rules",
                                                  .source = addrspace::FencePolicy::Source::Rules};
/// Where vCPUs have VMIDs: as Precise, but who would be flushed gets another one instead.
inline constexpr addrspace::FencePolicy kFreshVmid{.name = "fresh-vmid"};
inline constexpr auto kFencePolicies = [] {
  std::array<models::Word<const addrspace::FencePolicy*>, std::size(addrspace::kFencePolicies) + 2>
      words{};
  std::size_t n = 0;
  for (const auto* const each : addrspace::kFencePolicies) words[n++] = {each->name, each};
  words[n++] = {kFreshVmid.name, &kFreshVmid};
  words[n] = {kOwnRules.name, &kOwnRules};
  return words;
}();

struct HypervisorShape {
  Backing backing = Backing::Lazy;
  u8 fault_around = 0;
  bool large_pages = false;
  u8 levels = 4;
  bool hardware_dirty = true;
  bool contiguous = false;
  const addrspace::FencePolicy* fences = &addrspace::FencePolicy::Precise;
  u32 fence_threshold = addrspace::FencePolicy::Batched.most_selective;
  FenceRules fence_rules;
  u64 drop_fence = 0;
  std::vector<ScheduledOperation> schedule;

  /// Of the engine. Else the guest has the machine for itself, or the second stage is recorded.
  bool has_second_stage() const { return backing != Backing::None && backing != Backing::Replayed; }
  addrspace::Backend backend() const {
    const u8 level = large_pages ? 1 : 0;
    if (backing == Backing::Linear) return addrspace::Backend::linear(Hpa(0));
    return backing == Backing::Eager ? addrspace::Backend::eager(level)
                                     : addrspace::Backend::lazy(fault_around, level);
  }
  /// Points to the rules: for as long as this does not change.
  addrspace::FencePolicy policy() const {
    addrspace::FencePolicy policy = *fences;
    if (fences == &addrspace::FencePolicy::Batched) policy.most_selective = fence_threshold;
    if (fences == &kOwnRules) {
      policy.interrupts = fence_rules.interrupts;
      policy.deferred = fence_rules.deferred;
      policy.rules = fence_rules.rules.data();
      policy.rule_count = static_cast<u32>(fence_rules.rules.size());
    }
    return policy;
  }

  static constexpr auto parameters() {
    using namespace models::parameter;
    return std::tuple{
        Row{"hypervisor.backing", &HypervisorShape::backing, OneOf{kBackings},
            "when the guest's memory gets frames: before it runs, when it touches them, or before "
            "it runs and in one piece; none: there is no hypervisor, and one stage; replayed: the "
            "second stage's tables are those of the trace, too (with guest.tables=replayed)"},
        Row{"hypervisor.fault_around", &HypervisorShape::fault_around, Number{0, 9},
            "lazy: 2^n pages for one fault"},
        Row{"hypervisor.large_pages", &HypervisorShape::large_pages, Flag{},
            "eager and lazy: 2M leaves where a whole 2M is free"},
        Row{"hypervisor.contiguous", &HypervisorShape::contiguous, Flag{},
            "aligned groups of 16 pages (4K granule) whose memory is contiguous say so in the "
            "hypervisor's tables, and a TLB may hold each as one entry of 64K: AArch64's "
            "contiguous "
            "bit, RISC-V's NAPOT pages. Eager memory is asked for in such runs; lazy memory where "
            "hypervisor.fault_around is 4 or more"},
        Row{"hypervisor.levels", &HypervisorShape::levels, Number{2, 5},
            "of the hypervisor's page tables, which a walk reads; AArch64: 2 for an IPA of 32 to "
            "34 bits, 3 for 40 to 43, 4 for 44 to 48, as the guest's memory needs"},
        Row{"hypervisor.hardware_dirty", &HypervisorShape::hardware_dirty, OrAuto{Flag{}},
            "the walker sets accessed and dirty flags in the hypervisor's tables; auto: if the "
            "machine does (paging.accessed_dirty)"},
        Row{"hypervisor.fences", &HypervisorShape::fences, OneOf{kFencePolicies},
            "which invalidations the engine issues: as few as the rules allow; the whole VM; pages "
            "up to a threshold, then the VM; by range instructions or Svinval where the machine "
            "has them; gathered until the VM entry; another ASID instead of a flush, on AMD; what "
            "axaddrspace 0.3.0 or 0.5.17 issues; or "
            "hypervisor.fence_rules"},
        Row{"hypervisor.fence_threshold", &HypervisorShape::fence_threshold, Number{0, 1'000'000},
            "batched: above so many instructions for one operation, the whole VM"},
        Row{"hypervisor.fence_rules", &HypervisorShape::fence_rules, Object{},
            "rules: which instructions follow which change (sim/README.md)"},
        Row{"hypervisor.drop_fence", &HypervisorShape::drop_fence, Number{0, ~u64{0}},
            "leaves out the n-th of the engine's instructions, as a mistake to be found; 0: none"},
        Row{"hypervisor.schedule", &HypervisorShape::schedule, List{},
            "its own operations by the clock: {operation, at, every, times, gpa, bytes, access} "
            "(sim/README.md)"},
    };
  }
};

/// Is the trace's order between the vCPUs kept?
inline constexpr models::Word<bool> kOrders[] = {{"recorded", true}, {"free", false}};

/// One guest, its hypervisor's policy, and how many processors it has.
struct VmShape {
  GuestShape guest;
  HypervisorShape hypervisor;
  u32 vcpus = 1;
  bool ordered = false;

  bool replays_host() const { return hypervisor.backing == Backing::Replayed; }

  static constexpr auto parameters() {
    using namespace models::parameter;
    return std::tuple{
        Row{"vcpu.order", &VmShape::ordered, OrAuto{OneOf{kOrders}},
            "between vCPUs: each comes to a record of the time when those that the trace has "
            "before it are there, or as it comes; auto: recorded, where the trace knows it"}};
  }
};

}  // namespace nestwalk::software
