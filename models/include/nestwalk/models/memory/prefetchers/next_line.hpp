// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The lines that follow (Smith, "Sequential Program Prefetching in Memory Hierarchies", Computer
// 1978).
#pragma once

#include "nestwalk/models/memory/data_prefetcher.hpp"

namespace nestwalk::models {

class NextLine final : public DataPrefetcher {
 public:
  static constexpr const char* kName = "next-line";
  explicit NextLine(const DataPrefetchShape& shape) : degree_(shape.degree) {}

  void look(u64 line, std::vector<u64>& wanted) override {
    for (u64 n = 1; n <= degree_; ++n) wanted.push_back(line + n);
  }

 private:
  u64 degree_;
};

}  // namespace nestwalk::models
