// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Tables of the lowest level lie beside each other, in the order of what they translate, 512 to an
// area: with 4K pages 1 GiB, which is what one table of the level above translates. So where a
// table's entry lies follows from the address alone (ASAP, "Prefetched Address Translation",
// Margaritov, Ustiugov, Bugnion and Grot, MICRO'19). There an area is what the program asked for;
// no trace says what that was.
//
// A guest that does so asks its hypervisor to back such a run by contiguous frames, too.
#pragma once

#include <set>
#include <utility>

#include "nestwalk/models/memory/reserved_runs.hpp"
#include "nestwalk/models/memory/table_areas.hpp"

namespace nestwalk::models {

class ContiguousTables final : public ReservedRuns<TableAreas::kOrder> {
 public:
  static constexpr const char* kName = "contiguous-tables";
  explicit ContiguousTables(FreeFrames& free) : ReservedRuns(free) {}

  bool places_tables() const override { return true; }
  void keep_together(u64 space, u64 input) override {
    together_.emplace(space, input >> kTogetherShift);
  }

 private:
  static constexpr unsigned kTogetherShift = addrspace::kFrameShift + TableAreas::kOrder;

  std::optional<u64> unit_of(const FrameRequest& wanted) const override {
    if (wanted.use.level != 0) return std::nullopt;
    switch (wanted.use.kind) {
      case FrameUse::Kind::Table:
        return wanted.use.input >> TableAreas::table_shift(wanted.order, 0);
      case FrameUse::Kind::Memory:
        if (wanted.order != 0) return std::nullopt;
        if (!together_.contains({wanted.space, wanted.use.input >> kTogetherShift})) {
          return std::nullopt;
        }
        return wanted.use.input >> addrspace::kFrameShift;
      case FrameUse::Kind::Group:
      case FrameUse::Kind::Own:
        break;
    }
    return std::nullopt;
  }

  std::set<std::pair<u64, u64>> together_;  ///< space, and which 512 frames of it
};

}  // namespace nestwalk::models
