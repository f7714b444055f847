// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a prefetcher remembers of the pages that were accessed last.
#pragma once

#include <bit>
#include <vector>

#include "nestwalk/models/base/time.hpp"

namespace nestwalk::models {

template <class Row>
class FollowedPages {
 public:
  /// `page_lines`: a power of two.
  FollowedPages(u32 rows, u32 page_lines) : most_(rows), page_bits_(std::countr_zero(page_lines)) {
    rows_.reserve(rows);
  }

  /// The row of a line's page, which is a new one if the page was not followed.
  Row& row_of(u64 line) {
    const u64 page = line >> page_bits_;
    ++now_;
    Followed* oldest = nullptr;
    for (Followed& each : rows_) {
      if (each.page == page) {
        each.used = now_;
        return each.row;
      }
      if (oldest == nullptr || each.used < oldest->used) oldest = &each;
    }
    if (rows_.size() < most_) oldest = &rows_.emplace_back();
    *oldest = {page, now_, {}};
    return oldest->row;
  }

 private:
  struct Followed {
    u64 page;
    u64 used;  ///< at which look
    Row row;
  };

  std::vector<Followed> rows_;
  u32 most_;
  int page_bits_;
  u64 now_ = 0;
};

}  // namespace nestwalk::models
