// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a tree of tables should hold, kept the plain way: a sorted map of runs of leaves. Every
// change to the model says what it did to each leaf, so that a test can hold the engine's
// invalidations against it. And a walk of the raw entries, which trusts nothing that the engine
// says of itself.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "arena_hal.hpp"
#include "nestwalk/addrspace/formats.hpp"
#include "nestwalk/addrspace/page_table.hpp"

namespace nestwalk::addrspace::model {

/// splitmix64.
class Random {
 public:
  explicit Random(u64 seed) : state_(seed) {}
  u64 next() {
    u64 z = (state_ += 0x9e37'79b9'7f4a'7c15);
    z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9;
    z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11eb;
    return z ^ (z >> 31);
  }
  u64 below(u64 bound) { return next() % bound; }
  bool one_in(u64 n) { return below(n) == 0; }
  template <class T, std::size_t N>
  T pick(const T (&list)[N]) {
    return list[below(N)];
  }

 private:
  u64 state_;
};

/// How many operations a random test runs; NESTWALK_MODEL_OPERATIONS overrides it.
inline u64 operations(u64 wanted) {
  if (const char* text = std::getenv("NESTWALK_MODEL_OPERATIONS")) {
    return std::strtoull(text, nullptr, 10);
  }
#ifdef NESTWALK_SANITIZED
  return wanted / 20;
#else
  return wanted;
#endif
}
inline u64 seed(u64 usual) {
  const char* text = std::getenv("NESTWALK_MODEL_SEED");
  return text == nullptr ? usual : std::strtoull(text, nullptr, 10);
}

/// Leaves of one level whose output addresses are contiguous.
struct LeafRun {
  u64 size;
  unsigned level;
  u64 address;
  MappingFlags flags;  ///< as `query` reports them; without access the hardware sees nothing
  bool owned;
  bool soft_dirty = false;      ///< noted by software
  bool hardware_dirty = false;  ///< noted by the walker

  bool valid() const { return flags.access.any_of(kRwx); }
};

/// What became of some leaves.
struct Effect {
  u64 start;
  u64 size;
  unsigned level;
  Changes changes;
  bool owned;
};

struct TableRegion {
  u64 start;
  u64 size;
  friend auto operator<=>(const TableRegion&, const TableRegion&) = default;
};

class Tree {
 public:
  explicit Tree(const Geometry& geometry) : geometry_(geometry) {}

  u64 size(unsigned level) const { return geometry_.leaf_bytes(level); }
  u64 end() const { return u64{1} << geometry_.input_bits; }
  const std::map<u64, LeafRun>& runs() const { return runs_; }

  struct Found {
    u64 start;     ///< of the leaf
    LeafRun leaf;  ///< the leaf alone
  };
  bool find(u64 offset, Found& found) const {
    auto after = runs_.upper_bound(offset);
    if (after == runs_.begin()) return false;
    --after;
    if (offset - after->first >= after->second.size) return false;
    const u64 step = size(after->second.level);
    found = {align_down(offset, step), after->second};
    found.leaf.address += found.start - after->first;
    found.leaf.size = step;
    return true;
  }
  bool overlaps(u64 from, u64 to) const {
    auto next = runs_.lower_bound(from);
    if (next != runs_.end() && next->first < to) return true;
    if (next == runs_.begin() || from == to) return false;
    --next;
    return next->first + next->second.size > from;
  }
  /// Calls visit(start, run, part inside) without changing anything.
  template <class Visit>
  void for_each_in(u64 from, u64 to, Visit&& visit) const {
    auto at = runs_.upper_bound(from);
    if (at != runs_.begin()) --at;
    for (; at != runs_.end() && at->first < to; ++at) {
      if (at->first + at->second.size > from) visit(at->first, at->second);
    }
  }
  /// What touches a range, as a model of its own.
  Tree part(u64 from, u64 to) const {
    Tree copy(geometry_);
    for_each_in(from, to, [&](u64 start, const LeafRun& run) { copy.runs_.emplace(start, run); });
    return copy;
  }
  u64 owned_bytes() const {
    u64 sum = 0;
    for (const auto& [start, run] : runs_) sum += run.owned ? run.size : 0;
    return sum;
  }
  /// A table of entries of level l stands wherever something of level l or below is mapped.
  u64 count_tables() const {
    u64 count = 1;
    for (unsigned level = 0; level < geometry_.root_level(); ++level) {
      u64 past = 0;
      for (const auto& [start, run] : runs_) {
        if (run.level > level) continue;
        const u64 first = std::max(past, start / size(level + 1));
        const u64 end_region = (start + run.size - 1) / size(level + 1) + 1;
        if (end_region > first) count += end_region - first;
        past = std::max(past, end_region);
      }
    }
    return count;
  }

