// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a run says: every count of its parts by name.
#pragma once

#include <functional>

#include "nestwalk/software/totals.hpp"
#include "results/statistics.hpp"

namespace nestwalk::sim {

/// What belongs to no guest.
struct MachineMeasured {
  models::DramCounts dram;
  std::array<models::DataPrefetchCounts, 3> prefetches;  ///< of the first, second and third level
  models::FrameCounts frames;
  addrspace::u64 memory_peak = 0;
  addrspace::u64 reserved_frames = 0;
};

/// Of one guest, or of all together.
struct Measured {
  software::Totals totals;
  addrspace::SpaceUsage memory{};
  software::WorkCounts work;
  std::optional<software::ReplayCounts> replayed;  ///< where recorded tables are
  std::optional<MachineMeasured> machine;          ///< of all together
  models::ClockRate clock{};
  addrspace::u64 reserved_frames = 0;  ///< of guest-physical memory
  bool of_vcpu = false;                ///< of one vCPU: only what a vCPU counts

  /// Another time of the same run; a later one, for what is not counted but is as it is.
  void add(const Measured& later);
  /// What was counted before.
  void take_away(const Measured& before);
};

/// A statistic, and how it relates to others. Each is declared once, as a row in report.cpp: what a
/// run says, its schema and the check that sums close are made of the rows.
struct Row : Statistic {
  std::vector<std::string> part_of;  ///< names of the rows that are sums of all their parts
  std::string at_most;               ///< name of a row that it does not exceed; empty for none
  std::vector<std::string> mean_of;  ///< of a mean: names of the rows whose sum it divides
  std::string mean_per;              ///< and by which row; empty for all others
  std::string in_ns{};               ///< name of the row that it is by the machine's clock
  bool omitted = false;              ///< it is 0, and a run says it only where it is not
  bool of_vcpus = false;             ///< at_most is for each vCPU, and this of all together
  bool always = false;               ///< no statistics are without it
  bool has_unsaid_parts = false;     ///< beside those that are rows
  bool over_time = true;             ///< a count of which phases have parts
};
/// Of a row that is a mean, by the values of the rows that it is made of.
double mean_of(const Row& row, const std::function<addrspace::u64(const std::string&)>& value);
std::vector<Row> rows_of(const Measured& run);
/// Of a run in which nothing happened, without recorded tables.
const std::vector<Row>& rows_of_nothing();
/// Every row that a run may have.
const std::vector<Row>& rows_of_any();
/// Of one vCPU in which nothing happened.
const std::vector<Row>& rows_of_vcpu();
Statistics statistics_of(const Measured& run);
/// How often accesses took how long.
Histogram histogram_of(const Measured& run);

/// Statistics that a run has where they are not 0.
struct StatisticFamily {
  std::string pattern;  ///< of their names, a regular expression
  const char* unit;
  std::string sentence;
  const char* type = "integer";
};
std::vector<StatisticFamily> statistic_families();

}  // namespace nestwalk::sim
