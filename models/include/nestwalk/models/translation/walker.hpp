// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The table walker: one process for one- and two-dimensional walks, in every format.
//
// A walk is a chain of reads of real entries. Each waits for the memory hierarchy and goes on in
// the cycle in which its data arrive; an entry is what memory holds in that cycle. What the walk
// caches and the nested TLB know is skipped. README.md has the timing rules.
#pragma once

#include <memory>

#include "nestwalk/models/time/process.hpp"
#include "nestwalk/models/translation/foresight.hpp"
#include "nestwalk/models/translation/walk.hpp"
#include "nestwalk/models/translation/walk_cache.hpp"

namespace nestwalk::models {

/// Whether translations of data addresses are entered in the nested TLB.
inline constexpr Word<bool> kNestedTlbHolds[] = {{"all", true}, {"tables", false}};
/// Whether the walker fetches entries of the last levels ahead (ASAP: memory/table_areas.hpp).
inline constexpr Word<bool> kTablePrefetches[] = {{"none", false}, {"asap", true}};

struct WalkerShape {
  u32 slots = 1;
  CacheShape guest_walk_cache;  ///< sizes: what one entry of the cached level translates
  CacheShape nested_walk_cache;
  CacheShape nested_tlb;
  IndexBy guest_index_by = IndexBy::Address;
  Yields guest_yields = Yields::Host;
  IndexBy nested_index_by = IndexBy::Address;
  u32 step_cycles = 0;
  u32 assist_cycles = 0;
  u32 nested_slots = 64;
  bool nested_tlb_holds_data = true;
  bool prefetches_tables = false;

  static constexpr auto parameters() {
    using namespace parameter;
    constexpr Number kCycles{0, 10'000};
    return std::tuple{
        Row{"slots", &WalkerShape::slots, Number{1, 64}, "page walks at a time"},
        Row{"guest_walk_cache.index_by", &WalkerShape::guest_index_by, OrLeftOut{OneOf{kIndexes}},
            "what it is looked up by: the address that is translated, once; or, before each read "
            "of a table's entry, the host or guest-physical address of that entry"},
        Row{"guest_walk_cache.yields", &WalkerShape::guest_yields, OrLeftOut{OneOf{kYields}},
            "what a hit names: the table's host address, or the guest-physical one, which the "
            "second stage translates again"},
        Row{"nested_walk_cache.index_by", &WalkerShape::nested_index_by,
            OrLeftOut{OneOf{std::span(kIndexes).first(2)}},
            "what it is looked up by: the guest-physical address that is translated, once; or, "
            "before each read of a table's entry, the host address of that entry"},
        Row{"nested_tlb.holds", &WalkerShape::nested_tlb_holds_data,
            OrLeftOut{OneOf{kNestedTlbHolds}},
            "what is entered: all translations of the second stage (all, the default), or those of "
            "addresses of the first stage's tables alone (tables), which data at random then do "
            "not replace"},
        Row{"step_cycles", &WalkerShape::step_cycles, OrLeftOut{kCycles},
            "cycles of the walker itself for each entry that it reads", kInCycles},
        Row{"assist_cycles", &WalkerShape::assist_cycles, OrLeftOut{kCycles},
            "cycles of microcode for each entry whose accessed or dirty flag it sets, beside the "
            "access itself",
            kInCycles},
        Row{"nested_slots", &WalkerShape::nested_slots, OrLeftOut{Number{1, 64}},
            "translations by the second stage's tables at a time"},
        Row{"table_prefetch", &WalkerShape::prefetches_tables, OrLeftOut{OneOf{kTablePrefetches}},
            "which entries a walk fetches into the first cache of its path before it comes to "
            "them: none (the default), or asap: those of the two lowest levels, of either stage "
            "whose tables lie where range registers say (guest.frames and host.frames "
            "contiguous-tables)"}};
  }
};

/// A second-stage leaf, as the nested TLB keeps it: whole, even if it is held in parts, so that a
/// fence for any address of the leaf finds them; or several leaves in one entry.
struct CachedNested {
  u64 host = 0;  ///< of the first byte that it covers
  Rights rights{};
  MemoryType memory = MemoryType::WriteBack;
  u8 leaf_shift = 0;
  bool dirty = false;
  u8 covers_shift = 0;  ///< log2: the leaf's, or of several

  u64 host_of(u64 address) const { return host + (address & addrspace::low_mask(covers_shift)); }
};

inline TableSpan span_of(const EntryKey& where, const CachedTable& table) {
  return {where.address, table.covers_shift};
}
inline TableSpan span_of(const EntryKey& where, const CachedNested& entry) {
  return {where.address, std::max(where.shift, entry.leaf_shift)};
}

/// What TLBs lend the walker, and want of it.
struct TlbsOfWalker {
  std::shared_ptr<KeySpace> second{};  ///< for walk caches: `in_second_tlb`
  u64 coalesced = 0;                   ///< sizes of entries that they hold, a bit for each log2
};

class Walker final {
  struct Begin;

