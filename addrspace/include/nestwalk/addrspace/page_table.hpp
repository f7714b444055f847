// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// One tree of translation tables, in any format, over any Hal.
//
// Every operation either succeeds or leaves the tree as it was; tells the Hal once what to
// invalidate; frees frames only afterwards; and gives back tables that became empty. The tree owns
// its tables and those leaves that it filled from the Hal (`map_owned_region`, `populate`).
#pragma once

#include "nestwalk/addrspace/operation/erase.hpp"
#include "nestwalk/addrspace/operation/fill.hpp"
#include "nestwalk/addrspace/operation/path.hpp"
#include "nestwalk/addrspace/operation/rewrite.hpp"

namespace nestwalk::addrspace {

/// How much a fault brings in, where the area and what is mapped already leave room for it.
struct Populate {
  u8 fault_around_order = 0;  ///< 2^n pages, aligned
  u8 largest_level = 0;       ///< whole large leaves, up to this level, before single pages
};

template <Format F, HalFor<F> H>
class PageTable {
 public:
  using Input = typename F::Input;
  using Output = typename F::Output;
  using InputRange = Range<Input>;

  struct Leaf {
    Output address;  ///< of the byte that was asked for
    MappingFlags flags;
    u64 size;  ///< of the leaf
    bool owned;
    bool dirty;
  };

  /// A tree with an empty root. `id` (VMID, VPID, ASID) only names it to the Hal.
  static Result<PageTable> create(H& hal, Geometry geometry, u16 id = 0) {
    return create(hal, geometry, F(Capabilities(hal.capabilities())), id);
  }
  static Result<PageTable> create(H& hal, Geometry geometry, const F& format, u16 id) {
    const Capabilities machine = hal.capabilities();
    if (geometry.page_shift != F::kPageShift || geometry.index_bits != F::kIndexBits ||
        geometry.levels == 0 || geometry.levels > F::kMaxLevels) {
      return Error::UnsupportedGeometry;
    }
    if (geometry.levels > machine.most_levels) return Error::UnsupportedGeometry;
    if (const Result<void> usable = format.supports(geometry); !usable) return usable.error();
    if (id >> format.id_bits() != 0) return Error::OutOfRange;
    geometry.leaf_levels = splittable(geometry.leaf_levels & machine.leaf_levels);
    if (machine.physical_bits < geometry.output_bits) geometry.output_bits = machine.physical_bits;
    const Result<Output> root = alloc_zeroed(hal, geometry, geometry.root_order(),
                                             FrameUse::table(0, geometry.root_level()));
    if (!root) return root.error();
    const Result<Output> shortcuts = alloc_zeroed(hal, geometry, 0, {});
    if (!shortcuts) {
      hal.free_run(*root, geometry.root_order());
      return shortcuts.error();
    }
    return PageTable(Entries(hal, format, geometry, *root, hal.phys_to_virt(*shortcuts)), id);
  }

  PageTable(PageTable&& other) noexcept
      : tables_(other.tables_), tag_(other.tag_), alive_(other.alive_) {
    other.alive_ = false;
  }
  PageTable& operator=(PageTable&&) = delete;
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;
  /// The caller sees to it that no processor uses the tree any more, nor remembers it: fence.hpp,
  /// `emit_retirement`.
  ~PageTable() {
    if (!alive_) return;
    tables_.free_subtree(root(), tables_.root_level());
    hal().free_run(root(), geometry().root_order());
    hal().free_run(hal().virt_to_phys(tables_.shortcuts_frame()), 0);
  }

