// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/spec.hpp"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>
#include <string_view>

#include "comparisons/cases.hpp"
#include "configuration/policies.hpp"
#include "nestwalk/models/base/text_file.hpp"
#include "nestwalk/traces/error.hpp"

namespace nestwalk::sim {

using addrspace::u64;

namespace {

namespace fs = std::filesystem;

constexpr std::array kKeys = {"$schema",  "format", "version", "name", "traces", "presets",
                              "policies", "config", "set",     "vary", "design"};

[[noreturn]] void fail_spec(const std::string& file, const std::string& what) {
  throw traces::InputError(file, what);
}

// Not a preset's name.
bool is_file_name(const std::string& preset) {
  return preset.find('/') != preset.npos || preset.ends_with(".json");
}

// Relative to the spec, unless it stands alone.
std::string beside_spec(const std::string& file, const std::string& path) {
  return (fs::path(file).parent_path() / path).string();
}

std::vector<std::string> texts_at(const Json& json, const char* key, const std::string& file) {
  std::vector<std::string> texts;
  if (!json.contains(key)) return texts;
  const Json& list = json[key];
  const bool all_texts =
      list.is_array() && !list.empty() &&
      std::all_of(list.begin(), list.end(), [](const Json& each) { return each.is_string(); });
  if (!all_texts) {
    fail_spec(file, std::string(key) + ": expected a list of texts, found " + list.dump());
  }
  for (const Json& each : list) texts.push_back(each.get<std::string>());
  return texts;
}

u64 number_at(const Json& json, const char* key, u64 standard, const std::string& file) {
  const Json value = json.value(key, Json(standard));
  if (value.is_number_unsigned()) return value.get<u64>();
  fail_spec(file, std::string("design: ") + key + ": expected a number, found " + value.dump());
}

// "product", "zip", or {"latin-hypercube": POINTS, "seed": N}.
void read_design(const Json& json, const std::string& file, SweepSpec& spec) {
  if (json == "product") {
    spec.design = Design::Product;
  } else if (json == "zip") {
    spec.design = Design::Zip;
  } else if (json.is_object() && json.contains("latin-hypercube") &&
             json.size() == 1u + json.contains("seed")) {
    spec.design = Design::LatinHypercube;
    spec.samples = number_at(json, "latin-hypercube", 0, file);
    spec.seed = number_at(json, "seed", 1, file);
  } else {
    fail_spec(
        file,
        "design: expected \"product\", \"zip\" or {\"latin-hypercube\": POINTS, \"seed\": N}, "
        "found " +
            json.dump());
  }
}

void read_settings(const Json& json, const std::string& file, SweepSpec& spec) {
  if (!json.is_object()) fail_spec(file, "set: expected an object of paths and values");
  for (const auto& [path, value] : json.items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    spec.settings.push_back({path + "=" + text, file + ": set " + path});
  }
}

// Where the strata of an axis come in turn: of 0 to n - 1 each once. The same on all machines,
// which std::shuffle is not.
std::vector<std::size_t> shuffled(std::size_t n, std::mt19937_64& random) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t left = n; left > 1; --left) {
    std::swap(order[left - 1], order[static_cast<std::size_t>(random() % left)]);
  }
  return order;
}

}  // namespace

