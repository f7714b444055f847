// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Why an access took as long as it did: its steps, with what the entries mean that were read and
// written on the way.
#pragma once

#include <map>

#include "configuration/configuration.hpp"
#include "replay/causes.hpp"
#include "replay/simulation.hpp"

namespace nestwalk::sim {

struct StoryStep {
  models::WitnessStep what;
  std::string meaning;  ///< of an entry: "page of 4K at 0x1000, rwx"; of a fault: its registers
  std::string waited;   ///< longer than its source takes, or which row of memory it was
};

struct Story {
  addrspace::u32 vcpu = 0;
  addrspace::u64 number = 0;
  software::GuestAccess access;
  models::Cycle begin = 0;
  models::Cycle latency = 0;
  CauseCycles causes;  ///< that add up to the latency
  std::vector<StoryStep> steps;
};

std::string as_text(const Story& story);
Json as_json(const Story& story);

/// Which stories are kept: those of accesses by their numbers, in ascending order; or of those from
/// a `first` on so many of the slowest, or the slowest of each cause to which most cycles went. Of
/// those that are alike, the earliest.
struct WantedStories {
  std::vector<addrspace::u64> numbers;
  std::size_t slowest = 1;
  bool of_each_cause = false;
  addrspace::u64 first = 0;
};

/// Keeps the stories of some of one vCPU's accesses.
class Storyteller final : public software::AccessListener {
 public:
  Storyteller(Simulation& simulation, addrspace::u32 vcpu, WantedStories wanted)
      : simulation_(simulation), vcpu_(vcpu), wanted_(std::move(wanted)) {}

  addrspace::u64 next_wanted(addrspace::u64 number) override;
  void on_story(const software::AccessStory& story) override;
  /// By number, or the slowest first.
  const std::vector<Story>& stories() const { return stories_; }

 private:
  /// What lies in an entry: of which stage and level.
  struct Place {
    bool nested;
    addrspace::u8 level;
  };
  using Places = std::map<addrspace::u64, Place>;

  /// What translates for the vCPU, which is on its core when its access is over.
  const models::Regime& regime() const;
  Story tell(const software::AccessStory& story);
  void keep_slowest(const software::AccessStory& story);
  /// The slowest first.
  void insert(Story story);
  void find_places(const models::Stage& stage, bool nested, addrspace::u64 address,
                   Places& places) const;
  std::string meaning(const models::WitnessStep& step, const Places& places) const;
  std::string waited(const models::WitnessStep& step, const software::GuestAccess& access) const;

  Simulation& simulation_;
  addrspace::u32 vcpu_;
  WantedStories wanted_;
  std::vector<Story> stories_;
};

}  // namespace nestwalk::sim
