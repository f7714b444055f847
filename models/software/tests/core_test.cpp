// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a core hides: stores, fetches, and what begins beside what.
//
// A TLB lookup takes 1, one in the first cache 4, memory 10. So a hit takes 5; a line that the
// cache has not is there 4 + 10 after the translation, and such an access takes 15. All pages are
// in the TLB.

#include <random>

#include "world.hpp"

namespace nestwalk::software::core_test {
namespace {

constexpr u64 kCache = 4;
constexpr u64 kHit = kTlb + kCache;
constexpr u64 kMiss = kHit + kReference;
/// Its first line is in the cache, each other one in a bank of its own.
constexpr u64 kPage = u64{16} << 12;

GuestAccess access(AccessKind kind, u64 address, u32 instructions, u16 bytes = 8) {
  return {address, 0, 0, instructions, kind, GuestAccess::kAddress, bytes};
}
GuestAccess load(u64 address, u32 instructions = 0, u16 bytes = 8) {
  return access(AccessKind::Read, address, instructions, bytes);
}
GuestAccess store(u64 address, u32 instructions = 0) {
  return access(AccessKind::Write, address, instructions);
}
GuestAccess fetch(u64 address, u32 instructions = 0) {
  return access(AccessKind::Execute, address, instructions);
}
constexpr u64 present(u64 page) { return page * kPage; }
constexpr u64 absent(u64 page) { return page * kPage + 64; }

GuestShape physical() {
  GuestShape shape;
  shape.tables = GuestTables::None;
  shape.memory = {{0, u64{64} << 20}};
  return shape;
}

HypervisorShape eager() {
  HypervisorShape policy;
  policy.backing = Backing::Eager;
  return policy;
}

models::MachineShape cached(const models::CoreShape& core) {
  models::MachineShape shape = with_core(easy(Architecture::X86_64, 1), core);
  shape.l1d = models::DataCacheShape{64, 8, kCache, 16, models::ReplacementKind::Lru};
  shape.l1i = shape.l1d;
  return shape;
}

struct Played {
  Cycle cycles;
  Cycle stalled;
  VcpuCounts counts;
};
Played play(const models::CoreShape& core, const std::vector<GuestAccess>& accesses,
            const ProgramShape& program = {}) {
  const auto counts_after = [&](std::size_t count) {
    World world(physical(), eager(), cached(core), program);
    for (u64 page = 0; page < 4; ++page) {
      world.streams[0].write(present(page));
      world.streams[0].fetch(present(page));
    }
    // The line of the last one is there, too.
    world.streams[0].add(GuestEvent{100, GuestPhase{}});
    for (std::size_t n = 0; n < count; ++n) world.streams[0].add(accesses[n]);
    world.run();
    return world.counts();
  };
  const VcpuCounts before = counts_after(0);
  const VcpuCounts after = counts_after(accesses.size());
  return {after.end - before.end, after.stalled_cycles - before.stalled_cycles, after};
}

models::CoreShape in_order(u32 store_buffer) {
  models::CoreShape core;
  core.store_buffer = store_buffer;
  core.forward_cycles = 2;
  return core;
}
models::CoreShape out_of_order(u32 store_buffer) {
  models::CoreShape core = overlapping(1024);
  core.store_buffer = store_buffer;
  core.forward_cycles = 2;
  return core;
}

// Stores ------------------------------------------------------------------------------------------

TEST(Stores, AreWaitedForWithoutABuffer) {
  EXPECT_EQ(play(in_order(0), {store(present(0)), load(present(1))}).cycles, 2 * kHit);
  EXPECT_EQ(play(in_order(0), {store(absent(0)), load(present(1))}).cycles, kMiss + kHit);
}

TEST(Stores, TakeTheirTranslationWithABuffer) {
  for (const u64 address : {present(0), absent(0)}) {
    const Played played = play(in_order(1), {store(address), load(present(1))});
    EXPECT_EQ(played.cycles, kTlb + kHit);
    EXPECT_EQ(played.stalled, 0u);
    EXPECT_EQ(played.counts.buffered_stores, 5u);  // four before
  }
}

// The first one's line is there at 15. The second one is due at 14: it waits; or at 15.
TEST(Stores, WaitForAnEntry) {
  const Played waits = play(in_order(1), {store(absent(0)), store(present(1), 13)});
  EXPECT_EQ(waits.cycles, kMiss + kTlb);
  EXPECT_EQ(waits.stalled, 1u);
  const Played fits = play(in_order(1), {store(absent(0)), store(present(1), 14)});
  EXPECT_EQ(fits.cycles, kMiss + kTlb);
  EXPECT_EQ(fits.stalled, 0u);
  EXPECT_EQ(play(in_order(2), {store(absent(0)), store(present(1), 0)}).cycles, 2 * kTlb);
}

// The same where the line was in the cache: there at 5.
TEST(Stores, WaitForAnEntryOfAHit) {
  const Played waits = play(in_order(1), {store(present(0)), store(present(1), 3)});
  EXPECT_EQ(waits.cycles, kHit + kTlb);
  EXPECT_EQ(waits.stalled, 1u);
  const Played fits = play(in_order(1), {store(present(0)), store(present(1), 4)});
  EXPECT_EQ(fits.cycles, kHit + kTlb);
  EXPECT_EQ(fits.stalled, 0u);
}

// The second one's line is there at 2 + 4, but the first one's at 15: the third waits from 2 on.
TEST(Stores, LeaveTheBufferInOrder) {
  const Played played = play(in_order(2), {store(absent(0)), store(present(1)), store(present(2))});
  EXPECT_EQ(played.cycles, kMiss + kTlb);
  EXPECT_EQ(played.stalled, kMiss - 2 * kTlb);
}

// Three misses under each other: at 0, 1 and 2.
TEST(Stores, AskForTheirLinesBesideEachOther) {
  const Played played =
      play(in_order(3), {store(absent(0)), store(absent(1)), store(absent(2)), store(present(3))});
  EXPECT_EQ(played.cycles, kMiss + kTlb);  // the fourth has the first one's entry
}

// Out of order, the store of a hit has its line at 5, but the load before it is over at 15.
TEST(Stores, KeepTheirEntryUntilAllBeforeThemIsOver) {
  EXPECT_EQ(play(out_of_order(1), {load(absent(0)), store(present(1)), store(present(2))}).cycles,
            kMiss + kTlb);
  EXPECT_EQ(play(out_of_order(2), {load(absent(0)), store(present(1)), store(present(2))}).cycles,
            kMiss);
}

// The store is over at 1, its line there at 15. The load is translated at 2.
TEST(Stores, ForwardTheirBytes) {
  EXPECT_EQ(play(in_order(1), {store(absent(0)), load(absent(0))}).cycles, 2 * kTlb + 2);
  EXPECT_EQ(play(in_order(1), {store(absent(0)), load(absent(0) + 7, 0, 1)}).cycles, 2 * kTlb + 2);
  EXPECT_EQ(play(in_order(1), {store(absent(0)), load(absent(0) - 1, 0, 2)}).cycles, 2 * kTlb + 2);
  // Bytes beside them: of the line, when it is there.
  EXPECT_EQ(play(in_order(1), {store(absent(0)), load(absent(0) + 8)}).cycles, kMiss);
  EXPECT_EQ(play(in_order(1), {store(absent(0)), load(absent(0) - 1, 0, 1)}).cycles, kTlb + kHit);
}

// Translated at 14, the load has its bytes from the entry; at 15, from the cache.
TEST(Stores, ForwardUntilTheirLineIsThere) {
  EXPECT_EQ(play(in_order(1), {store(absent(0)), load(absent(0), 12)}).cycles, kMiss - 1 + 2);
  EXPECT_EQ(play(in_order(1), {store(absent(0)), load(absent(0), 13)}).cycles, kMiss + kCache);
}

// The load is the older one: it has the line at 15, beside the store.
TEST(Stores, ForwardNothingToOlderLoads) {
  EXPECT_EQ(play(out_of_order(4), {load(absent(0)), store(absent(0))}).cycles, kMiss);
}

// Ports and queues -------------------------------------------------------------------------------

TEST(Ports, ALoadTooManyBeginsInTheNextCycle) {
  models::CoreShape core = out_of_order(0);
  const std::vector<GuestAccess> loads = {load(present(0)), load(present(1)), load(present(2))};
  EXPECT_EQ(play(core, loads).cycles, kHit);
  core.load_ports = 2;
  EXPECT_EQ(play(core, loads).cycles, 1 + kHit);
  core.load_ports = 1;
  EXPECT_EQ(play(core, loads).cycles, 2 + kHit);
}

TEST(Ports, AStoreTooManyBeginsInTheNextCycle) {
  models::CoreShape core = out_of_order(8);
  const std::vector<GuestAccess> stores = {store(present(0)), store(present(1)), store(present(2))};
  EXPECT_EQ(play(core, stores).cycles, kTlb);
  core.store_ports = 1;
  EXPECT_EQ(play(core, stores).cycles, 2 + kTlb);
  // Loads have ports of their own.
  core.load_ports = 1;
  EXPECT_EQ(play(core, {store(present(0)), load(present(1))}).cycles, kHit);
}

TEST(LoadQueue, HoldsLoadsUntilAllBeforeThemIsOver) {
  models::CoreShape core = out_of_order(0);
  core.load_queue = 2;
  EXPECT_EQ(play(core, {load(absent(0)), load(present(1)), load(present(2))}).cycles, kMiss + kHit);
  core.load_queue = 3;
  EXPECT_EQ(play(core, {load(absent(0)), load(present(1)), load(present(2))}).cycles, kMiss);
}

// Two instructions in a cycle at most, whatever software could do.
TEST(Width, BoundsThePace) {
  models::CoreShape core = out_of_order(0);
  core.width = 2;
  const auto cycles = [&](u32 per_1000_cycles) {
    models::MachineShape shape = cached(core);
    shape.software.instructions_per_1000_cycles = per_1000_cycles;
    World world(physical(), eager(), shape);
    world.streams[0].add(GuestEvent{1200, GuestPhase{}});
    world.run();
    return world.counts().instruction_cycles;
  };
  EXPECT_EQ(cycles(1500), 800u);
  EXPECT_EQ(cycles(2000), 600u);
  EXPECT_EQ(cycles(4000), 600u);
}

// Fetches ----------------------------------------------------------------------------------------

TEST(Fetches, ThatHitAreHiddenWhereFetchRunsAhead) {
  models::CoreShape core = in_order(0);
  EXPECT_EQ(play(core, {fetch(present(0)), load(present(1))}).cycles, 2 * kHit);
  core.hides_fetch_hits = true;
  const Played played = play(core, {fetch(present(0)), load(present(1))});
  EXPECT_EQ(played.cycles, kHit);
  EXPECT_EQ(played.counts.hidden_fetches, 1u);  // those before missed
  EXPECT_EQ(played.counts.hidden_cycles, kTlb);
}

TEST(Fetches, ThatMissTheCacheAreNot) {
  for (models::CoreShape core : {in_order(0), out_of_order(0)}) {
    core.hides_fetch_hits = true;
    const Played played = play(core, {fetch(absent(0)), load(present(1))});
    EXPECT_EQ(played.cycles, kMiss + kHit);
    EXPECT_EQ(played.counts.hidden_fetches, 0u);
  }
}

// A walk of four entries, from memory.
TEST(Fetches, ThatMissTheTlbAreNot) {
  models::CoreShape core = in_order(0);
  core.hides_fetch_hits = true;
  models::MachineShape shape = cached(core);
  shape.walks_enter_at = models::Served::Memory;
  HypervisorShape policy = eager();
  policy.hardware_dirty = false;
  const auto end_after = [&](bool all) {
    World world(physical(), policy, shape);
    world.streams[0].fetch(present(0));
    // Sixteen pages of the same set: the first is in the cache, and not in the TLB any more.
    for (u64 page = 1; page < 17; ++page) world.streams[0].fetch((page << 14) + 64);
    world.streams[0].add(GuestEvent{0, GuestPhase{}});
    if (all) world.streams[0].fetch(present(0));
    world.run();
    EXPECT_EQ(world.counts().hidden_fetches, 0u);
    return world.counts().end;
  };
  EXPECT_EQ(end_after(true) - end_after(false), kTlb + kWalk + kCache);
}

// A fetch that hits does not hold up what follows; one that misses lets go on what was before it.
TEST(Fetches, OutOfOrder) {
  models::CoreShape core = out_of_order(0);
  core.hides_fetch_hits = true;
  EXPECT_EQ(play(core, {load(absent(0)), fetch(present(1)), load(absent(2))}).cycles, kMiss);
  EXPECT_EQ(play(core, {load(absent(0)), fetch(absent(1)), load(absent(2))}).cycles, 2 * kMiss);
}

// Dependences ------------------------------------------------------------------------------------

TEST(Dependences, AllMakesEachLoadWaitForTheOneBeforeIt) {
  const std::vector<GuestAccess> accesses = {load(absent(0)), store(present(1)), load(absent(2))};
  EXPECT_EQ(play(out_of_order(8), accesses).cycles, kMiss);
  EXPECT_EQ(play(out_of_order(8), accesses, {Dependences::All}).cycles, 2 * kMiss);
}

// Properties -------------------------------------------------------------------------------------

std::vector<GuestAccess> any_accesses(unsigned seed, unsigned kinds) {
  std::mt19937_64 random(seed);
  std::vector<GuestAccess> accesses;
  for (unsigned n = 0; n < 2000; ++n) {
    const u64 pages[] = {4, 64, 2048};
    const u64 page = random() % pages[random() % 3];
    accesses.push_back(access(static_cast<AccessKind>(random() % kinds),
                              page * kFrameBytes + random() % 8 * 64 + random() % 4 * 8,
                              static_cast<u32>(random() % 5)));
    if (random() % 4 == 0) accesses.back().facts |= GuestAccess::kDependent;
  }
  return accesses;
}

Cycle cycles_of(const models::CoreShape& core, const std::vector<GuestAccess>& accesses,
                const ProgramShape& program = {}) {
  World world(physical(), eager(), cached(core), program);
  for (const GuestAccess& each : accesses) world.streams[0].add(each);
  world.run();
  EXPECT_EQ(world.counts().total(), accesses.size());
  return world.counts().end - world.counts().begin;
}

TEST(Property, AWindowOfOneIsInOrder) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::vector<GuestAccess> accesses = any_accesses(seed, 3);
    models::CoreShape plain = in_order(seed % 4);
    plain.hides_fetch_hits = seed % 3 == 0;
    models::CoreShape overlaps = out_of_order(seed % 4);
    overlaps.hides_fetch_hits = plain.hides_fetch_hits;
    overlaps.window = 1;
    EXPECT_EQ(cycles_of(overlaps, accesses), cycles_of(plain, accesses)) << seed;
  }
}

