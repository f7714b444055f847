// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What is said about obligations and fences once an operation is over.

#include "nestwalk/checker/checker.hpp"
#include "obligation.hpp"

namespace nestwalk::checker {

using addrspace::Architecture;
using models::By;
using models::FenceKind;
using models::FenceRow;
using Need = Demand::Need;

/// Why may these processors still hold it?
Failure Checker::reason(Obligation& obligation, u64 bad) const {
  if (obligation.need == Need::Visible) return Failure::NotCompleted;
  u64 going = 0;
  for (const auto& each : obligation.in_flight) going |= each.processors;
  if ((going & bad) != 0) return Failure::NotCompleted;
  if (obligation.closest >= Failure::NotCompleted) return obligation.closest;
  const u64 both = obligation.sent[0] & obligation.sent[1];
  if (obligation.change != Change::Retired && both != 0 && (both & bad) == 0) {
    return Failure::WrongProcessors;
  }
  if (obligation.closest != Failure::Missing) return obligation.closest;
  if (((obligation.sent[0] | obligation.sent[1]) & bad) != 0) return Failure::WrongKind;
  const Processor& processor = processors_[obligation.when.processor];
  if (processor.serial != obligation.serial) return Failure::Missing;
  for (std::size_t n = 0; n < obligation.issued_before && n < processor.issued.size(); ++n) {
    if ((effect_of(processor.issued[n].request, obligation, vm_of(obligation)).parts & kNested) ==
        0)
      continue;
    obligation.closest_fence = processor.issued[n].request;
    return Failure::TooEarly;
  }
  return Failure::Missing;
}

void Checker::judge(Obligation& obligation, u64 bad) {
  const Failure why = reason(obligation, bad);
  report(obligation, why, why, bad);
  if (obligation.need == Need::Visible) {
    obligation.visible = ~u64{0};  // said once
  } else if (obligation.finding != Obligation::kNone) {
    watch(obligation, true);
  }
}

void Checker::judge_operation(u32 number) {
  for (Obligation& each : open_) {
    if (each.when.processor != number || each.finding != Obligation::kNone) continue;
    each.returned = true;
    if (each.change == Change::Retired) continue;
    const u64 inside = guests_[each.vm].inside;
    if (each.need == Need::Visible && each.visible == 0 && inside != 0) judge(each, inside);
    if (each.need == Need::Fence && (each.held() & inside) != 0) judge(each, each.held() & inside);
    if (each.need == Need::Tolerable) each.left[0] = each.left[1] = 0;
  }
  judge_fences(number);
  drop_closed();
}

void Checker::finish() {
  for (u32 number = 0; number < kMostProcessors; ++number) {
    processors_[number].depth = 0;
    judge_operation(number);
  }
}

void Checker::drop_closed() {
  std::erase_if(open_, [](const Obligation& each) { return each.returned && !each.is_open(); });
}

// Fences ----------------------------------------------------------------------------------------

/// Was it issued for something that is still open?
bool Checker::came_close(const Processor& processor, const Issued& issued) const {
  for (const Obligation& each : open_) {
    if (each.held() == 0 || each.serial != processor.serial) continue;
    if (each.closest_fence.kind == issued.request.kind) return true;
  }
  return false;
}

/// All of a VM, or of all VMs, for a few leaves.
bool Checker::is_over_broad(const Issued& issued) const {
  constexpr u64 kFew = 8;
  const FenceRow& row = row_of(issued.request);
  if (row.address != By::Nothing || (row.structures & models::kSecond) == 0) return false;
  const Vm& any = tables_.vm(0);
  const bool x86 = any.nested.format->architecture() == Architecture::X86_64;
  if (!row.has(models::kRoot) && !row.has(models::kVmid)) return !x86 || any.invept_single;
  return !x86 && !issued.whole && issued.covered != 0 && issued.covered <= kFew;
}

void Checker::judge_fence(const Issued& issued, Failure failure) {
  Finding finding{};
  finding.failure = finding.because = failure;
  finding.operation = operations_[issued.operation];
  finding.when = issued.when;
  finding.issued = describe(issued.request);
  finding.cycles = issued.cycles;
  add(std::move(finding), issued.request.kind);
}

void Checker::judge_fences(u32 number) {
  Processor& processor = processors_[number];
  for (const Issued& issued : processor.issued) {
    if (!issued.useful) {
      if (!came_close(processor, issued)) judge_fence(issued, Failure::Excess);
    } else if (is_over_broad(issued)) {
      judge_fence(issued, Failure::OverBroad);
    }
  }
  processor.issued.clear();
}

// Findings --------------------------------------------------------------------------------------

Finding Checker::finding_of(const Obligation& obligation, Failure failure, u64 processors) const {
  const Vm& vm = vm_of(obligation);
  const models::EntryFormat& format = *vm.nested.format;
  const addrspace::Geometry& geometry = vm.nested.geometry;
  Finding finding{};
  finding.failure = failure;
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
  if (obligation.closest_fence.kind != FenceKind::None) {
    finding.issued = describe(obligation.closest_fence);
  }
  finding.demand = &demand_of(format.architecture(), obligation.change);
  return finding;
}

void Checker::report(Obligation& obligation, Failure failure, Failure because, u64 processors) {
  Finding finding = finding_of(obligation, failure, processors);
  finding.because = because;
  const std::size_t number = add(std::move(finding), obligation.closest_fence.kind);
  if (obligation.finding == Obligation::kNone) obligation.finding = number;
}

/// The number of the finding that it is, or is like.
std::size_t Checker::add(Finding finding, FenceKind kind) {
  ++(finding.is_error() ? errors_ : warnings_);
  const auto operation = operation_numbers_.find(finding.operation);
  const std::array<u64, 6> key = {static_cast<u64>(finding.failure),
                                  static_cast<u64>(finding.because),
                                  static_cast<u64>(finding.change),
                                  operation == operation_numbers_.end() ? 0 : operation->second,
                                  finding.vm,
                                  static_cast<u64>(kind)};
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

namespace {
constexpr unsigned kShifts[] = {12, 21};
constexpr u64 kMostMarks = 64;
std::size_t mark_of(u64 page) { return page & 4095; }
}  // namespace

void Checker::watch(Obligation& obligation, bool on) {
  if (obligation.watched == on) return;
  if (on && watched_ == kMostWatched) {
    for (Obligation& oldest : open_) {
      if (!oldest.watched) continue;
      watch(oldest, false);
      ++forgotten_;
      oldest.left[0] = oldest.left[1] = oldest.left[2] = 0;
      break;
    }
  }
  obligation.watched = on;
  watched_ += on ? 1 : ~std::size_t{0};
  for (unsigned n = 0; n < 2; ++n) {
    const u64 marks = (obligation.bytes + (u64{1} << kShifts[n]) - 1) >> kShifts[n];
    if (marks > kMostMarks) continue;
    for (u64 mark = 0; mark < marks; ++mark) {
      u16& count = filter_[n][mark_of((obligation.start >> kShifts[n]) + mark)];
      count = static_cast<u16>(count + (on ? 1 : -1));
    }
    return;
  }
  watched_wide_ += on ? 1 : ~std::size_t{0};
}

void Checker::unwatch_closed() {
  if (watched_ == 0) return;
  for (Obligation& each : open_) {
    if (each.watched && each.held() == 0) watch(each, false);
  }
}

void Checker::look_for_hit(const Access& access) {
  const u32 vm = number_of(access.vm);
  const u32 processor = access.when.processor;
  const bool may_hit = filter_[0][mark_of(access.gpa >> kShifts[0])] != 0 ||
                       filter_[1][mark_of(access.gpa >> kShifts[1])] != 0 || watched_wide_ != 0;
  if (may_hit) {
    for (const Obligation& each : open_) {
      if (!each.watched || each.vm != vm || !each.holds(processor, access.gpa)) continue;
      Finding& finding = findings_[each.finding];
      if (finding.hits++ == 0) finding.first_hit = access;
    }
  }
  if (!access.seen) return;
  const Found found = tables_.walk(vm, access.gpa);
  const models::Entry entry = tables_.decode(vm, found.entry, found.level);
  const bool leaf = entry.kind == models::EntryKind::Leaf;
  if (leaf && entry.address + (access.gpa - found.start) == *access.seen) return;
  if (is_open(access.vm, processor, access.gpa)) return;
  Obligation wrong;
  wrong.vm = vm;
  wrong.level = found.level;
  wrong.after_level = found.level;
  wrong.start = found.start;
  wrong.bytes = tables_.bytes_of(vm, found.level);
  wrong.before = wrong.after = found.entry;
  wrong.when = access.when;
  Finding finding = finding_of(wrong, Failure::WrongHit, bit(processor));
  finding.because = Failure::WrongHit;
  finding.hits = 1;
  finding.first_hit = access;
  const std::size_t number = add(std::move(finding), FenceKind::None);
  if (number != Obligation::kNone && findings_[number].count > 1) ++findings_[number].hits;
}

bool Checker::is_open(u32 vm, u32 processor, u64 gpa) const {
  const u32 number = number_of(vm);
  for (const Obligation& each : open_) {
    if (each.vm == number && each.need != Need::Visible && each.holds(processor, gpa)) return true;
  }
  return false;
}

std::size_t Checker::open_obligations() const {
  std::size_t count = 0;
  for (const Obligation& each : open_) count += each.is_open() ? 1 : 0;
  return count;
}

}  // namespace nestwalk::checker
