// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Data caches and main memory: where an access goes, and when its data are there.
//
// An access has a path: the caches from where it enters to the last one before memory. It looks
// into one after the other, each for that cache's lookup time, and its data are there when the
// cache that has the line, or memory, has taken its own time. All caches on the way that missed are
// filled in that cycle. Every lookup happens in its own cycle, in the one order of the wheel, so
// that cores meet in shared caches as they would.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "nestwalk/models/memory/data_prefetcher.hpp"
#include "nestwalk/models/memory/dram.hpp"
#include "nestwalk/models/memory/host_memory.hpp"
#include "nestwalk/models/memory/inclusion.hpp"
#include "nestwalk/models/memory/key_array.hpp"
#include "nestwalk/models/time/wheel.hpp"

namespace nestwalk::models {

/// Which structure had what was asked for.
enum class Served : u8 { None, WalkCache, NestedTlb, L1, L2, L3, Memory };
inline constexpr std::size_t kServed = 7;
/// Where reads of page tables may look first; L1 is the data cache.
inline constexpr Word<Served> kWalkEntries[] = {
    {"l1d", Served::L1}, {"l2", Served::L2}, {"l3", Served::L3}, {"memory", Served::Memory}};

struct DataCacheShape {
  u32 sets = 64;
  u32 ways = 8;
  u32 latency_cycles = 4;
  u32 mshrs = 10;
  ReplacementKind replacement = ReplacementKind::Lru;
  const Inclusion* inclusion = &kNonInclusive;
  std::vector<DataPrefetchShape> prefetchers{};

  static constexpr auto parameters() {
    using namespace parameter;
    return std::tuple{
        Row{"sets", &DataCacheShape::sets, PowerOfTwo{1, 1 << 20}, "sets of the cache"},
        Row{"ways", &DataCacheShape::ways, Number{1, 64}, "lines of each set"},
        Row{"latency_cycles", &DataCacheShape::latency_cycles, Number{1, 10'000},
            "cycles from a load's first lookup, in the first level, to its data in this one",
            kInCycles},
        Row{"mshrs", &DataCacheShape::mshrs, Number{1, 1024}, "misses outstanding at a time"},
        Row{"replacement", &DataCacheShape::replacement, Registered{},
            "which line of a full set is replaced"},
        Row{"lower.inclusion", &DataCacheShape::inclusion, OneOf{kInclusions},
            "of a cache below the first level: what it holds of what the caches above hold. "
            "non-inclusive: every line that was fetched through it; inclusive (inclusive-of-data: "
            "but for the instruction cache): all of it, for what goes from here goes above, too; "
            "victim: only what had to go above; exclusive: so, and a line that is used goes up"}};
  }
};

/// Of the caches of one level together, in lines.
struct DataPrefetchCounts {
  u64 issued = 0;       ///< asked for from the next level
  u64 used = 0;         ///< of these, used after they had come
  u64 late = 0;         ///< of these, wanted while they were on their way
  u64 dropped = 0;      ///< not asked for: all MSHRs were taken
  u64 from_memory = 0;  ///< of those that were issued
};

/// A memory outside of the models, in the place of the banks behind the last cache.
class OutsideMemory {
 public:
  /// Wants a line, now. Schedules `owner` with `what` on the wheel for the cycle in which it is
  /// there.
  virtual void fetch(u64 line, Actor& owner, u32 what) = 0;
  /// Has a line to write; nobody waits for that.
  virtual void write_back(u64 line) = 0;

 protected:
  OutsideMemory() = default;
  OutsideMemory(const OutsideMemory&) = default;
  OutsideMemory& operator=(const OutsideMemory&) = default;
  ~OutsideMemory() = default;
};

class MemoryHierarchy final : public Actor {
 public:
  static constexpr unsigned kMostLevels = 3;
  using CacheId = u32;
  enum class Holds : u8 { Data, Instructions };
  using PathId = u32;

  MemoryHierarchy(Wheel& wheel, const DramShape& dram, u32 line_bytes, ClockRate clock = {});

  /// `lookup` is the time that it adds to an access; `served` is what its hits are called; `below`
  /// is the path of what it misses, for write-backs.
  CacheId add_cache(const DataCacheShape& shape, Cycle lookup, Served served, PathId below,
                    Holds holds = Holds::Data);
  /// From the first cache looked at to the last; none is a way straight to memory.
  PathId add_path(std::span<const CacheId> caches);

