// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Where the tables of the two lowest levels lie, by the address that they translate: what an
// operating system writes into range registers, so that a walker need not read the upper levels to
// know (ASAP: frames/contiguous_tables.hpp).
#pragma once

#include <optional>
#include <unordered_map>

#include "nestwalk/addrspace/frame_use.hpp"
#include "nestwalk/addrspace/geometry.hpp"

namespace nestwalk::models {

class TableAreas {
 public:
  using u64 = addrspace::u64;
  /// log2 of the tables of the lowest level that lie together.
  static constexpr unsigned kOrder = 9;
  static constexpr unsigned kLevels = 2;

  /// log2 of what a table of 2^order frames at this level translates.
  static constexpr unsigned table_shift(unsigned order, unsigned level) {
    const unsigned index_bits = addrspace::kFrameShift + order - 3;
    return addrspace::kFrameShift + order + index_bits * (level + 1);
  }

  /// A table is the first of a run, or alone, at `first`.
  void note(const addrspace::FrameUse& table, unsigned order, u64 first) {
    if (table.level >= kLevels) return;
    const unsigned shift = table_shift(order, table.level) + together(table.level);
    firsts_[table.level][table.input >> shift] = first;
  }
  /// Where the entry for an address should be.
  std::optional<u64> slot(u64 input, unsigned level, const addrspace::Geometry& shape) const {
    const unsigned shift = shape.shift(level + 1);
    const u64 number = shape.translated(input) >> shift;
    const auto area = firsts_[level].find(number >> together(level));
    if (area == firsts_[level].end()) return std::nullopt;
    const u64 in_run = number & addrspace::low_mask(together(level));
    return shape.slot(area->second + (in_run << shape.page_shift), input, level);
  }

 private:
  static constexpr unsigned together(unsigned level) { return level == 0 ? kOrder : 0; }
  std::unordered_map<u64, u64> firsts_[kLevels];  ///< by areas; addresses of first tables
};

}  // namespace nestwalk::models
