// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "command_line.hpp"
#include "nestwalk/models/nearest.hpp"

namespace nestwalk::sim {

using addrspace::kGiB;
using addrspace::u64;

namespace {

constexpr u64 kMiB2 = u64{2} << 20;
constexpr u64 kMost = ~u64{0};
constexpr u64 kEnd = u64{1} << 47;  ///< of guest-physical addresses

std::string read_file(const std::string& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) throw UsageError(file + ": cannot be read");
  return text.str();
}

Json parse_json(const std::string& text, const std::string& file) {
  constexpr int kDeepest = 64;
  const auto shallow = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kDeepest) throw UsageError(file + ": nests deeper than 64 levels");
    return true;
  };
  try {
    return Json::parse(text, shallow);
  } catch (const Json::exception& error) {
    throw UsageError(file + ": " + error.what());
  }
}

std::string nearest_key(const Json& object, const std::string& key) {
  std::vector<std::string> known;
  for (const auto& [name, value] : object.items()) known.push_back(name);
  return models::nearest(key, known);
}

std::string listed(const std::vector<const char*>& words) {
  std::string text;
  for (const char* const word : words) {
    if (!text.empty()) text += ", ";
    text += word;
  }
  return text;
}

// "64M"
std::optional<u64> size_of(const std::string& text) {
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (digits == 0 || digits > 15 || text.size() > digits + 1) return std::nullopt;
  u64 size = std::stoull(text.substr(0, digits));
  if (text.size() > digits) {
    const std::string units = "KMGT";
    const std::size_t unit = units.find(text[digits]);
    if (unit == std::string::npos) return std::nullopt;
    size <<= 10 * (unit + 1);
  }
  return size;
}

// "0x80000000+512M"
std::optional<software::MemoryRange> range_of(const std::string& text) {
  const std::size_t plus = text.find('+');
  const std::string start = text.substr(0, plus);
  const bool is_hex = start.starts_with("0x") && start.size() > 2 && start.size() <= 18 &&
                      start.find_first_not_of("0123456789abcdefABCDEF", 2) == std::string::npos;
  const std::optional<u64> from = is_hex ? std::stoull(start, nullptr, 16) : size_of(start);
  const std::optional<u64> bytes =
      plus == std::string::npos ? std::nullopt : size_of(text.substr(plus + 1));
  if (!from || !bytes || *bytes == 0 || *from >= kEnd || *bytes > kEnd - *from) return {};
  return software::MemoryRange{*from, *bytes};
}

// A list, or a word that has commas between them.
std::optional<std::vector<software::MemoryRange>> ranges_of(const Json& value) {
  std::vector<software::MemoryRange> ranges;
  const auto add = [&](const std::string& text) {
    const auto range = range_of(text);
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

const Parameter* parameter_at(const std::string& path) {
  const auto& rows = parameters();
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const Parameter& each) { return each.path == path; });
  return row == rows.end() ? nullptr : &*row;
}

bool is_size(const Json& value, const Parameter& row) {
  const std::optional<u64> size = value.is_number_unsigned() ? value.get<u64>()
                                  : value.is_string()        ? size_of(value.get<std::string>())
                                                             : std::nullopt;
  return size && *size >= row.least && *size <= row.most;
}

void check(const Parameter& row, const Json& value, const std::string& where) {
  const auto fail = [&](const std::string& expected) {
    throw UsageError(where + ": " + row.path + " is " +
                     value.dump(-1, ' ', false, Json::error_handler_t::replace) + ", not " +
                     expected);
  };
  const auto is_choice = [&] {
    return value.is_string() &&
           std::any_of(row.choices.begin(), row.choices.end(),
                       [&](const char* word) { return value.get<std::string>() == word; });
  };
  switch (row.kind) {
    case Parameter::Kind::Choice:
      if (!is_choice()) fail("one of " + listed(row.choices));
      return;
    case Parameter::Kind::Number:
      if (is_choice()) return;
      if (!value.is_number_unsigned() || value.get<u64>() < row.least ||
          value.get<u64>() > row.most)
        fail("a number from " + std::to_string(row.least) + " to " + std::to_string(row.most));
      return;
    case Parameter::Kind::Flag:
      if (!value.is_boolean()) fail("true or false");
      return;
    case Parameter::Kind::Ranges:
      if (is_choice() || (row.most != 0 && is_size(value, row)) || ranges_of(value)) return;
      fail((row.most != 0 ? "a size such as 512M, or " : "") +
           std::string("a list of START+SIZE such as 0x80000000+512M") +
           (row.choices.empty() ? "" : ", or ") + listed(row.choices));
      return;
    case Parameter::Kind::Size: {
      if (is_choice()) return;
      if (!is_size(value, row)) {
        std::string expected = "a size such as 512M";
        if (!row.choices.empty()) expected.append(", or ").append(listed(row.choices));
        fail(expected);
      }
    }
  }
}

