// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The missing tables on the way to one entry: made in private, linked by one store, or taken back.
#pragma once

#include "nestwalk/addrspace/tables.hpp"

namespace nestwalk::addrspace {

template <Format F, HalFor<F> H>
class Path {
 public:
  using Output = typename F::Output;
  using Entries = Tables<F, H>;

  explicit Path(Entries& tables) : tables_(tables) {}
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;
  ~Path() {
    while (count_ != 0) tables_.free_table(made_[--count_]);
  }

  /// The slot at `level` for `offset`, below the empty entry where the tables end now.
  Result<Output> extend(const typename Entries::Position& end, u64 offset, unsigned level) {
    Output slot = end.slot;
    link_slot_ = slot;
    for (unsigned at = end.level; at > level; --at) {
      const Result<Output> table = tables_.new_table(at - 1, offset);
      if (!table) return table;
      made_[count_++] = *table;
      if (at == end.level) {
        link_ = F::table(*table);
      } else {
        tables_.store(slot, F::table(*table));
      }
      slot = tables_.slot(*table, offset, at - 1);
    }
    return slot;
  }

  /// Makes the new tables reachable; they stay.
  void link() {
    if (count_ != 0) tables_.store(link_slot_, link_);
    count_ = 0;
  }

 private:
  Entries& tables_;
  Output link_slot_{};
  u64 link_ = 0;
  unsigned count_ = 0;
  Output made_[F::kMaxLevels] = {};
};

}  // namespace nestwalk::addrspace
