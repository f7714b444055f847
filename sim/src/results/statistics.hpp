// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a run says: each number once, with its name, unit and a sentence.
#pragma once

#include <span>
#include <string>
#include <variant>
#include <vector>

#include "configuration/configuration.hpp"
#include "nestwalk/software/distribution.hpp"

namespace nestwalk::sim {

using Value = std::variant<addrspace::u64, double>;

struct Statistic {
  std::string name;  ///< of the form "walk.references"
  Value value;
  const char* unit;
  std::string sentence;
};
using Statistics = std::vector<Statistic>;
/// What names of statistics of one vCPU begin with, before its number.
inline constexpr const char* kVcpuPrefix = "vcpu";

/// The least value that so many of 1000 values do not exceed.
struct Percentile {
  const char* name;  ///< of the statistic
  addrspace::u32 permille;
  const char* sentence;
};

/// How often something had which values, in bins that are less than a hundredth of their values
/// wide.
struct Histogram {
  std::string name;  ///< of the form "latency"
  std::vector<software::Distribution::Bin> bins;
  const char* unit;  ///< of the values
  const char* sentence;
  const char* count;  ///< name of the statistic that is how many values there are
  const char* mean;   ///< and of that which is their mean
  const char* max;    ///< and of that which is the largest of them
  std::span<const Percentile> percentiles;
};

/// Of the machine's values, those that a run used (results/used_values.hpp).
struct UsedValues {
  unsigned used = 0;
  unsigned guesses = 0;     ///< of these
  unsigned with_range = 0;  ///< of the guesses
};

/// Of a statistic that there is.
Value value_of(const Statistics& statistics, const std::string& name);
std::string text_of(const Value& value);
/// Of one that was read; "-" for none.
std::string text_of(const Json& value);
/// `name value # sentence (unit)`, a line for each.
std::string as_text(const Statistics& statistics);
Json as_json(const Statistics& statistics, const std::vector<Histogram>& histograms = {},
             const std::string& core = "", const UsedValues& values = {},
             const std::string& ended_early = "");
/// Of that document, however it is laid out: run.json says of which statistics and configuration it
/// is.
addrspace::u32 checksum_of(const Json& content);

}  // namespace nestwalk::sim