  // Changes. Each adds to effects() ---------------------------------------------------------------

  void insert(u64 start, const LeafRun& run) {
    runs_.emplace(start, run);
    if (run.valid())
      effects_.push_back({start, run.size, run.level, change::kMadeValid, run.owned});
  }
  /// Splits leaves until none reaches across the boundary.
  void cut(u64 boundary) {
    Found found{};
    while (find(boundary, found) && found.start != boundary) {
      isolate(found.start);
      isolate(found.start + found.leaf.size);
      auto at = runs_.find(found.start);
      if (at->second.valid() && !within_resized(found.start, found.leaf.size)) {
        effects_.push_back(
            {found.start, found.leaf.size, found.leaf.level, change::kResized, found.leaf.owned});
      }
      --at->second.level;
      ++tables_made_;
    }
  }
  void erase(u64 from, u64 to) {
    isolate(from);
    isolate(to);
    auto at = runs_.lower_bound(from);
    std::vector<TableRegion> candidates;
    while (at != runs_.end() && at->first < to) {
      const LeafRun& run = at->second;
      if (run.valid()) {
        effects_.push_back({at->first, run.size, run.level, change::kUnmapped, run.owned});
      }
      add_tables_of(at->first, run, candidates);
      at = runs_.erase(at);
    }
    keep_freed(candidates);
  }
  /// Calls edit(start of the run, run &) for what lies in a range that cuts no leaf.
  template <class Edit>
  void update(u64 from, u64 to, Edit&& edit) {
    isolate(from);
    isolate(to);
    for (auto at = runs_.lower_bound(from); at != runs_.end() && at->first < to; ++at) {
      const LeafRun before = at->second;
      edit(at->first, at->second);
      const Changes changes = classify(before, at->second);
      if (!changes.empty()) {
        effects_.push_back({at->first, before.size, before.level, changes, before.owned});
      }
    }
  }
  /// Reports a change that left no other trace in the model.
  void note(const Effect& effect) { effects_.push_back(effect); }

  void forget_effects() {
    effects_.clear();
    freed_tables_.clear();
    tables_made_ = 0;
  }
  const std::vector<Effect>& effects() const { return effects_; }
  const std::vector<TableRegion>& freed_tables() const { return freed_tables_; }
  u64 tables_made() const { return tables_made_; }

 private:
  // Ends a run at a boundary between two of its leaves.
  void isolate(u64 boundary) {
    auto at = runs_.upper_bound(boundary);
    if (at == runs_.begin()) return;
    --at;
    const u64 before = boundary - at->first;
    if (before == 0 || before >= at->second.size) return;
    LeafRun upper = at->second;
    upper.size -= before;
    upper.address += before;
    at->second.size = before;
    runs_.emplace_hint(std::next(at), boundary, upper);
  }
  bool within_resized(u64 start, u64 bytes) const {
    return std::any_of(effects_.begin(), effects_.end(), [&](const Effect& effect) {
      return effect.changes.any_of(change::kResized) && start >= effect.start &&
             start + bytes <= effect.start + effect.size;
    });
  }
  void add_tables_of(u64 start, const LeafRun& run, std::vector<TableRegion>& list) const {
    for (unsigned level = run.level; level < geometry_.root_level(); ++level) {
      const u64 step = size(level + 1);
      for (u64 at = align_down(start, step); at < start + run.size; at += step) {
        if (list.empty() || list.back() != TableRegion{at, step}) list.push_back({at, step});
      }
    }
  }
  void keep_freed(std::vector<TableRegion>& list) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    for (const TableRegion& region : list) {
      if (!overlaps(region.start, region.start + region.size)) freed_tables_.push_back(region);
    }
  }
  static Changes classify(const LeafRun& before, const LeafRun& after) {
    if (!before.valid()) return after.valid() ? change::kMadeValid : change::kNone;
    if (!after.valid()) return change::kUnmapped;
    const Access lost = before.flags.access.without(after.flags.access);
    const Access gained = after.flags.access.without(before.flags.access);
    Changes found;
    if (before.address != after.address) found = found | change::kMoved;
    if (before.flags.memory != after.flags.memory) found = found | change::kMemoryType;
    if (!lost.empty()) found = found | change::kLessPermission;
    if (gained.any_of(kRwx | kUser)) found = found | change::kMorePermission;
    if (gained.has(kGlobal)) found = found | change::kMadeGlobal;
    if (before.hardware_dirty && !after.hardware_dirty) found = found | change::kCleaned;
    return found;
  }

