// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/finding.hpp"

#include "nestwalk/models/fence_table.hpp"
#include "nestwalk/models/hex.hpp"

namespace nestwalk::checker {

using models::hex;

namespace {

using addrspace::Architecture;
using Need = Demand::Need;

// In the order of Failure.
constexpr FailureText kFailures[] = {
    {"missing", "no fence was issued", Severity::Error},
    {"wrong kind", "the fences do not touch what the entry left in the caches", Severity::Error},
    {"wrong tag", "the fence is for another VM", Severity::Error},
    {"wrong operand", "the fence names another address", Severity::Error},
    {"unshifted operand", "the fence's operand is the address itself, or shifted wrongly",
     Severity::Error},
    {"range too small", "the fences cover a part of what changed", Severity::Error},
    {"wrong level", "the fence's hint is of another granule or level", Severity::Error},
    {"leaf only", "the fence removes leaves, and a table changed", Severity::Error},
    {"wrong processors", "the fence does not reach every processor that ran the VM",
     Severity::Error},
    {"not completed", "nothing waits for the fence to be done, or for the store to be seen",
     Severity::Error},
    {"too early", "the fence came before the store was made, or could be seen", Severity::Error},
    {"break before make", "a valid entry was replaced while the old one could be cached",
     Severity::Error},
    {"use after free", "memory was given back while an entry for it could be cached",
     Severity::Error},
    {"tag reused", "a VM began under a tag of which translations could be cached", Severity::Error},
    {"wrong hit", "the processor used a translation that the fences had removed", Severity::Error},
    {"repeated fault", "a processor faulted on an entry that is no more, and kept it",
     Severity::Error},
    {"excess", "the fence removes nothing that had to go", Severity::Warning},
    {"over-broad", "the fence removes much more than had to go", Severity::Warning},
    {"freed while outside",
     "memory was given back while a processor outside the guest could walk through it",
     Severity::Note},
};
static_assert(std::size(kFailures) == kFailureCount);

constexpr const char* kChanges[] = {"nothing",
                                    "made valid",
                                    "more permission",
                                    "less permission",
                                    "unmapped",
                                    "another output address",
                                    "another memory type",
                                    "flags cleared",
                                    "split into a table",
                                    "a table unlinked",
                                    "the VM ended"};
static_assert(std::size(kChanges) == kChangeCount);

constexpr const char* kSdm = "Intel SDM vol. 3C";
constexpr const char* kSdmRemove = "Guidelines for Use of the INVEPT Instruction";
constexpr const char* kInvept = "INVEPT on every processor that ran the VM";
constexpr const char* kArm = "Arm ARM D8";
constexpr const char* kTlbMaintenance = "TLB maintenance";
constexpr const char* kBreak = "Using break-before-make when updating translation table entries";
constexpr const char* kByIpa =
    "DSB ISHST; TLBI IPAS2(L)E1IS; DSB ISH; TLBI VMALLE1IS; DSB ISH (or TLBI VMALLS12E1IS)";
constexpr const char* kBroken =
    "an invalid entry; DSB ISHST; TLBI IPAS2E1IS; DSB ISH; TLBI VMALLE1IS; DSB ISH; the new entry";
constexpr const char* kLocalIpa =
    "on the processor that faults: DSB ISHST; TLBI IPAS2(L)E1; DSB; TLBI VMALLE1; DSB";
constexpr const char* kRiscV = "RISC-V privileged spec";
constexpr const char* kHfence = "Hypervisor Memory-Management Fence Instructions";
constexpr const char* kGvma = "HFENCE.GVMA for the address or the VMID, on every hart that ran it";
constexpr const char* kLazyGvma =
    "HFENCE.GVMA for the address, on the hart that faults (of new entries: none with Svvptc)";
constexpr const char* kLazy = "Supervisor Memory-Management Fence Instruction";

// [change][architecture]
constexpr Demand kDemands[][3] = {
    // None
    {{Need::Nothing, false, "nothing", kSdm, kSdmRemove},
     {Need::Nothing, false, "nothing", kArm, kTlbMaintenance},
     {Need::Nothing, false, "nothing", kRiscV, kHfence}},
    // MadeValid
    {{Need::Nothing, false, "nothing: what is not present is not cached", kSdm,
      "Caching Translation Information"},
     {Need::Visible, false, "DSB ISHST: what is invalid is not cached", kArm, kTlbMaintenance},
     {Need::Tolerable, false, kLazyGvma, kRiscV, kLazy}},
    // MorePermission
    {{Need::Nothing, false, "nothing: an EPT violation removes the entry that caused it", kSdm,
      kSdmRemove},
     {Need::Tolerable, false, kLocalIpa, kArm, kTlbMaintenance},
     {Need::Tolerable, false, kLazyGvma, kRiscV, kLazy}},
    // LessPermission
    {{Need::Fence, false, kInvept, kSdm, kSdmRemove},
     {Need::Fence, false, kByIpa, kArm, kTlbMaintenance},
     {Need::Fence, false, kGvma, kRiscV, kHfence}},
    // Unmapped
    {{Need::Fence, false, kInvept, kSdm, kSdmRemove},
     {Need::Fence, false, kByIpa, kArm, kTlbMaintenance},
     {Need::Fence, false, kGvma, kRiscV, kHfence}},
    // Moved
    {{Need::Fence, false, kInvept, kSdm, kSdmRemove},
     {Need::Fence, true, kBroken, kArm, kBreak},
     {Need::Fence, false, kGvma, kRiscV, kHfence}},
    // MemoryType
    {{Need::Fence, false, kInvept, kSdm, kSdmRemove},
     {Need::Fence, true, kBroken, kArm, kBreak},
     {Need::Fence, false, kGvma, kRiscV, kHfence}},
    // Cleaned
    {{Need::Fence, false, kInvept, kSdm, "Accessed and Dirty Flags for EPT"},
     {Need::Fence, false, kByIpa, kArm, "Hardware management of the dirty state"},
     {Need::Fence, false, kGvma, kRiscV, kHfence}},
    // Resized
    {{Need::Tolerable, false, "nothing while both say the same", kSdm,
      "Caching Translation Information"},
     {Need::Fence, true, kBroken, kArm, kBreak},
     {Need::Tolerable, false, "nothing while both say the same", kRiscV, kLazy}},
    // Table
    {{Need::Fence, false, kInvept, kSdm, kSdmRemove},
     {Need::Fence, true,
      "DSB ISHST; TLBI IPAS2E1IS (not IPAS2LE1IS) under the table; DSB ISH; TLBI VMALLE1IS; DSB "
      "ISH (or TLBI VMALLS12E1IS)",
      kArm, kTlbMaintenance},
     {Need::Fence, false, "HFENCE.GVMA with rs1 = x0: by address, leaves only", kRiscV, kHfence}},
    // Retired
    {{Need::Fence, false, "INVVPID for the VPID and INVEPT for the root", kSdm,
      "Guidelines for Use of the INVVPID Instruction"},
     {Need::Fence, false, "TLBI VMALLS12E1IS; DSB ISH", kArm, kTlbMaintenance},
     {Need::Fence, false, "HFENCE.GVMA x0, vmid and HFENCE.VVMA x0, x0", kRiscV, kHfence}},
};
static_assert(std::size(kDemands) == kChangeCount);

std::string size_text(u64 bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  unsigned unit = 0;
  while (unit + 1 < std::size(kUnits) && bytes >= 1024 && bytes % 1024 == 0) bytes /= 1024, ++unit;
  return std::to_string(bytes).append(" ").append(kUnits[unit]);
}

constexpr const char* kMemoryTypes[] = {
    "write-back", "write-through", "write-protected", "write-combining", "uncached",
    "device",     "device-nGnRE",  "device-nGRE",     "device-GRE",      "other memory"};
static_assert(std::size(kMemoryTypes) == addrspace::kMemoryTypeCount);

std::string access_text(addrspace::Access access) {
  std::string text;
  if (access.has(addrspace::kRead)) text += " read";
  if (access.has(addrspace::kWrite)) text += " write";
  if (access.has(addrspace::kExecute)) text += " execute";
  return text.empty() ? " no access" : text;
}

}  // namespace

const char* to_string(Severity severity) {
  constexpr const char* kNames[] = {"error", "warning", "note"};
  return kNames[static_cast<unsigned>(severity)];
}
const FailureText& text_of(Failure failure) { return kFailures[static_cast<unsigned>(failure)]; }
const char* to_string(Change change) { return kChanges[static_cast<unsigned>(change)]; }
const Demand& demand_of(Architecture architecture, Change change) {
  return kDemands[static_cast<unsigned>(change)][static_cast<unsigned>(architecture)];
}

std::string describe(const models::EntryFormat& format, const addrspace::Geometry& geometry,
                     u64 entry, unsigned level) {
  const models::Entry decoded = format.decode(entry, level);
  switch (decoded.kind) {
    case models::EntryKind::Invalid:
      return "invalid";
    case models::EntryKind::Malformed:
      return "malformed (" + hex(entry) + ")";
    case models::EntryKind::Table:
      return "table at " + hex(decoded.address);
    case models::EntryKind::Leaf:
      break;
  }
  std::string text = "leaf of " + size_text(geometry.leaf_bytes(level)) + " at ";
  text += hex(decoded.address) + "," + access_text(decoded.access) + ", ";
  text += kMemoryTypes[static_cast<unsigned>(decoded.memory)];
  if (decoded.dirty) text += ", dirty";
  return text;
}

std::string describe(const models::FenceRequest& fence) {
  const models::FenceRow& row = models::kFenceRows[static_cast<unsigned>(fence.kind)];
  std::string text = row.name;
  std::string what;
  const auto add = [&](const char* name, const std::string& value) {
    what.append(what.empty() ? " (" : ", ").append(name).append(value);
  };
  if (row.has(models::kRoot)) add("EPTP ", hex(fence.root));
  if (row.address == models::By::GuestPhysical) add("GPA ", hex(fence.address));
  if (row.address == models::By::Virtual || fence.kind == models::FenceKind::TlbiVae2is) {
    add("VA ", hex(fence.address));
  }
  if (fence.bytes > 1) add("", size_text(fence.bytes));
  if (row.has(models::kVmid)) add("VMID ", std::to_string(fence.vmid));
  return what.empty() ? text : text + what + ")";
}

std::string processors_text(u64 processors) {
  std::string text;
  for (unsigned n = 0; n < kMostProcessors; ++n) {
    if ((processors >> n & 1) == 0) continue;
    unsigned last = n;
    while (last + 1 < kMostProcessors && (processors >> (last + 1) & 1) != 0) ++last;
    if (!text.empty()) text += ", ";
    text += std::to_string(n);
    if (last != n) text.append("-").append(std::to_string(last));
    n = last;
  }
  return text.empty() ? "none" : text;
}

std::string describe(const Finding& finding) {
  const FailureText& failure = text_of(finding.failure);
  std::string text = to_string(failure.severity);
  text.append(": ").append(failure.name);
  if (finding.because != finding.failure) {
    text.append(" (").append(text_of(finding.because).name).append(")");
  }
  text += finding.operation.empty() ? " outside any operation" : " in " + finding.operation;
  text += ", cycle " + std::to_string(finding.when.cycle) + ", processor " +
          std::to_string(finding.when.processor);
  if (finding.count > 1) text += "; " + std::to_string(finding.count) + " times";
  text.append("\n  ").append(failure.sentence);
  if (finding.change != Change::None) {
    text += "\n  VM " + std::to_string(finding.vm) + ", GPA " + hex(finding.gpa) + " + " +
            size_text(finding.bytes) + ", level " + std::to_string(finding.level) + ": " +
            to_string(finding.change);
    text += "\n  was: " + finding.before + "\n  is:  " + finding.after;
    text += "\n  may be cached on processors " + processors_text(finding.processors);
  }
  text += "\n  issued: " + (finding.issued.empty() ? std::string("nothing") : finding.issued);
  if (finding.demand != nullptr) {
    text.append("\n  demanded: ").append(finding.demand->fence);
    text.append("\n  ").append(finding.demand->manual).append(", \"");
    text.append(finding.demand->section).append("\"");
  }
  if (finding.hits != 0) {
    text += "\n  " + std::to_string(finding.hits) + " accesses hit it afterwards, the first at " +
            std::to_string(finding.first_hit.position) + " (GVA " + hex(finding.first_hit.gva) +
            ", GPA " + hex(finding.first_hit.gpa) + ", processor " +
            std::to_string(finding.first_hit.when.processor) + ")";
  }
  if (finding.cycles != 0) text += "\n  cost: " + std::to_string(finding.cycles) + " cycles";
  return text + "\n";
}

}  // namespace nestwalk::checker
