// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Of the machine's values, those that a run used, and how many of them are guesses.
#pragma once

#include "nestwalk/machines/preset.hpp"
#include "results/statistics.hpp"

namespace nestwalk::sim {

/// When the value at a path is used: always, or where one of the statistics is not 0. A value
/// counts as used where what it is a part of was looked at, though another value might have made no
/// difference; one that does not count made none.
struct UseRow {
  const char* path;  ///< of a value, or the begin of several
  /// Shell patterns of their names.
  std::vector<const char*> statistics;
  /// Or what the machine has, besides.
  bool (*applies)(const models::MachineShape&) = nullptr;
};
/// The row of a value: the longest path that it begins with. Null if there is none.
const UseRow* use_row_of(const std::string& path);
const std::vector<UseRow>& use_rows();

UsedValues used_values_of(const models::Preset& machine, const Statistics& statistics);
/// The values that do not count. For tests.
std::vector<std::string> unused_values_of(const models::Preset& machine,
                                          const Statistics& statistics);
/// "63 of the machine's 142 values that were used"
std::string text_of(const UsedValues& values);
Json as_json(const UsedValues& values);
/// Nothing, unless it was made so.
std::optional<UsedValues> used_values_from(const Json& json);

}  // namespace nestwalk::sim
