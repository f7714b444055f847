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
  LinearSource(typename F::Output base, u64 from) : base_(base), from_(from) {}

  template <class Entries>
  Result<typename F::Output> take(Entries&, u64 offset, unsigned level) const {
    const typename F::Output at = base_ + (offset - from_);
    if (!at.is_aligned(Entries::size(level))) return Error::Unaligned;
    return at;
  }

 private:
  typename F::Output base_;
  u64 from_;
};

/// Fresh zeroed memory from the Hal, in leaves up to `largest_level`.
template <Format F>
class OwnedSource {
 public:
  static constexpr u64 kEntryBits = F::kOwned;
  static constexpr bool kOwned = true;
  explicit OwnedSource(unsigned largest_level) : largest_level_(largest_level) {}

  template <class Entries>
  Result<typename F::Output> take(Entries& tables, u64, unsigned level) const {
    if (level > largest_level_) return Error::Unaligned;
    return tables.new_leaf_memory(level);
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
      if (tables.geometry().may_be_leaf(level)) {
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

  Result<void> fill(Output table, unsigned level, Span span, Table age) {
    return level == 0 ? fill_pages(table, span, age) : fill_table(table, level, span);
  }

  // Leaves where they fit, what is smaller below them.
  [[gnu::noinline]] Result<void> fill_table(Output table, unsigned level, Span span) {
    const u64 leaf_bits = leaf_bits_[level];
    const u64 step = Entries::size(level);
    Output slot = tables_.slot(table, span.from, level);
    u64 noted = span.from;  // leaves from here on are not noted yet
    u64 next;
    for (u64 at = span.from; at < span.to; at = next, slot += sizeof(u64)) {
      next = align_down(at, step) + step;
      if (next > span.to) next = span.to;
      if (next - at == step && put_leaf(slot, level, at, leaf_bits)) continue;
      note(noted, at, level);
      const Result<void> done = fill_below(slot, level, {at, next});
      if (!done) return done;
      noted = next;
    }
    note(noted, span.to, level);
    return {};
  }

  // Nearly all the work is here, and there is nothing below: one loop, whose state is in registers.
  [[gnu::noinline]] Result<void> fill_pages(Output table, Span span, Table age) {
    const u64 leaf_bits = leaf_bits_[0];
    Output slot = tables_.slot(table, span.from, 0);
    for (u64 at = span.from; at < span.to; at += Entries::kPageBytes, slot += sizeof(u64)) {
      if (age == Table::Old && tables_.load(slot) != 0) {
        return stop(span.from, at, Error::AlreadyMapped);
      }
      const Result<Output> memory = source_.take(tables_, at, 0);
      if (!memory) return stop(span.from, at, memory.error());
      tables_.store(slot, leaf_bits | F::address_bits(*memory));
    }
    note(span.from, span.to, 0);
    tables_.remember(span.from, table);
    return {};
  }
  [[gnu::noinline, gnu::cold]] Result<void> stop(u64 from, u64 at, Error reason) {
    note(from, at, 0);
    return reason;
  }

  bool put_leaf(Output slot, unsigned level, u64 start, u64 leaf_bits) {
    if (leaf_bits == 0 || tables_.load(slot) != 0) return false;
    const Result<Output> memory = source_.take(tables_, start, level);
    if (!memory) return false;  // smaller leaves may do
    tables_.store(slot, leaf_bits | F::address_bits(*memory));
    return true;
  }

  Result<void> fill_below(Output slot, unsigned level, Span inside) {
    const u64 entry = tables_.load(slot);
    if (entry == 0) return fill_new_table(slot, level, inside);
    if (!F::is_table(entry, level)) return Error::AlreadyMapped;
    return fill(F::address(entry, level), level - 1, inside, Table::Old);
  }

  // The table is linked when it is full, so that nobody sees half of it.
  Result<void> fill_new_table(Output slot, unsigned level, Span inside) {
    const Result<Output> table = tables_.new_table();
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
  u64 leaf_bits_[F::kMaxLevels] = {};  ///< 0 where the level may hold no leaf
};

}  // namespace nestwalk::addrspace
