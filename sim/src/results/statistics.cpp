// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/statistics.hpp"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

#include "nestwalk/traces/container.hpp"
#include "results/used_values.hpp"

namespace nestwalk::sim {

using addrspace::u64;

Value value_of(const Statistics& statistics, const std::string& name) {
  const auto row = std::find_if(statistics.begin(), statistics.end(),
                                [&](const Statistic& each) { return each.name == name; });
  if (row == statistics.end()) throw std::logic_error("no statistic is called " + name);
  return row->value;
}

std::string text_of(const Value& value) {
  if (const u64* const number = std::get_if<u64>(&value)) return std::to_string(*number);
  char text[64];
  std::snprintf(text, sizeof text, "%.6f", std::get<double>(value));
  return text;
}

std::string text_of(const Json& value) {
  if (value.is_null()) return "-";
  if (value.is_number_unsigned()) return text_of(Value(value.get<u64>()));
  return value.is_number() ? text_of(Value(value.get<double>())) : value.dump();
}

std::string as_text(const Statistics& statistics) {
  std::size_t widest = 0;
  for (const Statistic& row : statistics) widest = std::max(widest, row.name.size());
  std::string text;
  for (const Statistic& row : statistics) {
    std::string line = row.name;
    line.resize(widest + 2, ' ');
    std::string value = text_of(row.value);
    value.insert(0, value.size() < 16 ? 16 - value.size() : 0, ' ');
    text += line + value + "  # " + row.sentence + " (" + row.unit + ")\n";
  }
  return text;
}

Json as_json(const Statistics& statistics, const std::vector<Histogram>& histograms,
             const std::string& core, const UsedValues& used, const std::string& ended_early) {
  Json values = Json::object();
  for (const Statistic& row : statistics) {
    std::visit([&](const auto value) { values[row.name] = value; }, row.value);
  }
  Json bins = Json::object();
  for (const Histogram& each : histograms) {
    Json& list = bins[each.name] = Json::array();
    for (const auto& bin : each.bins) list.push_back({bin.first, bin.last, bin.count});
  }
  return {{"format", "nestwalk-stats"}, {"version", 1},      {"complete", ended_early.empty()},
          {"ended_early", ended_early}, {"core", core},      {"values", as_json(used)},
          {"statistics", values},       {"histograms", bins}};
}

addrspace::u32 checksum_of(const Json& content) {
  const std::string text = content.dump(-1, ' ', false, Json::error_handler_t::replace);
  return traces::crc32c({reinterpret_cast<const addrspace::u8*>(text.data()), text.size()});
}

}  // namespace nestwalk::sim
