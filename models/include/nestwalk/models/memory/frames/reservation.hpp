// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The first page of eight neighbours reserves frames for the other seven, beside each other: so
// their eight entries in the next stage's tables lie in one cache line, even if other processes
// fault in between (PTEMagnet, Margaritov, Ustiugov, Shahab and Grot, ASPLOS'21). When nothing else
// is free, what is reserved and not used is given back.
#pragma once

#include <map>
#include <optional>

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/models/base/check.hpp"
#include "nestwalk/models/memory/frame_policy.hpp"

namespace nestwalk::models {

class ReservedFrames final : public FramePolicy {
 public:
  static constexpr const char* kName = "reservation";
  explicit ReservedFrames(FreeFrames& free) : FramePolicy(free) {}

  Result<u64> allocate(const FrameRequest& wanted) override {
    const bool is_page = wanted.use.kind == FrameUse::Kind::Memory && wanted.use.level == 0;
    if (is_page) {
      if (const std::optional<u64> own = take_reserved(wanted)) return *own;
    }
    const Result<u64> run = free_.allocate(wanted.order);
    // A failed large-page allocation falls back to 4K pages, so it does not release reservations.
    const bool must_be = is_page || wanted.use.kind != FrameUse::Kind::Memory;
    if (run || !must_be || reserved_ == 0) return run;
    counts_.given_back += reserved_;
    while (!groups_.empty()) end(groups_.begin());
    return free_.allocate(wanted.order);
  }

  /// A page that goes is reserved again, until the last one has gone.
  void free(u64 first, unsigned order) override {
    const Groups::iterator group = group_of(first);
    if (group == groups_.end()) return free_.free(first, order);
    const u64 pages = pages_in(*group, first, order);
    check(pages != 0 && (group->second.used & pages) == pages, "reservation",
          "pages that are in use", 0, first);
    group->second.used &= ~pages;
    reserved_ += u64{1} << order;
    if (group->second.used != 0) return;
    const unsigned page_order = group->second.order;
    reserved_ -= kPages << page_order;
    places_.erase(group->second.place);
    free_.free(group->first, page_order + kOrder);
    groups_.erase(group);
  }

  bool hold(u64 first, unsigned order) override {
    const Groups::iterator group = group_of(first);
    if (group == groups_.end()) return false;
    const u64 pages = pages_in(*group, first, order);
    if (pages == 0) {  // the rest of the page is somebody else's by now
      end(group);
      return false;
    }
    check((group->second.used & pages) == 0, "reservation", "pages that were freed", 0, first);
    group->second.used |= pages;
    reserved_ -= u64{1} << order;
    return true;
  }

 private:
  static constexpr unsigned kOrder = 3;  // of entries of 8 bytes, in a line of 64
  static constexpr u64 kPages = u64{1} << kOrder;

  /// Eight pages of an address space.
  struct Place {
    u64 space;
    u64 number;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct Group {
    Place place;
    unsigned order;  ///< of a page
    u64 used = 0;    ///< a bit for each page
  };
  using Groups = std::map<u64, Group>;  ///< by their first frames

  /// nullopt if no 8 contiguous frames are free or the page's frame is in use.
  std::optional<u64> take_reserved(const FrameRequest& wanted) {
    const unsigned order = wanted.order;
    const u64 number = wanted.use.input >> (addrspace::kFrameShift + order);
    const Place place{wanted.space, number >> kOrder};
    auto at = places_.find(place);
    const bool is_new = at == places_.end();
    if (is_new) {
      const Result<u64> first = free_.allocate(order + kOrder);
      if (!first) return std::nullopt;
      at = places_.emplace(place, *first).first;
      groups_.emplace(*first, Group{place, order});
      reserved_ += kPages << order;
    }
    Group& group = groups_.at(at->second);
    const u64 page = number % kPages;
    if ((group.used >> page & 1) != 0) return std::nullopt;
    group.used |= u64{1} << page;
    reserved_ -= u64{1} << order;
    if (!is_new) counts_.used += u64{1} << order;
    return at->second + (page << order);
  }

  Groups::iterator group_of(u64 frame) {
    auto at = groups_.upper_bound(frame);
    if (at == groups_.begin()) return groups_.end();
    --at;
    return frame - at->first < kPages << at->second.order ? at : groups_.end();
  }

  /// A bit for each page of the run; none if it is less than a page.
  static u64 pages_in(const Groups::value_type& group, u64 first, unsigned order) {
    const unsigned page_order = group.second.order;
    if (order < page_order || order > page_order + kOrder) return 0;
    return addrspace::low_mask(1u << (order - page_order)) << ((first - group.first) >> page_order);
  }

  /// What is in use stays what it is.
  void end(Groups::iterator at) {
    const auto [first, group] = *at;
    for (u64 page = 0; page < kPages; ++page) {
      if ((group.used >> page & 1) != 0) continue;
      free_.free(first + (page << group.order), group.order);
      reserved_ -= u64{1} << group.order;
    }
    places_.erase(group.place);
    groups_.erase(at);
  }

  std::map<Place, u64> places_;  ///< first frames
  Groups groups_;
};

}  // namespace nestwalk::models
