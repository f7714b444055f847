// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What accesses spend their cycles on.
#pragma once

#include <cstddef>

namespace nestwalk::sim {

enum class Cause : unsigned char { Translation, Data, Exits, Guest, Held };
inline constexpr std::size_t kCauses = 5;
inline constexpr const char* kCauseNames[kCauses] = {"TLBs and walks", "data", "exits",
                                                     "guest's kernel", "held behind faults"};
inline const char* name_of(Cause cause) { return kCauseNames[static_cast<std::size_t>(cause)]; }

}  // namespace nestwalk::sim
