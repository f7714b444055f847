// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration/parameter.hpp"

#include <algorithm>
#include <sstream>

#include "configuration/schedule.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

using addrspace::u64;

namespace {

constexpr const char* kUnits = "KMGT";
constexpr u64 kEnd = u64{1} << 47;  ///< of guest-physical addresses
constexpr const char* kRange = "(0x[0-9a-fA-F]{1,12}|[0-9]{1,15}[KMGT]?)\\+[0-9]{1,15}[KMGT]?";

std::optional<software::MemoryRange> memory_range_of(const std::string& text) {
  const std::size_t plus = text.find('+');
  const std::string start = text.substr(0, plus);
  const bool is_hex = start.starts_with("0x") && start.size() > 2 && start.size() <= 14 &&
                      start.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string::npos;
  const std::optional<u64> from = is_hex ? std::stoull(start, nullptr, 16) : size_of(start);
  const std::optional<u64> bytes =
      plus == std::string::npos ? std::nullopt : size_of(text.substr(plus + 1));
  if (!from || !bytes || *bytes == 0 || *from >= kEnd || *bytes > kEnd - *from) return {};
  return software::MemoryRange{*from, *bytes};
}

std::string listed(const std::vector<const char*>& words) {
  std::string text;
  for (const char* const word : words) text.append(text.empty() ? "" : ", ").append(word);
  return text;
}

bool is_choice(const Parameter& row, const Json& value) {
  return value.is_string() &&
         std::any_of(row.choices.begin(), row.choices.end(),
                     [&](const char* word) { return value.get<std::string>() == word; });
}

bool fits(const Parameter& row, const Json& value) {
  if (is_choice(row, value)) return true;
  if (row.kind == Parameter::Kind::Choice) return false;
  if (row.kind == Parameter::Kind::Word) {
    return value.is_null() || value.is_string() || value.is_number_unsigned();
  }
  if (row.kind == Parameter::Kind::Flag) return value.is_boolean();
  if (row.kind == Parameter::Kind::Object) return value.is_object() || value.is_null();
  if (row.kind == Parameter::Kind::List) return value.is_array();
  if (row.kind >= Parameter::Kind::Ranges && ranges_of(value)) return true;
  if (row.kind == Parameter::Kind::Ranges) return false;
  const bool is_plain = row.kind == Parameter::Kind::Number;
  const std::optional<u64> number = is_plain && !value.is_number() ? std::nullopt : size_of(value);
  return number && *number >= row.least && *number <= row.most;
}

std::string plain_range_of(const Parameter& row) {
  switch (row.kind) {
    case Parameter::Kind::Choice:
      return "one of " + listed(row.choices);
    case Parameter::Kind::Word:
      return "a word or a number, or null";
    case Parameter::Kind::Flag:
      return "true or false";
    case Parameter::Kind::Object:
      return "an object";
    case Parameter::Kind::List:
      return "a list";
    case Parameter::Kind::Number:
      return "a number from " + std::to_string(row.least) + " to " + std::to_string(row.most);
    case Parameter::Kind::Size:
      return "a size from " + size_text(row.least) + " to " + size_text(row.most);
    case Parameter::Kind::Ranges:
      return "a list of START+SIZE such as 0x80000000+512M";
    case Parameter::Kind::SizeOrRanges:
      return "a size from " + size_text(row.least) + " to " + size_text(row.most) +
             ", a list of START+SIZE such as 0x80000000+512M";
  }
  return "";
}

}  // namespace

const Parameter* parameter_at(const std::string& path) {
  const auto& rows = parameters();
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const Parameter& each) { return each.path == path; });
  return row == rows.end() ? nullptr : &*row;
}

std::string range_of(const Parameter& row) {
  std::string text = plain_range_of(row);
  if (*row.unit.name != '\0') text.append(", in ").append(row.unit.name);
  if (row.kind != Parameter::Kind::Choice && !row.choices.empty()) {
    text.append(", or ").append(listed(row.choices));
  }
  return text;
}

