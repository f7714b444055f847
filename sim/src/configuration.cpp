// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration.hpp"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "command_line.hpp"
#include "fence_rules.hpp"
#include "nestwalk/models/nearest.hpp"
#include "nestwalk/software/guest_space.hpp"

namespace nestwalk::sim {

using addrspace::Architecture;
using addrspace::Backend;
using addrspace::kGiB;
using addrspace::u32;
using addrspace::u64;
using addrspace::u8;

namespace {

constexpr u64 kMiB2 = u64{2} << 20;
constexpr u64 kMost = ~u64{0};

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

const Parameter* parameter_at(const std::string& path) {
  const auto& rows = parameters();
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const Parameter& each) { return each.path == path; });
  return row == rows.end() ? nullptr : &*row;
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
    case Parameter::Kind::Object:
      if (!value.is_object() && !value.is_null()) fail("an object");
      return;
    case Parameter::Kind::Flag:
      if (!value.is_boolean()) fail("true or false");
      return;
    case Parameter::Kind::Size: {
      if (is_choice()) return;
      const std::optional<u64> size = value.is_number_unsigned() ? value.get<u64>()
                                      : value.is_string()        ? size_of(value.get<std::string>())
                                                                 : std::nullopt;
      if (!size || *size < row.least || *size > row.most) {
        std::string expected = "a size such as 512M";
        if (!row.choices.empty()) expected.append(", or ").append(listed(row.choices));
        fail(expected);
      }
    }
  }
}

// "x86_64-5" has five.
std::optional<u64> levels_of(const traces::Header& trace) {
  const std::string& tables = trace.guest_tables;
  const bool says = tables.size() > 2 && tables[tables.size() - 2] == '-';
  const char last = says ? tables.back() : '0';
  if (last < '3' || last > '5') return std::nullopt;
  return static_cast<u64>(last - '0');
}

