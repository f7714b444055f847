// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A picture of both curves, as SVG.
#include <algorithm>
#include <cmath>
#include <map>

#include "calibration/agreement.hpp"
#include "configuration/parameter.hpp"

namespace nestwalk::sim {
namespace {

constexpr double kWidth = 860, kHeight = 520;
constexpr double kLeft = 70, kRight = 200, kTop = 50, kBottom = 60;
// Four that stay different for most who do not see all colours.
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7"};

struct Axes {
  double least_bytes, most_bytes, least_ns, most_ns;
  double x(double bytes) const {
    const double part = std::log2(bytes / least_bytes) / std::log2(most_bytes / least_bytes);
    return kLeft + part * (kWidth - kLeft - kRight);
  }
  double y(double ns) const {
    const double part = std::log(ns / least_ns) / std::log(most_ns / least_ns);
    return kHeight - kBottom - part * (kHeight - kTop - kBottom);
  }
};

Axes axes_of(const Agreement& agreement) {
  Axes axes{1e18, 1, 1e18, 1e-3};
  for (const Agreement::Row& row : agreement.rows) {
    const double bytes = static_cast<double>(row.point.bytes);
    axes.least_bytes = std::min(axes.least_bytes, bytes);
    axes.most_bytes = std::max(axes.most_bytes, bytes);
    axes.least_ns = std::min({axes.least_ns, row.measured_ns, row.simulated_ns});
    axes.most_ns = std::max({axes.most_ns, row.measured_ns, row.simulated_ns});
  }
  // A picture of one point has a width, too.
  if (axes.most_bytes == axes.least_bytes) axes.most_bytes *= 2;
  axes.least_ns = std::min(axes.least_ns * 0.8, axes.most_ns / 2);
  axes.most_ns *= 1.25;
  return axes;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string line(double x1, double y1, double x2, double y2, const std::string& style) {
  return "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) +
         "\" y2=\"" + number(y2) + "\" " + style + "/>\n";
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char letter : printable(text)) {
    if (letter == '<')
      result += "&lt;";
    else if (letter == '>')
      result += "&gt;";
    else if (letter == '&')
      result += "&amp;";
    else
      result += letter;
  }
  return result;
}

std::string words(double x, double y, const std::string& text, const std::string& style = "") {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" " + style + ">" + escaped(text) +
         "</text>\n";
}

std::string grid_of(const Axes& axes) {
  std::string svg;
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  for (double bytes = axes.least_bytes; bytes <= axes.most_bytes; bytes *= 4) {
    svg += line(axes.x(bytes), kTop, axes.x(bytes), bottom, "stroke=\"#e4e4e4\"");
    svg += words(axes.x(bytes), bottom + 18, size_text(static_cast<u64>(bytes)),
                 "text-anchor=\"middle\"");
  }
  for (int decade = -2; decade < 6; ++decade) {
    for (const int step : {1, 2, 5}) {
      const double ns = step * std::pow(10, decade);
      if (ns < axes.least_ns || ns > axes.most_ns) continue;
      svg += line(kLeft, axes.y(ns), right, axes.y(ns), "stroke=\"#e4e4e4\"");
      char label[32];
      std::snprintf(label, sizeof label, "%g", ns);
      svg += words(kLeft - 8, axes.y(ns) + 4, label, "text-anchor=\"end\"");
    }
  }
  svg += line(kLeft, bottom, right, bottom, "stroke=\"black\"");
  svg += line(kLeft, kTop, kLeft, bottom, "stroke=\"black\"");
  svg += words((kLeft + right) / 2, kHeight - 16, "footprint, bytes", "text-anchor=\"middle\"");
  return svg + words(kLeft, kTop - 10, "ns for a load (solid: measured, dashed: simulated)");
}

// The curves of one kind of list.
std::string curves_of(const std::vector<Agreement::Row>& rows, const Axes& axes,
                      const char* colour) {
  std::string measured, simulated, dots;
  for (const Agreement::Row& row : rows) {
    const double x = axes.x(static_cast<double>(row.point.bytes));
    measured += number(x) + "," + number(axes.y(row.measured_ns)) + " ";
    simulated += number(x) + "," + number(axes.y(row.simulated_ns)) + " ";
    dots += "<circle cx=\"" + number(x) + "\" cy=\"" + number(axes.y(row.measured_ns)) +
            "\" r=\"2.5\" fill=\"" + colour + "\"/>\n";
  }
  const std::string pen = std::string("fill=\"none\" stroke-width=\"1.6\" stroke=\"") + colour;
  return "<polyline " + pen + "\" points=\"" + measured + "\"/>\n<polyline " + pen +
         "\" stroke-dasharray=\"6 4\" points=\"" + simulated + "\"/>\n" + dots;
}

}  // namespace

std::string as_picture(const Agreement& agreement, const std::string& title) {
  const Axes axes = axes_of(agreement);
  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + number(kWidth) +
                    " " + number(kHeight) + "\" font-family=\"sans-serif\" font-size=\"12\">\n" +
                    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n" +
                    words(kLeft, 22, title, "font-size=\"15\"") + grid_of(axes);
  std::map<std::string, std::vector<Agreement::Row>> kinds;
  std::vector<std::string> names;
  for (const Agreement::Row& row : agreement.rows) {
    const std::string name =
        std::string(row.point.probe == Probe::Pages ? "a line of each page, " : "all lines, ") +
        size_text(row.point.page_bytes);
    if (kinds[name].empty()) names.push_back(name);
    kinds[name].push_back(row);
  }
  for (std::size_t n = 0; n < names.size(); ++n) {
    const char* const colour = kColours[n % std::size(kColours)];
    svg += curves_of(kinds[names[n]], axes, colour);
    const double y = kTop + 14 + 20 * static_cast<double>(n), x = kWidth - kRight + 16;
    svg += line(x, y, x + 22, y, std::string("stroke-width=\"2\" stroke=\"") + colour + "\"");
    svg += words(x + 28, y + 4, names[n]);
  }
  return svg +
         words(kWidth - kRight + 16, kTop + 30 + 20 * static_cast<double>(names.size()),
               "mean error " + number(100 * agreement.mean_error()) + " %") +
         "</svg>\n";
}

}  // namespace nestwalk::sim