// What a user typed: JSON where it is JSON, else a word.
Json typed(const std::string& text) {
  Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(text) : value;
}

}  // namespace

const std::vector<Parameter>& parameters() {
  using Kind = Parameter::Kind;
  static const std::vector<Parameter> kRows = {
      {"vcpu.window",
       Kind::Number,
       "1",
       {},
       1,
       1024,
       "accesses under way at a time; 1: each begins when the one before it is over; more: as the "
       "trace's dependences allow"},
      {"guest.tables",
       Kind::Choice,
       "\"auto\"",
       {"auto", "none", "first-touch", "recorded", "replayed"},
       0,
       0,
       "the guest's own page tables: none, built when a page is touched, likewise with the "
       "guest-physical pages that the trace names, or those that the trace carries; auto: what the "
       "trace has and every machine can play: none, recorded or first-touch"},
      {"guest.placement",
       Kind::Choice,
       "\"linear\"",
       {"linear", "random"},
       0,
       0,
       "which free frame a first touch takes: the lowest, or any"},
      {"guest.large_pages",
       Kind::Flag,
       "false",
       {},
       0,
       0,
       "2M pages where a first touch finds a whole 2M free"},
      {"guest.levels",
       Kind::Number,
       "\"auto\"",
       {"auto"},
       3,
       5,
       "of the guest's page tables; auto: as the trace has them, else 4"},
      {"guest.memory",
       Kind::Ranges,
       "\"auto\"",
       {"auto"},
       kMiB2,
       kEnd,
       "guest-physical memory: from 0, or a list of START+SIZE; auto: what the trace says, else "
       "4G"},
      {"guest.seed", Kind::Number, "1", {}, 0, kMost, "of random placement"},
      {"hypervisor.backing",
       Kind::Choice,
       "\"lazy\"",
       {"eager", "lazy", "linear", "replayed"},
       0,
       0,
       "when the guest's memory gets frames: before it runs, when it touches them, before it runs "
       "and in one piece, or as the trace's own second stage has it (with guest.tables=replayed)"},
      {"hypervisor.fault_around", Kind::Number, "0", {}, 0, 9, "lazy: 2^n pages for one fault"},
      {"hypervisor.large_pages",
       Kind::Flag,
       "false",
       {},
       0,
       0,
       "eager and lazy: 2M leaves where a whole 2M is free"},
      {"hypervisor.levels", Kind::Number, "4", {}, 3, 5, "of the hypervisor's page tables"},
      {"hypervisor.hardware_dirty",
       Kind::Flag,
       "true",
       {},
       0,
       0,
       "the walker sets accessed and dirty flags in the hypervisor's tables"},
      {"hypervisor.fences",
       Kind::Choice,
       "\"precise\"",
       {"precise", "context", "original-0.3.0"},
       0,
       0,
       "which invalidations the engine issues"},
      {"host.memory", Kind::Size, "\"64G\"", {}, kGiB, u64{1} << 45, "of the host"},
      {"run.limit", Kind::Number, "0", {}, 0, kMost, "accesses of each vCPU; 0: all"},
  };
  return kRows;
}

