// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Distance prefetching (Kandiraju and Sivasubramaniam, "Going the Distance for TLB Prefetching",
// ISCA 2002): a table has, for a distance between two misses, the distances that came after it. At
// a miss, those after the distance from the miss before it are added to the missing page.
#pragma once

#include <optional>

#include "nestwalk/models/translation/tlb_prefetcher.hpp"

namespace nestwalk::models {

class DistancePrefetcher final : public TlbPrefetcher {
 public:
  static constexpr const char* kName = "distance";
  explicit DistancePrefetcher(const TlbPrefetchShape& shape)
      : degree_(shape.degree), rows_(shape.table_rows) {}

  void look(const TlbLookup& lookup, std::vector<u64>& wanted) override {
    if (space_ != lookup.space) {  // a distance between two address spaces means nothing
      space_ = lookup.space;
      previous_ = lookup.page;
      distance_ = 0;
      return;
    }
    const u64 distance = lookup.page - previous_;
    if (distance == 0) return;  // evicted meanwhile, or another kind of access
    if (distance_ != 0) learn(row_of(distance_), distance);
    const Row& row = row_of(distance);
    for (const u64 next : row.next) wanted.push_back(lookup.page + next);
    previous_ = lookup.page;
    distance_ = distance;
  }

 private:
  struct Row {
    u64 distance = 0;
    std::vector<u64> next;  ///< distances that came after it, the latest first
  };

  /// Direct-mapped: another distance's row becomes this one's.
  Row& row_of(u64 distance) {
    Row& row = rows_[(distance >> addrspace::kFrameShift) % rows_.size()];
    if (row.distance != distance) row = {distance, {}};
    return row;
  }
  void learn(Row& row, u64 distance) {
    std::erase(row.next, distance);
    row.next.insert(row.next.begin(), distance);
    if (row.next.size() > degree_) row.next.pop_back();
  }

  u32 degree_;
  std::vector<Row> rows_;
  std::optional<u16> space_;  ///< of the miss before
  u64 previous_ = 0;          ///< its page
  u64 distance_ = 0;          ///< from the one before that; 0 if there is none
};

}  // namespace nestwalk::models