 public:
  Walker(Wheel& wheel, HostMemory& memory, MemoryHierarchy& hierarchy, MemoryHierarchy::PathId path,
         const WalkerShape& shape, const TlbsOfWalker& tlbs = {});
  Walker(const Walker&) = delete;
  Walker& operator=(const Walker&) = delete;

  class Walk;
  /// A walk that is asked for now: it begins when it is awaited and a slot is free. When it has
  /// ended, whoever asked looks at what it found, and gives it back.
  Walk& take(const WalkRequest& request);
  void give_back(Walk& walk);
  /// Would a walk begin at once?
  bool has_free_slot() const { return slots_.is_free(); }
  /// Asked for and not given back: they have a slot, or wait for one.
  std::size_t in_flight() const { return walks_.size() - free_.size(); }
  /// Tells the host's caches what coming walks will need.
  void foresee(const Regime& regime, const Upcoming& upcoming) const;

  /// Removes what is cached for an address that was refused, tables included.
  void forget(const Regime& regime, u64 address, const Fault& fault);
  /// Makes the walks in flight that match forget what they know. They begin again; prefetches end.
  template <class Match>
  void restart_if(Match&& match);
  /// Entries that were fetched ahead.
  u64 fetched_ahead() const { return fetched_ahead_; }

  TranslationCache<CachedTable>& guest_walk_cache() { return guest_cache_.tables(); }
  TranslationCache<CachedTable>& nested_walk_cache() { return nested_cache_.tables(); }
  TranslationCache<CachedNested>& nested_tlb() { return nested_tlb_; }
  u64 refills() const {
    return guest_cache_.tables().refills() + nested_cache_.tables().refills() +
           nested_tlb_.refills();
  }

 private:
  class Reference;
  /// What the second stage translates for.
  enum class Purpose : u8 { Table, TableUpdate, Data };
  /// What comes next in a stage.
  enum class Next : u8 {
    Table,   ///< the next table, which has to be found
    Read,    ///< an entry
    Update,  ///< of its flags
    Leaf,    ///< the stage's output address is known
    End,     ///< the walk has ended: a fault, or the host address
  };

  // The process of one walk after the other.
  Task<> serve(Walk& walk);
  Reference read(Walk& walk, u64 slot, bool nested);
  Reference update(Walk& walk, u64 slot, bool nested);
  [[gnu::always_inline]] Until step(Walk& walk);
  [[gnu::always_inline]] Until assist(Walk& walk);
  [[gnu::always_inline]] static u64 guest_entry(const Walk& walk);
  Until after(u32 cycles) { return Until(wheel_, wheel_.now() + cycles); }

  // What it does between its waits.
  [[gnu::always_inline]] Next begin(Walk& walk);
  [[gnu::always_inline]] Next begin_at_root(Walk& walk);
  [[gnu::always_inline]] bool wants_to_confirm(const Walk& walk) const;
  [[gnu::noinline]] Next confirm(Walk& walk);
  [[gnu::always_inline]] bool wants_translation(Walk& walk, Next next);
  [[gnu::always_inline]] Next translated(Walk& walk, Next next);
  [[gnu::always_inline]] Next look_into_guest_cache(Walk& walk);
  [[gnu::always_inline]] void enter_table(Walk& walk);
  [[gnu::noinline]] bool knows_guest_entry(Walk& walk, u64 entry);
  [[gnu::noinline]] Next take_known_guest_entry(Walk& walk);
  [[gnu::noinline]] void remember_guest_table(const Walk& walk, const Entry& entry);
  [[gnu::always_inline]] Next take_guest_entry(Walk& walk);
  [[gnu::always_inline]] Next take_guest(Walk& walk, const Entry& entry);
  Next update_guest_entry(Walk& walk);
  [[gnu::always_inline]] Next begin_nested(Walk& walk);
  [[gnu::always_inline]] Next look_into_nested_tlb(Walk& walk);
  [[gnu::always_inline]] Next look_into_nested_cache(Walk& walk);
  [[gnu::always_inline]] void look_into(Walk& walk, u64 table);
  [[gnu::noinline]] bool knows_nested_entry(Walk& walk);
  [[gnu::noinline]] Next take_known_nested_entry(Walk& walk);
  [[gnu::always_inline]] Next take_nested_entry(Walk& walk);
  [[gnu::always_inline]] Next enter_nested_table(Walk& walk, const Entry& entry);
  [[gnu::always_inline]] Next enter_nested_leaf(Walk& walk, const Entry& entry);
  Next update_nested_entry(Walk& walk);
  [[gnu::always_inline]] void found_data(Walk& walk);
  /// What a leaf of the second stage permits to what the walk translates for.
  static Rights nested_rights(const Walk& walk, Rights of_leaf, MemoryType memory);

