// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/tables.hpp"

namespace nestwalk::checker {
namespace {

using addrspace::Geometry;
using addrspace::kFrameBytes;
using models::EntryKind;

constexpr u64 kSlots = kFrameBytes / sizeof(u64);
/// Tables that lead back to themselves would have no end.
constexpr std::size_t kMostCollected = std::size_t{1} << 20;

}  // namespace

u32 Tables::add(const Vm& vm) {
  const u32 number = count();
  vms_.push_back(vm);
  reach(number, vm.nested.root, vm.nested.geometry.root_level(), 0, true);
  return number;
}

void Tables::remove(u32 vm) {
  reach(vm, vms_[vm].nested.root, vms_[vm].nested.geometry.root_level(), 0, false);
}

bool Tables::find(u64 slot, Place& place) const {
  const auto found = reachable_.find(frame_of(slot));
  if (found == reachable_.end()) return false;
  place = found->second;
  const u64 index = slot % kFrameBytes / sizeof(u64);
  place.start += index << vms_[place.vm].nested.geometry.shift(place.level);
  return true;
}

u64 Tables::load(u64 slot) const {
  const auto found = memory_.find(frame_of(slot));
  return found == memory_.end() ? 0 : (*found->second)[slot % kFrameBytes / sizeof(u64)];
}

void Tables::store(u64 slot, u64 entry) {
  std::unique_ptr<Frame>& frame = memory_[frame_of(slot)];
  if (!frame) frame = std::make_unique<Frame>(Frame{});
  u64& stored = (*frame)[slot % kFrameBytes / sizeof(u64)];
  Place place{};
  if (!find(slot, place) || place.level == 0) {
    stored = entry;
    return;
  }
  const models::Entry before = decode(place.vm, stored, place.level);
  const models::Entry after = decode(place.vm, entry, place.level);
  stored = entry;
  const unsigned below = place.level - 1u;
  if (before.kind == EntryKind::Table) reach(place.vm, before.address, below, place.start, false);
  if (after.kind == EntryKind::Table) reach(place.vm, after.address, below, place.start, true);
}

bool Tables::free(u64 first, u64 bytes) {
  bool reachable = false;
  const u64 frames = bytes / kFrameBytes;
  if (frames <= memory_.size()) {
    for (u64 n = 0; n < frames; ++n) {
      reachable = reachable || reachable_.count(frame_of(first) + n) != 0;
      memory_.erase(frame_of(first) + n);
    }
    return reachable;
  }
  std::erase_if(memory_, [&](const auto& each) {
    const bool freed = each.first - frame_of(first) < frames;
    reachable = reachable || (freed && reachable_.count(each.first) != 0);
    return freed;
  });
  return reachable;
}

Tables::Found Tables::walk(u32 vm, u64 gpa) const {
  const Geometry& geometry = vms_[vm].nested.geometry;
  u64 table = vms_[vm].nested.root;
  for (unsigned level = geometry.root_level();; --level) {
    const u64 index = (gpa >> geometry.shift(level)) & (geometry.entries(level) - 1);
    const u64 entry = load(table + index * sizeof(u64));
    const models::Entry decoded = decode(vm, entry, level);
    if (decoded.kind != EntryKind::Table || level == 0) {
      return {static_cast<u8>(level), addrspace::align_down(gpa, geometry.leaf_bytes(level)),
              entry};
    }
    table = decoded.address;
  }
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
    if (into.size() == kMostCollected) return;
    const u64 at = start + (n << geometry.shift(below));
    into.push_back({static_cast<u8>(below), at, entry});
    if (kind == EntryKind::Table && below != 0) collect(vm, entry, below, at, into);
  }
}

void Tables::reach(u32 vm, u64 table, unsigned level, u64 start, bool reachable) {
  const Geometry& geometry = vms_[vm].nested.geometry;
  const u64 entries = geometry.entries(level);
  for (u64 n = 0; n < entries; n += kSlots) {
    reach_frame(vm, frame_of(table) + n / kSlots, level, start + (n << geometry.shift(level)),
                reachable);
  }
}

void Tables::reach_frame(u32 vm, u64 frame, unsigned level, u64 start, bool reachable) {
  if (reachable) {
    // A table below itself would never end.
    if (!reachable_.insert({frame, {vm, static_cast<u8>(level), start}}).second) return;
  } else if (reachable_.erase(frame) == 0) {
    return;
  }
  const auto content = memory_.find(frame);
  if (level == 0 || content == memory_.end()) return;
  for (u64 n = 0; n < kSlots; ++n) {
    const models::Entry entry = decode(vm, (*content->second)[n], level);
    if (entry.kind != EntryKind::Table) continue;
    reach(vm, entry.address, level - 1, start + (n << vms_[vm].nested.geometry.shift(level)),
          reachable);
  }
}

}  // namespace nestwalk::checker
