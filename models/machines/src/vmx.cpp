// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Intel VMX with extended page tables.

#include "nestwalk/machines/extensions.hpp"
#include "row.hpp"

namespace nestwalk::models {
namespace {

using addrspace::Ept;
namespace vmx = addrspace::vmx;
using Need = Demand::Need;

constexpr const char* kSdm = "Intel SDM vol. 3C";
constexpr const char* kInveptUse = "Guidelines for Use of the INVEPT Instruction";
constexpr const char* kCaching = "Caching Translation Information";
constexpr const char* kInvept = "INVEPT on every processor that ran the VM";

constexpr Demands kDemands = {
    .none = {Need::Nothing, false, "nothing", kSdm, kInveptUse},
    .made_valid = {Need::Nothing, false, "nothing: what is not present is not cached", kSdm,
                   kCaching},
    .more_permission = {Need::Nothing, false,
                        "nothing: an EPT violation removes the entry that caused it", kSdm,
                        kInveptUse},
    .less_permission = {Need::Fence, false, kInvept, kSdm, kInveptUse},
    .unmapped = {Need::Fence, false, kInvept, kSdm, kInveptUse},
    .moved = {Need::Fence, false, kInvept, kSdm, kInveptUse},
    .memory_type = {Need::Fence, false, kInvept, kSdm, kInveptUse},
    .cleaned = {Need::Fence, false, kInvept, kSdm, "Accessed and Dirty Flags for EPT"},
    .resized = {Need::Tolerable, false, "nothing while both say the same", kSdm, kCaching},
    .table = {Need::Fence, false, kInvept, kSdm, kInveptUse},
    .retired = {Need::Fence, false, "INVVPID for the VPID and INVEPT for the root", kSdm,
                "Guidelines for Use of the INVVPID Instruction"},
};

addrspace::Capabilities capabilities(bool hardware_dirty) {
  addrspace::Capabilities machine = common_capabilities(hardware_dirty);
  machine.invept_single = true;
  machine.execute_only = true;
  return machine;
}

std::unique_ptr<software::HostSpace> host_space(const software::HypervisorShape& shape, u64 bytes,
                                                u16 vmid, software::Recording& recording) {
  return software::made_host_space<Ept>(Ept::geometry(shape.levels),
                                        std::to_string(shape.levels) + " levels", bytes, vmid,
                                        recording);
}

std::optional<LogFormat::Made> ept(u64 levels, addrspace::Capabilities machine) {
  machine.execute_only = true;
  if (levels != 4 && levels != 5) return std::nullopt;
  return made_for_log<Ept>(Ept::geometry(static_cast<unsigned>(levels)), machine);
}
constexpr LogFormat kLogFormats[] = {{"ept", "levels", 4, ept}};

// Intel SDM vol. 3C, "Exit Qualification for EPT Violations".
u64 exit_qualification(const Fault& fault) {
  const bool read = fault.for_table || fault.access == AccessKind::Read;
  const bool write = fault.for_table ? fault.table_write || fault.reads_as_writes
                                     : fault.access == AccessKind::Write;
  const bool fetch = !fault.for_table && fault.access == AccessKind::Execute;
  // For a table: an update with A/D off is a write alone; with A/D on, every access is both.
  const bool read_too = read && (!fault.table_write || fault.reads_as_writes);
  return bit(0, read_too) | bit(1, write) | bit(2, fetch) | u64{fault.granted.bits()} << 3 |
         bit(7) | bit(8, !fault.for_table);
}

FaultReport report(const Fault& fault) {
  if (fault.kind == FaultKind::BusError) return kX86_64.report(fault);
  const FaultReport::Register physical{"guest-physical address", fault.guest_physical};
  if (fault.kind == FaultKind::Malformed) {
    return {.event = "EPT misconfiguration", .to_hypervisor = true, .registers = {{physical}}};
  }
  return {.event = "EPT violation",
          .to_hypervisor = true,
          .registers = {{{"exit qualification", exit_qualification(fault)},
                         physical,
                         {"guest-linear address", fault.virtual_address}}}};
}

// Intel SDM vol. 3A, table 11-7 "Effective Page-Level Memory Types for Pentium III and More Recent
// Processor Families", where EPT's type takes the place of the MTRRs' (vol. 3C, "Memory Type Used
// for Translated Guest-Physical Addresses"). UC- is read as UC, which it is unless EPT says WC or
// WP.
MemoryType effective_type(MemoryType pat, MemoryType ept) {
  using enum MemoryType;
  constexpr MemoryType kWb = WriteBack, kWt = WriteThrough, kWp = WriteProtected;
  constexpr MemoryType kWc = WriteCombining, kUc = Device;
  // Both in the order WB, WT, WP, WC, UC.
  constexpr MemoryType kByEptAndPat[5][5] = {{kWb, kWt, kWp, kWc, kUc},
                                             {kWt, kWt, kWp, kWc, kUc},
                                             {kWp, kWt, kWp, kWc, kUc},
                                             {kWc, kUc, kUc, kWc, kUc},
                                             {kUc, kUc, kUc, kWc, kUc}};
  static_assert(WriteBack < WriteThrough && WriteThrough < WriteProtected &&
                WriteProtected < WriteCombining && WriteCombining < Uncached && Uncached < Device);
  if (pat > Device || ept > Device) return Other;  // a reserved code in the PAT
  const auto index = [](MemoryType type) { return std::min(static_cast<unsigned>(type), 4u); };
  return kByEptAndPat[index(ept)][index(pat)];
}

// Walks are write-back (6) or uncacheable (0); bit 7 is for supervisor shadow stacks. Bit 6 is no
// option: with it the processor sets accessed and dirty flags, without it it ignores them (SDM vol.
// 3C, "Accessed and Dirty Flags for EPT").
bool may_differ(u64 difference) {
  constexpr u64 kMemoryType = 6, kShadowStacks = 0x80;
  const u64 type = difference & kMemoryType;
  return (difference & ~(kMemoryType | kShadowStacks)) == 0 && (type == 0 || type == kMemoryType);
}

}  // namespace

constinit const Extension kVmx = {
    .name = "vmx",
    .isa = &kX86_64,
    .fences = vmx::kFences,
    .whole_vm = vmx::kInveptSingle,
    .parse = parse_x86<vmx::kFences>,
    .emit = emit_for<vmx::Extension>,
    .emit_rollover = rollover_for<vmx::Extension>,
    .emit_first_entry = first_entry_for<vmx::Extension>,
    .emit_vcpu_switch = vcpu_switch_for<vmx::Extension>,
    // Accessed and dirty flags if EPTP bit 6 is set: an accessed flag whenever the processor uses
    // an entry, for whatever reason (vol. 3C, "Accessed and Dirty Flags for EPT").
    .rules = {{},
              {.accessed = Upkeep::Updated,
               .dirty = Upkeep::Updated,
               .accessed_in_tables = true,
               .table_reads_are_writes = true,
               .speculation_sets_accessed = true}},
    .entries = {page_in_51_12, with_all_flags},
    .report = report,
    // Intel SDM vol. 3C, "Information That May Be Cached": guest-physical mappings have an EP4TA
    // only.
    .tags_by_root = true,
    // "Operations that Invalidate Cached Mappings".
    .fault_forgets = true,
    .confirms_faults = false,
    .combine = effective_type,
    .capabilities = capabilities,
    .host_space = host_space,
    .demands = kDemands,
    .needs_barriers = false,
    .break_before_make = false,
    .unaccessed_is_not_cached = false,
    .names_addresses = false,
    .whole_vm_includes_linear = false,  // INVEPT spares linear mappings
    .vmid_0_is_the_hosts = true,
    // Guest-physical and combined mappings are created and used in VMX non-root operation alone
    // ("Creating and Using Cached Translation Information").
    .walks_outside = WalksOutside::Never,
    .accessed_flag = Ept::kAccessed,
    .dirty_flag = Ept::kDirty,
    .vmid_bits = 16,
    .log_formats = kLogFormats,
    .log_flag = "no-single",
    .flagged = {.single_vm = false},
    .may_differ = may_differ,
    .register_note = " or another EPTP of this VM, with bit 6 if it is dirty",
};

}  // namespace nestwalk::models
