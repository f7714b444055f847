// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/walker.hpp"

#include <algorithm>

namespace nestwalk::models {
namespace {

using addrspace::low_mask;

// The stricter of the two: x86's combination of EPT and PAT, Arm's of both stages without FWB, for
// the types that guests use (Arm ARM D8, "Combining stage 1 and stage 2 memory type attributes").
// RISC-V's first stage overrides the second, unless it leaves the type open (Svpbmt).
MemoryType combine(const Extension& extension, MemoryType guest, MemoryType nested) {
  if (extension.first_stage_type_counts) {
    return guest == MemoryType::WriteBack ? nested : guest;
  }
  return is_device(guest) && is_device(nested) ? std::min(guest, nested) : std::max(guest, nested);
}

// The first of the reasons to refuse a leaf that concern its flags and rights.
FaultKind refusal(const Entry& leaf, const StageRules& rules, bool permitted, bool write) {
  const bool missing = (!leaf.accessed && rules.accessed == Upkeep::Faults) ||
                       (write && !leaf.dirty && rules.dirty == Upkeep::Faults);
  if (rules.flag_before_permission && missing) return FaultKind::AccessFlag;
  if (!permitted) return FaultKind::Permission;
  return missing ? FaultKind::AccessFlag : FaultKind::None;
}

bool needs_update(const Entry& leaf, const StageRules& rules, bool write) {
  return (!leaf.accessed && rules.accessed == Upkeep::Updated) ||
         (write && !leaf.dirty && rules.dirty == Upkeep::Updated);
}

// Will a write through this leaf need no update?
bool is_settled(const Entry& leaf, const StageRules& rules) {
  return leaf.dirty || rules.dirty == Upkeep::Ignored;
}

}  // namespace

/// A read or an update of an entry: on record from its begin, and with its cycles at its end.
class Walker::Reference final : public Waiter {
 public:
  Reference(Walker& walker, Walk& walk, u64 address, bool update, bool nested)
      : walker_(walker), walk_(walk), address_(address), update_(update), nested_(nested) {}

  bool await_ready() {
    WalkRecord& record = walk_.record_;
    const Cycle now = walker_.wheel_.now();
    check(record.count < WalkRecord::kMost, "walker", "at most 160 references in a walk", now,
          address_);
    const bool for_data = nested_ && walk_.purpose_ == Purpose::Data;
    WalkReference& made = record.references[record.count++];
    made.address = address_;
    made.start = now;
    made.cycles = 0;
    made.guest_level = for_data ? WalkReference::kNoLevel : walk_.guest_level_;
    made.nested_level = nested_ ? walk_.nested_level_ : WalkReference::kNoLevel;
    made.served = Served::None;
    made.update = update_;
    return walker_.hierarchy_.access(walker_.path_, Hpa(address_), update_, *this, 0, made.served);
  }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    park(handle);
  }
  void await_resume() const {
    WalkReference& made = walk_.record_.references[walk_.record_.count - 1];
    made.cycles = static_cast<u32>(walker_.wheel_.now() - made.start);
  }

 private:
  Walker& walker_;
  Walk& walk_;
  u64 address_;
  bool update_;
  bool nested_;
};

Walker::Walker(Wheel& wheel, HostMemory& memory, MemoryHierarchy& hierarchy,
               MemoryHierarchy::PathId path, const WalkerShape& shape, const TlbsOfWalker& tlbs)
    : wheel_(wheel),
      memory_(memory),
      hierarchy_(hierarchy),
      path_(path),
      slots_(wheel, shape.slots),
      guest_cache_(shape.guest_walk_cache, 1, tlbs.second),
      nested_cache_(shape.nested_walk_cache, 1, tlbs.second),
      nested_tlb_(shape.nested_tlb),
      coalesced_(tlbs.coalesced | coalesced_sizes_of(shape.nested_tlb)) {
  static_assert(std::is_trivially_destructible_v<Reference>);  // GCC bug 99576: process.hpp
}

