// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The pages that follow one that missed. What the prefetch buffer had is a miss, too, so that a
// sequential run goes on: tagged sequential prefetching (Smith, "Cache Memories", 1982).
#pragma once

#include "nestwalk/models/translation/tlb_prefetcher.hpp"

namespace nestwalk::models {

class NextPage final : public TlbPrefetcher {
 public:
  static constexpr const char* kName = "next_page";
  explicit NextPage(const TlbPrefetchShape& shape) : degree_(shape.degree) {}

  void look(const TlbLookup& lookup, std::vector<u64>& wanted) override {
    for (u64 n = 1; n <= degree_; ++n) wanted.push_back(lookup.page + (n << lookup.shift));
  }

 private:
  u32 degree_;
};

}  // namespace nestwalk::models
