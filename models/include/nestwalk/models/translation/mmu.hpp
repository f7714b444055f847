// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A core's address translation: split first-level TLBs, a unified second level, the walker, and
// perhaps a prefetcher.
//
// A hit in the first level is resolved where it is asked for. Everything else takes its turn on the
// wheel, unless nothing else is due before it is over. Misses to one page share one walk.
#pragma once

#include <optional>
#include <utility>

#include "nestwalk/models/translation/prefetch_queue.hpp"
#include "nestwalk/models/translation/tlb_prefetcher.hpp"

namespace nestwalk::models {

/// What a fence that names a virtual address removes where a TLB holds parts of a larger page of
/// the first stage over smaller ones of the second.
inline constexpr Word<bool> kFracturedFences[] = {{"parts", false}, {"all", true}};

struct MmuShape {
  CacheShape fetch_tlb;  ///< none: fetches use the data TLB
  CacheShape data_tlb;
  CacheShape second_tlb;  ///< none: misses go to the walker
  WalkerShape walker;
  TlbPrefetchShape prefetch{};
  CacheShape store_tlb{};  ///< none: stores use the data TLB
  bool fractured_flushes = false;

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"fractured_fences", &MmuShape::fractured_flushes, OrLeftOut{OneOf{kFracturedFences}},
            "what a fence for one virtual address removes from TLBs that hold parts of a large "
            "page of the first stage over smaller ones of the second: the parts of the page that "
            "it names (parts, the default), or all of its address space (all)"}};
  }
};

/// A translation that somebody outside goes on to use without asking: a pointer of direct memory
/// access. As good as a TLB entry until a fence reaches it.
struct Grant {
  u64 address;  ///< that was asked for
  EntryKey where;
  Translation translation;
};
class GrantHolder {
 public:
  virtual void on_revoked(const Grant& grant) = 0;

 protected:
  GrantHolder() = default;
  GrantHolder(const GrantHolder&) = default;
  GrantHolder& operator=(const GrantHolder&) = default;
  ~GrantHolder() = default;
};

class Mmu final {
 public:
  Mmu(Wheel& wheel, HostMemory& memory, MemoryHierarchy& hierarchy,
      MemoryHierarchy::PathId walker_path, const MmuShape& shape);
  Mmu(const Mmu&) = delete;
  Mmu& operator=(const Mmu&) = delete;

  /// The tables and tags that translate from now on. What is cached stays: the tags tell it apart.
  /// Prefetches for another address space end.
  void set_regime(const Regime& regime) {
    regime_ = regime;
    if (prefetches_) leave_other_spaces();
    if (!grants_.empty()) revoke_if([](const Grant&) { return true; });
  }
  const Regime& regime() const { return regime_; }

  struct Request {
    u64 address = 0;
    AccessKind access = AccessKind::Read;
    bool user = false;
    Witness* witness = nullptr;
    const Upcoming* upcoming = nullptr;
  };
  struct Outcome {
    Fault fault;
    u64 host = 0;            ///< of the byte that was asked for, if there is no fault
    u64 guest_physical = 0;  ///< likewise
    MemoryType memory = MemoryType::WriteBack;
  };

  /// Translates from now on. True if that is over at the wheel's now(), which may be later than it
  /// was; else `owner` runs with `what` when it is. `outcome` is written by then.
  bool translate(const Request& request, Actor& owner, u32 what, Outcome& outcome) {
    return translate_in(regime_, request, owner, what, outcome);
  }
  /// The same with other tables and tags than the core's: a kernel's access to its own memory.
  bool translate_in(const Regime& regime, const Request& request, Actor& owner, u32 what,
                    Outcome& outcome) {
    TranslationCache<Translation>& first = first_level(request.access);
    const Translation* const hit = find(first, request.address, regime);
    if (hit == nullptr || !usable(*hit, request)) [[unlikely]]
      return miss(regime, request, hit == nullptr ? Absent::InFirst : Absent::Unknown, owner, what,
                  outcome);
    ++counts_.inline_hits[static_cast<unsigned>(request.access)];
    set(outcome, *hit, request.address);
    if (wants_hits_) [[unlikely]]
      tell_prefetcher(regime, request, *hit, TlbLookup::Found::FirstLevel);
    return spend(first.latency_cycles(), owner, what);
  }

  /// Has the prefetcher to be told of each hit?
  bool wants_hits() const { return wants_hits_; }

  // The same in parts, for those who know that nothing else is due in the time that it takes, and
  // where the prefetcher does not want hits. That time is theirs to spend, too.

