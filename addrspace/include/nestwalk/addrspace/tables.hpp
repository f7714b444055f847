// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The tree of tables as memory: where an entry lies, reading and writing it, making and freeing
// tables. What an operation does with them is in page_table.hpp.
#pragma once

#include "nestwalk/addrspace/hal.hpp"
#include "nestwalk/addrspace/shortcuts.hpp"

namespace nestwalk::addrspace {

/// What the engine holds of the Hal's frames.
struct Usage {
  u64 tables = 0;       ///< tables, the root included
  u64 table_bytes = 0;  ///< the frames that they take, and one for shortcuts
  u64 owned_bytes = 0;  ///< guest memory that came from the Hal
  friend constexpr bool operator==(const Usage&, const Usage&) = default;
};

/// A part of a tree's input space, in translated bits: [from, to).
struct Span {
  u64 from = 0;
  u64 to = 0;
  constexpr bool empty() const { return from == to; }
};

template <Format F, HalFor<F> H>
class Tables {
 public:
  using Input = typename F::Input;
  using Output = typename F::Output;

  /// Where a descent ended: at an entry that is no pointer to a table.
  struct Position {
    Output slot;
    u64 entry;
    unsigned level;
  };

  Tables(H& hal, const F& format, const Geometry& geometry, Output root, Hva shortcuts)
      : hal_(&hal),
        format_(format),
        geometry_(geometry),
        root_(root),
        input_(geometry.check()),
        unusable_(unusable_bits(geometry)),
        shortcuts_(shortcuts) {
    usage_.tables = 1;
    usage_.table_bytes = (kFrameBytes << geometry_.root_order()) + kFrameBytes;
    tracks_dirty_ = Capabilities(hal.capabilities()).hardware_dirty;
  }

  H& hal() const { return *hal_; }
  const F& format() const { return format_; }
  const Geometry& geometry() const { return geometry_; }
  const Usage& usage() const { return usage_; }
  Output root() const { return root_; }
  const InputCheck& input() const { return input_; }
  bool accepts(Input at) const { return input_.accepts(at.value()); }
  /// The translated bits of an address that is accepted.
  u64 offset(Input at) const {
    // Guest-physical addresses have nothing above them.
    return NestedFormat<F> ? at.value() : input_.translated(at.value());
  }
  unsigned root_level() const { return geometry_.root_level(); }
  bool hardware_tracks_dirty() const { return tracks_dirty_; }

  // Groups of pages that the hardware may hold as one translation.
  void form_groups(bool on) {
    forms_groups_ = on;
    may_have_groups_ = may_have_groups_ || on;
  }
  bool forms_groups() const { return kHasGroups<F> && forms_groups_; }
  bool may_have_groups() const { return kHasGroups<F> && may_have_groups_; }
  static constexpr u64 kGroupPages = u64{1} << kGroupBits<F>;
  static constexpr u64 kGroupBytes = kGroupPages << F::kPageShift;
  /// An entry as if it were in no group.
  static constexpr u64 alone(Output slot, u64 entry, unsigned level) {
    return addrspace::alone<F>(slot.value() / sizeof(u64), entry, level);
  }
  /// Can pages with these bits, made in one operation, be a group? What is not accessible is no
  /// translation, and a log would have to know which of them was written.
  static constexpr bool suits_group(u64 bits) {
    return F::is_valid(bits, 0) && (bits & F::kSoftDirty) == 0;
  }
  bool is_room_for_group(Output slot) const {
    for (u64 n = 0; n < kGroupPages; ++n) {
      if (load(slot + n * sizeof(u64)) != 0) return false;
    }
    return true;
  }
  /// Where nothing is yet. `memory` is aligned as a group is.
  void store_group(Output slot, u64 bits, Output memory) {
    if constexpr (kHasGroups<F>) {
      for (u64 n = 0; n < kGroupPages; ++n) {
        const u64 page = bits | F::address_bits(memory + (n << F::kPageShift));
        store(slot + n * sizeof(u64), F::grouped(page));
      }
    }
  }
  /// Zeroed guest memory for one, which the caller counts.
  Result<Output> new_group_memory(u64 offset) {
    const Result<Output> memory = alloc(kPageOrder + kGroupBits<F>, FrameUse::group(offset));
    if constexpr (!H::kFramesComeZeroed) {
      if (memory) {
        hal_->zero(*memory, kGroupBytes);
        hal_->publish(*memory, kGroupBytes);
      }
    }
    return memory;
  }

