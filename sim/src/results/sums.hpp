// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Relations that hold between the statistics of a run, of a guest or of a phase.
#pragma once

#include <optional>
#include <string>

#include "nestwalk/models/base/json.hpp"

namespace nestwalk::sim {

using models::Json;

/// Of the document of stats.json, the first thing that cannot be: "latency.p50 is 9, more than
/// latency.max, 3". What it lacks, as an older version may, is not judged, unless every version
/// says it.
std::optional<std::string> contradiction_of(const Json& stats);
/// And of that which is said in cycles and in nanoseconds, by the clock of the machine.
std::optional<std::string> contradiction_of_clock(const Json& stats, double mhz,
                                                  const std::string& said_by);

}  // namespace nestwalk::sim