std::string preset_file(const std::string& name) {
  namespace fs = std::filesystem;
  if (name.find('/') != std::string::npos || name.ends_with(".json")) return name;
  std::string known;
  for (const char* const folder : {NESTWALK_PRESETS_INSTALLED, NESTWALK_PRESETS}) {
    const fs::path file = fs::path(folder) / (name + ".json");
    std::error_code none;
    if (fs::exists(file, none)) return file.string();
    for (const auto& entry : fs::directory_iterator(folder, none)) {
      known.append(" ").append(entry.path().stem().string());
    }
  }
  throw UsageError("there is no preset '" + name + "'; there are:" + known);
}

Configuration::Configuration(const std::string& file) : preset_file_(file) {
  document_["machine"] = parse_json(read_file(file), file);
  for (const Parameter& row : parameters()) {
    const std::string path = row.path;
    const std::size_t dot = path.find('.');
    document_[path.substr(0, dot)][path.substr(dot + 1)] = Json::parse(row.standard);
  }
}

Json& Configuration::at(const std::string& path, const std::string& where) {
  Json* place = &document_;
  std::string so_far;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '.');) {
    std::string label = so_far;
    if (!label.empty()) label += '.';
    label += part;
    if (place->is_array() && !part.empty() && part.find_first_not_of("0123456789") == part.npos &&
        part.size() < 6 && std::stoul(part) < place->size()) {
      place = &(*place)[std::stoul(part)];
    } else if (place->is_object() && place->contains(part)) {
      place = &(*place)[part];
    } else {
      std::string hint;
      if (place->is_object())
        hint.append("; did you mean ").append(nearest_key(*place, part)) += '?';
      throw UsageError(where + ": " + label + " is unknown" + hint);
    }
    so_far = label;
  }
  return *place;
}

void Configuration::put(const std::string& path, const Json& value, const std::string& where) {
  Json& place = at(path, where);
  if (const Parameter* const row = parameter_at(path)) {
    check(*row, value, where);
    place = value;
    return;
  }
  if (path.rfind("machine.", 0) != 0 || place.is_object()) {
    throw UsageError(where + ": " + path + " is not a value");
  }
  // Values of a machine stand beside their source.
  const bool sourced = place.is_array() && place.size() == 2 && place[1].is_string();
  const bool with_source = value.is_array() && value.size() == 2 && value[1].is_string();
  place = sourced && !with_source ? Json::array({value, "guess of the user"}) : value;
}

void Configuration::set(const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string::npos) {
    throw UsageError("--set " + assignment + ": not PATH=VALUE");
  }
  put(assignment.substr(0, equals), typed(assignment.substr(equals + 1)), "--set " + assignment);
}

void Configuration::merge(const Json& from, const std::string& path, const std::string& where) {
  for (const auto& [key, value] : from.items()) {
    std::string inner = path;
    if (!inner.empty()) inner += '.';
    inner += key;
    const Json& place = at(inner, where);
    if (place.is_object() && value.is_object()) {
      merge(value, inner, where);
    } else {
      put(inner, value, where);
    }
  }
}

void Configuration::merge_file(const std::string& file) {
  const Json from = parse_json(read_file(file), file);
  if (!from.is_object()) throw UsageError(file + ": not a JSON object");
  Json rest = from;
  // A machine with a name is a whole one, and takes the place of the preset.
  if (from.contains("machine") && from["machine"].contains("name")) {
    document_["machine"] = from["machine"];
    preset_file_ = file;
    rest.erase("machine");
  }
  merge(rest, "", file);
}

const std::string Configuration::text(const char* path) const {
  return const_cast<Configuration*>(this)->at(path, path).get<std::string>();
}
u64 Configuration::number(const char* path) const {
  const Json& value = const_cast<Configuration*>(this)->at(path, path);
  return value.is_string() ? *size_of(value.get<std::string>()) : value.get<u64>();
}
std::vector<software::MemoryRange> Configuration::ranges(const char* path) const {
  return *ranges_of(const_cast<Configuration*>(this)->at(path, path));
}
bool Configuration::flag(const char* path) const {
  return const_cast<Configuration*>(this)->at(path, path).get<bool>();
}

}  // namespace nestwalk::sim