  Geometry geometry_;
  std::map<u64, LeafRun> runs_;
  std::vector<Effect> effects_;
  std::vector<TableRegion> freed_tables_;
  u64 tables_made_ = 0;
};

// What a format can encode, from the architectures' rules -----------------------------------------

constexpr bool one_of(MemoryType type, std::initializer_list<MemoryType> list) {
  return std::find(list.begin(), list.end(), type) != list.end();
}

/// Which memory types exist, and which combinations of permissions.
template <class F>
struct Rules {
  static constexpr bool kX86 = F::kArchitecture == Architecture::X86_64;
  static constexpr bool kArm = F::kArchitecture == Architecture::AArch64;
  static constexpr bool kRiscV = F::kArchitecture == Architecture::RiscV64;
  static constexpr bool kNested = NestedFormat<F>;

  static bool has(MemoryType type) {
    using enum MemoryType;
    if (type == WriteBack || type == Uncached || type == Device) return true;
    if (type == WriteThrough) return !kRiscV;
    // In EPT entries, but not in the PAT as it is after reset.
    if (type == WriteProtected || type == WriteCombining) return std::is_same_v<F, Ept>;
    return kArm && one_of(type, {DeviceNGnRE, DeviceNGRE, DeviceGRE});
  }
  static bool encodable(MappingFlags flags) {
    if (!has(flags.memory)) return false;
    if (kNested && flags.access.has(kGlobal)) return false;
    const bool readable = flags.access.has(kRead);
    if (kArm && kNested) return true;  // S2AP and XN are independent
    if (flags.access.has(kWrite) && !readable) return false;
    // Only EPT and RISC-V have pages that can be executed but not read.
    const bool execute_only = std::is_same_v<F, Ept> || kRiscV;
    return execute_only || readable || !flags.access.has(kExecute);
  }
  /// As a query reports them.
  static MappingFlags canonical(MappingFlags flags) {
    if (kNested) flags.access = flags.access & kRwx;
    // x86: UC is both.
    if (kX86 && flags.memory == MemoryType::Uncached) flags.memory = MemoryType::Device;
    return flags;
  }
};

/// Input addresses of a tree, from the translated bits.
class InputSpace {
 public:
  explicit InputSpace(const Geometry& geometry)
      : bits_(geometry.input_bits), rule_(geometry.rule) {}

  u64 end() const { return u64{1} << bits_; }
  u64 input(u64 offset) const {
    if (rule_ == InputRule::Zero) return offset;
    if (rule_ == InputRule::Ones) return offset | ~low_mask(bits_);
    return static_cast<u64>(static_cast<std::int64_t>(offset << (64 - bits_)) >> (64 - bits_));
  }
  bool accepts(u64 input_address) const {
    return input(input_address & low_mask(bits_)) == input_address;
  }
  bool accepts_range(u64 start, u64 size) const {
    if (size == 0) return accepts(start);
    const u64 last = start + size - 1;
    // The hole in the middle of a sign-extended space belongs to neither half.
    return accepts(start) && accepts(last) && (start >> 63) == (last >> 63);
  }

