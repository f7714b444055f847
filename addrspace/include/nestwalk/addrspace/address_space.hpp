// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A guest's physical address space: areas, and the nested table that realises them.
//
// Concurrency. The engine takes no locks. Operations that change the space (every member that is
// not const) exclude each other: the caller holds one lock per space. Members that are const may
// run at the same time as each other, and `translate` and `query` also at the same time as
// handle_fault while no dirty log runs, because that only adds: entries are single release stores,
// and a table is linked after it is filled. Everything else excludes readers as well: it takes
// away, or (map_linear, map_alloc) takes back what it did when memory runs out. The guest's
// processors need no exclusion at all: what they may still hold is invalidated before it is freed.
#pragma once

#include "nestwalk/addrspace/area_set.hpp"
#include "nestwalk/addrspace/page_table.hpp"

namespace nestwalk::addrspace {

enum class FaultOutcome : u8 {
  Mapped,         ///< backed now: let the guest retry
  MadeWritable,   ///< a write that the dirty log wanted to see: let the guest retry
  AlreadyMapped,  ///< somebody else was faster, or a stale translation faulted: retry
  NoArea,         ///< nothing is promised there: device emulation, or an error of the guest
  NoPermission,   ///< promised, but not for this access
  NotBacked,      ///< a linear or eager area lost its page: not this engine's doing
  OutOfMemory,    ///< promised, but the Hal has no frame, or none that the tables can name
};
const char* to_string(FaultOutcome outcome);
/// May the guest run on?
constexpr bool resolved(FaultOutcome outcome) { return outcome <= FaultOutcome::AlreadyMapped; }

enum class DirtyTracking : u8 {
  Off,
  WriteProtection,  ///< the first write to a page faults, and is recorded by permitting it
  Hardware,         ///< the walker sets dirty bits: EPT A/D, FEAT_HAFDBS, Svadu
};

/// What the hardware must be told.
struct SpaceConfig {
  Hpa root;
  u64 root_bytes;  ///< its size and alignment
  u8 levels;
  u8 gpa_bits;
  RootConfig registers;
};

/// Contiguous guest memory with one set of flags.
struct MappedRun {
  Gpa gpa;
  Hpa hpa;
  u64 size;
  MappingFlags flags;
};

/// Host memory behind a guest address, as far as it is contiguous in one leaf and one area.
struct Window {
  Hpa address;
  u64 bytes;
};

struct SpaceUsage {
  Usage tables;
  u64 areas = 0;
  u64 area_frames = 0;
  friend constexpr bool operator==(const SpaceUsage&, const SpaceUsage&) = default;
};

template <NestedFormat F, HalFor<F> H>
class AddressSpace {
 public:
  using Table = PageTable<F, H>;

  /// An empty space for the guest-physical addresses of `range`.
  static Result<AddressSpace> create(H& hal, const Geometry& geometry, GpaRange range,
                                     u16 vmid = 0) {
    if (range.empty()) return Error::EmptyRange;
    if (!geometry.accepts(range)) return Error::OutOfRange;
    if (!range.is_aligned(kPageBytes)) return Error::Unaligned;
    Result<Table> table = Table::create(hal, geometry, vmid);
    if (!table) return table.error();
    return AddressSpace(hal, static_cast<Table&&>(*table), range);
  }

  AddressSpace(AddressSpace&&) noexcept = default;
  AddressSpace& operator=(AddressSpace&&) = delete;
  ~AddressSpace() {
    if (table_.alive()) clear();
  }

