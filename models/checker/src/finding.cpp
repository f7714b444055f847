// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/finding.hpp"

#include "nestwalk/models/base/hex.hpp"

namespace nestwalk::checker {

using models::hex;

namespace {

// In the order of Failure.
constexpr FailureText kFailures[] = {
    {"missing", "no fence was issued", Severity::Error,
     "Issue the fence after the store and before the operation returns, on every processor that "
     "ran "
     "the VM.",
     Change::Unmapped},
    {"wrong kind", "the fences do not touch what the entry left in the caches", Severity::Error,
     "Issue a fence of the second stage; fences of the guest's own tables, or of the hypervisor's, "
     "leave its entries there.",
     Change::Unmapped},
    {"wrong tag", "the fence is for another VM", Severity::Error,
     "Name the VMID, or the root, of the VM whose tables changed: it has to be loaded where the "
     "instruction takes it from a register.",
     Change::Unmapped},
    {"wrong operand", "the fence names another address", Severity::Error,
     "Name the guest-physical address that the entry translates.", Change::Unmapped},
    {"unshifted operand", "the fence's operand is the address itself, or shifted wrongly",
     Severity::Error,
     "Shift the address as the instruction takes it: TLBI by 12, HFENCE.GVMA by 2.",
     Change::Unmapped},
    {"range too small", "the fences cover a part of what changed", Severity::Error,
     "Fence each address that changed, or all of the VM.", Change::Unmapped},
    {"wrong level", "the fence's hint is of another granule or level", Severity::Error,
     "Give the granule and level of the entry that was removed, or no hint.", Change::Unmapped},
    {"leaf only", "the fence removes leaves, and a table changed", Severity::Error,
     "Where a table is unlinked, issue a fence that reaches copies of tables, too.", Change::Table},
    {"wrong processors", "the fence does not reach every processor that ran the VM",
     Severity::Error,
     "Issue the broadcasting form, or interrupt the other processors and have each execute it.",
     Change::Unmapped},
    {"not completed", "nothing waits for the fence to be done, or for the store to be seen",
     Severity::Error, "Issue the barrier that waits, on the processor that issued the fence.",
     Change::Unmapped},
    {"too early", "the fence came before the store was made, or could be seen", Severity::Error,
     "Store first, order the store before the fence, and then issue the fence.", Change::Unmapped},
    {"break before make", "a valid entry was replaced while the old one could be cached",
     Severity::Error, "Make the entry invalid, fence and wait, and only then write the new one.",
     Change::Moved},
    {"use after free", "memory was given back while an entry for it could be cached",
     Severity::Error, "Free memory, tables included, after the fence is complete.",
     Change::Unmapped},
    {"tag reused", "a VM began under a tag of which translations could be cached", Severity::Error,
     "Fence the tag on every processor that used it before another VM has it.", Change::Retired},
    {"wrong hit", "the processor used a translation that the fences had removed", Severity::Error,
     "No fence is missing: the processor, or its model, kept what they remove.", Change::Unmapped},
    {"repeated fault", "a processor faulted on an entry that is no more, and kept it",
     Severity::Error, "Fence the address on the processor that faulted before it enters the guest.",
     Change::MorePermission},
    {"excess", "the fence removes nothing that had to go", Severity::Warning,
     "Leave the fence out, or issue one for all changes of the operation.", Change::None},
    {"over-broad", "the fence removes much more than had to go", Severity::Warning,
     "Fence the addresses that changed.", Change::None},
    {"freed while outside",
     "memory was given back while a processor outside the guest could walk through it",
     Severity::Note, "Free tables after the processors that left the guest have fenced.",
     Change::Table},
};
static_assert(std::size(kFailures) == kFailureCount);

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

std::string describe(const models::EntryFormat& format, const addrspace::Geometry& geometry,
                     u64 entry, unsigned level) {
  const models::Entry decoded = format.decode(entry, level, 0);
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
  const models::FenceRow& row = *fence.op;
  std::string text = row.title();
  std::string what;
  const auto add = [&](const char* name, const std::string& value) {
    what.append(what.empty() ? " (" : ", ").append(name).append(value);
  };
  if (row.has(models::fence::kRoot)) add("EPTP ", hex(fence.root));
  if (row.by == models::By::GuestPhysical) add("GPA ", hex(fence.address));
  const bool takes_va = row.operand == addrspace::FenceOperand::Va;  // of EL2's regime, too
  if (row.by == models::By::Virtual || takes_va) add("VA ", hex(fence.address));
  if (fence.bytes > 1) add("", size_text(fence.bytes));
  if (row.has(models::fence::kVmid)) add("VMID ", std::to_string(fence.vmid));
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

std::string place_text(const Moment& when, const std::string& file) {
  std::string text;
  if (when.line != 0) text = (file.empty() ? "line " : file + ":") + std::to_string(when.line);
  if (!when.site.empty()) text.append(text.empty() ? "at " : ", at ").append(when.site);
  return text;
}

std::string describe(const Finding& finding, const std::string& file) {
  const auto at = [&](const Moment& when) {
    const std::string place = place_text(when, file);
    return place.empty() ? place : " (" + place + ")";
  };
  const FailureText& failure = text_of(finding.failure);
  std::string text = to_string(failure.severity);
  text.append(": ").append(failure.name);
  if (finding.because != finding.failure) {
    text.append(" (").append(text_of(finding.because).name).append(")");
  }
  text += finding.operation.empty() ? " outside any operation" : " in " + finding.operation;
  text += ", cycle " + std::to_string(finding.when.cycle) + ", processor " +
          std::to_string(finding.when.processor);
  const std::string place = place_text(finding.when, file);
  if (!place.empty()) text += ", " + place;
  if (finding.count > 1) text += "; " + std::to_string(finding.count) + " times";
  text.append("\n  ").append(failure.sentence);
  if (!finding.reason.empty()) text += "\n  " + finding.reason;
  if (finding.change != Change::None) {
    text += "\n  VM " + std::to_string(finding.vm) + ", GPA " + hex(finding.gpa) + " + " +
            size_text(finding.bytes) + ", level " + std::to_string(finding.level) + ": " +
            to_string(finding.change);
    text += "\n  was: " + finding.before + "\n  is:  " + finding.after;
    text += "\n  may be cached on processors " + processors_text(finding.processors);
  }
  text += "\n  issued: " + (finding.issued.empty() ? std::string("nothing") : finding.issued);
  text += at(finding.issued_when);
  if (finding.severity() != Severity::Warning && finding.violated.line != 0) {
    text.append("\n  violated when ").append(finding.violation) += at(finding.violated);
  }
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
