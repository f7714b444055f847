// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "statistics.hpp"

#include <algorithm>
#include <cstdio>

namespace nestwalk::sim {

using addrspace::u64;

namespace {

std::string value_text(const Statistic& row) {
  if (const u64* const number = std::get_if<u64>(&row.value)) return std::to_string(*number);
  char text[64];
  std::snprintf(text, sizeof text, "%.6f", std::get<double>(row.value));
  return text;
}

}  // namespace

std::string as_text(const Statistics& statistics) {
  std::size_t widest = 0;
  for (const Statistic& row : statistics) widest = std::max(widest, row.name.size());
  std::string text;
  for (const Statistic& row : statistics) {
    std::string line = row.name;
    line.resize(widest + 2, ' ');
    std::string value = value_text(row);
    value.insert(0, value.size() < 16 ? 16 - value.size() : 0, ' ');
    text += line + value + "  # " + row.sentence + " (" + row.unit + ")\n";
  }
  return text;
}

Json as_json(const Statistics& statistics) {
  Json values = Json::object();
  for (const Statistic& row : statistics) {
    std::visit([&](const auto value) { values[row.name] = value; }, row.value);
  }
  return {{"format", "nestwalk-stats"}, {"version", 1}, {"statistics", values}};
}

}  // namespace nestwalk::sim