  GpaRange range() const { return range_; }
  const Table& page_table() const { return table_; }
  SpaceUsage usage() const { return {table_.usage(), areas_.size(), areas_.frames()}; }
  bool contains(Gpa start, u64 size) const {
    const Result<GpaRange> wanted = GpaRange::make(start, size);
    return wanted && range_.contains(*wanted);
  }
  SpaceConfig config() const {
    const Geometry& shape = table_.geometry();
    return {table_.root(), kFrameBytes << shape.root_order(), shape.levels, shape.input_bits,
            table_.format().root_config(table_.root(), shape, VmId{table_.tag().vmid})};
  }
  /// What the hardware's caches know the space by.
  const VmTag& tag() const { return table_.tag(); }
  /// Another VMID, or VPID, while no processor runs the VM: `config()` and `tag()` have it from now
  /// on. Where VMIDs are used again: fence.hpp, `emit_rollover`.
  Result<void> set_vmid(u16 vmid) { return table_.set_id(vmid); }
  static constexpr u64 kPageBytes = Table::kPageBytes;
  /// Groups of pages, which the hardware may hold as one translation: page_table.hpp,
  /// `form_groups`. A lazy area has a group where one fault maps all of it (`fault_around_order`).
  /// The start of a dirty log makes pages of all groups, and while it runs no group is formed.
  Result<void> form_groups(bool on) {
    usual_ = {};
    if (const Result<void> done = table_.form_groups(on); !done) return done;
    forms_groups_ = on;
    if (tracking_ != DirtyTracking::Off) (void)table_.form_groups(false);
    return {};
  }

  // Areas ---------------------------------------------------------------------------------------

  /// Maps [gpa, gpa + size) to the host memory from `hpa`, in the largest leaves that fit.
  Result<void> map_linear(Gpa gpa, Hpa hpa, u64 size, MappingFlags flags) {
    const Result<GpaRange> range = checked_for_map(gpa, size, flags);
    if (!range) return range.error();
    if (const Result<void> fine = table_.check_map(gpa, hpa, size, kPageBytes, flags); !fine) {
      return fine;
    }
    return add({*range, flags, Backend::linear(hpa)},
               [&] { return table_.map_region(*range, hpa, flags, note_for_new_pages(flags)); });
  }

  /// Maps [gpa, gpa + size) to memory from the Hal: now (`Backend::eager`), or when the guest
  /// touches it (`Backend::lazy`), which costs nothing until then.
  Result<void> map_alloc(Gpa gpa, u64 size, MappingFlags flags, Backend backend) {
    const Result<GpaRange> range = checked_for_map(gpa, size, flags);
    if (!range) return range.error();
    if (backend.kind == Backend::Kind::Linear) return Error::UnsupportedFeature;
    if (backend.largest_level >= F::kMaxLevels || backend.fault_around_order > F::kIndexBits) {
      return Error::UnsupportedFeature;
    }
    const bool lazy = backend.kind == Backend::Kind::Lazy;
    const bool new_to_log = lazy && tracking_ != DirtyTracking::Off;
    return add({*range, flags, backend, new_to_log}, [&]() -> Result<void> {
      if (!lazy) {
        return table_.map_owned_region(*range, flags, backend.largest_level,
                                       note_for_new_pages(flags));
      }
      Gather gather(Cause::MapAllocated, table_.tag(), gpa);
      gather.note(gpa, size, F::kPageShift, change::kReserved, true);
      table_.hal().invalidate(gather);
      return {};
    });
  }

  /// Takes away whatever is promised or mapped in the range; areas are cut where they reach beyond.
  /// `NoMemory` where a large leaf or an area would have to be cut and there is no frame for it.
  Result<void> unmap(Gpa gpa, u64 size) {
    const Result<GpaRange> range = checked(gpa, size);
    if (!range) return range.error();
    return change(
        areas_.nodes_to_remove(*range), [&] { return table_.unmap_region(*range); },
        [&] { areas_.remove(*range); });
  }

  /// Other flags for all areas in the range. Without any access the pages stay, out of the guest's
  /// reach. `NoMemory` as for `unmap`.
  Result<void> protect(Gpa gpa, u64 size, MappingFlags flags) {
    const Result<GpaRange> range = checked(gpa, size);
    if (!range) return range.error();
    if (const Result<void> fine = table_.format().check(flags); !fine) return fine;
    const auto reflag = [&](u64 entry, unsigned level, u64 at) {
      return reflagged(*areas_.find_again(Gpa(at)), entry, level, flags);
    };
    return change(
        areas_.nodes_to_set(*range), [&] { return table_.rewrite(*range, Cause::Protect, reflag); },
        [&] { areas_.set_flags(*range, flags); });
  }

