// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Prefetchers of data caches: which lines they name, and when these come.

#include <gmock/gmock.h>

#include <deque>
#include <random>

#include "nestwalk/models/memory/memory_hierarchy.hpp"
#include "nestwalk/models/memory/prefetchers/adjacent_line.hpp"
#include "nestwalk/models/memory/prefetchers/next_line.hpp"
#include "nestwalk/models/memory/prefetchers/stream.hpp"
#include "nestwalk/models/memory/prefetchers/stride.hpp"

namespace nestwalk::models::data_prefetch_test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

DataPrefetcherKind kind(std::string_view name) {
  for (const auto& row : DataPrefetcherKind::all()) {
    if (name == row.name) return DataPrefetcherKind(row);
  }
  throw std::logic_error("no such prefetcher");
}
std::vector<u64> wants(DataPrefetcher& prefetcher, u64 line) {
  std::vector<u64> wanted;
  prefetcher.look(line, wanted);
  return wanted;
}

TEST(DataPrefetchers, NextLine) {
  NextLine prefetcher({.degree = 2});
  EXPECT_THAT(wants(prefetcher, 7), ElementsAre(8, 9));
}
TEST(DataPrefetchers, AdjacentLine) {
  AdjacentLine prefetcher({});
  EXPECT_THAT(wants(prefetcher, 6), ElementsAre(7));
  EXPECT_THAT(wants(prefetcher, 7), ElementsAre(6));
}
TEST(DataPrefetchers, StrideAfterTwoEqualOnes) {
  StridePrefetcher prefetcher({.degree = 2, .distance = 4});
  EXPECT_THAT(wants(prefetcher, 0), IsEmpty());
  EXPECT_THAT(wants(prefetcher, 3), IsEmpty());
  EXPECT_THAT(wants(prefetcher, 6), ElementsAre(9, 12));
  EXPECT_THAT(wants(prefetcher, 6), IsEmpty());  // nothing new
  EXPECT_THAT(wants(prefetcher, 9), ElementsAre(12, 15));
  EXPECT_THAT(wants(prefetcher, 8), IsEmpty());
  EXPECT_THAT(wants(prefetcher, 7), ElementsAre(6, 5));  // downwards
  EXPECT_THAT(wants(prefetcher, 12), IsEmpty());
  EXPECT_THAT(wants(prefetcher, 17), IsEmpty());  // five lines are more than four
}
// Two pages are followed; a third one takes the row of the one that was used longer ago.
TEST(DataPrefetchers, FollowsSomePages) {
  StridePrefetcher prefetcher({.degree = 1, .distance = 4, .table_rows = 2});
  for (const u64 line : {u64{0}, u64{1}, u64{64}, u64{65}})
    EXPECT_THAT(wants(prefetcher, line), IsEmpty());
  EXPECT_THAT(wants(prefetcher, 2), ElementsAre(3));
  EXPECT_THAT(wants(prefetcher, 128), IsEmpty());
  EXPECT_THAT(wants(prefetcher, 66), IsEmpty());  // forgotten
  EXPECT_THAT(wants(prefetcher, 3), IsEmpty());   // so is this, for that
}
TEST(DataPrefetchers, StreamRunsAhead) {
  StreamPrefetcher prefetcher({.degree = 2, .distance = 5});
  EXPECT_THAT(wants(prefetcher, 0), IsEmpty());
  EXPECT_THAT(wants(prefetcher, 1), IsEmpty());
  EXPECT_THAT(wants(prefetcher, 2), ElementsAre(3, 4));
  EXPECT_THAT(wants(prefetcher, 3), ElementsAre(5, 6));
  EXPECT_THAT(wants(prefetcher, 4), ElementsAre(7, 8));
  EXPECT_THAT(wants(prefetcher, 5), ElementsAre(9, 10));
  EXPECT_THAT(wants(prefetcher, 6), ElementsAre(11));       // five ahead
  EXPECT_THAT(wants(prefetcher, 20), ElementsAre(21, 22));  // overtaken
  EXPECT_THAT(wants(prefetcher, 10), IsEmpty());            // another direction
  EXPECT_THAT(wants(prefetcher, 9), ElementsAre(8, 7));
}

