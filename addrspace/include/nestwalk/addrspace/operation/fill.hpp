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
      if (tables.geometry().may_be_leaf(level)) leaf_bits_[level] = encode(level);
    }
  }

  /// On failure, [span.from, mapped_until()) is mapped and wants to be taken back.
  Result<void> run(Span span) {
    mapped_until_ = span.from;
    return fill(tables_.root(), tables_.root_level(), span);
  }
  u64 mapped_until() const { return mapped_until_; }

 private:
  Result<void> fill(Output table, unsigned level, Span span) {
    if (level == 0) return fill_pages(table, span);
    Result<void> done;
    tables_.for_each_slot(table, level, span, [&](Output slot, u64 start, Span inside) {
      done = fill_slot(slot, level, start, inside);
      return done.ok();
    });
    return done;
  }

  Result<void> fill_slot(Output slot, unsigned level, u64 start, Span inside) {
    const u64 entry = tables_.load(slot);
    if (entry == 0) {
      const bool whole = inside.to - inside.from == Entries::size(level);
      if (whole && leaf_bits_[level] != 0 && put_leaf(slot, level, start)) return {};
      return fill_new_table(slot, level, inside);
    }
    if (!F::is_table(entry, level)) return Error::AlreadyMapped;
    return fill(F::address(entry, level), level - 1, inside);
  }

  bool put_leaf(Output slot, unsigned level, u64 start) {
    const Result<Output> memory = source_.take(tables_, start, level);
    if (!memory) return false;  // smaller leaves may do
    tables_.store(slot, leaf_bits_[level] | F::address_bits(*memory) | Source::kEntryBits);
    note(start, Entries::size(level), level);
    mapped_until_ = start + Entries::size(level);
    return true;
  }

  // The table is linked when it is full, so that nobody sees half of it.
  Result<void> fill_new_table(Output slot, unsigned level, Span inside) {
    const Result<Output> table = tables_.new_table();
    if (!table) return table.error();
    const Result<void> done = fill(*table, level - 1, inside);
    if (!done) {
      tables_.free_subtree(*table, level - 1);
      mapped_until_ = inside.from;
      return done;
    }
    tables_.store(slot, F::table(*table));
    return {};
  }

  Result<void> fill_pages(Output table, Span span) {
    Result<void> done;
    const u64 bits = leaf_bits_[0] | Source::kEntryBits;
    Output slot = tables_.slot(table, span.from, 0);
    u64 at = span.from;
    for (; at < span.to; at += Entries::kPageBytes, slot += sizeof(u64)) {
      if (tables_.load(slot) != 0) {
        done = Error::AlreadyMapped;
        break;
      }
      const Result<Output> memory = source_.take(tables_, at, 0);
      if (!memory) {
        done = memory.error();
        break;
      }
      tables_.store(slot, bits | F::address_bits(*memory));
    }
    if (at != span.from) note(span.from, at - span.from, 0);
    mapped_until_ = at;
    tables_.remember(span.from, table);
    return done;
  }

  void note(u64 start, u64 bytes, unsigned level) {
    if (!F::is_valid(leaf_bits_[level], level)) return;  // mapped without access: still invisible
    invalidation_.note(Input(start | upper_), bytes, Entries::shift(level), change::kMadeValid,
                       Source::kEntryBits != 0);
  }

  Entries& tables_;
  Source source_;
  u64 upper_;
  Invalidation<Input>& invalidation_;
  u64 mapped_until_ = 0;
  u64 leaf_bits_[F::kMaxLevels] = {};  ///< 0 where the level may hold no leaf
};

}  // namespace nestwalk::addrspace
