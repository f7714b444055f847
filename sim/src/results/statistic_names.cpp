// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "results/statistic_names.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <regex>

#include "nestwalk/models/base/nearest.hpp"
#include "program/exit_code.hpp"
#include "results/report.hpp"

namespace nestwalk::sim {
namespace {

bool is_row(const std::string& pattern) {
  return std::ranges::any_of(rows_of_any(), [&](const Row& row) {
    return fnmatch(pattern.c_str(), row.name.c_str(), 0) == 0;
  });
}

// "^reference\\.(data|...": up to what is no letter of a name.
std::string fixed_part(const std::string& expression) {
  return expression.substr(1, expression.find_first_of("\\([.+$", 1) - 1);
}

// A pattern that a family's names could match begins as they do.
bool may_be_of_family(const std::string& pattern, bool is_name) {
  return std::ranges::any_of(statistic_families(), [&](const StatisticFamily& family) {
    if (is_name) return std::regex_search(pattern, std::regex(family.pattern));
    const std::string begin = pattern.substr(0, pattern.find_first_of("*?[\\"));
    const std::string fixed = fixed_part(family.pattern);
    return begin.starts_with(fixed) || fixed.starts_with(begin);
  });
}

// Of one guest or one phase: what it is of is a statistic, too.
std::string without_part(const std::string& name) {
  static const std::regex kPart("^(vm[0-9]+|phase\\.[A-Za-z0-9_-]+)\\.");
  return std::regex_replace(name, kPart, "");
}

bool is_possible(const std::string& pattern) {
  if (is_row(pattern)) return true;
  const bool is_name = pattern.find_first_of("*?[\\") == std::string::npos;
  if (!may_be_of_family(pattern, is_name)) return false;
  const std::string whole = is_name ? without_part(pattern) : pattern;
  return whole == pattern || is_possible(whole);
}

}  // namespace

void expect_possible_statistic(const std::string& pattern, const std::string& what) {
  if (is_possible(pattern)) return;
  std::vector<std::string> known;
  for (const Row& row : rows_of_any()) known.push_back(row.name);
  const std::string similar = models::nearest(pattern, known);
  throw UsageError(what + pattern + ": no run has this statistic" +
                   (similar.empty() ? "" : "; did you mean " + similar + "?"));
}

}  // namespace nestwalk::sim
