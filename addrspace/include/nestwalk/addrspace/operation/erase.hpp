// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Unmapping a range, in the only safe order: clear, invalidate, free.
//
// condemn() makes what lies in the range invalid for the hardware, with one store per table that
// goes as a whole; the condemned entries remember what they pointed to. After the invalidation,
// release() walks them once more and gives frames and tables back.
#pragma once

#include "nestwalk/addrspace/splits.hpp"

namespace nestwalk::addrspace {

template <Format F, HalFor<F> H>
class Erase {
 public:
  using Input = typename F::Input;
  using Output = typename F::Output;
  using Entries = Tables<F, H>;

  Erase(Entries& tables, const Splits<F, H>& splits, u64 upper, Invalidation<Input>& invalidation)
      : tables_(tables), splits_(splits), upper_(upper), invalidation_(invalidation) {}

  void condemn(Span span) { condemn(tables_.root(), tables_.root_level(), span); }
  void release(Span span) { release(tables_.root(), tables_.root_level(), span); }

 private:
  // Beyond so many leaves every policy takes the whole VM, so the exact list is not worth reading
  // every table for.
  static constexpr u64 kExactLeaves = 1024;

  // Says whether nothing lives in the span any more.
  bool condemn(Output table, unsigned level, Span span) {
    bool all_gone = true;
    tables_.for_each_slot(table, level, span, [&](Output slot, u64 start, Span inside) {
      const u64 entry = splits_.load(slot);
      if (entry == 0) return true;
      if (F::is_table(entry, level)) {
        all_gone = condemn_table(slot, entry, level, start, inside) && all_gone;
      } else {
        condemn_leaf(slot, entry, level, start);
      }
      return true;
    });
    return all_gone;
  }

  bool condemn_table(Output slot, u64 entry, unsigned level, u64 start, Span inside) {
    const Output table = F::address(entry, level);
    if (inside.to - inside.from == Entries::size(level)) {
      note_leaves(table, level - 1, start);
    } else if (!condemn(table, level - 1, inside) ||
               !tables_.empty_outside(table, level - 1, start, inside)) {
      return false;
    }
    invalidation_.note_table(Input(start | upper_), Entries::size(level), F::kPageShift);
    tables_.store(slot, Entries::parked(entry));
    return true;
  }

  void condemn_leaf(Output slot, u64 entry, unsigned level, u64 start) {
    if (!F::is_valid(entry, level)) return;  // parked before: invisible already
    note_leaf(entry, level, start);
    tables_.store(slot, Entries::parked(Entries::alone(slot, entry, level)));
  }

  void note_leaves(Output table, unsigned level, u64 start) {
    const u64 count = u64{1} << F::kIndexBits;
    if (invalidation_.leaves() >= kExactLeaves) {
      invalidation_.note_hull(Input(start | upper_), Entries::size(level) * count, F::kPageShift,
                              change::kUnmapped, last_owned_);
      return;
    }
    for (u64 n = 0; n < count; ++n, start += Entries::size(level)) {
      const u64 entry = tables_.load(table + n * sizeof(u64));
      if (!F::is_valid(entry, level)) continue;
      if (F::is_table(entry, level)) {
        note_leaves(F::address(entry, level), level - 1, start);
        // It goes, too, and a walk may be cached down to it.
        invalidation_.note_table(Input(start | upper_), Entries::size(level), F::kPageShift);
      } else {
        note_leaf(entry, level, start);
      }
    }
  }

  void note_leaf(u64 entry, unsigned level, u64 start) {
    last_owned_ = (entry & F::kOwned) != 0;
    invalidation_.note(Input(start | upper_), Entries::size(level), Entries::shift(level),
                       change::kUnmapped, last_owned_);
  }

  void release(Output table, unsigned level, Span span) {
    tables_.for_each_slot(table, level, span, [&](Output slot, u64, Span inside) {
      const u64 entry = tables_.load(slot);
      if (entry == 0) return true;
      if (!F::is_table(entry, level)) {
        tables_.free_leaf_memory(entry, level);
      } else if (F::is_valid(entry, level)) {
        release(F::address(entry, level), level - 1, inside);
        return true;
      } else {
        tables_.free_subtree(F::address(entry, level), level - 1);
      }
      tables_.store(slot, 0);
      return true;
    });
  }

  Entries& tables_;
  const Splits<F, H>& splits_;
  u64 upper_;
  Invalidation<Input>& invalidation_;
  bool last_owned_ = false;
};

}  // namespace nestwalk::addrspace