  /// The entry of the first level, if there is one. Whoever uses it counts that as a hit.
  const Translation* in_first(u64 address, AccessKind access) {
    return find(first_level(access), address, regime_);
  }
  /// The same at once, for any prefetcher: uses that entry, for an access whose time is hidden.
  void use_first(const Request& request, const Translation& entry) {
    count_first_hits(request.access, 1);
    if (wants_hits_) [[unlikely]]
      tell_prefetcher(regime_, request, entry, TlbLookup::Found::FirstLevel);
  }
  void count_first_hits(AccessKind access, u64 hits) {
    counts_.inline_hits[static_cast<unsigned>(access)] += hits;
  }
  /// Of an address that the first level has not: the lookup in both, with all that belongs to it.
  /// What the second has, if the access can use it, is in the first from then on.
  struct Second {
    const Translation* found;
    bool absent;  ///< there is none at all; if neither, the lookup is still to be done
  };
  Second take_from_second(u64 address, AccessKind access, bool user);
  /// Of an address that is absent in both, when both lookups are over: goes on as `translate` does.
  bool walk(const Request& request, Actor& owner, u32 what, Outcome& outcome) {
    return miss(regime_, request, Absent::InBoth, owner, what, outcome);
  }
  /// Can the access use the entry as it is? A write through one that is not dirty walks again.
  static bool usable(const Translation& entry, AccessKind access, bool user) {
    // Without a branch: whether the next access is a write, the host cannot guess.
    return entry.permits(Rights::needed(access, user)) &
           (entry.dirty | (access != AccessKind::Write));
  }
  u32 first_latency(AccessKind access) const { return first_level(access).latency_cycles(); }
  u32 second_latency() const { return second_tlb_.latency_cycles(); }

  struct Counts {
    static constexpr unsigned kKinds = 3;  ///< of AccessKind
    u64 inline_hits[kKinds] = {};          ///< in the first level, at once
    u64 later_hits[kKinds] = {};           ///< in the first level, after waiting for a walk
    u64 second_hits_of[kKinds] = {};
    u64 walks_of[kKinds] = {};
    u64 merged = 0;  ///< misses that waited for somebody else's walk
    u64 faults = 0;
    u64 references = 0;
    u64 lookup_cycles[2] = {};  ///< of misses: in the TLB of either level
    u64 merged_cycles = 0;      ///< waiting for somebody else's walk

    u64 first_hits() const { return sum(inline_hits) + sum(later_hits); }
    u64 second_hits() const { return sum(second_hits_of); }
    u64 walks() const { return sum(walks_of); }
    static u64 sum(const u64 (&by_kind)[kKinds]) { return by_kind[0] + by_kind[1] + by_kind[2]; }
  };
  /// In translations, everything included.
  Cycle cycles() const;
  /// All that it counted.
  struct Totals {
    Counts counts;
    WalkTotals walks;
    Cycle cycles = 0;
    u64 refills = 0;
    PrefetchCounts prefetches;
    u64 fetched_ahead = 0;
  };
  Totals totals() const {
    return {counts_, walk_totals_, cycles(), refills(), prefetch_counts(), walker_.fetched_ahead()};
  }
  const WalkTotals& walk_totals() const { return walk_totals_; }
  const Counts& counts() const { return counts_; }
  PrefetchCounts prefetch_counts() const {
    return prefetches_ ? prefetches_->counts() : PrefetchCounts{};
  }

