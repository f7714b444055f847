// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a cache below the first level holds of what the caches above it hold.
#pragma once

#include "nestwalk/models/base/parameter.hpp"

namespace nestwalk::models {

struct Inclusion {
  enum class Of : u8 { Nothing, Data, All };

  bool takes_fills;    ///< a line on its way from below stays here, too
  bool takes_victims;  ///< a line that has to go above comes here, clean ones, too
  bool gives_up_hits;  ///< a line that a cache above gets from here goes
  Of evicts_above;     ///< a line that goes from here goes from the caches above
};

inline constexpr Inclusion kNonInclusive{true, false, false, Inclusion::Of::Nothing};
inline constexpr Inclusion kInclusive{true, false, false, Inclusion::Of::All};
inline constexpr Inclusion kInclusiveOfData{true, false, false, Inclusion::Of::Data};
inline constexpr Inclusion kVictim{false, true, false, Inclusion::Of::Nothing};
inline constexpr Inclusion kExclusive{false, true, true, Inclusion::Of::Nothing};

inline constexpr Word<const Inclusion*> kInclusions[] = {
    {"non-inclusive", &kNonInclusive},
    {"inclusive", &kInclusive},
    {"inclusive-of-data", &kInclusiveOfData},
    {"victim", &kVictim},
    {"exclusive", &kExclusive},
};

}  // namespace nestwalk::models
