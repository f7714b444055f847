// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Numbers that translations are tagged with: a hypervisor's VMIDs, a kernel's ASIDs. They are
// handed out in turn. When none is left, a generation ends: all are taken back but those that are
// in use on a processor, and nothing of the others may stay cached.
#pragma once

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
  /// Gives one that does not run a new tag. `running`: pointers to those that do, fewer than there
  /// are tags. True if all others were taken back.
  template <class Running>
  bool renew(Holder& holder, const Running& running) {
    bool rolled_over = false;
    const auto is_used = [&](u16 tag) {
      for (const Holder* const other : running) {
        if (other != &holder && is_current(*other) && other->tag == tag) return true;
      }
      return false;
    };
    do {
      if (last_ == most_) {
        last_ = 0;
        for (Holder* const other : running) {
          if (other != &holder && is_current(*other)) other->generation = generation_ + 1;
        }
        ++generation_;
        rolled_over = true;
      }
      ++last_;
    } while (is_used(last_));
    holder = {last_, generation_};
    return rolled_over;
  }

 private:
  u16 most_;
  u16 last_ = 0;
  u32 generation_ = 1;
};

}  // namespace nestwalk::software
