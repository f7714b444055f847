// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/mmu.hpp"

#include <algorithm>
#include <utility>

namespace nestwalk::models {
namespace {

// As many sizes as the last TLB level has.
CacheShape prefetch_buffer_of(const MmuShape& shape) {
  if (!shape.prefetch.policy.present()) return {};
  ArrayShape buffer{1, shape.prefetch.buffer_entries, {}, ReplacementKind::Lru};
  const CacheShape& last = shape.second_tlb.present() ? shape.second_tlb : shape.data_tlb;
  for (const ArrayShape& array : last.arrays) {
    buffer.shifts.insert(buffer.shifts.end(), array.shifts.begin(), array.shifts.end());
    buffer.coalesced.insert(buffer.coalesced.end(), array.coalesced.begin(), array.coalesced.end());
  }
  return {{buffer}, 0};
}

}  // namespace

Mmu::Mmu(Wheel& wheel, HostMemory& memory, MemoryHierarchy& hierarchy,
         MemoryHierarchy::PathId walker_path, const MmuShape& shape)
    : wheel_(wheel),
      fetch_tlb_(shape.fetch_tlb),
      data_tlb_(shape.data_tlb),
      store_tlb_(shape.store_tlb),
      first_level_{&data_tlb_, store_tlb_.present() ? &store_tlb_ : &data_tlb_,
                   fetch_tlb_.present() ? &fetch_tlb_ : &data_tlb_},
      second_tlb_(shape.second_tlb),
      prefetch_buffer_(prefetch_buffer_of(shape)),
      walker_(wheel, memory, hierarchy, walker_path, shape.walker,
              {second_tlb_.first_array(),
               coalesced_sizes_of(shape.fetch_tlb) | coalesced_sizes_of(shape.data_tlb) |
                   coalesced_sizes_of(shape.store_tlb) | coalesced_sizes_of(shape.second_tlb)}) {
  fractured_flushes_ = shape.fractured_flushes;
  if (!shape.prefetch.policy.present()) return;
  prefetcher_ = shape.prefetch.policy.make(shape.prefetch);
  prefetches_.emplace(wheel, walker_, prefetch_buffer_, shape.prefetch.buffer_entries);
  wants_hits_ = shape.prefetch.policy.wants_hits();
}

Cycle Mmu::cycles() const {
  constexpr AccessKind kKinds[] = {AccessKind::Read, AccessKind::Write, AccessKind::Execute};
  Cycle inline_cycles = 0;
  for (const AccessKind kind : kKinds) {
    inline_cycles += counts_.inline_hits[static_cast<unsigned>(kind)] * first_latency(kind);
  }
  return inline_cycles + counts_.lookup_cycles[0] + counts_.lookup_cycles[1] +
         counts_.merged_cycles + walk_totals_.cycles();
}

void Mmu::note_tags(std::vector<bool>& in_use) const {
  regime_.note_tags(in_use);
  for (const std::unique_ptr<Miss>& miss : misses_) {
    if (miss->active) miss->regime.note_tags(in_use);
  }
  if (prefetches_) prefetches_->note_tags(in_use);
}

void Mmu::drop_other_tags(const std::vector<bool>& in_use) {
  const auto drop_from = [&](auto&... caches) {
    const auto is_other = [&](const EntryKey& where, const auto&) { return !in_use[where.tag]; };
    (caches.drop_if(is_other), ...);
  };
  drop_from(fetch_tlb_, data_tlb_, store_tlb_, second_tlb_, prefetch_buffer_,
            walker_.guest_walk_cache(), walker_.nested_walk_cache(), walker_.nested_tlb());
  revoke_if([&](const Grant& grant) { return !in_use[grant.where.tag]; });
}

const Grant* Mmu::grant(const Request& request) {
  check(grant_holder_ != nullptr, "mmu", "somebody to tell of revoked grants", wheel_.now(),
        request.address);
  if (!has_sign(request.address, regime_)) return nullptr;
  for (TranslationCache<Translation>* const tlb : {&first_level(request.access), &second_tlb_}) {
    const Translation* found = nullptr;
    EntryKey at{};
    tlb->for_each([&](const EntryKey& where, const Translation& entry) {
      if ((where.tag != regime_.combined && where.tag != regime_.global) ||
          !same_page(where.address, request.address, where.shift) || !usable(entry, request)) {
        return;
      }
      found = &entry;
      at = where;
    });
    if (found == nullptr) continue;
    for (Grant& known : grants_) {
      const bool same = known.where.tag == at.tag && known.where.shift == at.shift &&
                        same_page(known.where.address, at.address, at.shift);
      if (same) return &(known = {request.address, at, *found});
    }
    grants_.push_back({request.address, at, *found});
    return &grants_.back();
  }
  return nullptr;
}

[[gnu::flatten]] Mmu::Second Mmu::take_from_second(u64 address, AccessKind access, bool user) {
  const Translation* const found = find(second_tlb_, address, regime_);
  TranslationCache<Translation>& first = first_level(access);
  if (found != nullptr && !usable(*found, access, user)) return {nullptr, false};
  counts_.lookup_cycles[0] += first.latency_cycles();
  counts_.lookup_cycles[1] += second_tlb_.latency_cycles();
  if (found == nullptr) return {nullptr, true};
  ++counts_.second_hits_of[static_cast<unsigned>(access)];
  const u16 tag = found->global ? regime_.global : regime_.combined;
  enter(first, address, tag, !found->global, *found);
  enter_for_loads(access, address, tag, *found);
  return {found, false};
}

// Of two first-level TLBs for data, the one for loads is filled by loads and stores (Intel SDM
// vol. 2A, CPUID leaf 18H: load-only and store-only TLBs).
inline void Mmu::enter_for_loads(AccessKind access, u64 address, u16 tag,
                                 const Translation& entry) {
  if (access != AccessKind::Write || !store_tlb_.present()) return;
  enter(data_tlb_, address, tag, false, entry);
}

bool Mmu::miss(const Regime& regime, const Request& request, Absent absent, Actor& owner, u32 what,
               Outcome& outcome) {
  if (free_.empty()) {
    misses_.push_back(std::make_unique<Miss>(*this));
    free_.reserve(misses_.size());
    free_.push_back(misses_.back().get());
    walking_.reserve(misses_.size());
  }
  Miss& miss = *free_.back();
  free_.pop_back();
  miss.request = request;
  miss.regime = regime;
  miss.outcome = &outcome;
  miss.since = wheel_.now();
  miss.absent = absent;
  miss.changes[0] =
      absent == Absent::Unknown ? kUnknownChanges : first_level(request.access).changes();
  miss.changes[1] = absent == Absent::InBoth ? second_tlb_.changes() : kUnknownChanges;
  miss.active = miss.prefetches = true;
  miss.is_settled = miss.has_begun = miss.refused = false;
  return miss.start(owner, what);
}

Task<> Mmu::Begin::operator()() const { return mmu.serve(miss); }

Task<> Mmu::serve(Miss& miss) {
  if (miss.has_begun) {  // a fence made it begin again
    account(miss, false);
    miss.absent = Absent::Unknown;
  }
  for (;;) {
    miss.has_begun = true;
    const TranslationCache<Translation>& first = first_level(miss.request.access);
    for (bool is_over = false; !is_over; miss.absent = Absent::Unknown) {
      if (miss.absent != Absent::InBoth) {
        if (miss.absent == Absent::Unknown) is_over = miss.is_settled = look_first(miss);
        co_await spend(miss, Doing::FirstTlb, first.latency_cycles());
        account(miss, is_over);
        if (is_over) break;
        if (second_tlb_.present() && !miss.refused) {
          const Look look = look_second(miss);
          co_await spend(miss, Doing::SecondTlb, second_tlb_.latency_cycles());
          account(miss, look != Look::Absent);
          if (look != Look::Absent && take_second(miss, look)) break;
        }
      }
      if (prefetcher_ != nullptr && !miss.refused && take_prefetched(miss)) break;
      if (std::vector<Signal*>* const joining = walk_to_join(miss)) {
        ++counts_.merged;
        joining->push_back(&miss.joined);
        miss.doing = Doing::Joined;
        co_await miss.joined;
        account(miss, false);
        continue;
      }
      Walker::Walk& walk = begin_walk(miss);
      co_await walk;
      end_walk(miss, walk);
      is_over = true;
    }
    miss.active = false;
    free_.push_back(&miss);
    co_await miss.over();
  }
}

inline Until Mmu::spend(Miss& miss, Doing doing, u32 cycles) {
  miss.doing = doing;
  return Until(wheel_, wheel_.now() + cycles);
}

// What the miss has waited for is over.
inline void Mmu::account(Miss& miss, bool hit) {
  const Cycle now = wheel_.now();
  const Cycle cycles = now - miss.since;
  miss.since = now;
  (miss.doing == Doing::Joined ? counts_.merged_cycles
                               : counts_.lookup_cycles[static_cast<unsigned>(miss.doing)]) +=
      cycles;
  if (miss.request.witness == nullptr || cycles == 0) [[likely]]
    return;
  constexpr const StepKind* kSteps[] = {&step::kFirstTlb, &step::kSecondTlb, &step::kJoined};
  WitnessStep told;
  told.kind = kSteps[static_cast<unsigned>(miss.doing)];
  told.address = miss.request.address;
  told.hit = hit;
  miss.request.witness->tell(now, told);
}

// True if it says what becomes of the access.
bool Mmu::look_first(Miss& miss) {
  TranslationCache<Translation>& first = first_level(miss.request.access);
  const Translation* const entry = find(first, miss.request.address, miss.regime);
  miss.refused = false;
  miss.changes[0] = entry == nullptr ? first.changes() : kUnknownChanges;
  if (entry == nullptr) return false;
  if (refuses(*entry, miss.request)) return refuse(miss, *entry);
  if (!usable(*entry, miss.request)) return false;
  ++counts_.later_hits[static_cast<unsigned>(miss.request.access)];
  set(*miss.outcome, *entry, miss.request.address);
  if (wants_hits_) [[unlikely]]
    tell_prefetcher(miss, *entry, TlbLookup::Found::FirstLevel);
  return true;
}

inline Mmu::Look Mmu::look_second(Miss& miss) {
  const Translation* const entry = find(second_tlb_, miss.request.address, miss.regime);
  if (entry == nullptr) {
    miss.changes[1] = second_tlb_.changes();
    return Look::Absent;
  }
  miss.found = *entry;
  if (refuses(*entry, miss.request)) return Look::Refused;
  return usable(*entry, miss.request) ? Look::Found : Look::Absent;
}

// True if it says what becomes of the access.
bool Mmu::take_second(Miss& miss, Look look) {
  if (look == Look::Refused) return refuse(miss, miss.found);
  ++counts_.second_hits_of[static_cast<unsigned>(miss.request.access)];
  enter_in_first(miss, miss.found);
  set(*miss.outcome, miss.found, miss.request.address);
  if (wants_hits_) [[unlikely]]
    tell_prefetcher(miss, miss.found, TlbLookup::Found::SecondLevel);
  return true;
}

// The entry forbids the access: a fault without a walk, true; or first a walk without what is
// cached for the address.
bool Mmu::refuse(Miss& miss, const Translation& entry) {
  const Rights needed = Rights::needed(miss.request.access, miss.request.user);
  Fault& fault = miss.outcome->fault;
  fault = {};
  fault.kind = FaultKind::Permission;
  fault.access = miss.request.access;
  fault.user = miss.request.user;
  fault.virtual_address = miss.request.address;
  fault.nested = entry.guest.permit(needed);
  const Stage& stage =
      fault.nested ? miss.regime.nested : miss.regime.guest_of(miss.request.address);
  const u8 shift = fault.nested ? entry.nested_shift : entry.guest_shift;
  fault.level = static_cast<u8>((shift - stage.geometry.page_shift) / stage.geometry.index_bits);
  if (fault.nested) {
    fault.reads_as_writes = stage.format->rules().table_reads_are_writes;
    fault.granted = Access(entry.nested.bits() & 7);
    fault.guest_physical = entry.guest_physical_of(miss.request.address);
  }
  if (miss.regime.confirms_faults()) {
    forget(miss.regime, miss.request.address, fault);
    fault.kind = FaultKind::None;
    miss.refused = true;
    return false;
  }
  forget_refused(miss);
  ++counts_.faults;
  return true;
}

// A page fault removes what is cached for its address, tables included, and all parts that a larger
// page is cached in (Intel SDM vol. 3A, "Operations that Invalidate TLBs and Paging-Structure
// Caches"). An EPT violation removes what is cached for the guest-physical address and for the
// linear one (vol. 3C, "Operations that Invalidate Cached Mappings").
void Mmu::forget_refused(const Miss& miss) {
  const Fault& fault = miss.outcome->fault;
  const Regime& regime = miss.regime;
  const bool forgets =
      fault.nested ? regime.nested.format->extension().fault_forgets : regime.isa().fault_forgets;
  if (!forgets) return;
  if (fault.kind == FaultKind::BadAddress && !fault.nested) return;  // #GP removes nothing
  forget(regime, miss.request.address, fault);
}

void Mmu::forget(const Regime& regime, u64 address, const Fault& fault) {
  const auto is_for_address = [&](const EntryKey& where, const Translation& entry) {
    if (where.tag != regime.combined && where.tag != regime.global) return false;
    TableSpan span = span_of(where, entry);
    // The second stage's leaf is smaller: other pages of the first stage's are other mappings.
    if (fault.nested) {
      span.shift = std::max(where.shift, std::min(entry.guest_shift, entry.nested_shift));
    }
    return span.holds(address);
  };
  // Without parts, the entries for the address are where it leads to: no search.
  const bool may_be_split = has_split_leaves_ && !fault.nested;
  for (TranslationCache<Translation>* const tlb :
       {&fetch_tlb_, &data_tlb_, &store_tlb_, &second_tlb_}) {
    if (may_be_split || tlb->has_parts()) {
      tlb->drop_if(is_for_address);
    } else {
      tlb->drop(address, regime.combined);
      tlb->drop(address, regime.global);
    }
  }
  prefetch_buffer_.drop_if(is_for_address);
  revoke_if([&](const Grant& grant) { return is_for_address(grant.where, grant.translation); });
  walker_.forget(regime, address, fault);
}

// Somebody's walk for the same smallest page of the same address space.
Mmu::Miss* Mmu::walk_for(const Regime& regime, u64 address) const {
  const unsigned shift = regime.page_shift_of(address);
  for (Miss* const other : walking_) {
    if (other->regime.combined == regime.combined &&
        has_sign(other->request.address, other->regime) &&
        same_page(other->request.address, address, shift)) {
      return other;
    }
  }
  return nullptr;
}

// Whom the end of such a walk wakes.
inline std::vector<Signal*>* Mmu::walk_to_join(const Miss& miss) {
  const u64 address = miss.request.address;
  if (!has_sign(address, miss.regime)) return nullptr;
  if (Miss* const other = walk_for(miss.regime, address)) return &other->joining;
  return prefetches_ ? prefetches_->walk_to_join(miss.regime, address) : nullptr;
}

inline Walker::Walk& Mmu::begin_walk(Miss& miss) {
  walking_.push_back(&miss);
  miss.is_settled = true;
  const Request& request = miss.request;
  if (prefetches_) prefetches_->forget(miss.regime, request.address);
  if (request.upcoming != nullptr) walker_.foresee(miss.regime, *request.upcoming);
  return walker_.take({&miss.regime, request.address, request.access, request.user, false,
                       request.witness, false, miss.refused});
}

inline void Mmu::end_walk(Miss& miss, Walker::Walk& walk) {
  walking_.erase(std::find(walking_.begin(), walking_.end(), &miss));
  // An address that is none is refused before anything is looked up.
  const u32 references = walk.record().count;
  if (references != 0) ++counts_.walks_of[static_cast<unsigned>(miss.request.access)];
  counts_.references += references;
  walk_totals_.add(walk.record());
  if (keep_walks_) [[unlikely]]
    keep(miss, walk);
  if (walk.fault()) {
    ++counts_.faults;
    miss.outcome->fault = walk.fault();
    forget_refused(miss);
  } else {
    fill(miss, walk.translation());
    if (prefetcher_ != nullptr) {
      tell_prefetcher(miss, walk.translation(), TlbLookup::Found::ByWalk);
    }
  }
  walker_.give_back(walk);
  // Those who waited look again, in this cycle: what they find may not permit what they want.
  for (Signal* const joined : miss.joining) joined->wake(wheel_);
  miss.joining.clear();
  if (prefetches_) prefetches_->go_on();
}

void Mmu::keep(const Miss& miss, const Walker::Walk& walk) {
  last_walk_ = walk.record();
  if (walk_listener_ == nullptr) return;
  walk_listener_->on_walk(miss.request.address, miss.request.access, walk.record(), walk.fault());
}

// Both levels have it from now on, and the miss.
inline void Mmu::fill(const Miss& miss, const Translation& found) {
  has_globals_ = has_globals_ || found.global;
  has_split_leaves_ = has_split_leaves_ || found.is_part();
  if (second_tlb_.present()) enter_in(second_tlb_, 1, miss, found);
  enter_in_first(miss, found);
  set(*miss.outcome, found, miss.request.address);
}

inline void Mmu::enter_in(TranslationCache<Translation>& tlb, unsigned level, const Miss& miss,
                          const Translation& entry) {
  const u16 tag = entry.global ? miss.regime.global : miss.regime.combined;
  const bool absent = !entry.global && tlb.changes() == miss.changes[level];
  enter(tlb, miss.request.address, tag, absent, entry);
}

inline void Mmu::enter_in_first(const Miss& miss, const Translation& entry) {
  const Request& request = miss.request;
  enter_in(first_level(request.access), 0, miss, entry);
  enter_for_loads(request.access, request.address,
                  entry.global ? miss.regime.global : miss.regime.combined, entry);
}

// Prefetches -------------------------------------------------------------------------------------

// The buffer is looked up together with the last level: that takes no time of its own. An entry is
// there for one miss. If it does not permit the access as it is, a walk says why.
bool Mmu::take_prefetched(Miss& miss) {
  const Request& request = miss.request;
  if (!has_sign(request.address, miss.regime)) return false;
  for (const u16 tag : {miss.regime.combined, miss.regime.global}) {
    const Translation* const entry = prefetch_buffer_.find(request.address, tag);
    if (entry == nullptr) continue;
    const Translation found = *entry;
    prefetch_buffer_.drop(request.address, tag);
    if (!usable(found, request)) return false;
    prefetches_->count_use();
    fill(miss, found);
    tell_prefetcher(miss, found, TlbLookup::Found::PrefetchBuffer);
    return true;
  }
  return false;
}

// Misses of other address spaces go on, but ask for no prefetches.
void Mmu::leave_other_spaces() {
  const auto is_left = [&](const Regime& of) { return !of.is_same_space(regime_); };
  prefetches_->end_if(is_left);
  for (const std::unique_ptr<Miss>& miss : misses_) {
    if (miss->active && is_left(miss->regime)) miss->prefetches = false;
  }
}

void Mmu::tell_prefetcher(const Miss& miss, const Translation& found, TlbLookup::Found where) {
  if (miss.prefetches) tell_prefetcher(miss.regime, miss.request, found, where);
}

void Mmu::tell_prefetcher(const Regime& regime, const Request& request, const Translation& found,
                          TlbLookup::Found where) {
  const TranslationCache<Translation>& last =
      second_tlb_.present() ? second_tlb_ : first_level(request.access);
  const u8 held = last.held_shift(found.shift());
  const u8 shift = held != 0 ? held : found.shift();
  wanted_.clear();
  prefetcher_->look({request.address & ~addrspace::low_mask(shift), shift, regime.combined,
                     request.access, where},
                    wanted_);
  const AccessKind access = request.access == AccessKind::Write ? AccessKind::Read : request.access;
  for (const u64 address : wanted_) {
    if (is_worth_a_walk(regime, address, access)) {
      prefetches_->ask({regime, address, access, request.user});
    }
  }
}

bool Mmu::is_worth_a_walk(const Regime& regime, u64 address, AccessKind access) {
  if (!has_sign(address, regime)) return false;
  const TranslationCache<Translation>& last =
      second_tlb_.present() ? second_tlb_ : first_level(access);
  for (const u16 tag : {regime.combined, regime.global}) {
    if (last.holds(address, tag) || prefetch_buffer_.holds(address, tag)) return false;
  }
  return walk_for(regime, address) == nullptr && !prefetches_->has(regime, address);
}

}  // namespace nestwalk::models
