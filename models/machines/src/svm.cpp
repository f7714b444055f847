// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AMD-V with nested paging.

#include "nestwalk/machines/extensions.hpp"
#include "row.hpp"

namespace nestwalk::models {
namespace {

using addrspace::Npt;
namespace svm = addrspace::svm;
using Need = Demand::Need;

constexpr const char* kApm = "AMD APM vol. 2";
constexpr const char* kFlush = "TLB Flush";
constexpr const char* kManagement = "TLB Management";
constexpr const char* kVmrun =
    "VMRUN with TLB_CONTROL 3 or 1 on every processor that ran the VM, or INVLPGB of the ASID with "
    "nested translations, and TLBSYNC";

constexpr Demands kDemands = {
    .none = {Need::Nothing, false, "nothing", kApm, kManagement},
    .made_valid = {Need::Nothing, false, "nothing: what is not present is not cached", kApm,
                   kManagement},
    .more_permission = {Need::Nothing, false,
                        "nothing: the hardware reads the tables again before it faults", kApm,
                        kManagement},
    .less_permission = {Need::Fence, false, kVmrun, kApm, kFlush},
    .unmapped = {Need::Fence, false, kVmrun, kApm, kFlush},
    .moved = {Need::Fence, false, kVmrun, kApm, kFlush},
    .memory_type = {Need::Fence, false, kVmrun, kApm, kFlush},
    .cleaned = {Need::Fence, false, kVmrun, kApm, kFlush},
    .resized = {Need::Tolerable, false, "nothing while both say the same", kApm, kManagement},
    .table = {Need::Fence, false, kVmrun, kApm, kFlush},
    .retired = {Need::Fence, false, "TLB_CONTROL 3 or 1 at the first VMRUN under the ASID", kApm,
                kFlush},
};

addrspace::Capabilities capabilities(bool hardware_dirty) {
  addrspace::Capabilities machine = common_capabilities(hardware_dirty);
  machine.vmid_bits = 15;  // CPUID 8000000AH EBX: 32768 ASIDs
  machine.flush_by_asid = true;
  machine.upper_bit_8_reserved = true;
  return machine;
}

std::unique_ptr<software::HostSpace> host_space(const software::HypervisorShape& shape, u64 bytes,
                                                u16 vmid, software::Recording& recording) {
  return software::made_host_space<Npt>(Npt::geometry(shape.levels),
                                        std::to_string(shape.levels) + " levels", bytes, vmid,
                                        recording);
}

std::optional<LogFormat::Made> npt(u64 levels, addrspace::Capabilities machine) {
  if (levels != 4 && levels != 5) return std::nullopt;
  return made_for_log<Npt>(Npt::geometry(static_cast<unsigned>(levels)), machine);
}
constexpr LogFormat kLogFormats[] = {{"npt", "levels", 4, npt}};

/// PWT and PCD of nCR3.
bool may_differ(u64 difference) { return (difference & ~u64{0x18}) == 0; }

// 15.25.6 "Nested versus Guest Page Faults, Fault Ordering": P, R/W, U/S, RSV, I/D as in a page
// fault's error code, where every access is a user's and those to tables are writes; and whether it
// was the final translation (bit 32) or that of a table (bit 33).
FaultReport report(const Fault& fault) {
  if (fault.kind == FaultKind::BusError) return kX86_64.report(fault);
  const bool reserved = fault.kind == FaultKind::Malformed;
  const u64 info = bit(0, reserved || fault.kind == FaultKind::Permission) |
                   bit(1, fault.for_table || fault.access == AccessKind::Write) | bit(2) |
                   bit(3, reserved) |
                   bit(4, !fault.for_table && fault.access == AccessKind::Execute) |
                   bit(32, !fault.for_table) | bit(33, fault.for_table);
  return {.event = "nested page fault",
          .to_hypervisor = true,
          .registers = {{{"EXITINFO1", info}, {"EXITINFO2", fault.guest_physical}}}};
}

// The tables are the host's, so their flags are always kept; walks of the guest's tables count as
// writes ("Nested Paging", 15.25).
constexpr StageRules kRules{.accessed = Upkeep::Updated,
                            .dirty = Upkeep::Updated,
                            .accessed_in_tables = true,
                            .table_reads_are_writes = true,
                            .speculation_sets_accessed = true};

}  // namespace

constinit const Extension kSvm = {
    .name = "svm",
    .isa = &kX86_64,
    .fences = svm::kFences,
    .fence_feature = &svm::kInvlpgbTlbsync,
    .fresh_vmid = svm::kVmrunFreshAsid,
    .whole_vm = svm::kVmrunAsid,
    .parse = parse_x86<svm::kFences>,
    .emit = emit_for<svm::Extension>,
    .emit_rollover = rollover_for<svm::Extension>,
    .emit_first_entry = first_entry_for<svm::Extension>,
    .emit_vcpu_switch = vcpu_switch_for<svm::Extension>,
    .rules = {kRules, kRules},
    .entries = {page_in_51_12, with_all_flags},
    .report = report,
    .tags_by_root = false,
    // "any cached upper-level entries that lead to the faulting entry are flushed (along with the
    // TLB entry, if already cached) and the table walk is repeated to confirm the page fault"; what
    // the repetition cached is flushed, too (5.5.2 "TLB Management", "Use of Cached Entries When
    // Reporting a Page Fault Exception").
    .fault_forgets = true,
    .confirms_faults = true,
    // A guess: the APM has a table ("Combining Guest and Host PAT Types", 15.25.8).
    .combine = stricter_type,
    .capabilities = capabilities,
    .host_space = host_space,
    .demands = kDemands,
    .needs_barriers = false,
    .break_before_make = false,
    .unaccessed_is_not_cached = false,
    .names_addresses = false,
    .whole_vm_includes_linear = true,  // all that is cached under the ASID
    .vmids_are_vcpus = true,
    .vmid_0_is_the_hosts = true,
    // "The current ASID is 0 when the CPU is not inside a guest context" (15.16.1).
    .walks_outside = WalksOutside::Never,
    .accessed_flag = Npt::kAccessed,
    .dirty_flag = Npt::kDirty,
    .vmid_bits = 16,
    .log_formats = kLogFormats,
    .log_flag = "no-flush-by-asid",
    .flagged = {.single_vm = false},
    .may_differ = may_differ,
    .register_note = ", the nCR3 of this VM",
};

}  // namespace nestwalk::models
