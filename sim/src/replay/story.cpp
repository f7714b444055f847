// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "replay/story.hpp"

#include <algorithm>
#include <cstdio>

#include "nestwalk/models/base/hex.hpp"
#include "nestwalk/models/translation/fault_report.hpp"
#include "nestwalk/models/translation/peek.hpp"

namespace nestwalk::sim {

using addrspace::u32;
using addrspace::u64;
using addrspace::u8;
using models::Cycle;
using models::hex;
using models::Served;
using models::WitnessStep;

namespace {

constexpr const char* kServedNames[] = {"",   "the walk cache", "the nested TLB", "L1", "L2",
                                        "L3", "memory"};

const char* size_name(unsigned shift) {
  constexpr const char* kNames[] = {"4K",   "8K",   "16K",  "32K",  "64K", "128K", "256K",
                                    "512K", "1M",   "2M",   "4M",   "8M",  "16M",  "32M",
                                    "64M",  "128M", "256M", "512M", "1G"};
  const unsigned n = shift - 12;
  return n < std::size(kNames) ? kNames[n] : "large";
}

std::string rights_of(models::Access access) {
  std::string text;
  text += access.has(models::kRead) ? 'r' : '-';
  text += access.has(models::kWrite) ? 'w' : '-';
  text += access.has(models::kExecute) ? 'x' : '-';
  return text;
}

std::string words_of(const models::Stage& stage, u8 level, u64 slot, u64 raw) {
  const models::Entry entry = stage.format->decode(raw, level, slot);
  switch (entry.kind) {
    case models::EntryKind::Invalid:
      return "not present";
    case models::EntryKind::Malformed:
      return "malformed";
    case models::EntryKind::Table:
      return "table at " + hex(entry.address);
    case models::EntryKind::Leaf:
      break;
  }
  std::string text = "page of ";
  text.append(size_name(stage.geometry.shift(level))).append(" at ").append(hex(entry.address));
  text.append(", ").append(rights_of(entry.access));
  if (entry.neighbours != 0) text += ", one of " + std::to_string(1u << entry.neighbours);
  if (entry.accessed) text += ", accessed";
  if (entry.dirty) text += ", dirty";
  return text;
}

bool is_entry(const WitnessStep& step) {
  return step.guest_level != WitnessStep::kNoLevel || step.nested_level != WitnessStep::kNoLevel;
}
bool is_software_entry(const WitnessStep& step) {
  return step.kind == &software::kPartSteps[static_cast<std::size_t>(software::Part::Tables)];
}
bool is_lookup(const WitnessStep& step) {
  using namespace models::step;
  const models::StepKind* const kLookups[] = {&kFirstTlb, &kSecondTlb, &kGuestCache, &kNestedTlb,
                                              &kNestedCache};
  return std::find(std::begin(kLookups), std::end(kLookups), step.kind) != std::end(kLookups);
}

// "level 3 of the guest, level 2 of EPT": what a walk's reference was for.
std::string place_of(const WitnessStep& step) {
  std::string text;
  if (step.nested_level != WitnessStep::kNoLevel) {
    text = "second stage, level " + std::to_string(step.nested_level) + ", for ";
    text += step.guest_level == WitnessStep::kNoLevel
                ? "the data"
                : "the guest's level " + std::to_string(step.guest_level);
    return text;
  }
  return "first stage, level " + std::to_string(step.guest_level);
}

std::string line_of(const StoryStep& step) {
  const WitnessStep& what = step.what;
  std::string text = what.kind->name;
  const auto add = [&](const std::string& more) { text.append(": ").append(more); };
  if (is_lookup(what)) {
    add((what.hit ? "hit for " : "miss for ") + hex(what.address));
  } else if (is_entry(what)) {
    add(place_of(what) + ", at " + hex(what.address));
  } else if (is_software_entry(what)) {
    add((what.note != nullptr ? "written at " : "read at ") + hex(what.address));
  } else if (what.kind == &models::step::kData) {
    add("at " + hex(what.address));
  } else {
    add(what.kind->sentence);
    if (what.note != nullptr) text.append(", ").append(what.note);
    const bool of_address = what.kind == &models::step::kTouch ||
                            what.kind == &models::step::kNestedFault ||
                            what.kind == &models::step::kGuestFault;
    if (of_address || what.address != 0) text.append(", ").append(hex(what.address));
    if (!step.meaning.empty()) text.append(": ").append(step.meaning);
  }
  if (is_entry(what) || is_software_entry(what)) {
    text += ": ";
    if (what.before != what.value) text += hex(what.before) + " -> ";
    text += hex(what.value);
    if (!step.meaning.empty()) text += " (" + step.meaning + ")";
  }
  if (what.served != Served::None && !is_lookup(what)) {
    text.append(", from ").append(kServedNames[static_cast<unsigned>(what.served)]);
    if (!step.waited.empty()) text += ", " + step.waited;
  }
  return text;
}

// Those that are more than nothing, the largest first.
std::vector<std::pair<Cause, double>> shares_of(const CauseCycles& causes) {
  std::vector<std::pair<Cause, double>> shares;
  for (std::size_t n = 0; n < kCauses; ++n) {
    const auto cause = static_cast<Cause>(n);
    if (causes[cause] == 0) continue;
    shares.emplace_back(cause,
                        static_cast<double>(causes[cause]) / static_cast<double>(causes.sum()));
  }
  std::stable_sort(shares.begin(), shares.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return shares;
}

}  // namespace

std::string as_text(const Story& story) {
  char line[160];
  std::snprintf(line, sizeof line, "vCPU %u, access %llu: %s of %s: %llu cycles, from cycle %llu\n",
                story.vcpu, static_cast<unsigned long long>(story.number),
                kAccessNames[static_cast<unsigned>(story.access.kind)],
                hex(story.access.address).c_str(), static_cast<unsigned long long>(story.latency),
                static_cast<unsigned long long>(story.begin));
  std::string text = line;
  for (const auto& [cause, share] : shares_of(story.causes)) {
    std::snprintf(line, sizeof line, "  %5.1f%%  %s\n", 100 * share, name_of(cause));
    text += line;
  }
  text += "      at  cycles\n";
  for (const StoryStep& step : story.steps) {
    std::snprintf(line, sizeof line, "%8llu %7llu  ",
                  static_cast<unsigned long long>(step.what.start - story.begin),
                  static_cast<unsigned long long>(step.what.cycles));
    text += line + line_of(step) + "\n";
  }
  return text;
}

Json as_json(const Story& story) {
  Json steps = Json::array();
  for (const StoryStep& step : story.steps) {
    const WitnessStep& what = step.what;
    Json row = {{"step", what.kind->name},
                {"sentence", what.kind->sentence},
                {"start", what.start},
                {"cycles", what.cycles}};
    if (what.address != 0) row["address"] = hex(what.address);
    if (is_lookup(what)) row["hit"] = what.hit;
    if (what.guest_level != WitnessStep::kNoLevel) row["guest_level"] = what.guest_level;
    if (what.nested_level != WitnessStep::kNoLevel) row["nested_level"] = what.nested_level;
    if (is_entry(what) || is_software_entry(what)) {
      row["before"] = hex(what.before);
      row["value"] = hex(what.value);
    }
    if (!step.meaning.empty()) row["meaning"] = step.meaning;
    if (what.served != Served::None && !is_lookup(what)) {
      row["from"] = kServedNames[static_cast<unsigned>(what.served)];
    }
    if (!step.waited.empty()) row["waited"] = step.waited;
    if (what.note != nullptr) row["note"] = what.note;
    steps.push_back(std::move(row));
  }
  Json causes = Json::object();
  for (const auto& [cause, share] : shares_of(story.causes)) {
    causes[name_of(cause)] = story.causes[cause];
  }
  return {{"vcpu", story.vcpu},
          {"access", story.number},
          {"kind", kAccessNames[static_cast<unsigned>(story.access.kind)]},
          {"address", hex(story.access.address)},
          {"begin", story.begin},
          {"cycles", story.latency},
          {"causes", std::move(causes)},
          {"steps", std::move(steps)}};
}

u64 Storyteller::next_wanted(u64 number) {
  const std::vector<u64>& numbers = wanted_.numbers;
  if (numbers.empty()) return std::max(number, wanted_.first);
  const auto next = std::lower_bound(numbers.begin(), numbers.end(), number);
  return next == numbers.end() ? ~u64{0} : *next;
}

void Storyteller::on_story(const software::AccessStory& story) {
  if (!wanted_.numbers.empty()) {
    stories_.push_back(tell(story));
    return;
  }
  if (!wanted_.of_each_cause) {
    keep_slowest(story);
    return;
  }
  const Cause most = causes_of(story).most();
  const auto same = std::find_if(stories_.begin(), stories_.end(),
                                 [&](const Story& other) { return other.causes.most() == most; });
  if (same != stories_.end()) {
    if (story.latency <= same->latency) return;
    stories_.erase(same);
  }
  insert(tell(story));
}

void Storyteller::keep_slowest(const software::AccessStory& story) {
  const bool full = stories_.size() == wanted_.slowest;
  if (full && story.latency <= stories_.back().latency) return;
  insert(tell(story));
  if (stories_.size() > wanted_.slowest) stories_.pop_back();
}

void Storyteller::insert(Story story) {
  const auto place =
      std::upper_bound(stories_.begin(), stories_.end(), story.latency,
                       [](Cycle latency, const Story& other) { return latency > other.latency; });
  stories_.insert(place, std::move(story));
}

const models::Regime& Storyteller::regime() const {
  return simulation_.board().core(simulation_.vcpu(vcpu_).core()).mmu->regime();
}

Story Storyteller::tell(const software::AccessStory& story) {
  Story told;
  told.vcpu = vcpu_;
  told.number = story.number;
  told.access = story.access;
  told.begin = story.begin;
  told.latency = story.latency;
  told.causes = causes_of(story);
  Places places;
  if (regime().guest.on()) {
    find_places(regime().guest_of(story.access.address), false, story.access.address, places);
  }
  for (const WitnessStep& step : story.steps) {
    if (step.kind == &models::step::kNestedFault) {
      find_places(regime().nested, true, step.address, places);
    }
  }
  for (const WitnessStep& step : story.steps) {
    told.steps.push_back({step, meaning(step, places), waited(step, story.access)});
  }
  return told;
}

// The entries that translate an address, as the tables are now.
void Storyteller::find_places(const models::Stage& stage, bool nested, u64 address,
                              Places& places) const {
  models::HostMemory& memory = simulation_.board().memory();
  models::Regime second = regime();
  second.guest = second.guest_upper = {};
  models::Peek peek(memory);
  addrspace::descend(stage.geometry, stage.root, address,
                     [&](u64 slot, unsigned level, u64& table) {
                       if (!nested && second.nested.on()) {
                         const models::Peek::Found found = peek.translate(second, {slot});
                         if (found.fault) return false;
                         slot = found.translation.host_of(slot);
                       }
                       if (!memory.contains(addrspace::Hpa(slot), sizeof(u64))) return false;
                       places[slot] = {nested, static_cast<u8>(level)};
                       const models::Entry entry =
                           stage.format->decode(memory.load(addrspace::Hpa(slot)), level, slot);
                       table = entry.address;
                       return entry.kind == models::EntryKind::Table;
                     });
}

std::string Storyteller::meaning(const WitnessStep& step, const Places& places) const {
  const models::Regime& stages = regime();
  if (step.fault) return to_text(stages.report_of(*step.fault));
  if (is_entry(step)) {
    if (step.nested_level != WitnessStep::kNoLevel) {
      return words_of(stages.nested, step.nested_level, step.address, step.value);
    }
    return words_of(stages.guest, step.guest_level, step.address, step.value);
  }
  if (!is_software_entry(step)) return {};
  const auto place = places.find(step.address);
  if (place == places.end()) return {};
  const auto [nested, level] = place->second;
  return std::string(nested ? "second" : "first") + " stage, level " + std::to_string(level) +
         ": " + words_of(nested ? stages.nested : stages.guest, level, step.address, step.value);
}

// What its source takes alone is known; the rest it waited for others.
std::string Storyteller::waited(const WitnessStep& step,
                                const software::GuestAccess& access) const {
  if (step.served < Served::L1) return {};
  const models::MachineShape& machine = simulation_.machine();
  const bool fetch =
      step.kind == &models::step::kData && access.kind == models::AccessKind::Execute;
  const bool walks = is_entry(step);
  Cycle alone = 0;
  for (const Served level : {Served::L1, Served::L2, Served::L3}) {
    const bool entered = !walks || level >= machine.walks_enter_at;
    if (entered && level <= step.served) alone += machine.lookup_cycles(level, fetch);
  }
  const Cycle rest = step.cycles - std::min(alone, step.cycles);
  if (step.served != Served::Memory) {
    return rest == 0 ? "" : "after waiting " + std::to_string(rest) + " for the line";
  }
  const models::DramTimes dram(machine.memory, machine.clock());
  if (rest == dram.row_hit()) return "open row";
  if (rest == dram.row_empty()) return "no row open";
  if (rest == dram.row_conflict()) return "another row open";
  return "after waiting for the bank or the line";
}

}  // namespace nestwalk::sim