  Output root() const { return tables_.root(); }
  const Geometry& geometry() const { return tables_.geometry(); }
  const F& format() const { return tables_.format(); }
  const Usage& usage() const { return tables_.usage(); }
  const VmTag& tag() const { return tag_; }
  /// The hardware knows the tree by another number from now on. No processor uses it meanwhile, and
  /// what was translated under the old one is the caller's to remove.
  Result<void> set_id(u16 id) {
    if (id >> format().id_bits() != 0) return Error::OutOfRange;
    tag_ = tag_for(id);
    return {};
  }
  H& hal() const { return tables_.hal(); }
  /// False once the tree was moved away.
  bool alive() const { return alive_; }
  bool hardware_tracks_dirty() const { return tables_.hardware_tracks_dirty(); }
  /// From now on, aligned groups of pages that one operation maps to contiguous, equally aligned
  /// memory tell the hardware that they may be one translation: RISC-V's NAPOT pages (Svnapot),
  /// Arm's contiguous bit. Owned memory is asked for in such runs, and given back page by page.
  /// What changes a part of a group makes pages of all of it first. Off, it changes no group that
  /// is.
  Result<void> form_groups(bool on) {
    if (!on || has_groups(format())) {
      tables_.form_groups(on);
      return {};
    }
    return Error::UnsupportedFeature;
  }
  bool forms_groups() const { return tables_.forms_groups(); }
  static constexpr u64 kPageBytes = u64{1} << F::kPageShift;

  /// What translates this address, as the hardware would find it.
  Result<Leaf> query(Input at) const {
    if (!tables_.accepts(at)) return Error::OutOfRange;
    const Position found = tables_.find(offset(at));
    if (!F::is_valid(found.entry, found.level)) return Error::NotMapped;
    return leaf(found, at);
  }
  Result<Output> translate(Input at) const {
    // Tables of pages are known by heart, mostly: this is the one lookup that must be quick. No
    // shortcut leads from a guest-physical address that is out of range.
    if (!NestedFormat<F> && !tables_.accepts(at)) return Error::OutOfRange;
    const Result<Output> table = tables_.page_table(offset(at));
    if (!table) [[unlikely]]
      return translate_slowly(at);
    const Position found = tables_.page_position(*table, offset(at));
    if (!F::is_valid(found.entry, 0)) return Error::NotMapped;
    return address(found, at);
  }
  /// The raw entry that translates this address, valid, parked or empty, and its level.
  Result<typename Tables<F, H>::Position> entry(Input at) const {
    if (!tables_.accepts(at)) return Error::OutOfRange;
    return tables_.find(offset(at));
  }

  // Single leaves -------------------------------------------------------------------------------

  /// Maps one leaf of exactly `page_bytes`.
  Result<void> map(Input at, Output to, u64 page_bytes, MappingFlags flags) {
    const Result<unsigned> level = level_of(page_bytes);
    if (!level) return level.error();
    if (const Result<void> fine = check_map(at, to, page_bytes, page_bytes, flags); !fine) {
      return fine;
    }
    const Position end = tables_.find(offset(at));
    if (end.entry != 0 || end.level < *level) return Error::AlreadyMapped;
    Path<F, H> path(tables_);
    const Result<Output> slot = path.extend(end, offset(at), *level);
    if (!slot) return slot.error();
    const u64 entry = plain_encoding(flags)(*level) | F::address_bits(to);
    tables_.store(*slot, entry);
    path.link();
    Gather gather(Cause::MapLinear, tag_, at);
    if (F::is_valid(entry, *level)) {
      gather.note(at, page_bytes, Entries::shift(*level), change::kMadeValid);
    }
    hal().invalidate(gather);
    return {};
  }
  /// Unmaps the leaf that holds the address, and says what it was.
  Result<Leaf> unmap(Input at) {
    const Result<Leaf> old = query(at);
    if (!old) return old;
    const Result<void> done = unmap_region(leaf_range(at, *old));
    if (!done) return done.error();
    return old;
  }
  Result<void> protect(Input at, MappingFlags flags) {
    const Result<Leaf> old = query(at);
    if (!old) return old.error();
    return protect_region(leaf_range(at, *old), flags);
  }
  /// Another address, and other flags, for the leaf that holds `at`.
  Result<void> remap(Input at, Output to, MappingFlags flags) {
    const Result<Leaf> old = query(at);
    if (!old) return old.error();
    return remap_region(leaf_range(at, *old), to, flags);
  }

  // Regions -------------------------------------------------------------------------------------