// Of loads without dependences, where it does not matter in which order lines and translations
// come: each access is to a page and a line of its own, in a bank of its own. Otherwise a larger
// window may be slower: another order of misses is another choice of what caches replace, and other
// walks to join.
TEST(Property, ALargerWindowIsNeverSlower) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<GuestAccess> accesses;
    for (unsigned n = 0; n < 500; ++n) {
      accesses.push_back(access(static_cast<AccessKind>(random() % 2), n * 4 * kFrameBytes,
                                static_cast<u32>(random() % 9)));
    }
    Cycle before = ~Cycle{0};
    for (const u32 window : {1u, 2u, 5u, 16u, 64u, 256u, 1024u}) {
      models::CoreShape core = out_of_order(4);
      core.window = window;
      const Cycle cycles = cycles_of(core, accesses);
      EXPECT_LE(cycles, before) << "seed " << seed << ", window " << window;
      before = cycles;
    }
  }
}

TEST(Property, AllDependencesAreNeverFaster) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::vector<GuestAccess> accesses = any_accesses(seed, 3);
    for (const u32 window : {1u, 16u, 256u}) {
      models::CoreShape core = out_of_order(16);
      core.window = window;
      EXPECT_GE(cycles_of(core, accesses, {Dependences::All}), cycles_of(core, accesses)) << seed;
    }
  }
}

}  // namespace
}  // namespace nestwalk::software::core_test