  /// Takes everything away; the space stays usable.
  void clear() {
    (void)table_.unmap_region(range_);  // whole areas only: nothing to split, so it cannot fail
    areas_.clear();
    usual_ = {};
    end_tracking();
  }

  const Area* area_at(Gpa gpa) const { return areas_.find(gpa); }
  template <class Visit>
  void for_each_area(Visit&& visit) const {
    areas_.for_each(visit);
  }

  // Faults --------------------------------------------------------------------------------------

  /// A nested page fault of the guest. An address need not be aligned; `kUser` in the access is
  /// ignored, since nested tables serve all privilege levels.
  FaultOutcome handle_fault(Gpa gpa, Access access) {
    if (usual_.range.contains(gpa) && usual_.access.has(access & kRwx) &&
        table_.populate_page(gpa, usual_.bits)) {
      return FaultOutcome::Mapped;
    }
    return handle_any_fault(gpa, access);
  }

  // Looking -------------------------------------------------------------------------------------

  /// What is mapped at an address, as the hardware would find it.
  Result<typename Table::Leaf> query(Gpa gpa) const { return table_.query(gpa); }
  Result<Hpa> translate(Gpa gpa) const { return table_.translate(gpa); }

  /// The host memory behind an address, and for how many bytes that holds. Does not back anything.
  Result<Window> window(Gpa gpa, Access access) const {
    const Area* area = areas_.find(gpa);
    if (area == nullptr) return Error::NotMapped;
    if (!permits(area->flags.access, access)) return Error::InsufficientAccess;
    const Result<typename Table::Leaf> leaf = table_.query(gpa);
    if (!leaf) return leaf.error();
    const u64 in_leaf = leaf->size - gpa.offset_in(leaf->size);
    const u64 in_area = area->range.end() - gpa;
    return Window{leaf->address, in_leaf < in_area ? in_leaf : in_area};
  }
  /// The same for an access on the guest's behalf: backs what is promised and keeps the dirty log.
  Result<Window> open_window(Gpa gpa, Access access) {
    const bool write = access.has(kWrite);
    // A device is not memory: the host must not touch its registers because a guest names them.
    const Area* area = areas_.find(gpa);
    if (area != nullptr && is_device(area->flags.memory)) return Error::InsufficientAccess;
    const Result<typename Table::Leaf> leaf = table_.query(gpa);
    if (!leaf || (write && !leaf->flags.access.has(kWrite))) {
      if (const Result<void> done = fault_in(gpa, access); !done) return done.error();
    }
    const Result<Window> opened = window(gpa, access);
    if (opened && write && tracking_ == DirtyTracking::Hardware) mark_written(gpa);
    return opened;
  }

  /// Calls visit(MappedRun) for what is mapped in a part of the space, in order, joined where
  /// neighbours are contiguous and alike, and cut at the part's ends.
  template <class Visit>
  void for_each_run(GpaRange part, Visit&& visit) const {
    MappedRun run{};
    table_.for_each_leaf(part, [&](Gpa gpa, const typename Table::Leaf& leaf) {
      const GpaRange inside = GpaRange::make(gpa, leaf.size)->intersection(part);
      const Hpa hpa = leaf.address + (inside.start() - gpa);
      const bool extends = run.size != 0 && run.gpa + run.size == inside.start() &&
                           run.hpa + run.size == hpa && run.flags == leaf.flags;
      if (extends) {
        run.size += inside.size();
        return;
      }
      if (run.size != 0) visit(run);
      run = {inside.start(), hpa, inside.size(), leaf.flags};
    });
    if (run.size != 0) visit(run);
  }

  // The dirty log -------------------------------------------------------------------------------

  DirtyTracking dirty_tracking() const { return tracking_; }

