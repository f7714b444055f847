// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Things that cover ranges of addresses, of a few sizes, found by address.
#pragma once

#include <map>

#include "nestwalk/checker/events.hpp"

namespace nestwalk::checker {

template <class T>
class RangeIndex {
 public:
  using Handle = typename std::multimap<u64, T*>::iterator;

  Handle add(u64 start, u64 bytes, T& thing) { return sizes_[bytes].emplace(start, &thing); }
  void remove(u64 bytes, Handle handle) { sizes_[bytes].erase(handle); }
  /// Calls visit(T&) for what overlaps, `most` at most; that one may be removed meanwhile.
  template <class Visit>
  void for_each(u64 first, u64 bytes, Visit&& visit, u64 most = ~u64{0}) const {
    const u64 last = first + (bytes - 1) < first ? ~u64{0} : first + (bytes - 1);
    for (const auto& [size, things] : sizes_) {
      auto at = things.lower_bound(first >= size ? first - size + 1 : 0);
      while (at != things.end() && at->first <= last && most-- != 0) visit(*(at++)->second);
    }
  }
  /// The same for what covers just this range.
  template <class Visit>
  void for_each_at(u64 start, u64 bytes, Visit&& visit) const {
    const auto things = sizes_.find(bytes);
    if (things == sizes_.end()) return;
    auto at = things->second.lower_bound(start);
    while (at != things->second.end() && at->first == start) visit(*(at++)->second);
  }

 private:
  std::map<u64, std::multimap<u64, T*>> sizes_;  ///< by size, by start
};

}  // namespace nestwalk::checker
