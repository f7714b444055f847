// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/effects.hpp"

#include <algorithm>
#include <cmath>

namespace nestwalk::sim {

namespace {

auto least_of(const Effect& effect) {
  return std::min_element(effect.means.begin(), effect.means.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; });
}

Effect effect_of(const std::string& key, const std::vector<Case>& cases,
                 const std::string& statistic) {
  struct Sum {
    double logarithms = 0;
    double count = 0;
  };
  std::vector<std::pair<std::string, Sum>> sums;
  for (const Case& each : cases) {
    const std::string* const value = find_in(each.of, key);
    const auto found = each.statistics.find(statistic);
    if (!is_whole(each) || value == nullptr || found == each.statistics.end()) continue;
    const double number = found->get<double>();
    if (number <= 0) continue;
    auto sum = std::find_if(sums.begin(), sums.end(),
                            [&](const auto& other) { return other.first == *value; });
    if (sum == sums.end()) sum = sums.insert(sums.end(), {*value, {}});
    sum->second.logarithms += std::log(number);
    ++sum->second.count;
  }
  Effect effect{key, {}};
  for (const auto& [value, sum] : sums) {
    effect.means.emplace_back(value, std::exp(sum.logarithms / sum.count));
  }
  return effect;
}

}  // namespace

double Effect::ratio() const {
  double most = 0;
  for (const auto& [value, mean] : means) most = std::max(most, mean);
  return means.empty() ? 1 : most / least_of(*this)->second;
}

const std::string& Effect::value_of_least() const { return least_of(*this)->first; }

std::vector<std::string> varied_keys(const std::vector<Case>& cases) {
  std::vector<std::string> keys;
  if (cases.empty()) return keys;
  for (const auto& column : cases[0].of) {
    const std::string& key = column.first;
    if (key == "point") continue;
    const bool differs = std::any_of(cases.begin(), cases.end(), [&](const Case& other) {
      const std::string* const theirs = find_in(other.of, key);
      return theirs == nullptr || *theirs != column.second;
    });
    if (differs) keys.push_back(key);
  }
  return keys;
}

std::vector<Effect> effects_of(const std::vector<Case>& cases, const std::string& statistic) {
  std::vector<Effect> effects;
  for (const std::string& key : varied_keys(cases)) {
    Effect effect = effect_of(key, cases, statistic);
    if (effect.means.size() > 1) effects.push_back(std::move(effect));
  }
  std::stable_sort(effects.begin(), effects.end(),
                   [](const Effect& a, const Effect& b) { return a.ratio() > b.ratio(); });
  return effects;
}

}  // namespace nestwalk::sim
