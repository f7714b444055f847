// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a run says: every count of its parts by name.
#pragma once

#include "nestwalk/software/totals.hpp"
#include "statistics.hpp"

namespace nestwalk::sim {

/// What belongs to no guest.
struct MachineMeasured {
  models::DramCounts dram;
  addrspace::u64 memory_peak = 0;
};

/// Of one guest, or of all together.
struct Measured {
  software::Totals totals;
  addrspace::SpaceUsage memory{};
  software::WorkCounts work;
  std::optional<software::ReplayCounts> replayed;  ///< where recorded tables are
  std::optional<MachineMeasured> machine;          ///< of all together

  /// Another time of the same run; a later one, for what is not counted but is as it is.
  void add(const Measured& later);
  /// What was counted before.
  void take_away(const Measured& before);
};

Statistics statistics_of(const Measured& run);
/// How often accesses took how long.
Histogram histogram_of(const Measured& run);
/// Those that every run has, all of them 0.
Statistics statistics_of_nothing();

/// Statistics that a run has where they are not 0.
struct StatisticFamily {
  std::string pattern;  ///< of their names, a regular expression
  const char* unit;
  const char* sentence;
  const char* type = "integer";
};
std::vector<StatisticFamily> statistic_families();

}  // namespace nestwalk::sim
