// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Splitting large leaves that an operation touches only in part.
//
// An operation on [from, to) can cut at most two leaves (or one leaf twice). The smaller leaves are
// built in private tables first, the operation works on those, and one store per cut leaf then
// links them: until that store nothing has changed for the hardware, so running out of memory
// leaves no trace. Where break-before-make rules, the large leaf is invalid between the break and
// the link; elsewhere the link replaces it directly.
#pragma once

#include "nestwalk/addrspace/tables.hpp"

namespace nestwalk::addrspace {

template <Format F, HalFor<F> H>
class Splits {
 public:
  using Output = typename F::Output;
  using Entries = Tables<F, H>;

  explicit Splits(Entries& tables) : tables_(tables) {}
  Splits(const Splits&) = delete;
  Splits& operator=(const Splits&) = delete;

  /// Sees to it that no leaf reaches across either end of the span. On failure nothing is left.
  Result<void> prepare(Span span) {
    Result<void> done = cut(span.from);
    if (done) done = cut(span.to);
    if (!done) abandon();
    return done;
  }

  /// Gives the private tables back, as if nothing had been prepared.
  void abandon() {
    for (unsigned n = 0; n < count_; ++n) {
      free_parts(F::address(pending_[n].link, pending_[n].level), pending_[n].level - 1);
    }
    count_ = 0;
  }

  /// An entry as it will be once the splits are linked.
  u64 load(Output slot) const {
    for (unsigned n = 0; n < count_; ++n) {
      if (pending_[n].slot == slot) return pending_[n].link;
    }
    return tables_.load(slot);
  }

  /// Calls note(start, leaf, level) for each valid leaf that is cut.
  template <class Note>
  void note(Note&& note) const {
    for (unsigned n = 0; n < count_; ++n) {
      const Pending& cut = pending_[n];
      if (F::is_valid(cut.leaf, cut.level)) note(cut.start, cut.leaf, cut.level);
    }
  }

  /// Before the invalidation: links the tables, or takes the large leaves out.
  void commit() {
    for (unsigned n = 0; n < count_; ++n) {
      Pending& cut = pending_[n];
      const bool live = F::is_valid(cut.leaf, cut.level);
      for (;;) {
        const u64 next = F::kBreakBeforeMake && live ? Entries::parked(cut.leaf) : cut.link;
        const u64 before = cut.leaf;
        if (tables_.replace(cut.slot, cut.leaf, next)) break;
        if (F::is_dirty(cut.leaf) && !F::is_dirty(before)) mark_parts_dirty(cut);
      }
    }
  }

  /// After the invalidation, where break-before-make kept the tables back.
  bool has_links_left() const { return F::kBreakBeforeMake && count_ != 0; }
  void link() {
    for (unsigned n = 0; n < count_; ++n) tables_.store(pending_[n].slot, pending_[n].link);
  }

 private:
  struct Pending {
    Output slot;
    u64 start;
    u64 leaf;  ///< the large leaf, valid or parked
    u64 link;  ///< the table entry that takes its place
    unsigned level;
  };

  Result<void> cut(u64 boundary) {
    if (boundary >> tables_.geometry().input_bits != 0) return {};  // the end of the input space
    Output table = tables_.root();
    bool is_private = false;
    for (unsigned level = tables_.root_level();; --level) {
      const Output slot = tables_.slot(table, boundary, level);
      u64 entry = load(slot);
      if (entry == 0 || is_aligned(boundary, Entries::size(level))) return {};
      is_private = is_private || is_pending(slot);
      if (!F::is_table(entry, level)) {
        const Result<Output> parts = make_parts(entry, level, boundary);
        if (!parts) return parts.error();
        const u64 link = F::table(*parts);
        if (is_private) {
          tables_.store(slot, link);
        } else {
          pending_[count_++] = {slot, align_down(boundary, Entries::size(level)), entry, link,
                                level};
          is_private = true;
        }
        entry = link;
      }
      table = F::address(entry, level);
    }
  }

  Result<Output> make_parts(u64 leaf, unsigned level, u64 offset) {
    const Result<Output> table = tables_.new_table(level - 1, offset);
    if (!table) return table;
    const u64 count = u64{1} << F::kIndexBits;
    for (u64 n = 0; n < count; ++n) tables_.store(*table + n * sizeof(u64), part(leaf, level, n));
    return table;
  }

  u64 part(u64 leaf, unsigned level, u64 n) const {
    const Output address = F::address(leaf, level) + n * Entries::size(level - 1);
    u64 entry = tables_.format().leaf(address, tables_.format().flags(leaf, level), level - 1);
    entry = F::is_dirty(leaf) ? F::dirtied(entry) : F::cleaned(entry);
    if (!F::is_valid(leaf, level)) entry = Entries::parked(entry);
    return entry | (leaf & (F::kOwned | F::kSoftDirty));
  }

  // The hardware recorded a write while the parts were made.
  void mark_parts_dirty(const Pending& cut) {
    mark_table_dirty(F::address(cut.link, cut.level), cut.level - 1);
  }
  void mark_table_dirty(Output table, unsigned level) {
    const u64 count = u64{1} << F::kIndexBits;
    for (u64 n = 0; n < count; ++n) {
      const Output slot = table + n * sizeof(u64);
      const u64 entry = tables_.load(slot);
      if (F::is_table(entry, level)) {
        mark_table_dirty(F::address(entry, level), level - 1);
      } else if (entry != 0) {
        tables_.store(slot, entry | F::kSoftDirty);
      }
    }
  }

  bool is_pending(Output slot) const {
    for (unsigned n = 0; n < count_; ++n) {
      if (pending_[n].slot == slot) return true;
    }
    return false;
  }

  // Only the tables: the memory still belongs to the large leaf.
  void free_parts(Output table, unsigned level) {
    const u64 count = u64{1} << F::kIndexBits;
    for (u64 n = 0; n < count && level != 0; ++n) {
      const u64 entry = tables_.load(table + n * sizeof(u64));
      if (F::is_table(entry, level)) free_parts(F::address(entry, level), level - 1);
    }
    tables_.free_table(table);
  }

  Entries& tables_;
  Pending pending_[2] = {};
  unsigned count_ = 0;
};

}  // namespace nestwalk::addrspace