  /// What is wrong with the arguments of a mapping, whatever is mapped already.
  Result<void> check_map(Input at, Output to, u64 size, u64 page_bytes, MappingFlags flags) const {
    const Result<InputRange> from = InputRange::make(at, size);
    if (!from) return from.error();
    const Result<Range<Output>> target = Range<Output>::make(to, size);
    if (!target) return target.error();
    if (!from->is_aligned(page_bytes) || !to.is_aligned(page_bytes)) return Error::Unaligned;
    if (from->empty()) return Error::EmptyRange;
    if (!geometry().accepts(*from)) return Error::OutOfRange;
    if ((target->last().value() & ~low_mask(geometry().output_bits)) != 0) return Error::OutOfRange;
    return format().check(flags);
  }

  /// Maps the range to contiguous memory from `to`, in the largest leaves that fit.
  Result<void> map_region(InputRange range, Output to, MappingFlags flags, u64 note = 0) {
    if (const Result<void> fine = check_map(range.start(), to, range.size(), kPageBytes, flags);
        !fine) {
      return fine;
    }
    return fill(range, LinearSource<F>(to, offset(range.start())), Cause::MapLinear,
                plain_encoding(flags, note));
  }

  /// Maps the range to fresh zeroed memory, in leaves up to `largest_level`.
  Result<void> map_owned_region(InputRange range, MappingFlags flags, unsigned largest_level = 0,
                                u64 note = 0) {
    if (const Result<void> fine = check_range(range); !fine) return fine;
    if (const Result<void> fine = format().check(flags); !fine) return fine;
    if (range.empty()) return Error::EmptyRange;
    return fill(range, OwnedSource<F>(largest_level), Cause::MapAllocated,
                plain_encoding(flags, note));
  }
  /// Unmaps what is mapped in the range; large leaves that reach beyond it are split, which may be
  /// `NoMemory`, as for the next two.
  Result<void> unmap_region(InputRange range) {
    if (const Result<void> fine = check_range(range); !fine) return fine;
    if (range.empty()) return {};
    return take_away(span_of(range), Cause::Unmap, range.start());
  }

  /// Gives what is mapped in the range other flags; holes stay holes. No access at all keeps the
  /// pages, invisible to the guest, until a later protect.
  Result<void> protect_region(InputRange range, MappingFlags flags) {
    if (const Result<void> fine = check_range(range); !fine) return fine;
    if (const Result<void> fine = format().check(flags); !fine) return fine;
    return rewrite(range, Cause::Protect,
                   [&](u64 entry, unsigned level, u64) { return with_flags(entry, level, flags); });
  }

  /// Moves the range, mapped without holes, to contiguous memory from `to`. Leaves keep their
  /// sizes, so `to` must suit the largest; memory of the engine's own cannot be moved.
  Result<void> remap_region(InputRange range, Output to, MappingFlags flags) {
    if (const Result<void> fine = check_map(range.start(), to, range.size(), kPageBytes, flags);
        !fine) {
      return fine;
    }
    const u64 first = offset(range.start());
    const auto move = [&](u64 entry, unsigned level, u64 start) {
      const u64 bits = plain_encoding(flags)(level) | F::address_bits(to + (start - first));
      return bits | (entry & F::kSoftDirty);
    };
    const auto check_moves = [&](auto&& walk) { return check_remap(range, to, walk); };
    return rewrite(range, Cause::Remap, move, check_moves);
  }

  /// Calls visit(start, leaf) for each valid leaf that the range touches, in order.
  template <class Visit>
  void for_each_leaf(InputRange range, Visit&& visit) const {
    if (range.empty() || !geometry().accepts(range)) return;
    const u64 upper = upper_bits(range.start());
    visit_leaves(root(), tables_.root_level(), span_of(range), upper, visit);
  }

 private:
  using Entries = Tables<F, H>;
  using Position = typename Entries::Position;
  using Gather = Invalidation<Input>;
  template <NestedFormat F2, HalFor<F2> H2>
  friend class AddressSpace;

  PageTable(const Entries& tables, u16 id) : tables_(tables), tag_(tag_for(id)) {}

