// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Dynamic RRIP: set dueling between SRRIP and BRRIP. Up to 32 sets always have the one, as many the
// other; a counter of 10 bits says which of them misses more, and all other sets have the better
// one. As in the paper, but that the sets are the first and the last of as many groups of
// neighbouring sets. With fewer than four sets there is nothing to lead: all have SRRIP.
#pragma once

#include "nestwalk/models/memory/replacement/rrip.hpp"

namespace nestwalk::models {

class Drrip final : public Rrip {
 public:
  explicit Drrip(u32 ways) : Rrip(ways) {}

  void prepare(u64* turns, u32 set, u32 sets) const override {
    Rrip::prepare(turns, set, sets);
    const u32 group = std::max(sets / kLeaders, 4u);
    if (sets < group) return;
    if (set % group == 0) turns[0] |= kLeadsStatic;
    if (set % group == group - 1) turns[0] |= kLeadsBimodal;
  }

 private:
  static constexpr u32 kLeaders = 32, kMostMisses = 1023;
  static constexpr u64 kLeadsStatic = u64{1} << 32, kLeadsBimodal = u64{1} << 33;

  u32 predict(u64* turns) override {
    bool bimodal = misses_ > kMostMisses / 2;
    if ((turns[0] & kLeadsStatic) != 0) {
      misses_ += misses_ < kMostMisses ? 1 : 0;
      bimodal = false;
    } else if ((turns[0] & kLeadsBimodal) != 0) {
      misses_ -= misses_ > 0 ? 1 : 0;
      bimodal = true;
    }
    return bimodal ? predict_bimodal() : kMost - 1;
  }

  u32 misses_ = kMostMisses / 2;  ///< of SRRIP's sets, less those of BRRIP's
};

}  // namespace nestwalk::models