Walker::Walk& Walker::take(const WalkRequest& request) {
  if (free_.empty()) {
    walks_.push_back(std::make_unique<Walk>(*this));
    free_.reserve(walks_.size());
    free_.push_back(walks_.back().get());
  }
  Walk& walk = *free_.back();
  free_.pop_back();
  walk.request_ = request;
  walk.active_ = true;
  walk.has_begun_ = false;
  walk.record_.start = wheel_.now();
  walk.record_.restarts = 0;
  return walk;
}

void Walker::give_back(Walk& walk) {
  walk.active_ = false;
  free_.push_back(&walk);
  walk.slot_.end();
}

// The process ------------------------------------------------------------------------------------

Task<> Walker::Begin::operator()() const { return walker.serve(walk); }

// One function: with a task for each walk, and for each translation by the second stage within it,
// walks took 12 % more instructions.
Task<> Walker::serve(Walk& walk) {
  if (walk.has_begun_) {  // a fence made it begin again
    looked(walk, step::kAgain, 0, false);
    ++walk.record_.restarts;
  }
  for (;;) {
    walk.has_begun_ = true;
    co_await walk.slot_;
    Next next = walk.is_fenced_off() ? Next::End : begin(walk);
    for (;; next = confirm(walk)) {
      if (next == Next::Table) {
        co_await after(guest_cache_.latency_cycles());
        next = look_into_guest_cache(walk);
      }
      while (next != Next::End) {
        // The second stage: where a table or the data lie, or whether an entry may be written.
        if (wants_translation(walk, next)) {
          Next found = begin_nested(walk);
          if (found == Next::Table) {
            co_await after(nested_tlb_.latency_cycles());
            found = look_into_nested_tlb(walk);
          }
          if (found == Next::Table) {
            co_await after(nested_cache_.latency_cycles());
            found = look_into_nested_cache(walk);
          }
          while (found != Next::Leaf && found != Next::End) {
            if (found == Next::Update) {
              co_await update(walk, walk.nested_slot_, true);
              found = update_nested_entry(walk);
            } else {
              co_await read(walk, walk.nested_slot_, true);
              found = take_nested_entry(walk);
            }
          }
          next = found == Next::Leaf ? translated(walk, next) : Next::End;
          if (next == Next::End) break;
        }
        // The first stage.
        if (next == Next::Update) {
          co_await update(walk, walk.guest_slot_, false);
          next = update_guest_entry(walk);
        } else {
          co_await read(walk, walk.guest_slot_, false);
          next = take_guest_entry(walk);
        }
      }
      if (!wants_to_confirm(walk)) [[likely]]
        break;
    }
    walk.record_.end = wheel_.now();
    co_await walk.over();
  }
}

// Is the next thing to know what the second stage says?
inline bool Walker::wants_translation(Walk& walk, Next next) {
  switch (next) {
    case Next::Table:
      walk.purpose_ = Purpose::Table;
      walk.nested_input_ =
          walk.guest_->geometry.slot(walk.guest_table_, walk.request_.address, walk.guest_level_);
      return true;
    case Next::Update:
      // That writes to guest-physical memory: the second stage must permit it, and set its own
      // dirty flag first.
      if (walk.guest_known_.writable) return false;
      walk.purpose_ = Purpose::TableUpdate;
      walk.nested_input_ = walk.guest_table_ + (walk.guest_slot_ - walk.guest_known_.table_host);
      return true;
    case Next::Leaf:
      walk.purpose_ = Purpose::Data;
      walk.nested_input_ = walk.data_;
      return true;
    case Next::Read:
    case Next::End:
      break;
  }
  return false;
}

// What was translated is known.
inline Walker::Next Walker::translated(Walk& walk, Next next) {
  switch (walk.purpose_) {
    case Purpose::Table:
      enter_table(walk);
      return Next::Read;
    case Purpose::TableUpdate:
      walk.guest_known_.writable = true;
      return next;
    case Purpose::Data:
      break;
  }
  found_data(walk);
  return Next::End;
}