  // A leaf is split into leaves of the next level: above a level without leaves there are none.
  static constexpr u8 splittable(unsigned leaf_levels) {
    const unsigned with_pages = leaf_levels | 1;
    return static_cast<u8>(with_pages & ~(with_pages + 1));
  }
  static bool has_groups([[maybe_unused]] const F& format) {
    if constexpr (kHasGroups<F>) {
      return format.has_groups();
    } else {
      return false;
    }
  }
  static Result<Output> alloc_zeroed(H& hal, const Geometry& shape, unsigned order, FrameUse use) {
    const Result<Output> run = hal.alloc_run(order, use);
    if (!run) return run;
    if (!Entries::can_name(shape, *run, order)) {
      hal.free_run(*run, order);
      return Error::UnusableFrame;
    }
    if constexpr (!H::kFramesComeZeroed) hal.zero(*run, kFrameBytes << order);
    return run;
  }
  VmTag tag_for(u16 id) const {
    if constexpr (NestedFormat<F>) {
      const RootConfig config = format().root_config(root(), geometry(), VmId{id});
      return {config.root_register, config.control_register, id};
    } else {
      return {root().value(), 0, id};
    }
  }

  u64 offset(Input at) const { return tables_.offset(at); }
  u64 upper_bits(Input at) const { return tables_.input().upper(at.value()); }
  Span span_of(InputRange range) const {
    const u64 from = offset(range.start());
    return {from, from + range.size()};
  }
  InputRange leaf_range(Input at, const Leaf& leaf) const {
    return *InputRange::make(at.aligned_down(leaf.size), leaf.size);
  }

  // For an AddressSpace, which has checked the ranges: faults and dirty logging -------------------

  /// The usual fault, quickly: backs one page in a table that is known already. `bits` is an owned
  /// leaf for address 0. False where there is more to it, or no memory.
  [[gnu::always_inline]] bool populate_page(Input at, u64 bits) {
    const u64 wanted = offset(at);
    const Result<Output> table = tables_.page_table(wanted);
    if (!table) return false;
    const Position page = tables_.page_position(*table, wanted);
    if (page.entry != 0) return false;
    const Result<Output> memory = tables_.new_leaf_memory(0, align_down(wanted, kPageBytes));
    if (!memory) return false;
    tables_.count_owned(kPageBytes);
    tables_.store(page.slot, bits | F::address_bits(*memory));
    hal().invalidate(Gather(Cause::Fault, tag_, at, at.aligned_down(kPageBytes), F::kPageShift,
                            change::kMadeValid, true));
    return true;
  }

  /// Backs a page that nothing maps yet with fresh memory, within `area`. True if it did, false
  /// if something is there already.
  template <class Encode>
  Result<bool> populate(Input at, InputRange area, Populate how, const Encode& encode,
                        Invalidation<Input>& gather) {
    const u64 wanted = offset(at);
    const u64 upper = upper_bits(at);
    const Position end = tables_.find_again(wanted);
    if (end.entry != 0) return false;
    const Span room = span_of(area);
    for (unsigned level = how.largest_level; level != 0; --level) {
      const u64 start = align_down(wanted, Entries::size(level));
      const bool fits = level <= end.level && geometry().may_be_leaf(level) && start >= room.from &&
                        room.to - start >= Entries::size(level);
      if (fits && put_owned(end, start, level, upper, encode, gather)) return true;
    }
    if (tables_.forms_groups() && how.fault_around_order >= kGroupBits<F> &&
        put_group(end, wanted, room, upper, encode, gather)) {
      return true;
    }
    const u64 page = align_down(wanted, kPageBytes);
    const Result<void> done = put_owned(end, page, 0, upper, encode, gather);
    if (!done) return done.error();
    if (how.fault_around_order != 0) {
      put_around(page, how.fault_around_order, room, upper, encode, gather);
    }
    return true;
  }

  /// Applies transform(entry, level, offset) to the leaves of a range, and leaves the invalidation
  /// to the caller. No leaf may need to be split or broken for it.
  template <class Transform>
  void edit_leaves(InputRange range, Transform&& transform, Invalidation<Input>& gather) {
    if (range.empty()) return;
    Splits<F, H> none(tables_);
    Rewrite<F, H, Transform> pass(tables_, none, upper_bits(range.start()), transform);
    pass.run(span_of(range), gather);
  }

