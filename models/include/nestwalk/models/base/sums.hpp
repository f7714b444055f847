// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Counts of several parts, or of several times: structures of u64 and of nothing else, which are
// added and taken apart field by field, so that none is forgotten.
#pragma once

#include <array>
#include <bit>
#include <type_traits>

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {

template <class Counts>
concept Sums = std::has_unique_object_representations_v<Counts> && alignof(Counts) == alignof(u64);

template <Sums Counts>
void add(Counts& to, const Counts& more) {
  using Fields = std::array<u64, sizeof(Counts) / sizeof(u64)>;
  Fields sums = std::bit_cast<Fields>(to);
  const Fields other = std::bit_cast<Fields>(more);
  for (std::size_t n = 0; n < sums.size(); ++n) sums[n] += other[n];
  to = std::bit_cast<Counts>(sums);
}

template <Sums Counts>
void take_away(Counts& from, const Counts& less) {
  using Fields = std::array<u64, sizeof(Counts) / sizeof(u64)>;
  Fields rest = std::bit_cast<Fields>(from);
  const Fields other = std::bit_cast<Fields>(less);
  for (std::size_t n = 0; n < rest.size(); ++n) rest[n] -= other[n];
  from = std::bit_cast<Counts>(rest);
}

}  // namespace nestwalk::models
