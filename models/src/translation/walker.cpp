// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/walker.hpp"

#include <algorithm>

#include "walker_first_stage.hpp"
#include "walker_second_stage.hpp"

namespace nestwalk::models {

/// A read or an update of an entry: on record from its begin, and with its cycles at its end.
class Walker::Reference final : public Waiter {
 public:
  Reference(Walker& walker, Walk& walk, u64 address, bool update, bool nested)
      : walker_(walker), walk_(walk), address_(address), update_(update), nested_(nested) {}

  // Inline by force: as a call, cold walks took 8 % more instructions.
  [[gnu::always_inline]] bool await_ready() {
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
      nested_slots_(wheel, shape.nested_slots),
      guest_cache_(shape.guest_walk_cache, shape.guest_index_by, tlbs.second),
      nested_cache_(shape.nested_walk_cache, shape.nested_index_by, tlbs.second),
      nested_tlb_(shape.nested_tlb, 1, tlbs.second),
      coalesced_(tlbs.coalesced | coalesced_sizes_of(shape.nested_tlb)),
      guest_index_by_(shape.guest_index_by),
      guest_yields_(shape.guest_yields),
      nested_tlb_holds_data_(shape.nested_tlb_holds_data),
      shares_nested_slots_(shape.nested_slots < shape.slots),
      prefetches_tables_(shape.prefetches_tables),
      step_cycles_(shape.step_cycles),
      assist_cycles_(shape.assist_cycles) {
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
  walk.nested_slot_turn_.end();
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
    walk.nested_slot_turn_.end();
  }
  for (;;) {
    walk.has_begun_ = true;
    co_await walk.slot_;
    Next next = walk.is_fenced_off() ? Next::End : begin(walk);
    for (;; next = confirm(walk)) {
      if (next == Next::Table && !guest_cache_.is_by_entry()) {
        co_await after(guest_cache_.latency_cycles());
        next = look_into_guest_cache(walk);
      }
      while (next != Next::End) {
        while (next == Next::Table && guest_index_by_ == IndexBy::GuestEntry &&
               knows_guest_entry(walk, guest_entry(walk)))
          [[unlikely]] {
            co_await after(guest_cache_.latency_cycles());
            next = take_known_guest_entry(walk);
          }
        // The second stage: where a table or the data lie, or whether an entry may be written.
        if (wants_translation(walk, next)) {
          Next found = begin_nested(walk);
          if (found == Next::Table) {
            co_await after(nested_tlb_.latency_cycles());
            found = look_into_nested_tlb(walk);
          }
          if (found == Next::Table) {
            if (prefetches_tables_) [[unlikely]]
              fetch_ahead(walk.request_.regime->nested, walk.nested_input_);
            if (!nested_cache_.is_by_entry()) co_await after(nested_cache_.latency_cycles());
            found = look_into_nested_cache(walk);
          }
          if (shares_nested_slots_ && found == Next::Read) [[unlikely]] {
            const Cycle from = wheel_.now();
            co_await walk.nested_slot_turn_;
            walk.record_.nested_waiting += wheel_.now() - from;
          }
          while (found != Next::Leaf && found != Next::End) {
            if (found == Next::Update) {
              if (assist_cycles_ != 0) co_await assist(walk);
              co_await update(walk, walk.nested_slot_, true);
              found = update_nested_entry(walk);
            } else if (nested_cache_.is_by_entry() && knows_nested_entry(walk)) [[unlikely]] {
              co_await after(nested_cache_.latency_cycles());
              found = take_known_nested_entry(walk);
            } else {
              if (step_cycles_ != 0) co_await step(walk);
              co_await read(walk, walk.nested_slot_, true);
              found = take_nested_entry(walk);
            }
          }
          if (shares_nested_slots_) walk.nested_slot_turn_.end();
          next = found == Next::Leaf ? translated(walk, next) : Next::End;
          if (next == Next::End) break;
        }
        // The first stage.
        if (next == Next::Update) {
          if (assist_cycles_ != 0) co_await assist(walk);
          co_await update(walk, walk.guest_slot_, false);
          next = update_guest_entry(walk);
        } else if (guest_index_by_ == IndexBy::Entry && knows_guest_entry(walk, walk.guest_slot_))
            [[unlikely]] {
          co_await after(guest_cache_.latency_cycles());
          next = take_known_guest_entry(walk);
        } else {
          if (step_cycles_ != 0) co_await step(walk);
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

// Guest-physical.
inline u64 Walker::guest_entry(const Walk& walk) {
  return walk.guest_->geometry.slot(walk.guest_table_, walk.request_.address, walk.guest_level_);
}

// Is the next thing to know what the second stage says?
inline bool Walker::wants_translation(Walk& walk, Next next) {
  switch (next) {
    case Next::Table:
      walk.purpose_ = Purpose::Table;
      walk.nested_input_ = guest_entry(walk);
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

// What the walker itself takes, beside the memory.
inline Until Walker::step(Walk& walk) {
  walk.record_.step_cycles += step_cycles_;
  return after(step_cycles_);
}
inline Until Walker::assist(Walk& walk) {
  walk.record_.assist_cycles += assist_cycles_;
  return after(assist_cycles_);
}

Walker::Reference Walker::read(Walk& walk, u64 slot, bool nested) {
  return Reference(*this, walk, slot, false, nested);
}
Walker::Reference Walker::update(Walk& walk, u64 slot, bool nested) {
  return Reference(*this, walk, slot, true, nested);
}

void Walker::spared(Walk& walk, u64 address, Served served, u8 guest_level, u8 nested_level,
                    u32 cycles) {
  WalkRecord& record = walk.record_;
  check(record.count < WalkRecord::kMost, "walker", "at most 160 references in a walk",
        wheel_.now(), address);
  record.references[record.count++] = {
      address, wheel_.now() - cycles, cycles, guest_level, nested_level, served, false};
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
  const auto forget_in = [](auto& cache, bool may_be_elsewhere, u64 refused,
                            std::initializer_list<u16> tags) {
    if (!may_be_elsewhere && !cache.has_parts()) {
      for (const u16 tag : tags) cache.drop(refused, tag);
      return;
    }
    cache.drop_if([&](const EntryKey& where, const auto& entry) {
      return std::find(tags.begin(), tags.end(), where.tag) != tags.end() &&
             span_of(where, entry).holds(refused);
    });
  };
  forget_in(guest_cache_.tables(), guest_cache_.is_by_entry(), address,
            {regime.combined, regime.global});
  if (!fault.nested) return;
  forget_in(nested_cache_.tables(), nested_cache_.is_by_entry(), fault.guest_physical,
            {regime.nested_only});
  forget_in(nested_tlb_, false, fault.guest_physical, {regime.nested_only});
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
