// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How much of its memory a guest has to touch until one policy costs as much as another: a guest
// that writes once to each page of a part of it, under both.
#pragma once

#include <optional>

#include "comparisons/cases.hpp"
#include "results/table.hpp"

namespace nestwalk::sim {

struct BreakEven {
  struct Point {
    addrspace::u64 pages;      ///< that were touched
    addrspace::u64 cycles[2];  ///< under each policy
  };
  std::string names[2];
  addrspace::u64 memory_pages = 0;
  std::vector<Point> points;  ///< by pages
  /// The fewest pages, to a thousandth of the memory, at which the order of the two is not that of
  /// the first point any more.
  std::optional<addrspace::u64> pages;
};

/// Of two plans, without their traces. Their guests' memory has to be given.
BreakEven find_break_even(const std::vector<Plan>& plans, unsigned at_a_time);

Table as_table(const BreakEven& found);
Json as_json(const BreakEven& found);
std::string sentence_of(const BreakEven& found);

}  // namespace nestwalk::sim
