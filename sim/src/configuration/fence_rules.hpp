// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A user's own rules for fences, read from JSON:
//
//   {"name": "mine",
//    "interrupts": true,   other processors execute what does not broadcast
//    "deferred": false,    not before the next VM entry
//    "x86_64": [
//      {"when": ["unmapped", "less_permission", "table"],
//       "issue": ["invept single-context"],
//       "most": 32, "beyond": ["invept all-context"]}],
//    "svm": [...], "aarch64": [...], "riscv64": [...]}
//
// Leaves that changed go to the first rule that names what happened to them. Instructions that name
// an address are issued for each of its leaves, others once; for more leaves than `most`, `beyond`.
#pragma once

#include "configuration/parameter.hpp"

namespace nestwalk::sim {

/// Those of the extension that its architecture has had first are named by the architecture.
/// Others have their name.
const char* key_of(const models::Extension& extension);

/// Throws UsageError, which begins with `where` and says what was expected.
software::FenceRules parse_fence_rules(const Json& json, const models::Extension& extension,
                                       const std::string& where);

}  // namespace nestwalk::sim
