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
  void add(u64 start, u64 bytes, T& thing) { sizes_[bytes].emplace(start, &thing); }
  void remove(u64 start, u64 bytes, const T& thing) {
    auto& things = sizes_[bytes];
    for (auto at = things.lower_bound(start); at != things.end() && at->first == start; ++at) {
      if (at->second != &thing) continue;
      things.erase(at);
      return;
    }
  }
  /// Calls visit(T&) for what overlaps; that one may be removed meanwhile.
  template <class Visit>
  void for_each(u64 first, u64 bytes, Visit&& visit) const {
    const u64 last = first + (bytes - 1) < first ? ~u64{0} : first + (bytes - 1);
    for (const auto& [size, things] : sizes_) {
      auto at = things.lower_bound(first >= size ? first - size + 1 : 0);
      while (at != things.end() && at->first <= last) visit(*(at++)->second);
    }
  }

 private:
  std::map<u64, std::multimap<u64, T*>> sizes_;  ///< by size, by start
};

}  // namespace nestwalk::checker
