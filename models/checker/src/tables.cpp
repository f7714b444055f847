// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/tables.hpp"

#include <algorithm>

#include "nestwalk/models/base/hex.hpp"

namespace nestwalk::checker {

using models::hex;

namespace {

using addrspace::Geometry;
using addrspace::kFrameBytes;
using models::EntryKind;

constexpr u64 kSlots = kFrameBytes / sizeof(u64);
/// What is shared is counted as often as it is reached: there has to be an end.
constexpr std::size_t kMostCollected = std::size_t{1} << 22;
constexpr std::size_t kMostPlaces = 1024;

}  // namespace

u32 Tables::add(const Vm& vm) {
  const u32 number = count();
  vms_.push_back(vm);
  path_.clear();
  reach(number, vm.nested.root, vm.nested.geometry.root_level(), 0, true);
  return number;
}

void Tables::remove(u32 vm) {
  reach(vm, vms_[vm].nested.root, vms_[vm].nested.geometry.root_level(), 0, false);
}

std::vector<Tables::Place> Tables::places_of(u64 slot) const {
  const auto found = reachable_.find(frame_of(slot));
  if (found == reachable_.end()) return {};
  std::vector<Place> places = found->second;
  const u64 index = slot % kFrameBytes / sizeof(u64);
  for (Place& place : places) {
    place.start += index << vms_[place.vm].nested.geometry.shift(place.level);
  }
  return places;
}

u64 Tables::load(u64 slot) const {
  const auto found = memory_.find(frame_of(slot));
  return found == memory_.end() ? 0 : (*found->second)[slot % kFrameBytes / sizeof(u64)];
}

void Tables::store(u64 slot, u64 entry) {
  std::unique_ptr<Frame>& frame = memory_[frame_of(slot)];
  if (!frame) frame = std::make_unique<Frame>(Frame{});
  u64& stored = (*frame)[slot % kFrameBytes / sizeof(u64)];
  const std::vector<Place> places = places_of(slot);
  for (const Place& place : places) reach_entry(place, slot, stored, false);
  stored = entry;
  for (const Place& place : places) {
    follow_path(place);
    reach_entry(place, slot, entry, true);
  }
}

/// The tables that a walk for this entry goes through.
void Tables::follow_path(const Place& place) {
  const Geometry& geometry = vms_[place.vm].nested.geometry;
  path_.clear();
  const u64 root = vms_[place.vm].nested.root;
  u64 here = root;
  addrspace::descend(geometry, root, place.start, [&](u64 slot, unsigned level, u64& table) {
    enter_path(here, std::max<u64>(geometry.entries(level) / kSlots, 1));
    if (level == place.level) return false;
    here = table = decode(place.vm, load(slot), level).address;
    return true;
  });
}

void Tables::enter_path(u64 table, u64 frames) {
  const u64 first = frame_of(table);
  for (const auto& [above, count] : path_) {
    if (first - above >= count && above - first >= frames) continue;
    throw TableError("a table that does not lead to itself", "the one at " + hex(table));
  }
  path_.emplace_back(first, frames);
}

void Tables::free(u64 first, u64 bytes) {
  for (const u64 frame : frames_in(memory_, first, bytes)) forget(frame);
  free_.add(first, bytes);
}

void Tables::take(u64 first, u64 bytes) {
  tells_of_taken_ = true;
  free_.remove(first, bytes);
}

std::vector<std::pair<u64, u64>> Tables::linked_entries(u64 first, u64 bytes) const {
  std::vector<std::pair<u64, u64>> entries;
  for (const u64 frame : frames_in(reachable_, first, bytes)) {
    for (u64 n = 0; n < kSlots; ++n) {
      const u64 slot = (frame << addrspace::kFrameShift) + n * sizeof(u64);
      if (const u64 entry = load(slot); entry != 0) entries.emplace_back(slot, entry);
    }
  }
  return entries;
}

void Tables::forget(u64 frame) {
  const auto content = memory_.find(frame);
  if (content == memory_.end()) return;
  for (u64 n = 0; n < kSlots && reachable_.count(frame) != 0; ++n) {
    if ((*content->second)[n] != 0) store((frame << addrspace::kFrameShift) + n * sizeof(u64), 0);
  }
  memory_.erase(frame);
}

Tables::Found Tables::walk(u32 vm, u64 gpa) const {
  const Geometry& geometry = vms_[vm].nested.geometry;
  Found found{};
  const u64 root = vms_[vm].nested.root;
  addrspace::descend(geometry, root, gpa, [&](u64 slot, unsigned level, u64& table) {
    const u64 entry = load(slot);
    found = {static_cast<u8>(level), addrspace::align_down(gpa, geometry.leaf_bytes(level)), entry};
    const models::Entry decoded = decode(vm, entry, level);
    table = decoded.address;
    return decoded.kind == EntryKind::Table;
  });
  return found;
}

void Tables::collect(u32 vm, u64 table_entry, unsigned level, u64 start,
                     std::vector<Found>& into) const {
  const Geometry& geometry = vms_[vm].nested.geometry;
  const u64 table = decode(vm, table_entry, level).address;
  const unsigned below = level - 1;
  for (u64 n = 0; n < geometry.entries(below); ++n) {
    if (n % kSlots == 0 && memory_.count(frame_of(table + n * sizeof(u64))) == 0) {
      n += kSlots - 1;  // a frame of zeros
      continue;
    }
    const u64 entry = load(table + n * sizeof(u64));
    const EntryKind kind = decode(vm, entry, below).kind;
    if (kind == EntryKind::Invalid || kind == EntryKind::Malformed) continue;
    if (into.size() == kMostCollected) {
      throw TableError("at most 4194304 entries below a table", "more at " + hex(table));
    }
    const u64 at = start + (n << geometry.shift(below));
    into.push_back({static_cast<u8>(below), at, entry});
    if (kind == EntryKind::Table && below != 0) collect(vm, entry, below, at, into);
  }
}

void Tables::reach(u32 vm, u64 table, unsigned level, u64 start, bool reachable) {
  const Geometry& geometry = vms_[vm].nested.geometry;
  const u64 entries = geometry.entries(level);
  if (reachable) enter_path(table, std::max<u64>(entries / kSlots, 1));
  for (u64 n = 0; n < entries; n += kSlots) {
    const u64 at = start + (n << geometry.shift(level));
    reach_frame({vm, static_cast<u8>(level), at}, frame_of(table) + n / kSlots, reachable);
  }
  if (reachable) path_.pop_back();
}

void Tables::reach_frame(const Place& first, u64 frame, bool reachable) {
  std::vector<Place>& places = reachable_[frame];
  const auto known = std::find(places.begin(), places.end(), first);
  const bool changes = reachable == (known == places.end());
  if (changes && reachable && places.size() == kMostPlaces) {
    throw TableError("a table that is linked at most 1024 times",
                     "the one at " + hex(frame << addrspace::kFrameShift));
  }
  if (changes && reachable) {
    places.push_back(first);
    if (is_free(frame)) uses_of_free_.push_back({first, frame});
  }
  if (changes && !reachable) places.erase(known);
  if (places.empty()) reachable_.erase(frame);
  if (!changes) return;
  const auto content = memory_.find(frame);
  if (content == memory_.end()) return;
  const unsigned shift = vms_[first.vm].nested.geometry.shift(first.level);
  for (u64 n = 0; n < kSlots; ++n) {
    const u64 entry = (*content->second)[n];
    if (entry == 0) continue;
    reach_entry({first.vm, first.level, first.start + (n << shift)},
                (frame << addrspace::kFrameShift) + n * sizeof(u64), entry, reachable);
  }
}

/// What the entry leads to.
void Tables::reach_entry(const Place& place, u64 slot, u64 entry, bool reachable) {
  const models::Entry decoded = decode(place.vm, entry, place.level);
  if (decoded.kind == EntryKind::Table && place.level != 0) {
    reach(place.vm, decoded.address, place.level - 1u, place.start, reachable);
  }
  if (decoded.kind != EntryKind::Leaf) return;
  const models::EntryFormat& format = *vms_[place.vm].nested.format;
  if (format.decode(entry, place.level, sizeof(u64)).address != decoded.address) {
    throw TableError("leaves without RISC-V's N bit, since NAPOT pages are not checked",
                     "a NAPOT page at " + hex(decoded.address));
  }
  auto& leaves = leaves_[bytes_of(place.vm, place.level)];
  const Leaf leaf{decoded.address, slot, place};
  reachable ? void(leaves.insert(leaf)) : void(leaves.erase(leaf));
}

}  // namespace nestwalk::checker