  /// From now on, writes are recorded. Everything mapped counts as clean. Devices are left out:
  /// nobody copies their registers. A large leaf that the log had to split stays split.
  Result<void> start_dirty_log(DirtyTracking how) { return start_dirty_log(how, range_); }
  /// The same for a part; the rest is logged, too, and what is mapped there may count as written
  /// until it is harvested.
  Result<void> start_dirty_log(DirtyTracking how, GpaRange part) {
    if (how == DirtyTracking::Off || tracking_ != DirtyTracking::Off) return Error::WrongState;
    if (const Result<void> fine = checked_part(part); !fine) return fine;
    if (how == DirtyTracking::Hardware && !table_.hardware_tracks_dirty()) {
      return Error::UnsupportedFeature;
    }
    usual_ = {};
    table_.dissolve_groups(range_, Cause::DirtyLog);
    (void)table_.form_groups(false);
    tracking_ = how;
    edit_leaves(part,
                [&](const Area& area, u64 entry, unsigned, Gpa) { return as_clean(area, entry); });
    return {};
  }

  /// Calls record(GpaRange) for what was written since the start or the last harvest, and makes it
  /// clean again. A large leaf is reported whole. `record` only takes notes: what the pages hold
  /// may be read once this returns, for until then a processor may still write without leaving a
  /// trace.
  template <class Record>
  Result<void> harvest_dirty_log(GpaRange part, Record&& record) {
    if (tracking_ == DirtyTracking::Off) return Error::WrongState;
    if (const Result<void> fine = checked_part(part); !fine) return fine;
    GpaRange run;
    edit_leaves(part, [&](const Area& area, u64 entry, unsigned level, Gpa gpa) {
      if (!was_written(area, entry)) return entry;
      extend_record(run, *GpaRange::make(gpa, u64{1} << table_.geometry().shift(level)), record);
      return as_clean(area, entry);
    });
    if (!run.empty()) record(run);
    return {};
  }

  /// Writes are no longer recorded, and no longer fault.
  Result<void> stop_dirty_log() { return stop_dirty_log(range_); }
  /// The same where all other parts have been released.
  Result<void> stop_dirty_log(GpaRange part) {
    if (const Result<void> released = release_dirty_log(part); !released) return released;
    end_tracking();
    areas_.forget_log();
    return {};
  }
  /// A step towards the end of the log: writes to a part no longer fault, and whether they are
  /// reported is open.
  Result<void> release_dirty_log(GpaRange part) {
    if (tracking_ == DirtyTracking::Off) return Error::WrongState;
    if (const Result<void> fine = checked_part(part); !fine) return fine;
    const bool protected_writes = tracking_ == DirtyTracking::WriteProtection;
    edit_leaves(part, [&](const Area& area, u64 entry, unsigned level, Gpa) {
      const u64 next = protected_writes ? table_.with_flags(entry, level, area.flags) : entry;
      return next & ~F::kSoftDirty;
    });
    return {};
  }

 private:
  using Gather = Invalidation<Gpa>;

  AddressSpace(H& hal, Table&& table, GpaRange range)
      : range_(range), table_(static_cast<Table&&>(table)), areas_(hal) {}

  // Without any access an area permits nothing, not even a fault that asks for nothing.
  static constexpr bool permits(Access granted, Access wanted) {
    return granted.has(wanted & kRwx) && granted.any_of(kRwx);
  }

  Result<GpaRange> checked(Gpa gpa, u64 size) const {
    const Result<GpaRange> range = GpaRange::make(gpa, size);
    if (!range) return range;
    if (!range_.contains(*range)) return Error::OutOfRange;
    if (!range->is_aligned(kPageBytes)) return Error::Unaligned;
    return range;
  }
  Result<GpaRange> checked_for_map(Gpa gpa, u64 size, MappingFlags flags) const {
    const Result<GpaRange> range = checked(gpa, size);
    if (!range) return range;
    if (range->empty()) return Error::EmptyRange;
    if (const Result<void> fine = table_.format().check(flags); !fine) return fine.error();
    return range;
  }

  /// Nodes first, then the table, then the areas: whatever fails, fails before anything changed.
  template <class InTable, class InAreas>
  Result<void> change(unsigned nodes, InTable&& in_table, InAreas&& in_areas) {
    usual_ = {};
    Result<void> done = areas_.reserve(nodes);
    if (done) done = in_table();
    if (done) in_areas();
    areas_.trim();
    return done;
  }
  template <class InTable>
  Result<void> add(const Area& area, InTable&& in_table) {
    if (areas_.overlaps(area.range)) return Error::AlreadyMapped;
    return change(1, in_table, [&] { areas_.insert(area); });
  }