 private:
  unsigned bits_;
  InputRule rule_;
};

// Holding invalidations against effects -----------------------------------------------------------

/// May the invalidation's run be explained by these effects, to the last byte?
template <class Justifies>
bool covered_by_effects(u64 start, u64 size, const std::vector<Effect>& effects,
                        Justifies&& justifies) {
  std::vector<std::pair<u64, u64>> parts;
  for (const Effect& effect : effects) {
    const u64 from = std::max(start, effect.start);
    const u64 to = std::min(start + size, effect.start + effect.size);
    if (from < to && justifies(effect)) parts.emplace_back(from, to);
  }
  std::sort(parts.begin(), parts.end());
  u64 reached = start;
  for (const auto& [from, to] : parts) {
    if (from > reached) return false;
    reached = std::max(reached, to);
  }
  return reached >= start + size;
}

inline std::string to_text(Changes changes) {
  constexpr const char* kNames[] = {"reserved", "made valid",  "more",    "less",    "unmapped",
                                    "moved",    "memory type", "cleaned", "resized", "spurious"};
  std::string text;
  for (unsigned n = 0; n < 10; ++n) {
    if (changes.any_of(Changes(static_cast<u16>(1u << n)))) text += std::string(" ") + kNames[n];
  }
  return text;
}

/// The invalidations of one operation, against what the model says happened.
template <class A>
class InvalidationCheck {
 public:
  InvalidationCheck(const std::vector<Invalidation<A>>& found, const Tree& tree, u64 mask,
                    bool break_before_make)
      : found_(found), tree_(tree), mask_(mask), break_before_make_(break_before_make) {}

  void run() {
    for (const Effect& effect : tree_.effects()) covers(effect);
    for (const TableRegion& table : tree_.freed_tables()) covers_table(table);
    for (std::size_t n = 0; n < found_.size(); ++n) {
      if (found_[n].exact()) explains(found_[n], n != 0 && break_before_make_);
    }
    const bool any_tables = std::any_of(found_.begin(), found_.end(),
                                        [](const auto& change) { return change.tables(); });
    EXPECT_EQ(any_tables, !tree_.freed_tables().empty());
  }

 private:
  u64 offset(A at) const { return at.value() & mask_; }
  static bool includes(Changes all, Changes some) { return (all | some) == all; }

  // A run of like leaves in the model may be several for the engine, so byte by byte.
  void covers(const Effect& effect) const {
    std::vector<Effect> runs;
    Changes all;
    for (const auto& change : found_) {
      all = all | change.changes();
      for (const auto& run : change) {
        runs.push_back({offset(run.start), run.size, 0, run.changes, run.owned});
      }
    }
    EXPECT_TRUE(includes(all, effect.changes));
    EXPECT_TRUE(covered_by_effects(effect.start, effect.size, runs,
                                   [&](const Effect& run) {
                                     return includes(run.changes, effect.changes) ||
                                            run.changes.any_of(change::kResized);
                                   }))
        << std::hex << "nothing invalidates [" << effect.start << ", +" << effect.size << ") level "
        << effect.level;
    if (break_before_make_ && needs_break(effect.changes)) {
      ASSERT_EQ(found_.size(), 2u) << "broken, and never made";
      EXPECT_TRUE(found_[1].changes().any_of(change::kMadeValid));
    }
  }
  static bool needs_break(Changes changes) {
    return changes.any_of(change::kMoved | change::kMemoryType | change::kResized |
                          change::kMadeGlobal);
  }
  void covers_table(const TableRegion& table) const {
    for (const auto& change : found_) {
      for (const auto& run : change) {
        const u64 start = offset(run.start);
        if (run.table && start < table.start + table.size && start + run.size > table.start) return;
      }
    }
    ADD_FAILURE() << std::hex << "no fence for the table that went at [" << table.start << ", +"
                  << table.size << ")";
  }
  void explains(const Invalidation<A>& change, bool is_make) const {
    for (const auto& run : change) {
      const u64 start = offset(run.start);
      if (run.changes.empty()) {
        EXPECT_TRUE(run.table);
        EXPECT_FALSE(tree_.overlaps(start, start + run.size)) << "a table that is still there";
        continue;
      }
      const bool fine =
          covered_by_effects(start, run.size, tree_.effects(), [&](const Effect& effect) {
            if (effect.owned != run.owned) return false;
            if (is_make) return needs_break(effect.changes);
            return effect.changes == run.changes &&
                   tree_.size(effect.level) == u64{1} << run.leaf_shift;
          });
      EXPECT_TRUE(fine) << std::hex << "nothing happened to all of [" << start << ", +" << run.size
                        << ") to explain " << to_text(run.changes);
      if (!fine) list_effects();
    }
  }
  void list_effects() const {
    for (const Effect& effect : tree_.effects()) {
      ADD_FAILURE() << std::hex << "  [" << effect.start << ", +" << effect.size << ") level "
                    << effect.level << " owned " << effect.owned << to_text(effect.changes);
    }
  }

