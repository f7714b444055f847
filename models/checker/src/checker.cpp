// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What happens to obligations, event by event.

#include "nestwalk/checker/checker.hpp"

#include <stdexcept>

#include "attempts.hpp"
#include "obligation.hpp"
#include "range_index.hpp"

namespace nestwalk::checker {

using addrspace::Architecture;
using models::By;
using models::FenceKind;
using models::FenceRequest;
using models::FenceRow;
using Need = Demand::Need;

Checker::Guest::Guest() : places(std::make_unique<RangeIndex<Obligation>>()) {}
Checker::Guest::~Guest() = default;
Checker::Processor::Processor() = default;
Checker::Processor::~Processor() = default;
Checker::Checker()
    : operations_(1),
      targets_(std::make_unique<RangeIndex<Obligation>>()),
      attempts_(std::make_unique<Attempts>()) {}
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
  for (Obligation& each : retired_) {
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
  retired_.remove_if([](const Obligation& each) { return each.is_closed(); });
  numbers_[vm.id] = tables_.add(vm);
  Guest& guest = guests_.emplace_back();
  guest.inside = guest.ran = guest.linear = vm.processors;
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
  obligation.order = ++order_;
  obligation.left[0] = obligation.left[1] = guest.ran;
  // VPID 0 is the host's: entry and exit flush it.
  const bool untagged =
      shape.nested.format->architecture() == Architecture::X86_64 && shape.vmid == 0;
  obligation.left[2] = untagged ? 0 : guest.linear;
  if (!obligation.is_closed()) retired_.push_back(std::move(obligation));
}

void Checker::vm_entered(const Moment& when, u32 vm) {
  const u32 number = number_of(vm);
  Guest& guest = guests_[number];
  const u64 here = bit(when.processor);
  guest.inside |= here;
  guest.ran |= here;
  guest.linear |= here;
  processors_[when.processor].has_fault = false;
  for (Processor& each : processors_) {
    std::erase_if(each.unseen, [&](Obligation& entry) {
      if (entry.vm != number || !entry.returned) return false;
      judge(entry, here);
      return true;
    });
  }
  if ((guest.waiting & here) == 0) return;
  guest.waiting = 0;
  for (std::list<Obligation>* const list : {&guest.live, &guest.settled}) {
    for (Obligation& each : *list) {
      if (!each.returned || each.is_reported() || each.need != Need::Fence) continue;
      const bool late = (each.held() & here) != 0;
      late ? judge(each, each.held() & guest.inside) : void(guest.waiting |= each.held());
    }
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
  // Mappings". Of a large leaf there may be mappings of smaller pages ("Details of TLB Use"), and
  // the others stay.
  met_.clear();
  guests_[number].places->for_each(gpa, 1, [&](Obligation& each) { met_.push_back(&each); });
  for (Obligation* const each : met_) {
    if (!each->holds(when.processor, gpa)) continue;
    if (!each->table && each->bytes > addrspace::kFrameBytes) {
      each->spared.emplace_back(when.processor, gpa >> addrspace::kFrameShift);
      continue;
    }
    for (u64& left : each->left) left &= ~bit(when.processor);
    update(*each);
  }
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
  processor.began = ++order_;
  processor.stores = 0;
  ++operations_running_;
}

void Checker::operation_ended(const Moment& when) {
  Processor& processor = processors_[when.processor];
  if (processor.depth == 0 || --processor.depth != 0) return;
  --operations_running_;
  judge_operation(when.processor);
}

// Fences ----------------------------------------------------------------------------------------

void Checker::miss(Obligation& obligation, Failure failure, const FenceRequest& request) const {
  if (failure < obligation.closest) return;
  if (failure == obligation.closest && obligation.closest_fence.kind != FenceKind::None) return;
  obligation.closest = failure;
  obligation.closest_fence = request;
}

bool Checker::is_visible(const Obligation& obligation) const {
  return !obligation.posted || processors_[obligation.when.processor].barrier > obligation.order;
}

void Checker::remove(Obligation& obligation, unsigned part, u64 processors, u32 issuer,
                     bool waits) {
  obligation.sent[part] |= processors;
  if (!waits) {
    obligation.left[part] &= ~processors;
  } else if ((obligation.left[part] & processors) != 0) {
    processors_[issuer].flights.push_back({&obligation, static_cast<u8>(part), processors});
    obligation.going[part] |= processors;
    ++obligation.flights;
    ++guests_[obligation.vm].flights;
  }
}

// Says whether that was of any use.
bool Checker::apply(const Moment& when, const FenceRequest& request, Obligation& obligation,
                    const Effect& effect, u64 reached) {
  const FenceRow& row = row_of(request);
  const bool hinval = row.has(models::kPosted);
  const bool ordered = !hinval || processors_[when.processor].ordered > obligation.order;
  if (!is_visible(obligation) || !ordered) {
    miss(obligation, Failure::TooEarly, request);
    return false;
  }
  u64 merged = (effect.parts & kCombined) != 0 ? reached : 0;
  if ((effect.parts & kNested) == 0 && obligation.change != Change::Retired) {
    // As long as the second-stage entry is there, it may be merged anew.
    merged &= ~obligation.left[0];
    const u64 in_vain = reached & obligation.left[0];
    if (in_vain != 0) {
      const bool waits = (in_vain & ~obligation.going[0]) == 0;
      miss(obligation, waits ? Failure::NotCompleted : Failure::WrongKind, request);
    }
  }
  const bool waits =
      hinval || vm_of(obligation).nested.format->architecture() == Architecture::AArch64;
  const u64 processors[kParts] = {(effect.parts & kNested) != 0 ? reached : 0, merged,
                                  (effect.parts & kLinear) != 0 ? reached : 0};
  bool useful = false;
  for (unsigned part = 0; part < kParts; ++part) {
    // A sequence goes to all processors alike; once it is over, only what is left counts.
    const u64 fresh = processors[part] & ~obligation.sent[part];
    useful = useful || (obligation.settled ? fresh & obligation.left[part] : fresh) != 0;
    remove(obligation, part, processors[part], when.processor, waits);
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

/// Gathers what the fence names in `met_`. Says whether it is for all of a VM for which something
/// is open.
bool Checker::meet(const FenceRequest& request, u64 reached) {
  met_.clear();
  for (Obligation& each : retired_) met_.push_back(&each);
  const FenceRow& row = row_of(request);
  // No address of the guest's own selects all that was merged.
  if (row.structures == 0 || row.address == By::Virtual || row.has(models::kAsid)) return false;
  bool all = false;
  for (u32 number = 0; number < guests_.size(); ++number) {
    Guest& guest = guests_[number];
    const Vm& vm = tables_.vm(number);
    if (!guest.has_open() || !has_tag(request, vm)) continue;
    if (row.address == By::GuestPhysical) {
      guest.places->for_each(request.address & ~vm.operand_tag, request.bytes,
                             [&](Obligation& each) { met_.push_back(&each); });
    } else {
      all = true;
      meet_all(guest, (row.structures & models::kSecond) != 0, reached);
    }
  }
  return all;
}

// As long as the second-stage entry is there, what was merged with it comes back: a fence of the
// first stage alone meets only what has nothing else left.
void Checker::meet_all(Guest& guest, bool second, u64 reached) {
  if (!second && guest.flights == 0 && (guest.merged & reached) == 0) return;
  for (Obligation& each : guest.live) met_.push_back(&each);
  if (guest.flights == 0 && ((second ? guest.held : guest.merged) & reached) == 0) return;
  guest.held = guest.merged = 0;
  for (Obligation& each : guest.settled) met_.push_back(&each);
}

bool Checker::discharge(Issued& issued, u64 reached, bool fits) {
  for (Obligation* const each : met_) {
    const Effect effect = effect_of(issued.request, *each, vm_of(*each));
    if (effect.parts == 0) continue;
    fits = true;
    if (!apply(issued.when, issued.request, *each, effect, reached)) continue;
    issued.useful = true;
    ++issued.covered;
    issued.whole = issued.whole || each->table || each->change == Change::Retired;
  }
  for (Obligation* const each : met_) {
    if (each->held() == 0 || each->need == Need::Tolerable) continue;
    const Effect effect = effect_of(issued.request, *each, vm_of(*each));
    if (effect.parts != 0) continue;
    const bool elsewhere = effect.miss == Failure::WrongOperand;
    const bool close = effect.miss == Failure::LeafOnly || effect.miss == Failure::WrongLevel;
    if (fits && !elsewhere && !close) continue;
    miss(*each, fits && elsewhere ? Failure::RangeTooSmall : effect.miss, issued.request);
  }
  for (Obligation* const each : met_) update(*each);
  retired_.remove_if([](const Obligation& each) { return each.is_closed(); });
  return fits;
}

/// The masks of its VM; and it is dropped, once it is closed and its operation returned.
void Checker::update(Obligation& obligation) {
  if (obligation.change == Change::Retired) return;
  Guest& guest = guests_[obligation.vm];
  guest.merged |= obligation.merged();
  if (!obligation.settled) return;
  guest.held |= obligation.held();
  if (obligation.is_closed()) drop(obligation);
}

void Checker::drop(Obligation& obligation) {
  Guest& guest = guests_[obligation.vm];
  guest.places->remove(obligation.start, obligation.bytes, obligation);
  targets_->remove(obligation.old.address, obligation.target_bytes(vm_of(obligation)), obligation);
  if (!obligation.is_reported()) --unreported_;
  (obligation.settled ? guest.settled : guest.live).erase(obligation.self);
}

void Checker::fence_issued(const Moment& when, const FenceRequest& request, Cycle cycles) {
  ++order_;
  Processor& processor = processors_[when.processor];
  switch (request.kind) {
    case FenceKind::None:
      return;
    case FenceKind::SfenceWInval:
      processor.ordered = order_;
      return;
    case FenceKind::SfenceInvalIr:
      return complete(when.processor);
    default:
      break;
  }
  if (is_the_guests(when.processor, request)) return;
  const FenceRow& row = row_of(request);
  const u64 reached = row.has(models::kBroadcast) ? ~u64{0} : bit(when.processor);
  Issued issued{request, when, cycles, order_, operation_on(when.processor)};
  issued.useful = is_spurious(when.processor, request);
  const bool all = meet(request, reached);
  const bool fits = discharge(issued, reached, all);
  if (unreported_ != 0 || operations_running_ != 0) {
    attempts_->add(order_, when.processor, request, fits);
  }
  if (!issued.useful) {
    processor.useless.push_back(issued);
  } else if (is_over_broad(issued)) {
    judge_fence(issued, Failure::OverBroad);
  }
  flush(when, request, reached, row.has(models::kPosted));
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
    const Flush flush{number, reached, (parts & kNested) != 0, (parts & kLinear) != 0};
    if (!flush.second && !flush.first) continue;
    const bool waits =
        posted || tables_.vm(number).nested.format->architecture() == Architecture::AArch64;
    waits ? processors_[when.processor].flushes.push_back(flush) : finish_flush(flush);
  }
}

void Checker::finish_flush(const Flush& flush) {
  Guest& guest = guests_[flush.vm];
  const u64 outside = flush.processors & ~guest.inside;
  if (flush.second) guest.ran &= ~outside;
  if (flush.first) guest.linear &= ~outside;
}

void Checker::complete(u32 number) {
  Processor& processor = processors_[number];
  for (const Flight& flight : processor.flights) {
    Obligation& obligation = *flight.obligation;
    obligation.left[flight.part] &= ~flight.processors;
    obligation.going[flight.part] &= ~flight.processors;
    --obligation.flights;
    --guests_[obligation.vm].flights;
    update(obligation);
  }
  processor.flights.clear();
  retired_.remove_if([](const Obligation& each) { return each.is_closed(); });
  for (const Flush& flush : processor.flushes) finish_flush(flush);
  processor.flushes.clear();
}

void Checker::barrier_issued(const Moment& when, Barrier barrier) {
  // Entering the guest synchronises as an ISB does (Arm ARM D1, "Context synchronization event").
  if (barrier == Barrier::Isb) return;
  Processor& processor = processors_[when.processor];
  processor.barrier = ++order_;
  processor.unseen.clear();
  if (barrier == Barrier::DsbIsh) complete(when.processor);
}

}  // namespace nestwalk::checker
