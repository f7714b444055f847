// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/walker.hpp"

#include <algorithm>

namespace nestwalk::models {
namespace {

using addrspace::low_mask;

constexpr u64 kUnknown = ~u64{0};

// The stricter of the two: x86's combination of EPT and PAT, Arm's of both stages without FWB, for
// the types that guests use (Arm ARM D8, "Combining stage 1 and stage 2 memory type attributes").
// RISC-V's first stage overrides the second, unless it leaves the type open (Svpbmt).
MemoryType combine(const Extension& extension, MemoryType guest, MemoryType nested) {
  if (extension.first_stage_type_counts) {
    return guest == MemoryType::WriteBack ? nested : guest;
  }
  return is_device(guest) && is_device(nested) ? std::min(guest, nested) : std::max(guest, nested);
}

// The first of the reasons to refuse a leaf that concern its flags and rights.
FaultKind refusal(const Entry& leaf, const StageRules& rules, bool permitted, bool write) {
  const bool missing = (!leaf.accessed && rules.accessed == Upkeep::Faults) ||
                       (write && !leaf.dirty && rules.dirty == Upkeep::Faults);
  if (rules.flag_before_permission && missing) return FaultKind::AccessFlag;
  if (!permitted) return FaultKind::Permission;
  return missing ? FaultKind::AccessFlag : FaultKind::None;
}

bool needs_update(const Entry& leaf, const StageRules& rules, bool write) {
  return (!leaf.accessed && rules.accessed == Upkeep::Updated) ||
         (write && !leaf.dirty && rules.dirty == Upkeep::Updated);
}

// Will a write through this leaf need no update?
bool is_settled(const Entry& leaf, const StageRules& rules) {
  return leaf.dirty || rules.dirty == Upkeep::Ignored;
}

}  // namespace

Walker::Walker(Wheel& wheel, HostMemory& memory, MemoryHierarchy& hierarchy,
               MemoryHierarchy::PathId path, const WalkerShape& shape)
    : wheel_(wheel),
      memory_(memory),
      hierarchy_(hierarchy),
      path_(path),
      free_slots_(shape.slots),
      guest_cache_(shape.guest_walk_cache),
      nested_cache_(shape.nested_walk_cache),
      nested_tlb_(shape.nested_tlb) {}

u32 Walker::take_walk() {
  if (free_.empty()) {
    walks_.push_back(std::make_unique<Walk>());
    free_.reserve(walks_.size());
    return static_cast<u32>(walks_.size() - 1);
  }
  const u32 number = free_.back();
  free_.pop_back();
  return number;
}

Walker::Ticket Walker::submit(const WalkRequest& request, Actor& owner, u32 what) {
  const u32 number = take_walk();
  Walk& walk = *walks_[number];
  walk.request = request;
  walk.owner = &owner;
  walk.what = what;
  walk.active = true;
  walk.restart = false;
  walk.state = State::Begin;
  walk.record.start = wheel_.now();
  walk.record.restarts = 0;
  if (free_slots_ == 0) {
    queue_.push_back(number);
    return {number, false};
  }
  --free_slots_;
  return {number, run(number)};
}

void Walker::give_back(u32 number) {
  walks_[number]->active = false;
  free_.push_back(number);
  if (queue_.empty()) {
    ++free_slots_;
    return;
  }
  // The slot passes on in this cycle, after whatever is going on.
  wheel_.schedule(wheel_.now(), *this, queue_.front());
  queue_.pop_front();
}

void Walker::on_cycle(u32 number) {
  Walk& walk = *walks_[number];
  if (walk.restart) [[unlikely]] {  // only who waits can be told to
    walk.restart = false;
    looked(walk, step::kAgain, 0, false);
    ++walk.record.restarts;
    walk.state = State::Begin;
  }
  if (run(number)) walk.owner->on_cycle(walk.what);
}

// From what it waited for until it waits again; true when the walk is done. Flat: a walk passes
// here some ten times, and calls would cost as much as what they do.
[[gnu::flatten]] bool Walker::run(u32 number) {
  Walk& walk = *walks_[number];
  for (bool due = true; due;) {
    switch (walk.state) {
      case State::Begin:
        due = on_begin(walk, number);
        break;
      case State::GuestCache:
        due = on_guest_cache(walk, number);
        break;
      case State::GuestEntry:
        due = on_guest_entry(walk, number);
        break;
      case State::GuestUpdated:
        due = on_guest_updated(walk, number);
        break;
      case State::NestedTlb:
        due = on_nested_tlb(walk, number);
        break;
      case State::NestedCache:
        due = on_nested_cache(walk, number);
        break;
      case State::NestedEntry:
        due = on_nested_entry(walk, number);
        break;
      case State::NestedUpdated:
        due = on_nested_updated(walk, number);
        break;
      case State::Done:
        return true;
    }
  }
  return false;
}

// The first stage --------------------------------------------------------------------------------

bool Walker::on_begin(Walk& walk, u32 number) {
  const Stage& guest = walk.request.regime->guest_of(walk.request.address);
  walk.guest = &guest;
  if (walk.record.restarts == 0) looked(walk, step::kQueued, 0, false);
  walk.record.begin = wheel_.now();
  walk.record.count = 0;
  walk.fault = {};
  walk.result = {};
  walk.fill_guest_cache = false;
  if (!guest.on()) {
    walk.result.guest = Rights::all();
    walk.result.guest_shift = Translation::kUnlimited;
    walk.result.dirty = walk.result.guest_dirty = true;
    return begin_nested(walk, Purpose::Data, walk.request.address, number);
  }
  if (!guest.geometry.accepts(walk.request.address)) {
    walk.guest_level = static_cast<u8>(guest.geometry.root_level());
    return stop_guest(walk, FaultKind::BadAddress);
  }
  walk.state = State::GuestCache;
  return spend(guest_cache_.latency_cycles(), number);
}

bool Walker::on_guest_cache(Walk& walk, u32 number) {
  const Regime& regime = *walk.request.regime;
  const CachedTable* const known = guest_cache_.find(walk.request.address, regime.combined);
  looked(walk, step::kGuestCache, walk.request.address, known != nullptr);
  if (known == nullptr) {
    walk.guest_level = static_cast<u8>(walk.guest->geometry.root_level());
    walk.guest_limits = kNoLimits;
    walk.guest_table = walk.guest->root;
    return translate_table(walk, number);
  }
  walk.guest_known = *known;
  walk.guest_level = known->level;
  walk.guest_limits = known->limits;
  walk.guest_table = known->table_guest;
  walk.guest_slot =
      slot_of(known->table_host, walk.guest->geometry, walk.request.address, walk.guest_level);
  spared(walk, known->table_host, Served::WalkCache, walk.guest_level, WalkReference::kNoLevel,
         guest_cache_.latency_cycles());
  return read_guest(walk, number);
}

bool Walker::translate_table(Walk& walk, u32 number) {
  const u64 slot =
      slot_of(walk.guest_table, walk.guest->geometry, walk.request.address, walk.guest_level);
  return begin_nested(walk, Purpose::Table, slot, number);
}

bool Walker::read_guest(Walk& walk, u32 number) {
  walk.state = State::GuestEntry;
  return reference(walk, walk.guest_slot, false, false, number);
}

// The host address of a first-stage entry is known.
bool Walker::table_is_known(Walk& walk, u32 number) {
  const Regime& regime = *walk.request.regime;
  const u64 offset = walk.nested_input - walk.guest_table;
  walk.guest_slot = walk.nested.host + (walk.nested_input & low_mask(walk.nested.leaf_shift));
  const Rights write = Rights::needed(AccessKind::Write, true);
  const unsigned covers = walk.guest->geometry.shift(walk.guest_level + 1u);
  const auto known_to = [&](CachedTable& table) {
    table.table_guest = walk.guest_table;
    table.table_host = walk.guest_slot - offset;
    table.limits = walk.guest_limits;
    table.level = walk.guest_level;
    table.nested_shift = walk.nested.leaf_shift;
    table.writable = walk.nested.rights.permit(write) && walk.nested.dirty;
    table.covers_shift = static_cast<u8>(covers);
  };
  known_to(walk.guest_known);
  if (walk.guest_level == 0) {
    guest_tables_.learn(walk.request.address, walk.guest->geometry, walk.guest_known.table_host);
  }
  // A table may lie in several pages of the second stage: then one host address does not name it.
  if (walk.fill_guest_cache && walk.nested.leaf_shift >= walk.guest->geometry.page_shift) {
    CachedTable* const place =
        guest_cache_.make_place(walk.request.address, covers, regime.combined);
    if (place != nullptr) known_to(*place);
  }
  walk.fill_guest_cache = false;
  return read_guest(walk, number);
}

bool Walker::on_guest_entry(Walk& walk, u32 number) {
  stamp(walk);
  if (!memory_.contains(Hpa(walk.guest_slot), sizeof(u64))) {
    return stop_guest(walk, FaultKind::BusError);
  }
  walk.guest_raw = memory_.load(Hpa(walk.guest_slot));
  tell(walk, step::kGuestEntry, walk.guest_raw, walk.guest_raw);
  const Entry entry = walk.guest->format->decode(walk.guest_raw, walk.guest_level);
  switch (entry.kind) {
    case EntryKind::Invalid:
      return stop_guest(walk, FaultKind::NotPresent);
    case EntryKind::Malformed:
      return stop_guest(walk, FaultKind::Malformed);
    case EntryKind::Table:
      return guest_table_entry(walk, entry, number);
    case EntryKind::Leaf:
      break;
  }
  return guest_leaf(walk, entry, number);
}

bool Walker::guest_table_entry(Walk& walk, const Entry& entry, u32 number) {
  const StageRules& rules = walk.guest->format->rules();
  if (rules.accessed_in_tables && !entry.accessed && !walk.request.peek) {
    return update_guest(walk, number);
  }
  walk.guest_limits = walk.guest_limits & entry.access;
  walk.guest_table = entry.address;
  --walk.guest_level;
  walk.fill_guest_cache = guest_cache_.present();
  return translate_table(walk, number);
}

bool Walker::guest_leaf(Walk& walk, const Entry& entry, u32 number) {
  const Regime& regime = *walk.request.regime;
  const StageRules& rules = walk.guest->format->rules();
  const bool write = walk.request.access == AccessKind::Write;
  const Rights rights = Rights::guest(entry.access & walk.guest_limits, regime.privilege);
  const FaultKind reason = refusal(entry, rules, rights.permit(walk.request.needed()), write);
  if (reason != FaultKind::None && !walk.request.peek) return stop_guest(walk, reason);
  if (needs_update(entry, rules, write) && !walk.request.peek) return update_guest(walk, number);
  walk.result.guest = rights;
  walk.result.guest_shift = static_cast<u8>(walk.guest->geometry.shift(walk.guest_level));
  walk.result.memory = entry.memory;
  walk.result.dirty = walk.result.guest_dirty = is_settled(entry, rules);
  walk.result.global = entry.access.has(kGlobal);
  const u64 offset = walk.request.address & low_mask(walk.result.guest_shift);
  return begin_nested(walk, Purpose::Data, entry.address + offset, number);
}

// Setting a flag writes to guest-physical memory: the second stage must permit that, and set its
// own dirty flag first.
bool Walker::update_guest(Walk& walk, u32 number) {
  if (!walk.guest_known.writable) {
    const u64 slot = walk.guest_table + (walk.guest_slot - walk.guest_known.table_host);
    return begin_nested(walk, Purpose::TableUpdate, slot, number);
  }
  walk.state = State::GuestUpdated;
  return reference(walk, walk.guest_slot, true, false, number);
}

bool Walker::on_guest_updated(Walk& walk, u32 number) {
  stamp(walk);
  const EntryFormat& format = *walk.guest->format;
  const Entry entry = format.decode(walk.guest_raw, walk.guest_level);
  const bool write = entry.kind == EntryKind::Leaf && walk.request.access == AccessKind::Write;
  const u64 next = format.updated(walk.guest_raw, write);
  tell(walk, step::kGuestUpdate, walk.guest_raw, next);
  if (!memory_.compare_exchange(Hpa(walk.guest_slot), walk.guest_raw, next)) {
    return read_guest(walk, number);  // somebody changed the entry meanwhile
  }
  walk.guest_raw = next;
  const Entry now = format.decode(next, walk.guest_level);
  return now.kind == EntryKind::Table ? guest_table_entry(walk, now, number)
                                      : guest_leaf(walk, now, number);
}

// The second stage -------------------------------------------------------------------------------

bool Walker::begin_nested(Walk& walk, Purpose purpose, u64 input, u32 number) {
  const Stage& nested = walk.request.regime->nested;
  walk.purpose = purpose;
  walk.nested_input = input;
  if (!nested.on()) {
    walk.nested = {0, Rights::all(), MemoryType::WriteBack, Translation::kUnlimited, true};
    return nested_done(walk, number);
  }
  const bool for_table = purpose != Purpose::Data;
  walk.nested_wanted = for_table ? Rights::needed(AccessKind::Read, true) : walk.request.needed();
  walk.nested_writes = !for_table && walk.request.access == AccessKind::Write;
  if (purpose == Purpose::TableUpdate ||
      (for_table && nested.format->rules().table_reads_are_writes)) {
    walk.nested_wanted = Rights(static_cast<u8>(walk.nested_wanted.bits() |
                                                Rights::needed(AccessKind::Write, true).bits()));
    walk.nested_writes = true;
  }
  walk.nested_level = static_cast<u8>(nested.geometry.root_level());
  walk.nested_limits = kNoLimits;
  // An intermediate address beyond the tables: Arm's level 0 translation fault, RISC-V's guest-page
  // fault, and an EPT violation for bits 51:48 with four levels.
  if (!nested.geometry.accepts(walk.nested_input)) {
    return stop_nested(walk, FaultKind::BadAddress, {});
  }
  walk.state = State::NestedTlb;
  return spend(nested_tlb_.latency_cycles(), number);
}

bool Walker::on_nested_tlb(Walk& walk, u32 number) {
  const CachedNested* const known =
      nested_tlb_.find(walk.nested_input, walk.request.regime->nested_only);
  const bool missed = known == nullptr || (walk.nested_writes && !known->dirty);
  looked(walk, step::kNestedTlb, walk.nested_input, !missed);
  if (missed) {
    walk.nested_changes = known == nullptr ? nested_tlb_.changes() : kUnknown;
    walk.state = State::NestedCache;
    return spend(nested_cache_.latency_cycles(), number);
  }
  const Geometry& shape = walk.request.regime->nested.geometry;
  walk.nested_level = static_cast<u8>((known->leaf_shift - shape.page_shift) / shape.index_bits);
  spared(walk, walk.nested_input, Served::NestedTlb,
         walk.purpose == Purpose::Data ? WalkReference::kNoLevel : walk.guest_level,
         walk.nested_level, nested_tlb_.latency_cycles());
  const Rights rights = nested_rights(walk, known->rights);
  if (!rights.permit(walk.nested_wanted)) {
    return stop_nested(walk, FaultKind::Permission, Access(rights.bits() & 7));
  }
  walk.nested = *known;
  return nested_done(walk, number);
}

bool Walker::on_nested_cache(Walk& walk, u32 number) {
  const CachedTable* const known =
      nested_cache_.find(walk.nested_input, walk.request.regime->nested_only);
  looked(walk, step::kNestedCache, walk.nested_input, known != nullptr);
  if (known != nullptr) {
    walk.nested_level = known->level;
    walk.nested_limits = known->limits;
    look_into(walk, known->table_host);
    spared(walk, known->table_host, Served::WalkCache,
           walk.purpose == Purpose::Data ? WalkReference::kNoLevel : walk.guest_level,
           walk.nested_level, nested_cache_.latency_cycles());
  } else {
    look_into(walk, walk.request.regime->nested.root);
  }
  return read_nested(walk, number);
}

void Walker::look_into(Walk& walk, u64 table) {
  const Geometry& shape = walk.request.regime->nested.geometry;
  walk.nested_slot = slot_of(table, shape, walk.nested_input, walk.nested_level);
}

bool Walker::read_nested(Walk& walk, u32 number) {
  walk.state = State::NestedEntry;
  return reference(walk, walk.nested_slot, false, true, number);
}

bool Walker::on_nested_entry(Walk& walk, u32 number) {
  stamp(walk);
  if (!memory_.contains(Hpa(walk.nested_slot), sizeof(u64))) {
    return stop_nested(walk, FaultKind::BusError, {});
  }
  walk.nested_raw = memory_.load(Hpa(walk.nested_slot));
  tell(walk, step::kNestedEntry, walk.nested_raw, walk.nested_raw);
  const EntryFormat& format = *walk.request.regime->nested.format;
  const Entry entry = format.decode(walk.nested_raw, walk.nested_level);
  switch (entry.kind) {
    case EntryKind::Invalid:
      return stop_nested(walk, FaultKind::NotPresent, {});
    case EntryKind::Malformed:
      return stop_nested(walk, FaultKind::Malformed, {});
    case EntryKind::Table:
      if (!format.rules().accessed_in_tables || entry.accessed || walk.request.peek) {
        return nested_table_entry(walk, entry, number);
      }
      break;
    case EntryKind::Leaf: {
      const Rights rights = nested_rights(walk, Rights::nested(entry.access & walk.nested_limits));
      const bool permitted = rights.permit(walk.nested_wanted);
      const FaultKind reason = refusal(entry, format.rules(), permitted, walk.nested_writes);
      if (reason != FaultKind::None && !walk.request.peek) {
        return stop_nested(walk, reason, Access(rights.bits() & 7));
      }
      if (walk.request.peek || !needs_update(entry, format.rules(), walk.nested_writes)) {
        return nested_leaf(walk, entry, number);
      }
      break;
    }
  }
  walk.state = State::NestedUpdated;
  return reference(walk, walk.nested_slot, true, true, number);
}

bool Walker::nested_table_entry(Walk& walk, const Entry& entry, u32 number) {
  const Regime& regime = *walk.request.regime;
  walk.nested_limits = walk.nested_limits & entry.access;
  const unsigned shift = regime.nested.geometry.shift(walk.nested_level);
  --walk.nested_level;
  look_into(walk, entry.address);
  if (walk.nested_level == 0) {
    nested_tables_.learn(walk.nested_input, regime.nested.geometry, entry.address);
  }
  if (nested_cache_.present()) {
    CachedTable* const place =
        nested_cache_.make_place(walk.nested_input, shift, regime.nested_only);
    if (place != nullptr) {
      place->table_host = entry.address;
      place->limits = walk.nested_limits;
      place->level = walk.nested_level;
      place->covers_shift = static_cast<u8>(shift);
    }
  }
  return read_nested(walk, number);
}

bool Walker::nested_leaf(Walk& walk, const Entry& entry, u32 number) {
  const Regime& regime = *walk.request.regime;
  const unsigned shift = regime.nested.geometry.shift(walk.nested_level);
  const Rights rights = Rights::nested(entry.access & walk.nested_limits);
  const bool settled = is_settled(entry, regime.nested.format->rules());
  const bool absent = nested_tlb_.changes() == walk.nested_changes;
  CachedNested* const place =
      nested_tlb_.make_place(walk.nested_input, shift, regime.nested_only, absent);
  for (CachedNested* const leaf : {&walk.nested, place}) {
    if (leaf == nullptr) continue;
    leaf->host = entry.address;
    leaf->rights = rights;
    leaf->memory = entry.memory;
    leaf->leaf_shift = static_cast<u8>(shift);
    leaf->dirty = settled;
  }
  return nested_done(walk, number);
}

bool Walker::on_nested_updated(Walk& walk, u32 number) {
  stamp(walk);
  const EntryFormat& format = *walk.request.regime->nested.format;
  const bool leaf = format.decode(walk.nested_raw, walk.nested_level).kind == EntryKind::Leaf;
  const u64 next = format.updated(walk.nested_raw, leaf && walk.nested_writes);
  tell(walk, step::kNestedUpdate, walk.nested_raw, next);
  if (!memory_.compare_exchange(Hpa(walk.nested_slot), walk.nested_raw, next)) {
    return read_nested(walk, number);
  }
  const Entry now = format.decode(next, walk.nested_level);
  return leaf ? nested_leaf(walk, now, number) : nested_table_entry(walk, now, number);
}

bool Walker::nested_done(Walk& walk, u32 number) {
  switch (walk.purpose) {
    case Purpose::Table:
      return table_is_known(walk, number);
    case Purpose::TableUpdate:
      walk.guest_known.writable = true;
      return update_guest(walk, number);
    case Purpose::Data:
      break;
  }
  return data_is_known(walk);
}

bool Walker::data_is_known(Walk& walk) {
  Translation& result = walk.result;
  result.nested = nested_rights(walk, walk.nested.rights);
  result.nested_shift = walk.nested.leaf_shift;
  result.held_shift = std::min(result.guest_shift, result.nested_shift);
  const Stage& nested = walk.request.regime->nested;
  if (nested.on()) {
    result.memory = combine(nested.format->extension(), result.memory, walk.nested.memory);
  }
  result.dirty = result.dirty && walk.nested.dirty;
  const u64 host = walk.nested.host + (walk.nested_input & low_mask(walk.nested.leaf_shift));
  hierarchy_.prefetch(path_, Hpa(host));  // whoever asks will most likely go on to the data
  const u64 offset = walk.request.address & low_mask(result.shift());
  result.host = host - offset;
  result.guest_physical = walk.nested_input - offset;
  return finish(walk);
}

bool Walker::finish(Walk& walk) {
  walk.record.end = wheel_.now();
  walk.state = State::Done;
  return true;
}

// Time and references ----------------------------------------------------------------------------

bool Walker::spend(u32 cycles, u32 number) {
  if (cycles == 0 || wheel_.advance(wheel_.now() + cycles)) return true;
  wheel_.schedule(wheel_.now() + cycles, *this, number);
  return false;
}

bool Walker::reference(Walk& walk, u64 address, bool update, bool nested, u32 number) {
  WalkRecord& record = walk.record;
  check(record.count < WalkRecord::kMost, "walker", "at most 128 references in a walk",
        wheel_.now(), address);
  const bool for_data = nested && walk.purpose == Purpose::Data;
  WalkReference& made = record.references[record.count++];
  made.address = address;
  made.start = wheel_.now();
  made.cycles = 0;
  made.guest_level = for_data ? WalkReference::kNoLevel : walk.guest_level;
  made.nested_level = nested ? walk.nested_level : WalkReference::kNoLevel;
  made.served = Served::None;
  made.update = update;
  return hierarchy_.access(path_, Hpa(address), update, *this, number, made.served);
}

void Walker::stamp(Walk& walk) const {
  WalkReference& last = walk.record.references[walk.record.count - 1];
  last.cycles = static_cast<u32>(wheel_.now() - last.start);
}

void Walker::spared(Walk& walk, u64 address, Served served, u8 guest_level, u8 nested_level,
                    u32 cycles) {
  WalkRecord& record = walk.record;
  check(record.count < WalkRecord::kMost, "walker", "at most 128 references in a walk",
        wheel_.now(), address);
  record.references[record.count++] = {
      address, wheel_.now() - cycles, cycles, guest_level, nested_level, served, false};
}

// For a witness ----------------------------------------------------------------------------------

void Walker::witness_lookup(const Walk& walk, const StepKind& kind, u64 address, bool hit) const {
  WitnessStep told;
  told.kind = &kind;
  told.address = address;
  told.hit = hit;
  // A structure that is not there misses in no time.
  if (hit) return walk.request.witness->tell(wheel_.now(), told);
  walk.request.witness->tell_rest(wheel_.now(), told);
}

void Walker::witness_entry(const Walk& walk, const StepKind& kind, u64 before, u64 value) const {
  const WalkReference& last = walk.record.references[walk.record.count - 1];
  WitnessStep told;
  told.kind = &kind;
  told.address = last.address;
  told.before = before;
  told.value = value;
  told.guest_level = last.guest_level;
  told.nested_level = last.nested_level;
  told.served = last.served;
  walk.request.witness->tell(wheel_.now(), told);
}

// Faults -----------------------------------------------------------------------------------------

bool Walker::stop_guest(Walk& walk, FaultKind kind) {
  walk.fault.kind = kind;
  walk.fault.level = walk.guest_level;
  walk.fault.access = walk.request.access;
  walk.fault.user = walk.request.user;
  walk.fault.virtual_address = walk.request.address;
  return finish(walk);
}

bool Walker::stop_nested(Walk& walk, FaultKind kind, Access granted) {
  stop_guest(walk, kind);
  const Regime& regime = *walk.request.regime;
  walk.fault.nested = true;
  walk.fault.level = walk.nested_level;
  walk.fault.for_table = walk.purpose != Purpose::Data;
  walk.fault.table_write = walk.purpose == Purpose::TableUpdate;
  walk.fault.reads_as_writes = regime.nested.format->rules().table_reads_are_writes;
  walk.fault.granted = granted;
  walk.fault.guest_physical = walk.nested_input;
  return true;
}

}  // namespace nestwalk::models
