// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What varies in a sweep: a parameter, or several that move together, and the values that they
// take.
#pragma once

#include <string>
#include <vector>

#include "nestwalk/models/base/json.hpp"

namespace nestwalk::sim {

struct Axis {
  std::vector<std::string> paths;
  /// A row for each step; in it a value for each path.
  std::vector<std::vector<std::string>> rows;
};

inline constexpr std::size_t kMostSteps = 65536;  ///< of one axis

/// A value, or a range of numbers or sizes: "1..4" by one, "0..64+16", "512..8192*2". Throws
/// UsageError; `where` is what the user wrote.
std::vector<std::string> values_of_range(const std::string& text, const std::string& where);
/// "PATH=VALUE,..." or, for values that move together, "PATH,PATH=VALUE:VALUE,...". Throws
/// UsageError.
Axis axis_from(const std::string& text);
/// {"path": [values], ...}: all paths have as many values. A text is a range. Throws UsageError.
Axis axis_from(const models::Json& json, const std::string& where);

}  // namespace nestwalk::sim
