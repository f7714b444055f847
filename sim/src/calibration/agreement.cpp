// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/agreement.hpp"

#include <algorithm>
#include <cmath>

namespace nestwalk::sim {
namespace {

std::string decimals(double value, int count) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", count, value);
  return text;
}

std::string percent(double part) {
  char text[64];
  std::snprintf(text, sizeof text, "%+.1f %%", 100 * part);
  return text;
}

}  // namespace

double Agreement::mean_error() const {
  double sum = 0;
  for (const Row& row : rows) sum += std::abs(row.error());
  return rows.empty() ? 0 : sum / static_cast<double>(rows.size());
}

const Agreement::Row& Agreement::worst() const {
  return *std::max_element(rows.begin(), rows.end(), [](const Row& left, const Row& right) {
    return std::abs(left.error()) < std::abs(right.error());
  });
}

std::vector<Point> simulated_points(const MeasuredMachine& machine) {
  std::vector<Point> points;
  for (const MeasuredPoint& each : machine.points) {
    if (is_simulated(each.point)) points.push_back(each.point);
  }
  return points;
}

Agreement agreement_of(const MeasuredMachine& machine, const std::vector<Point>& points,
                       const std::vector<Cost>& costs, double ns_of_cycle) {
  Agreement agreement;
  agreement.of_medians = machine.has_medians;
  for (std::size_t n = 0; n < points.size(); ++n) {
    agreement.rows.push_back(
        {points[n], machine.find(points[n])->ns, costs[n].cycles * ns_of_cycle});
  }
  return agreement;
}

Table as_table(const Agreement& agreement) {
  const char* const measured = agreement.of_medians ? "median, ns" : "measured, ns";
  Table table = {{"point", measured, "simulated, ns", "error"}};
  for (const Agreement::Row& row : agreement.rows) {
    table.push_back({text_of(row.point), decimals(row.measured_ns, 2),
                     decimals(row.simulated_ns, 2), percent(row.error())});
  }
  return table;
}

Json as_json(const Agreement& agreement) {
  Json points = Json::array();
  for (const Agreement::Row& row : agreement.rows) {
    points.push_back({{"point", text_of(row.point)},
                      {"probe", name_of(row.point.probe)},
                      {"page_bytes", row.point.page_bytes},
                      {"bytes", row.point.bytes},
                      {"measured_ns", row.measured_ns},
                      {"simulated_ns", row.simulated_ns},
                      {"error", row.error()}});
  }
  return {{"format", "nestwalk-agreement"},
          {"version", 1},
          {"times", agreement.of_medians ? "median" : "least"},
          {"mean_error", agreement.mean_error()},
          {"worst_error", agreement.worst().error()},
          {"worst_point", text_of(agreement.worst().point)},
          {"points", points}};
}

std::string sentence_of(const Agreement& agreement) {
  const Agreement::Row& worst = agreement.worst();
  return "mean error " + decimals(100 * agreement.mean_error(), 1) + " % of " +
         counted(agreement.rows.size(), "point") + (agreement.of_medians ? " (medians)" : "") +
         "; the worst, " + text_of(worst.point) + ", " + percent(worst.error());
}

}  // namespace nestwalk::sim
