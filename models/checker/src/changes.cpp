// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// From a store to the obligations that it opens.

#include <algorithm>

#include "nestwalk/checker/checker.hpp"
#include "nestwalk/models/base/hex.hpp"
#include "obligation.hpp"
#include "range_index.hpp"

namespace nestwalk::checker {

using models::Entry;
using models::EntryKind;
using models::StageRules;
using models::Upkeep;
using Need = Demand::Need;

namespace {

bool is_valid(const Entry& entry) {
  return entry.kind == EntryKind::Leaf || entry.kind == EntryKind::Table;
}

bool allows(addrspace::Access access, addrspace::Access wanted) { return access.has(wanted); }

/// One translation became another one, of the same address.
Change compare_leaves(const Entry& old, const Entry& now, const StageRules& rules) {
  if (old.address != now.address) return Change::Moved;
  if (old.memory != now.memory) return Change::MemoryType;
  if (!allows(now.access, old.access)) return Change::LessPermission;
  const bool cleaned = (old.dirty && !now.dirty && rules.dirty != Upkeep::Ignored) ||
                       (old.accessed && !now.accessed && rules.accessed != Upkeep::Ignored);
  if (cleaned) return Change::Cleaned;
  // A flag that the hardware does not set permits what it forbade before.
  const bool set = (!old.dirty && now.dirty && rules.dirty == Upkeep::Faults) ||
                   (!old.accessed && now.accessed && rules.accessed == Upkeep::Faults);
  return set || old.access != now.access ? Change::MorePermission : Change::None;
}

}  // namespace

bool Checker::was_cached(u32 vm, const Entry& entry) const {
  if (!is_valid(entry)) return false;
  const auto& format = *tables_.vm(vm).nested.format;
  const bool flag_counts =
      format.extension().unaccessed_is_not_cached && entry.kind == EntryKind::Leaf;
  return !flag_counts || entry.accessed || format.rules().accessed != Upkeep::Faults;
}

Change Checker::compare(u32 vm, const Found& old, const Found& now) const {
  const Entry before = tables_.decode(vm, old.entry, old.level);
  Entry after = tables_.decode(vm, now.entry, now.level);
  const StageRules& rules = tables_.vm(vm).nested.format->rules();
  if (!is_valid(after)) return Change::Unmapped;
  if (before.kind == EntryKind::Table) {
    if (after.kind != EntryKind::Table || old.level != now.level) return Change::Table;
    if (before.address != after.address) return Change::Table;
    if (!allows(after.access, before.access)) return Change::LessPermission;
    return before.access == after.access ? Change::None : Change::MorePermission;
  }
  if (after.kind == EntryKind::Table) return compare_with_table(vm, old, now);
  after.address += old.start - now.start;
  return compare_leaves(before, after, rules);
}

/// A leaf became a table: do its leaves say the same?
Change Checker::compare_with_table(u32 vm, const Found& old, const Found& table) const {
  std::vector<Found> parts;
  tables_.collect(vm, table.entry, table.level, table.start, parts);
  u64 bytes = 0;
  Change worst = Change::Resized;
  for (const Found& part : parts) {
    const Entry entry = tables_.decode(vm, part.entry, part.level);
    if (entry.kind != EntryKind::Leaf) continue;
    Entry whole = tables_.decode(vm, old.entry, old.level);
    whole.address += part.start - old.start;
    bytes += tables_.bytes_of(vm, part.level);
    const Change change = compare_leaves(whole, entry, tables_.vm(vm).nested.format->rules());
    if (change == Change::None) continue;
    if (worst == Change::Resized || worst == Change::MorePermission) worst = change;
  }
  return bytes == tables_.bytes_of(vm, old.level) ? worst : Change::Unmapped;
}

bool Checker::translates(u32 vm, const Found& entry) const {
  const EntryKind kind = tables_.decode(vm, entry.entry, entry.level).kind;
  if (kind != EntryKind::Table) return kind == EntryKind::Leaf;
  std::vector<Found> parts;
  tables_.collect(vm, entry.entry, entry.level, entry.start, parts);
  for (const Found& part : parts) {
    if (tables_.decode(vm, part.entry, part.level).kind == EntryKind::Leaf) return true;
  }
  return false;
}

void Checker::entry_stored(const Moment& when, u64 slot, u64 before, u64 after) {
  now(when, "the entry was stored");
  const std::vector<Tables::Place> places = tables_.places_of(slot);
  if (places.empty()) return tables_.store(slot, after);
  ++processors_[when.processor].task->stores;
  // What hung below a table is cached by itself.
  std::vector<std::vector<Found>> below(places.size());
  for (std::size_t n = 0; n < places.size(); ++n) {
    const Tables::Place& place = places[n];
    if (before == after || tables_.decode(place.vm, before, place.level).kind != EntryKind::Table) {
      continue;
    }
    tables_.collect(place.vm, before, place.level, place.start, below[n]);
  }
  tables_.store(slot, after);
  check_free_tables(when);
  if (before == after) return;
  for (std::size_t n = 0; n < places.size(); ++n) {
    const Tables::Place& place = places[n];
    changed(when, place.vm, {place.level, place.start, before}, {place.level, place.start, after});
    for (const Found& each : below[n]) replaced(when, place.vm, each);
  }
}

/// An entry of a table that was unlinked: what does a walk find in its place?
void Checker::replaced(const Moment& when, u32 vm, const Found& old) {
  const Found current = tables_.walk(vm, old.start);
  if (current.level == old.level && current.entry == old.entry) return;
  const Change change = compare(vm, old, current);
  if (change != Change::None && change != Change::Resized) open(when, vm, old, current, change);
}

void Checker::changed(const Moment& when, u32 vm, const Found& old, const Found& now) {
  const Entry before = tables_.decode(vm, old.entry, old.level);
  const Entry after = tables_.decode(vm, now.entry, now.level);
  check_broken(when, vm, old, now);
  if (was_cached(vm, before)) {
    Change change = compare(vm, old, now);
    if (change == Change::Unmapped && before.kind == EntryKind::Table) change = Change::Table;
    if (change != Change::None) open(when, vm, old, now, change);
  } else if (is_valid(after) && translates(vm, now)) {
    open(when, vm, old, now, Change::MadeValid);
    if (after.kind != EntryKind::Table) return;
    // Where invalid entries are cached, a fence for each of the new leaves is not too much.
    if (tables_.vm(vm).nested.format->extension().demands.of(Change::MadeValid).need !=
        Need::Tolerable) {
      return;
    }
    std::vector<Found> below;
    tables_.collect(vm, now.entry, now.level, now.start, below);
    for (const Found& each : below) {
      if (tables_.decode(vm, each.entry, each.level).kind != EntryKind::Leaf) continue;
      open(when, vm, {each.level, each.start, 0}, each, Change::MadeValid);
    }
  }
}

void Checker::open(const Moment& when, u32 vm, const Found& old, const Found& now, Change change) {
  const Vm& guest = tables_.vm(vm);
  const models::Extension& extension = guest.nested.format->extension();
  const Demand& demand = extension.demands.of(change);
  if (demand.need == Need::Nothing) return;
  const bool made_valid = change == Change::MadeValid;
  if (made_valid && demand.need == Need::Tolerable && guest.caches_no_invalid) return;
  Task& task = *processors_[when.processor].task;
  const Found& stale = made_valid ? now : old;
  Obligation obligation;
  obligation.vm = vm;
  obligation.level = old.level;
  obligation.table = tables_.decode(vm, stale.entry, old.level).kind == EntryKind::Table;
  obligation.change = change;
  obligation.need = demand.need;
  obligation.start = old.start;
  obligation.bytes = tables_.bytes_of(vm, old.level);
  obligation.before = old.entry;
  obligation.after = now.entry;
  obligation.after_level = now.level;
  obligation.old = tables_.decode(vm, old.entry, old.level);
  obligation.when = when;
  obligation.operation = operation_on(when.processor);
  obligation.task = &task;
  obligation.serial = task.serial;
  obligation.order = ++order_;
  obligation.returned = task.depth == 0;
  // Elsewhere the fences order the stores before by themselves.
  obligation.posted = extension.needs_barriers;
  enlist(std::move(obligation));
}

void Checker::enlist(Obligation obligation) {
  const u32 vm = obligation.vm;
  Guest& guest = guests_[vm];
  if (obligation.need == Need::Visible) {
    Processor& processor = processors_[obligation.when.processor];
    processor.fresh.insert(vm);
    processor.unseen.insert(vm);
    guest.unseen[obligation.when.processor].fresh.push_back(std::move(obligation));
    return;
  }
  // Held by nobody: but the operation, who cannot know, may fence it.
  if (guest.ran == 0 && obligation.returned) return;
  constexpr std::size_t kMostClosed = 256;
  while (closed_.size() > kMostClosed) drop(*closed_.begin()->second);
  obligation.left[0] = obligation.left[1] = guest.ran;
  guest.live.push_back(std::move(obligation));
  Obligation& made = guest.live.back();
  made.self = std::prev(guest.live.end());
  made.opened = made.task->opened.insert(made.task->opened.end(), &made);
  if (made.need == Need::Fence) ++unreported_;
  replace_older(made);
  made.place = guest.places->add(made.start, made.bytes, made);
  open_guests_.insert(vm);
  seat(made, Look::Second);
  if (made.need != Need::Fence) return;
  if (made.returned) seat(made, Look::Entry);
  if (!is_valid(made.old)) return;
  made.target = targets_->add(made.old.address, made.target_bytes(vm_of(made)), made);
  made.has_target = true;
}

/// What is older at the same place, and is held by nobody else, needs the same fences: what was
/// found already, and what makes nothing but faults. What is made valid, and then gets more
/// permission, refuses more than what only got it. Of more than a few, the newest stand for all.
void Checker::replace_older(const Obligation& made) {
  if (made.change == Change::Resized) return;
  constexpr std::size_t kMostAtOnePlace = 8;
  std::vector<Obligation*> older;
  guests_[made.vm].places->for_each_at(made.start, made.bytes, [&](Obligation& each) {
    const bool covered = (each.held() & ~made.left[0]) == 0 && each.flights == 0;
    if (each.is_at_the_place_of(made) && covered) older.push_back(&each);
  });
  std::size_t kept = 0;
  std::for_each(older.rbegin(), older.rend(), [&](Obligation* each) {
    const bool found = each->settled && each->is_reported();
    const bool covers = made.need == Need::Fence && (found || each->makes_fault());
    if (covers || each->is_closed() || ++kept > kMostAtOnePlace) drop(*each);
  });
}

/// "Using break-before-make": whatever translated a part of this differently has to be gone.
void Checker::check_broken(const Moment& when, u32 vm, const Found& old, const Found& now) {
  if (!tables_.vm(vm).nested.format->extension().break_before_make) return;
  const Entry before = tables_.decode(vm, old.entry, old.level);
  const Entry after = tables_.decode(vm, now.entry, now.level);
  if (!is_valid(after)) return;
  const auto differs = [&](const Entry& stale) {
    return stale.kind != after.kind || stale.address != after.address ||
           stale.memory != after.memory;
  };
  Obligation broken;
  broken.vm = vm;
  broken.level = old.level;
  broken.start = old.start;
  broken.bytes = tables_.bytes_of(vm, old.level);
  broken.after = now.entry;
  broken.after_level = now.level;
  broken.when = when;
  broken.operation = operation_on(when.processor);
  if (was_cached(vm, before) && differs(before) && guests_[vm].ran != 0) {
    broken.change = before.kind == EntryKind::Table ? Change::Table : compare(vm, old, now);
    broken.before = old.entry;
    report(broken, Failure::BreakBeforeMake, {Failure::BreakBeforeMake}, guests_[vm].ran);
    return;
  }
  const Obligation* first = nullptr;
  guests_[vm].places->for_each(broken.start, broken.bytes, [&](const Obligation& each) {
    if (each.held() == 0 || (each.level == now.level && !differs(each.old))) return;
    if (first == nullptr || each.order < first->order) first = &each;
  });
  if (first == nullptr) return;
  Obligation stale = *first;
  const Verdict why = reason(stale, stale.held());
  broken.change = stale.change;
  broken.before = stale.before;
  broken.level = stale.level;
  report(broken, Failure::BreakBeforeMake, why, stale.held());
}

/// Given back while the tables lead there: it needs no stale entry to be reached.
void Checker::check_used(const Moment& when, u64 first, u64 bytes) {
  tables_.for_each_use(first, bytes, [&](const Tables::Place& place, u64 entry) {
    const u64 ran = guests_[place.vm].ran;
    const Change change = entry == 0 ? Change::Table : Change::Unmapped;
    if (ran != 0) report_used(when, place, entry, change, ran);
  });
}

void Checker::report_used(const Moment& when, const Tables::Place& place, u64 entry, Change change,
                          u64 processors) {
  Obligation live;
  live.vm = place.vm;
  live.level = live.after_level = place.level;
  live.start = place.start;
  live.bytes = tables_.bytes_of(place.vm, place.level);
  live.before = live.after = entry;
  live.change = change;
  live.when = when;
  live.operation = operation_on(when.processor);
  report(live, Failure::UseAfterFree, {Failure::TooEarly}, processors);
}

/// Linked although they are in memory that was given back, and not taken since.
void Checker::check_free_tables(const Moment& when) {
  for (const auto& [place, frame] : tables_.take_uses_of_free()) {
    const u64 ran = guests_[place.vm].ran;
    if (freed_tables_.insert(frame).second && ran != 0) {
      report_used(when, place, 0, Change::MadeValid, ran);
    }
  }
}

/// Given back before anybody ran the VM: it is used from now on. Memory that may have been taken
/// since is no table's of it, unless it is the root's.
void Checker::check_root(const Moment& when, u32 vm) {
  const models::Stage& nested = tables_.vm(vm).nested;
  const u8 level = static_cast<u8>(nested.geometry.root_level());
  for (const u64 frame : freed_tables_) {
    if (!tables_.is_free(frame)) continue;
    for (const Tables::Place& place : tables_.places_of(frame << addrspace::kFrameShift)) {
      if (place.vm != vm || place.level == level) continue;
      report_used(when, place, 0, Change::MadeValid, bit(when.processor));
    }
  }
  const u64 first = nested.root >> addrspace::kFrameShift;
  const u64 frames = std::max<u64>(nested.geometry.entries(level) * 8 / addrspace::kFrameBytes, 1);
  const auto freed = freed_tables_.lower_bound(first);
  if (freed == freed_tables_.end() || *freed - first >= frames) return;
  report_used(when, {vm, level, 0}, 0, Change::Table, bit(when.processor));
}

/// May a processor outside the guest walk its tables?
bool Checker::may_walk_outside(u32 number, u32 vm) const {
  const Processor& processor = processors_[number];
  if (processor.last_vm != vm || processor.left == 0) return false;
  switch (tables_.vm(vm).nested.format->extension().walks_outside) {
    case models::WalksOutside::Never:
      return false;
    case models::WalksOutside::UntilBarrier:
      return processor.waited < processor.left;
    case models::WalksOutside::Always:
      return true;
  }
  return false;
}

/// Given back while a processor may hold it. One that is in the guest uses it; one that is outside
/// has to fence before it enters, and that is seen there.
void Checker::judge_freed(const Moment& when, Obligation& obligation) {
  const u64 bad = obligation.held() & guests_[obligation.vm].inside;
  if (bad != 0) {
    obligation.use_pending = false;
    report(obligation, Failure::UseAfterFree, reason(obligation, bad), bad);
    return;
  }
  obligation.use_pending = true;
  seat(obligation, Look::Entry);
  if (obligation.old.kind != EntryKind::Table) return;
  u64 walking = 0;
  for (u32 number = 0; number < kMostProcessors; ++number) {
    const bool may =
        (obligation.held() & bit(number)) != 0 && may_walk_outside(number, obligation.vm);
    if (may) walking |= bit(number);
  }
  if (walking == 0) return;
  Obligation noted = obligation;
  noted.when = when;
  report(noted, Failure::FreedOutside, {Failure::FreedOutside}, walking);
}

void Checker::frames_freed(const Moment& when, u64 first, u64 bytes) {
  now(when, "memory was freed");
  targets_->for_each(first, bytes, [&](Obligation& each) {
    drop_target(each);
    if (each.held() != 0) judge_freed(when, each);
  });
  check_used(when, first, bytes);
  // Whatever comes to be in tables that are still linked, it is not what they said.
  for (const auto& [slot, entry] : tables_.linked_entries(first, bytes)) {
    entry_stored(when, slot, entry, 0);
  }
  for (const u64 frame : tables_.linked_frames(first, bytes)) freed_tables_.insert(frame);
  tables_.free(first, bytes);
}

void Checker::frames_allocated(const Moment& when, u64 first, u64 bytes) {
  now(when, "memory was taken");
  tables_.take(first, bytes);
  for (const u64 frame : tables_.linked_frames(first, bytes)) {
    if (freed_tables_.erase(frame) != 0) continue;
    throw TableError("memory without a table that is linked",
                     "the one at " + models::hex(frame << addrspace::kFrameShift));
  }
}

}  // namespace nestwalk::checker
