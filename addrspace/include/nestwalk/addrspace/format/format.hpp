// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a table format must provide: how one 8-byte entry is encoded and decoded.
//
// Every architecture leaves all bits of an invalid entry but the valid ones to software. The engine
// uses that: an entry that is `parked` is invalid for the hardware and still tells the engine what
// it pointed to, until no processor can hold it any more (between clear and free), or until a
// later protect makes the page accessible again. Three bits are the engine's own: `kOwned` (the
// frame came from the Hal and goes back to it), `kSoftDirty` (written since the last harvest, kept
// when the write permission goes) and `kMarker` (set only in parked entries, so that none is 0).
#pragma once

#include <concepts>

#include "nestwalk/addrspace/capabilities.hpp"
#include "nestwalk/addrspace/flags.hpp"
#include "nestwalk/addrspace/geometry.hpp"

namespace nestwalk::addrspace {

template <class F>
concept Format = requires(const F format, u64 entry, unsigned level, typename F::Output output,
                          MappingFlags flags, const Geometry& geometry) {
  typename F::Input;
  typename F::Output;
  { F::kArchitecture } -> std::convertible_to<Architecture>;
  { F::kPageShift } -> std::convertible_to<unsigned>;
  { F::kIndexBits } -> std::convertible_to<unsigned>;
  { F::kMaxLevels } -> std::convertible_to<unsigned>;
  // A valid entry may not be replaced by another translation in one store (Arm's
  // break-before-make).
  { F::kBreakBeforeMake } -> std::convertible_to<bool>;
  // What a table entry does not permit, nothing below it does.
  { F::kTablesLimit } -> std::convertible_to<bool>;
  { F::kValid } -> std::convertible_to<u64>;
  { F::kAccessed } -> std::convertible_to<u64>;
  { F::kOwned } -> std::convertible_to<u64>;
  { F::kSoftDirty } -> std::convertible_to<u64>;
  { F::kMarker } -> std::convertible_to<u64>;

  requires std::constructible_from<F, const Capabilities&>;
  /// Can this machine use that shape?
  { format.supports(geometry) } -> std::same_as<Result<void>>;
  /// The bits of a VMID, VPID, ASID or PCID.
  { format.id_bits() } -> std::convertible_to<unsigned>;
  /// Can these flags be encoded? No access at all is legal: such a page is parked.
  { format.check(flags) } -> std::same_as<Result<void>>;

  { format.leaf(output, flags, level) } -> std::same_as<u64>;
  /// The part of `leaf` that depends on the address: leaf(a, f, l) == leaf(0, f, l) | this.
  { F::address_bits(output) } -> std::same_as<u64>;
  { F::table(output) } -> std::same_as<u64>;

  /// Does the hardware take the entry for a translation or a table?
  { F::is_valid(entry, level) } -> std::same_as<bool>;
  /// Is it a pointer to a table? Holds for parked entries, too.
  { F::is_table(entry, level) } -> std::same_as<bool>;
  { F::address(entry, level) } -> std::same_as<typename F::Output>;
  { format.flags(entry, level) } -> std::same_as<MappingFlags>;
  /// Does the hardware refuse a valid entry as malformed (misconfiguration, reserved bit set)?
  { format.malformed(entry, level) } -> std::same_as<bool>;

  { F::is_writable(entry) } -> std::same_as<bool>;
  { F::without_write(entry) } -> std::same_as<u64>;
  { F::is_dirty(entry) } -> std::same_as<bool>;
  /// A writable leaf whose next write the hardware will record.
  { F::cleaned(entry) } -> std::same_as<u64>;
  /// The opposite, for an entry that stands for a part of a dirty one. Never permits a write.
  { F::dirtied(entry) } -> std::same_as<u64>;
};

/// A format of nested tables: what the hypervisor builds. `F::Extension` is the virtualization
/// extension whose tables they are: what to fence them with is in extension/.
template <class F>
concept NestedFormat = Format<F> && std::same_as<typename F::Input, Gpa> &&
    std::same_as<typename F::Output, Hpa> && requires {
  typename F::Extension;
};

/// What a nested table's root register needs besides the root.
struct VmId {
  u16 vmid = 0;  ///< VMID, VPID or ASID
};

/// What the hardware must be given for an address space.
struct RootConfig {
  u64 root_register = 0;     ///< EPTP, nCR3, VTTBR_EL2 or hgatp
  u64 control_register = 0;  ///< VTCR_EL2; AMD: ASID of the VMCB; 0 where there is none
};

/// log2 of how many leaves, this one included, it says make one translation: RISC-V's NAPOT pages,
/// Arm's contiguous bit.
template <Format F>
constexpr unsigned neighbours([[maybe_unused]] u64 leaf, [[maybe_unused]] unsigned level) {
  if constexpr (requires { F::neighbours(leaf, level); }) {
    return F::neighbours(leaf, level);
  } else {
    return 0;
  }
}
/// The entry as a walk reads it at this place of its table.
template <Format F>
constexpr u64 entry_at([[maybe_unused]] u64 index, u64 entry) {
  if constexpr (requires { F::entry_at(index, entry); }) {
    return F::entry_at(index, entry);
  } else {
    return entry;
  }
}

// Groups of pages. The engine writes them if it is told to (`PageTable::form_groups`), of pages
// alone: `F::kGroup` is the bit that says so.
template <class F>
inline constexpr bool kHasGroups = requires {
  F::kGroup;
};
/// log2 of the pages of a group.
template <Format F>
inline constexpr unsigned kGroupBits = [] {
  if constexpr (kHasGroups<F>) {
    return F::neighbours(F::kGroup, 0);
  } else {
    return 0u;
  }
}();
template <Format F>
constexpr bool is_of_group([[maybe_unused]] u64 entry, [[maybe_unused]] unsigned level) {
  if constexpr (kHasGroups<F>) {
    return level == 0 && (entry & F::kGroup) != 0;
  } else {
    return false;
  }
}
/// What the entry at this place of its table is without its group: a page for itself.
template <Format F>
constexpr u64 alone(u64 index, u64 entry, unsigned level) {
  if constexpr (kHasGroups<F>) {
    return is_of_group<F>(entry, level) ? entry_at<F>(index, entry) & ~F::kGroup : entry;
  } else {
    return entry;
  }
}

namespace detail {
constexpr u64 bits(unsigned high, unsigned low) { return low_mask(high + 1) & ~low_mask(low); }
constexpr u64 bit(unsigned n) { return u64{1} << n; }

/// Is a shape one that the format itself makes, or the same with fewer leaf levels or output bits?
constexpr Result<void> is_within(Geometry shape, const Result<Geometry>& own) {
  if (!own || (shape.leaf_levels & ~own->leaf_levels) != 0) return Error::UnsupportedGeometry;
  if (shape.output_bits > own->output_bits) return Error::UnsupportedGeometry;
  shape.leaf_levels = own->leaf_levels;
  shape.output_bits = own->output_bits;
  return shape == *own ? Result<void>() : Result<void>(Error::UnsupportedGeometry);
}
}  // namespace detail

}  // namespace nestwalk::addrspace
