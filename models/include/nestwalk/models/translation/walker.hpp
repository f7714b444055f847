// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The table walker: one state machine for one- and two-dimensional walks, in every format.
//
// A walk is a chain of reads of real entries. Each waits for the memory hierarchy and goes on in
// the cycle in which its data arrive; an entry is what memory holds in that cycle. What the walk
// caches and the nested TLB know is skipped. README.md has the timing rules.
#pragma once

#include <deque>
#include <memory>

#include "nestwalk/models/translation/foresight.hpp"
#include "nestwalk/models/translation/translation_cache.hpp"
#include "nestwalk/models/translation/walk.hpp"

namespace nestwalk::models {

struct WalkerShape {
  u32 slots = 1;
  CacheShape guest_walk_cache;  ///< sizes: what one entry of the cached level translates
  CacheShape nested_walk_cache;
  CacheShape nested_tlb;

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{Row{"slots", &WalkerShape::slots, Number{1, 64}, "page walks at a time"}};
  }
};

/// A pointer to a table, as the walk caches keep it.
struct CachedTable {
  u64 table_guest = 0;  ///< guest-physical; guest walk cache only
  u64 table_host = 0;
  Access limits{};
  u8 level = 0;           ///< of the entries in that table
  u8 nested_shift = 0;    ///< of the nested leaf that maps the table
  bool writable = false;  ///< the second stage lets the walker update entries there, as it is now
  u8 covers_shift = 0;    ///< log2 of what it translates; it may be held in parts
};

/// A second-stage leaf, as the nested TLB keeps it: whole, even if it is held in parts, so that a
/// fence for any address of the leaf finds them.
struct CachedNested {
  u64 host = 0;  ///< of the first byte of the leaf
  Rights rights{};
  MemoryType memory = MemoryType::WriteBack;
  u8 leaf_shift = 0;
  bool dirty = false;
};

class Walker final : public Actor {
 public:
  Walker(Wheel& wheel, HostMemory& memory, MemoryHierarchy& hierarchy, MemoryHierarchy::PathId path,
         const WalkerShape& shape);

  struct Ticket {
    u32 walk;
    bool done;  ///< already, at the wheel's now()
  };
  /// Asks for a walk that starts now, or when a slot is free. If it is not done, `owner` runs with
  /// `what` when it is. Either way the owner looks at it and gives it back.
  Ticket submit(const WalkRequest& request, Actor& owner, u32 what);
  const Fault& fault(u32 walk) const { return walks_[walk]->fault; }
  /// Of a walk without fault.
  const Translation& translation(u32 walk) const { return walks_[walk]->result; }
  const WalkRecord& record(u32 walk) const { return walks_[walk]->record; }
  void give_back(u32 walk);
  /// Tells the host's caches what coming walks will need.
  void foresee(const Regime& regime, const Upcoming& upcoming) const;

  /// Makes the walks in flight that match forget what they know. They begin again.
  template <class Match>
  void restart_if(Match&& match) {
    for (const std::unique_ptr<Walk>& walk : walks_) {
      if (walk->active && match(walk->request)) walk->restart = true;
    }
  }

  TranslationCache<CachedTable>& guest_walk_cache() { return guest_cache_; }
  TranslationCache<CachedTable>& nested_walk_cache() { return nested_cache_; }
  TranslationCache<CachedNested>& nested_tlb() { return nested_tlb_; }
  u64 refills() const {
    return guest_cache_.refills() + nested_cache_.refills() + nested_tlb_.refills();
  }

  void on_cycle(u32 walk) override;

 private:
  /// What a walk waits for.
  enum class State : u8 {
    Begin,         ///< a slot
    GuestCache,    ///< the guest walk cache
    GuestEntry,    ///< an entry of the first stage
    GuestUpdated,  ///< the locked write that sets its flags
    NestedTlb,
    NestedCache,
    NestedEntry,
    NestedUpdated,
    Done,
  };
  /// What the second stage translates for.
  enum class Purpose : u8 { Table, TableUpdate, Data };

  struct Walk {
    WalkRequest request;
    Fault fault;
    Translation result;
    WalkRecord record;
    Actor* owner = nullptr;
    u32 what = 0;
    bool active = false;
    bool restart = false;
    State state = State::Begin;

    // First stage.
    const Stage* guest = nullptr;
    u8 guest_level = 0;
    bool fill_guest_cache = false;  ///< once the host address of the table is known
    Access guest_limits{};
    u64 guest_table = 0;
    u64 guest_slot = 0;  ///< host address of the entry
    u64 guest_raw = 0;
    CachedTable guest_known{};  ///< the table that guest_slot lies in

