// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// For frame allocation policies that reserve contiguous frames for neighbours: the first of an
// aligned group of units (pages, tables) that wants frames reserves those of the whole group, in
// order. When nothing else is free, what is reserved and not used is given back.
#pragma once

#include <bitset>
#include <map>
#include <optional>
#include <utility>

#include "nestwalk/models/base/check.hpp"
#include "nestwalk/models/memory/frame_policy.hpp"

namespace nestwalk::models {

/// Groups of 2^kOrder units.
template <unsigned kOrder>
class ReservedRuns : public FramePolicy {
 public:
  Result<u64> allocate(const FrameRequest& wanted) final {
    const std::optional<u64> unit = unit_of(wanted);
    if (unit) {
      if (const std::optional<u64> own = take_reserved(wanted, *unit)) return *own;
    }
    const Result<u64> run = free_.allocate(wanted.order);
    // Where a large page or a group is not to be had, pages are asked for: no reservations go for
    // it.
    const bool may_fail = wanted.use.kind == FrameUse::Kind::Group ||
                          (wanted.use.kind == FrameUse::Kind::Memory && wanted.use.level != 0);
    if (run || may_fail || reserved_ == 0) return run;
    counts_.given_back += reserved_;
    while (!groups_.empty()) end(groups_.begin());
    return free_.allocate(wanted.order);
  }

  /// A unit that goes is reserved again, until the last one of its group has gone.
  void free(u64 first, unsigned order) final {
    const typename Groups::iterator group = group_of(first);
    if (group == groups_.end()) return free_.free(first, order);
    const Units units = units_in(*group, first, order);
    check(units.any() && (group->second.used & units) == units, kModule, "units that are in use", 0,
          first);
    group->second.used &= ~units;
    reserved_ += u64{1} << order;
    if (group->second.used.any()) return;
    const unsigned unit_order = group->second.order;
    reserved_ -= kUnits << unit_order;
    places_.erase(group->second.place);
    free_.free(group->first, unit_order + kOrder);
    groups_.erase(group);
  }

  bool hold(u64 first, unsigned order) final {
    const typename Groups::iterator group = group_of(first);
    if (group == groups_.end()) return false;
    const Units units = units_in(*group, first, order);
    if (units.none()) {  // the rest of the unit is somebody else's by now
      end(group);
      return false;
    }
    check((group->second.used & units).none(), kModule, "units that were freed", 0, first);
    group->second.used |= units;
    reserved_ -= u64{1} << order;
    return true;
  }

  std::optional<u64> reserved_run(const FrameRequest& wanted) const final {
    const std::optional<u64> unit = unit_of(wanted);
    if (!unit) return std::nullopt;
    const auto at = places_.find(place_of(wanted, *unit));
    return at == places_.end() ? std::nullopt : std::optional(at->second);
  }

 protected:
  explicit ReservedRuns(FreeFrames& free) : FramePolicy(free) {}
  /// The number of what it is for, in its address space, if neighbours are to lie together.
  virtual std::optional<u64> unit_of(const FrameRequest& wanted) const = 0;

 private:
  static constexpr u64 kUnits = u64{1} << kOrder;
  static constexpr const char* kModule = "reserved runs";
  using Units = std::bitset<kUnits>;

  /// A group of an address space.
  struct Place {
    u64 space;
    FrameUse::Kind kind;
    u64 number;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct Group {
    Place place;
    unsigned order;  ///< of a unit
    Units used{};
  };
  using Groups = std::map<u64, Group>;  ///< by their first frames

  static Place place_of(const FrameRequest& wanted, u64 unit) {
    return {wanted.space, wanted.use.kind, unit >> kOrder};
  }

  /// nullopt if no such run is free, or the unit's frames are in use.
  std::optional<u64> take_reserved(const FrameRequest& wanted, u64 unit) {
    const unsigned order = wanted.order;
    const Place place = place_of(wanted, unit);
    auto at = places_.find(place);
    const bool is_new = at == places_.end();
    if (is_new) {
      const Result<u64> first = free_.allocate(order + kOrder);
      if (!first) return std::nullopt;
      at = places_.emplace(place, *first).first;
      groups_.emplace(*first, Group{place, order});
      reserved_ += kUnits << order;
    }
    Group& group = groups_.at(at->second);
    const u64 in_group = unit % kUnits;
    if (group.used[in_group]) return std::nullopt;
    group.used.set(in_group);
    reserved_ -= u64{1} << order;
    if (!is_new) counts_.used += u64{1} << order;
    return at->second + (in_group << order);
  }

  typename Groups::iterator group_of(u64 frame) {
    auto at = groups_.upper_bound(frame);
    if (at == groups_.begin()) return groups_.end();
    --at;
    return frame - at->first < kUnits << at->second.order ? at : groups_.end();
  }

  /// The units of the run; none if it is less than one.
  static Units units_in(const typename Groups::value_type& group, u64 first, unsigned order) {
    const unsigned unit_order = group.second.order;
    if (order < unit_order || order > unit_order + kOrder) return {};
    const std::size_t count = std::size_t{1} << (order - unit_order);
    return ~Units() >> (kUnits - count) << ((first - group.first) >> unit_order);
  }

  /// What is in use stays what it is.
  void end(typename Groups::iterator at) {
    const auto [first, group] = *at;
    for (u64 unit = 0; unit < kUnits; ++unit) {
      if (group.used[unit]) continue;
      free_.free(first + (unit << group.order), group.order);
      reserved_ -= u64{1} << group.order;
    }
    places_.erase(group.place);
    groups_.erase(at);
  }

  std::map<Place, u64> places_;  ///< first frames
  Groups groups_;
};

}  // namespace nestwalk::models
