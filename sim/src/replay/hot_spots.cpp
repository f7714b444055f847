// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/hot_spots.hpp"

#include <algorithm>
#include <cstdio>

#include "nestwalk/models/base/hex.hpp"
#include "results/summary.hpp"
#include "results/table.hpp"

namespace nestwalk::sim {

using addrspace::u64;
using models::hex;

namespace {

struct Size {
  const char* name;
  unsigned shift;
};
constexpr Size kSizes[] = {{"4K", 12}, {"64K", 16}, {"2M", 21}, {"1G", 30}};

std::string percent(u64 part, u64 whole) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f%%",
                whole == 0 ? 0.0 : 100 * static_cast<double>(part) / static_cast<double>(whole));
  return text;
}

}  // namespace

void HotSpots::on_story(const software::AccessStory& story) {
  const u64 begin = story.access.address >> shift_ << shift_;
  HotSpot& spot = spots_[begin];
  spot.begin = begin;
  ++spot.accesses;
  spot.cycles.add(causes_of(story));
}

std::vector<HotSpot> HotSpots::hottest(std::size_t count) const {
  std::vector<HotSpot> all;
  all.reserve(spots_.size());
  for (const auto& [begin, spot] : spots_) all.push_back(spot);
  const auto hotter = [](const HotSpot& a, const HotSpot& b) {
    const u64 cycles_a = a.cycles.sum(), cycles_b = b.cycles.sum();
    return cycles_a != cycles_b ? cycles_a > cycles_b : a.begin < b.begin;
  };
  const std::size_t kept = std::min(count, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(kept), all.end(),
                    hotter);
  all.resize(kept);
  return all;
}

HotSpot HotSpots::all() const {
  HotSpot sum;
  for (const auto& [begin, spot] : spots_) {
    sum.accesses += spot.accesses;
    sum.cycles.add(spot.cycles);
  }
  return sum;
}

std::vector<std::string> hot_spot_sizes() {
  std::vector<std::string> names;
  for (const Size& each : kSizes) names.emplace_back(each.name);
  return names;
}

unsigned shift_of(const std::string& size) {
  return std::find_if(std::begin(kSizes), std::end(kSizes),
                      [&](const Size& each) { return size == each.name; })
      ->shift;
}

std::string as_text(const HotSpots& spots, std::size_t count, const std::string& size) {
  const HotSpot all = spots.all();
  std::string text = with_commas(all.cycles.sum()) + noun(all.cycles.sum(), " cycle") + " of " +
                     with_commas(all.accesses) + noun(all.accesses, " access", "es") + " to " +
                     with_commas(spots.pages()) + noun(spots.pages(), " page") + " of " + size +
                     "\n\n";
  Table table = {{{"share"}, {"cycles"}, {"accesses"}, {"mean"}}};
  for (const char* const name : kCauseNames) table[0].push_back({name});
  table[0].push_back({"page"});
  for (const HotSpot& spot : spots.hottest(count)) {
    const u64 cycles = spot.cycles.sum();
    char mean[32];
    std::snprintf(mean, sizeof mean, "%.1f",
                  static_cast<double>(cycles) / static_cast<double>(spot.accesses));
    std::vector<Cell>& row = table.emplace_back();
    row = {{percent(cycles, all.cycles.sum())},
           {with_commas(cycles)},
           {with_commas(spot.accesses)},
           {std::string(mean)}};
    for (std::size_t n = 0; n < kCauses; ++n) {
      row.push_back({percent(spot.cycles[static_cast<Cause>(n)], cycles)});
    }
    row.push_back({hex(spot.begin)});
  }
  return text + formatted(std::move(table), "table");
}

models::Json as_json(const HotSpots& spots, std::size_t count, const std::string& size) {
  const auto json_of = [](const HotSpot& spot) {
    models::Json causes = models::Json::object();
    for (std::size_t n = 0; n < kCauses; ++n) {
      causes[kCauseNames[n]] = spot.cycles[static_cast<Cause>(n)];
    }
    return models::Json(
        {{"accesses", spot.accesses}, {"cycles", spot.cycles.sum()}, {"causes", causes}});
  };
  models::Json pages = models::Json::array();
  for (const HotSpot& spot : spots.hottest(count)) {
    pages.push_back(json_of(spot));
    pages.back()["address"] = hex(spot.begin);
  }
  return {{"format", "nestwalk-hot-pages"},
          {"version", 1},
          {"page_size", size},
          {"touched", spots.pages()},
          {"all", json_of(spots.all())},
          {"pages", pages}};
}

}  // namespace nestwalk::sim
