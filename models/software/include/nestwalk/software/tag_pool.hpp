// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Numbers that translations are tagged with: a hypervisor's VMIDs, a kernel's ASIDs. They are
// handed out in turn. When none is left, a generation ends: all are taken back but those that are
// in use on a processor, and nothing of the others may stay cached. Those keep theirs for the next
// generation, whether or not they still run.
#pragma once

#include <algorithm>

#include "nestwalk/software/shape.hpp"

namespace nestwalk::software {

class TagPool {
 public:
  struct Holder {
    u16 tag = 0;
    u32 generation = 0;
  };
  /// From 1 to `most`: 0 is the host's, or the kernel's.
  explicit TagPool(u16 most) : most_(most) {}

  bool is_current(const Holder& holder) const { return holder.generation == generation_; }
  /// The next one ends the generation.
  bool is_exhausted() const { return last_ == most_; }
  /// Gives one that does not run a new tag. `running`: pointers to those that do, fewer than there
  /// are tags. True if all others were taken back.
  template <class Running>
  bool renew(Holder& holder, const Running& running) {
    bool rolled_over = false;
    do {
      if (last_ == most_) {
        begin_generation(holder, running);
        rolled_over = true;
      }
      ++last_;
    } while (std::find(kept_.begin(), kept_.end(), last_) != kept_.end());
    holder = {last_, generation_};
    return rolled_over;
  }

 private:
  template <class Running>
  void begin_generation(const Holder& holder, const Running& running) {
    last_ = 0;
    kept_.clear();
    for (Holder* const other : running) {
      if (other == &holder || !is_current(*other)) continue;
      other->generation = generation_ + 1;
      kept_.push_back(other->tag);
    }
    ++generation_;
  }

  u16 most_;
  std::vector<u16> kept_;  ///< over the end of the last generation
  u16 last_ = 0;
  u32 generation_ = 1;
};

}  // namespace nestwalk::software
