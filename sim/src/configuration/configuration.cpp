// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "configuration/configuration.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <sstream>

#include "configuration/parameter_rows.hpp"
#include "nestwalk/models/base/nearest.hpp"
#include "nestwalk/models/base/text_file.hpp"
#include "program/command_line.hpp"

namespace nestwalk::sim {

namespace fs = std::filesystem;

using addrspace::u64;

namespace {

// An installed program has them beside it, one that was just built in the source tree.
std::vector<fs::path> preset_folders() {
  std::error_code none;
  const fs::path program = fs::read_symlink("/proc/self/exe", none);
  return {program.parent_path() / NESTWALK_PRESETS_FROM_PROGRAM, NESTWALK_PRESETS};
}

std::vector<std::string> preset_folder_names() {
  std::vector<std::string> names;
  for (const fs::path& folder : preset_folders()) names.push_back(folder.string());
  return names;
}

Json read_json(const std::string& file) {
  try {
    return models::parse_json(models::read_text(file, models::kMostWrittenBytes), file);
  } catch (const models::TextError& error) {
    throw UsageError(error.what());
  }
}

// What is at the root: of the machine only what is below it.
const Json& schema_of_document() {
  static const Json schema = {
      {"properties", {{"machine", models::preset_schema(models::SchemaOf::PartOfMachine)}}}};
  return schema;
}

// Of a part of what a schema describes; nothing where none does.
const Json& below(const Json& schema, const std::string& part) {
  static const Json kNothing = Json::object();
  if (schema.contains("items")) return schema["items"];
  const auto parts = schema.find("properties");
  return parts != schema.end() && parts->contains(part) ? (*parts)[part] : kNothing;
}

const Json& schema_at(const std::string& path) {
  const Json* schema = &schema_of_document();
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '.');) schema = &below(*schema, part);
  return *schema;
}

std::string nearest_key(const Json& object, const Json& schema, const std::string& key) {
  std::vector<std::string> known;
  for (const auto& [name, value] : object.items()) known.push_back(name);
  const Json parts = schema.value("properties", Json::object());
  for (const auto& [name, value] : parts.items()) known.push_back(name);
  return models::nearest(key, known);
}

// What a user typed: JSON where it is JSON, else a word.
Json typed(const std::string& text, const std::string& where) {
  try {
    models::check_json(text, where);
    (void)Json(text).dump();  // throws, unless it is UTF-8, which documents are
  } catch (const Json::exception&) {
    throw UsageError(where + ": is not UTF-8");
  } catch (const models::TextError& error) {
    throw UsageError(error.what());
  }
  Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) return text;
  // "1e6" is a whole number to whoever types it; beyond 2^53 not all of them are.
  constexpr double kMostWhole = 9007199254740992;
  if (!value.is_number_float()) return value;
  const double number = value.get<double>();
  const bool is_whole = number >= 0 && number <= kMostWhole && number == std::floor(number);
  return is_whole ? Json(static_cast<u64>(number)) : value;
}

// Of `tlb.data.arrays[0].ways`: tlb, data, arrays, 0, ways.
std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char letter : path) {
    if (letter == '.' || letter == '[') {
      parts.emplace_back();
    } else if (letter != ']') {
      parts.back() += letter;
    }
  }
  return parts;
}

// Beside its source; null if the machine has no such value.
Json* number_at(Json& machine, const std::vector<std::string>& parts) {
  Json::json_pointer place;
  for (const std::string& part : parts) place /= part;
  place /= "0";
  return machine.contains(place) ? &machine[place] : nullptr;
}

}  // namespace

std::string whole_path(const std::string& path) {
  const std::string of_machine = "machine." + path;
  const bool is_machines = parameter_at(path) == nullptr && !schema_at(of_machine).empty();
  return is_machines ? of_machine : path;
}

const std::vector<Parameter>& parameters() {
  static const std::vector<Parameter> kAll = [] {
    std::vector<Parameter> all;
    add_parameters_of<software::ProgramShape>(all);
    add_parameters_of<software::VmShape>(all);
    add_parameters_of<software::GuestShape>(all);
    add_parameters_of<software::HypervisorShape>(all);
    add_parameters_of<RunShape>(all);
    add_parameters_of<MeasuredPart>(all);
    return all;
  }();
  return kAll;
}

