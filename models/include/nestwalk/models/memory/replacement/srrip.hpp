// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Static RRIP with hit priority: a new entry has a long re-reference interval.
#pragma once

#include "nestwalk/models/memory/replacement/rrip.hpp"

namespace nestwalk::models {

class Srrip final : public Rrip {
 public:
  explicit Srrip(u32 ways) : Rrip(ways) {}

 private:
  u32 predict(u64*) override { return kMost - 1; }
};

}  // namespace nestwalk::models
