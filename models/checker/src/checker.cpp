// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What happens to obligations, event by event.

#include "nestwalk/checker/checker.hpp"

#include <stdexcept>

#include "obligation.hpp"

namespace nestwalk::checker {

using addrspace::Architecture;
using models::By;
using models::FenceKind;
using models::FenceRequest;
using models::FenceRow;
using Need = Demand::Need;

Checker::Checker() : operations_(1) {}
Checker::~Checker() = default;

u32 Checker::number_of(u32 id) const {
  const auto found = numbers_.find(id);
  if (found == numbers_.end()) throw std::invalid_argument("VM " + std::to_string(id));
  return found->second;
}

/// What the processor is doing; one that was interrupted for a fence is doing nothing of its own.
u32 Checker::operation_on(u32 processor) const {
  return processors_[processor].depth != 0 ? processors_[processor].operation : 0;
}

const Vm& Checker::vm_of(const Obligation& obligation) const { return tables_.vm(obligation.vm); }

// VMs -------------------------------------------------------------------------------------------

void Checker::vm_created(const Moment& when, const Vm& vm) {
  const bool x86 = vm.nested.format->architecture() == Architecture::X86_64;
  for (Obligation& each : open_) {
    if (each.change != Change::Retired) continue;
    const Vm& old = vm_of(each);
    u64 bad = 0;
    if (!x86 && old.vmid == vm.vmid) bad = each.held();
    if (x86 && vm.vmid != 0 && old.vmid == vm.vmid) bad |= each.left[1] | each.left[2];
    if (x86 && ep4ta(old.root_register) == ep4ta(vm.root_register)) {
      bad |= each.left[0] | each.left[1];
    }
    if (bad == 0) continue;
    each.when.cycle = when.cycle;
    report(each, Failure::TagReused, reason(each, bad), bad);
    each.left[0] = each.left[1] = each.left[2] = 0;
  }
  numbers_[vm.id] = tables_.add(vm);
  guests_.push_back({vm.processors, vm.processors, vm.processors, false});
}

void Checker::vm_destroyed(const Moment& when, u32 vm) {
  const u32 number = number_of(vm);
  Guest& guest = guests_[number];
  const Vm& shape = tables_.vm(number);
  tables_.remove(number);
  guest.gone = true;
  guest.inside = 0;
  Obligation obligation;
  obligation.vm = number;
  obligation.change = Change::Retired;
  obligation.when = when;
  obligation.visible = ~u64{0};
  obligation.returned = true;
  obligation.left[0] = obligation.left[1] = guest.ran;
  // VPID 0 is the host's: entry and exit flush it.
  const bool untagged =
      shape.nested.format->architecture() == Architecture::X86_64 && shape.vmid == 0;
  obligation.left[2] = untagged ? 0 : guest.linear;
  open_.push_back(std::move(obligation));
}

void Checker::vm_entered(const Moment& when, u32 vm) {
  const u32 number = number_of(vm);
  Guest& guest = guests_[number];
  const u64 here = bit(when.processor);
  guest.inside |= here;
  guest.ran |= here;
  guest.linear |= here;
  processors_[when.processor].has_fault = false;
  for (Obligation& each : open_) {
    if (each.vm != number || !each.returned || each.finding != Obligation::kNone) continue;
    if (each.change == Change::Retired) continue;
    if (each.need == Need::Visible && each.visible == 0) judge(each, here);
    if (each.need == Need::Fence && (each.held() & here) != 0)
      judge(each, each.held() & guest.inside);
  }
}

void Checker::vm_left(const Moment& when, u32 vm) {
  guests_[number_of(vm)].inside &= ~bit(when.processor);
}

void Checker::vm_faulted(const Moment& when, u32 vm, u64 gpa) {
  const u32 number = number_of(vm);
  Processor& processor = processors_[when.processor];
  processor.has_fault = true;
  processor.fault_vm = number;
  processor.fault_gpa = gpa;
  if (tables_.vm(number).nested.format->architecture() != Architecture::X86_64) return;
  // "An EPT violation invalidates any guest-physical mappings that would be used to translate the
  // guest-physical address that caused it": Intel SDM vol. 3C, "Operations that Invalidate Cached
  // Mappings".
  for (Obligation& each : open_) {
    if (each.vm != number || each.change == Change::Retired) continue;
    if (!each.holds(when.processor, gpa)) continue;
    for (u64& left : each.left) left &= ~bit(when.processor);
  }
  unwatch_closed();
}

void Checker::operation_begun(const Moment& when, std::string_view name) {
  Processor& processor = processors_[when.processor];
  if (processor.depth++ != 0) return;
  judge_operation(when.processor);
  constexpr std::size_t kMostNames = 4096;
  auto found = operation_numbers_.find(name);
  if (found == operation_numbers_.end() && operations_.size() < kMostNames) {
    operations_.emplace_back(name);
    found = operation_numbers_.emplace(name, static_cast<u32>(operations_.size() - 1)).first;
  }
  processor.operation = found == operation_numbers_.end() ? 0 : found->second;
  processor.serial = ++serial_;
  processor.stores = 0;
}

void Checker::operation_ended(const Moment& when) {
  Processor& processor = processors_[when.processor];
  if (processor.depth == 0 || --processor.depth != 0) return;
  judge_operation(when.processor);
}

// Fences ----------------------------------------------------------------------------------------

void Checker::miss(Obligation& obligation, Failure failure, const FenceRequest& request) {
  if (failure < obligation.closest) return;
  if (failure == obligation.closest && obligation.closest_fence.kind != FenceKind::None) return;
  obligation.closest = failure;
  obligation.closest_fence = request;
}

void Checker::remove(Obligation& obligation, unsigned part, u64 processors, u32 issuer,
                     bool posted) {
  obligation.sent[part] |= processors;
  if (!posted) {
    obligation.left[part] &= ~processors;
  } else if ((obligation.left[part] & processors) != 0) {
    obligation.in_flight.push_back({issuer, static_cast<u8>(part), processors});
  }
}

// Says whether that was of any use.
bool Checker::apply(const Moment& when, const FenceRequest& request, Obligation& obligation,
                    const Effect& effect, u64 reached) {
  const FenceRow& row = row_of(request);
  const u64 here = bit(when.processor);
  const bool hinval = row.has(models::kPosted);
  if ((obligation.visible & here) == 0 || (hinval && (obligation.ordered & here) == 0)) {
    miss(obligation, Failure::TooEarly, request);
    return false;
  }
  u64 merged = (effect.parts & kCombined) != 0 ? reached : 0;
  if ((effect.parts & kNested) == 0 && obligation.change != Change::Retired) {
    // As long as the second-stage entry is there, it may be merged anew.
    merged &= ~obligation.left[0];
    u64 going = 0;
    for (const auto& each : obligation.in_flight) going |= each.part == 0 ? each.processors : 0;
    const u64 in_vain = reached & obligation.left[0];
    if (in_vain != 0) {
      const bool waits = (in_vain & ~going) == 0;
      miss(obligation, waits ? Failure::NotCompleted : Failure::WrongKind, request);
    }
  }
  const bool posted =
      hinval || vm_of(obligation).nested.format->architecture() == Architecture::AArch64;
  const u64 processors[kParts] = {(effect.parts & kNested) != 0 ? reached : 0, merged,
                                  (effect.parts & kLinear) != 0 ? reached : 0};
  bool useful = false;
  for (unsigned part = 0; part < kParts; ++part) {
    useful = useful || (processors[part] & ~obligation.sent[part]) != 0;
    remove(obligation, part, processors[part], when.processor, posted);
  }
  return useful;
}

bool Checker::is_the_guests(u32 processor, const FenceRequest& request) const {
  if ((row_of(request).structures & models::kSecond) != 0) return false;
  if (processors_[processor].depth != 0) return false;
  for (const Guest& guest : guests_) {
    if ((guest.inside & bit(processor)) != 0) return true;
  }
  return false;
}

// The guest faulted where the tables permit it: another processor was faster, or an entry was
// stale.
bool Checker::is_spurious(u32 number, const FenceRequest& request) const {
  const Processor& processor = processors_[number];
  if (!processor.has_fault || processor.stores != 0) return false;
  const Found found = tables_.walk(processor.fault_vm, processor.fault_gpa);
  if (tables_.decode(processor.fault_vm, found.entry, found.level).kind !=
      models::EntryKind::Leaf) {
    return false;
  }
  Obligation there;
  there.vm = processor.fault_vm;
  there.start = found.start;
  there.bytes = tables_.bytes_of(processor.fault_vm, found.level);
  return effect_of(request, there, vm_of(there)).parts != 0;
}

void Checker::fence_issued(const Moment& when, const FenceRequest& request, Cycle cycles) {
  switch (request.kind) {
    case FenceKind::None:
      return;
    case FenceKind::SfenceWInval:
      for (Obligation& each : open_) each.ordered |= bit(when.processor);
      return;
    case FenceKind::SfenceInvalIr:
      return complete(when.processor);
    default:
      break;
  }
  if (is_the_guests(when.processor, request)) return;
  const FenceRow& row = row_of(request);
  const u64 reached = row.has(models::kBroadcast) ? ~u64{0} : bit(when.processor);
  Issued issued{.request = request,
                .when = when,
                .cycles = cycles,
                .covered = 0,
                .useful = is_spurious(when.processor, request),
                .whole = false,
                .operation = operation_on(when.processor)};
  bool fits = false;
  for (Obligation& each : open_) {
    if (each.need == Need::Visible) continue;
    const Effect effect = effect_of(request, each, vm_of(each));
    if (effect.parts == 0) continue;
    fits = true;
    if (!apply(when, request, each, effect, reached)) continue;
    issued.useful = true;
    ++issued.covered;
    issued.whole = issued.whole || each.table || each.change == Change::Retired;
  }
  for (Obligation& each : open_) {
    if (each.held() == 0 || each.need == Need::Visible) continue;
    const Effect effect = effect_of(request, each, vm_of(each));
    if (effect.parts != 0) continue;
    if (each.need == Need::Tolerable) continue;
    const bool elsewhere =
        effect.miss == Failure::WrongOperand || effect.miss == Failure::Unshifted;
    // What was meant for something else is no attempt, unless it stops short of this.
    if (fits && !elsewhere && effect.miss != Failure::LeafOnly) continue;
    miss(each, fits && elsewhere ? Failure::RangeTooSmall : effect.miss, request);
  }
  std::vector<Issued>& all = processors_[when.processor].issued;
  constexpr std::size_t kMostIssued = 4096;
  if (all.size() == kMostIssued) judge_fences(when.processor);
  all.push_back(issued);
  flush(when, request, reached, row.has(models::kPosted));
  unwatch_closed();
}

void Checker::flush(const Moment& when, const FenceRequest& request, u64 reached, bool posted) {
  const FenceRow& row = row_of(request);
  if (row.address != By::Nothing) return;
  for (u32 number = 0; number < guests_.size(); ++number) {
    if ((guests_[number].ran | guests_[number].linear) == 0) continue;
    Obligation all;
    all.vm = number;
    all.change = Change::Retired;
    const u8 parts = effect_of(request, all, tables_.vm(number)).parts;
    const Flush flush{number, when.processor, reached, (parts & kNested) != 0,
                      (parts & kLinear) != 0};
    if (!flush.second && !flush.first) continue;
    const bool waits =
        posted || tables_.vm(number).nested.format->architecture() == Architecture::AArch64;
    waits ? flushing_.push_back(flush) : finish_flush(flush);
  }
}

void Checker::finish_flush(const Flush& flush) {
  Guest& guest = guests_[flush.vm];
  const u64 outside = flush.processors & ~guest.inside;
  if (flush.second) guest.ran &= ~outside;
  if (flush.first) guest.linear &= ~outside;
}

void Checker::complete(u32 processor) {
  for (Obligation& each : open_) {
    for (const Obligation::InFlight& flight : each.in_flight) {
      if (flight.issuer == processor) each.left[flight.part] &= ~flight.processors;
    }
    std::erase_if(each.in_flight,
                  [&](const Obligation::InFlight& flight) { return flight.issuer == processor; });
  }
  for (const Flush& flush : flushing_) {
    if (flush.issuer == processor) finish_flush(flush);
  }
  std::erase_if(flushing_, [&](const Flush& flush) { return flush.issuer == processor; });
  unwatch_closed();
}

void Checker::barrier_issued(const Moment& when, Barrier barrier) {
  // Entering the guest synchronises as an ISB does (Arm ARM D1, "Context synchronization event").
  if (barrier == Barrier::Isb) return;
  for (Obligation& each : open_) {
    if (each.when.processor == when.processor) each.visible = ~u64{0};
  }
  if (barrier == Barrier::DsbIsh) complete(when.processor);
}

}  // namespace nestwalk::checker