    // Second stage.
    Purpose purpose = Purpose::Data;
    u8 nested_level = 0;
    Access nested_limits{};
    Rights nested_wanted{};
    bool nested_writes = false;
    u64 nested_input = 0;
    u64 nested_slot = 0;  ///< host address of the entry
    u64 nested_raw = 0;
    CachedNested nested{};   ///< what it found
    u64 nested_changes = 0;  ///< of the nested TLB, when it did not have it
  };

  u32 take_walk();
  bool run(u32 number);

  // Each is the end of one wait; true if the next is over in this cycle, too, or the walk done.
  bool on_begin(Walk& walk, u32 number);
  bool on_guest_cache(Walk& walk, u32 number);
  bool on_guest_entry(Walk& walk, u32 number);
  bool on_guest_updated(Walk& walk, u32 number);
  bool on_nested_tlb(Walk& walk, u32 number);
  bool on_nested_cache(Walk& walk, u32 number);
  bool on_nested_entry(Walk& walk, u32 number);
  bool on_nested_updated(Walk& walk, u32 number);

  // Each goes on to the next wait; true likewise.
  bool translate_table(Walk& walk, u32 number);
  bool read_guest(Walk& walk, u32 number);
  bool guest_table_entry(Walk& walk, const Entry& entry, u32 number);
  bool guest_leaf(Walk& walk, const Entry& entry, u32 number);
  bool update_guest(Walk& walk, u32 number);
  bool begin_nested(Walk& walk, Purpose purpose, u64 input, u32 number);
  void look_into(Walk& walk, u64 table);
  bool read_nested(Walk& walk, u32 number);
  bool nested_table_entry(Walk& walk, const Entry& entry, u32 number);
  bool nested_leaf(Walk& walk, const Entry& entry, u32 number);
  bool nested_done(Walk& walk, u32 number);
  /// What a leaf of the second stage permits to what the walk translates for.
  static Rights nested_rights(const Walk& walk, Rights of_leaf) {
    const bool execute_is_read =
        walk.purpose == Purpose::Data && walk.request.regime->privilege.nested_execute_is_read;
    return execute_is_read ? of_leaf.with_execute_as_read() : of_leaf;
  }
  bool table_is_known(Walk& walk, u32 number);
  bool data_is_known(Walk& walk);
  bool finish(Walk& walk);

  bool spend(u32 cycles, u32 number);
  bool reference(Walk& walk, u64 address, bool update, bool nested, u32 number);
  void spared(Walk& walk, u64 address, Served served, u8 guest_level, u8 nested_level, u32 cycles);
  /// Soon this address will be read.
  [[gnu::always_inline]] void expect(u64 address) const {
    if (!memory_.contains(Hpa(address), sizeof(u64))) return;
    memory_.prefetch(Hpa(address));
    hierarchy_.prefetch(path_, Hpa(address));
  }
  u64 guest_slot(const Regime& regime, u64 address) const;
  u64 nested_slot(const Regime& regime, u64 address) const;
  void stamp(Walk& walk) const;
  void looked(const Walk& walk, const StepKind& kind, u64 address, bool hit) const {
    if (walk.request.witness != nullptr) [[unlikely]]
      witness_lookup(walk, kind, address, hit);
  }
  void tell(const Walk& walk, const StepKind& kind, u64 before, u64 value) const {
    if (walk.request.witness != nullptr) [[unlikely]]
      witness_entry(walk, kind, before, value);
  }
  [[gnu::noinline]] void witness_lookup(const Walk& walk, const StepKind& kind, u64 address,
                                        bool hit) const;
  [[gnu::noinline]] void witness_entry(const Walk& walk, const StepKind& kind, u64 before,
                                       u64 value) const;
  [[gnu::noinline]] bool stop_guest(Walk& walk, FaultKind kind);
  [[gnu::noinline]] bool stop_nested(Walk& walk, FaultKind kind, Access granted);

  Wheel& wheel_;
  HostMemory& memory_;
  MemoryHierarchy& hierarchy_;
  MemoryHierarchy::PathId path_;
  u32 free_slots_;
  TranslationCache<CachedTable> guest_cache_;
  TranslationCache<CachedTable> nested_cache_;
  TranslationCache<CachedNested> nested_tlb_;
  LeafTables guest_tables_;
  LeafTables nested_tables_;
  std::vector<std::unique_ptr<Walk>> walks_;  ///< they stay where they are
  std::vector<u32> free_;
  std::deque<u32> queue_;
};

}  // namespace nestwalk::models
