// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/sums.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "nestwalk/traces/container.hpp"
#include "results/report.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u64;
using software::Distribution;

std::optional<u64> count_at(const Json& statistics, const std::string& name) {
  const auto found = statistics.find(name);
  if (found == statistics.end() || !found->is_number_unsigned()) return {};
  return found->get<u64>();
}

std::string of_both(const std::string& name, const Json& value, const std::string& how,
                    const std::string& other, const Json& found) {
  return name + " is " + value.dump() + ", " + how + other + ", " + found.dump();
}

// Prefixes of the names begin with these.
constexpr const char* kGuests = "vm";
constexpr const char* kPhases = "phase.";
constexpr const char* kVcpus = kVcpuPrefix;

/// The statistics of a run, of its guests and of its phases.
struct Known {
  std::set<std::string> prefixes;         ///< of their names
  u64 guests = 0, vcpus = 0, phases = 0;  ///< that have statistics of their own
  std::optional<std::string> contradiction;
};

using RowsByName = std::map<std::string, const Row*>;

// The row of a statistic of a run, a guest or a phase: the longest end of its name that is one's.
RowsByName::const_iterator row_of(const RowsByName& rows, const std::string& name) {
  constexpr int kMostParts = 8;  // of a row's name, which has dots between them
  auto longest = rows.end();
  std::size_t dot = name.size();
  for (int parts = 0; parts < kMostParts && dot != 0; ++parts) {
    const std::size_t before = name.rfind('.', dot - 1);
    const bool all = before == std::string::npos;
    const auto row = rows.find(all ? name : name.substr(before + 1));
    if (row != rows.end()) longest = row;
    if (all) break;
    dot = before;
  }
  return longest;
}

// What counts is a whole number. Statistics that are no rows say nothing.
Known known_of(const Json& statistics) {
  RowsByName rows;
  for (const Row& row : rows_of_any()) rows.emplace(row.name, &row);
  Known known;
  for (const auto& [name, value] : statistics.items()) {
    const auto row = row_of(rows, name);
    if (row == rows.end()) continue;
    const std::string prefix = name.substr(0, name.size() - row->first.size());
    const bool is_new = known.prefixes.insert(prefix).second;
    if (is_new && prefix.starts_with(kGuests)) ++known.guests;
    if (is_new && prefix.starts_with(kVcpus)) ++known.vcpus;
    if (is_new && prefix.starts_with(kPhases)) ++known.phases;
    if (value.is_number_unsigned() || std::holds_alternative<double>(row->second->value)) continue;
    known.contradiction = name + " is " + value.dump() + ", not a whole number";
    break;
  }
  return known;
}

// Means are rounded.
bool exceeds(const Json& value, const Json& most) {
  if (value.is_number_unsigned() && most.is_number_unsigned()) {
    return value.get<u64>() > most.get<u64>();
  }
  constexpr double kRounding = 1 + 1e-12;
  return value.get<double>() > most.get<double>() * kRounding;
}

bool is_near(const Json& value, double expected) {
  return !exceeds(value, expected) && !exceeds(expected, value);
}

// A row that is a mean is the sum of some rows by another one.
std::optional<std::string> contradiction_of_mean(const Json& statistics, const std::string& prefix,
                                                 const Row& row) {
  const auto value = statistics.find(prefix + row.name);
  if (row.mean_per.empty() || value == statistics.end()) return {};
  bool lacks_rows = false;
  const double expected = mean_of(row, [&](const std::string& name) {
    const std::optional<u64> count = count_at(statistics, prefix + name);
    lacks_rows = lacks_rows || !count;
    return count.value_or(0);
  });
  if (lacks_rows || is_near(*value, expected)) return {};
  std::string sum;
  for (const std::string& name : row.mean_of) {
    sum.append(sum.empty() ? "" : " + ").append(prefix).append(name);
  }
  if (row.mean_of.size() > 1) sum = "(" + sum + ")";
  return of_both(prefix + row.name, *value, "not ", sum + " / " + prefix + row.mean_per, expected);
}