Walker::Reference Walker::read(Walk& walk, u64 slot, bool nested) {
  return Reference(*this, walk, slot, false, nested);
}
Walker::Reference Walker::update(Walk& walk, u64 slot, bool nested) {
  return Reference(*this, walk, slot, true, nested);
}

// The first stage --------------------------------------------------------------------------------

// Table, if there is a first stage.
inline Walker::Next Walker::begin(Walk& walk) {
  if (walk.record_.restarts == 0) looked(walk, step::kQueued, 0, false);
  walk.record_.begin = wheel_.now();
  walk.record_.count = 0;
  walk.confirms_ = walk.request_.confirms;
  return begin_at_root(walk);
}

inline Walker::Next Walker::begin_at_root(Walk& walk) {
  const Stage& guest = walk.request_.regime->guest_of(walk.request_.address);
  walk.guest_ = &guest;
  walk.fault_ = {};
  walk.result_ = {};
  walk.fill_guest_cache_ = false;
  if (!guest.on()) {
    walk.result_.guest = Rights::all();
    walk.result_.guest_shift = walk.guest_covers_ = Translation::kUnlimited;
    walk.result_.dirty = walk.result_.guest_dirty = true;
    walk.data_ = walk.request_.address;
    return Next::Leaf;
  }
  walk.guest_level_ = static_cast<u8>(guest.geometry.root_level());
  walk.guest_limits_ = kNoLimits;
  walk.guest_table_ = guest.root;
  return guest.geometry.accepts(walk.request_.address) ? Next::Table
                                                       : stop_guest(walk, FaultKind::BadAddress);
}

// Read, if the host address of the entry is known.
inline Walker::Next Walker::look_into_guest_cache(Walk& walk) {
  const CachedTable* const known =
      walk.confirms_ ? nullptr
                     : guest_cache_.find(walk.request_.address, walk.request_.regime->combined);
  looked(walk, step::kGuestCache, walk.request_.address, known != nullptr);
  if (known == nullptr) return Next::Table;
  walk.guest_known_ = *known;
  walk.guest_level_ = known->level;
  walk.guest_limits_ = known->limits;
  walk.guest_table_ = known->table_guest;
  walk.guest_slot_ =
      walk.guest_->geometry.slot(known->table_host, walk.request_.address, walk.guest_level_);
  spared(walk, known->table_host, Served::WalkCache, walk.guest_level_, WalkReference::kNoLevel,
         guest_cache_.latency_cycles());
  return Next::Read;
}

// The host address of a first-stage entry is known.
inline void Walker::enter_table(Walk& walk) {
  const u64 offset = walk.nested_input_ - walk.guest_table_;
  walk.guest_slot_ = walk.nested_.host_of(walk.nested_input_);
  const Rights write = Rights::needed(AccessKind::Write, true);
  const unsigned covers = walk.guest_->geometry.shift(walk.guest_level_ + 1u);
  const auto known_to = [&](CachedTable& table) {
    table.table_guest = walk.guest_table_;
    table.table_host = walk.guest_slot_ - offset;
    table.limits = walk.guest_limits_;
    table.level = walk.guest_level_;
    table.nested_shift = walk.nested_.leaf_shift;
    table.writable = walk.nested_.rights.permit(write) && walk.nested_.dirty;
    table.covers_shift = static_cast<u8>(covers);
  };
  known_to(walk.guest_known_);
  if (walk.guest_level_ == 0) {
    guest_tables_.learn(walk.request_.address, walk.guest_->geometry, walk.guest_known_.table_host);
  }
  // A table may lie in several pages of the second stage: then one host address does not name it.
  if (walk.fill_guest_cache_ && walk.nested_.leaf_shift >= walk.guest_->geometry.page_shift) {
    CachedTable* const place =
        guest_cache_.make_place(walk.request_.address, covers, walk.request_.regime->combined);
    if (place != nullptr) known_to(*place);
  }
  walk.fill_guest_cache_ = false;
}

