// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The other line of an aligned pair: Intel's spatial prefetcher of L2.
#pragma once

#include "nestwalk/models/memory/data_prefetcher.hpp"

namespace nestwalk::models {

class AdjacentLine final : public DataPrefetcher {
 public:
  static constexpr const char* kName = "adjacent-line";
  explicit AdjacentLine(const DataPrefetchShape&) {}

  void look(u64 line, std::vector<u64>& wanted) override { wanted.push_back(line ^ 1); }
};

}  // namespace nestwalk::models