// In whole large pages, in order; what touches is one.
std::vector<software::MemoryRange> memory_of(const traces::Header& trace) {
  constexpr u64 kEnd = u64{1} << 47;
  std::vector<software::MemoryRange> ranges;
  for (const traces::MemoryRange& range : trace.memory) {
    const bool is_memory = range.kind == "ram" || range.kind == "rom";
    if (range.stage != traces::Stage::Guest || !is_memory || range.start >= kEnd) continue;
    const u64 start = range.start & ~(kMiB2 - 1);
    const u64 end = range.start + std::min(range.bytes, kEnd - range.start);
    const u64 bytes = (end - start + kMiB2 - 1) & ~(kMiB2 - 1);
    if (range.bytes != 0) ranges.push_back({start, bytes});
  }
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
    return a.start != b.start ? a.start < b.start : a.bytes < b.bytes;
  });
  std::vector<software::MemoryRange> memory;
  for (const software::MemoryRange& range : ranges) {
    if (memory.empty() || range.start > memory.back().start + memory.back().bytes) {
      memory.push_back(range);
      continue;
    }
    const u64 end = std::max(memory.back().start + memory.back().bytes, range.start + range.bytes);
    memory.back().bytes = end - memory.back().start;
  }
  return memory;
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
       {"auto", "none", "first-touch", "recorded"},
       0,
       0,
       "the guest's own page tables: none, built when a page is touched, or likewise with the "
       "guest-physical pages that the trace names; auto: what the trace has"},
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
       Kind::Size,
       "\"auto\"",
       {"auto"},
       kMiB2,
       u64{1} << 47,
       "guest-physical memory from 0; auto: what the trace says, else 4G"},
      {"guest.seed", Kind::Number, "1", {}, 0, kMost, "of random placement"},
      {"hypervisor.backing",
       Kind::Choice,
       "\"lazy\"",
       {"eager", "lazy", "linear"},
       0,
       0,
       "when the guest's memory gets frames: before it runs, when it touches them, or before it "
       "runs and in one piece"},
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
       {"precise", "context", "batched", "range", "svinval", "deferred", "original-0.3.0", "rules"},
       0,
       0,
       "which invalidations the engine issues: as few as the rules allow; the whole VM; pages up "
       "to a "
       "threshold, then the VM; by range instructions or Svinval where the machine has them; "
       "gathered until the VM entry; what axaddrspace 0.3.0 issues; or hypervisor.fence_rules"},
      {"hypervisor.fence_threshold",
       Kind::Number,
       "32",
       {},
       0,
       1'000'000,
       "batched: above so many instructions for one operation, the whole VM"},
      {"hypervisor.fence_rules",
       Kind::Object,
       "null",
       {},
       0,
       0,
       "rules: which instructions follow which change (sim/README.md)"},
      {"hypervisor.drop_fence",
       Kind::Number,
       "0",
       {},
       0,
       kMost,
       "leaves out the n-th of the engine's instructions, as a mistake to be found; 0: none"},
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
    if (place.is_object() && value.is_object() && parameter_at(inner) == nullptr) {
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

void Configuration::use_fence_rules(const std::string& file) {
  put("hypervisor.fence_rules", parse_json(read_file(file), file), file);
  put("hypervisor.fences", "rules", file);
}

const std::string Configuration::text(const char* path) const {
  return const_cast<Configuration*>(this)->at(path, path).get<std::string>();
}
u64 Configuration::number(const char* path) const {
  const Json& value = const_cast<Configuration*>(this)->at(path, path);
  return value.is_string() ? *size_of(value.get<std::string>()) : value.get<u64>();
}
bool Configuration::flag(const char* path) const {
  return const_cast<Configuration*>(this)->at(path, path).get<bool>();
}

RunShape Configuration::resolve(const traces::Header& trace) {
  RunShape shape;
  shape.machine = models::parse_preset(document_["machine"].dump(), preset_file_).shape;
  shape.machine.cores = std::max(shape.machine.cores, trace.vcpus);
  if (document_["machine"]["cores"][0] != shape.machine.cores) {
    document_["machine"]["cores"] = Json::array({shape.machine.cores, "manual vCPUs of the trace"});
  }

  const auto lacks = [&](traces::Lack what) { return (trace.lacks & what) != 0; };
  if (text("guest.tables") == "auto") {
    const bool physical = trace.mode == traces::Mode::GuestPhysical || lacks(traces::kNoGva);
    put("guest.tables",
        physical                ? "none"
        : lacks(traces::kNoGpa) ? "first-touch"
                                : "recorded",
        "auto");
  }
  const std::string tables = text("guest.tables");
  shape.guest.tables = tables == "none"          ? software::GuestTables::None
                       : tables == "first-touch" ? software::GuestTables::FirstTouch
                                                 : software::GuestTables::Recorded;
  if (shape.guest.tables == software::GuestTables::Recorded && lacks(traces::kNoGpa)) {
    throw UsageError("guest.tables is recorded, but the trace has no guest-physical addresses");
  }
  if (shape.guest.tables == software::GuestTables::None && lacks(traces::kNoGpa)) {
    throw UsageError("guest.tables is none, but the trace has no guest-physical addresses");
  }
  shape.guest.placement = text("guest.placement") == "random" ? software::Placement::Random
                                                              : software::Placement::Linear;
  shape.guest.large_pages = flag("guest.large_pages");
  if (document_["guest"]["levels"] == "auto") {
    const u64 theirs = levels_of(trace).value_or(4);
    const bool there =
        software::has_guest_levels(shape.machine.architecture, static_cast<unsigned>(theirs));
    put("guest.levels", there ? theirs : 4, "auto");  // every architecture has four
  }
  shape.guest.levels = static_cast<u8>(number("guest.levels"));
  shape.guest.seed = number("guest.seed");
  shape.guest.memory.clear();
  if (document_["guest"]["memory"] == "auto") {
    shape.guest.memory = memory_of(trace);
    if (shape.guest.memory.empty()) {
      put("guest.memory", "4G", "auto");
      shape.guest.memory.push_back({0, 4 * kGiB});
    }
  } else {
    shape.guest.memory.push_back({0, (number("guest.memory") + kMiB2 - 1) & ~(kMiB2 - 1)});
  }

  const std::string backing = text("hypervisor.backing");
  const u8 level = flag("hypervisor.large_pages") ? 1 : 0;
  shape.hypervisor.backend =
      backing == "eager"  ? Backend::eager(level)
      : backing == "lazy" ? Backend::lazy(static_cast<u8>(number("hypervisor.fault_around")), level)
                          : Backend::linear(addrspace::Hpa(0));
  shape.hypervisor.levels = static_cast<u8>(number("hypervisor.levels"));
  shape.hypervisor.hardware_dirty = flag("hypervisor.hardware_dirty");
  const std::string fences = text("hypervisor.fences");
  for (const addrspace::FencePolicy* const policy : addrspace::kFencePolicies) {
    if (fences == policy->name) shape.hypervisor.fences = *policy;
  }
  if (fences == "batched") {
    shape.hypervisor.fences.most_selective = static_cast<u32>(number("hypervisor.fence_threshold"));
  }
  if (fences == "rules") {
    const FenceRules own = parse_fence_rules(document_["hypervisor"]["fence_rules"],
                                             shape.machine.architecture, "hypervisor.fence_rules");
    shape.hypervisor.fences = {.name = "rules",
                               .source = addrspace::FencePolicy::Source::Rules,
                               .deferred = own.deferred,
                               .interrupts = own.interrupts};
    shape.hypervisor.rules = own.rules;
  }
  shape.hypervisor.drop_fence = number("hypervisor.drop_fence");
  shape.host_bytes = (number("host.memory") + kGiB - 1) / kGiB * kGiB;
  shape.vcpu.window = static_cast<u32>(number("vcpu.window"));
  shape.limit = number("run.limit");
  return shape;
}

}  // namespace nestwalk::sim