inline Walker::Next Walker::take_guest_entry(Walk& walk) {
  if (!memory_.contains(Hpa(walk.guest_slot_), sizeof(u64))) {
    return stop_guest(walk, FaultKind::BusError);
  }
  walk.guest_raw_ = memory_.load(Hpa(walk.guest_slot_));
  tell(walk, step::kGuestEntry, walk.guest_raw_, walk.guest_raw_);
  return take_guest(walk, walk.guest_->format->decode(walk.guest_raw_, walk.guest_level_));
}

inline Walker::Next Walker::take_guest(Walk& walk, const Entry& entry) {
  const StageRules& rules = walk.guest_->format->rules();
  const bool peek = walk.request_.peek;
  switch (entry.kind) {
    case EntryKind::Invalid:
      return stop_guest(walk, FaultKind::NotPresent);
    case EntryKind::Malformed:
      return stop_guest(walk, FaultKind::Malformed);
    case EntryKind::Table:
      if (rules.accessed_in_tables && !entry.accessed && !peek) {
        return walk.request_.may_set_flags(rules, false) ? Next::Update
                                                         : stop_guest(walk, FaultKind::AccessFlag);
      }
      walk.guest_limits_ = walk.guest_limits_ & entry.access;
      walk.guest_table_ = entry.address;
      --walk.guest_level_;
      walk.fill_guest_cache_ = guest_cache_.present();
      return Next::Table;
    case EntryKind::Leaf:
      break;
  }
  const bool write = walk.request_.access == AccessKind::Write;
  const Rights rights =
      Rights::guest(entry.access & walk.guest_limits_, walk.request_.regime->privilege);
  const FaultKind reason = refusal(entry, rules, rights.permit(walk.request_.needed()), write);
  if (reason != FaultKind::None && !peek) return stop_guest(walk, reason);
  if (needs_update(entry, rules, write) && !peek) {
    return walk.request_.may_set_flags(rules, write && !entry.dirty)
               ? Next::Update
               : stop_guest(walk, FaultKind::AccessFlag);
  }
  Translation& result = walk.result_;
  result.guest = rights;
  result.guest_shift = static_cast<u8>(walk.guest_->geometry.shift(walk.guest_level_));
  walk.guest_covers_ = coalesced(*walk.guest_->format, walk.guest_slot_, entry, result.guest_shift);
  result.memory = entry.memory;
  result.dirty = result.guest_dirty = is_settled(entry, rules);
  result.global = entry.access.has(kGlobal);
  walk.data_ = entry.address + (walk.request_.address & low_mask(result.guest_shift));
  return Next::Leaf;
}

Walker::Next Walker::update_guest_entry(Walk& walk) {
  const EntryFormat& format = *walk.guest_->format;
  const Entry entry = format.decode(walk.guest_raw_, walk.guest_level_);
  const bool write = entry.kind == EntryKind::Leaf && walk.request_.access == AccessKind::Write;
  const u64 next = format.updated(walk.guest_raw_, write);
  tell(walk, step::kGuestUpdate, walk.guest_raw_, next);
  if (!memory_.compare_exchange(Hpa(walk.guest_slot_), walk.guest_raw_, next)) return Next::Read;
  walk.guest_raw_ = next;
  return take_guest(walk, format.decode(next, walk.guest_level_));
}

// The second stage -------------------------------------------------------------------------------

