// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/structures.hpp"

#include <algorithm>

#include "calibration/preset_value.hpp"
#include "configuration/parameter.hpp"

namespace nestwalk::sim {
namespace {

constexpr u64 kLine = 64;
constexpr const char* kHostPages = "pages of the host";
constexpr const char* kFrames = "frames of the guest";

u64 lines_of(const Point& point) {
  return point.bytes / (point.probe == Probe::Pages ? point.page_bytes : kLine);
}

std::optional<u64> number_at(const Configuration& base, const std::string& path) {
  const std::optional<PresetValue> found = preset_value(base, path);
  if (!found || !found->value.is_number_unsigned()) return std::nullopt;
  return found->value.get<u64>();
}

// Lines of which most are cached: up to them, a load takes less than half of what it takes at 64
// MiB. 0 if no point shows it.
u64 cached_bytes(const MeasuredMachine& measured) {
  const MeasuredPoint* const far =
      measured.find({Probe::Lines, 2 * addrspace::kMiB, 64 * addrspace::kMiB, 1});
  u64 bytes = 0;
  for (const MeasuredPoint& each : measured.points) {
    if (far == nullptr || each.point.probe != Probe::Lines) continue;
    if (each.point.page_bytes != far->point.page_bytes || each.ns > far->ns / 2) continue;
    bytes = std::max(bytes, each.point.bytes);
  }
  return bytes;
}

}  // namespace

bool Structure::moves(const Point& point) const {
  const u64 lines = lines_of(point), pages = point.bytes / point.page_bytes;
  return lines >= least_lines && lines <= most_lines && pages >= least_pages && pages <= most_pages;
}

Structures::Structures(const Configuration& base, const MeasuredMachine& measured, Sought sought)
    : nested_(measured.is_virtual), sought_(sought == Sought::All) {
  if (nested_) add_around(base, kHostPages, {"2M", "4K"});
  add_around(base, kFrames, {"side by side", "scattered"});
  const KnownCache* const first = sought_ ? measured.cache("l1d") : nullptr;
  const KnownCache* const second = sought_ ? measured.cache("l2") : nullptr;
  if (first != nullptr) add_known(base, *first);
  if (first == nullptr) add_cache(base, "l1d", 128, 1 << 13, 1, 1);
  if (second != nullptr) add_known(base, *second);
  if (second == nullptr) add_cache(base, "l2", 1 << 10, 1 << 17, 1, 2);
  // A VM's share of the last level may be small.
  const bool has_third = number_at(base, "caches.l3.sets").has_value();
  if (has_third) add_cache(base, "l3", 1 << 12, ~u64{0}, 5, 2);
  if (has_third)
    add_words(base, "caches.l3.replacement", {"lru", "random", "srrip", "drrip"}, 1 << 12);
  if (const u64 bytes = cached_bytes(measured); sought_ && has_third && bytes != 0) {
    start_at("caches.l3", bytes);
  }
  add_ways(base, "tlb.data.arrays.0", 8, 1 << 11);
  add_ways(base, "tlb.second.arrays.0", 256, 1 << 15);
  add_ways(base, "walker.nested_tlb.arrays.0", 256, 1 << 16);
}

void Structures::add(const Configuration& base, Row row) {
  Row possible = row;
  possible.candidates.clear();
  possible.texts.clear();
  for (std::size_t n = 0; n < row.candidates.size(); ++n) {
    Configuration machine = base;
    for (const auto& [path, value] : row.candidates[n]) {
      machine.set("machine." + path + "=" + value.dump(), "calibrate");
    }
    try {
      machine.check_machine();
    } catch (const models::PresetError&) {
      continue;
    }
    if (n == row.chosen) possible.chosen = possible.candidates.size();
    possible.candidates.push_back(row.candidates[n]);
    possible.texts.push_back(row.texts[n]);
  }
  if (possible.before.empty()) possible.before = possible.candidates[possible.chosen];
  possible.home = possible.chosen;
  possible.structure.row = rows_.size();
  rows_.push_back(std::move(possible));
}

void Structures::start_at(const std::string& path, u64 bytes) {
  for (Row& row : rows_) {
    if (row.structure.name != path) continue;
    for (std::size_t n = 0; n < row.candidates.size(); ++n) {
      if (row.texts[n] == std::to_string(bytes / 1024) + "K") row.chosen = n;
    }
  }
}

// An L2 may seem smaller than the processor says: pages that lie in any frames compete for its
// sets. An L1 has the sets of one page.
void Structures::add_known(const Configuration& base, const KnownCache& cache) {
  const std::string path = "caches." + cache.name;
  const auto sets = number_at(base, path + ".sets"), ways = number_at(base, path + ".ways");
  if (!sets || !ways) return;
  Row row;
  row.structure.name = path;
  row.structure.least_lines = cache.sets * cache.ways / 8;
  row.structure.most_lines = cache.sets * cache.ways * 8;
  row.is_known = true;
  row.before = {{path + ".sets", *sets}, {path + ".ways", *ways}};
  for (const u64 quarters : {2u, 3u, 4u}) {
    if (quarters != 4 && cache.name != "l2") continue;
    const u64 some = cache.ways * quarters / 4;
    row.chosen = row.candidates.size();
    row.candidates.push_back({{path + ".sets", cache.sets}, {path + ".ways", some}});
    row.texts.push_back(std::to_string(cache.sets * some * kLine / 1024) + "K");
  }
  add(base, std::move(row));
}

void Structures::add_around(const Configuration& base, const char* name,
                            const std::vector<std::string>& texts) {
  Row row;
  row.structure.name = name;
  row.structure.least_pages = 16;
  row.is_around = true;
  row.texts = texts;
  row.candidates.resize(texts.size());
  add(base, std::move(row));
}

// Sizes of the same number of ways and of three quarters of it, by powers of two.
void Structures::add_cache(const Configuration& base, const std::string& name, u64 least_lines,
                           u64 most_lines, unsigned octaves_down, unsigned octaves_up) {
  const std::string path = "caches." + name;
  const auto sets = number_at(base, path + ".sets"), ways = number_at(base, path + ".ways");
  if (!sets || !ways) return;
  Row row{{path, 0, least_lines, most_lines, 0}, {}, {}};
  u64 candidate_sets = std::max<u64>(*sets >> octaves_down, 1);
  for (; candidate_sets <= *sets << octaves_up; candidate_sets *= 2) {
    for (const u64 quarters : {4u, 6u}) {
      const u64 candidate_ways = *ways * quarters / 4;
      if (candidate_sets == *sets && candidate_ways == *ways) {
        row.chosen = row.candidates.size();
      }
      row.candidates.push_back(
          {{path + ".sets", candidate_sets}, {path + ".ways", candidate_ways}});
      row.texts.push_back(std::to_string(candidate_sets * candidate_ways * kLine / 1024) + "K");
    }
  }
  add(base, std::move(row));
}

// Numbers of ways from a half to twice as many, by eighths of what it is.
void Structures::add_ways(const Configuration& base, const std::string& path, u64 least_pages,
                          u64 most_pages) {
  const auto ways = number_at(base, path + ".ways"), sets = number_at(base, path + ".sets");
  if (!ways || !sets) return;
  Row row{{path, 0, 0, ~u64{0}, least_pages, most_pages}, {}, {}};
  const u64 step = std::max<u64>(*ways / 8, 1);
  std::vector<u64> all;
  for (u64 each = *ways % step + step; each <= 2 * *ways; each += step) {
    if (2 * each >= *ways) all.push_back(each);
  }
  for (const u64 each : all) {
    if (each == *ways) row.chosen = row.candidates.size();
    row.candidates.push_back({{path + ".ways", each}});
    row.texts.push_back(std::to_string(each * *sets));
  }
  add(base, std::move(row));
}

void Structures::add_words(const Configuration& base, const std::string& path,
                           const std::vector<std::string>& words, u64 least_lines) {
  const std::optional<PresetValue> found = preset_value(base, path);
  if (!found) return;
  Row row{{path, 0, least_lines, ~u64{0}, 0}, {}, {}};
  row.structure.partner = rows_.size() - 1;  // its size
  std::vector<std::string> all = words;
  const std::string before = found->value.get<std::string>();
  if (std::find(all.begin(), all.end(), before) == all.end()) all.insert(all.begin(), before);
  for (const std::string& word : all) {
    if (word == before) row.chosen = row.candidates.size();
    row.candidates.push_back({{path, word}});
    row.texts.push_back(word);
  }
  add(base, std::move(row));
}

std::vector<Structure> Structures::all() const {
  std::vector<Structure> result;
  for (const Row& row : rows_) {
    if (row.candidates.size() > 1) result.push_back(row.structure);
  }
  return result;
}

std::optional<Structures> Structures::moved(const Structure& structure, int direction) const {
  const Row& row = rows_[structure.row];
  if (direction < 0 ? row.chosen == 0 : row.chosen + 1 == row.candidates.size()) return {};
  Structures next = *this;
  next.rows_[structure.row].chosen = direction < 0 ? row.chosen - 1 : row.chosen + 1;
  return next;
}

std::optional<Structures> Structures::returned(const Structure& structure) const {
  const Row& row = rows_[structure.row];
  if (row.is_around || row.chosen == row.home) return {};
  Structures next = *this;
  next.rows_[structure.row].chosen = row.home;
  return next;
}

std::string Structures::text_of(const Structure& structure) const {
  const Row& row = rows_[structure.row];
  return row.texts[row.chosen];
}

void Structures::apply(Configuration& machine) const {
  for (const Row& row : rows_) {
    for (const auto& [path, value] : row.candidates[row.chosen]) {
      machine.set("machine." + path + "=" + value.dump(), "calibrate");
    }
  }
}

Surroundings Structures::surroundings() const {
  Surroundings result{nested_, 2 * addrspace::kMiB, false};
  for (const Row& row : rows_) {
    if (row.structure.name == kHostPages && row.texts[row.chosen] == "4K") {
      result.host_page_bytes = addrspace::kFrameBytes;
    }
    if (row.structure.name == kFrames) result.scattered = row.texts[row.chosen] == "scattered";
  }
  return result;
}

std::vector<FittedValue> Structures::values() const {
  std::vector<FittedValue> result;
  for (const Row& row : rows_) {
    const Settings& chosen = row.candidates[row.chosen];
    for (std::size_t n = 0; n < chosen.size(); ++n) {
      const Json& before = row.before[n].second;
      FittedValue value{chosen[n].first, before, chosen[n].second};
      if (row.is_known && row.chosen == row.home) {
        value.note = "as the processor says";
        value.source = "cpuid";
      } else if (row.is_known) {
        value.note = "less than the processor says";
      } else if (value.value == before) {
        const char* const usual = sought_ ? "no other candidate is better" : "not sought";
        value.note = row.note.empty() ? usual : row.note;
      }
      result.push_back(std::move(value));
    }
  }
  return result;
}

void Structures::note(const Structure& structure, const std::string& text) {
  rows_[structure.row].note = text;
}

}  // namespace nestwalk::sim