  // For fences and for looking.
  TranslationCache<Translation>& fetch_tlb() { return fetch_tlb_; }
  TranslationCache<Translation>& data_tlb() { return data_tlb_; }
  /// Empty, if stores use the data TLB.
  TranslationCache<Translation>& store_tlb() { return store_tlb_; }
  TranslationCache<Translation>& second_tlb() { return second_tlb_; }
  /// Does a fence for an address remove all, for parts of pages under such tags?
  template <class Match>
  bool flushes_for_parts(Match&& match) {
    bool found = false;
    if (!fractured_flushes_) return found;
    for (auto* const tlb : {&fetch_tlb_, &data_tlb_, &store_tlb_, &second_tlb_}) {
      tlb->for_each([&](const EntryKey& where, const Translation& entry) {
        found = found || (entry.is_part() && match(where.tag));
      });
    }
    return found;
  }
  /// What prefetches found, until a miss uses it; empty without a prefetcher.
  TranslationCache<Translation>& prefetch_buffer() { return prefetch_buffer_; }
  Walker& walker() { return walker_; }
  const Walker& walker() const { return walker_; }
  /// Entries of any kind that fences for the engine removed, and that were filled again.
  u64 refills() const {
    return fetch_tlb_.refills() + data_tlb_.refills() + store_tlb_.refills() +
           second_tlb_.refills() + prefetch_buffer_.refills() + walker_.refills();
  }
  /// What a fence does to whatever is under way: walks and misses forget what they know and begin
  /// again, prefetches end.
  void restart() {
    walker_.restart_if([](const WalkRequest&) { return true; });
    restart_misses();
    if (prefetches_) prefetches_->end_if([](const Regime&) { return true; });
  }
  /// Whatever is between its first lookup and what decides it forgets what it knows and begins
  /// again.
  void restart_misses() {
    for (const std::unique_ptr<Miss>& miss : misses_) {
      if (miss->active && !miss->is_settled) miss->request_restart();
    }
  }
  /// Removes what is cached for an address that was refused, tables included, whether or not the
  /// machine's faults do so.
  void forget(const Regime& regime, u64 address, const Fault& fault);
  /// Notes the tags of what translates now, and of what is under way.
  void note_tags(std::vector<bool>& in_use) const;
  /// Everything that is cached under other tags goes.
  void drop_other_tags(const std::vector<bool>& in_use);
  /// What a TLB holds for an access, handed out until it is revoked; null if none does.
  const Grant* grant(const Request& request);
  void tell_of_revoked(GrantHolder& holder) { grant_holder_ = &holder; }
  template <class Match>
  void revoke_if(Match&& match) {
    std::vector<Grant> gone;
    std::erase_if(grants_, [&](const Grant& grant) {
      if (!match(grant)) return false;
      gone.push_back(grant);
      return true;
    });
    for (const Grant& grant : gone) grant_holder_->on_revoked(grant);
  }
  /// The record of the walk that was done last.
  const WalkRecord& last_walk() const { return last_walk_; }
  void keep_walks(bool keep) { keep_walks_ = keep; }
  /// Before anything is translated: this one hears of walks.
  void tell(WalkListener& listener) {
    walk_listener_ = &listener;
    keep_walks_ = true;
  }

 private:
  enum class Doing : u8 { FirstTlb, SecondTlb, Joined };  ///< what a miss that waits, waits for
  /// Which levels are known not to have it, in the cycle in which the miss begins.
  enum class Absent : u8 { Unknown, InFirst, InBoth };
  struct Miss;
  struct Begin {
    Mmu& mmu;
    Miss& miss;
    Task<> operator()() const;
  };
  struct Miss final : Job<Begin> {
    explicit Miss(Mmu& mmu) : Job(Begin{mmu, *this}) {}

    Request request;
    Regime regime;  ///< walks keep the one that they began with
    Translation found;
    Outcome* outcome = nullptr;
    Cycle since = 0;      ///< in what it is doing
    u64 changes[2] = {};  ///< of the TLBs when they did not have it
    Signal joined;        ///< the walk that it has joined has ended
    std::vector<Signal*> joining;
    Absent absent = Absent::Unknown;
    Doing doing = Doing::FirstTlb;
    bool active = false;
    bool is_settled = false;  ///< by the first level, or the walk has it: no restart of this
    bool has_begun = false;
    bool refused = false;    ///< by an entry that is gone: a walk says whether it is a fault
    bool prefetches = true;  ///< the processor is still in its address space
  };

  TranslationCache<Translation>& first_level(AccessKind access) {
    return *first_level_[static_cast<unsigned>(access)];
  }
  const TranslationCache<Translation>& first_level(AccessKind access) const {
    return *first_level_[static_cast<unsigned>(access)];
  }
  /// Bits 63:59 are in no key: if they are not the sign of the rest, no entry is the address's own.
  static bool has_sign(u64 address, const Regime& regime) {
    return (address + regime.sign) >> kAddressBits == 0;
  }
  Translation* find(TranslationCache<Translation>& tlb, u64 address, const Regime& regime) {
    if (!has_sign(address, regime)) [[unlikely]]
      return nullptr;
    Translation* const own = tlb.find(address, regime.combined);
    if (own != nullptr || !has_globals_) return own;
    return tlb.find(address, regime.global);
  }
  static bool usable(const Translation& entry, const Request& request) {
    return usable(entry, request.access, request.user);
  }
  /// Does the entry by itself say which fault comes first? The first stage refuses first. Before
  /// the second refuses a write, the first stage's dirty flag has its turn: it may be clear, for
  /// software or hardware to set. Only a walk knows what that meets.
  static bool refuses(const Translation& entry, const Request& request) {
    const Rights needed = Rights::needed(request.access, request.user);
    if (!entry.guest.permit(needed)) return true;
    return !entry.nested.permit(needed) &&
           (entry.guest_dirty || request.access != AccessKind::Write);
  }
  static void set(Outcome& outcome, const Translation& entry, u64 address) {
    outcome.fault.kind = FaultKind::None;
    outcome.host = entry.host_of(address);
    outcome.guest_physical = entry.guest_physical_of(address);
    outcome.memory = entry.memory;
  }
  bool spend(u32 cycles, Actor& owner, u32 what) {
    if (wheel_.advance(wheel_.now() + cycles)) return true;
    wheel_.schedule(wheel_.now() + cycles, owner, what);
    return false;
  }