// Table, if there is a second stage.
inline Walker::Next Walker::begin_nested(Walk& walk) {
  const Stage& nested = walk.request_.regime->nested;
  if (!nested.on()) {
    constexpr u8 kAll = Translation::kUnlimited;
    walk.nested_ = {0, Rights::all(), MemoryType::WriteBack, kAll, true, kAll};
    return Next::Leaf;
  }
  const bool for_table = walk.purpose_ != Purpose::Data;
  walk.nested_wanted_ = for_table ? Rights::needed(AccessKind::Read, true) : walk.request_.needed();
  walk.nested_writes_ = !for_table && walk.request_.access == AccessKind::Write;
  if (walk.purpose_ == Purpose::TableUpdate ||
      (for_table && nested.format->rules().table_reads_are_writes)) {
    walk.nested_wanted_ = Rights(static_cast<u8>(walk.nested_wanted_.bits() |
                                                 Rights::needed(AccessKind::Write, true).bits()));
    walk.nested_writes_ = true;
  }
  walk.nested_level_ = static_cast<u8>(nested.geometry.root_level());
  walk.nested_limits_ = kNoLimits;
  // An intermediate address beyond the tables: Arm's level 0 translation fault, RISC-V's guest-page
  // fault, and an EPT violation for bits 51:48 with four levels.
  return nested.geometry.accepts(walk.nested_input_) ? Next::Table
                                                     : stop_nested(walk, FaultKind::BadAddress, {});
}

Rights Walker::nested_rights(const Walk& walk, Rights of_leaf) {
  const bool execute_is_read =
      walk.purpose_ == Purpose::Data && walk.request_.regime->privilege.nested_execute_is_read;
  return execute_is_read ? of_leaf.with_execute_as_read() : of_leaf;
}

// Table, if it does not say what the walk wants to know.
inline Walker::Next Walker::look_into_nested_tlb(Walk& walk) {
  const CachedNested* const known =
      walk.confirms_ ? nullptr
                     : nested_tlb_.find(walk.nested_input_, walk.request_.regime->nested_only);
  const bool missed = known == nullptr || (walk.nested_writes_ && !known->dirty);
  looked(walk, step::kNestedTlb, walk.nested_input_, !missed);
  if (missed) {
    const bool is_absent = known == nullptr && !walk.confirms_;
    walk.nested_changes_ = is_absent ? nested_tlb_.changes() : kUnknownChanges;
    return Next::Table;
  }
  const Geometry& shape = walk.request_.regime->nested.geometry;
  walk.nested_level_ = static_cast<u8>((known->leaf_shift - shape.page_shift) / shape.index_bits);
  spared(walk, walk.nested_input_, Served::NestedTlb,
         walk.purpose_ == Purpose::Data ? WalkReference::kNoLevel : walk.guest_level_,
         walk.nested_level_, nested_tlb_.latency_cycles());
  const Rights rights = nested_rights(walk, known->rights);
  if (!rights.permit(walk.nested_wanted_)) {
    return stop_nested(walk, FaultKind::Permission, Access(rights.bits() & 7));
  }
  walk.nested_ = *known;
  return Next::Leaf;
}

inline Walker::Next Walker::look_into_nested_cache(Walk& walk) {
  const Regime& regime = *walk.request_.regime;
  const CachedTable* const known =
      walk.confirms_ ? nullptr : nested_cache_.find(walk.nested_input_, regime.nested_only);
  looked(walk, step::kNestedCache, walk.nested_input_, known != nullptr);
  if (known == nullptr) {
    look_into(walk, regime.nested.root);
    return Next::Read;
  }
  walk.nested_level_ = known->level;
  walk.nested_limits_ = known->limits;
  look_into(walk, known->table_host);
  spared(walk, known->table_host, Served::WalkCache,
         walk.purpose_ == Purpose::Data ? WalkReference::kNoLevel : walk.guest_level_,
         walk.nested_level_, nested_cache_.latency_cycles());
  return Next::Read;
}

inline void Walker::look_into(Walk& walk, u64 table) {
  const Geometry& shape = walk.request_.regime->nested.geometry;
  walk.nested_slot_ = shape.slot(table, walk.nested_input_, walk.nested_level_);
}

