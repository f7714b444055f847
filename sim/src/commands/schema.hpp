// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// JSON Schemas (draft 2020-12) of what the program reads and writes, made of the declarations of
// parameters, machines and statistics.
#pragma once

#include "configuration/parameter.hpp"

namespace nestwalk::sim {

/// Of config.resolved.json, and of every part of one that --config takes.
Json configuration_schema();
/// Of stats.json.
Json statistics_schema();

}  // namespace nestwalk::sim