// Of a run, a guest, a vCPU or a phase, of which at most so many vCPUs are.
std::optional<std::string> contradiction_of_rows(const Json& statistics, const std::string& prefix,
                                                 u64 vcpus) {
  struct Sum {
    u64 found = 0;
    bool lacks_parts = false, is_least = false;
  };
  std::map<std::string, Sum> sums;
  const bool of_vcpu = prefix.starts_with(kVcpus);
  for (const Row& row : of_vcpu ? rows_of_vcpu() : rows_of_nothing()) {
    const auto value = statistics.find(prefix + row.name);
    const bool said = value != statistics.end();
    if (row.always && !said) return "has no " + prefix + row.name;
    if (row.has_unsaid_parts) sums[row.name].is_least = true;
    std::vector<std::string> bounds = row.part_of;
    for (const std::string& whole : row.part_of) {
      Sum& sum = sums[whole];
      sum.found += said ? value->get<u64>() : 0;
      sum.lacks_parts = sum.lacks_parts || (!said && !row.omitted);
    }
    bounds.push_back(row.at_most);
    for (const std::string& bound : bounds) {
      const auto most = bound.empty() ? statistics.end() : statistics.find(prefix + bound);
      if (!said || most == statistics.end() || !exceeds(*value, *most)) continue;
      const std::string more =
          of_both(prefix + row.name, *value, "more than ", prefix + bound, *most);
      if (!row.of_vcpus) return more;
      if ((value->get<u64>() - 1) / vcpus < most->get<u64>()) continue;
      return more + ", of each of " + std::to_string(vcpus) + " vCPUs";
    }
  }
  for (const auto& [whole, sum] : sums) {
    const std::optional<u64> said = count_at(statistics, prefix + whole);
    if (!said || sum.lacks_parts || *said == sum.found) continue;
    if (sum.is_least && *said > sum.found) continue;
    return of_both(prefix + whole, *said,
                   sum.is_least ? "less than the sum of its parts" : "not the sum of its parts", "",
                   sum.found);
  }
  for (const Row& row : rows_of_nothing()) {
    if (auto found = contradiction_of_mean(statistics, prefix, row)) return found;
  }
  return {};
}

/// The clocks of machines, in MHz, by which all is as it was said so far.
struct Clocks {
  double least, most;
  std::string said_by;
};

// Of a mean, digits are lost; other times in nanoseconds are rounded to whole ones.
Clocks clocks_of(const Json& cycles, const Json& nanoseconds, bool is_mean) {
  constexpr double kLost = 1e-9;
  const double thousands = cycles.get<double>() * 1000, found = nanoseconds.get<double>();
  const double less = is_mean ? found * (1 - kLost) : found - 0.5;
  const double more = is_mean ? found * (1 + kLost) : found + 0.5;
  constexpr double kAny = std::numeric_limits<double>::infinity();
  return {more > 0 ? thousands / more : kAny, less > 0 ? thousands / less : kAny, ""};
}

// Every time that is said in cycles and in nanoseconds is of one clock.
std::optional<std::string> contradiction_of_clock(const Json& statistics, const std::string& prefix,
                                                  Clocks& clocks) {
  for (const Row& row : rows_of_nothing()) {
    const auto value = statistics.find(prefix + row.name);
    const auto cycles = statistics.find(prefix + row.in_ns);
    if (row.in_ns.empty() || value == statistics.end() || cycles == statistics.end()) continue;
    if (*value == 0 && *cycles == 0) continue;
    const Clocks found = clocks_of(*cycles, *value, std::holds_alternative<double>(row.value));
    if (found.least > clocks.most || found.most < clocks.least) {
      return of_both(prefix + row.name, *value, "not ", prefix + row.in_ns, *cycles) +
             ", by the clock of " + clocks.said_by;
    }
    if (found.least > clocks.least) clocks = {found.least, clocks.most, prefix + row.name};
    if (found.most < clocks.most) clocks = {clocks.least, found.most, prefix + row.name};
  }
  return {};
}

