// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a prefetcher remembers of the pages that were accessed last.
#pragma once

#include <algorithm>
#include <vector>

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {

template <class Row>
class FollowedPages {
 public:
  FollowedPages(u32 rows, u32 page_lines) : most_(rows), page_lines_(page_lines) {}

  /// The row of a line's page, which is a new one if the page was not followed.
  Row& row_of(u64 line) {
    const u64 page = line / page_lines_;
    const auto found = std::find_if(rows_.begin(), rows_.end(),
                                    [&](const Followed& each) { return each.page == page; });
    if (found != rows_.end()) {
      std::rotate(rows_.begin(), found, found + 1);
    } else {
      if (rows_.size() == most_) rows_.pop_back();
      rows_.insert(rows_.begin(), {page, {}});
    }
    return rows_.front().row;
  }

 private:
  struct Followed {
    u64 page;
    Row row;
  };

  std::vector<Followed> rows_;  ///< the page that was accessed last comes first
  u32 most_;
  u32 page_lines_;
};

}  // namespace nestwalk::models
