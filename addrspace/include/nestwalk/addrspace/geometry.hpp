// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The shape of a table tree, as data.
//
// Levels count from the leaf end: level 0 holds pages, level `levels - 1` is the root. (RISC-V
// counts like this; x86's PT is 0 and its PML4 is 3; Arm's level n is 3 - n.) Every table is an
// array of 8-byte entries, so a format is described by its page size, the index bits per level,
// and a root that may be wider: Sv39x4 differs from Sv39 by two root bits, a 40-bit AArch64 IPA
// concatenates two tables, and nothing else in the engine knows about either.
#pragma once

#include "nestwalk/addrspace/address.hpp"

namespace nestwalk::addrspace {

enum class Architecture : u8 { X86_64, AArch64, RiscV64 };
const char* to_string(Architecture architecture);

/// Which bits an address must have above the translated ones.
enum class InputRule : u8 {
  Zero,  ///< zero: every guest-physical address; Arm's TTBR0 half
  Sign,  ///< copies of the top translated bit: x86 canonical, Sv39/48/57
  Ones,  ///< one: Arm's TTBR1 half
};

/// The test of an input address, for all rules the same three operations.
class InputCheck {
 public:
  constexpr InputCheck(InputRule rule, unsigned input_bits)
      : upper_(~low_mask(input_bits)),
        // An address that is the sign extension of its low bits becomes, with half the range added,
        // one without upper bits.
        bias_(rule == InputRule::Sign ? u64{1} << (input_bits - 1) : 0),
        expected_(rule == InputRule::Ones ? upper_ : 0) {}

  constexpr bool accepts(u64 input) const { return ((input + bias_) & upper_) == expected_; }
  constexpr u64 translated(u64 input) const { return input & ~upper_; }
  constexpr u64 upper(u64 input) const { return input & upper_; }

 private:
  u64 upper_;
  u64 bias_;
  u64 expected_;
};

struct Geometry {
  u8 page_shift = 12;
  u8 index_bits = 9;
  u8 levels = 4;
  u8 root_index_bits = 9;  ///< of the root, with concatenation or widening
  u8 input_bits = 48;
  u8 output_bits = 52;
  u8 leaf_levels = 0b0111;  ///< bit n: level n may hold leaves
  u8 mode = 0;              ///< how the root register names it; the meaning is the format's
  InputRule rule = InputRule::Zero;

  constexpr unsigned root_level() const { return levels - 1u; }
  constexpr unsigned shift(unsigned level) const { return page_shift + level * index_bits; }
  constexpr u64 page_bytes() const { return u64{1} << page_shift; }
  constexpr u64 leaf_bytes(unsigned level) const { return u64{1} << shift(level); }
  constexpr bool may_be_leaf(unsigned level) const { return (leaf_levels >> level & 1) != 0; }

  constexpr unsigned table_order() const { return page_shift - kFrameShift; }
  constexpr u64 entries(unsigned level) const {
    return u64{1} << (level == root_level() ? root_index_bits : index_bits);
  }
  /// Where the entry for an input address is, in its table of that level.
  constexpr u64 slot(u64 table, u64 input, unsigned level) const {
    return table + (input >> shift(level) & (entries(level) - 1)) * sizeof(u64);
  }
  constexpr u64 root_bytes() const { return u64{8} << root_index_bits; }
  /// The root is aligned to its own size; a root below one frame still takes a frame.
  constexpr unsigned root_order() const {
    const unsigned shift = root_index_bits + 3u;
    return shift <= kFrameShift ? 0 : shift - kFrameShift;
  }

  /// Does the hardware accept this input address at all?
  constexpr bool accepts(u64 input) const { return check().accepts(input); }
  /// Do all addresses of the range lie in the half (or the only part) that the tree serves?
  template <class A>
  constexpr bool accepts(Range<A> range) const {
    if (range.empty()) return accepts(range.start().value());
    return accepts(range.start().value()) && accepts(range.last().value()) &&
           (range.start().value() >> 63) == (range.last().value() >> 63);
  }
  /// The bits of an accepted address that the tables translate.
  constexpr u64 translated(u64 input) const { return check().translated(input); }

  constexpr InputCheck check() const { return InputCheck(rule, input_bits); }

  friend constexpr bool operator==(const Geometry&, const Geometry&) = default;
};

/// From a root to the entry that translates an input address. `follow(slot, level, table)` says
/// whether the entry there leads to another table, and to which; else it is the last one.
template <class Follow>
constexpr void descend(const Geometry& shape, u64 root, u64 input, Follow&& follow) {
  u64 table = root;
  unsigned level = shape.root_level();
  while (follow(shape.slot(table, input, level), level, table) && level != 0) --level;
}

}  // namespace nestwalk::addrspace
