// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Where coming walks will most likely read, so that the host's caches can be told in time.
//
// Walks at random wait more for the host's memory than for anything else: two entries of the tables
// of smallest pages, and the sets of the last data cache that these and the data belong to. A walk
// itself knows an entry's address just before it reads it. But who plays a trace knows the address
// of the next access, and which table serves it is in most cases known from an earlier walk. All of
// this is a guess and changes no result.
#pragma once

#include "nestwalk/models/base/table.hpp"
#include "nestwalk/models/translation/regime.hpp"

namespace nestwalk::models {

/// Who asks for translations, and knows for which it will ask next.
class Upcoming {
 public:
  /// The address that comes after so many others; any, if there is none.
  virtual u64 upcoming(u32 others) const = 0;

 protected:
  Upcoming() = default;
  Upcoming(const Upcoming&) = default;
  Upcoming& operator=(const Upcoming&) = default;
  ~Upcoming() = default;
};

/// The tables of smallest pages of one stage that walks came to last.
class LeafTables {
 public:
  void learn(u64 input, const Geometry& shape, u64 table) {
    const u64 part = input >> shape.shift(1);
    known_[part % kKnown] = {part, table};
  }
  /// Where the entry for an address should be; 0 if no walk came to its table.
  u64 slot(u64 input, const Geometry& shape) const {
    const u64 part = input >> shape.shift(1);
    const Known& known = known_[part % kKnown];
    return known.part == part ? shape.slot(known.table, input, 0) : 0;
  }

 private:
  static constexpr u64 kKnown = 4096;  // of 2 MiB each: 8 GiB
  struct Known {
    u64 part = ~u64{0};
    u64 table = 0;
  };
  Table<Known> known_{kKnown};
};

}  // namespace nestwalk::models
