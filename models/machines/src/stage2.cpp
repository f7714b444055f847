// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AArch64: both stages, since there is one extension of virtualization.

#include <algorithm>
#include <bit>

#include "nestwalk/machines/extensions.hpp"
#include "row.hpp"

namespace nestwalk::models {
namespace {

using addrspace::FenceOperand;
using addrspace::Granule;
namespace stage2 = addrspace::stage2;
using Need = Demand::Need;
using Stage1Of4K = addrspace::Stage1<Granule::k4K>;
using Stage2Of4K = addrspace::Stage2<Granule::k4K>;

// The guest's own paging ------------------------------------------------------------------------

// Four levels, or three.
constexpr unsigned bits_of(unsigned levels) { return levels >= 4 ? 48 : 39; }
bool has_levels(unsigned levels) { return levels == 3 || levels == 4; }

template <addrspace::VaHalf kHalf>
std::unique_ptr<software::GuestSpace> guest_space(unsigned levels, software::TableFrames& frames) {
  return software::made_guest_space<Stage1Of4K>(Stage1Of4K::geometry(bits_of(levels), kHalf),
                                                levels, frames);
}

// FEAT_HAFDBS keeps both; without it, a clear AF faults and DBM means nothing. AF, but not the
// dirty state, may be set by speculation (Arm ARM D8, "Hardware management of the Access flag").
constexpr StageRulesPair kRules = {{.accessed = Upkeep::Faults,
                                    .flag_before_permission = true,
                                    .kernel_executes_what_users_read = true},
                                   {.accessed = Upkeep::Updated,
                                    .dirty = Upkeep::Updated,
                                    .flag_before_permission = true,
                                    .kernel_executes_what_users_read = true,
                                    .speculation_sets_accessed = true}};

// Faults ----------------------------------------------------------------------------------------

// Arm ARM, "ISS encoding for an exception from a Data Abort": the fault status code. Arm counts
// levels from the other end: its level is 3 minus ours, -1 for the fifth.
u64 fault_status(const Fault& fault) {
  const unsigned level = 3u - fault.level;  // of -1, the low bits count differently
  const bool minus_one = fault.level == 4;
  switch (fault.kind) {
    case FaultKind::BadAddress:
      return 0b000100;  // a translation fault at level 0
    case FaultKind::NotPresent:
      return minus_one ? 0b101011 : 0b000100 | level;
    case FaultKind::Malformed:
      return minus_one ? 0b101001 : 0b000000 | level;  // address size
    case FaultKind::AccessFlag:
      return 0b001000 | level;
    case FaultKind::Permission:
      return 0b001100 | level;
    case FaultKind::BusError:
      if (fault.of_data) return 0b010000;              // external abort, not on a walk
      return minus_one ? 0b010011 : 0b010100 | level;  // on a walk
    case FaultKind::None:
      break;
  }
  return 0;
}

// EL1 takes the faults of the first stage, EL2 those of the second.
FaultReport report(const Fault& fault) {
  constexpr u64 kInstructionAbort = 0x20, kDataAbort = 0x24;  // from a lower Exception level
  const bool fetch = fault.access == AccessKind::Execute;
  // An access of EL1 that EL1 takes comes from the same level: one more.
  const u64 same_level = !fault.nested && !fault.user ? 1 : 0;
  const bool write = fault.for_table ? fault.table_write : fault.access == AccessKind::Write;
  const u64 status = fault_status(fault) | bit(7, fault.for_table) | bit(6, write && !fetch);
  const u64 syndrome =
      ((fetch ? kInstructionAbort : kDataAbort) + same_level) << 26 | bit(25) | status;
  FaultReport made{.event = fetch ? "instruction abort" : "data abort",
                   .to_hypervisor = fault.nested};
  if (fault.nested) {
    // IPA[51:12] in bits 43:4.
    made.registers = {{{"ESR_EL2", syndrome},
                       {"FAR_EL2", fault.virtual_address},
                       {"HPFAR_EL2", fault.guest_physical >> 12 << 4}}};
  } else {
    made.registers = {{{"ESR_EL1", syndrome}, {"FAR_EL1", fault.virtual_address}}};
  }
  return made;
}

// The second stage ------------------------------------------------------------------------------

// S2AP[1] of an entry that forbids writes is no flag, but would permit them.
u64 with_flags(u64 entry, u64 flags) {
  return entry | (Stage2Of4K::is_writable(entry) ? flags : flags & ~Stage2Of4K::kWritable);
}

constexpr const char* kArm = "Arm ARM D8";
constexpr const char* kTlbMaintenance = "TLB maintenance";
constexpr const char* kBreak = "Using break-before-make when updating translation table entries";
constexpr const char* kByIpa =
    "DSB ISHST; TLBI IPAS2(L)E1IS; DSB ISH; TLBI VMALLE1IS; DSB ISH (or TLBI VMALLS12E1IS)";
constexpr const char* kBroken =
    "an invalid entry; DSB ISHST; TLBI IPAS2E1IS; DSB ISH; TLBI VMALLE1IS; DSB ISH; the new entry";
constexpr const char* kLocalIpa =
    "on the processor that faults: DSB ISHST; TLBI IPAS2(L)E1; DSB; TLBI VMALLE1; DSB";

constexpr Demands kDemands = {
    .none = {Need::Nothing, false, "nothing", kArm, kTlbMaintenance},
    .made_valid = {Need::Visible, false, "DSB ISHST: what is invalid is not cached", kArm,
                   kTlbMaintenance},
    .more_permission = {Need::Tolerable, false, kLocalIpa, kArm, kTlbMaintenance},
    .less_permission = {Need::Fence, false, kByIpa, kArm, kTlbMaintenance},
    .unmapped = {Need::Fence, false, kByIpa, kArm, kTlbMaintenance},
    .moved = {Need::Fence, true, kBroken, kArm, kBreak},
    .memory_type = {Need::Fence, true, kBroken, kArm, kBreak},
    .cleaned = {Need::Fence, false, kByIpa, kArm, "Hardware management of the dirty state"},
    .resized = {Need::Fence, true, kBroken, kArm, kBreak},
    .table =
        {Need::Fence, true,
         "DSB ISHST; TLBI IPAS2E1IS (not IPAS2LE1IS) under the table; DSB ISH; TLBI VMALLE1IS; DSB "
         "ISH (or TLBI VMALLS12E1IS)",
         kArm, kTlbMaintenance},
    .retired = {Need::Fence, false, "TLBI VMALLS12E1IS; DSB ISH", kArm, kTlbMaintenance},
};

bool parse(const Words& words, addrspace::Fence& fence) {
  if (words == Words{"dsb", "st"}) {
    fence.op = stage2::kDsbIshst;
    return true;
  }
  for (const FenceOp op : stage2::kFences) {
    const std::size_t names = words_in_front(words, op->name.c_str());
    if (names == 0) continue;
    const auto values = numbers_after(words, names);
    if (!values || values->size() != (op->operand == FenceOperand::None ? 0u : 1u)) return false;
    fence.op = op;
    if (!values->empty()) fence.operand = values->front();
    const bool range =
        op->operand == FenceOperand::IpaRange || op->operand == FenceOperand::VaRange;
    return !range || (fence.operand >> 46 & 3) != 0;  // no such granule
  }
  return false;
}

addrspace::Capabilities capabilities(bool hardware_dirty) {
  addrspace::Capabilities machine = common_capabilities(hardware_dirty);
  machine.granules = 0b111;
  return machine;
}

// The start level follows from the size of the IPA: the least that begins there, but 40 bits, as
// KVM has them by default, in the place of 35; more if the guest's memory needs them.
std::unique_ptr<software::HostSpace> host_space(const software::HypervisorShape& shape, u64 bytes,
                                                u16 vmid, software::Recording& recording) {
  struct Sizes {
    unsigned least, most;
  };
  static constexpr Sizes kOfLevels[] = {{32, 34}, {40, 43}, {44, 48}};
  const std::string levels = std::to_string(shape.levels) + " levels";
  if (shape.levels < 2 || shape.levels > 4) {
    throw software::ShapeError("there are no host tables with " + levels);
  }
  const Sizes sizes = kOfLevels[shape.levels - 2];
  const unsigned needed = static_cast<unsigned>(std::bit_width(bytes - 1));
  const unsigned bits = std::clamp(needed, sizes.least, sizes.most);
  return software::made_host_space<Stage2Of4K>(Stage2Of4K::geometry(bits), levels, bytes, vmid,
                                               recording);
}

template <class F>
std::optional<LogFormat::Made> for_log(u64 bits, addrspace::Capabilities machine) {
  machine.physical_bits = 48;
  if (bits > 48) return std::nullopt;
  return made_for_log<F>(F::geometry(static_cast<unsigned>(bits)), machine);
}
constexpr LogFormat kLogFormats[] = {
    {"stage2-4k", "ipa", 40, for_log<Stage2Of4K>},
    {"stage2-16k", "ipa", 40, for_log<addrspace::Stage2<Granule::k16K>>},
    {"stage2-64k", "ipa", 40, for_log<addrspace::Stage2<Granule::k64K>>},
};

bool may_differ(u64 difference) {
  constexpr u64 kCommonNotPrivate = 1;
  return (difference & ~kCommonNotPrivate) == 0;
}

}  // namespace

constinit const Isa kAArch64 = {
    .architecture = Architecture::AArch64,
    .name = "aarch64",
    .rules = kRules,
    .fault_forgets = false,
    .has_halves = true,
    .fences_take_ranges = true,
    .guest_fences = {stage2::kVmalle1.is, stage2::kVaae1.is, stage2::kAside1.is, stage2::kVae1.is},
    .fences = {},
    .most_asids = 8191,  // of 16 bits; the models' caches can tell some thousands apart
    .most_gpa_bits = 56,
    .entries = {page_in_51_12, with_all_flags},
    .report = report,
    .has_levels = has_levels,
    .guest_space = guest_space<addrspace::VaHalf::Lower>,
    .upper_space = guest_space<addrspace::VaHalf::Upper>,
};

constinit const Extension kStage2 = {
    .name = "stage2",
    .isa = &kAArch64,
    .fences = stage2::kFences,
    .fence_feature = &stage2::kTlbiRange,
    .whole_vm = stage2::kVmalls12e1.is,
    .parse = parse,
    .emit = emit_for<stage2::Extension>,
    .emit_rollover = rollover_for<stage2::Extension>,
    .emit_first_entry = first_entry_for<stage2::Extension>,
    .emit_vcpu_switch = vcpu_switch_for<stage2::Extension>,
    .rules = kRules,
    .entries = {page_in_51_12, with_flags},
    .report = report,
    .tags_by_root = false,
    .fault_forgets = false,
    .confirms_faults = false,
    .combine = stricter_type,
    .capabilities = capabilities,
    .host_space = host_space,
    .demands = kDemands,
    .needs_barriers = true,
    .break_before_make = true,
    .unaccessed_is_not_cached = true,  // "Access flag faults are not cached"
    .names_addresses = true,
    .whole_vm_includes_linear = true,
    .vmid_0_is_the_hosts = false,
    // At EL2, the registers of the EL1&0 regime are not used for speculative accesses, but walks
    // that began before may go on until a DSB ("Out-of-context translation regimes").
    .walks_outside = WalksOutside::UntilBarrier,
    .accessed_flag = Stage2Of4K::kAccessed,
    .dirty_flag = Stage2Of4K::kWritable,
    .vmid_bits = 16,
    .log_formats = kLogFormats,
    .log_flag = "ns",
    .flagged = {.operand_tag = u64{1} << 63},
    .may_differ = may_differ,
    .register_note = " or another VTTBR_EL2 of this VM",
};

}  // namespace nestwalk::models