  /// log2 of what the leaf and its neighbours translate together, as one entry.
  u8 coalesced(const EntryFormat& format, u64 slot, const Entry& leaf, u8 page_shift) const {
    // Not a large page, for which the table's entries are no pages, either.
    return coalesced_ >> page_shift <= 1 && leaf.neighbours == 0
               ? page_shift
               : most_coalesced(format, slot, leaf, page_shift);
  }
  [[gnu::noinline]] u8 most_coalesced(const EntryFormat& format, u64 slot, const Entry& leaf,
                                      u8 page_shift) const;
  static bool is_in_place(u64 slot, const Entry& leaf, unsigned page_shift, unsigned doubled);
  [[gnu::noinline]] bool are_alike(const EntryFormat& format, u64 slot, const Entry& leaf,
                                   unsigned page_shift, unsigned count) const;

  void spared(Walk& walk, u64 address, Served served, u8 guest_level, u8 nested_level, u32 cycles);
  /// Soon this address will be read.
  [[gnu::always_inline]] void expect(u64 address) const {
    if (!memory_.contains(Hpa(address), sizeof(u64))) return;
    memory_.prefetch(Hpa(address));
    hierarchy_.prefetch(path_, Hpa(address));
  }
  [[gnu::noinline]] void fetch_ahead(const Stage& stage, u64 input);
  u64 guest_slot(const Regime& regime, u64 address) const;
  u64 nested_slot(const Regime& regime, u64 address) const;
  void looked(const Walk& walk, const StepKind& kind, u64 address, bool hit) const;
  void tell(const Walk& walk, const StepKind& kind, u64 before, u64 value) const;
  [[gnu::noinline]] void witness_lookup(const Walk& walk, const StepKind& kind, u64 address,
                                        bool hit) const;
  [[gnu::noinline]] void witness_entry(const Walk& walk, const StepKind& kind, u64 before,
                                       u64 value) const;
  [[gnu::noinline]] Next stop_guest(Walk& walk, FaultKind kind);
  [[gnu::noinline]] Next stop_nested(Walk& walk, FaultKind kind, Access granted);

  Wheel& wheel_;
  HostMemory& memory_;
  MemoryHierarchy& hierarchy_;
  MemoryHierarchy::PathId path_;
  Lock slots_;
  Lock nested_slots_;
  WalkCache guest_cache_;
  WalkCache nested_cache_;
  TranslationCache<CachedNested> nested_tlb_;
  u64 coalesced_;  ///< sizes that some structure holds
  IndexBy guest_index_by_;
  Yields guest_yields_;
  bool nested_tlb_holds_data_;
  bool shares_nested_slots_;  ///< there are fewer than walks
  bool prefetches_tables_;
  u32 step_cycles_;
  u32 assist_cycles_;
  u64 fetched_ahead_ = 0;
  LeafTables guest_tables_;
  LeafTables nested_tables_;
  std::vector<std::unique_ptr<Walk>> walks_;  ///< they stay where they are
  std::vector<Walk*> free_;
};

struct Walker::Begin {
  Walker& walker;
  Walk& walk;
  Task<> operator()() const;
};

/// `co_await walk;`
class Walker::Walk final : public Job<Begin> {
 public:
  explicit Walk(Walker& walker)
      : Job(Begin{walker, *this}), slot_(walker.slots_), nested_slot_turn_(walker.nested_slots_) {}

  const Fault& fault() const { return fault_; }
  /// Without a fault.
  const Translation& translation() const { return result_; }
  const WalkRecord& record() const { return record_; }
  /// A prefetch that a fence ended: it found nothing, and has no fault.
  bool is_fenced_off() const { return request_.speculative && record_.restarts != 0; }

 private:
  friend class Walker;

  WalkRequest request_;
  Fault fault_;
  Translation result_;
  WalkRecord record_;
  Lock::Turn slot_;
  Lock::Turn nested_slot_turn_;
  bool active_ = false;
  bool has_begun_ = false;
  bool confirms_ = false;  ///< it reads the tables alone: a fault that it finds is reported

  // First stage.
  const Stage* guest_ = nullptr;
  u8 guest_level_ = 0;
  u8 guest_covers_ = 0;  ///< log2 of what its leaf translates, together with its neighbours
  Access guest_limits_{};
  u64 guest_table_ = 0;
  u64 guest_slot_ = 0;  ///< host address of the entry
  u64 guest_raw_ = 0;
  CachedTable guest_known_{};      ///< the table that guest_slot_ lies in
  bool fill_guest_cache_ = false;  ///< once the host address of the table is known
  CachedTable named_{};            ///< what a walk cache knows of the entry that is to be read
  u64 data_ = 0;                   ///< what the first stage leads to

  // Second stage.
  Purpose purpose_ = Purpose::Data;
  u8 nested_level_ = 0;
  Access nested_limits_{};
  Rights nested_wanted_{};
  bool nested_writes_ = false;
  u64 nested_input_ = 0;
  u64 nested_slot_ = 0;  ///< host address of the entry
  u64 nested_raw_ = 0;
  CachedNested nested_{};   ///< what it found
  u64 nested_changes_ = 0;  ///< of the nested TLB, when it did not have it
};

template <class Match>
void Walker::restart_if(Match&& match) {
  for (const std::unique_ptr<Walk>& walk : walks_) {
    if (walk->active_ && match(walk->request_)) walk->request_restart();
  }
}

}  // namespace nestwalk::models