std::optional<std::string> contradiction_of_clocks(const Json& statistics, const Known& known,
                                                   Clocks clocks) {
  for (const std::string& prefix : known.prefixes) {
    if (auto found = contradiction_of_clock(statistics, prefix, clocks)) return found;
  }
  return {};
}

// The bin that has the n-th value, from 1 on; of no values, that of 0.
Json bin_of_value(const Json& bins, u64 n) {
  u64 up_to = 0;
  for (const Json& bin : bins) {
    up_to += bin[2].get<u64>();
    if (up_to >= n && up_to != 0) return bin;
  }
  return {0, 0, 0};
}

// Of all values at the first value of their bin, and at the last.
std::pair<double, double> bounds_of_mean(const Json& bins, u64 values) {
  double least = 0, most = 0;
  for (const Json& bin : bins) {
    least += bin[0].get<double>() * bin[2].get<double>();
    most += bin[1].get<double>() * bin[2].get<double>();
  }
  const double count = static_cast<double>(std::max(values, u64{1}));
  return {least / count, most / count};
}

bool is_in(u64 value, const Json& bin) {
  return value >= bin[0].get<u64>() && value <= bin[1].get<u64>();
}

// Such rows of parts of the run, guests or phases, add up to those of all of it.
std::optional<std::string> contradiction_of_parts(const Json& statistics, const Known& known,
                                                  const std::string& part, const char* whose,
                                                  const std::function<bool(const Row&)>& adds_up) {
  for (const Row& row : rows_of_any()) {
    const std::optional<u64> whole = count_at(statistics, row.name);
    if (!adds_up(row) || (!whole && !row.omitted)) continue;
    u64 found = 0;
    bool all = true;
    for (const std::string& prefix : known.prefixes) {
      if (!prefix.starts_with(part)) continue;
      const std::optional<u64> count = count_at(statistics, prefix + row.name);
      all = all && (count || row.omitted);
      found += count.value_or(0);
    }
    if (!all || found == whole.value_or(0)) continue;
    return of_both(row.name, whole.value_or(0), std::string("not the sum of its ") + whose, "",
                   found);
  }
  return {};
}

// Of guests, what is a sum or a part of one.
std::optional<std::string> contradiction_of_guests(const Json& statistics, const Known& known) {
  std::set<std::string> sums;
  for (const Row& row : rows_of_nothing()) sums.insert(row.part_of.begin(), row.part_of.end());
  return contradiction_of_parts(statistics, known, kGuests, "guests' counts", [&](const Row& row) {
    return !row.part_of.empty() || sums.contains(row.name);
  });
}

// Of vCPUs, the same of what is said of one.
std::optional<std::string> contradiction_of_vcpus(const Json& statistics, const Known& known) {
  std::set<std::string> sums;
  for (const Row& row : rows_of_vcpu()) {
    if (row.part_of.empty()) continue;
    sums.insert(row.name);
    sums.insert(row.part_of.begin(), row.part_of.end());
  }
  return contradiction_of_parts(statistics, known, kVcpus, "vCPUs' counts",
                                [&](const Row& row) { return sums.contains(row.name); });
}

// Of phases, every count.
std::optional<std::string> contradiction_of_phases(const Json& statistics, const Known& known) {
  return contradiction_of_parts(statistics, known, kPhases, "phases' counts", [](const Row& row) {
    return row.over_time && std::holds_alternative<u64>(row.value);
  });
}

