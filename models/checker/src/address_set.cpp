// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/address_set.hpp"

#include <iterator>

namespace nestwalk::checker {

void AddressSet::remove(u64 first, u64 bytes) {
  const u64 last = first + (bytes - 1);
  auto range = last_.upper_bound(last);
  while (range != last_.begin() && std::prev(range)->second >= first) {
    --range;
    const u64 from = range->first, to = range->second;
    range = last_.erase(range);
    if (to > last) range = last_.emplace(last + 1, to).first;
    if (from < first) range = last_.emplace(from, first - 1).first;
  }
}

std::optional<u64> AddressSet::find(u64 first, u64 bytes) const {
  const u64 last = first + (bytes - 1);
  auto range = last_.upper_bound(first);
  if (range != last_.begin() && std::prev(range)->second >= first) return first;
  if (range != last_.end() && range->first <= last) return range->first;
  return std::nullopt;
}

}  // namespace nestwalk::checker
