// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// hypervisor.schedule, as it is written:
//
//   [{"operation": "log_start", "at": 1000000},
//    {"operation": "log_harvest", "at": 2000000, "every": 500000, "times": 20},
//    {"operation": "zap", "at": 3000000, "gpa": "0x200000", "bytes": "2M"},
//    {"operation": "protect", "at": 4000000, "gpa": 0, "bytes": "64K", "access": "rx"}]
//
// `every` without `times`: until the guest ends.
#pragma once

#include "configuration/parameter.hpp"

namespace nestwalk::sim {

/// Throws UsageError, which begins with `where` and says what was expected.
std::vector<software::ScheduledOperation> parse_schedule(const Json& json,
                                                         const std::string& where);
/// Of a list of them.
Json schedule_schema();

}  // namespace nestwalk::sim