  void end_tracking() {
    tracking_ = DirtyTracking::Off;
    (void)table_.form_groups(forms_groups_);
  }

  // Faults --------------------------------------------------------------------------------------

  [[gnu::noinline]] FaultOutcome handle_any_fault(Gpa gpa, Access access) {
    const Area* area = areas_.find_again(gpa);
    if (area == nullptr) return FaultOutcome::NoArea;
    if (!permits(area->flags.access, access)) return FaultOutcome::NoPermission;
    if (area->backend.kind != Backend::Kind::Lazy) return handle_present(*area, gpa, access);
    const bool page_by_page = area->backend.fault_around_order == 0;
    if (tracking_ == DirtyTracking::Off && page_by_page && !usual_.range.contains(gpa)) {
      const u64 bits = table_.plain_encoding(area->flags)(0) | F::kOwned;
      usual_ = {area->range, area->flags.access, bits};
      if (table_.populate_page(gpa, bits)) return FaultOutcome::Mapped;
    }
    return handle_missing(*area, gpa, access);
  }

  FaultOutcome handle_missing(const Area& area, Gpa gpa, Access access) {
    Gather gather(Cause::Fault, table_.tag(), gpa);
    const Result<bool> backed = populate(area, gpa, access, gather);
    if (!backed) return FaultOutcome::OutOfMemory;
    if (!*backed) return handle_present(area, gpa, access);
    table_.hal().invalidate(gather);
    return FaultOutcome::Mapped;
  }

  Result<bool> populate(const Area& area, Gpa gpa, Access access, Gather& gather) {
    const u64 note = area.new_to_log ? note_for_new_pages(area.flags) : 0;
    const auto plain = table_.plain_encoding(area.flags, note);
    const Backend& backend = area.backend;
    if (!is_logged(area.flags)) {
      return table_.populate(gpa, area.range, {backend.fault_around_order, backend.largest_level},
                             plain, gather);
    }
    if (tracking_ == DirtyTracking::Hardware) {
      return table_.populate(
          gpa, area.range, {backend.fault_around_order, backend.largest_level},
          [&](unsigned level) { return F::cleaned(plain(level)); }, gather);
    }
    // Page by page, so that only what is written counts as written.
    const bool write = access.has(kWrite);
    const auto seen = [&](unsigned level) {
      return write ? plain(level) : F::without_write(plain(level));
    };
    return table_.populate(gpa, area.range, {}, seen, gather);
  }

  [[gnu::noinline]] FaultOutcome handle_present(const Area& area, Gpa gpa, Access access) {
    const Result<typename Table::Leaf> leaf = table_.query(gpa);
    if (!leaf) return FaultOutcome::NotBacked;
    if (leaf->flags.access.has(access & kRwx)) {
      Gather gather(Cause::Fault, table_.tag(), gpa);
      gather.note(gpa.aligned_down(kPageBytes), kPageBytes, F::kPageShift, change::kSpurious,
                  leaf->owned);
      table_.hal().invalidate(gather);
      return FaultOutcome::AlreadyMapped;
    }
    permit_writes(area, gpa, *leaf);
    return FaultOutcome::MadeWritable;
  }

  // The page alone, if there is memory to split a large leaf; else the whole leaf.
  void permit_writes(const Area& area, Gpa gpa, const typename Table::Leaf& leaf) {
    const auto permit = [&](u64 entry, unsigned level, u64) {
      return table_.with_flags(entry, level, area.flags);
    };
    const auto permit_in = [&](u64 bytes) {
      const GpaRange part = *GpaRange::make(gpa.aligned_down(bytes), bytes);
      return table_.rewrite(part, Cause::DirtyLog, permit).ok();
    };
    if (!permit_in(kPageBytes)) (void)permit_in(leaf.size);  // whole: nothing to split
  }

