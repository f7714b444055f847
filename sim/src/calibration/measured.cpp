// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/measured.hpp"

#include <algorithm>
#include <cmath>

#include "comparisons/cases.hpp"
#include "configuration/parameter.hpp"
#include "nestwalk/models/base/text_file.hpp"
#include "nestwalk/traces/error.hpp"

namespace nestwalk::sim {
namespace {

using addrspace::kGiB;
using addrspace::kKiB;
using addrspace::kMiB;

constexpr const char* kFormat = "nestwalk-machine";
constexpr const char* kHint = "nestwalk calibrate --only-measure -o writes it";
constexpr u64 kLeastBytes = 16 * kKiB;
constexpr u64 kMostBytes = u64{1} << 44;

constexpr struct {
  Probe probe;
  const char* name;
} kProbes[] = {{Probe::Lines, "lines"},
               {Probe::Pages, "pages"},
               {Probe::Overlap, "overlap"},
               {Probe::Read, "read"},
               {Probe::Zero, "zero"}};

}  // namespace

const char* name_of(Probe probe) {
  return std::find_if(std::begin(kProbes), std::end(kProbes),
                      [&](const auto& row) { return row.probe == probe; })
      ->name;
}

namespace {

/// Reads members of one object; messages name the file and the member.
class Members {
 public:
  Members(const Json& object, const std::string& file, std::string place)
      : object_(object), file_(file), place_(std::move(place)) {
    if (!object.is_object()) fail("an object", object);
  }
  std::string text(const char* key, const std::string& standard = "") const {
    if (!object_.contains(key)) return standard;
    if (!object_[key].is_string()) fail_at(key, "words");
    return object_[key].get<std::string>();
  }
  /// Every other key is refused.
  void expect_keys(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      throw traces::InputError(file_, place_ + printable(key) + ": is no key of this format");
    }
  }
  bool has(const char* key) const { return object_.contains(key); }
  u64 number(const char* key, u64 least, u64 most, std::optional<u64> standard = {}) const {
    if (!object_.contains(key) && standard) return *standard;
    if (!object_.contains(key) || !object_[key].is_number_unsigned() ||
        object_[key].get<u64>() < least || object_[key].get<u64>() > most) {
      fail_at(key, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    }
    return object_[key].get<u64>();
  }
  /// One of the words.
  std::string word(const char* key, std::initializer_list<std::string_view> words) const {
    const std::string found = text(key);
    if (std::find(words.begin(), words.end(), found) != words.end()) return found;
    std::string expected;
    for (const std::string_view each : words) {
      expected.append(expected.empty() ? "" : each == *(words.end() - 1) ? " or " : ", ");
      expected.append(each);
    }
    fail_at(key, expected);
  }
  double time(const char* key) const {
    if (!object_.contains(key) || !object_[key].is_number() || !(object_[key].get<double>() > 0)) {
      fail_at(key, "a number above 0");
    }
    return object_[key].get<double>();
  }
  double at_least(const char* key, double least, const std::string& other = "") const {
    if (!has(key) || !object_[key].is_number() || !(object_[key].get<double>() >= least)) {
      fail_at(key, "a number that is not below " +
                       (other.empty() ? Json(least).dump() : other + ", " + Json(least).dump()));
    }
    return object_[key].get<double>();
  }
  u64 size(const char* key) const {
    const std::string found = text(key);
    for (const u64 page : {4 * kKiB, 2 * kMiB, kGiB}) {
      if (found == size_text(page)) return page;
    }
    fail_at(key, "4K, 2M or 1G");
  }
  Probe probe(const char* key) const {
    const std::string found = text(key);
    for (const auto& row : kProbes) {
      if (found == row.name) return row.probe;
    }
    fail_at(key, "lines, pages, overlap, read or zero");
  }
  const Json& list(const char* key) const {
    if (!object_.contains(key) || !object_[key].is_array()) fail_at(key, "a list");
    return object_[key];
  }

  [[noreturn]] void fail_at(const char* key, const std::string& expected) const {
    const Json found = object_.contains(key) ? object_[key] : Json();
    throw traces::InputError(file_, place_ + key + ": expected " + expected + ", found " +
                                        (object_.contains(key) ? found.dump() : "nothing"));
  }

 private:
  [[noreturn]] void fail(const std::string& expected, const Json& found) const {
    throw traces::InputError(file_, place_ + ": expected " + expected + ", found " + found.dump());
  }
  const Json& object_;
  const std::string& file_;
  std::string place_;
};

MeasuredPoint read_point(const Json& json, const std::string& file, std::size_t number) {
  const Members from(json, file, "points[" + std::to_string(number) + "].");
  from.expect_keys(
      {"probe", "pages", "bytes", "chains", "ns", "p25", "p50", "p90", "samples", "tlb_misses"});
  MeasuredPoint read;
  read.point = {from.probe("probe"), from.size("pages"),
                from.number("bytes", kLeastBytes, kMostBytes), from.number("chains", 1, 64, 1)};
  read.ns = from.time("ns");
  read.samples = from.number("samples", 1, ~u64{0}, 1);
  if (read.point.probe != Probe::Overlap && read.point.chains != 1) {
    from.fail_at("chains", "1, as only overlap follows several lists");
  }
  if (from.has("tlb_misses")) read.tlb_misses = from.at_least("tlb_misses", 0);
  if (!from.has("p25") && !from.has("p50") && !from.has("p90")) return read;
  // Of all samples "ns" is the least; of one, everything.
  const double p25 = from.at_least("p25", read.ns, "ns");
  const double p50 = from.at_least("p50", p25, "p25");
  const double p90 = from.at_least("p90", p50, "p50");
  if (from.has("samples") && read.samples == 1 && p90 != read.ns)
    from.fail_at("samples", "several, as p90 is not ns");
  read.quantiles = Quantiles{p25, p50, p90};
  return read;
}

double rounded(double ns) { return std::round(ns * 1000) / 1000; }

}  // namespace

std::string text_of(const Point& point) {
  std::string text = std::string(name_of(point.probe)) + " " + size_text(point.page_bytes) + " " +
                     size_text(point.bytes);
  if (point.chains != 1) text += " x" + std::to_string(point.chains);
  return text;
}

std::vector<Point> usual_points(u64 most, bool huge) {
  std::vector<Point> points;
  std::vector<u64> pages = {4 * kKiB, 2 * kMiB};
  if (huge) pages.push_back(kGiB);
  for (const u64 page : pages) {
    for (u64 bytes = kLeastBytes; bytes <= most; bytes *= 2) {
      points.push_back({Probe::Lines, page, bytes, 1});
    }
    for (u64 bytes = 16 * page; bytes <= most; bytes *= 2) {
      points.push_back({Probe::Pages, page, bytes, 1});
    }
    const u64 part = std::min<u64>(most, 256 * kMiB);
    for (u64 chains = 2; chains <= 64; chains *= 2) {
      points.push_back({Probe::Overlap, page, part, chains});
    }
    points.push_back({Probe::Read, page, part, 1});
    points.push_back({Probe::Zero, page, part, 1});
  }
  return points;
}

const MeasuredPoint* MeasuredMachine::find(const Point& wanted) const {
  const auto found = std::find_if(points.begin(), points.end(),
                                  [&](const MeasuredPoint& each) { return each.point == wanted; });
  return found == points.end() ? nullptr : &*found;
}

void MeasuredMachine::set_environment(bool is_in_vm) {
  is_virtual = is_in_vm;
  if (!is_virtual) hypervisor.clear();
  std::erase(notes, kUnknownEnvironment);
}

bool MeasuredMachine::use_medians() {
  for (MeasuredPoint& each : points) {
    if (!each.quantiles) continue;
    has_medians = true;
    each.ns = each.quantiles->p50;
  }
  return has_medians;
}

const KnownCache* MeasuredMachine::cache(const std::string& wanted) const {
  const auto found = std::find_if(caches.begin(), caches.end(),
                                  [&](const KnownCache& each) { return each.name == wanted; });
  return found == caches.end() ? nullptr : &*found;
}

Json as_json(const MeasuredMachine& machine) {
  Json caches = Json::array();
  for (const KnownCache& each : machine.caches) {
    caches.push_back({{"name", each.name}, {"sets", each.sets}, {"ways", each.ways}});
  }
  Json points = Json::array();
  for (const MeasuredPoint& each : machine.points) {
    Json point = {{"probe", name_of(each.point.probe)},
                  {"pages", size_text(each.point.page_bytes)},
                  {"bytes", each.point.bytes}};
    if (each.point.chains != 1) point["chains"] = each.point.chains;
    point["ns"] = rounded(each.ns);
    if (each.quantiles) {
      point["p25"] = rounded(each.quantiles->p25);
      point["p50"] = rounded(each.quantiles->p50);
      point["p90"] = rounded(each.quantiles->p90);
    }
    point["samples"] = each.samples;
    if (each.tlb_misses) point["tlb_misses"] = rounded(*each.tlb_misses);
    points.push_back(std::move(point));
  }
  return {{"format", kFormat},
          {"version", 1},
          {"name", machine.name},
          {"cpu", machine.cpu},
          {"vendor", machine.vendor},
          {"family", machine.family},
          {"model", machine.model},
          {"clock_mhz", machine.clock_mhz},
          {"environment", machine.is_virtual ? "VM" : "native"},
          {"hypervisor", machine.hypervisor},
          {"date", machine.date},
          {"load", machine.load},
          {"notes", machine.notes},
          {"caches", caches},
          {"points", points}};
}

MeasuredMachine read_measured(const std::string& file) {
  const Json json = read_object(file, models::kMostWrittenBytes, kHint);
  expect_format(json, kFormat, file);
  const Members from(json, file, "");
  from.expect_keys({"format", "version", "name", "cpu", "vendor", "family", "model", "clock_mhz",
                    "environment", "hypervisor", "date", "load", "notes", "caches", "points"});
  MeasuredMachine machine;
  machine.name = from.text("name");
  machine.cpu = from.text("cpu");
  machine.vendor = from.text("vendor");
  machine.family = from.number("family", 0, 4095, 0);
  machine.model = from.number("model", 0, 4095, 0);
  machine.clock_mhz = from.number("clock_mhz", 0, 1'000'000, 0);
  const std::string environment = from.text("environment", "native");
  if (environment != "VM" && environment != "native") {
    throw traces::InputError(file,
                             "environment: expected VM or native, found " + printable(environment));
  }
  machine.is_virtual = environment == "VM";
  machine.hypervisor = from.text("hypervisor");
  if (!machine.is_virtual && !machine.hypervisor.empty()) {
    from.fail_at("hypervisor", "nothing, as environment is native");
  }
  machine.date = from.text("date");
  machine.load = from.text("load");
  if (json.contains("notes")) {
    for (const Json& note : from.list("notes")) {
      if (!note.is_string()) from.fail_at("notes", "a list of words");
      machine.notes.push_back(note.get<std::string>());
    }
  }
  if (json.contains("caches")) {
    for (const Json& cache : from.list("caches")) {
      const std::string place = "caches[" + std::to_string(machine.caches.size()) + "].";
      const Members members(cache, file, place);
      members.expect_keys({"name", "sets", "ways"});
      const KnownCache read = {members.word("name", {"l1d", "l2", "l3"}),
                               members.number("sets", 1, 1 << 20), members.number("ways", 1, 1024)};
      if (machine.cache(read.name) != nullptr) {
        throw traces::InputError(file, place + "name: " + read.name + " is there twice");
      }
      machine.caches.push_back(read);
    }
  }
  for (const Json& point : from.list("points")) {
    MeasuredPoint read = read_point(point, file, machine.points.size());
    if (machine.find(read.point) != nullptr) {
      throw traces::InputError(file, text_of(read.point) + ": is there twice");
    }
    machine.points.push_back(std::move(read));
  }
  if (machine.points.empty()) throw traces::InputError(file, "points: expected one or more");
  return machine;
}

}  // namespace nestwalk::sim
