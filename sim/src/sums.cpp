// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sums.hpp"

#include <algorithm>
#include <map>

#include "report.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u64;

std::optional<u64> count_at(const Json& statistics, const std::string& name) {
  const auto found = statistics.find(name);
  if (found == statistics.end() || !found->is_number_unsigned()) return {};
  return found->get<u64>();
}

std::string of_both(const std::string& name, u64 value, const std::string& how,
                    const std::string& other, u64 found) {
  return name + " is " + std::to_string(value) + ", " + how + other + ", " + std::to_string(found);
}

// Of a run, a guest or a phase.
std::optional<std::string> contradiction_of_rows(const Json& statistics,
                                                 const std::string& prefix) {
  struct Sum {
    u64 found = 0;
    bool lacks_parts = false;
  };
  std::map<std::string, Sum> sums;
  for (const Row& row : rows_of_nothing()) {
    const std::optional<u64> value = count_at(statistics, prefix + row.name);
    if (!row.part_of.empty()) {
      Sum& sum = sums[row.part_of];
      sum.found += value.value_or(0);
      sum.lacks_parts = sum.lacks_parts || (!value && !row.omitted);
    }
    for (const std::string& bound : {row.part_of, row.at_most}) {
      const auto most = bound.empty() ? std::nullopt : count_at(statistics, prefix + bound);
      if (!value || !most || *value <= *most) continue;
      return of_both(prefix + row.name, *value, "more than ", prefix + bound, *most);
    }
  }
  for (const auto& [whole, sum] : sums) {
    const std::optional<u64> said = count_at(statistics, prefix + whole);
    if (!said || sum.lacks_parts || *said == sum.found) continue;
    return of_both(prefix + whole, *said, "not the sum of its parts", "", sum.found);
  }
  return {};
}

// Each access has one latency: bins are [first, last, count], and rise.
std::optional<std::string> contradiction_of_bins(const Json& bins, const std::string& name,
                                                 std::optional<u64> accesses) {
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
    sum += bin[2].get<u64>();
  }
  if (!accesses || *accesses == sum) return {};
  return of_both("the histogram " + name, sum, "not ", "access.total", *accesses);
}

}  // namespace

std::optional<std::string> contradiction_of(const Json& stats) {
  const Json& statistics = stats["statistics"];
  const std::string every = "access.total";
  for (const auto& [name, value] : statistics.items()) {
    if (!name.ends_with(every)) continue;
    const std::string prefix = name.substr(0, name.size() - every.size());
    if (auto found = contradiction_of_rows(statistics, prefix)) return found;
  }
  const auto histograms = stats.find("histograms");
  if (histograms == stats.end()) return {};
  if (!histograms->is_object()) return "\"histograms\" is not an object";
  const std::string latency = "latency";
  for (const auto& [name, bins] : histograms->items()) {
    const std::string prefix = name.substr(0, name.size() - std::min(name.size(), latency.size()));
    const bool of_accesses = name == prefix + latency;
    const auto accesses = of_accesses ? count_at(statistics, prefix + every) : std::nullopt;
    if (auto found = contradiction_of_bins(bins, name, accesses)) return found;
  }
  return {};
}

}  // namespace nestwalk::sim
