// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a walk does in the second stage between its waits, and with what both have found. For
// walker.cpp alone: as calls to another source, walks took longer.
#pragma once

#include "leaf_checks.hpp"
#include "nestwalk/models/translation/walker.hpp"

namespace nestwalk::models {

// Table, if there is a second stage.
inline Walker::Next Walker::begin_nested(Walk& walk) {
  const Stage& nested = walk.request_.regime->nested;
  if (!nested.on()) {
    constexpr u8 kAll = Translation::kUnlimited;
    walk.nested_ = {0, Rights::all(), MemoryType::WriteBack, kAll, true, kAll};
    return Next::Leaf;
  }
  const bool for_table = walk.purpose_ != Purpose::Data;
  walk.nested_wanted_ = for_table ? Rights::needed(AccessKind::Read, true) : walk.request_.needed();
  walk.nested_writes_ = !for_table && walk.request_.access == AccessKind::Write;
  if (walk.purpose_ == Purpose::TableUpdate ||
      (for_table && nested.format->rules().table_reads_are_writes)) {
    walk.nested_wanted_ = Rights(static_cast<u8>(walk.nested_wanted_.bits() |
                                                 Rights::needed(AccessKind::Write, true).bits()));
    walk.nested_writes_ = true;
  }
  walk.nested_level_ = static_cast<u8>(nested.geometry.root_level());
  walk.nested_limits_ = kNoLimits;
  // An intermediate address beyond the tables: Arm's level 0 translation fault, RISC-V's guest-page
  // fault, and an EPT violation for bits 51:48 with four levels.
  return nested.geometry.accepts(walk.nested_input_) ? Next::Table
                                                     : stop_nested(walk, FaultKind::BadAddress, {});
}

inline Rights Walker::nested_rights(const Walk& walk, Rights of_leaf, MemoryType memory) {
  const PrivilegeRules& rules = walk.request_.regime->privilege;
  if (walk.purpose_ == Purpose::Data) {
    return rules.nested_execute_is_read ? of_leaf.with_execute_as_read() : of_leaf;
  }
  return rules.tables_in_memory && addrspace::is_device(memory) ? Rights{} : of_leaf;
}

// Table, if it does not say what the walk wants to know.
inline Walker::Next Walker::look_into_nested_tlb(Walk& walk) {
  const CachedNested* const known =
      walk.confirms_ ? nullptr
                     : nested_tlb_.find(walk.nested_input_, walk.request_.regime->nested_only);
  const bool missed = known == nullptr || (walk.nested_writes_ && !known->dirty);
  looked(walk, step::kNestedTlb, walk.nested_input_, !missed);
  if (missed) {
    const bool is_absent = known == nullptr && !walk.confirms_;
    walk.nested_changes_ = is_absent ? nested_tlb_.changes() : kUnknownChanges;
    return Next::Table;
  }
  const Geometry& shape = walk.request_.regime->nested.geometry;
  walk.nested_level_ = static_cast<u8>((known->leaf_shift - shape.page_shift) / shape.index_bits);
  spared(walk, walk.nested_input_, Served::NestedTlb,
         walk.purpose_ == Purpose::Data ? WalkReference::kNoLevel : walk.guest_level_,
         walk.nested_level_, nested_tlb_.latency_cycles());
  const Rights rights = nested_rights(walk, known->rights, known->memory);
  if (!rights.permit(walk.nested_wanted_)) {
    return stop_nested(walk, FaultKind::Permission, Access(rights.bits() & 7));
  }
  walk.nested_ = *known;
  return Next::Leaf;
}

inline Walker::Next Walker::look_into_nested_cache(Walk& walk) {
  const Regime& regime = *walk.request_.regime;
  const CachedTable* const known =
      walk.confirms_ ? nullptr
                     : nested_cache_.tables().find(walk.nested_input_, regime.nested_only);
  looked(walk, step::kNestedCache, walk.nested_input_, known != nullptr);
  if (known == nullptr) {
    look_into(walk, regime.nested.root);
    return Next::Read;
  }
  walk.nested_level_ = known->level;
  walk.nested_limits_ = known->limits;
  look_into(walk, known->table_host);
  spared(walk, known->table_host, Served::WalkCache,
         walk.purpose_ == Purpose::Data ? WalkReference::kNoLevel : walk.guest_level_,
         walk.nested_level_, nested_cache_.latency_cycles());
  return Next::Read;
}

inline void Walker::look_into(Walk& walk, u64 table) {
  const Geometry& shape = walk.request_.regime->nested.geometry;
  walk.nested_slot_ = shape.slot(table, walk.nested_input_, walk.nested_level_);
}

inline Walker::Next Walker::take_nested_entry(Walk& walk) {
  if (!memory_.contains(Hpa(walk.nested_slot_), sizeof(u64))) {
    return stop_nested(walk, FaultKind::BusError, {});
  }
  walk.nested_raw_ = memory_.load(Hpa(walk.nested_slot_));
  tell(walk, step::kNestedEntry, walk.nested_raw_, walk.nested_raw_);
  const EntryFormat& format = *walk.request_.regime->nested.format;
  const Entry entry = format.decode(walk.nested_raw_, walk.nested_level_, walk.nested_slot_);
  const bool peek = walk.request_.peek;
  switch (entry.kind) {
    case EntryKind::Invalid:
      return stop_nested(walk, FaultKind::NotPresent, {});
    case EntryKind::Malformed:
      return stop_nested(walk, FaultKind::Malformed, {});
    case EntryKind::Table:
      if (format.rules().accessed_in_tables && !entry.accessed && !peek) {
        return walk.request_.may_set_flags(format.rules(), false)
                   ? Next::Update
                   : stop_nested(walk, FaultKind::AccessFlag, {});
      }
      return enter_nested_table(walk, entry);
    case EntryKind::Leaf:
      break;
  }
  const Rights rights =
      nested_rights(walk, Rights::nested(entry.access & walk.nested_limits_), entry.memory);
  const bool permitted = rights.permit(walk.nested_wanted_);
  const FaultKind reason = refusal(entry, format.rules(), permitted, walk.nested_writes_);
  if (reason != FaultKind::None && !peek) {
    return stop_nested(walk, reason, Access(rights.bits() & 7));
  }
  if (needs_update(entry, format.rules(), walk.nested_writes_) && !peek) {
    return walk.request_.may_set_flags(format.rules(), walk.nested_writes_ && !entry.dirty)
               ? Next::Update
               : stop_nested(walk, FaultKind::AccessFlag, {});
  }
  return enter_nested_leaf(walk, entry);
}

inline Walker::Next Walker::enter_nested_table(Walk& walk, const Entry& entry) {
  const Regime& regime = *walk.request_.regime;
  walk.nested_limits_ = walk.nested_limits_ & entry.access;
  const unsigned shift = regime.nested.geometry.shift(walk.nested_level_);
  const u64 named_by = walk.nested_slot_;
  --walk.nested_level_;
  look_into(walk, entry.address);
  if (walk.nested_level_ == 0) {
    nested_tables_.learn(walk.nested_input_, regime.nested.geometry, entry.address);
  }
  if (nested_cache_.present()) {
    const bool by_entry = nested_cache_.is_by_entry();
    CachedTable* const place =
        by_entry ? nested_cache_.place_named_by(named_by, shift, regime.nested_only)
                 : nested_cache_.tables().make_place(walk.nested_input_, shift, regime.nested_only);
    if (place != nullptr) {
      place->table_host = entry.address;
      place->limits = by_entry ? entry.access : walk.nested_limits_;
      place->level = walk.nested_level_;
      place->covers_shift = by_entry ? CachedTable::kAnyAddress : static_cast<u8>(shift);
    }
  }
  return Next::Table;
}

inline Walker::Next Walker::enter_nested_leaf(Walk& walk, const Entry& entry) {
  const Regime& regime = *walk.request_.regime;
  const unsigned shift = regime.nested.geometry.shift(walk.nested_level_);
  const Rights rights = Rights::nested(entry.access & walk.nested_limits_);
  const bool settled = is_settled(entry, regime.nested.format->rules());
  const bool absent = nested_tlb_.changes() == walk.nested_changes_;
  const u8 covers =
      coalesced(*regime.nested.format, walk.nested_slot_, entry, static_cast<u8>(shift));
  const bool is_held = walk.purpose_ != Purpose::Data || nested_tlb_holds_data_;
  CachedNested* const place =
      is_held ? nested_tlb_.make_place(walk.nested_input_, covers, regime.nested_only, absent)
              : nullptr;
  for (CachedNested* const leaf : {&walk.nested_, place}) {
    if (leaf == nullptr) continue;
    leaf->host = entry.address;
    leaf->rights = rights;
    leaf->memory = entry.memory;
    leaf->leaf_shift = leaf->covers_shift = static_cast<u8>(shift);
    leaf->dirty = settled;
    if (covers == shift) continue;
    leaf->covers_shift =
        leaf == place ? std::max(leaf->leaf_shift, nested_tlb_.held_shift(covers)) : covers;
    leaf->host -=
        walk.nested_input_ & addrspace::low_mask(leaf->covers_shift) & ~addrspace::low_mask(shift);
  }
  return Next::Leaf;
}

inline Walker::Next Walker::update_nested_entry(Walk& walk) {
  const EntryFormat& format = *walk.request_.regime->nested.format;
  const bool leaf = format.decode(walk.nested_raw_, walk.nested_level_, walk.nested_slot_).kind ==
                    EntryKind::Leaf;
  const u64 next = format.updated(walk.nested_raw_, leaf && walk.nested_writes_);
  tell(walk, step::kNestedUpdate, walk.nested_raw_, next);
  if (!memory_.compare_exchange(Hpa(walk.nested_slot_), walk.nested_raw_, next)) return Next::Read;
  const Entry now = format.decode(next, walk.nested_level_, walk.nested_slot_);
  return leaf ? enter_nested_leaf(walk, now) : enter_nested_table(walk, now);
}

inline void Walker::found_data(Walk& walk) {
  Translation& result = walk.result_;
  result.nested = nested_rights(walk, walk.nested_.rights, walk.nested_.memory);
  result.nested_shift = walk.nested_.leaf_shift;
  result.held_shift = std::min(walk.guest_covers_, walk.nested_.covers_shift);
  const Stage& nested = walk.request_.regime->nested;
  if (nested.on()) {
    result.memory = nested.format->extension().combine(result.memory, walk.nested_.memory);
  }
  result.dirty = result.dirty && walk.nested_.dirty;
  const u64 host = walk.nested_.host_of(walk.nested_input_);
  hierarchy_.prefetch(path_, Hpa(host));  // whoever asks will most likely go on to the data
  const u64 offset = walk.request_.address & addrspace::low_mask(result.shift());
  result.host = host - offset;
  result.guest_physical = walk.nested_input_ - offset;
}

}  // namespace nestwalk::models
