// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Measured beside simulated, point by point.
#pragma once

#include <vector>

#include "calibration/measured.hpp"
#include "calibration/simulated.hpp"
#include "results/table.hpp"

namespace nestwalk::sim {

struct Agreement {
  struct Row {
    Point point;
    double measured_ns = 0;
    double simulated_ns = 0;
    /// Of the measured time: 0.1 if the simulated one is a tenth longer.
    double error() const { return simulated_ns / measured_ns - 1; }
  };
  std::vector<Row> rows;
  bool of_medians = false;  ///< not of the least times

  double mean_error() const;  ///< without signs
  const Row& worst() const;
};

/// The points of a machine that are simulated.
std::vector<Point> simulated_points(const MeasuredMachine& machine);
Agreement agreement_of(const MeasuredMachine& machine, const std::vector<Point>& points,
                       const std::vector<Cost>& costs, double ns_of_cycle);

Table as_table(const Agreement& agreement);
Json as_json(const Agreement& agreement);
std::string sentence_of(const Agreement& agreement);
/// Both curves over footprints, on logarithmic axes, as SVG.
std::string as_picture(const Agreement& agreement, const std::string& title);

}  // namespace nestwalk::sim
