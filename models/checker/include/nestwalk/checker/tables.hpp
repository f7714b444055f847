// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The second-stage tables of all VMs as the stores made them, and which of them walks can reach.
#pragma once

#include <array>
#include <compare>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "nestwalk/checker/address_set.hpp"
#include "nestwalk/checker/events.hpp"

namespace nestwalk::checker {

/// What is told contradicts itself, or cannot be followed.
struct TableError : std::runtime_error {
  TableError(const std::string& wanted, const std::string& met)
      : std::runtime_error("expected " + wanted + ", found " + met), expected(wanted), found(met) {}
  std::string expected;
  std::string found;
};

class Tables {
 public:
  /// An entry, and what it stands for.
  struct Place {
    u32 vm;  ///< its number, not its id
    u8 level;
    u64 start;  ///< the first guest-physical address that it translates
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct Found {
    u8 level;
    u64 start;
    u64 entry;
    friend bool operator==(const Found&, const Found&) = default;
  };

  /// The VM's number: 0, 1, ...
  u32 add(const Vm& vm);
  void remove(u32 vm);
  const Vm& vm(u32 number) const { return vms_[number]; }
  u32 count() const { return static_cast<u32>(vms_.size()); }

  /// What the slot stands for, wherever walks reach it: a table may be linked several times (1024,
  /// and not below itself), and a root be that of several VMs.
  std::vector<Place> places_of(u64 slot) const;
  u64 load(u64 slot) const;
  void store(u64 slot, u64 entry);
  /// Forgets what tables were there.
  void free(u64 first, u64 bytes);
  /// From now on, what was freed is the host's until it is taken.
  void take(u64 first, u64 bytes);
  /// Is it the host's?
  bool is_free(u64 frame) const {
    return tells_of_taken_ && free_.find(frame << addrspace::kFrameShift, 1).has_value();
  }
  struct Use {
    Place place;
    u64 frame;
  };
  /// Tables in free memory that walks have come to reach since the last call.
  std::vector<Use> take_uses_of_free() { return std::exchange(uses_of_free_, {}); }
  /// Frames of tables in a range that walks reach.
  std::vector<u64> linked_frames(u64 first, u64 bytes) const {
    return frames_in(reachable_, first, bytes);
  }
  /// Slots and what is in them, of tables in a range that walks reach.
  std::vector<std::pair<u64, u64>> linked_entries(u64 first, u64 bytes) const;
  /// Calls visit(Place, entry) for the leaves that lead to a part of this host memory, and for the
  /// tables in it, with the entry 0: those that walks reach.
  template <class Visit>
  void for_each_use(u64 first, u64 bytes, Visit&& visit) const;

  /// Each leaf for itself: a TLB that takes Arm's contiguous bit as a hint is left out of account.
  models::Entry decode(u32 vm, u64 entry, unsigned level) const {
    models::Entry decoded = vms_[vm].nested.format->decode(entry, level, 0);
    decoded.neighbours = 0;
    return decoded;
  }
  u64 bytes_of(u32 vm, unsigned level) const { return vms_[vm].nested.geometry.leaf_bytes(level); }

  /// Where a walk for this address ends: a leaf, or an entry that translates nothing.
  Found walk(u32 vm, u64 gpa) const;
  /// The valid entries of the table that an entry of this level and start names, and of those
  /// below, in order.
  void collect(u32 vm, u64 table_entry, unsigned level, u64 start, std::vector<Found>& into) const;

 private:
  using Frame = std::array<u64, addrspace::kFrameBytes / sizeof(u64)>;

  struct Leaf {
    u64 address;
    u64 slot;
    Place place;
    friend auto operator<=>(const Leaf&, const Leaf&) = default;
  };

  void forget(u64 frame);
  void reach(u32 vm, u64 table, unsigned level, u64 start, bool reachable);
  void enter_path(u64 table, u64 frames);
  void follow_path(const Place& place);
  void reach_frame(const Place& first, u64 frame, bool reachable);
  void reach_entry(const Place& place, u64 slot, u64 entry, bool reachable);
  template <class Map>
  static std::vector<u64> frames_in(const Map& map, u64 first, u64 bytes);
  static u64 frame_of(u64 slot) { return slot >> addrspace::kFrameShift; }

  std::vector<Vm> vms_;
  std::map<u64, std::unique_ptr<Frame>> memory_;
  /// By frame: what its first entry stands for.
  std::map<u64, std::vector<Place>> reachable_;
  /// That walks reach, by size.
  std::map<u64, std::set<Leaf>> leaves_;
  AddressSet free_;
  bool tells_of_taken_ = false;
  std::vector<Use> uses_of_free_;
  std::vector<std::pair<u64, u64>> path_;  ///< of tables from a root: first frame, frames
};

/// Of a map by frame, those of a range.
template <class Map>
std::vector<u64> Tables::frames_in(const Map& map, u64 first, u64 bytes) {
  std::vector<u64> found;
  const u64 frames = bytes / addrspace::kFrameBytes;
  for (auto at = map.lower_bound(frame_of(first)); at != map.end(); ++at) {
    if (at->first - frame_of(first) >= frames) break;
    found.push_back(at->first);
  }
  return found;
}

template <class Visit>
void Tables::for_each_use(u64 first, u64 bytes, Visit&& visit) const {
  const u64 last = first + (bytes - 1);
  for (const auto& [size, leaves] : leaves_) {
    auto at = leaves.lower_bound({first >= size ? first - size + 1 : 0, 0, {}});
    for (; at != leaves.end() && at->address <= last; ++at) visit(at->place, load(at->slot));
  }
  for (const u64 frame : frames_in(reachable_, first, bytes)) {
    for (const Place& place : reachable_.at(frame)) visit(place, u64{0});
  }
}

}  // namespace nestwalk::checker