std::vector<std::string> preset_names() {
  std::set<std::string> names;
  for (const fs::path& folder : preset_folders()) {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(folder, none)) {
      if (entry.path().extension() == ".json") names.insert(entry.path().stem().string());
    }
  }
  return {names.begin(), names.end()};
}

std::string preset_file(const std::string& name) {
  if (name.find('/') != std::string::npos || name.ends_with(".json")) return name;
  for (const fs::path& folder : preset_folders()) {
    const fs::path file = folder / (name + ".json");
    std::error_code none;
    if (fs::exists(file, none)) return file.string();
  }
  std::string known;
  for (const std::string& each : preset_names()) known.append(" ").append(each);
  throw UsageError("there is no preset '" + name + "'; there are:" + known);
}

Configuration::Configuration(const std::string& file)
    : preset_file_(file), machine_name_(fs::path(file).stem().string()) {
  document_["machine"] = models::whole_preset(file, preset_folder_names());
  for (const Parameter& row : parameters()) {
    const std::string path = row.path;
    const std::size_t dot = path.find('.');
    document_[path.substr(0, dot)][path.substr(dot + 1)] = row.standard;
  }
}

// What a machine leaves out, but could have, is made: an empty object, or a value that is null.
Json& Configuration::at(const std::string& named, const std::string& where, bool make) {
  const std::string path = whole_path(named);
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
      const Json& parent = schema_at(so_far);
      const Json& schema = below(parent, part);
      if (!place->is_object() || !make || schema.empty()) {
        if (!schema.empty()) throw UsageError(where + ": the preset has no " + label);
        std::string hint;
        const std::string near = place->is_object() ? nearest_key(*place, parent, part) : "";
        if (!near.empty()) hint.append("; did you mean ").append(near) += '?';
        throw UsageError(where + ": " + label + " is unknown" + hint);
      }
      place = &(*place)[part];
      if (schema.contains("properties")) *place = Json::object();
    }
    so_far = label;
  }
  return *place;
}

void Configuration::put(const std::string& named, const Json& value, const std::string& where) {
  const std::string path = whole_path(named);
  Json& place = at(path, where, true);
  if (const Parameter* const row = parameter_at(path)) {
    check(*row, value, where);
    place = value;
    return;
  }
  if (path.rfind("machine.", 0) != 0 || place.is_object()) {
    throw UsageError(where + ": " + path + " is not a value");
  }
  // Values of a machine stand beside their source.
  const auto has_source = [](const Json& pair) {
    if (!pair.is_array() || pair.size() < 2 || !pair[1].is_string()) return false;
    return pair.size() == 2 || (pair.size() == 4 && pair[0].is_number());  // a guess with its range
  };
  const bool may_lack_it = (has_source(place) || place.is_null()) && !has_source(value);
  place = may_lack_it ? Json::array({value, kGuessOfUser}) : value;
}

void Configuration::set(const std::string& assignment) { set(assignment, "--set " + assignment); }

void Configuration::set(const std::string& assignment, const std::string& where) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string::npos) throw UsageError(where + ": not PATH=VALUE");
  const std::string path = whole_path(assignment.substr(0, equals));
  claim(path, where);
  put(path, typed(assignment.substr(equals + 1), where), where);
}

void Configuration::claim(const std::string& path, const std::string& where) {
  const auto [before, is_first] = set_.emplace(path, where);
  if (is_first) return;
  throw UsageError(where + ": " + path + " is set already, by " + before->second);
}

void Configuration::merge(const Json& from, const std::string& path, const std::string& where) {
  for (const auto& [key, value] : from.items()) {
    std::string inner = path;
    if (!inner.empty()) inner += '.';
    inner += key;
    const Json& place = at(inner, where, true);
    if (place.is_object() && value.is_object() && parameter_at(inner) == nullptr) {
      merge(value, inner, where);
    } else {
      put(inner, value, where);
    }
  }
}

void Configuration::merge_file(const std::string& file, const std::string& who) {
  const Json from = read_json(file);
  if (!from.is_object()) throw UsageError(file + ": not a JSON object");
  Json rest = from;
  if (from.contains("machine") && from["machine"].contains("name")) {
    const Json& machine = from["machine"];
    if (!who.empty() && !Json::diff(machine, document_["machine"]).empty()) {
      throw UsageError(file + ": its machine, " + machine["name"].dump() +
                       ", differs from the one that " + who + " chose; leave one out");
    }
    if (machine["name"].is_string()) machine_name_ = machine["name"].get<std::string>();
    document_["machine"] = machine;
    preset_file_ = machine_file_ = file;
    rest.erase("machine");
  }
  merge(rest, "", file);
}