  Result<void> fault_in(Gpa gpa, Access access) {
    switch (handle_fault(gpa, access)) {
      case FaultOutcome::NoArea:
      case FaultOutcome::NotBacked:
        return Error::NotMapped;
      case FaultOutcome::NoPermission:
        return Error::InsufficientAccess;
      case FaultOutcome::OutOfMemory:
        return Error::NoMemory;
      default:
        return {};
    }
  }

  // The dirty log -------------------------------------------------------------------------------

  Result<void> checked_part(GpaRange part) const {
    if (!range_.contains(part)) return Error::OutOfRange;
    if (!part.is_aligned(kPageBytes)) return Error::Unaligned;
    return {};
  }
  /// Nobody copies a device's registers.
  bool is_logged(MappingFlags flags) const {
    return tracking_ != DirtyTracking::Off && !is_device(flags.memory);
  }
  bool was_written(const Area& area, u64 entry) const {
    if ((entry & F::kSoftDirty) != 0) return true;
    if (!is_logged(area.flags)) return false;
    return tracking_ == DirtyTracking::Hardware ? F::is_dirty(entry) : F::is_writable(entry);
  }
  u64 as_clean(const Area& area, u64 entry) const {
    entry &= ~F::kSoftDirty;
    if (!is_logged(area.flags)) return entry;
    return tracking_ == DirtyTracking::Hardware ? F::cleaned(entry) : F::without_write(entry);
  }
  /// What is mapped while the log runs has not been copied by whoever reads the log.
  u64 note_for_new_pages(MappingFlags flags) const { return is_logged(flags) ? F::kSoftDirty : 0; }
  u64 reflagged(const Area& area, u64 entry, unsigned level, MappingFlags flags) const {
    u64 next = table_.with_flags(entry, level, flags);
    if (tracking_ == DirtyTracking::Off) return next;
    // The record must outlive the write permission that may stand for it, and what was a device or
    // out of reach is new to whoever reads the log.
    const bool was_hidden = !is_logged(area.flags) || !area.flags.access.any_of(kRwx);
    if (was_written(area, entry) || (was_hidden && is_logged(flags))) next |= F::kSoftDirty;
    if (!is_logged(flags) || tracking_ == DirtyTracking::Hardware) return next;
    return F::is_writable(entry) ? next : F::without_write(next);
  }
  void mark_written(Gpa gpa) {
    const auto mark = [](u64 entry, unsigned, u64) { return entry | F::kSoftDirty; };
    Gather gather(Cause::DirtyLog, table_.tag(), gpa);
    table_.edit_leaves(*GpaRange::make(gpa.aligned_down(kPageBytes), kPageBytes), mark, gather);
  }
  template <class Record>
  static void extend_record(GpaRange& run, GpaRange leaf, Record& record) {
    if (!run.empty() && run.contains(leaf)) return;  // the hardware touched it meanwhile: again
    if (!run.empty() && run.end() == leaf.start()) {
      run = GpaRange::between(run.start(), leaf.end());
      return;
    }
    if (!run.empty()) record(run);
    run = leaf;
  }

  /// Applies edit(area, entry, level, gpa) to all leaves of a part, with one invalidation.
  template <class Edit>
  void edit_leaves(GpaRange part, Edit&& edit) {
    Gather gather(Cause::DirtyLog, table_.tag(), part.start());
    areas_.for_each_in(part, [&](const Area& area, GpaRange inside) {
      table_.edit_leaves(
          inside,
          [&](u64 entry, unsigned level, u64 offset) {
            return edit(area, entry, level, Gpa(offset));
          },
          gather);
    });
    if (!gather.empty()) table_.hal().invalidate(gather);
  }

  // Faults come in crowds: all that the next one in the same lazy area needs to know, as long as no
  // log runs and the area stays as it is.
  struct Usual {
    GpaRange range;
    Access access;
    u64 bits = 0;  ///< an owned leaf for address 0
  };

  GpaRange range_;
  Table table_;
  AreaSet<H> areas_;
  Usual usual_;
  DirtyTracking tracking_ = DirtyTracking::Off;
  bool forms_groups_ = false;  ///< unless a log runs
};

}  // namespace nestwalk::addrspace
