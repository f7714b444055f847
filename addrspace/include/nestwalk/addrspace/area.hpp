// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What an address space promises for a range: permissions, and where the memory comes from.
#pragma once

#include "nestwalk/addrspace/flags.hpp"

namespace nestwalk::addrspace {

/// Where an area's memory comes from, and when.
struct Backend {
  enum class Kind : u8 {
    Linear,  ///< a given host range, mapped at once
    Eager,   ///< frames from the Hal, mapped at once
    Lazy,    ///< frames from the Hal, mapped when the guest touches them
  };

  Kind kind = Kind::Lazy;
  u8 fault_around_order = 0;  ///< lazy: 2^n pages with each fault
  u8 largest_level = 0;       ///< eager and lazy: large leaves up to this level where they fit
  Hpa base{};                 ///< linear: what the area's first byte maps to

  static constexpr Backend linear(Hpa base) { return {Kind::Linear, 0, 0, base}; }
  static constexpr Backend eager(u8 largest_level = 0) {
    return {Kind::Eager, 0, largest_level, {}};
  }
  static constexpr Backend lazy(u8 fault_around_order = 0, u8 largest_level = 0) {
    return {Kind::Lazy, fault_around_order, largest_level, {}};
  }

  friend constexpr bool operator==(const Backend&, const Backend&) = default;
};

struct Area {
  GpaRange range;
  MappingFlags flags;
  Backend backend;
  /// Promised while a dirty log runs: whoever reads the log has none of its pages yet.
  bool new_to_log = false;

  /// From now on the promise is for a part of the range.
  constexpr void narrow(GpaRange inside) {
    if (backend.kind == Backend::Kind::Linear) backend.base += inside.start() - range.start();
    range = inside;
  }
  /// The same promise for a part of the range.
  constexpr Area part(GpaRange inside) const {
    Area cut = *this;
    cut.narrow(inside);
    return cut;
  }

  /// May `next`, which begins where this ends, be told apart from a part of this?
  constexpr bool joins(const Area& next) const {
    if (range.end() != next.range.start() || flags != next.flags) return false;
    if (new_to_log != next.new_to_log) return false;
    Backend expected = backend;
    if (backend.kind == Backend::Kind::Linear) expected.base = backend.base + range.size();
    return expected == next.backend;
  }

  friend constexpr bool operator==(const Area&, const Area&) = default;
};

}  // namespace nestwalk::addrspace
