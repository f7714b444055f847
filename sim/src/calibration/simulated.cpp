// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/simulated.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "calibration/list_order.hpp"
#include "calibration/preset_value.hpp"
#include "comparisons/cases.hpp"
#include "nestwalk/traces/writer.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::kGiB;
using addrspace::kMiB;

constexpr u64 kLine = 64;
constexpr u64 kBase = u64{1} << 36;
constexpr u64 kLargePage = 2 * kMiB;
/// A list is followed once, or so far that caches and tables are as they stay.
constexpr u64 kLeastWarm = 100'000;
constexpr u64 kMostWarm = 1'000'000;
constexpr u64 kLoads = 20'000;

u64 node_bytes(const Point& point) {
  return point.probe == Probe::Pages ? point.page_bytes : kLine;
}
u64 nodes_of(const Point& point) { return point.bytes / node_bytes(point); }
// All of the guest's pages are there, as on the machine.
u64 touches_of(const Point& point) { return std::max<u64>(point.bytes / point.page_bytes, 1); }
u64 most_warm_of(const Point& point) { return std::min(nodes_of(point) * 9 / 8, kMostWarm); }

// All lines that the last level has, and some more.
u64 warm_of(const Point& point, const Configuration& machine) {
  u64 lines = 0;
  for (const std::string level : {"caches.l2", "caches.l3"}) {
    const auto sets = preset_value(machine, level + ".sets");
    const auto ways = preset_value(machine, level + ".ways");
    if (sets && ways) lines += sets->value.get<u64>() * ways->value.get<u64>();
  }
  return std::min(most_warm_of(point), std::max(lines + lines / 8, kLeastWarm));
}

void write_list(const Point& point, traces::ByteSink& sink) {
  traces::Header header;
  header.lacks = traces::kNoGpa | traces::kNoHpa | traces::kNoFetches | traces::kNoSpaces |
                 traces::kNoFences | traces::kNoHypervisor;
  header.producer = "nestwalk";
  header.command = "nestwalk calibrate: " + text_of(point);
  traces::Writer writer(sink, header, {.level = 1});
  traces::Access access{{}, {}, {}, 0, 8, traces::AccessKind::Write, traces::kGvaKnown};
  for (u64 n = 0; n < touches_of(point); ++n) {
    access.gva = addrspace::Gva(kBase + n * point.page_bytes);
    writer.append(0, access);
  }
  access.kind = traces::AccessKind::Read;
  access.flags |= traces::kDependent;
  const ListOrder order(static_cast<unsigned>(std::countr_zero(nodes_of(point))));
  const u64 loads = most_warm_of(point) + kLoads;
  for (u64 n = 0; n < loads; ++n) {
    const u64 place = order.place_of(n);
    const bool pages = point.probe == Probe::Pages;
    access.gva =
        addrspace::Gva(kBase + (pages ? spread_line(place, point.page_bytes) : place * kLine));
    writer.append(0, access);
  }
  writer.finish();
}

Configuration configuration_for(Configuration machine, const Surroundings& surroundings,
                                const Point& point) {
  const std::string who = "calibrate";
  const auto set = [&](const std::string& assignment) { machine.set(assignment, who); };
  const bool large = point.page_bytes == kLargePage;
  set(std::string("guest.large_pages=") + (large ? "true" : "false"));
  if (surroundings.scattered && !large) set("guest.placement=random");
  // Room for tables, and for a block of 2M that begins anywhere.
  set("guest.memory=" + std::to_string(std::max<u64>(2 * point.bytes, 64 * kMiB)));
  set(std::string("hypervisor.backing=") + (surroundings.nested ? "eager" : "none"));
  if (surroundings.nested) {
    const bool host_large = surroundings.host_page_bytes == kLargePage;
    set(std::string("hypervisor.large_pages=") + (host_large ? "true" : "false"));
  }
  const u64 before = touches_of(point) + warm_of(point, machine);
  set("run.warmup=" + std::to_string(before));
  set("run.limit=" + std::to_string(before + kLoads));
  // Only the touches before the statistics clear pages: how does not matter, and this is quick.
  set("machine.software.clearing=constant");
  return machine;
}

Cost cost_of(const Json& statistics) {
  const auto number = [&](const char* name) {
    return statistics.contains(name) ? statistics[name].get<double>() : 0.0;
  };
  const double loads = number("access.total");
  Cost cost;
  cost.cycles = (number("time.accesses") - number("guest.cycles")) / loads;
  cost.counts = {number("cache.l1.served") / loads,          number("cache.l2.served") / loads,
                 number("cache.l3.served") / loads,          number("cache.memory.served") / loads,
                 (loads - number("tlb.first_hits")) / loads, number("walk.count") / loads};
  return cost;
}

}  // namespace

std::string text_of(const Surroundings& surroundings) {
  const bool large = surroundings.host_page_bytes == kLargePage;
  return std::string(surroundings.nested ? (large ? "--host-pages 2M " : "--host-pages 4K ") : "") +
         "--guest-frames " + (surroundings.scattered ? "scattered" : "side-by-side");
}

bool is_simulated(const Point& point) {
  return is_chase(point) && point.page_bytes <= kLargePage && std::has_single_bit(point.bytes) &&
         nodes_of(point) >= 2;
}

const std::string& SimulatedProbes::trace_of(const Point& point) {
  std::unique_ptr<GeneratedTrace>& trace = traces_[text_of(point)];
  if (!trace) {
    trace =
        std::make_unique<GeneratedTrace>([&](traces::ByteSink& sink) { write_list(point, sink); });
  }
  return trace->path();
}

std::vector<Cost> SimulatedProbes::costs(const Configuration& machine,
                                         const Surroundings& surroundings,
                                         const std::vector<Point>& points) {
  // The longest first, so that no processor waits for a last one.
  std::vector<std::size_t> order(points.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t left, std::size_t right) {
    return touches_of(points[left]) > touches_of(points[right]);
  });
  std::vector<Plan> plans;
  for (const std::size_t n : order) {
    plans.push_back({text_of(points[n]), trace_of(points[n]),
                     configuration_for(machine, surroundings, points[n])});
  }
  const std::vector<Case> cases = run_cases(std::move(plans), jobs_);
  std::vector<Cost> costs(points.size());
  for (std::size_t n = 0; n < cases.size(); ++n) {
    const Case& each = cases[n];
    if (!is_whole(each)) {
      throw NoResult(each.exit_code == kDone ? kIncomplete : each.exit_code,
                     each.name + (each.failure.empty() ? " ended early: " + each.ended_early
                                                       : " failed: " + each.failure));
    }
    costs[order[n]] = cost_of(each.statistics);
  }
  return costs;
}

double ns_of_cycle(const Configuration& machine) {
  const Json& clock = machine.value_at("machine.clock_mhz");
  return 1e3 / (clock.is_array() ? clock[0] : clock).get<double>();
}

}  // namespace nestwalk::sim