  static constexpr unsigned shift(unsigned level) { return F::kPageShift + level * F::kIndexBits; }
  static constexpr u64 size(unsigned level) { return u64{1} << shift(level); }
  static constexpr unsigned order(unsigned level) { return shift(level) - kFrameShift; }
  static constexpr u64 kPageBytes = u64{1} << F::kPageShift;

  u64 load(Output slot) const { return hal_->read_entry(slot); }
  void store(Output slot, u64 entry) { hal_->write_entry(slot, entry); }
  /// Replaces `expected`, whose accessed and dirty bits the hardware may have set meanwhile: then
  /// it fails and `expected` holds the entry as it is now.
  bool replace(Output slot, u64& expected, u64 desired) {
    if (!tracks_dirty_) {
      store(slot, desired);
      return true;
    }
    if (hal_->compare_exchange_entry(slot, expected, desired)) return true;
    expected = load(slot);
    return false;
  }

  Output slot(Output table, u64 offset, unsigned level) const {
    u64 index = offset >> shift(level);
    if (level != root_level()) index &= low_mask(F::kIndexBits);
    return table + index * sizeof(u64);
  }

  static constexpr bool is_pointer(u64 entry, unsigned level) {
    return F::is_valid(entry, level) && F::is_table(entry, level);
  }
  /// Invalid for the hardware; the engine still knows what it pointed to.
  static constexpr u64 parked(u64 entry) { return (entry & ~F::kValid) | F::kMarker; }

  /// Descends to the entry that translates `offset`, or to where the tables end.
  Position find(u64 offset) const {
    const Result<Output> table = page_table(offset);
    return table ? page_position(*table, offset) : descend(offset);
  }
  /// The table of pages for an offset, if it is remembered.
  Result<Output> page_table(u64 offset) const { return shortcuts_.find(offset); }
  Position page_position(Output table, u64 offset) const {
    const Output at = table + page_offset(offset);
    return {at, load(at), 0};
  }
  /// The same, and remembers the way.
  Position find_again(u64 offset) {
    const Result<Output> table = page_table(offset);
    Position found = table ? page_position(*table, offset) : descend(offset);
    if (!table && found.level == 0) remember(offset, page_table_of(found.slot, offset));
    return found;
  }
  void remember(u64 offset, Output page_table) {
    if (root_level() != 0) shortcuts_.remember(offset, page_table);
  }
  /// Before a table that translates a part of the span is unlinked.
  void forget(Span span) { shortcuts_.forget(span.from, span.to); }
  Hva shortcuts_frame() const { return shortcuts_.frame(); }

  Position descend(u64 offset) const {
    unsigned level = root_level();
    Output at = slot(root_, offset, level);
    for (;;) {
      const u64 entry = load(at);
      if (!is_pointer(entry, level)) return {at, entry, level};
      const Output table = F::address(entry, level);
      --level;
      at = table + (offset >> shift(level) & low_mask(F::kIndexBits)) * sizeof(u64);
    }
  }

  /// One of that level, to translate the offset.
  Result<Output> new_table(unsigned level, u64 offset) {
    const u64 start = align_down(offset, size(level + 1));
    const Result<Output> table = alloc_page(FrameUse::table(start, level));
    if (!table) return table;
    if constexpr (!H::kFramesComeZeroed) hal_->zero(*table, kPageBytes);
    ++usage_.tables;
    usage_.table_bytes += kPageBytes;
    return table;
  }
  void free_table(Output table) {
    release(*hal_, table, kPageOrder);
    --usage_.tables;
    usage_.table_bytes -= kPageBytes;
  }

  /// Guest memory for the leaf at `level` that translates from `offset` on, zeroed: a guest never
  /// sees what a frame held before.
  /// The caller counts it with `count_owned` when it is mapped: once for many pages in a loop.
  [[gnu::always_inline]] Result<Output> new_leaf_memory(unsigned level, u64 offset) {
    const FrameUse use = FrameUse::memory(offset, level);
    const Result<Output> memory = level == 0 ? alloc_page(use) : alloc(order(level), use);
    if constexpr (!H::kFramesComeZeroed) {
      if (memory) {
        hal_->zero(*memory, size(level));
        hal_->publish(*memory, size(level));
      }
    }
    return memory;
  }
  void count_owned(u64 bytes) { usage_.owned_bytes += bytes; }

  /// Gives back what a leaf (valid or parked) holds, if it is the engine's.
  void free_leaf_memory(u64 entry, unsigned level) {
    if ((entry & F::kOwned) == 0) return;
    release(*hal_, F::address(entry, level), order(level));
    usage_.owned_bytes -= size(level);
  }