void read_spec(const std::string& file, SweepSpec& spec) {
  const Json json =
      read_object(file, models::kMostWrittenBytes, "nestwalk sweep --help says what it has");
  expect_format(json, "nestwalk-sweep", file);
  for (const auto& [key, value] : json.items()) {
    if (std::find(kKeys.begin(), kKeys.end(), std::string_view(key)) == kKeys.end()) {
      fail_spec(file, "there is no key \"" + key + "\" in sweeps");
    }
  }
  spec.name = fs::path(file).stem().string();
  if (json.contains("name")) {
    if (!json["name"].is_string() || json["name"] == "") {
      fail_spec(file, "name: expected a text, found " + json["name"].dump());
    }
    spec.name = json["name"].get<std::string>();
  }
  for (const std::string& trace : texts_at(json, "traces", file)) {
    spec.traces.push_back(beside_spec(file, trace));
  }
  for (const std::string& preset : texts_at(json, "presets", file)) {
    spec.presets.push_back(is_file_name(preset) ? beside_spec(file, preset) : preset);
  }
  spec.policies = texts_at(json, "policies", file);
  for (const std::string& each : texts_at(json, "config", file)) {
    spec.files.push_back(beside_spec(file, each));
  }
  if (json.contains("set")) read_settings(json["set"], file, spec);
  const Json axes = json.value("vary", Json::array());
  if (!axes.is_array()) fail_spec(file, "vary: expected a list, found " + axes.dump());
  for (std::size_t n = 0; n < axes.size(); ++n) {
    try {
      spec.axes.push_back(axis_from(axes[n], "vary[" + std::to_string(n) + "]"));
    } catch (const UsageError& error) {
      fail_spec(file, error.what());
    }
  }
  if (json.contains("design")) read_design(json["design"], file, spec);
}

SweepPoints::SweepPoints(SweepSpec spec) : spec_(std::move(spec)) {
  if (spec_.policies.empty()) spec_.policies = {""};
  if (spec_.traces.empty()) throw UsageError("nestwalk sweep: which trace?");
  if (spec_.design == Design::LatinHypercube) {
    if (spec_.samples == 0 || spec_.axes.empty()) {
      throw UsageError(
          "nestwalk sweep: a Latin hypercube needs a number of points and what varies");
    }
    std::mt19937_64 random(spec_.seed);
    if (spec_.samples <= kMostPoints) {
      for (std::size_t n = 0; n < spec_.axes.size(); ++n) {
        orders_.push_back(shuffled(spec_.samples, random));
      }
    }
  }
  size_ = 1;
  for (const std::size_t factor :
       {spec_.traces.size(), spec_.presets.size(), spec_.policies.size(), steps()}) {
    if (factor > kMostPoints || size_ * factor > kMostPoints) {
      throw UsageError("nestwalk sweep: more than " + std::to_string(kMostPoints) + " points");
    }
    size_ *= factor;
  }
}

// How many there are of one trace, preset and policy.
std::size_t SweepPoints::steps() const {
  if (spec_.axes.empty()) return 1;
  if (spec_.design == Design::LatinHypercube) return spec_.samples;
  std::size_t steps = spec_.design == Design::Zip ? spec_.axes[0].rows.size() : 1;
  for (const Axis& axis : spec_.axes) {
    if (spec_.design == Design::Product) {
      steps = std::min(steps * axis.rows.size(), kMostPoints + 1);
    } else if (axis.rows.size() != steps) {
      throw UsageError("nestwalk sweep: side by side, " + axis.paths[0] + " has " +
                       std::to_string(axis.rows.size()) + " values, " + spec_.axes[0].paths[0] +
                       " has " + std::to_string(steps));
    }
  }
  return steps;
}

std::size_t SweepPoints::row_of(std::size_t axis, std::size_t step) const {
  const std::size_t rows = spec_.axes[axis].rows.size();
  switch (spec_.design) {
    case Design::Zip:
      return step;
    case Design::LatinHypercube:
      // The middle of the stratum.
      return (2 * orders_[axis][step] + 1) * rows / (2 * spec_.samples);
    case Design::Product:
      break;
  }
  for (std::size_t later = spec_.axes.size() - 1; later > axis; --later) {
    step /= spec_.axes[later].rows.size();
  }
  return step % rows;
}

