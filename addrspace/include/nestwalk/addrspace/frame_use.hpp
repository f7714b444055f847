// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the engine wants a run of frames for. An allocator may ignore it; one that wants neighbours
// of the input space to be neighbours in memory, too, needs it.
#pragma once

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::addrspace {

/// Two registers, by value.
struct FrameUse {
  enum class Kind : u8 {
    Own,     ///< the engine's own notes: areas, shortcuts
    Table,   ///< entries of `level`
    Memory,  ///< behind one leaf of `level`: the guest's
    Group,   ///< behind a group of pages, which may be given back one by one: the guest's
  };

  /// First input address that the frame translates or backs: GPA for stage 2, GVA for guest
  /// tables; bits above the translated ones are zero.
  u64 input = 0;
  Kind kind = Kind::Own;
  u8 level = 0;

  static constexpr FrameUse table(u64 input, unsigned level) {
    return {input, Kind::Table, static_cast<u8>(level)};
  }
  static constexpr FrameUse memory(u64 input, unsigned level) {
    return {input, Kind::Memory, static_cast<u8>(level)};
  }
  static constexpr FrameUse group(u64 input) { return {input, Kind::Group, 0}; }
  friend constexpr bool operator==(const FrameUse&, const FrameUse&) = default;
};
static_assert(sizeof(FrameUse) == 2 * sizeof(u64));

}  // namespace nestwalk::addrspace