  /// Frees a table that no processor can reach, with all that hangs below it.
  void free_subtree(Output table, unsigned level) {
    const u64 count = geometry_.entries(level);
    if (level == 0) {
      free_pages(table, count);
    } else {
      for (u64 n = 0; n < count; ++n) {
        const u64 entry = load(table + n * sizeof(u64));
        if (entry == 0) continue;
        if (F::is_table(entry, level)) {
          free_subtree(F::address(entry, level), level - 1);
        } else {
          free_leaf_memory(entry, level);
        }
      }
    }
    if (level != root_level()) free_table(table);
  }
  /// Gives back the memory of `count` pages whose entries begin at `slot`.
  void free_pages(Output slot, u64 count) {
    // In a local, as the compiler must assume that what the Hal stores may change a member.
    H& hal = *hal_;
    u64 freed = 0;
    for (u64 n = 0; n < count; ++n) {
      const Output at = slot + n * sizeof(u64);
      const u64 entry = alone(at, hal.read_entry(at), 0);
      if ((entry & F::kOwned) == 0) continue;
      release(hal, F::address(entry, 0), kPageOrder);
      ++freed;
    }
    usage_.owned_bytes -= freed * kPageBytes;
  }

  /// Calls visit(slot, start of what the entry translates, the part of it inside `span`) for each
  /// entry of a table that `span` touches, until it says false.
  template <class Visit>
  bool for_each_slot(Output table, unsigned level, Span span, Visit&& visit) const {
    const u64 step = size(level);
    Output at = slot(table, span.from, level);
    for (u64 start = align_down(span.from, step); start < span.to; start += step) {
      const Span inside{start < span.from ? span.from : start,
                        start + step < span.to ? start + step : span.to};
      if (!visit(at, start, inside)) return false;
      at += sizeof(u64);
    }
    return true;
  }

  /// Are all entries of the table outside `span` empty?
  bool empty_outside(Output table, unsigned level, u64 start, Span span) const {
    const u64 step = size(level);
    const u64 count = geometry_.entries(level);
    const u64 first = (span.from - start) / step;
    const u64 past = (span.to - start + step - 1) / step;
    for (u64 n = past; n < count; ++n) {
      if (load(table + n * sizeof(u64)) != 0) return false;
    }
    for (u64 n = first; n-- != 0;) {
      if (load(table + n * sizeof(u64)) != 0) return false;
    }
    return true;
  }

  /// Can an entry of such a tree hold the address of that run of frames?
  static constexpr bool can_name(const Geometry& shape, Output run, unsigned order) {
    return (run.value() & (unusable_bits(shape) | unaligned_bits(order))) == 0;
  }

 private:
  static constexpr u64 unusable_bits(const Geometry& shape) { return ~low_mask(shape.output_bits); }
  static constexpr u64 unaligned_bits(unsigned order) { return low_mask(kFrameShift + order); }

  static constexpr u64 page_offset(u64 offset) {
    return (offset >> F::kPageShift & low_mask(F::kIndexBits)) * sizeof(u64);
  }
  static Output page_table_of(Output slot, u64 offset) { return slot - page_offset(offset); }

  /// Of a page, and of a table, which is as large.
  static constexpr unsigned kPageOrder = F::kPageShift - kFrameShift;

  // Within the loops over pages. Single frames take the Hal's short way.
  [[gnu::always_inline]] Result<Output> alloc_page(FrameUse use) {
    return usable(kPageOrder == 0 ? hal_->alloc_frame(use) : hal_->alloc_run(kPageOrder, use),
                  kPageOrder);
  }
  Result<Output> alloc(unsigned order, FrameUse use) {
    return usable(hal_->alloc_run(order, use), order);
  }
  [[gnu::always_inline]] Result<Output> usable(Result<Output> run, unsigned order) {
    if (run && (run->value() & (unusable_ | unaligned_bits(order))) != 0) [[unlikely]] {
      return refuse(*run, order);
    }
    return run;
  }
  [[gnu::noinline, gnu::cold]] Error refuse(Output run, unsigned order) {
    release(*hal_, run, order);
    return Error::UnusableFrame;
  }
  static void release(H& hal, Output start, unsigned order) {
    if (order == 0) {
      hal.free_frame(start);
    } else {
      hal.free_run(start, order);
    }
  }

  H* hal_;
  F format_;
  Geometry geometry_;
  Output root_;
  InputCheck input_;
  u64 unusable_;  ///< address bits that an entry does not hold
  Usage usage_;
  Shortcuts<Output, F::kPageShift + F::kIndexBits> shortcuts_;
  bool tracks_dirty_ = false;
  bool forms_groups_ = false;
  bool may_have_groups_ = false;
};

}  // namespace nestwalk::addrspace
