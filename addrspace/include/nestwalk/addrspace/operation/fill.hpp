// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Mapping a range: one descent per table, the largest leaves that fit.
#pragma once

#include "nestwalk/addrspace/tables.hpp"

namespace nestwalk::addrspace {

/// Memory that lies elsewhere, contiguous: `base` answers to the range's first byte.
template <Format F>
class LinearSource {
 public:
  static constexpr u64 kEntryBits = 0;
  static constexpr bool kOwned = false;
  LinearSource(typename F::Output base, u64 from) : base_(base - from) {}

  /// Can there be a leaf of a level wherever an entry of that level begins?
  template <class Entries>
  bool has_leaves(unsigned level) const {
    return base_.is_aligned(Entries::size(level));
  }
  template <class Entries>
  Result<typename F::Output> take(Entries&, u64 offset, unsigned) const {
    return base_ + offset;
  }
  template <class Entries>
  Result<typename F::Output> take_group(Entries&, u64 offset) const {
    const typename F::Output memory = base_ + offset;
    if (!memory.is_aligned(Entries::kGroupBytes)) return Error::Unaligned;
    return memory;
  }

 private:
  typename F::Output base_;  ///< what would answer to offset 0
};

/// Fresh zeroed memory from the Hal, in leaves up to `largest_level`.
template <Format F>
class OwnedSource {
 public:
  static constexpr u64 kEntryBits = F::kOwned;
  static constexpr bool kOwned = true;
  explicit OwnedSource(unsigned largest_level) : largest_level_(largest_level) {}

  template <class Entries>
  bool has_leaves(unsigned level) const {
    return level <= largest_level_;
  }
  template <class Entries>
  Result<typename F::Output> take(Entries& tables, u64 offset, unsigned level) const {
    return tables.new_leaf_memory(level, offset);
  }
  template <class Entries>
  Result<typename F::Output> take_group(Entries& tables, u64 offset) const {
    return tables.new_group_memory(offset);
  }

 private:
  unsigned largest_level_;
};

template <Format F, HalFor<F> H, class Source>
class Fill {
 public:
  using Input = typename F::Input;
  using Output = typename F::Output;
  using Entries = Tables<F, H>;

  /// `upper` holds the input bits above the translated ones. Leaves become what `encode` makes of
  /// them: encode(flags, level) is a leaf for address 0.
  template <class Encode>
  Fill(Entries& tables, Source source, u64 upper, Invalidation<Input>& invalidation,
       const Encode& encode)
      : tables_(tables), source_(source), upper_(upper), invalidation_(invalidation) {
    for (unsigned level = 0; level < F::kMaxLevels; ++level) {
      if (tables.geometry().may_be_leaf(level) && source.template has_leaves<Entries>(level)) {
        leaf_bits_[level] = encode(level) | Source::kEntryBits;
      }
    }
  }

  /// On failure, [span.from, mapped_until()) is mapped and wants to be taken back.
  Result<void> run(Span span) {
    mapped_until_ = span.from;
    return fill(tables_.root(), tables_.root_level(), span, Table::Old);
  }
  u64 mapped_until() const { return mapped_until_; }

 private:
  enum class Table : bool { Old, New };  // a new one has nothing but empty entries

  // Leaves where they fit, what is smaller below them.
  Result<void> fill(Output table, unsigned level, Span span, Table age) {
    const u64 step = Entries::size(level);
    Output slot = tables_.slot(table, span.from, level);
    for (u64 at = span.from; at < span.to;) {
      const u64 put = level == 0 ? put_pages(slot, {at, span.to}, age)
                                 : put_leaves<false>(slot, level, {at, span.to}, age);
      note(at, put, level);
      if (put == span.to) break;
      slot += (put - at) / step * sizeof(u64);
      at = align_down(put, step) + step;
      if (at > span.to) at = span.to;
      const Result<void> done = fill_below(slot, level, {put, at});
      if (!done) return done;
      slot += sizeof(u64);
    }
    if (level == 0) tables_.remember(span.from, table);
    return {};
  }

