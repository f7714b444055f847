// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What happens to obligations, event by event.

#include "nestwalk/checker/checker.hpp"

#include <algorithm>
#include <stdexcept>

#include "agenda.hpp"
#include "attempts.hpp"
#include "obligation.hpp"
#include "range_index.hpp"

namespace nestwalk::checker {

using models::By;
using models::FenceRequest;
using models::FenceRow;
using Need = Demand::Need;

Checker::Guest::Guest() : places(std::make_unique<RangeIndex<Obligation>>()) {}
Checker::Guest::~Guest() = default;
Checker::Unseen::Unseen() = default;
Checker::Unseen::~Unseen() = default;
Checker::Processor::Processor() = default;
Checker::Processor::~Processor() = default;
Checker::Checker()
    : operations_(1),
      agendas_(std::make_unique<Agendas>()),
      targets_(std::make_unique<RangeIndex<Obligation>>()),
      attempts_(std::make_unique<Attempts>()) {}
Checker::~Checker() = default;

void Checker::now(const Moment& when, const char* event) {
  if (span_.events++ == 0) span_.first = when.cycle;
  span_.last = when.cycle;
  span_.processors |= bit(when.processor);
  now_ = when;
  event_ = event;
}

unsigned Checker::levels() const {
  unsigned most = 0;
  for (u32 vm = 0; vm < guests_.size(); ++vm) {
    most = std::max(most, tables_.vm(vm).nested.geometry.root_level() + 1);
  }
  return most;
}

const models::Extension* Checker::extension() const {
  return guests_.empty() ? nullptr : &tables_.vm(0).nested.format->extension();
}

u32 Checker::number_of(u32 id) const {
  const auto found = numbers_.find(id);
  if (found == numbers_.end()) throw std::invalid_argument("VM " + std::to_string(id));
  return found->second;
}

/// What the processor is doing; one that was interrupted for a fence is doing nothing of its own.
u32 Checker::operation_on(u32 processor) const {
  const Task& task = *processors_[processor].task;
  return task.depth != 0 ? task.operation : 0;
}

const Vm& Checker::vm_of(const Obligation& obligation) const { return tables_.vm(obligation.vm); }

// VMs -------------------------------------------------------------------------------------------

// What is left on those processors of VMs that ended under one of its tags before it was there.
void Checker::judge_tags(const Moment& when, u32 number, u64 processors) {
  Guest& guest = guests_[number];
  processors &= guest.unjudged;
  guest.unjudged &= ~processors;
  if (processors == 0 || retired_.empty()) return;
  const Vm& vm = tables_.vm(number);
  const bool by_root = vm.nested.format->extension().tags_by_root;
  // Those with the same VMID or VPID, and where roots are tags, those with the same root.
  std::map<u64, Obligation*> alike;
  const auto look_in = [&](const auto& retired, u64 tag) {
    auto at = retired.lower_bound({tag, 0});
    for (; at != retired.end() && at->first.first == tag; ++at)
      alike[at->first.second] = at->second;
  };
  look_in(retired_vmids_, vm.vmid);
  if (by_root) look_in(retired_roots_, models::root_of(vm.root_register));
  for (const auto& [order, retired] : alike) {
    if (order > guest.created) break;
    Obligation& each = *retired;
    const Vm& old = vm_of(each);
    u64 bad = 0;
    if (!by_root && old.vmid == vm.vmid) bad = each.held();
    if (by_root && vm.vmid != 0 && old.vmid == vm.vmid) bad |= each.left[1] | each.left[2];
    if (by_root && models::root_of(old.root_register) == models::root_of(vm.root_register)) {
      bad |= each.left[0] | each.left[1];
    }
    if ((bad & processors) == 0) continue;
    each.when.cycle = when.cycle;
    report(each, Failure::TagReused, reason(each, bad), bad);
    each.left[0] = each.left[1] = each.left[2] = 0;
    update(each);
  }
}

void Checker::vm_created(const Moment& when, const Vm& vm) {
  now(when, "the VM began");
  const bool by_root = vm.nested.format->extension().tags_by_root;
  const u32 number = tables_.add(vm);
  numbers_[vm.id] = number;
  Guest& guest = guests_.emplace_back();
  guest.created = ++order_;
  vmids_[vm.vmid].insert(number);
  if (by_root) roots_[models::root_of(vm.root_register)].insert(number);
  for (u32 processor = 0; processor < kMostProcessors; ++processor) {
    if ((vm.processors & bit(processor)) == 0) continue;
    guest.inside |= bit(processor);
    ++processors_[processor].guests;
    set_running(number, processor);
  }
  check_free_tables(when);
  judge_tags(when, number, vm.processors);
}

void Checker::set_running(u32 vm, u32 processor) {
  Guest& guest = guests_[vm];
  const u64 here = bit(processor);
  if ((guest.ran & here) == 0) processors_[processor].ran.insert(vm);
  if ((guest.linear & here) == 0) processors_[processor].linear.insert(vm);
  if (uses_ != nullptr) uses_->entered(vm, processor);
  guest.ran |= here;
  guest.linear |= here;
}

void Checker::vm_destroyed(const Moment& when, u32 vm) {
  now(when, "the VM ended");
  const u32 number = number_of(vm);
  Guest& guest = guests_[number];
  const Vm& shape = tables_.vm(number);
  tables_.remove(number);
  if (uses_ != nullptr) uses_->forget(number);
  close(number);
  retire(when, number);
  for (u32 processor = 0; processor < kMostProcessors; ++processor) {
    Processor& each = processors_[processor];
    if ((guest.inside & bit(processor)) != 0) --each.guests;
    if ((guest.ran & bit(processor)) != 0) each.ran.erase(number);
    if ((guest.linear & bit(processor)) != 0) each.linear.erase(number);
  }
  guest.inside = guest.ran = guest.linear = 0;
  const auto forget = [&](auto& tags, u64 tag) {
    const auto found = tags.find(tag);
    if (found == tags.end()) return;
    found->second.erase(number);
    if (found->second.empty()) tags.erase(found);
  };
  forget(vmids_, shape.vmid);
  forget(roots_, models::root_of(shape.root_register));
}

/// Its tags are dirty where it ran.
void Checker::retire(const Moment& when, u32 vm) {
  const Guest& guest = guests_[vm];
  const Vm& shape = tables_.vm(vm);
  const models::Extension& extension = shape.nested.format->extension();
  Obligation& made = retired_.emplace_back();
  made.vm = vm;
  made.change = Change::Retired;
  made.when = when;
  made.order = ++order_;
  made.task = processors_[when.processor].task;
  made.left[0] = made.left[1] = guest.ran;
  // VPID 0 is the host's: entry and exit flush it.
  made.left[2] = extension.vmid_0_is_the_hosts && shape.vmid == 0 ? 0 : guest.linear;
  made.self = std::prev(retired_.end());
  retired_vmids_[{shape.vmid, made.order}] = &made;
  if (extension.tags_by_root)
    retired_roots_[{models::root_of(shape.root_register), made.order}] = &made;
  seat(made, Look::Second);
  seat(made, Look::First);
  // The fences of whole VMs that are not waited for yet.
  for (u32 issuer = 0; issuer < kMostProcessors; ++issuer) {
    for (const Flush& flush : processors_[issuer].flushes) {
      if (flush.vm != vm) continue;
      const Sent sent{issuer, true, flush.broadcast};
      if (flush.second) remove(made, 0, flush.processors, sent);
      if (flush.second) remove(made, 1, flush.processors, sent);
      if (flush.first) remove(made, 2, flush.processors, sent);
    }
  }
  update(made);
}

/// Nobody runs it any more: what its processors hold harms nobody, until the tag is used again.
void Checker::close(u32 vm) {
  Guest& guest = guests_[vm];
  for (const auto& [processor, unseen] : guest.unseen) {
    processors_[processor].fresh.erase(vm);
    processors_[processor].unseen.erase(vm);
  }
  guest.unseen.clear();
  if (guest.flights != 0) {
    for (Processor& each : processors_) {
      std::erase_if(each.flights,
                    [&](const Flight& flight) { return flight.obligation->vm == vm; });
    }
    guest.flights = 0;
  }
  for (std::list<Obligation>* const list : {&guest.live, &guest.settled}) {
    while (!list->empty()) drop(list->front());
  }
}

void Checker::vm_entered(const Moment& when, u32 vm) {
  now(when, "the processor entered the guest");
  const u32 number = number_of(vm);
  Guest& guest = guests_[number];
  Processor& processor = processors_[when.processor];
  const u64 here = bit(when.processor);
  if ((guest.inside & here) == 0) ++processor.guests;
  guest.inside |= here;
  if (guest.ran == 0) check_root(when, number);
  judge_tags(when, number, here);
  set_running(number, when.processor);
  processor.last_vm = number;
  processor.entered = ++order_;
  processor.entered_as[number] = processor.task;
  judge_fault(when.processor, number);
  for (auto& [stored_by, unseen] : guest.unseen) {
    judge_all(unseen.waiting, here);
    // Outside of an operation, nothing else says that it is over.
    if (processors_[stored_by].task->depth == 0) judge_all(unseen.fresh, here);
  }
  Agenda* const agenda = agendas_->with(Look::Entry, number);
  if (agenda == nullptr) return;
  agenda->for_each_new(when.processor, [&](Obligation& each) {
    if ((each.held() & here) == 0) return;
    if (each.use_pending) judge_freed(when, each);
    if (!each.returned || each.is_reported() || each.need != Need::Fence) return;
    judge(each, each.held() & guest.inside);
  });
}

void Checker::vm_left(const Moment& when, u32 vm) {
  now(when, "the processor left the guest");
  const u32 number = number_of(vm);
  Processor& processor = processors_[when.processor];
  if ((guests_[number].inside & bit(when.processor)) != 0) --processor.guests;
  guests_[number].inside &= ~bit(when.processor);
  processor.left = ++order_;
  processor.last_vm = number;
}

void Checker::vm_faulted(const Moment& when, u32 vm, u64 gpa, addrspace::Access access) {
  now(when, "the guest faulted");
  const u32 number = number_of(vm);
  Processor& processor = processors_[when.processor];
  // What no table maps, no entry refuses.
  processor.has_fault = tables_.vm(number).nested.geometry.accepts(gpa);
  if (!processor.has_fault) return;
  processor.fault_vm = number;
  processor.fault_gpa = gpa;
  processor.fault_access = access;
  processor.fault_found = tables_.walk(number, gpa);
  if (!tables_.vm(number).nested.format->extension().fault_forgets) return;
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

void Checker::task_switched(const Moment& when, u64 task) {
  now(when, "another task went on");
  processors_[when.processor].task = &tasks_[task];
}

void Checker::operation_begun(const Moment& when, std::string_view name) {
  now(when, "an operation began");
  Task& task = *processors_[when.processor].task;
  if (task.depth++ != 0) return;
  judge_operation(when.processor, task);
  constexpr std::size_t kMostNames = 4096;
  auto found = operation_numbers_.find(name);
  if (found == operation_numbers_.end() && operations_.size() < kMostNames) {
    operations_.emplace_back(name);
    found = operation_numbers_.emplace(name, static_cast<u32>(operations_.size() - 1)).first;
  }
  task.operation = found == operation_numbers_.end() ? 0 : found->second;
  task.serial = ++serial_;
  task.began = ++order_;
  task.stores = 0;
  ++operations_running_;
}

void Checker::operation_ended(const Moment& when) {
  now(when, "the operation returned");
  Task& task = *processors_[when.processor].task;
  if (task.depth == 0 || --task.depth != 0) return;
  --operations_running_;
  judge_operation(when.processor, task);
}

// Fences ----------------------------------------------------------------------------------------

void Checker::miss(Obligation& obligation, Failure failure, const ExecutedFence& fence) const {
  if (failure < obligation.closest) return;
  if (failure == obligation.closest && obligation.closest_fence) return;
  obligation.closest = failure;
  obligation.closest_fence = fence;
}

/// A fence that its own processor alone carries out needs the store to be seen there.
bool Checker::is_visible(const Obligation& obligation, u32 issuer, bool broadcast) const {
  if (!obligation.posted) return true;
  const Processor& stored_by = processors_[obligation.when.processor];
  const bool own = !broadcast && issuer == obligation.when.processor;
  return (own ? stored_by.own_barrier : stored_by.barrier) > obligation.order;
}

void Checker::remove(Obligation& obligation, unsigned part, u64 processors, const Sent& sent) {
  obligation.sent[part] |= processors;
  if (!sent.waits) {
    obligation.left[part] &= ~processors;
  } else if ((obligation.left[part] & processors) != 0) {
    processors_[sent.issuer].flights.push_back(
        {&obligation, static_cast<u8>(part), processors, sent.broadcast});
    obligation.going[part] |= processors;
    ++obligation.flights;
    ++guests_[obligation.vm].flights;
  }
}

// Agendas ---------------------------------------------------------------------------------------

/// What the fences select by: those of the second stage by the root, where that is a tag.
u64 Checker::tag_of(const Obligation& obligation, Look look) const {
  const Vm& vm = vm_of(obligation);
  if (look == Look::Entry) return obligation.vm;
  const bool by_root = vm.nested.format->extension().tags_by_root;
  return by_root && look == Look::Second ? models::root_of(vm.root_register) : vm.vmid;
}
void Checker::seat(Obligation& obligation, Look look) {
  agendas_->seat(obligation, look, tag_of(obligation, look));
}
void Checker::unseat(Obligation& obligation, Look look) {
  agendas_->unseat(obligation, look, tag_of(obligation, look));
}

/// As long as the second-stage entry is there, what was merged with it comes back: a fence of the
/// first stage meets what has nothing else left, or only what is under way, by whomever.
void Checker::seat_merged(Obligation& obligation) {
  if (obligation.change == Change::Retired) return;
  const u64 second = obligation.left[0] & ~obligation.going[0];
  if ((obligation.left[1] & ~second) != 0) seat(obligation, Look::First);
}

void Checker::look_again(std::vector<Again>& again) {
  for (const Again& each : again) {
    Obligation* const found = agendas_->all(each.look).find(each.seat);
    if (found != nullptr) seat(*found, each.look);
  }
  again.clear();
}

// Says whether that was of any use.
bool Checker::apply(const ExecutedFence& executed, Obligation& obligation, const Effect& effect,
                    u64 reached) {
  const Moment& when = executed->when;
  const FenceRow& row = row_of(executed->request);
  const bool posted = row.has(fence::kPosted);
  const bool ordered =
      !row.has(fence::kUnordered) || processors_[when.processor].ordered > obligation.order;
  const bool broadcast = row.has(fence::kBroadcast);
  if (!is_visible(obligation, when.processor, broadcast) || !ordered) {
    miss(obligation, Failure::TooEarly, executed);
    Processor& late = processors_[ordered ? obligation.when.processor : when.processor];
    const Look look = (row.structures & fence::kSecond) != 0 ? Look::Second : Look::First;
    const u64 seat = obligation.seats[static_cast<unsigned>(look)];
    if (row.by == By::Nothing && seat != 0) {
      (ordered ? late.unordered : late.posted).push_back({look, seat});
    }
    return false;
  }
  u64 merged = (effect.parts & kCombined) != 0 ? reached : 0;
  if ((effect.parts & kNested) == 0 && obligation.change != Change::Retired) {
    // As long as the second-stage entry is there, it may be merged anew.
    merged &= ~obligation.left[0];
    const u64 in_vain = reached & obligation.left[0];
    if (in_vain != 0) {
      const bool waits = (in_vain & ~obligation.going[0]) == 0;
      miss(obligation, waits ? Failure::NotCompleted : Failure::WrongKind, executed);
    }
  }
  const bool waits = posted || vm_of(obligation).nested.format->extension().needs_barriers;
  const u64 processors[kParts] = {(effect.parts & kNested) != 0 ? reached : 0, merged,
                                  (effect.parts & kLinear) != 0 ? reached : 0};
  bool useful = false;
  const u64 before = obligation.left[0] & ~obligation.going[0];
  for (unsigned part = 0; part < kParts; ++part) {
    // A sequence goes to all processors alike; once it is over, only what is left counts.
    const u64 fresh = processors[part] & ~obligation.sent[part];
    useful = useful || (obligation.settled ? fresh & obligation.left[part] : fresh) != 0;
    if (part < std::size(obligation.right) && processors[part] != 0) {
      obligation.right[part] = executed;
    }
    remove(obligation, part, processors[part], {when.processor, waits, broadcast});
  }
  if ((obligation.left[0] & ~obligation.going[0]) != before) seat_merged(obligation);
  return useful;
}

bool Checker::is_the_guests(u32 processor, const FenceRequest& request) const {
  if ((row_of(request).structures & fence::kSecond) != 0) return false;
  return processors_[processor].task->depth == 0 && processors_[processor].guests != 0;
}

/// vCPUs of a VM have its tag, and each its own ASIDs: before one of them runs where another one
/// did, what that left of the first stage has to go. A vCPU is the task that enters the guest.
bool Checker::is_for_another_vcpu(u32 number, const FenceRequest& request) const {
  const FenceRow& row = row_of(request);
  if (row.structures != fence::kFirst || row.by != By::Nothing || row.has(fence::kBroadcast)) {
    return false;
  }
  const Processor& processor = processors_[number];
  return std::any_of(
      processor.entered_as.begin(), processor.entered_as.end(), [&](const auto& entered) {
        return entered.second != processor.task && has_tag(request, tables_.vm(entered.first));
      });
}

// The guest faulted where the tables permit it: another processor was faster, or an entry was
// stale.
bool Checker::is_spurious(u32 number, const FenceRequest& request) const {
  const Processor& processor = processors_[number];
  if (!processor.has_fault || processor.task->stores != 0) return false;
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

/// Gathers in `met_` what the fence names, and was not met by the like from this processor before.
/// Says whether it is for all of a VM for which something is open.
bool Checker::meet(u32 processor, const FenceRequest& request) {
  met_.clear();
  const FenceRow& row = row_of(request);
  // No address of the guest's own selects all that was merged.
  if (row.structures == 0 || row.by == By::Virtual || row.has(fence::kAsid)) return false;
  if (row.by == By::GuestPhysical) {
    meet_address(request);
    return false;
  }
  const Look look = (row.structures & fence::kSecond) != 0 ? Look::Second : Look::First;
  const bool by_tag = row.has(fence::kRoot) || row.has(fence::kVmid);
  const u64 tag = row.has(fence::kRoot) ? models::root_of(request.root) : request.vmid;
  Agenda* const agenda = by_tag ? agendas_->with(look, tag) : &agendas_->all(look);
  const u64 who = key_of(request.op) + processor;
  if (agenda != nullptr) {
    agenda->for_each_new(who, [&](Obligation& each) {
      if (has_tag(request, vm_of(each))) met_.push_back(&each);
    });
  }
  const std::set<u32>& vms = with_tag(request, open_guests_);
  return std::any_of(vms.begin(), vms.end(), [&](u32 vm) {
    return guests_[vm].has_open() && has_tag(request, tables_.vm(vm));
  });
}

void Checker::meet_address(const FenceRequest& request) {
  for (const u32 number : with_tag(request, open_guests_)) {
    const Vm& vm = tables_.vm(number);
    if (!has_tag(request, vm)) continue;
    guests_[number].places->for_each(request.address & ~vm.operand_tag, request.bytes,
                                     [&](Obligation& each) { met_.push_back(&each); });
  }
}

/// The VMs that have the fence's tag; all of these, if it has none.
const std::set<u32>& Checker::with_tag(const FenceRequest& request,
                                       const std::set<u32>& all) const {
  static const std::set<u32> kNone;
  const FenceRow& row = row_of(request);
  const bool by_root = row.has(fence::kRoot);
  if (!by_root && !row.has(fence::kVmid)) return all;
  const auto& tags = by_root ? roots_ : vmids_;
  const auto found = tags.find(by_root ? models::root_of(request.root) : request.vmid);
  return found == tags.end() ? kNone : found->second;
}

bool Checker::discharge(Issued& issued, u64 reached, bool fits) {
  const FenceRequest& request = issued.fence->request;
  for (Obligation* const each : met_) {
    const Effect effect = effect_of(request, *each, vm_of(*each));
    if (effect.parts == 0) continue;
    fits = true;
    if (!apply(issued.fence, *each, effect, reached)) continue;
    issued.useful = true;
    issued.retired += each->change == Change::Retired ? 1 : 0;
    issued.covered += each->need != Need::Tolerable || !each->settled ? 1 : 0;
    issued.whole = issued.whole || each->table || each->change == Change::Retired;
  }
  for (Obligation* const each : met_) {
    if (each->held() == 0 || each->need == Need::Tolerable) continue;
    const Effect effect = effect_of(request, *each, vm_of(*each));
    if (effect.parts != 0) continue;
    const bool elsewhere = effect.miss == Failure::WrongOperand;
    const bool close = effect.miss == Failure::LeafOnly || effect.miss == Failure::WrongLevel;
    if (fits && !elsewhere && !close) continue;
    miss(*each, fits && elsewhere ? Failure::RangeTooSmall : effect.miss, issued.fence);
  }
  for (Obligation* const each : met_) update(*each);
  return fits;
}

/// Drops it once it is closed and its operation returned. Outside of any operation, who issues a
/// sequence may have processors left: the last ones stay for a while.
void Checker::update(Obligation& obligation) {
  if (obligation.change == Change::Retired) return update_retired(obligation);
  if (!obligation.is_closed()) return;
  if (obligation.settled) return drop(obligation);
  drop_target(obligation);
  if (obligation.returned) closed_.emplace(obligation.order, &obligation);
}

void Checker::update_retired(Obligation& obligation) {
  const Vm& vm = vm_of(obligation);
  const bool by_root = vm.nested.format->extension().tags_by_root;
  const u64 second = by_root ? obligation.left[0] | obligation.left[1] : 0;
  const u64 first = obligation.left[1] | obligation.left[2] | (by_root ? 0 : obligation.left[0]);
  if (first == 0) retired_vmids_.erase({vm.vmid, obligation.order});
  if (second == 0) retired_roots_.erase({models::root_of(vm.root_register), obligation.order});
  if (!obligation.is_closed()) return;
  unseat(obligation, Look::Second);
  unseat(obligation, Look::First);
  retired_.erase(obligation.self);
}

void Checker::drop(Obligation& obligation) {
  Guest& guest = guests_[obligation.vm];
  guest.places->remove(obligation.bytes, obligation.place);
  drop_target(obligation);
  for (const Look look : {Look::Second, Look::First, Look::Entry}) unseat(obligation, look);
  if (obligation.need == Need::Fence && !obligation.is_reported()) --unreported_;
  if (!obligation.settled) {
    closed_.erase(obligation.order);
    obligation.task->opened.erase(obligation.opened);
  }
  const u32 vm = obligation.vm;
  (obligation.settled ? guest.settled : guest.live).erase(obligation.self);
  if (!guest.has_open()) open_guests_.erase(vm);
}

/// What it leads to may be freed: nobody holds it, or that was seen.
void Checker::drop_target(Obligation& obligation) {
  if (!obligation.has_target) return;
  obligation.has_target = false;
  targets_->remove(obligation.target_bytes(vm_of(obligation)), obligation.target);
}

void Checker::fence_issued(const Moment& when, const FenceRequest& request, Cycle cycles) {
  now(when, "a fence was executed");
  ++order_;
  Processor& processor = processors_[when.processor];
  if (!request.op) return;
  if (request.op->order == models::FenceOrder::Begin) {
    processor.ordered = order_;
    return look_again(processor.posted);
  }
  if (request.op->order == models::FenceOrder::End) return complete(when.processor);
  if (is_the_guests(when.processor, request)) return;
  const FenceRow& row = row_of(request);
  const u64 reached = row.has(fence::kBroadcast) ? ~u64{0} : bit(when.processor);
  Issued issued{std::make_shared<const Executed>(Executed{request, when, order_}), cycles,
                operation_on(when.processor), processor.task->stores,
                count_use(when, request, reached)};
  issued.useful =
      is_spurious(when.processor, request) || is_for_another_vcpu(when.processor, request);
  const bool all = meet(when.processor, request);
  const bool fits = discharge(issued, reached, all);
  if (unreported_ != 0 || operations_running_ != 0) {
    attempts_->add(issued.fence, fits);
  }
  if (uses_ != nullptr) uses_->cover(issued.number, issued.covered);
  if (!issued.useful) {
    processor.task->useless.push_back(issued);
  } else if (is_over_broad(issued)) {
    judge_fence(issued, Failure::OverBroad);
  }
  flush(when, request, reached, row.has(fence::kPosted));
}

/// Its number; and what the processors that it reaches may hold of which VMs.
u32 Checker::count_use(const Moment& when, const FenceRequest& request, u64 reached) {
  if (uses_ == nullptr) return 0;
  const u32 number = uses_->add(when, request.op, operation_on(when.processor),
                                processors_[when.processor].guests != 0);
  const FenceRow& row = row_of(request);
  if (row.structures == 0 || row.by == By::Virtual || row.has(fence::kAsid)) return number;
  for (const u32 vm : flushed_vms(request, reached)) {
    const Vm& shape = tables_.vm(vm);
    if (!has_tag(request, shape)) continue;
    const u64 held = reached & (guests_[vm].ran | guests_[vm].linear);
    for (u32 each = 0; each < kMostProcessors; ++each) {
      if ((held & bit(each)) == 0) continue;
      if (row.by == By::GuestPhysical) {
        uses_->remove(number, vm, each, request.address & ~shape.operand_tag, request.bytes);
      } else {
        uses_->remove(number, vm, each, (guests_[vm].inside & bit(each)) != 0);
      }
    }
  }
  return number;
}

void Checker::flush(const Moment& when, const FenceRequest& request, u64 reached, bool posted) {
  const FenceRow& row = row_of(request);
  if (row.structures == 0 || row.by != By::Nothing || row.has(fence::kAsid)) return;
  for (const u32 number : flushed_vms(request, reached)) {
    Obligation all;
    all.vm = number;
    all.change = Change::Retired;
    const u8 parts = effect_of(request, all, tables_.vm(number)).parts;
    const Flush flush{number,
                      reached,
                      (parts & kNested) != 0,
                      (parts & kLinear) != 0,
                      order_,
                      row.has(fence::kBroadcast)};
    if (!flush.second && !flush.first) continue;
    const bool waits = posted || tables_.vm(number).nested.format->extension().needs_barriers;
    waits ? processors_[when.processor].flushes.push_back(flush) : finish_flush(flush);
  }
}

/// VMs with the fence's tag of which a processor that it reaches may hold something.
std::set<u32> Checker::flushed_vms(const FenceRequest& request, u64 reached) const {
  const FenceRow& row = row_of(request);
  std::set<u32> vms;
  if (row.has(fence::kRoot) || row.has(fence::kVmid)) return with_tag(request, vms);
  for (u32 number = 0; number < kMostProcessors; ++number) {
    if ((reached & bit(number)) == 0) continue;
    // Those that remove both stages are AArch64's, where nothing is left of the first alone.
    const bool second = (row.structures & fence::kSecond) != 0;
    const std::set<u32>& held = second ? processors_[number].ran : processors_[number].linear;
    vms.insert(held.begin(), held.end());
  }
  return vms;
}

/// A processor that entered since then may have cached things anew.
void Checker::finish_flush(const Flush& flush) {
  Guest& guest = guests_[flush.vm];
  const u64 outside = flush.processors & ~guest.inside & (guest.ran | guest.linear);
  for (u32 number = 0; number < kMostProcessors; ++number) {
    Processor& each = processors_[number];
    if ((outside & bit(number)) == 0 || each.entered > flush.order) continue;
    if (flush.second && (guest.ran & bit(number)) != 0) each.ran.erase(flush.vm);
    if (flush.first && (guest.linear & bit(number)) != 0) each.linear.erase(flush.vm);
    if (flush.second) guest.ran &= ~bit(number);
    if (flush.first) guest.linear &= ~bit(number);
  }
}

/// What the processor sent: to itself alone, or to all.
void Checker::complete(u32 number, bool broadcast) {
  Processor& processor = processors_[number];
  const auto stays = [&](const auto& sent) { return sent.broadcast && !broadcast; };
  const auto flights =
      std::stable_partition(processor.flights.begin(), processor.flights.end(), stays);
  const std::vector<Flight> landed(flights, processor.flights.end());
  processor.flights.erase(flights, processor.flights.end());
  for (const Flight& flight : landed) {
    Obligation& obligation = *flight.obligation;
    obligation.left[flight.part] &= ~flight.processors;
    obligation.going[flight.part] &= ~flight.processors;
    --obligation.flights;
    --guests_[obligation.vm].flights;
    if (flight.part == 0) seat_merged(obligation);
    update(obligation);
  }
  const auto flushes =
      std::stable_partition(processor.flushes.begin(), processor.flushes.end(), stays);
  std::for_each(flushes, processor.flushes.end(), [&](const Flush& each) { finish_flush(each); });
  processor.flushes.erase(flushes, processor.flushes.end());
}

void Checker::barrier_issued(const Moment& when, Barrier barrier) {
  now(when, "a barrier was executed");
  // Entering the guest synchronises as an ISB does (Arm ARM D1, "Context synchronization event").
  if (barrier == Barrier::Isb) return;
  Processor& processor = processors_[when.processor];
  const bool own = barrier == Barrier::DsbNsh || barrier == Barrier::DsbNshst;
  processor.own_barrier = ++order_;
  if (own) return own_barrier(when.processor, barrier == Barrier::DsbNsh);
  processor.barrier = order_;
  for (const u32 vm : processor.unseen) guests_[vm].unseen.erase(when.processor);
  processor.unseen.clear();
  processor.fresh.clear();
  look_again(processor.unordered);
  if (barrier != Barrier::DsbIsh) return;
  processor.waited = order_;
  complete(when.processor);
}

/// "DSB NSH": its own walks see the stores before, and its own fences are complete; nothing is said
/// of other processors (Arm ARM B2, "Data Synchronization Barrier").
void Checker::own_barrier(u32 number, bool waits) {
  Processor& processor = processors_[number];
  for (const u32 vm : processor.unseen) {
    Unseen& unseen = guests_[vm].unseen[number];
    for (Obligation& each : unseen.fresh) each.seen_by_own = true;
    for (Obligation& each : unseen.waiting) each.seen_by_own = true;
  }
  look_again(processor.unordered);
  if (!waits) return;
  processor.waited = order_;
  complete(number, false);
}

}  // namespace nestwalk::checker
