// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Changing leaves in place: other permissions, memory type, address, dirty state.
//
// `transform(entry, level, offset)` says what a leaf (valid or parked) becomes. Where a change
// needs break-before-make, the first pass parks the leaf and the second, after the invalidation,
// makes it anew; a transform must therefore give the same result for a parked leaf as for a valid
// one, and leave a parked leaf alone that it made itself.
//
// A transform is told of a page of a group as if it were alone, and what it changes is in no group
// any more. Where break-before-make rules, that needs it, too (Arm ARM D8, "Using break-before-make
// when updating translation table entries": a change of the Contiguous bit). Elsewhere either may
// be cached until the invalidation, as of a large leaf that is split: they translate alike.
#pragma once

#include "nestwalk/addrspace/splits.hpp"

namespace nestwalk::addrspace {

template <Format F, HalFor<F> H, class Transform>
class Rewrite {
 public:
  using Input = typename F::Input;
  using Output = typename F::Output;
  using Entries = Tables<F, H>;

  Rewrite(Entries& tables, const Splits<F, H>& splits, u64 upper, Transform& transform)
      : tables_(tables), splits_(splits), upper_(upper), transform_(transform) {}

  void run(Span span, Invalidation<Input>& invalidation) {
    walk(tables_.root(), tables_.root_level(), span, invalidation);
  }
  /// Groups become pages, whatever the transform says.
  void dissolve_groups() { dissolves_ = true; }
  /// Did the first pass leave leaves to be made anew?
  bool broke_leaves() const { return broke_leaves_; }
  /// The second pass. What is valid is as it should be.
  void remake(Span span, Invalidation<Input>& invalidation) {
    remaking_ = true;
    run(span, invalidation);
  }

 private:
  void walk(Output table, unsigned level, Span span, Invalidation<Input>& invalidation) {
    tables_.for_each_slot(table, level, span, [&](Output slot, u64 start, Span inside) {
      const u64 entry = splits_.load(slot);
      if (entry == 0) return true;
      if (F::is_table(entry, level)) {
        walk(F::address(entry, level), level - 1, inside, invalidation);
      } else {
        edit(slot, entry, level, start, invalidation);
      }
      return true;
    });
  }

  void edit(Output slot, u64 entry, unsigned level, u64 start, Invalidation<Input>& invalidation) {
    if (remaking_ && F::is_valid(entry, level)) return;
    for (;;) {
      const u64 page = Entries::alone(slot, entry, level);
      const u64 next = transform_(page, level, start);
      const bool was_grouped = page != entry;
      if (next == page && !(was_grouped && dissolves_)) return;
      Changes changes = classify(page, next, level);
      if (was_grouped) changes = changes | change::kResized;
      const bool broken =
          F::kBreakBeforeMake &&
          (changes.any_of(change::kMoved | change::kMemoryType | change::kMadeGlobal) ||
           (was_grouped && F::is_valid(next, level)));
      const bool owned = (entry & F::kOwned) != 0;
      if (!tables_.replace(slot, entry, broken ? Entries::parked(page) : next)) continue;
      broke_leaves_ = broke_leaves_ || broken;
      if (!changes.empty()) {
        invalidation.note(Input(start | upper_), Entries::size(level), Entries::shift(level),
                          changes, owned);
      }
      return;
    }
  }

  Changes classify(u64 before, u64 after, unsigned level) const {
    const bool was_valid = F::is_valid(before, level);
    const bool is_valid = F::is_valid(after, level);
    if (!was_valid) return is_valid ? change::kMadeValid : change::kNone;
    if (!is_valid) return change::kUnmapped;
    Changes found;
    const MappingFlags old_flags = tables_.format().flags(before, level);
    const MappingFlags new_flags = tables_.format().flags(after, level);
    const Access lost = old_flags.access.without(new_flags.access);
    const Access gained = new_flags.access.without(old_flags.access);
    if (F::address(before, level) != F::address(after, level)) found = found | change::kMoved;
    if (old_flags.memory != new_flags.memory) found = found | change::kMemoryType;
    if (!lost.empty()) found = found | change::kLessPermission;
    if (!gained.without(kGlobal).empty()) found = found | change::kMorePermission;
    if (gained.has(kGlobal)) found = found | change::kMadeGlobal;
    if (F::is_dirty(before) && !F::is_dirty(after)) found = found | change::kCleaned;
    return found;
  }

  Entries& tables_;
  const Splits<F, H>& splits_;
  u64 upper_;
  Transform& transform_;
  bool broke_leaves_ = false;
  bool remaking_ = false;
  bool dissolves_ = false;
};

}  // namespace nestwalk::addrspace