  const std::vector<Invalidation<A>>& found_;
  const Tree& tree_;
  u64 mask_;
  bool break_before_make_;
};

// Walking raw entries -----------------------------------------------------------------------------

/// What the tables in memory hold, counted entry by entry.
template <class F, class H>
class RawWalk {
 public:
  RawWalk(const H& hal, const F& format, const Geometry& geometry)
      : hal_(hal), format_(format), geometry_(geometry) {}

  u64 tables = 0;
  u64 owned_bytes = 0;
  u64 empty_tables = 0;      ///< the root not counted
  u64 malformed = 0;         ///< what the hardware would refuse
  u64 condemned_tables = 0;  ///< unlinked, but not freed
  bool reaches_frame = false;

  void run(typename F::Output root) { table(root, geometry_.root_level()); }
  /// Looks whether a valid entry leads to these frames.
  void look_for(u64 start, u64 bytes) {
    wanted_start_ = start;
    wanted_bytes_ = bytes;
  }

 private:
  void table(typename F::Output at, unsigned level) {
    ++tables;
    const u64* words = reinterpret_cast<const u64*>(hal_.phys_to_virt(at).value());
    const u64 count = geometry_.entries(level);
    const u64 bytes = std::max<u64>(count * 8, kFrameBytes);
    see(at.value(), bytes);
    u64 used = 0;
    for (u64 n = 0; n < count; ++n) {
      if (words[n] == 0) continue;
      ++used;
      entry(words[n], level);
    }
    if (used == 0 && level != geometry_.root_level()) ++empty_tables;
  }
  void entry(u64 word, unsigned level) {
    const bool valid = F::is_valid(word, level);
    if (valid && format_.malformed(word, level)) ++malformed;
    if (F::is_table(word, level)) {
      if (!valid) {
        ++condemned_tables;
        return;
      }
      return table(F::address(word, level), level - 1);
    }
    if ((word & F::kOwned) != 0) owned_bytes += geometry_.leaf_bytes(level);
    if (valid) see(F::address(word, level).value(), geometry_.leaf_bytes(level));
  }
  void see(u64 start, u64 bytes) {
    if (start < wanted_start_ + wanted_bytes_ && start + bytes > wanted_start_) {
      reaches_frame = true;
    }
  }

  const H& hal_;
  const F& format_;
  const Geometry& geometry_;
  u64 wanted_start_ = 0;
  u64 wanted_bytes_ = 0;
};

/// The raw entries agree with what the table says of itself and with the Hal's books.
template <class F, class H>
void check_books(const PageTable<F, H>& table, u64 frames_besides) {
  RawWalk<F, H> walk(table.hal(), table.format(), table.geometry());
  walk.run(table.root());
  EXPECT_EQ(walk.empty_tables, 0u);
  EXPECT_EQ(walk.malformed, 0u);
  EXPECT_EQ(walk.condemned_tables, 0u);
  EXPECT_EQ(walk.tables, table.usage().tables);
  EXPECT_EQ(walk.owned_bytes, table.usage().owned_bytes);
  const Geometry& shape = table.geometry();
  const u64 table_bytes =
      (walk.tables - 1) * shape.page_bytes() + (kFrameBytes << shape.root_order()) + kFrameBytes;
  EXPECT_EQ(table_bytes, table.usage().table_bytes);
  EXPECT_EQ(table.hal().arena().frames_in_use(),
            (table_bytes + walk.owned_bytes) / kFrameBytes + frames_besides);
}

}  // namespace nestwalk::addrspace::model
