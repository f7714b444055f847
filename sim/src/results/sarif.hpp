// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a checker found, as SARIF 2.1.0 (OASIS), which code scanning and editors show.
#pragma once

#include <string>

#include "nestwalk/checker/checker.hpp"
#include "nestwalk/models/base/json.hpp"

namespace nestwalk::sim {

/// Of the log in that file, or on standard input ("-").
models::Json sarif_of(const checker::Checker& checker, const std::string& file);

}  // namespace nestwalk::sim
