// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a run says: every count of its parts by name.
#pragma once

#include "nestwalk/software/totals.hpp"
#include "statistics.hpp"

namespace nestwalk::sim {

struct Measured {
  const software::Totals& totals;
  addrspace::SpaceUsage memory;
  software::WorkCounts work;
  models::DramCounts dram;
  addrspace::u64 memory_peak;
};

Statistics statistics_of(const Measured& run);
/// Those that every run has, all of them 0.
Statistics statistics_of_nothing();

/// Statistics that a run has where they are not 0.
struct StatisticFamily {
  std::string pattern;  ///< of their names, a regular expression
  const char* unit;
  const char* sentence;
};
std::vector<StatisticFamily> statistic_families();

}  // namespace nestwalk::sim
