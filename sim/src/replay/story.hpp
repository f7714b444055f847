// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Why an access took as long as it did: its steps, with what the entries mean that were read and
// written on the way.
#pragma once

#include <map>

#include "configuration/configuration.hpp"
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
  std::vector<StoryStep> steps;
};

std::string as_text(const Story& story);
Json as_json(const Story& story);

/// Keeps the stories of one vCPU's accesses: some by number, or the slowest.
class Storyteller final : public software::AccessListener {
 public:
  /// By number, in ascending order.
  Storyteller(Simulation& simulation, addrspace::u32 vcpu, std::vector<addrspace::u64> numbers)
      : simulation_(simulation), vcpu_(vcpu), numbers_(std::move(numbers)) {}
  /// So many of the slowest; of those that are alike, the earliest.
  Storyteller(Simulation& simulation, addrspace::u32 vcpu, std::size_t slowest)
      : simulation_(simulation), vcpu_(vcpu), slowest_(slowest) {}

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
  void find_places(const models::Stage& stage, bool nested, addrspace::u64 address,
                   Places& places) const;
  std::string meaning(const models::WitnessStep& step, const Places& places) const;
  std::string waited(const models::WitnessStep& step, const software::GuestAccess& access) const;

  Simulation& simulation_;
  addrspace::u32 vcpu_;
  std::vector<addrspace::u64> numbers_;
  std::size_t slowest_ = 0;
  std::vector<Story> stories_;
};

}  // namespace nestwalk::sim