// Each access has one latency: bins are [first, last, count], and rise.
std::optional<std::string> contradiction_of_bins(const Json& bins, const std::string& name,
                                                 const std::string& prefix,
                                                 const Json& statistics) {
  u64 sum = 0;
  std::optional<u64> last;
  if (!bins.is_array()) return "the histogram " + name + " is not a list of bins";
  for (const Json& bin : bins) {
    const bool good = bin.is_array() && bin.size() == 3 &&
                      std::all_of(bin.begin(), bin.end(),
                                  [](const Json& each) { return each.is_number_unsigned(); });
    if (!good) return "the histogram " + name + " has a bin that is not [first, last, count]";
    const u64 first = bin[0].get<u64>();
    if (bin[1].get<u64>() < first || (last && first <= *last)) {
      return "the histogram " + name + " has bins that do not rise";
    }
    last = bin[1].get<u64>();
    if (bin[2].get<u64>() > ~sum) return "the histogram " + name + " has 2^64 values or more";
    sum += bin[2].get<u64>();
  }
  const Histogram latency = histogram_of({});
  if (name != prefix + latency.name) return {};
  const auto values = count_at(statistics, prefix + latency.count);
  if (values && *values != sum) {
    return of_both("the histogram " + name, sum, "not ", latency.count, *values);
  }
  const auto max = count_at(statistics, prefix + latency.max);
  const Json highest = bin_of_value(bins, sum);
  if (max && !is_in(*max, highest)) {
    return prefix + latency.max + " is " + std::to_string(*max) +
           ", not in the last bin of the histogram " + name + ", " + highest.dump();
  }
  const auto mean = statistics.find(prefix + latency.mean);
  const auto [least, most] = bounds_of_mean(bins, sum);
  if (mean != statistics.end() && (exceeds(least, *mean) || exceeds(*mean, most))) {
    return prefix + latency.mean + " is " + mean->dump() + ", not from " + Json(least).dump() +
           " to " + Json(most).dump() + ", as the histogram " + name + " says";
  }
  for (const Percentile& percentile : latency.percentiles) {
    const auto value = count_at(statistics, prefix + percentile.name);
    const Json bin = bin_of_value(bins, Distribution::values_up_to(percentile.permille, sum));
    if (!value || is_in(*value, bin)) continue;
    return prefix + percentile.name + " is " + std::to_string(*value) +
           ", not in the bin of the histogram " + name + " that has it, " + bin.dump();
  }
  return {};
}

std::optional<std::string> contradiction_of_histograms(const Json& stats) {
  const auto histograms = stats.find("histograms");
  if (histograms == stats.end()) return {};
  if (!histograms->is_object()) return "\"histograms\" is not an object";
  const std::string latency = histogram_of({}).name;
  for (const auto& [name, bins] : histograms->items()) {
    const std::string prefix = name.substr(0, name.size() - std::min(name.size(), latency.size()));
    if (auto found = contradiction_of_bins(bins, name, prefix, stats["statistics"])) return found;
  }
  return {};
}

}  // namespace

std::optional<std::string> contradiction_of(const Json& stats) {
  const Json& statistics = stats["statistics"];
  const Known known = known_of(statistics);
  if (known.contradiction) return known.contradiction;
  for (const std::string& prefix : known.prefixes) {
    const bool of_one = prefix.starts_with(kGuests) || known.guests == 0;
    const u64 vcpus = traces::kMaxVcpus * (of_one ? 1 : known.guests);
    if (auto found = contradiction_of_rows(statistics, prefix, vcpus)) return found;
  }
  if (known.guests != 0) {
    if (auto found = contradiction_of_guests(statistics, known)) return found;
  }
  if (known.vcpus != 0) {
    if (auto found = contradiction_of_vcpus(statistics, known)) return found;
  }
  if (known.phases != 0) {
    if (auto found = contradiction_of_phases(statistics, known)) return found;
  }
  if (auto found = contradiction_of_histograms(stats)) return found;
  constexpr double kLeastMhz = 1, kMostMhz = 100'000;  // of machines
  return contradiction_of_clocks(statistics, known, {kLeastMhz, kMostMhz, "machines"});
}

std::optional<std::string> contradiction_of_clock(const Json& stats, double mhz,
                                                  const std::string& said_by) {
  const Json& statistics = stats["statistics"];
  return contradiction_of_clocks(statistics, known_of(statistics), {mhz, mhz, said_by});
}

}  // namespace nestwalk::sim