// A first level of one set, 4 cycles, that asks for the next line, over a second one, 10, and
// memory, 100.
class Prefetching : public testing::Test, public Actor {
 protected:
  Prefetching() : hierarchy(wheel, {.controller_ps = 100'000}, 64) {
    const auto memory = hierarchy.add_path({});
    const auto second = hierarchy.add_cache({64, 8, 0, 8}, 10, Served::L2, memory);
    const auto below = hierarchy.add_path({&second, 1});
    DataCacheShape shape{1, 8, 0, 3};
    shape.prefetchers.push_back({.policy = kind("next-line")});
    first = hierarchy.add_cache(shape, 4, Served::L1, below);
    const MemoryHierarchy::CacheId both[] = {first, second};
    path = hierarchy.add_path(both);
  }
  void on_cycle(u32 number) override { done[number] = wheel.now(); }
  void start(u64 line, bool write = false) {
    const u32 number = static_cast<u32>(done.size());
    done.push_back(kNever);
    wheel.run_until(wheel.now());
    if (hierarchy.access(path, Hpa(line * 64), write, *this, number, served.emplace_back())) {
      on_cycle(number);
    }
  }
  void start_at(Cycle at, u64 line) {
    wheel.run_until(at);
    ASSERT_TRUE(wheel.advance(at));
    start(line);
  }
  const DataPrefetchCounts& counts() { return hierarchy.prefetch_counts(Served::L1); }

  Wheel wheel;
  MemoryHierarchy hierarchy;
  MemoryHierarchy::CacheId first = 0;
  MemoryHierarchy::PathId path = 0;
  std::vector<Cycle> done;
  std::deque<Served> served;
};

// 0 misses at 0 and is there at 114; so is 1, which was asked for in the same cycle, and is used at
// 200: a hit, of 4 cycles, that asks for 2, there at 200 + 114.
TEST_F(Prefetching, ComesAsALineThatMissesDoes) {
  start(0);
  wheel.run();
  EXPECT_EQ(done[0], 114u);
  EXPECT_EQ(wheel.now(), 114u);
  EXPECT_TRUE(hierarchy.holds(first, 1));
  EXPECT_FALSE(hierarchy.holds(first, 2));
  start_at(200, 1);
  wheel.run_until(313);
  EXPECT_EQ(done[1], 204u);
  EXPECT_EQ(served[1], Served::L1);
  EXPECT_FALSE(hierarchy.holds(first, 2));
  wheel.run_until(314);
  EXPECT_TRUE(hierarchy.holds(first, 2));
  EXPECT_EQ(counts().issued, 2u);
  EXPECT_EQ(counts().used, 1u);
  EXPECT_EQ(counts().late, 0u);
  EXPECT_EQ(counts().from_memory, 2u);
  // The second use of a line asks for nothing.
  start_at(400, 1);
  wheel.run();
  EXPECT_EQ(counts().issued, 2u);
  EXPECT_EQ(counts().used, 1u);
}
// 1 is wanted at 50, while it is on its way until 114.
TEST_F(Prefetching, AMissJoinsAPrefetch) {
  start(0);
  start_at(50, 1);
  wheel.run();
  EXPECT_EQ(done[1], 114u);
  EXPECT_EQ(counts().late, 1u);
  EXPECT_EQ(counts().used, 0u);
  EXPECT_TRUE(hierarchy.holds(first, 2));  // asked for at 50
}
// Three MSHRs: those of 0, 1 and 10. 11 is dropped.
TEST_F(Prefetching, AsksForNothingWithoutAnMshr) {
  start(0);
  start(10);
  wheel.run();
  EXPECT_FALSE(hierarchy.holds(first, 11));
  EXPECT_EQ(counts().issued, 1u);
  EXPECT_EQ(counts().dropped, 1u);
}
// Lines 63 and 64 are of two pages.
TEST_F(Prefetching, EndsAtThePage) {
  start(63);
  wheel.run();
  EXPECT_FALSE(hierarchy.holds(first, 64));
  EXPECT_EQ(counts().issued, 0u);
}
// Of a line that had to go unused, nothing is left in its place.
TEST_F(Prefetching, AnUnusedLineGoes) {
  start(62);
  wheel.run();  // 63 is the oldest line that nobody used
  for (u64 line = 127; line < 127 + 64 * 8; line += 64) {
    start(line);
    wheel.run();
  }
  EXPECT_FALSE(hierarchy.holds(first, 63));
  const u64 issued = counts().issued;
  start(127 + 64 * 7);  // the last line that came, in some way
  wheel.run();
  EXPECT_EQ(counts().issued, issued);
  EXPECT_EQ(counts().used, 0u);
}

// A chase with a stride: with the next line there, it takes the first level's time alone.
TEST_F(Prefetching, AStreamHitsWhatItWouldHaveMissed) {
  for (u64 line = 0; line < 60; ++line) {
    start(line);
    wheel.run();
  }
  EXPECT_EQ(counts().used, 59u);
  EXPECT_EQ(served[0], Served::Memory);
  for (u64 line = 1; line < 60; ++line) EXPECT_EQ(served[line], Served::L1);
}

// Whatever prefetchers do, every access ends, each line that is issued is used, late or never
// wanted, and MSHRs are free in the end.
TEST(DataPrefetch, EveryAccessCompletes) {
  struct Core final : Actor {
    void on_cycle(u32) override { ++done; }
    u32 done = 0;
  };
  for (u32 seed = 0; seed < 120; ++seed) {
    std::mt19937_64 random(seed);
    Wheel wheel;
    MemoryHierarchy hierarchy(wheel, {.banks = 4, .controller_ps = 90'000, .tburst_ps = 8'000}, 64);
    const auto shape = [&](u32 sets, u32 ways) {
      DataCacheShape cache{sets, ways, 0, static_cast<u32>(1 + random() % 4)};
      for (const auto& row : DataPrefetcherKind::all()) {
        if (random() % 2 == 0) continue;
        cache.prefetchers.push_back({.policy = DataPrefetcherKind(row),
                                     .degree = static_cast<u32>(1 + random() % 4),
                                     .distance = static_cast<u32>(1 + random() % 8),
                                     .table_rows = static_cast<u32>(1 + random() % 3)});
      }
      cache.inclusion = kInclusions[random() % std::size(kInclusions)].value;
      return cache;
    };
    const auto second = hierarchy.add_cache(shape(4, 4), 7, Served::L2, hierarchy.add_path({}));
    const auto below = hierarchy.add_path({&second, 1});
    MemoryHierarchy::PathId paths[2];
    for (MemoryHierarchy::PathId& path : paths) {
      DataCacheShape own = shape(1, 4);
      own.inclusion = &kNonInclusive;
      const MemoryHierarchy::CacheId both[] = {hierarchy.add_cache(own, 3, Served::L1, below),
                                               second};
      path = hierarchy.add_path(both);
    }
    Core core;
    std::deque<Served> served;
    u32 begun = 0;
    u64 at = 0;
    for (u32 burst = 0; burst < 60; ++burst) {
      wheel.run_until(wheel.now() + random() % 250);
      wheel.run_until(wheel.now());
      for (u64 left = random() % 12; left != 0; --left, ++begun) {
        at = random() % 3 == 0 ? random() % 256 : (at + 1) % 256;
        if (hierarchy.access(paths[random() % 2], Hpa(at * 64), random() % 4 == 0, core, 0,
                             served.emplace_back())) {
          core.on_cycle(0);
        }
      }
    }
    wheel.run();
    EXPECT_EQ(core.done, begun) << "seed " << seed;
    for (const Served level : {Served::L1, Served::L2}) {
      const DataPrefetchCounts& counts = hierarchy.prefetch_counts(level);
      EXPECT_LE(counts.used + counts.late, counts.issued);
      EXPECT_LE(counts.from_memory, counts.issued);
    }
  }
}

}  // namespace
}  // namespace nestwalk::models::data_prefetch_test
