// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Streams up or down a page: after two steps in one direction it runs ahead of the accesses, some
// lines at a time, up to a distance. Intel's streamer of L2: two lines at a lookup, twenty ahead.
#pragma once

#include "nestwalk/models/memory/data_prefetcher.hpp"
#include "nestwalk/models/memory/prefetchers/followed_pages.hpp"

namespace nestwalk::models {

class StreamPrefetcher final : public DataPrefetcher {
 public:
  static constexpr const char* kName = "stream";
  explicit StreamPrefetcher(const DataPrefetchShape& shape)
      : degree_(shape.degree),
        distance_(shape.distance),
        pages_(shape.table_rows, shape.page_lines) {}

  void look(u64 line, std::vector<u64>& wanted) override {
    Row& row = pages_.row_of(line);
    if (row.is_new) row = {line, line, 0, false};
    if (line == row.line) return;
    const u64 step = line > row.line ? 1 : ~u64{0};
    const bool goes_on = step == row.step;
    row.line = line;
    if (!goes_on) {
      row.step = step;
      row.ahead = line;
      return;
    }
    // Where the accesses have overtaken it, it begins before them again.
    if (distance_to(row) > distance_) row.ahead = line;
    for (u64 n = 0; n < degree_ && distance_to(row) < distance_; ++n) {
      row.ahead += row.step;
      wanted.push_back(row.ahead);
    }
  }

 private:
  struct Row {
    u64 line = 0;
    u64 ahead = 0;  ///< the last one that was wanted
    u64 step = 0;   ///< 1 or -1, after the first one
    bool is_new = true;
  };
  /// In the direction of the stream; a huge number if it is behind.
  static u64 distance_to(const Row& row) {
    return row.step == 1 ? row.ahead - row.line : row.line - row.ahead;
  }

  u64 degree_;
  u64 distance_;
  FollowedPages<Row> pages_;
};

}  // namespace nestwalk::models