SweepPoint SweepPoints::at(std::size_t number) const {
  const std::size_t step = number % steps();
  std::size_t left = number / steps();
  const auto next = [&](const std::vector<std::string>& of) {
    const std::string& chosen = of[left % of.size()];
    left /= of.size();
    return chosen;
  };
  SweepPoint point;
  point.policy = next(spec_.policies);
  point.preset = next(spec_.presets);
  point.trace = next(spec_.traces);
  for (std::size_t n = 0; n < spec_.axes.size(); ++n) {
    const Axis& axis = spec_.axes[n];
    const std::vector<std::string>& row = axis.rows[row_of(n, step)];
    for (std::size_t path = 0; path < row.size(); ++path) {
      point.varied.emplace_back(axis.paths[path], row[path]);
    }
  }
  return point;
}

std::vector<std::string> SweepPoints::paths() const {
  std::vector<std::string> paths;
  for (const Axis& axis : spec_.axes) {
    paths.insert(paths.end(), axis.paths.begin(), axis.paths.end());
  }
  return paths;
}

Configuration SweepPoints::configuration_of(const SweepPoint& point) const {
  Configuration configuration =
      configuration_from(point.preset, spec_.presets_chosen ? "preset " + point.preset : "",
                         spec_.files, spec_.settings);
  if (!point.policy.empty()) use_policy(configuration, point.policy);
  for (const auto& [path, value] : point.varied) {
    configuration.set(path + "=" + value, "--vary " + path + "=" + value);
  }
  return configuration;
}

Json as_json(const SweepSpec& spec, FileNames names) {
  const auto name_of_file = [&](const std::string& file) {
    return names == FileNames::Last ? fs::path(file).filename().string()
                                    : fs::absolute(file).lexically_normal().string();
  };
  const auto list_of = [&](const std::vector<std::string>& files, bool all_files) {
    Json list = Json::array();
    for (const std::string& each : files) {
      list.push_back(all_files || is_file_name(each) ? name_of_file(each) : each);
    }
    return list;
  };
  Json json = {{"format", "nestwalk-sweep"},
               {"version", 1},
               {"name", spec.name},
               {"traces", list_of(spec.traces, true)}};
  // Without presets, a file has the machine.
  if (spec.presets_chosen) json["presets"] = list_of(spec.presets, false);
  if (spec.policies != std::vector<std::string>{""}) json["policies"] = spec.policies;
  if (!spec.files.empty()) json["config"] = list_of(spec.files, true);
  Json settings = Json::object();
  for (const Setting& each : spec.settings) {
    const std::size_t equals = std::min(each.assignment.find('='), each.assignment.size() - 1);
    settings[each.assignment.substr(0, equals)] = each.assignment.substr(equals + 1);
  }
  json["set"] = settings;
  json["vary"] = Json::array();
  for (const Axis& axis : spec.axes) {
    Json paths = Json::object();
    for (std::size_t n = 0; n < axis.paths.size(); ++n) {
      Json& values = paths[axis.paths[n]] = Json::array();
      for (const auto& row : axis.rows) values.push_back(row[n]);
    }
    json["vary"].push_back(paths);
  }
  switch (spec.design) {
    case Design::Product:
      json["design"] = "product";
      break;
    case Design::Zip:
      json["design"] = "zip";
      break;
    case Design::LatinHypercube:
      json["design"] = {{"latin-hypercube", spec.samples}, {"seed", spec.seed}};
      break;
  }
  return json;
}

std::string name_of(const SweepPoint& point, const SweepSpec& spec) {
  std::string name;
  const auto add = [&](const std::vector<std::string>& of, const std::string& word) {
    if (of.size() > 1) name.append(name.empty() ? "" : " ").append(word);
  };
  add(spec.traces, fs::path(point.trace).stem().string());
  add(spec.presets, point.preset);
  add(spec.policies, point.policy);
  for (const auto& [path, value] : point.varied) {
    name.append(name.empty() ? "" : ", ").append(path).append("=").append(value);
  }
  return name.empty() ? fs::path(point.trace).stem().string() : name;
}

}  // namespace nestwalk::sim
