// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Walk caches that are looked up by the entries that name tables, and those that yield a
// guest-physical address.

#include "nestwalk/models/translation/walker.hpp"

namespace nestwalk::models {

// Does the walk cache know the table that this entry names?
bool Walker::knows_guest_entry(Walk& walk, u64 entry) {
  if (walk.confirms_ || walk.guest_level_ == 0) return false;
  const CachedTable* const known = guest_cache_.find_named_by(
      entry, walk.guest_->geometry.shift(walk.guest_level_), walk.request_.regime->combined);
  if (known != nullptr) walk.named_ = *known;
  return known != nullptr;
}

// As if the entry had been read.
Walker::Next Walker::take_known_guest_entry(Walk& walk) {
  const CachedTable& known = walk.named_;
  looked(walk, step::kGuestCache, walk.request_.address, true);
  spared(walk, known.table_guest, Served::WalkCache, walk.guest_level_, WalkReference::kNoLevel,
         guest_cache_.latency_cycles());
  walk.guest_limits_ = walk.guest_limits_ & known.limits;
  walk.guest_table_ = known.table_guest;
  walk.guest_level_ = known.level;
  return Next::Table;
}

// Of a walk cache that yields guest-physical addresses: an entry was read that names a table.
void Walker::remember_guest_table(const Walk& walk, const Entry& entry) {
  const u16 tag = walk.request_.regime->combined;
  const unsigned covers = walk.guest_->geometry.shift(walk.guest_level_);
  const u64 in_guest = walk.guest_table_ + (walk.guest_slot_ - walk.guest_known_.table_host);
  CachedTable* const place =
      !guest_cache_.is_by_entry()
          ? guest_cache_.tables().make_place(walk.request_.address, covers, tag)
          : guest_cache_.place_named_by(
                guest_index_by_ == IndexBy::Entry ? walk.guest_slot_ : in_guest, covers, tag);
  if (place == nullptr) return;
  *place = {};
  place->table_guest = entry.address;
  place->limits = guest_cache_.is_by_entry() ? entry.access : walk.guest_limits_;
  place->level = static_cast<u8>(walk.guest_level_ - 1u);
  place->covers_shift =
      guest_cache_.is_by_entry() ? CachedTable::kAnyAddress : static_cast<u8>(covers);
}

// Does the walk cache know the table that the entry names?
bool Walker::knows_nested_entry(Walk& walk) {
  if (walk.confirms_ || walk.nested_level_ == 0) return false;
  const Regime& regime = *walk.request_.regime;
  const CachedTable* const known = nested_cache_.find_named_by(
      walk.nested_slot_, regime.nested.geometry.shift(walk.nested_level_), regime.nested_only);
  if (known != nullptr) walk.named_ = *known;
  return known != nullptr;
}

// As if the entry had been read.
Walker::Next Walker::take_known_nested_entry(Walk& walk) {
  const CachedTable& known = walk.named_;
  looked(walk, step::kNestedCache, walk.nested_input_, true);
  spared(walk, known.table_host, Served::WalkCache,
         walk.purpose_ == Purpose::Data ? WalkReference::kNoLevel : walk.guest_level_,
         walk.nested_level_, nested_cache_.latency_cycles());
  walk.nested_limits_ = walk.nested_limits_ & known.limits;
  walk.nested_level_ = known.level;
  walk.nested_slot_ = walk.request_.regime->nested.geometry.slot(
      known.table_host, walk.nested_input_, walk.nested_level_);
  return Next::Table;
}

}  // namespace nestwalk::models