  /// Applies a transform to the leaves of a range, splitting those that reach beyond it.
  template <class Transform>
  Result<void> rewrite(InputRange range, Cause cause, Transform&& transform) {
    return rewrite(range, cause, transform, [](auto&&) { return Result<void>(); });
  }

  /// The entry with other flags; keeps what else software and hardware noted in it.
  u64 with_flags(u64 entry, unsigned level, MappingFlags flags) const {
    u64 next = format().leaf(F::address(entry, level), flags, level);
    if (tables_.hardware_tracks_dirty()) {
      next = F::is_dirty(entry) ? F::dirtied(next) : F::cleaned(next);
      next = (next & ~F::kAccessed) | (entry & F::kAccessed);
    }
    next |= entry & (F::kOwned | F::kSoftDirty);
    return (flags.access & kRwx).empty() ? Entries::parked(next) : next;
  }

  /// Makes leaves for address 0, with software bits besides.
  auto plain_encoding(MappingFlags flags, u64 note = 0) const {
    return [this, flags, note](unsigned level) {
      const u64 bits = format().leaf(Output(0), flags, level) | note;
      return (flags.access & kRwx).empty() ? Entries::parked(bits) : bits;
    };
  }

  // Checks --------------------------------------------------------------------------------------

  Result<void> check_range(InputRange range) const {
    if (!range.is_aligned(kPageBytes)) return Error::Unaligned;
    if (!geometry().accepts(range)) return Error::OutOfRange;
    return {};
  }
  Result<unsigned> level_of(u64 page_bytes) const {
    for (unsigned level = 0; level < geometry().levels; ++level) {
      if (page_bytes == Entries::size(level) && geometry().may_be_leaf(level)) return level;
    }
    return Error::UnsupportedGeometry;
  }
  template <class Walk>
  Result<void> check_remap(InputRange range, Output to, Walk&& walk) const {
    const u64 first = offset(range.start());
    u64 found = 0;
    Result<void> fine;
    walk([&](u64 entry, unsigned level, u64 start) {
      if (F::is_valid(entry, level)) found += Entries::size(level);
      if ((entry & F::kOwned) != 0) fine = Error::MappedDifferently;
      if (!(to + (start - first)).is_aligned(Entries::size(level))) fine = Error::Unaligned;
      return entry;
    });
    if (!fine) return fine;
    return found == range.size() ? Result<void>() : Result<void>(Error::NotMapped);
  }

  // Reading -------------------------------------------------------------------------------------

  [[gnu::noinline]] Result<Output> translate_slowly(Input at) const {
    if (!tables_.accepts(at)) return Error::OutOfRange;
    const Position found = tables_.descend(offset(at));
    if (!F::is_valid(found.entry, found.level)) return Error::NotMapped;
    return address(found, at);
  }
  Output address(const Position& found, Input at) const {
    const u64 entry = Entries::alone(found.slot, found.entry, found.level);
    return F::address(entry, found.level) + at.offset_in(Entries::size(found.level));
  }
  Leaf leaf(const Position& found, Input at) const {
    return {address(found, at), format().flags(found.entry, found.level),
            Entries::size(found.level), (found.entry & F::kOwned) != 0, F::is_dirty(found.entry)};
  }
  template <class Visit>
  void visit_leaves(Output table, unsigned level, Span span, u64 upper, Visit& visit) const {
    tables_.for_each_slot(table, level, span, [&](Output slot, u64 start, Span inside) {
      const u64 entry = tables_.load(slot);
      if (!F::is_valid(entry, level)) return true;
      if (F::is_table(entry, level)) {
        visit_leaves(F::address(entry, level), level - 1, inside, upper, visit);
      } else {
        const Input at(start | upper);
        visit(at, leaf({slot, entry, level}, at));
      }
      return true;
    });
  }

  // Groups of pages -----------------------------------------------------------------------------

