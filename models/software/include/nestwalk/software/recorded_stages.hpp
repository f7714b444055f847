// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The second stages of a recorded hypervisor: one for each root and VMID that its root register
// had, the VMID that the caches know it by, and the tables that its root leads to.
//
// An entry means something only at a level of a tree. No record says where a table is linked, so
// the links are followed from the root when it is used first, and at each store from then on.
#pragma once

#include <map>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "nestwalk/models/fences/fence_unit.hpp"
#include "nestwalk/software/tag_pool.hpp"

namespace nestwalk::software {

struct RecordedStage {
  models::Stage stage;
  TagPool::Holder vmid;  ///< not the recorded one
};

class RecordedStages {
 public:
  explicit RecordedStages(models::HostMemory& memory) : memory_(memory) {}

  /// The same one until `forget_all_but`.
  RecordedStage& of(const models::Stage& stage, u16 recorded_vmid);
  /// Puts a value into host memory. The stages that translated something by the entry that was
  /// there, and do not by the new one: nothing but a fence ends that.
  std::vector<const RecordedStage*> store(u64 address, u64 value);
  template <class Match>
  void forget_all_but(Match&& match) {
    for (auto& [frame, places] : tables_) {
      std::erase_if(places, [&](const Place& place) { return !match(*place.stage); });
    }
    std::erase_if(tables_, [](const auto& each) { return each.second.empty(); });
    std::erase_if(stages_, [&](const auto& each) { return !match(each.second); });
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [key, stage] : stages_) visit(stage);
  }

 private:
  /// A frame is a table, or a part of a root, of a stage.
  struct Place {
    const RecordedStage* stage;
    unsigned level;
    u64 links;  ///< entries that lead to it
  };

  Place* find(u64 frame, const RecordedStage& stage, unsigned level);
  void link(const RecordedStage& stage, u64 frame, unsigned level);
  void unlink(const RecordedStage& stage, u64 frame, unsigned level);
  template <class Follow>
  void for_each_table(const RecordedStage& stage, u64 frame, unsigned level, Follow&& follow) const;
  static bool has_entry(const Place& place, u64 address);

  models::HostMemory& memory_;
  using Key = std::tuple<u64, u16, u8, u8>;  ///< root, recorded VMID, levels and bits of the root
  std::map<Key, RecordedStage> stages_;
  std::unordered_map<u64, std::vector<Place>> tables_;  ///< by frame
};

}  // namespace nestwalk::software