  bool miss(const Regime& regime, const Request& request, Absent absent, Actor& owner, u32 what,
            Outcome& outcome);
  // The process of one miss after the other, and what it does between its waits.
  Task<> serve(Miss& miss);
  bool look_first(Miss& miss);
  enum class Look : u8 { Absent, Found, Refused };
  [[gnu::always_inline]] Look look_second(Miss& miss);
  bool take_second(Miss& miss, Look look);
  Miss* walk_for(const Regime& regime, u64 address) const;
  [[gnu::always_inline]] std::vector<Signal*>* walk_to_join(const Miss& miss);
  [[gnu::always_inline]] Walker::Walk& begin_walk(Miss& miss);
  [[gnu::always_inline]] void end_walk(Miss& miss, Walker::Walk& walk);
  [[gnu::noinline]] void keep(const Miss& miss, const Walker::Walk& walk);
  [[gnu::always_inline]] Until spend(Miss& miss, Doing doing, u32 cycles);
  [[gnu::always_inline]] void account(Miss& miss, bool hit);
  [[gnu::noinline]] bool refuse(Miss& miss, const Translation& entry);
  [[gnu::always_inline]] void enter_in(TranslationCache<Translation>& tlb, unsigned level,
                                       const Miss& miss, const Translation& entry);
  [[gnu::always_inline]] void enter_in_first(const Miss& miss, const Translation& entry);
  void fill(const Miss& miss, const Translation& found);
  void enter_for_loads(AccessKind access, u64 address, u16 tag, const Translation& entry);

  // Prefetches.
  void leave_other_spaces();
  [[gnu::noinline]] void tell_prefetcher(const Miss& miss, const Translation& found,
                                         TlbLookup::Found where);
  [[gnu::noinline]] bool take_prefetched(Miss& miss);
  [[gnu::noinline]] void tell_prefetcher(const Regime& regime, const Request& request,
                                         const Translation& found, TlbLookup::Found where);
  bool is_worth_a_walk(const Regime& regime, u64 address, AccessKind access);
  [[gnu::noinline]] void forget_refused(const Miss& miss);

  Wheel& wheel_;
  Regime regime_;
  TranslationCache<Translation> fetch_tlb_;
  TranslationCache<Translation> data_tlb_;
  TranslationCache<Translation> store_tlb_;
  TranslationCache<Translation>* first_level_[Counts::kKinds];  ///< by AccessKind
  TranslationCache<Translation> second_tlb_;
  TranslationCache<Translation> prefetch_buffer_;
  Walker walker_;
  std::unique_ptr<TlbPrefetcher> prefetcher_;  ///< null: there is none
  std::optional<PrefetchQueue> prefetches_;    ///< with a prefetcher
  std::vector<u64> wanted_;                    ///< by the prefetcher, now
  bool wants_hits_ = false;
  bool has_globals_ = false;
  bool has_split_leaves_ = false;  ///< of the first stage, over smaller ones of the second
  bool fractured_flushes_ = false;
  bool keep_walks_ = false;
  WalkListener* walk_listener_ = nullptr;
  std::vector<std::unique_ptr<Miss>> misses_;  ///< they stay where they are
  std::vector<Miss*> free_;
  std::vector<Miss*> walking_;  ///< misses whose walks are queued or under way
  std::vector<Grant> grants_;
  GrantHolder* grant_holder_ = nullptr;
  Counts counts_;
  WalkTotals walk_totals_;
  WalkRecord last_walk_;
};

}  // namespace nestwalk::models
