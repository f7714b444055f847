// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <fstream>
#include <nlohmann/json.hpp>

#include "judge.hpp"

namespace nestwalk::baremetal {
namespace {

struct Rule {
  const char* name;
  bool (*applies)(const Geometry& geometry, Probe probe, const Expected& expected);
};
constexpr Rule kRules[] = {
    {"faults where the top bit of the address is set",
     [](const Geometry& geometry, Probe probe, const Expected&) {
       return (probe >> (geometry.input_bits - 1) & 1) != 0;
     }},
};

bool has(const nlohmann::json& list, const std::string& wanted) {
  return std::any_of(list.begin(), list.end(), [&](const auto& one) { return one == wanted; });
}

}  // namespace

std::vector<Deviation> read_deviations(const std::string& file, const std::string& emulator,
                                       const std::string& version, const std::string& format) {
  std::ifstream in(file);
  if (!in) throw std::runtime_error(file + ": cannot be read");
  std::vector<Deviation> found;
  for (const auto& row : nlohmann::json::parse(in)) {
    // Rows without a rule are what no probe meets: they are there to be read.
    if (!row.contains("rule") || row.at("emulator") != emulator) continue;
    if (!has(row.at("versions"), version) || !has(row.at("formats"), format)) continue;
    const std::string name = row.at("rule");
    const auto rule = std::find_if(std::begin(kRules), std::end(kRules),
                                   [&](const Rule& known) { return known.name == name; });
    if (rule == std::end(kRules)) throw std::runtime_error(file + ": no such rule: " + name);
    found.push_back({name, rule->applies});
  }
  return found;
}

}  // namespace nestwalk::baremetal
