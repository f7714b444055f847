// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Bimodal RRIP, against thrashing: a new entry has a distant re-reference interval, and once in 32
// times a long one. The paper draws these times; here they are counted, so that a run is the same
// every time.
#pragma once

#include "nestwalk/models/memory/replacement/rrip.hpp"

namespace nestwalk::models {

class Brrip final : public Rrip {
 public:
  explicit Brrip(u32 ways) : Rrip(ways) {}

 private:
  u32 predict(u64*) override { return predict_bimodal(); }
};

}  // namespace nestwalk::models