  /// A group that is partly inside of the span and partly outside becomes pages.
  void dissolve_across(Span span, Cause cause, Input subject) {
    if (!tables_.may_have_groups()) return;
    const u64 ends[] = {span.from, span.to};
    for (const u64 boundary : ends) {
      const u64 start = align_down(boundary, Entries::kGroupBytes);
      if (start == boundary) continue;
      const Position found = tables_.find(boundary);
      if (!is_of_group<F>(found.entry, found.level)) continue;
      dissolve({start, start + Entries::kGroupBytes}, cause, subject);
    }
  }
  void dissolve_groups(InputRange range, Cause cause) {
    if (tables_.may_have_groups() && !range.empty()) dissolve(span_of(range), cause, range.start());
  }
  void dissolve(Span span, Cause cause, Input subject) {
    // What the first pass parked is made valid again; a page without access stays parked.
    const auto keep = [this](u64 entry, unsigned level, u64) {
      const bool was_broken = F::kBreakBeforeMake && !F::is_valid(entry, level) &&
                              format().flags(entry, level).access.any_of(kRwx);
      return was_broken ? (entry & ~F::kMarker) | F::kValid : entry;
    };
    Splits<F, H> none(tables_);
    Gather gather(cause, tag_, subject);
    Rewrite<F, H, decltype(keep)> pass(tables_, none, upper_bits(subject), keep);
    pass.dissolve_groups();
    pass.run(span, gather);
    if (!gather.empty()) hal().invalidate(gather);
    if (pass.broke_leaves()) {
      make(none, cause, subject, [&](Gather& made) { pass.remake(span, made); });
    }
  }

  // Changing ------------------------------------------------------------------------------------

  template <class Source, class Encode>
  Result<void> fill(InputRange range, Source source, Cause cause, const Encode& encode) {
    Gather gather(cause, tag_, range.start());
    Fill<F, H, Source> fill(tables_, source, upper_bits(range.start()), gather, encode);
    const Span span = span_of(range);
    const Result<void> done = fill.run(span);
    if (!done) {
      const Span mapped{span.from, fill.mapped_until()};
      tables_.forget(span);
      if (!mapped.empty()) (void)take_away(mapped, cause, range.start());  // cuts nothing
      return done;
    }
    hal().invalidate(gather);
    return {};
  }

  Result<void> take_away(Span span, Cause cause, Input subject) {
    dissolve_across(span, cause, subject);
    // (1) Prepare all that can fail.
    Splits<F, H> splits(tables_);
    if (const Result<void> ready = splits.prepare(span); !ready) return ready;
    // (2) Clear.
    Gather gather(cause, tag_, subject);
    const u64 upper = upper_bits(subject);
    note_splits(splits, upper, gather);
    Erase<F, H> erase(tables_, splits, upper, gather);
    erase.condemn(span);
    tables_.forget(span);
    splits.commit();
    // (3) Invalidate.
    if (!gather.empty()) hal().invalidate(gather);
    if (splits.has_links_left()) make(splits, cause, subject, [](Gather&) {});
    // (4) Free.
    erase.release(span);
    return {};
  }

  template <class Transform, class Check>
  Result<void> rewrite(InputRange range, Cause cause, Transform&& transform, Check&& check) {
    if (range.empty()) return {};
    const Span span = span_of(range);
    const u64 upper = upper_bits(range.start());
    dissolve_across(span, cause, range.start());
    // (1) Prepare all that can fail.
    Splits<F, H> splits(tables_);
    if (const Result<void> ready = splits.prepare(span); !ready) return ready;
    const Result<void> fine = check([&](auto&& inspect) {
      Gather unused(cause, tag_, range.start());
      Rewrite<F, H, std::remove_reference_t<decltype(inspect)>> look(tables_, splits, upper,
                                                                     inspect);
      look.run(span, unused);
    });
    if (!fine) {
      splits.abandon();
      return fine;
    }
    // (2) Change, or break where the architecture wants it broken first.
    Gather gather(cause, tag_, range.start());
    note_splits(splits, upper, gather);
    Rewrite<F, H, std::remove_reference_t<Transform>> pass(tables_, splits, upper, transform);
    pass.run(span, gather);
    splits.commit();
    // (3) Invalidate.
    if (!gather.empty()) hal().invalidate(gather);
    // (4) Make what was broken.
    if (splits.has_links_left() || pass.broke_leaves()) {
      make(splits, cause, range.start(), [&](Gather& made) { pass.remake(span, made); });
    }
    return {};
  }

