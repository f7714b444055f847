// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/break_even.hpp"

#include <algorithm>
#include <map>
#include <memory>

#include "replay/generated_trace.hpp"

namespace nestwalk::sim {

using addrspace::kFrameBytes;
using addrspace::u64;

namespace {

using Point = BreakEven::Point;

constexpr unsigned kPercent[] = {1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100};
/// The break-even is sought to this part of the memory.
constexpr u64 kFineness = 1000;

/// Runs first touches of any number of pages under two plans.
class Bench {
 public:
  Bench(const std::vector<Plan>& plans, unsigned at_a_time)
      : plans_(plans), at_a_time_(at_a_time) {}

  std::vector<Point> costs(const std::vector<u64>& pages) {
    std::vector<Plan> all;
    for (const u64 count : pages) {
      for (const Plan& plan : plans_) {
        all.push_back({plan.name, trace_of(count), plan.configuration});
      }
    }
    const std::vector<Case> cases = run_cases(std::move(all), at_a_time_);
    std::vector<Point> points;
    for (std::size_t n = 0; n < pages.size(); ++n) {
      points.push_back({pages[n], {cycles_of(cases[2 * n]), cycles_of(cases[2 * n + 1])}});
    }
    return points;
  }

 private:
  const std::string& trace_of(u64 pages) {
    std::unique_ptr<GeneratedTrace>& trace = traces_[pages];
    if (!trace) {
      trace = std::make_unique<GeneratedTrace>(
          "first-touch", Words{"bytes=" + std::to_string(pages * kFrameBytes)});
    }
    return trace->path();
  }
  static u64 cycles_of(const Case& run) {
    expect_whole(run);
    return run.statistics["time.cycles"].get<u64>();
  }

  const std::vector<Plan>& plans_;
  unsigned at_a_time_;
  std::map<u64, std::unique_ptr<GeneratedTrace>> traces_;
};

bool first_is_dearer(const Point& point) { return point.cycles[0] > point.cycles[1]; }

u64 memory_pages_of(const Plan& plan) {
  Configuration configuration = plan.configuration;
  if (configuration.document()["guest"]["memory"] == "auto") {
    throw UsageError(
        "nestwalk compare: --break-even needs the guest's memory: "
        "--set guest.memory=256M");
  }
  traces::Header header;
  header.lacks = traces::kNoGpa;
  return configuration.resolve({header}).vms[0].guest.memory[0].bytes / kFrameBytes;
}

// Points that a bisection between two others needs, until they are near enough.
u64 bisect(Bench& bench, Point low, Point high, u64 near, std::vector<Point>& points) {
  const bool before = first_is_dearer(low);
  while (high.pages - low.pages > near) {
    const Point middle = bench.costs({low.pages + (high.pages - low.pages) / 2})[0];
    points.push_back(middle);
    (first_is_dearer(middle) == before ? low : high) = middle;
  }
  return high.pages;
}

std::string percent_of(u64 pages, u64 all) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f",
                100 * static_cast<double>(pages) / static_cast<double>(all));
  return text;
}

}  // namespace

BreakEven find_break_even(const std::vector<Plan>& plans, unsigned at_a_time) {
  if (plans.size() != 2) {
    throw UsageError(
        "nestwalk compare: --break-even takes two policies on one preset, or one "
        "policy on two");
  }
  BreakEven found;
  for (unsigned n = 0; n < 2; ++n) found.names[n] = plans[n].name;
  found.memory_pages = memory_pages_of(plans[0]);
  Bench bench(plans, at_a_time);
  std::vector<u64> pages;
  for (const unsigned percent : kPercent) {
    pages.push_back(std::max<u64>(1, found.memory_pages * percent / 100));
  }
  found.points = bench.costs(pages);
  const auto turn = std::adjacent_find(found.points.begin(), found.points.end(),
                                       [](const Point& left, const Point& right) {
                                         return first_is_dearer(left) != first_is_dearer(right);
                                       });
  if (turn != found.points.end()) {
    const u64 near = std::max<u64>(1, found.memory_pages / kFineness);
    found.pages = bisect(bench, *turn, *(turn + 1), near, found.points);
    std::sort(found.points.begin(), found.points.end(),
              [](const Point& left, const Point& right) { return left.pages < right.pages; });
  }
  return found;
}

Table as_table(const BreakEven& found) {
  Table table = {{"pages", "percent", found.names[0], found.names[1], "ratio"}};
  for (const Point& point : found.points) {
    char ratio[32];
    std::snprintf(ratio, sizeof ratio, "%.3f",
                  static_cast<double>(point.cycles[1]) / static_cast<double>(point.cycles[0]));
    table.push_back({std::to_string(point.pages), percent_of(point.pages, found.memory_pages),
                     std::to_string(point.cycles[0]), std::to_string(point.cycles[1]), ratio});
  }
  return table;
}

Json as_json(const BreakEven& found) {
  Json points = Json::array();
  for (const Point& point : found.points) {
    points.push_back({{"pages", point.pages}, {"cycles", {point.cycles[0], point.cycles[1]}}});
  }
  const Json pages = found.pages ? Json(*found.pages) : Json();
  return {{"format", "nestwalk-break-even"},
          {"version", 1},
          {"policies", {found.names[0], found.names[1]}},
          {"memory_pages", found.memory_pages},
          {"break_even_pages", pages},
          {"points", points}};
}

std::string sentence_of(const BreakEven& found) {
  const bool dearer = first_is_dearer(found.points.front());
  const std::string& cheap = found.names[dearer ? 1 : 0];
  if (!found.pages) return cheap + " costs less, or the same, however much is touched";
  return cheap + " costs less until " + percent_of(*found.pages, found.memory_pages) +
         " % of the memory is touched: " + counted(*found.pages, "page");
}

}  // namespace nestwalk::sim