  u64 put_pages(Output slot, Span span, Table age) {
    if (tables_.forms_groups() && Entries::suits_group(leaf_bits_[0])) [[unlikely]]
      return put_groups(slot, span, age);
    return put_leaves<true>(slot, 0, span, age);
  }

  // Whole groups where they fit, and there is room and memory for them; pages elsewhere.
  [[gnu::noinline]] u64 put_groups(Output slot, Span span, Table age) {
    constexpr u64 kGroup = Entries::kGroupBytes;
    u64 at = span.from;
    while (at < span.to) {
      u64 end = align_down(at, kGroup) + kGroup;
      if (end > span.to) end = span.to;
      const bool is_whole = end - at == kGroup;
      if (!is_whole || !put_group(slot, at, age)) {
        const u64 put = put_leaves<true>(slot, 0, {at, end}, age);
        if (put != end) return put;
      }
      slot += (end - at) / Entries::size(0) * sizeof(u64);
      at = end;
    }
    return at;
  }
  bool put_group(Output slot, u64 at, Table age) {
    if (age == Table::Old && !tables_.is_room_for_group(slot)) return false;
    const Result<Output> memory = source_.take_group(tables_, at);
    if (memory) tables_.store_group(slot, leaf_bits_[0], *memory);
    return memory.ok();
  }

  // Puts leaves side by side as long as that is possible, and says where it ends. Nearly all the
  // work is in this loop: above all for pages, it keeps what it needs in registers.
  template <bool kPages>
  [[gnu::noinline]] u64 put_leaves(Output slot, unsigned table_level, Span span, Table age) {
    const unsigned level = kPages ? 0 : table_level;
    const u64 step = Entries::size(level);
    const u64 leaf_bits = leaf_bits_[level];
    u64 at = span.from;
    if (leaf_bits == 0 || !is_aligned(at, step)) return at;
    for (const u64 end = align_down(span.to, step); at < end; at += step, slot += sizeof(u64)) {
      if (age == Table::Old && tables_.load(slot) != 0) {
        refusal_ = Error::AlreadyMapped;
        break;
      }
      const Result<Output> memory = source_.take(tables_, at, level);
      if (!memory) {
        refusal_ = memory.error();
        break;
      }
      tables_.store(slot, leaf_bits | F::address_bits(*memory));
    }
    return at;
  }

  Result<void> fill_below(Output slot, unsigned level, Span inside) {
    if (level == 0) return refusal_;
    const u64 entry = tables_.load(slot);
    if (entry == 0) return fill_new_table(slot, level, inside);
    if (!F::is_table(entry, level)) return Error::AlreadyMapped;
    return fill(F::address(entry, level), level - 1, inside, Table::Old);
  }

  // The table is linked when it is full, so that nobody sees half of it.
  Result<void> fill_new_table(Output slot, unsigned level, Span inside) {
    const Result<Output> table = tables_.new_table(level - 1, inside.from);
    if (!table) return table.error();
    const Result<void> done = fill(*table, level - 1, inside, Table::New);
    if (!done) {
      tables_.free_subtree(*table, level - 1);
      mapped_until_ = inside.from;
      return done;
    }
    tables_.store(slot, F::table(*table));
    return {};
  }

  void note(u64 from, u64 to, unsigned level) {
    mapped_until_ = to;
    if constexpr (Source::kOwned) tables_.count_owned(to - from);
    if (from == to || !F::is_valid(leaf_bits_[level], level)) return;  // no access: still invisible
    invalidation_.note(Input(from | upper_), to - from, Entries::shift(level), change::kMadeValid,
                       Source::kOwned);
  }

  Entries& tables_;
  Source source_;
  u64 upper_;
  Invalidation<Input>& invalidation_;
  u64 mapped_until_ = 0;
  Error refusal_{};  ///< why a page could not be put
  u64 leaf_bits_[F::kMaxLevels] =
      {};  ///< 0 where the level may hold no leaf, or the source has none
};

}  // namespace nestwalk::addrspace