void Configuration::use_fence_rules(const std::string& file) {
  for (const char* const path : {"hypervisor.fences", "hypervisor.fence_rules"}) {
    claim(path, "--policy " + file);
  }
  put("hypervisor.fence_rules", read_json(file), file);
  put("hypervisor.fences", "rules", file);
}

const Json& Configuration::value_at(const std::string& path) const {
  return const_cast<Configuration*>(this)->at(path, path);
}

models::Preset Configuration::machine() const {
  return models::parse_preset(document_["machine"], preset_file_);
}

bool Configuration::is_set_since(const Configuration& before, const std::string& path) const {
  return std::ranges::any_of(set_, [&](const auto& entry) {
    const std::string& set = entry.first;
    return !before.set_.contains(set) &&
           ((path + '.').starts_with(set + '.') || (set + '.').starts_with(path + '.'));
  });
}

void Configuration::vary_machine(const std::vector<VariedNumber>& numbers,
                                 const Configuration& before) {
  for (const VariedNumber& each : numbers) {
    const std::vector<std::string> parts = parts_of(each.path);
    std::string path = "machine";
    for (const std::string& part : parts) path.append(".").append(part);
    if (is_set_since(before, path)) continue;
    Json* const number = number_at(document_["machine"], parts);
    if (number != nullptr) *number = each.value;
  }
}

namespace {

// Each value of a machine beside a source.
Json with_sources(const Json& plain) {
  const bool is_list_of_parts = plain.is_array() && !plain.empty() && plain[0].is_object();
  if (!plain.is_object() && !is_list_of_parts) return Json::array({plain, kGuessOfUser});
  Json all = plain;
  for (Json& part : all) part = with_sources(part);
  return all;
}

void replace_in_machine(Json& document, const std::string& path, const std::optional<Json>& value) {
  const std::size_t dot = path.rfind('.');
  Json::json_pointer place;
  for (const std::string& part : parts_of(path.substr(0, dot))) place /= part;
  const std::string last = path.substr(dot + 1);
  Json* const whole = document.contains(place) ? &document[place] : nullptr;
  const auto refuse = [&] { throw UsageError(path + ": the machine has no place for it"); };
  if (whole == nullptr) refuse();
  if (whole->is_array()) {
    const std::size_t index = std::stoul(last);  // as values_of() counts
    if (index > whole->size() || (!value && index == whole->size())) refuse();
    if (!value) return whole->erase(index);
    if (index == whole->size()) whole->push_back(Json());
    (*whole)[index] = with_sources(*value);
    return;
  }
  if (!whole->is_object()) refuse();
  if (!value) {
    whole->erase(last);
    return;
  }
  // What is a plain word, such as the machine's name, stays one.
  const bool is_plain = whole->contains(last) && !(*whole)[last].is_array();
  (*whole)[last] = is_plain ? *value : with_sources(*value);
}

}  // namespace

void Configuration::replace(const std::vector<Replacement>& values) {
  set_.clear();
  std::vector<Replacement> gone;  // of lists, the last one first
  for (const Replacement& each : values) {
    if (const Parameter* const row = parameter_at(each.path)) {
      if (!each.value) throw UsageError(each.path + ": is there in all configurations");
      check(*row, *each.value, each.path);
      at(each.path, each.path) = *each.value;
    } else if (each.value) {
      replace_in_machine(document_, each.path, each.value);
    } else {
      gone.push_back(each);
    }
  }
  for (auto each = gone.rbegin(); each != gone.rend(); ++each) {
    replace_in_machine(document_, each->path, std::nullopt);
  }
}

void Configuration::expect_whole_run(const std::string& who, bool but_warmup) const {
  for (const std::string path : {"run.warmup", "run.from", "run.to", "run.phases"}) {
    if (but_warmup && path == "run.warmup") continue;
    if (value_at(path) == parameter_at(path)->standard) continue;
    throw UsageError(who + ": " + path + " has no effect: all of the run is looked at");
  }
}

}  // namespace nestwalk::sim
