// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A table as text.
#pragma once

#include <string>
#include <vector>

namespace nestwalk::sim {

/// Rows of cells; the first row names the columns.
using Table = std::vector<std::vector<std::string>>;

/// As a "table" in columns, "markdown" or "csv".
std::string formatted(const Table& table, const std::string& format);

}  // namespace nestwalk::sim