  // The second half of break-before-make: new entries, and a barrier that publishes them.
  template <class Remake>
  void make(Splits<F, H>& splits, Cause cause, Input subject, Remake&& remake) {
    Gather made(cause, tag_, subject);
    splits.note([&](u64 start, u64 cut, unsigned level) {
      made.note(Input(start | upper_bits(subject)), Entries::size(level), Entries::shift(level),
                change::kMadeValid, (cut & F::kOwned) != 0);
    });
    splits.link();
    remake(made);
    hal().invalidate(made);
  }

  void note_splits(const Splits<F, H>& splits, u64 upper, Gather& gather) const {
    splits.note([&](u64 start, u64 cut, unsigned level) {
      gather.note(Input(start | upper), Entries::size(level), Entries::shift(level),
                  change::kResized, (cut & F::kOwned) != 0);
    });
  }

  void put_page(Output slot, Output memory, u64 at, u64 bits, Gather& gather) {
    tables_.store(slot, bits | F::address_bits(memory) | F::kOwned);
    gather.note(Input(at), kPageBytes, F::kPageShift, change::kMadeValid, true);
  }

  template <class Encode>
  Result<void> put_owned(const Position& end, u64 start, unsigned level, u64 upper,
                         const Encode& encode, Gather& gather) {
    Path<F, H> path(tables_);
    const Result<Output> slot = path.extend(end, start, level);
    if (!slot) return slot.error();
    const Result<Output> memory = tables_.new_leaf_memory(level, start);
    if (!memory) return memory.error();
    tables_.count_owned(Entries::size(level));
    tables_.store(*slot, encode(level) | F::address_bits(*memory) | F::kOwned);
    path.link();
    gather.note(Input(start | upper), Entries::size(level), Entries::shift(level),
                change::kMadeValid, true);
    return {};
  }

  // The group that the page belongs to, if nothing of it is there yet.
  template <class Encode>
  bool put_group(const Position& end, u64 wanted, Span room, u64 upper, const Encode& encode,
                 Gather& gather) {
    const u64 start = align_down(wanted, Entries::kGroupBytes);
    const bool fits = start >= room.from && start + Entries::kGroupBytes <= room.to;
    const u64 bits = encode(0) | F::kOwned;
    if (!fits || !Entries::suits_group(bits)) return false;
    Path<F, H> path(tables_);
    const Result<Output> page = path.extend(end, wanted, 0);
    if (!page) return false;
    const Output slot = *page - (wanted - start) / kPageBytes * sizeof(u64);
    if (end.level == 0 && !tables_.is_room_for_group(slot)) return false;
    const Result<Output> memory = tables_.new_group_memory(start);
    if (!memory) return false;
    tables_.count_owned(Entries::kGroupBytes);
    tables_.store_group(slot, bits, *memory);
    path.link();
    gather.note(Input(start | upper), Entries::kGroupBytes, F::kPageShift, change::kMadeValid,
                true);
    return true;
  }

  // Neighbours are a favour: what cannot be had is left for its own fault.
  template <class Encode>
  void put_around(u64 page, unsigned order, Span room, u64 upper, const Encode& encode,
                  Gather& gather) {
    const u64 window = kPageBytes << order;
    const u64 bytes = window < Entries::size(1) ? window : Entries::size(1);
    const u64 start = align_down(page, bytes);
    const u64 from = start < room.from ? room.from : start;
    const u64 to = start + bytes < room.to ? start + bytes : room.to;
    const Output first = tables_.find(page).slot - (page - from) / kPageBytes * sizeof(u64);
    const u64 bits = encode(0);
    for (u64 at = from; at < to; at += kPageBytes) {
      const Output slot = first + (at - from) / kPageBytes * sizeof(u64);
      if (tables_.load(slot) != 0) continue;
      const Result<Output> memory = tables_.new_leaf_memory(0, at);
      if (!memory) return;
      tables_.count_owned(kPageBytes);
      put_page(slot, *memory, at | upper, bits, gather);
    }
  }

  Entries tables_;
  VmTag tag_;
  bool alive_ = true;
};

}  // namespace nestwalk::addrspace