inline Walker::Next Walker::take_nested_entry(Walk& walk) {
  if (!memory_.contains(Hpa(walk.nested_slot_), sizeof(u64))) {
    return stop_nested(walk, FaultKind::BusError, {});
  }
  walk.nested_raw_ = memory_.load(Hpa(walk.nested_slot_));
  tell(walk, step::kNestedEntry, walk.nested_raw_, walk.nested_raw_);
  const EntryFormat& format = *walk.request_.regime->nested.format;
  const Entry entry = format.decode(walk.nested_raw_, walk.nested_level_);
  const bool peek = walk.request_.peek;
  switch (entry.kind) {
    case EntryKind::Invalid:
      return stop_nested(walk, FaultKind::NotPresent, {});
    case EntryKind::Malformed:
      return stop_nested(walk, FaultKind::Malformed, {});
    case EntryKind::Table:
      if (format.rules().accessed_in_tables && !entry.accessed && !peek) {
        return walk.request_.may_set_flags(format.rules(), false)
                   ? Next::Update
                   : stop_nested(walk, FaultKind::AccessFlag, {});
      }
      return enter_nested_table(walk, entry);
    case EntryKind::Leaf:
      break;
  }
  const Rights rights = nested_rights(walk, Rights::nested(entry.access & walk.nested_limits_));
  const bool permitted = rights.permit(walk.nested_wanted_);
  const FaultKind reason = refusal(entry, format.rules(), permitted, walk.nested_writes_);
  if (reason != FaultKind::None && !peek) {
    return stop_nested(walk, reason, Access(rights.bits() & 7));
  }
  if (needs_update(entry, format.rules(), walk.nested_writes_) && !peek) {
    return walk.request_.may_set_flags(format.rules(), walk.nested_writes_ && !entry.dirty)
               ? Next::Update
               : stop_nested(walk, FaultKind::AccessFlag, {});
  }
  return enter_nested_leaf(walk, entry);
}

inline Walker::Next Walker::enter_nested_table(Walk& walk, const Entry& entry) {
  const Regime& regime = *walk.request_.regime;
  walk.nested_limits_ = walk.nested_limits_ & entry.access;
  const unsigned shift = regime.nested.geometry.shift(walk.nested_level_);
  --walk.nested_level_;
  look_into(walk, entry.address);
  if (walk.nested_level_ == 0) {
    nested_tables_.learn(walk.nested_input_, regime.nested.geometry, entry.address);
  }
  if (nested_cache_.present()) {
    CachedTable* const place =
        nested_cache_.make_place(walk.nested_input_, shift, regime.nested_only);
    if (place != nullptr) {
      place->table_host = entry.address;
      place->limits = walk.nested_limits_;
      place->level = walk.nested_level_;
      place->covers_shift = static_cast<u8>(shift);
    }
  }
  return Next::Table;
}

inline Walker::Next Walker::enter_nested_leaf(Walk& walk, const Entry& entry) {
  const Regime& regime = *walk.request_.regime;
  const unsigned shift = regime.nested.geometry.shift(walk.nested_level_);
  const Rights rights = Rights::nested(entry.access & walk.nested_limits_);
  const bool settled = is_settled(entry, regime.nested.format->rules());
  const bool absent = nested_tlb_.changes() == walk.nested_changes_;
  const u8 covers =
      coalesced(*regime.nested.format, walk.nested_slot_, entry, static_cast<u8>(shift));
  CachedNested* const place =
      nested_tlb_.make_place(walk.nested_input_, covers, regime.nested_only, absent);
  for (CachedNested* const leaf : {&walk.nested_, place}) {
    if (leaf == nullptr) continue;
    leaf->host = entry.address;
    leaf->rights = rights;
    leaf->memory = entry.memory;
    leaf->leaf_shift = leaf->covers_shift = static_cast<u8>(shift);
    leaf->dirty = settled;
    if (covers == shift) continue;
    leaf->covers_shift =
        leaf == place ? std::max(leaf->leaf_shift, nested_tlb_.held_shift(covers)) : covers;
    leaf->host -= walk.nested_input_ & low_mask(leaf->covers_shift) & ~low_mask(shift);
  }
  return Next::Leaf;
}

