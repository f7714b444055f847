// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a walk does in the first stage between its waits. For walker.cpp alone: as calls to another
// source, walks took longer.
#pragma once

#include "leaf_checks.hpp"
#include "nestwalk/models/translation/walker.hpp"

namespace nestwalk::models {

// Table, if there is a first stage.
inline Walker::Next Walker::begin(Walk& walk) {
  if (walk.record_.restarts == 0) looked(walk, step::kQueued, 0, false);
  walk.record_.begin = wheel_.now();
  walk.record_.count = 0;
  walk.record_.step_cycles = walk.record_.assist_cycles = walk.record_.nested_waiting = 0;
  walk.confirms_ = walk.request_.confirms;
  return begin_at_root(walk);
}

inline Walker::Next Walker::begin_at_root(Walk& walk) {
  const Stage& guest = walk.request_.regime->guest_of(walk.request_.address);
  walk.guest_ = &guest;
  walk.fault_ = {};
  walk.result_ = {};
  walk.fill_guest_cache_ = false;
  if (!guest.on()) {
    walk.result_.guest = Rights::all();
    walk.result_.guest_shift = walk.guest_covers_ = Translation::kUnlimited;
    walk.result_.dirty = walk.result_.guest_dirty = true;
    walk.data_ = walk.request_.address;
    return Next::Leaf;
  }
  walk.guest_level_ = static_cast<u8>(guest.geometry.root_level());
  walk.guest_limits_ = kNoLimits;
  walk.guest_table_ = guest.root;
  if (!guest.geometry.accepts(walk.request_.address)) {
    return stop_guest(walk, FaultKind::BadAddress);
  }
  if (prefetches_tables_) [[unlikely]]
    fetch_ahead(guest, walk.request_.address);
  return Next::Table;
}

// Read, if the host address of the entry is known; Table, if at most the guest-physical one is.
inline Walker::Next Walker::look_into_guest_cache(Walk& walk) {
  const CachedTable* const known =
      walk.confirms_
          ? nullptr
          : guest_cache_.tables().find(walk.request_.address, walk.request_.regime->combined);
  looked(walk, step::kGuestCache, walk.request_.address, known != nullptr);
  if (known == nullptr) return Next::Table;
  walk.guest_level_ = known->level;
  walk.guest_limits_ = known->limits;
  walk.guest_table_ = known->table_guest;
  if (guest_yields_ == Yields::Guest) {
    spared(walk, known->table_guest, Served::WalkCache, walk.guest_level_, WalkReference::kNoLevel,
           guest_cache_.latency_cycles());
    return Next::Table;
  }
  walk.guest_known_ = *known;
  walk.guest_slot_ =
      walk.guest_->geometry.slot(known->table_host, walk.request_.address, walk.guest_level_);
  spared(walk, known->table_host, Served::WalkCache, walk.guest_level_, WalkReference::kNoLevel,
         guest_cache_.latency_cycles());
  return Next::Read;
}

// The host address of a first-stage entry is known.
inline void Walker::enter_table(Walk& walk) {
  const u64 offset = walk.nested_input_ - walk.guest_table_;
  walk.guest_slot_ = walk.nested_.host_of(walk.nested_input_);
  const Rights write = Rights::needed(AccessKind::Write, true);
  const unsigned covers = walk.guest_->geometry.shift(walk.guest_level_ + 1u);
  const auto known_to = [&](CachedTable& table) {
    table.table_guest = walk.guest_table_;
    table.table_host = walk.guest_slot_ - offset;
    table.limits = walk.guest_limits_;
    table.level = walk.guest_level_;
    table.nested_shift = walk.nested_.leaf_shift;
    table.writable = walk.nested_.rights.permit(write) && walk.nested_.dirty;
    table.covers_shift = static_cast<u8>(covers);
  };
  known_to(walk.guest_known_);
  if (walk.guest_level_ == 0) {
    guest_tables_.learn(walk.request_.address, walk.guest_->geometry, walk.guest_known_.table_host);
  }
  // A table may lie in several pages of the second stage: then one host address does not name it.
  if (walk.fill_guest_cache_ && walk.nested_.leaf_shift >= walk.guest_->geometry.page_shift) {
    CachedTable* const place = guest_cache_.tables().make_place(walk.request_.address, covers,
                                                                walk.request_.regime->combined);
    if (place != nullptr) known_to(*place);
  }
  walk.fill_guest_cache_ = false;
}

inline Walker::Next Walker::take_guest_entry(Walk& walk) {
  if (!memory_.contains(Hpa(walk.guest_slot_), sizeof(u64))) {
    return stop_guest(walk, FaultKind::BusError);
  }
  walk.guest_raw_ = memory_.load(Hpa(walk.guest_slot_));
  tell(walk, step::kGuestEntry, walk.guest_raw_, walk.guest_raw_);
  return take_guest(
      walk, walk.guest_->format->decode(walk.guest_raw_, walk.guest_level_, walk.guest_slot_));
}

inline Walker::Next Walker::take_guest(Walk& walk, const Entry& entry) {
  const StageRules& rules = walk.guest_->format->rules();
  const bool peek = walk.request_.peek;
  switch (entry.kind) {
    case EntryKind::Invalid:
      return stop_guest(walk, FaultKind::NotPresent);
    case EntryKind::Malformed:
      return stop_guest(walk, FaultKind::Malformed);
    case EntryKind::Table:
      if (rules.accessed_in_tables && !entry.accessed && !peek) {
        return walk.request_.may_set_flags(rules, false) ? Next::Update
                                                         : stop_guest(walk, FaultKind::AccessFlag);
      }
      walk.guest_limits_ = walk.guest_limits_ & entry.access;
      walk.fill_guest_cache_ = guest_cache_.present() && guest_yields_ == Yields::Host;
      if (guest_yields_ == Yields::Guest) remember_guest_table(walk, entry);
      walk.guest_table_ = entry.address;
      --walk.guest_level_;
      return Next::Table;
    case EntryKind::Leaf:
      break;
  }
  const bool write = walk.request_.access == AccessKind::Write;
  const Rights rights =
      Rights::guest(entry.access & walk.guest_limits_, walk.request_.regime->privilege, rules);
  const FaultKind reason = refusal(entry, rules, rights.permit(walk.request_.needed()), write);
  if (reason != FaultKind::None && !peek) return stop_guest(walk, reason);
  if (needs_update(entry, rules, write) && !peek) {
    return walk.request_.may_set_flags(rules, write && !entry.dirty)
               ? Next::Update
               : stop_guest(walk, FaultKind::AccessFlag);
  }
  Translation& result = walk.result_;
  result.guest = rights;
  result.guest_shift = static_cast<u8>(walk.guest_->geometry.shift(walk.guest_level_));
  walk.guest_covers_ = coalesced(*walk.guest_->format, walk.guest_slot_, entry, result.guest_shift);
  result.memory = entry.memory;
  result.dirty = result.guest_dirty = is_settled(entry, rules);
  result.global = entry.access.has(kGlobal);
  walk.data_ = entry.address + (walk.request_.address & addrspace::low_mask(result.guest_shift));
  return Next::Leaf;
}

inline Walker::Next Walker::update_guest_entry(Walk& walk) {
  const EntryFormat& format = *walk.guest_->format;
  const Entry entry = format.decode(walk.guest_raw_, walk.guest_level_, walk.guest_slot_);
  const bool write = entry.kind == EntryKind::Leaf && walk.request_.access == AccessKind::Write;
  const u64 next = format.updated(walk.guest_raw_, write);
  tell(walk, step::kGuestUpdate, walk.guest_raw_, next);
  if (!memory_.compare_exchange(Hpa(walk.guest_slot_), walk.guest_raw_, next)) return Next::Read;
  walk.guest_raw_ = next;
  return take_guest(walk, format.decode(next, walk.guest_level_, walk.guest_slot_));
}

}  // namespace nestwalk::models
