// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Strides of the addresses themselves: after two equal distances between accesses to one page, the
// lines that follow at that distance. Without instruction addresses, which traces do not have, the
// accesses of a page stand for those of one load.
#pragma once

#include "nestwalk/models/memory/data_prefetcher.hpp"
#include "nestwalk/models/memory/prefetchers/followed_pages.hpp"

namespace nestwalk::models {

class StridePrefetcher final : public DataPrefetcher {
 public:
  static constexpr const char* kName = "stride";
  explicit StridePrefetcher(const DataPrefetchShape& shape)
      : degree_(shape.degree),
        longest_(shape.distance),
        pages_(shape.table_rows, shape.page_lines) {}

  void look(u64 line, std::vector<u64>& wanted) override {
    Row& row = pages_.row_of(line);
    const u64 stride = row.is_new ? 0 : line - row.line;
    if (stride == 0 && !row.is_new) return;
    const bool is_steady = stride != 0 && stride == row.stride && is_short(stride);
    row = {line, stride, false};
    if (!is_steady) return;
    for (u64 n = 1; n <= degree_; ++n) wanted.push_back(line + n * stride);
  }

 private:
  struct Row {
    u64 line = 0;
    u64 stride = 0;
    bool is_new = true;
  };
  /// Either way.
  bool is_short(u64 stride) const { return stride + longest_ <= 2 * longest_; }

  u64 degree_;
  u64 longest_;
  FollowedPages<Row> pages_;
};

}  // namespace nestwalk::models