Walker::Next Walker::update_nested_entry(Walk& walk) {
  const EntryFormat& format = *walk.request_.regime->nested.format;
  const bool leaf = format.decode(walk.nested_raw_, walk.nested_level_).kind == EntryKind::Leaf;
  const u64 next = format.updated(walk.nested_raw_, leaf && walk.nested_writes_);
  tell(walk, step::kNestedUpdate, walk.nested_raw_, next);
  if (!memory_.compare_exchange(Hpa(walk.nested_slot_), walk.nested_raw_, next)) return Next::Read;
  const Entry now = format.decode(next, walk.nested_level_);
  return leaf ? enter_nested_leaf(walk, now) : enter_nested_table(walk, now);
}

inline void Walker::found_data(Walk& walk) {
  Translation& result = walk.result_;
  result.nested = nested_rights(walk, walk.nested_.rights);
  result.nested_shift = walk.nested_.leaf_shift;
  result.held_shift = std::min(walk.guest_covers_, walk.nested_.covers_shift);
  const Stage& nested = walk.request_.regime->nested;
  if (nested.on()) {
    result.memory = combine(nested.format->extension(), result.memory, walk.nested_.memory);
  }
  result.dirty = result.dirty && walk.nested_.dirty;
  const u64 host = walk.nested_.host_of(walk.nested_input_);
  hierarchy_.prefetch(path_, Hpa(host));  // whoever asks will most likely go on to the data
  const u64 offset = walk.request_.address & low_mask(result.shift());
  result.host = host - offset;
  result.guest_physical = walk.nested_input_ - offset;
}

void Walker::spared(Walk& walk, u64 address, Served served, u8 guest_level, u8 nested_level,
                    u32 cycles) {
  WalkRecord& record = walk.record_;
  check(record.count < WalkRecord::kMost, "walker", "at most 160 references in a walk",
        wheel_.now(), address);
  record.references[record.count++] = {
      address, wheel_.now() - cycles, cycles, guest_level, nested_level, served, false};
}

// Neighbours that are in the same line of memory as the leaf are at hand with it.
inline u8 Walker::coalesced(const EntryFormat& format, u64 slot, const Entry& leaf,
                            u8 page_shift) const {
  u64 sizes = coalesced_ >> page_shift;
  // Not a large page, for which the table's entries are no pages, either.
  if (sizes <= 1) [[likely]]
    return page_shift;
  for (unsigned doubled = ArrayShape::kMostDoubled; doubled != 0; --doubled) {
    if ((sizes >> doubled & 1) != 0 && are_alike(format, slot, leaf, page_shift, 1u << doubled)) {
      return static_cast<u8>(page_shift + doubled);
    }
  }
  return page_shift;
}

// All that the entries say is the same, flags included, but for their addresses: these are
// contiguous, and aligned as the entries are.
bool Walker::are_alike(const EntryFormat& format, u64 slot, const Entry& leaf, unsigned page_shift,
                       unsigned count) const {
  const u64 first = slot & ~(count * sizeof(u64) - 1);
  const u64 index = (slot - first) / sizeof(u64);
  if ((leaf.address >> page_shift & (count - 1)) != index) return false;
  Entry expected = leaf;
  expected.address -= index << page_shift;
  for (unsigned n = 0; n < count; ++n, expected.address += u64{1} << page_shift) {
    if (n == index) continue;
    if (format.decode(memory_.load(Hpa(first + n * sizeof(u64))), 0) != expected) return false;
  }
  return true;
}

// For a witness ----------------------------------------------------------------------------------