Json schema_of(const Parameter& row) {
  Json any = Json::array();
  if (!row.choices.empty()) any.push_back({{"enum", row.choices}});
  if (row.kind == Parameter::Kind::Word) {
    any.push_back({{"type", {"string", "integer", "null"}}});
  }
  if (row.kind == Parameter::Kind::Flag) any.push_back({{"type", "boolean"}});
  if (row.kind == Parameter::Kind::Object) any.push_back({{"type", {"object", "null"}}});
  using Kind = Parameter::Kind;
  if (row.kind == Kind::List) any.push_back(schedule_schema());
  const bool is_size = row.kind == Kind::Size || row.kind == Kind::SizeOrRanges;
  if (row.kind == Kind::Number || is_size) {
    any.push_back({{"type", "integer"}, {"minimum", row.least}, {"maximum", row.most}});
  }
  if (row.kind >= Kind::Ranges) {
    const Json one = {{"type", "string"}, {"pattern", std::string("^") + kRange + "$"}};
    any.push_back({{"type", "array"}, {"items", one}});
    any.push_back(
        {{"type", "string"}, {"pattern", std::string("^(") + kRange + "(," + kRange + ")*)?$"}});
  }
  if (is_size) {
    any.push_back({{"type", "string"}, {"pattern", std::string("^[0-9]{1,15}[") + kUnits + "]?$"}});
  }
  Json schema = {{"description", models::parameter::with_unit(row.sentence, row.unit)},
                 {"default", row.standard}};
  if (any.size() == 1) {
    schema.update(any[0]);
  } else {
    schema["anyOf"] = any;
  }
  return schema;
}

void check(const Parameter& row, const Json& value, const std::string& where) {
  if (fits(row, value)) return;
  throw UsageError(where + ": " + row.path + " is " +
                   value.dump(-1, ' ', false, Json::error_handler_t::replace) + ", not " +
                   range_of(row));
}

std::optional<u64> size_of(const std::string& text) {
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (digits == 0 || digits > 15 || text.size() > digits + 1) return std::nullopt;
  const u64 size = std::stoull(text.substr(0, digits));
  if (text.size() == digits) return size;
  const std::size_t unit = std::string_view(kUnits).find(text[digits]);
  if (unit == std::string_view::npos) return std::nullopt;
  const std::size_t shift = 10 * (unit + 1);
  if (size > ~u64{0} >> shift) return std::nullopt;
  return size << shift;
}

std::optional<u64> size_of(const Json& value) {
  if (value.is_number_unsigned()) return value.get<u64>();
  return value.is_string() ? size_of(value.get<std::string>()) : std::nullopt;
}

std::string size_text(u64 size) {
  std::size_t unit = 0;
  for (; unit < 4 && size != 0 && size % 1024 == 0; ++unit) size /= 1024;
  std::string text = std::to_string(size);
  return unit == 0 ? text : text + kUnits[unit - 1];
}

std::optional<std::vector<software::MemoryRange>> ranges_of(const Json& value) {
  std::vector<software::MemoryRange> ranges;
  const auto add = [&](const std::string& text) {
    const auto range = memory_range_of(text);
    if (range) ranges.push_back(*range);
    return range.has_value();
  };
  if (value.is_string()) {
    std::istringstream parts(value.get<std::string>());
    for (std::string part; std::getline(parts, part, ',');) {
      if (!add(part)) return std::nullopt;
    }
    return ranges;
  }
  if (!value.is_array()) return std::nullopt;
  for (const Json& each : value) {
    if (!each.is_string() || !add(each.get<std::string>())) return std::nullopt;
  }
  return ranges;
}

Json json_of(const std::vector<software::MemoryRange>& ranges) {
  Json list = Json::array();
  for (const software::MemoryRange& range : ranges) {
    list.push_back(std::to_string(range.start) + "+" + std::to_string(range.bytes));
  }
  return list;
}

std::vector<software::MemoryRange> whole_pages(std::vector<software::MemoryRange> ranges,
                                               u64 page) {
  using software::MemoryRange;
  for (MemoryRange& range : ranges) {
    const u64 end = range.start + range.bytes;
    range.start &= ~(page - 1);
    range.bytes = (end - range.start + page - 1) & ~(page - 1);
  }
  std::sort(ranges.begin(), ranges.end(), [](const MemoryRange& a, const MemoryRange& b) {
    return a.start != b.start ? a.start < b.start : a.bytes < b.bytes;
  });
  std::vector<MemoryRange> memory;
  for (const MemoryRange& range : ranges) {
    if (memory.empty() || range.start > memory.back().start + memory.back().bytes) {
      memory.push_back(range);
      continue;
    }
    const u64 end = std::max(memory.back().start + memory.back().bytes, range.start + range.bytes);
    memory.back().bytes = end - memory.back().start;
  }
  return memory;
}

const Json& value_in(const Json& document, const std::string& path) {
  const std::size_t dot = path.find('.');
  return document.at(path.substr(0, dot)).at(path.substr(dot + 1));
}

}  // namespace nestwalk::sim