  /// An access that arrives now. True if its data are there, at now(), which may be later than it
  /// was; else `owner` runs with `what` when they are. `served` is written by then. (Inline by
  /// force: as a call it makes walks 5 % longer, in instructions.)
  [[gnu::always_inline]] bool access(PathId path, Hpa at, bool write, Actor& owner, u32 what,
                                     Served& served) {
    const u64 line = at.value() >> line_shift_;
    const Path& way = paths_[path];
    if (way.count == 0 || !way.caches[0]->hit(line, write)) [[unlikely]]
      return miss(path, line, write, owner, what, served);
    served = way.caches[0]->served;
    const Cycle ready = wheel_.now() + way.caches[0]->latency;
    if (wheel_.advance(ready)) return true;
    wheel_.schedule(ready, owner, what);
    return false;
  }
  /// Wants a line in the path's first cache, now, for an access to come. Nobody waits for it; true
  /// if it is on its way then: it was not yet, and an MSHR was free.
  bool fetch_ahead(PathId path, Hpa at);
  /// A whole line goes to memory, now, and no cache of the path keeps it. Nobody waits for that.
  void store_around(PathId path, Hpa at);
  /// Is it in the path's first cache? If so, this is the access, but for the time that it takes.
  bool hits_first(PathId path, Hpa at, bool write) {
    const Path& way = paths_[path];
    return way.count != 0 && way.caches[0]->hit_again(at.value() >> line_shift_, write);
  }
  /// What such a hit is called, and takes; a path to memory has none.
  Served first_served(PathId path) const {
    return paths_[path].count == 0 ? Served::Memory : paths_[path].caches[0]->served;
  }
  u32 first_latency(PathId path) const {
    return paths_[path].count == 0 ? 0 : paths_[path].caches[0]->latency;
  }

  /// For the host's caches, some time before an access: the sets of the largest cache.
  [[gnu::always_inline]] void prefetch(PathId path, Hpa at) const {
    const Path& way = paths_[path];
    if (way.count == 0) return;
    const KeyArray& keys = way.caches[way.count - 1]->keys;
    keys.prefetch(keys.set_of(at.value() >> line_shift_));
  }
  /// That is no use.
  bool holds(CacheId cache, u64 line) const {
    const KeyArray& keys = caches_[cache].keys;
    return keys.find(keys.set_of(line), line) != KeyArray::kNone;
  }
  const DramCounts& dram_counts() const { return dram_.counts(); }
  void use(OutsideMemory& outside) { outside_ = &outside; }
  const DataPrefetchCounts& prefetch_counts(Served level) const {
    return prefetches_[static_cast<std::size_t>(level)];
  }
  u32 line_bytes() const { return u32{1} << line_shift_; }

  void on_cycle(u32 flight) override;

 private:
  static constexpr u32 kNone = ~u32{0};
  /// Of the marks of a set, which the ways' dirty ones are: prefetched, and not used yet.
  static constexpr u32 kPrefetched = 32;
  /// Turn: it looks once more where all MSHRs were taken, and one is kept for it.
  enum class Phase : u8 { Arrive, Turn, Respond };
  struct List {
    u32 first = kNone;
    u32 last = kNone;
  };
  struct Flight {
    u64 line;
    Actor* owner;  ///< null: a prefetch
    Served* served;
    u32 what;
    u32 next;
    PathId path;
    u8 step;  ///< the cache of the path that it is at
    bool write;
    Phase phase;
  };
  struct Mshr {
    u64 line;
    List waiting;
  };
  struct Cache {
    Cache(const DataCacheShape& shape, Cycle lookup, Served served_as, PathId path_below);
    /// Looks for a line, uses it, and marks it for a write.
    bool hit(u64 line, bool write) {
      const u32 set = keys.set_of(line);
      return mark(set, keys.use(set, line), write);
    }
    /// The same, where it is often the line of before.
    bool hit_again(u64 line, bool write) {
      const u32 set = keys.set_of(line);
      return mark(set, keys.use_again(set, line), write);
    }
    /// A line that was prefetched and not used yet is no hit here, but a first use.
    bool mark(u32 set, u32 way, bool write) {
      if (way == KeyArray::kNone) return false;
      if (prefetches && keys.marked(set, way + kPrefetched)) [[unlikely]]
        return false;
      keys.mark(set, way, write);
      return true;
    }
    u32 pending(u64 line) const;
    bool has_free_mshr() const { return mshrs.size() + promised < most_mshrs; }

