// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Text in columns.
#pragma once

#include <string>
#include <vector>

namespace nestwalk::sim {

/// Rows of as many cells.
using Table = std::vector<std::vector<std::string>>;

/// The first `left` columns and the last one if it is words begin at their left; numbers end at
/// their right.
std::string aligned(const Table& table, std::size_t left = 1, bool words_at_end = false);

}  // namespace nestwalk::sim
