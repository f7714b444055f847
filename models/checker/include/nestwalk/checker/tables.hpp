// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The second-stage tables of all VMs as the stores made them, and which of them walks can reach.
#pragma once

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "nestwalk/checker/events.hpp"

namespace nestwalk::checker {

class Tables {
 public:
  /// An entry, and what it stands for.
  struct Place {
    u32 vm;  ///< its number, not its id
    u8 level;
    u64 start;  ///< the first guest-physical address that it translates
  };
  struct Found {
    u8 level;
    u64 start;
    u64 entry;
  };

  /// The VM's number: 0, 1, ...
  u32 add(const Vm& vm);
  void remove(u32 vm);
  const Vm& vm(u32 number) const { return vms_[number]; }
  u32 count() const { return static_cast<u32>(vms_.size()); }

  /// False if no walk reaches the slot.
  bool find(u64 slot, Place& place) const;
  u64 load(u64 slot) const;
  void store(u64 slot, u64 entry);
  /// Forgets what tables were there; was one of them reachable?
  bool free(u64 first, u64 bytes);

  models::Entry decode(u32 vm, u64 entry, unsigned level) const {
    return vms_[vm].nested.format->decode(entry, level);
  }
  u64 bytes_of(u32 vm, unsigned level) const { return vms_[vm].nested.geometry.leaf_bytes(level); }

  /// Where a walk for this address ends: a leaf, or an entry that translates nothing.
  Found walk(u32 vm, u64 gpa) const;
  /// The valid entries of the table that an entry of this level and start names, and of those
  /// below, in order.
  void collect(u32 vm, u64 table_entry, unsigned level, u64 start, std::vector<Found>& into) const;

 private:
  using Frame = std::array<u64, addrspace::kFrameBytes / sizeof(u64)>;

  void reach(u32 vm, u64 table, unsigned level, u64 start, bool reachable);
  void reach_frame(u32 vm, u64 frame, unsigned level, u64 start, bool reachable);
  static u64 frame_of(u64 slot) { return slot >> addrspace::kFrameShift; }

  std::vector<Vm> vms_;
  std::unordered_map<u64, std::unique_ptr<Frame>> memory_;
  std::unordered_map<u64, Place> reachable_;  ///< by frame: what its first entry stands for
};

}  // namespace nestwalk::checker
