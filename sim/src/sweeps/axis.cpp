// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/axis.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <set>
#include <string_view>

#include "configuration/configuration.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

using addrspace::u64;
using models::Json;

namespace {

[[noreturn]] void fail_axis(const std::string& where, const std::string& what) {
  throw UsageError(where + ": " + what);
}

[[noreturn]] void fail_long_axis(const std::string& where) {
  fail_axis(where, "has more than " + std::to_string(kMostSteps) + " values");
}

std::vector<std::string> parts_between(const std::string& text, char between) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (at != text.size() && text[at] != between) continue;
    parts.push_back(text.substr(begin, at - begin));
    begin = at + 1;
  }
  return parts;
}

// Not within brackets or quotation marks: a value may be JSON.
std::vector<std::string> items_of(const std::string& text, char between) {
  std::vector<std::string> items(1);
  int depth = 0;
  bool quoted = false;
  for (const char letter : text) {
    if (letter == '"') quoted = !quoted;
    if (!quoted) depth += (letter == '[' || letter == '{') - (letter == ']' || letter == '}');
    if (letter == between && depth == 0 && !quoted) {
      items.emplace_back();
    } else {
      items.back() += letter;
    }
  }
  return items;
}

struct Range {
  std::string first, last, step;
  char by;
};

// "512..8192*2"; nothing if the text is another value.
std::optional<Range> range_from(const std::string& text) {
  const std::size_t dots = text.find("..");
  if (dots == text.npos || dots == 0) return {};
  const std::size_t sign = text.find_first_of("+*", dots);
  Range range{
      text.substr(0, dots), text.substr(dots + 2, sign == text.npos ? sign : sign - dots - 2),
      sign == text.npos ? "1" : text.substr(sign + 1), sign == text.npos ? '+' : text[sign]};
  const auto begins_with_digit = [](const std::string& part) {
    return !part.empty() && part[0] >= '0' && part[0] <= '9';
  };
  if (!begins_with_digit(range.first)) return {};
  return range;
}

std::optional<double> decimal(const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789.") != text.npos) return {};
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return *end == '\0' ? std::optional(value) : std::nullopt;
}

bool has_unit(const std::string& text) { return text.back() < '0' || text.back() > '9'; }

std::vector<std::string> whole_numbers(const Range& range, u64 first, u64 last, u64 step,
                                       const std::string& where) {
  const bool units = has_unit(range.first) || has_unit(range.last);
  std::vector<std::string> values;
  for (u64 value = first; value <= last;) {
    if (values.size() == kMostSteps) fail_long_axis(where);
    values.push_back(units ? size_text(value) : std::to_string(value));
    const u64 next = range.by == '+' ? value + step : value * step;
    if (next <= value || (range.by == '*' && next / step != value)) break;
    value = next;
  }
  return values;
}

std::vector<std::string> decimals(const Range& range, double first, double last, double step,
                                  const std::string& where) {
  std::vector<std::string> values;
  // By number, so that 0.1 + 0.1 + 0.1 is 0.3.
  for (std::size_t n = 0;; ++n) {
    const auto times = static_cast<double>(n);
    const double value = range.by == '+' ? first + times * step : first * std::pow(step, times);
    if (value > last * (1 + 1e-12)) return values;
    if (values.size() == kMostSteps) fail_long_axis(where);
    char text[32];
    std::snprintf(text, sizeof text, "%.12g", value);
    values.emplace_back(text);
  }
}

void check_paths(const Axis& axis, const std::string& where) {
  std::set<std::string> known;
  for (const std::string& path : axis.paths) {
    if (path.empty()) fail_axis(where, "a path is missing");
    if (!known.insert(whole_path(path)).second) fail_axis(where, path + " is there twice");
  }
}

std::string text_of_value(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

std::vector<std::string> values_of_range(const std::string& text, const std::string& where) {
  const std::optional<Range> range = range_from(text);
  if (!range) return {text};
  const auto empty = [&](auto first, auto last, auto step) {
    if (first > last) fail_axis(where, range->first + " is more than " + range->last);
    const bool stands_still = range->by == '+' ? step <= 0 : step <= 1 || first <= 0;
    if (stands_still) fail_axis(where, text + " never comes to its end");
  };
  const auto first = size_of(range->first), last = size_of(range->last),
             step = size_of(range->step);
  if (first && last && step) {
    empty(*first, *last, *step);
    return whole_numbers(*range, *first, *last, *step, where);
  }
  const auto from = decimal(range->first), to = decimal(range->last), by = decimal(range->step);
  if (!from || !to || !by) {
    fail_axis(where, text + " is not FIRST..LAST, FIRST..LAST+STEP or FIRST..LAST*FACTOR");
  }
  empty(*from, *to, *by);
  return decimals(*range, *from, *to, *by, where);
}

Axis axis_from(const std::string& text) {
  const std::string where = "--vary " + text;
  const std::size_t equals = text.find('=');
  if (equals == text.npos || equals + 1 == text.size()) {
    fail_axis(where, "not PATH=VALUE,... nor PATH,PATH=VALUE:VALUE,...");
  }
  Axis axis{parts_between(text.substr(0, equals), ','), {}};
  check_paths(axis, where);
  for (const std::string& item : items_of(text.substr(equals + 1), ',')) {
    const std::vector<std::string> words =
        axis.paths.size() == 1 ? std::vector{item} : items_of(item, ':');
    if (words.size() != axis.paths.size()) {
      fail_axis(where, "expected " + std::to_string(axis.paths.size()) +
                           " values with colons between them, found " + item);
    }
    std::vector<std::vector<std::string>> columns;
    for (const std::string& word : words) {
      if (word.empty()) fail_axis(where, "a value is missing");
      columns.push_back(values_of_range(word, where));
      if (columns.back().size() != columns[0].size()) {
        fail_axis(where, words[0] + " has " + std::to_string(columns[0].size()) + " values, " +
                             word + " has " + std::to_string(columns.back().size()));
      }
    }
    if (axis.rows.size() + columns[0].size() > kMostSteps) fail_long_axis(where);
    for (std::size_t n = 0; n < columns[0].size(); ++n) {
      std::vector<std::string>& row = axis.rows.emplace_back();
      for (const auto& column : columns) row.push_back(column[n]);
    }
  }
  return axis;
}

Axis axis_from(const Json& json, const std::string& where) {
  if (json.is_string()) return axis_from(json.get<std::string>());
  if (!json.is_object() || json.empty()) {
    fail_axis(where, "expected an object of paths with their values, found " + json.dump());
  }
  Axis axis;
  for (const auto& [path, values] : json.items()) {
    const std::string here = where + ": " + path;
    std::vector<std::string> column;
    if (values.is_string()) {
      column = values_of_range(values.get<std::string>(), here);
    } else if (values.is_array() && !values.empty()) {
      for (const Json& value : values) column.push_back(text_of_value(value));
    } else {
      fail_axis(here, "expected a list of values, or a range as text, found " + values.dump());
    }
    if (column.size() > kMostSteps) fail_long_axis(here);
    if (axis.paths.empty()) axis.rows.resize(column.size());
    if (column.size() != axis.rows.size()) {
      fail_axis(here, "has " + std::to_string(column.size()) + " values, " + axis.paths[0] +
                          " has " + std::to_string(axis.rows.size()));
    }
    axis.paths.push_back(path);
    for (std::size_t n = 0; n < column.size(); ++n) axis.rows[n].push_back(column[n]);
  }
  check_paths(axis, where);
  return axis;
}

}  // namespace nestwalk::sim
