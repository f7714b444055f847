// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Runs beside each other: as a table of statistics, which is for people, or with a row for each
// run, which is for programs.
#pragma once

#include "comparisons/cases.hpp"

namespace nestwalk::sim {

/// Which statistics are shown, as shell patterns; none: the main ones.
using Patterns = std::vector<std::string>;

/// Names of the main ones.
Patterns main_statistics();
/// Of all statistics that any of them has, those that are wanted: first those of the first case, in
/// its order. Throws UsageError where there are none.
std::vector<std::string> statistics_named(const std::vector<Case>& cases, const Patterns& patterns);
/// Which run took least time, and how much longer the others took: a line for each trace and
/// machine, or for each trace where there is one policy. Empty where nothing can be compared.
std::string verdict_of(const std::vector<Case>& cases);
/// A table for each trace, of at most this width, in several parts if it must, unless one run alone
/// is wider. 0: as wide as it is.
std::string side_by_side(const std::vector<Case>& cases, const Patterns& patterns, unsigned width);
/// The same as Markdown, as wide as it is.
std::string side_by_side_markdown(const std::vector<Case>& cases, const Patterns& patterns);
/// What each run is of, how it ended, and its statistics: a row each.
std::string one_row_each_csv(const std::vector<Case>& cases, const Patterns& patterns);
Json as_json(const std::vector<Case>& cases, const Patterns& patterns);
/// The core of each run, and how many values are guesses; once if all are alike.
std::string notes_of(const std::vector<Case>& cases);

}  // namespace nestwalk::sim
