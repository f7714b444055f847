// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// RISC-V: both stages, since there is one extension of virtualization.

#include "nestwalk/machines/extensions.hpp"
#include "row.hpp"

namespace nestwalk::models {
namespace {

using addrspace::By;
using addrspace::FenceOperand;
using addrspace::GStage;
using addrspace::Sv;
namespace hext = addrspace::hext;
using Need = Demand::Need;

// The guest's own paging ------------------------------------------------------------------------

u64 page_of(u64 entry) { return (entry >> 10 & addrspace::low_mask(44)) << 12; }

bool has_levels(unsigned levels) { return Sv::geometry(levels).ok(); }
std::unique_ptr<software::GuestSpace> guest_space(unsigned levels, software::TableFrames& frames) {
  return software::made_guest_space<Sv>(Sv::geometry(levels), levels, frames);
}

// Svadu, or a page fault (privileged spec, "Virtual Address Translation Process", 9). The A bit may
// be set by speculation, the D bit may not ("Addressing and Memory Protection").
constexpr StageRulesPair kRules = {
    {.accessed = Upkeep::Faults, .dirty = Upkeep::Faults},
    {.accessed = Upkeep::Updated, .dirty = Upkeep::Updated, .speculation_sets_accessed = true}};

// The second stage ------------------------------------------------------------------------------

constexpr const char* kSpec = "RISC-V privileged spec";
constexpr const char* kHfence = "Hypervisor Memory-Management Fence Instructions";
constexpr const char* kGvma = "HFENCE.GVMA for the address or the VMID, on every hart that ran it";
constexpr const char* kLazyGvma =
    "HFENCE.GVMA for the address, on the hart that faults (of new entries: none with Svvptc)";
constexpr const char* kLazy = "Supervisor Memory-Management Fence Instruction";

constexpr Demands kDemands = {
    .none = {Need::Nothing, false, "nothing", kSpec, kHfence},
    .made_valid = {Need::Tolerable, false, kLazyGvma, kSpec, kLazy},
    .more_permission = {Need::Tolerable, false, kLazyGvma, kSpec, kLazy},
    .less_permission = {Need::Fence, false, kGvma, kSpec, kHfence},
    .unmapped = {Need::Fence, false, kGvma, kSpec, kHfence},
    .moved = {Need::Fence, false, kGvma, kSpec, kHfence},
    .memory_type = {Need::Fence, false, kGvma, kSpec, kHfence},
    .cleaned = {Need::Fence, false, kGvma, kSpec, kHfence},
    .resized = {Need::Tolerable, false, "nothing while both say the same", kSpec, kLazy},
    .table = {Need::Fence, false, "HFENCE.GVMA with rs1 = x0: by address, leaves only", kSpec,
              kHfence},
    .retired = {Need::Fence, false, "HFENCE.GVMA x0, vmid and HFENCE.VVMA x0, x0", kSpec, kHfence},
};

constexpr unsigned kVmidBits = 14, kAsidBits = 16;

// rs1 and rs2, of which each may be x0 and what follows the last that is not may be left out.
bool parse(const Words& words, addrspace::Fence& fence) {
  const auto given = [&](std::size_t n) { return words.size() > n && words[n] != "zero"; };
  for (const FenceOp op : hext::kFences) {
    const std::string name = op->name.c_str();
    if (words.empty() || words[0] != name.substr(0, name.find(' '))) continue;
    if (op->operand == FenceOperand::None) {
      fence.op = op;
      return words.size() == 1;
    }
    const bool second = (op->structures & fence::kSecond) != 0;
    const bool tag = op->has(second ? fence::kVmid : fence::kAsid);
    if (words.size() > 3) return false;
    if (given(1) != (op->by != By::Nothing) || given(2) != tag) continue;
    fence.op = op;
    if (given(1)) {
      const auto value = number_in(words[1]);
      if (!value) return false;
      fence.operand = *value;
    }
    if (given(2)) {
      const auto value = number_in(words[2]);
      if (!value || *value >> (second ? kVmidBits : kAsidBits) != 0) return false;
      fence.vmid = static_cast<u16>(*value);
    }
    return true;
  }
  return false;
}

addrspace::Capabilities capabilities(bool hardware_dirty) {
  addrspace::Capabilities machine = common_capabilities(hardware_dirty);
  machine.page_memory_types = true;
  return machine;
}

std::unique_ptr<software::HostSpace> host_space(const software::HypervisorShape& shape, u64 bytes,
                                                u16 vmid, software::Recording& recording) {
  return software::made_host_space<GStage>(GStage::geometry(shape.levels),
                                           std::to_string(shape.levels) + " levels", bytes, vmid,
                                           recording);
}

template <unsigned kLevels>
std::optional<LogFormat::Made> for_log(u64, addrspace::Capabilities machine) {
  machine.physical_bits = 56;
  return made_for_log<GStage>(GStage::geometry(kLevels), machine);
}
constexpr LogFormat kLogFormats[] = {{"sv39x4", nullptr, 0, for_log<3>},
                                     {"sv48x4", nullptr, 0, for_log<4>},
                                     {"sv57x4", nullptr, 0, for_log<5>}};

bool may_differ(u64 difference) { return difference == 0; }

// Privileged spec, "Supervisor Cause Register": page faults are VS's to take, guest-page faults
// HS's.
FaultReport report(const Fault& fault) {
  struct Cause {
    u64 code;
    const char* name;
  };
  static constexpr Cause kAccessFault[] = {
      {5, "load access fault"}, {7, "store/AMO access fault"}, {1, "instruction access fault"}};
  static constexpr Cause kPageFault[] = {
      {13, "load page fault"}, {15, "store/AMO page fault"}, {12, "instruction page fault"}};
  static constexpr Cause kGuestPageFault[] = {{21, "load guest-page fault"},
                                              {23, "store/AMO guest-page fault"},
                                              {20, "instruction guest-page fault"}};
  const unsigned access = static_cast<unsigned>(fault.access);
  if (fault.kind == FaultKind::BusError || !fault.nested) {
    const Cause& cause =
        fault.kind == FaultKind::BusError ? kAccessFault[access] : kPageFault[access];
    return {.event = cause.name,
            .registers = {{{"vscause", cause.code}, {"vstval", fault.virtual_address}}}};
  }
  // "Transformed Instruction or Pseudoinstruction for mtinst or htinst": a 64-bit read or write for
  // VS-stage translation.
  const u64 instruction = !fault.for_table ? 0 : fault.table_write ? 0x3020 : 0x3000;
  const Cause& cause = kGuestPageFault[access];
  return {.event = cause.name,
          .to_hypervisor = true,
          .registers = {{{"scause", cause.code},
                         {"stval", fault.virtual_address},
                         {"htval", fault.guest_physical >> 2},
                         {"htinst", instruction}}}};
}

}  // namespace

constinit const Isa kRiscV64 = {
    .architecture = Architecture::RiscV64,
    .name = "riscv64",
    .rules = kRules,
    .fault_forgets = false,
    .has_halves = false,
    .fences_take_ranges = false,
    .guest_fences = {hext::kVvmaAll.at_once, hext::kVvmaAddress.at_once, hext::kVvmaAsid.at_once,
                     hext::kVvmaAddressAsid.at_once},
    .fences = {},
    .most_asids = 8191,  // of 16 bits; the models' caches can tell some thousands apart
    .most_gpa_bits = 64,
    .entries = {page_of, with_all_flags},
    .report = report,
    .has_levels = has_levels,
    .guest_space = guest_space,
    .upper_space = nullptr,
};

constinit const Extension kHext = {
    .name = "hext",
    .isa = &kRiscV64,
    .fences = hext::kFences,
    .fence_feature = &hext::kSvinval,
    .whole_vm = hext::kGvmaVmid.at_once,
    .parse = parse,
    .emit = emit_for<hext::Extension>,
    .emit_rollover = rollover_for<hext::Extension>,
    .emit_first_entry = first_entry_for<hext::Extension>,
    .emit_vcpu_switch = vcpu_switch_for<hext::Extension>,
    .rules = kRules,
    .entries = {page_of, with_all_flags},
    .report = report,
    .tags_by_root = false,
    .fault_forgets = false,
    .confirms_faults = false,
    // The first stage overrides the second, unless it leaves the type open (Svpbmt).
    .combine = [](MemoryType first,
                  MemoryType second) { return first == MemoryType::WriteBack ? second : first; },
    .capabilities = capabilities,
    .host_space = host_space,
    .demands = kDemands,
    .needs_barriers = false,
    .break_before_make = false,
    .unaccessed_is_not_cached = false,
    .names_addresses = true,
    .whole_vm_includes_linear = false,  // HFENCE.GVMA orders the G-stage alone
    .vmid_0_is_the_hosts = false,
    // hgatp is "active for the purposes of the address-translation algorithm unless the effective
    // privilege mode is U and hstatus.HU=0", for HLV's sake ("Hypervisor Guest Address Translation
    // and Protection Register"): a walk may read what has become of a table, and set A in it.
    .walks_outside = WalksOutside::Always,
    .accessed_flag = GStage::kA,
    .dirty_flag = GStage::kD,
    .vmid_bits = kVmidBits,
    .log_formats = kLogFormats,
    .log_flag = "svvptc",
    .flagged = {.caches_no_invalid = true},
    .may_differ = may_differ,
    .register_note = ", the hgatp of this VM",
};

}  // namespace nestwalk::models
