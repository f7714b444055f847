// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What is said about obligations and fences once an operation is over.

#include <algorithm>
#include <set>

#include "agenda.hpp"
#include "attempts.hpp"
#include "nestwalk/checker/checker.hpp"
#include "obligation.hpp"
#include "range_index.hpp"
#include "reason.hpp"

namespace nestwalk::checker {

using models::By;
using models::FenceRow;
using models::StageRules;
using models::Upkeep;
using Need = Demand::Need;

namespace {

/// A flag that software has to set is a permission, too.
bool permits(const models::Entry& entry, addrspace::Access access, const StageRules& rules) {
  if (entry.kind != models::EntryKind::Leaf || !entry.access.has(access & addrspace::kRwx)) {
    return false;
  }
  if (!entry.accessed && rules.accessed == Upkeep::Faults) return false;
  return entry.dirty || !access.has(addrspace::kWrite) || rules.dirty != Upkeep::Faults;
}

}  // namespace

/// Which of the fences since then came closest? Those that named its address said so themselves.
void Checker::find_closest(Obligation& obligation) const {
  if (obligation.need != Need::Fence || obligation.is_reported()) return;
  attempts_->after(obligation, vm_of(obligation), [&](Failure failure, const ExecutedFence& fence) {
    miss(obligation, failure, fence);
  });
}

/// Why may these processors still hold it?
Checker::Verdict Checker::reason(Obligation& obligation, u64 bad) const {
  if (obligation.need == Need::Visible) return {Failure::NotCompleted};
  for (const unsigned part : {0u, 1u, 2u}) {
    if ((obligation.going[part] & bad) == 0) continue;
    return {Failure::NotCompleted, obligation.right[std::min(part, 1u)]};
  }
  if (obligation.change != Change::Retired) find_closest(obligation);
  const Verdict closest{obligation.closest, obligation.closest_fence};
  if (closest.why >= Failure::NotCompleted) return closest;
  const u64 both = obligation.sent[0] & obligation.sent[1];
  if (obligation.change != Change::Retired && both != 0 && (both & bad) == 0) {
    return {Failure::WrongProcessors, obligation.right[(obligation.left[0] & bad) != 0 ? 0 : 1]};
  }
  if (closest.why != Failure::Missing) return closest;
  for (const unsigned part : {0u, 1u}) {
    if ((obligation.sent[part] & bad) != 0) return {Failure::WrongKind, obligation.right[part]};
  }
  if (obligation.task->serial != obligation.serial) return {Failure::Missing};
  ExecutedFence early = attempts_->before(obligation, obligation.task->began, vm_of(obligation));
  if (early == nullptr) return {Failure::Missing};
  obligation.closest_fence = early;
  return {Failure::TooEarly, std::move(early)};
}

void Checker::judge(Obligation& obligation, u64 bad) {
  const Verdict verdict = reason(obligation, bad);
  const std::size_t finding = report(obligation, verdict.why, verdict, bad);
  if (obligation.need == Need::Visible) return;
  const bool counts = obligation.need == Need::Fence && !obligation.is_reported();
  if (counts && finding != Obligation::kNone) --unreported_;
  obligation.finding = finding;
}

/// The processor enters again after a fault.
//
// The rule for more permission, and for what is made valid where invalid entries are cached, is the
// same for all extensions: a processor may go on with the old entry and take a spurious fault;
// the fence is due there and then. "After modifying the PTE but before executing SFENCE.VMA, either
// the new or old permissions will be used. In the latter case, a page-fault exception might occur,
// at which point software should execute SFENCE.VMA" (RISC-V privileged spec, "Supervisor
// Memory-Management Fence Instruction"); nothing else bounds how long an invalid entry is cached,
// but for Svvptc. On AArch64 a TLB may keep the entry that made it fault (Arm ARM D8, "TLB
// maintenance"). On x86 the violation itself removes it (Intel SDM vol. 3C, "Operations that
// Invalidate Cached Mappings").
//
// Only a fault that the tables permitted was spurious. Any other one is answered with a new entry,
// or for good (an access that is emulated), and old entries that are left there, of a table above
// it for instance, may still cost their own fault.
void Checker::judge_fault(u32 number, u32 vm) {
  Processor& processor = processors_[number];
  if (!processor.has_fault || processor.fault_vm != vm) return;
  processor.has_fault = false;
  const addrspace::Access access = processor.fault_access;
  if (!access.any_of(addrspace::kRwx)) return;
  const StageRules& rules = tables_.vm(vm).nested.format->rules();
  const Found& found = processor.fault_found;
  if (!permits(tables_.decode(vm, found.entry, found.level), access, rules)) return;
  if (!(tables_.walk(vm, processor.fault_gpa) == found)) return;
  Obligation* kept = nullptr;
  guests_[vm].places->for_each(processor.fault_gpa, 1, [&](Obligation& each) {
    const bool refuses = each.makes_fault() && each.holds(number, processor.fault_gpa) &&
                         !permits(each.old, access, rules);
    if (refuses && (kept == nullptr || kept->order < each.order)) kept = &each;
  });
  if (kept == nullptr) return;
  kept->finding = report(*kept, Failure::RepeatedFault, reason(*kept, bit(number)), bit(number));
}

void Checker::judge_operation(u32 number, Task& task) {
  judge_unseen(number);
  judge_opened(task);
  if (operations_running_ == 0 && unreported_ == 0) attempts_->clear();
}

void Checker::judge_unseen(u32 number) {
  Processor& processor = processors_[number];
  for (const u32 vm : processor.fresh) {
    Unseen& unseen = guests_[vm].unseen[number];
    judge_all(unseen.fresh, guests_[vm].inside);
    for (Obligation& each : unseen.fresh) each.returned = true;
    unseen.waiting.splice(unseen.waiting.end(), unseen.fresh);
  }
  processor.fresh.clear();
}

void Checker::judge_all(std::list<Obligation>& unseen, u64 inside) {
  if (inside == 0) return;
  for (auto each = unseen.begin(); each != unseen.end();) {
    const u64 blind = inside & ~(each->seen_by_own ? bit(each->when.processor) : 0);
    if (blind != 0) judge(*each, blind);
    each = blind != 0 ? unseen.erase(each) : std::next(each);
  }
}

void Checker::judge_opened(Task& task) {
  for (Obligation* const each : task.opened) {
    const u64 inside = guests_[each->vm].inside;
    each->returned = true;
    if (each->need == Need::Fence && !each->is_reported() && (each->held() & inside) != 0) {
      judge(*each, each->held() & inside);
    }
  }
  judge_fences(task);
  while (!task.opened.empty()) {
    Obligation& each = *task.opened.front();
    task.opened.pop_front();
    settle(each);
  }
}

/// Its operation is over.
void Checker::settle(Obligation& obligation) {
  if (obligation.need == Need::Tolerable && !obligation.makes_fault()) {
    for (u64& left : obligation.left) left = 0;
  }
  Guest& guest = guests_[obligation.vm];
  guest.settled.splice(guest.settled.end(), guest.live, obligation.self);
  obligation.settled = true;
  closed_.erase(obligation.order);
  const bool owed = obligation.need == Need::Fence && !obligation.is_reported();
  const bool has_seat = obligation.seats[static_cast<unsigned>(Look::Entry)] != 0;
  if (owed && obligation.held() != 0 && !has_seat) seat(obligation, Look::Entry);
  update(obligation);
}

void Checker::finish() {
  event_ = "the log ended";
  for (u32 number = 0; number < kMostProcessors; ++number) {
    processors_[number].own.depth = 0;
    judge_operation(number, processors_[number].own);
  }
  for (auto& [id, task] : tasks_) {
    task.depth = 0;
    judge_opened(task);
  }
}

// Fences ----------------------------------------------------------------------------------------

/// All of a VM for a few leaves, or of all VMs, unless several ended.
bool Checker::is_over_broad(const Issued& issued) const {
  constexpr u64 kFew = 8;
  const FenceRow& row = row_of(issued.fence->request);
  if (row.by != By::Nothing || (row.structures & fence::kSecond) == 0) return false;
  const Vm& any = tables_.vm(0);
  const bool names_addresses = any.nested.format->extension().names_addresses;
  const bool all_vms = !row.has(fence::kRoot) && !row.has(fence::kVmid);
  if (all_vms) return issued.retired < 2 && (names_addresses || any.single_vm);
  return names_addresses && !issued.whole && issued.covered != 0 && issued.covered <= kFew;
}

void Checker::judge_fence(const Issued& issued, Failure failure) {
  const Executed& fence = *issued.fence;
  if (uses_ != nullptr) {
    uses_->judge(issued.number, failure == Failure::Excess ? Use::Excess : Use::OverBroad);
  }
  Finding finding{};
  finding.failure = finding.because = failure;
  finding.operation = operations_[issued.operation];
  finding.when = finding.issued_when = fence.when;
  finding.violated = now_;
  finding.violation = event_;
  finding.site = fence.when.site;
  finding.issued = describe(fence.request);
  finding.cycles = issued.cycles;
  const std::size_t number = add(std::move(finding), fence.request.op);
  if (is_first(number)) findings_[number].reason = explain(issued, failure);
}

/// Those that removed nothing.
void Checker::judge_fences(Task& task) {
  excuse_fences(task);
  for (const Issued& issued : task.useless) judge_fence(issued, Failure::Excess);
  task.useless.clear();
}

/// What was meant for something that is open still is not excess but insufficient: the fences that
/// came closest, and those of the first stage that follow them; on processors that were interrupted
/// for the operation as well.
void Checker::excuse_fences(Task& task) {
  std::vector<models::FenceOp> close;
  std::set<u32> vms;
  std::set<u16> vmids;  // that those had
  for (Obligation* const each : task.opened) {
    if (each->held() == 0) continue;
    find_closest(*each);
    if (each->closest_fence) {
      close.push_back(each->closest_fence->request.op);
      vmids.insert(each->closest_fence->request.vmid);
    }
    vms.insert(each->vm);
  }
  if (vms.empty()) return;
  const auto meant = [&](const Issued& issued) {
    if (std::find(close.begin(), close.end(), issued.fence->request.op) != close.end()) return true;
    const FenceRow& row = row_of(issued.fence->request);
    if (row.structures != fence::kFirst || row.by != By::Nothing) return false;
    if (row.has(fence::kVmid) && vmids.count(issued.fence->request.vmid) != 0) return true;
    return std::any_of(vms.begin(), vms.end(),
                       [&](u32 vm) { return has_tag(issued.fence->request, tables_.vm(vm)); });
  };
  const auto excuse = [&](Task& each) {
    if (&each != &task && each.depth != 0) return;
    const auto since = std::lower_bound(
        each.useless.begin(), each.useless.end(), task.began,
        [](const Issued& issued, u64 order) { return issued.fence->order < order; });
    each.useless.erase(std::remove_if(since, each.useless.end(), meant), each.useless.end());
  };
  for (Processor& each : processors_) excuse(each.own);
  for (auto& [id, each] : tasks_) excuse(each);
}

// Findings --------------------------------------------------------------------------------------

Finding Checker::finding_of(const Obligation& obligation, Failure failure, const Verdict& verdict,
                            u64 processors) const {
  const Vm& vm = vm_of(obligation);
  const models::EntryFormat& format = *vm.nested.format;
  const addrspace::Geometry& geometry = vm.nested.geometry;
  Finding finding{};
  finding.failure = failure;
  finding.because = verdict.why;
  finding.change = obligation.change;
  finding.operation = operations_[obligation.operation];
  finding.vm = vm.id;
  finding.level = obligation.level;
  finding.gpa = obligation.start;
  finding.bytes = obligation.bytes;
  if (obligation.change != Change::Retired) {
    finding.before = describe(format, geometry, obligation.before, obligation.level);
    finding.after = describe(format, geometry, obligation.after, obligation.after_level);
  }
  finding.processors = processors;
  finding.when = obligation.when;
  finding.violated = now_;
  finding.violation = event_;
  finding.site = obligation.when.site;
  if (verdict.fence) {
    finding.issued = describe(verdict.fence->request);
    finding.issued_when = verdict.fence->when;
  }
  finding.demand = &format.extension().demands.of(obligation.change);
  return finding;
}

std::size_t Checker::report(const Obligation& obligation, Failure failure, const Verdict& verdict,
                            u64 processors) {
  Finding finding = finding_of(obligation, failure, verdict, processors);
  const models::FenceOp op = verdict.fence ? verdict.fence->request.op : models::FenceOp{};
  const std::size_t number = add(std::move(finding), op);
  if (is_first(number)) {
    findings_[number].reason = explain(obligation, vm_of(obligation), failure, verdict.why,
                                       verdict.fence.get(), processors);
  }
  return number;
}

/// The number of the finding that it is, or is like.
std::size_t Checker::add(Finding finding, models::FenceOp op) {
  u64* const kCounts[] = {&errors_, &warnings_, &notes_};
  ++*kCounts[static_cast<unsigned>(finding.severity())];
  const auto operation = operation_numbers_.find(finding.operation);
  const std::array<u64, 7> key = {static_cast<u64>(finding.failure),
                                  static_cast<u64>(finding.because),
                                  static_cast<u64>(finding.change),
                                  operation == operation_numbers_.end() ? 0 : operation->second,
                                  finding.vm,
                                  key_of(op),
                                  reinterpret_cast<std::uintptr_t>(finding.when.site.data())};
  const auto found = alike_.find(key);
  if (found != alike_.end()) {
    Finding& first = findings_[found->second];
    ++first.count;
    first.cycles += finding.cycles;
    return found->second;
  }
  if (findings_.size() == kMostFindings) {
    ++unlisted_;
    return Obligation::kNone;
  }
  alike_[key] = findings_.size();
  findings_.push_back(std::move(finding));
  return findings_.size() - 1;
}

// Hits ------------------------------------------------------------------------------------------

void Checker::accessed(const Access& access) {
  now(access.when, "the guest used its memory");
  const u32 vm = number_of(access.vm);
  if (uses_ != nullptr) uses_->accessed(vm, access.when.processor, access.gpa);
  if (guests_[vm].has_open()) count_hits(vm, access);
  if (access.seen) check_seen(vm, access);
}

void Checker::count_hits(u32 vm, const Access& access) {
  guests_[vm].places->for_each(access.gpa, 1, [&](const Obligation& each) {
    if (!each.is_reported() || !each.holds(access.when.processor, access.gpa)) return;
    Finding& finding = findings_[each.finding];
    if (finding.hits++ == 0) finding.first_hit = access;
  });
}

void Checker::check_seen(u32 vm, const Access& access) {
  const u32 processor = access.when.processor;
  const Found found = tables_.walk(vm, access.gpa);
  const models::Entry entry = tables_.decode(vm, found.entry, found.level);
  const bool leaf = entry.kind == models::EntryKind::Leaf;
  const StageRules& rules = tables_.vm(vm).nested.format->rules();
  const bool is_permitted = !access.write || permits(entry, addrspace::kWrite, rules);
  if (leaf && is_permitted && entry.address + (access.gpa - found.start) == *access.seen) return;
  if (is_open(access.vm, processor, access.gpa)) return;
  Obligation wrong;
  wrong.vm = vm;
  wrong.level = found.level;
  wrong.after_level = found.level;
  wrong.start = found.start;
  wrong.bytes = tables_.bytes_of(vm, found.level);
  wrong.before = wrong.after = found.entry;
  wrong.when = access.when;
  Finding finding = finding_of(wrong, Failure::WrongHit, {Failure::WrongHit}, bit(processor));
  finding.reason =
      explain(wrong, vm_of(wrong), Failure::WrongHit, Failure::WrongHit, nullptr, bit(processor));
  finding.hits = 1;
  finding.first_hit = access;
  const std::size_t number = add(std::move(finding), {});
  if (number != Obligation::kNone && findings_[number].count > 1) ++findings_[number].hits;
}

bool Checker::is_open(u32 vm, u32 processor, u64 gpa) const {
  bool open = false;
  guests_[number_of(vm)].places->for_each(gpa, 1, [&](const Obligation& each) {
    open = open || (!each.makes_fault() && each.holds(processor, gpa));
  });
  return open;
}

std::size_t Checker::open_obligations() const {
  std::size_t count = retired_.size();
  for (const Guest& guest : guests_) {
    for (const auto& [stored_by, unseen] : guest.unseen) {
      count += unseen.fresh.size() + unseen.waiting.size();
    }
    count += guest.settled.size();
    for (const Obligation& each : guest.live) count += each.held() != 0 ? 1 : 0;
  }
  return count;
}

}  // namespace nestwalk::checker