void Walker::looked(const Walk& walk, const StepKind& kind, u64 address, bool hit) const {
  if (walk.request_.witness != nullptr) [[unlikely]]
    witness_lookup(walk, kind, address, hit);
}
void Walker::tell(const Walk& walk, const StepKind& kind, u64 before, u64 value) const {
  if (walk.request_.witness != nullptr) [[unlikely]]
    witness_entry(walk, kind, before, value);
}

void Walker::witness_lookup(const Walk& walk, const StepKind& kind, u64 address, bool hit) const {
  WitnessStep told;
  told.kind = &kind;
  told.address = address;
  told.hit = hit;
  // A structure that is not there misses in no time.
  if (hit) return walk.request_.witness->tell(wheel_.now(), told);
  walk.request_.witness->tell_rest(wheel_.now(), told);
}

void Walker::witness_entry(const Walk& walk, const StepKind& kind, u64 before, u64 value) const {
  const WalkReference& last = walk.record_.references[walk.record_.count - 1];
  WitnessStep told;
  told.kind = &kind;
  told.address = last.address;
  told.before = before;
  told.value = value;
  told.guest_level = last.guest_level;
  told.nested_level = last.nested_level;
  told.served = last.served;
  walk.request_.witness->tell(wheel_.now(), told);
}

// Does the machine look again before it reports the fault? Without anything cached, it has just
// seen what it would see.
inline bool Walker::wants_to_confirm(const Walk& walk) const {
  if (!walk.fault_) [[likely]]
    return false;
  const WalkRequest& request = walk.request_;
  if (walk.confirms_ || request.peek || request.speculative) return false;
  if (!request.regime->confirms_faults()) return false;
  const auto& references = walk.record_.references;
  return std::any_of(references.begin(), references.begin() + walk.record_.count,
                     [](const WalkReference& each) {
                       return each.served == Served::WalkCache || each.served == Served::NestedTlb;
                     });
}

Walker::Next Walker::confirm(Walk& walk) {
  if (Witness* const witness = walk.request_.witness) {
    witness->tell(wheel_.now(), {.kind = &step::kConfirm, .address = walk.request_.address});
  }
  forget(*walk.request_.regime, walk.request_.address, walk.fault_);
  walk.confirms_ = true;
  return begin_at_root(walk);
}

void Walker::forget(const Regime& regime, u64 address, const Fault& fault) {
  const auto forget_in = [](auto& cache, u64 refused, std::initializer_list<u16> tags) {
    if (!cache.has_parts()) {
      for (const u16 tag : tags) cache.drop(refused, tag);
      return;
    }
    cache.drop_if([&](const EntryKey& where, const auto& entry) {
      return std::find(tags.begin(), tags.end(), where.tag) != tags.end() &&
             span_of(where, entry).holds(refused);
    });
  };
  forget_in(guest_cache_, address, {regime.combined, regime.global});
  if (!fault.nested) return;
  forget_in(nested_cache_, fault.guest_physical, {regime.nested_only});
  forget_in(nested_tlb_, fault.guest_physical, {regime.nested_only});
}

// Faults -----------------------------------------------------------------------------------------

Walker::Next Walker::stop_guest(Walk& walk, FaultKind kind) {
  Fault& fault = walk.fault_;
  fault.kind = kind;
  fault.level = walk.guest_level_;
  fault.access = walk.request_.access;
  fault.user = walk.request_.user;
  fault.virtual_address = walk.request_.address;
  return Next::End;
}

Walker::Next Walker::stop_nested(Walk& walk, FaultKind kind, Access granted) {
  stop_guest(walk, kind);
  Fault& fault = walk.fault_;
  fault.nested = true;
  fault.level = walk.nested_level_;
  fault.for_table = walk.purpose_ != Purpose::Data;
  fault.table_write = walk.purpose_ == Purpose::TableUpdate;
  fault.reads_as_writes = walk.request_.regime->nested.format->rules().table_reads_are_writes;
  fault.granted = granted;
  fault.guest_physical = walk.nested_input_;
  return Next::End;
}

}  // namespace nestwalk::models
