// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// x86-64: what guests do with their own page tables, whatever extension they run on.

#include "nestwalk/machines/extensions.hpp"
#include "row.hpp"

namespace nestwalk::models {
namespace {

using addrspace::LongMode;
namespace x86_64 = addrspace::x86_64;

bool has_levels(unsigned levels) { return LongMode::geometry(levels).ok(); }
std::unique_ptr<software::GuestSpace> guest_space(unsigned levels, software::TableFrames& frames) {
  return software::made_guest_space<LongMode>(LongMode::geometry(levels), levels, frames);
}

// Every level has flags, always kept by hardware; speculation sets accessed flags (Intel SDM
// vol. 3A, "Accessed and Dirty Flags" and "Details of TLB Use": translations for prefetches and
// speculative execution are cached, and none is while an accessed flag on its way is clear).
constexpr StageRules kRules{.accessed = Upkeep::Updated,
                            .dirty = Upkeep::Updated,
                            .accessed_in_tables = true,
                            .speculation_sets_accessed = true};

// Intel SDM vol. 3A, "Page-Fault Exceptions": P, W/R, U/S, RSVD, I/D.
FaultReport report(const Fault& fault) {
  if (fault.kind == FaultKind::BusError) return {.event = "bus error"};
  if (fault.kind == FaultKind::BadAddress) return {.event = "general protection"};
  const bool reserved = fault.kind == FaultKind::Malformed;
  const u64 error_code = bit(0, reserved || fault.kind == FaultKind::Permission) |
                         bit(1, fault.access == AccessKind::Write) | bit(2, fault.user) |
                         bit(3, reserved) | bit(4, fault.access == AccessKind::Execute);
  return {.event = "page fault",
          .registers = {{{"error code", error_code}, {"CR2", fault.virtual_address}}}};
}

}  // namespace

constinit const Isa kX86_64 = {
    .architecture = Architecture::X86_64,
    .name = "x86-64",
    .rules = {kRules, kRules},
    // Intel SDM vol. 3A, "Operations that Invalidate TLBs and Paging-Structure Caches".
    .fault_forgets = true,
    .has_halves = false,
    .fences_take_ranges = false,
    .guest_fences = {x86_64::kInvpcidAll, x86_64::kInvlpg, x86_64::kMovCr3, x86_64::kInvlpg},
    .fences = x86_64::kFences,
    .most_asids = 4095,  // PCIDs have 12 bits
    .most_gpa_bits = 52,
    .entries = {page_in_51_12, with_all_flags},
    .report = report,
    .has_levels = has_levels,
    .guest_space = guest_space,
    .upper_space = nullptr,
};

}  // namespace nestwalk::models
