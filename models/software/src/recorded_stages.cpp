// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/software/recorded_stages.hpp"

#include <algorithm>
#include <optional>

namespace nestwalk::software {
namespace {

using models::Entry;
using models::EntryFormat;
using models::EntryKind;

constexpr u64 kEntryBytes = sizeof(u64);

constexpr u64 frame_of(u64 address) { return address & ~(kFrameBytes - 1); }

std::optional<u64> table_in(const EntryFormat& format, u64 value, unsigned level) {
  const Entry entry = format.decode(value, level, 0);
  if (entry.kind != EntryKind::Table || level == 0) return std::nullopt;
  return frame_of(entry.address);
}

bool translates(const Entry& entry) {
  return entry.kind == EntryKind::Leaf || entry.kind == EntryKind::Table;
}

// Flags that the hardware sets are no other translation. More permission needs no fence: the
// access that finds less in a TLB faults, and then it is gone.
bool takes_away(const EntryFormat& format, unsigned level, u64 slot, u64 before, u64 value) {
  const Entry was = format.decode(before, level, slot);
  const Entry is = format.decode(value, level, slot);
  if (!translates(was)) return false;
  if (format.updated(before, true) == format.updated(value, true)) return false;
  const bool only_more =
      was.kind == is.kind && was.address == is.address && is.access.has(was.access);
  return !only_more || was.kind != EntryKind::Leaf;
}

}  // namespace

RecordedStage& RecordedStages::of(const models::Stage& stage, u16 recorded_vmid) {
  const auto [found, is_new] = stages_.try_emplace(
      {stage.root, recorded_vmid, stage.geometry.levels, stage.geometry.root_index_bits});
  RecordedStage& known = found->second;
  if (!is_new) return known;
  known.stage = stage;
  const u64 end = stage.root + stage.geometry.root_bytes();
  for (u64 frame = frame_of(stage.root); frame < end; frame += kFrameBytes) {
    link(known, frame, stage.geometry.root_level());
  }
  return known;
}

RecordedStages::Place* RecordedStages::find(u64 frame, const RecordedStage& stage, unsigned level) {
  const auto found = tables_.find(frame);
  if (found == tables_.end()) return nullptr;
  const auto place =
      std::find_if(found->second.begin(), found->second.end(),
                   [&](const Place& each) { return each.stage == &stage && each.level == level; });
  return place == found->second.end() ? nullptr : &*place;
}

// Root tables may be smaller than a frame (AArch64).
bool RecordedStages::has_entry(const Place& place, u64 address) {
  const models::Stage& stage = place.stage->stage;
  if (place.level != stage.geometry.root_level()) return true;
  return address - stage.root < stage.geometry.root_bytes();
}

template <class Follow>
void RecordedStages::for_each_table(const RecordedStage& stage, u64 frame, unsigned level,
                                    Follow&& follow) const {
  if (level == 0) return;
  const Place place{&stage, level, 0};
  for (u64 at = frame; at != frame + kFrameBytes; at += kEntryBytes) {
    if (!has_entry(place, at)) continue;
    if (const auto table = table_in(*stage.stage.format, memory_.load(Hpa(at)), level)) {
      follow(*table);
    }
  }
}

// Levels descend, so tables that lead to themselves end; those that many entries lead to are read
// once.
void RecordedStages::link(const RecordedStage& stage, u64 frame, unsigned level) {
  if (!memory_.contains(Hpa(frame), kFrameBytes)) return;
  if (Place* const known = find(frame, stage, level)) {
    ++known->links;
    return;
  }
  tables_[frame].push_back({&stage, level, 1});
  for_each_table(stage, frame, level, [&](u64 table) { link(stage, table, level - 1); });
}

void RecordedStages::unlink(const RecordedStage& stage, u64 frame, unsigned level) {
  Place* const place = find(frame, stage, level);
  if (place == nullptr || --place->links != 0) return;
  std::vector<Place>& places = tables_[frame];
  places.erase(places.begin() + (place - places.data()));
  if (places.empty()) tables_.erase(frame);
  for_each_table(stage, frame, level, [&](u64 table) { unlink(stage, table, level - 1); });
}

std::vector<const RecordedStage*> RecordedStages::store(u64 address, u64 value) {
  const u64 before = memory_.load(Hpa(address));
  const u64 frame = frame_of(address);
  std::vector<const RecordedStage*> changed;
  std::vector<Place> places;
  if (const auto found = tables_.find(frame); found != tables_.end()) places = found->second;
  std::erase_if(places, [&](const Place& place) { return !has_entry(place, address); });
  for (const Place& place : places) {
    const bool is_known = std::find(changed.begin(), changed.end(), place.stage) != changed.end();
    if (!is_known && takes_away(*place.stage->stage.format, place.level, address, before, value)) {
      changed.push_back(place.stage);
    }
  }
  const auto table_before = [&](const Place& place) {
    return table_in(*place.stage->stage.format, before, place.level);
  };
  const auto table_now = [&](const Place& place) {
    return table_in(*place.stage->stage.format, value, place.level);
  };
  std::erase_if(places,
                [&](const Place& place) { return table_before(place) == table_now(place); });
  // A table that leads to itself may go with its own entry.
  const auto is_gone = [&](const Place& place) {
    return find(frame, *place.stage, place.level) == nullptr;
  };
  for (const Place& place : places) {
    const auto table = table_before(place);
    if (table && !is_gone(place)) unlink(*place.stage, *table, place.level - 1);
  }
  std::erase_if(places, is_gone);
  memory_.store(Hpa(address), value);
  for (const Place& place : places) {
    if (const auto table = table_now(place)) link(*place.stage, *table, place.level - 1);
  }
  return changed;
}

}  // namespace nestwalk::software