    KeyArray keys;  ///< of lines; dirty ones are marked
    bool prefetches = false;
    std::vector<Mshr> mshrs;
    List stalled;      ///< flights that found all MSHRs taken
    u32 promised = 0;  ///< free MSHRs, each kept for a flight that was stalled and has yet to look
    u32 latency;       ///< of a lookup
    u32 most_mshrs;
    Served served;
    PathId below;
    Inclusion inclusion;
    bool follows_victims = false;  ///< all that go are of interest to others, not only dirty ones
    std::vector<Cache*> included;  ///< caches above that hold only what this one holds
    std::vector<std::unique_ptr<DataPrefetcher>> prefetchers{};
    PathId from_here = 0;  ///< of prefetches
  };
  struct Path {
    Cache* caches[kMostLevels];
    u8 count;
  };

  bool miss(PathId path, u64 line, bool write, Actor& owner, u32 what, Served& served);
  bool descend(const Path& path, Flight& flight);
  bool use_first(Cache& cache, const Flight& flight);
  bool wait(const Path& path, const Flight& flight, Cycle due);
  u32 take_flight();
  bool fly(u32 flight);
  bool arrive(u32 flight);
  bool go_on(u32 flight, Cycle at);
  bool go_on(u32 flight, Cycle at, Cache& told);
  bool look_ahead(Cache& cache, u64 line);
  void prefetch_wanted(Cache& cache);
  void prefetch_line(Cache& cache, u64 line);
  void begin_fetch(Cache& cache, PathId path, u64 line, Actor* owner);
  void respond(u32 flight);
  bool give(const Path& path, unsigned step, u64 line);
  template <class Put>
  void fill_above(const Path& path, const Flight& flight, Put&& put);
  void fill(Cache& cache, u64 line, bool dirty);
  void insert(Cache& cache, u64 line, bool dirty) {  // that is not there
    KeyArray& keys = cache.keys;
    const u32 set = keys.set_of(line);
    const KeyArray::Place place = keys.put(set, line);
    const bool was_dirty = keys.marked(set, place.way);
    if (was_dirty) keys.unmark(set, place.way);
    if (cache.prefetches) keys.unmark(set, place.way + kPrefetched);
    if (dirty) keys.mark(set, place.way);
    if (was_dirty || cache.follows_victims) [[unlikely]]
      put_out(cache, place.before, was_dirty);
  }
  void put_out(Cache& cache, u64 line, bool dirty);
  static bool take_away(Cache& cache, u64 line);
  void to_memory(u64 line);
  bool release(Cache& cache, u64 line, Served served);
  void end_prefetch(const Flight& flight, bool is_wanted);
  DataPrefetchCounts& counts_of(const Cache& cache) {
    return prefetches_[static_cast<std::size_t>(cache.served)];
  }
  /// A free MSHR is kept for the first that waits for one, until that has looked: nobody overtakes
  /// it. If it then needs none, the next has its turn. So flights wait only while none is free.
  void wake_stalled(Cache& cache) {
    if (cache.stalled.first != kNone && cache.has_free_mshr()) [[unlikely]]
      give_turn(cache);
  }
  void give_turn(Cache& cache);
  void append(List& list, u32 flight);
  u32 take_first(List& list);

  struct Nobody final : Actor {
    void on_cycle(u32) override {}
  };

  Wheel& wheel_;
  Nobody nobody_;
  Dram dram_;
  OutsideMemory* outside_ = nullptr;
  u32 line_shift_;
  u32 mshrs_taken_ = 0;  ///< of all caches, promised ones included
  u32 free_ = kNone;
  std::vector<Flight> flights_;
  std::deque<Cache> caches_;  ///< they stay where they are
  std::vector<Path> paths_;
  std::array<DataPrefetchCounts, kServed> prefetches_{};
  std::vector<u64> wanted_;  ///< by prefetchers, at one lookup
  Served by_prefetch_ = Served::None;
};

}  // namespace nestwalk::models
