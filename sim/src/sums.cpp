// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sums.hpp"

#include <algorithm>
#include <vector>

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::u64;
using Names = std::vector<std::string>;

/// A whole, and its parts: `whole.part`, or where `of` is given `of.part`.
struct Sum {
  const char* whole;
  Names parts;
  const char* of = nullptr;
};

const Names kKinds = {"reads", "writes", "fetches"};
const Names kHandling = {"exit",    "waiting", "handler",   "tables", "frames",
                         "zeroing", "fences",  "emulation", "entry"};
const Names kServed = {"data", "fetches", "walks", "software"};

// Those that statistics say themselves, and that hold for a part of a run as well.
const std::vector<Sum> kSums = {
    {"access.total", kKinds, "access"},
    {"time.vcpus",
     {"instructions", "accesses", "switches", "fences", "operations", "interrupted", "scheduling",
      "waiting", "ordered"},
     "time"},
    {"tlb.first_hits", kKinds},
    {"tlb.second_hits", kKinds},
    {"walk.count", kKinds},
    {"translation.cycles", {"tlbs", "merged", "walks"}, "translation"},
    {"cache.l1.served", kServed, "cache.l1"},
    {"cache.l2.served", kServed, "cache.l2"},
    {"cache.l3.served", kServed, "cache.l3"},
    {"cache.memory.served", kServed, "cache.memory"},
    {"exit.total",
     {"mapped", "made_writable", "already_mapped", "no_area", "no_permission", "not_backed",
      "out_of_memory"},
     "exit"},
    {"exit.cycles", kHandling},
    {"operation.cycles", kHandling},
    {"guest.cycles", {"handler", "waiting", "translation", "exits", "zeroing", "tables", "fences"}},
    {"host.cycles", {"exit", "waiting", "handler", "fences", "entry"}},
    {"fence.lost", {"paid", "unpaid"}},
};

constexpr const char* kRising[] = {"latency.p50", "latency.p90", "latency.p99", "latency.p99.9",
                                   "latency.max"};

std::optional<u64> count_at(const Json& statistics, const std::string& name) {
  const auto found = statistics.find(name);
  if (found == statistics.end() || !found->is_number_unsigned()) return {};
  return found->get<u64>();
}

std::string of_both(const std::string& name, u64 value, const std::string& how,
                    const std::string& other, u64 found) {
  return name + " is " + std::to_string(value) + ", " + how + other + ", " + std::to_string(found);
}

std::optional<std::string> contradiction_of_sums(const Json& statistics,
                                                 const std::string& prefix) {
  for (const Sum& sum : kSums) {
    const std::string whole = prefix + sum.whole;
    const std::string of = (sum.of == nullptr ? whole : prefix + sum.of) + ".";
    const std::optional<u64> said = count_at(statistics, whole);
    u64 found = 0;
    bool all = said.has_value();
    for (const std::string& part : sum.parts) {
      const std::optional<u64> value = count_at(statistics, of + part);
      all = all && value;
      found += value.value_or(0);
    }
    if (all && *said != found) return of_both(whole, *said, "not the sum of its parts", "", found);
  }
  return {};
}

std::optional<std::string> contradiction_of_latencies(const Json& statistics,
                                                      const std::string& prefix) {
  for (std::size_t n = 1; n < std::size(kRising); ++n) {
    const auto less = count_at(statistics, prefix + kRising[n - 1]);
    const auto more = count_at(statistics, prefix + kRising[n]);
    if (!less || !more || *less <= *more) continue;
    return of_both(prefix + kRising[n - 1], *less, "more than ", prefix + kRising[n], *more);
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
    if (auto found = contradiction_of_sums(statistics, prefix)) return found;
    if (auto found = contradiction_of_latencies(statistics, prefix)) return found;
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
