// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// How the arrays of a TLB share what it holds.

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "nestwalk/models/translation/regime.hpp"
#include "nestwalk/models/translation/translation_cache.hpp"

namespace nestwalk::models::tlb_structure_test {
namespace {

constexpr u64 kPage = 4096;

u64 at(u64 page) { return page * kPage; }
bool use(TranslationCache<u64>& tlb, u64 page) { return tlb.find(at(page), 1) != nullptr; }
void fill(TranslationCache<u64>& tlb, u64 page) { tlb.fill(at(page), 12, 1, page); }
/// Of `count` accesses to `pages` at random, how many miss; each miss is filled.
u64 misses_of(TranslationCache<u64>& tlb, u64 pages, u64 count, std::mt19937_64& random) {
  u64 misses = 0;
  for (u64 n = 0; n < count; ++n) {
    const u64 page = random() % pages;
    if (use(tlb, page)) continue;
    ++misses;
    fill(tlb, page);
  }
  return misses;
}

// Ice Lake's second level: 1024 entries for 4K and 2M, 1024 for 4K and 1G, of 128 sets and 8 ways
// each (cpuid leaf 18H). 1536 consecutive pages are 1536 / 128 = 12 in each set: the 16 ways of
// both arrays have them all, and after the first access to each none misses.
TEST(TwoArrays, HoldASizeTogether) {
  TranslationCache<u64> tlb({{{128, 8, {12, 21}}, {128, 8, {12, 30}}}, 1});
  std::mt19937_64 random(1);
  for (u64 page = 0; page < 1536; ++page) fill(tlb, page);
  EXPECT_EQ(misses_of(tlb, 1536, 100'000, random), 0u);
  for (u64 page = 1536; page < 2048; ++page) fill(tlb, page);  // 16 in each set
  EXPECT_EQ(misses_of(tlb, 2048, 100'000, random), 0u);
}
// One of them alone holds 8 of the 12 pages of a set; each access is to any: 4 / 12 miss.
TEST(TwoArrays, OneOfThemAloneMissesAThird) {
  TranslationCache<u64> tlb({{{128, 8, {12, 21}}, {128, 8, {30}}}, 1});
  std::mt19937_64 random(1);
  misses_of(tlb, 1536, 20'000, random);
  EXPECT_NEAR(static_cast<double>(misses_of(tlb, 1536, 100'000, random)), 100'000 / 3.0, 1000);
}

// Two arrays of one set and two ways. Pages 1 and 2 have the first, 3 and 4 the second. Page 5
// takes the place of the one that was used least recently in the first, 6 in the second, 7 again in
// the first.
TEST(TwoArrays, AreFilledOneAfterTheOtherAndThenTakeTurns) {
  TranslationCache<u64> tlb({{{1, 2, {12}}, {1, 2, {12, 30}}}, 1});
  const auto gone = [&](std::vector<u64> pages) {
    for (const u64 page : pages) {
      if (tlb.holds(at(page), 1)) return false;
    }
    return true;
  };
  for (const u64 page : {1u, 2u, 3u, 4u}) fill(tlb, page);
  EXPECT_TRUE(use(tlb, 1));
  EXPECT_TRUE(use(tlb, 3));
  fill(tlb, 5);
  EXPECT_TRUE(gone({2}));
  fill(tlb, 6);
  EXPECT_TRUE(gone({2, 4}));
  fill(tlb, 7);
  EXPECT_TRUE(gone({1, 2, 4}));
  EXPECT_TRUE(use(tlb, 3));
  // A way that a fence emptied comes before anybody's turn.
  tlb.drop(at(3), 1);
  fill(tlb, 8);
  for (const u64 page : {5u, 6u, 7u, 8u}) EXPECT_TRUE(use(tlb, page)) << page;
}

// The turn is a set's: 16 pages in each of two sets, then each set takes another page. Both take
// it in the first array, where page 0 and page 1 are the least recently used.
TEST(TwoArrays, TakeTurnsInEachSet) {
  TranslationCache<u64> tlb({{{2, 8, {12}}, {2, 8, {12}}}, 1});
  for (u64 page = 0; page < 32; ++page) fill(tlb, page);
  fill(tlb, 32);
  fill(tlb, 33);
  EXPECT_FALSE(tlb.holds(at(0), 1));
  EXPECT_FALSE(tlb.holds(at(1), 1));
}

// Whatever is filled, dropped and looked up: a page is in one entry, the latest.
void keep_one_entry_of_each_page(const CacheShape& shape, bool coalesced) {
  TranslationCache<u64> tlb(shape);
  std::mt19937_64 random(7);
  std::map<u64, u64> latest;
  for (u64 n = 0; n < 40'000; ++n) {
    const u64 page = random() % 96;
    const unsigned shift = coalesced && random() % 2 == 0 ? 14 : 12;
    const u64 first = shift == 14 ? page & ~u64{3} : page;
    switch (random() % 4) {
      case 0:
        tlb.drop(at(page), 1);
        break;
      case 1:
        if (!tlb.holds(at(page), 1)) *tlb.make_place(at(page), 12, 1, true) = n;
        latest[page] = *tlb.find(at(page), 1);
        break;
      default:
        tlb.fill(at(page), shift, 1, n);
        for (u64 each = first; each < first + (shift == 14 ? 4 : 1); ++each) latest[each] = n;
    }
    std::map<u64, u32> entries;
    tlb.for_each([&](const EntryKey& where, u64 payload) {
      for (u64 part = 0; part < u64{1} << (where.shift - 12); ++part) {
        const u64 each = where.address / kPage + part;
        ++entries[each];
        EXPECT_EQ(payload, latest[each]) << each;
      }
    });
    for (const auto& [each, count] : entries) ASSERT_EQ(count, 1u) << each;
  }
}
TEST(TwoArrays, HaveAPageOnceBetweenThem) {
  keep_one_entry_of_each_page({{{4, 4, {12, 21}}, {8, 3, {12, 30}}}, 1}, false);
}
TEST(TwoArrays, HaveAPageOnceBetweenThemCoalescedOrNot) {
  keep_one_entry_of_each_page(
      {{{4, 4, {12}, ReplacementKind::Lru, {14}}, {4, 3, {12}, ReplacementKind::Lru, {14}}}, 1},
      true);
}

// A fence that removes a page from one array, and a fill that puts it into the other, make a
// refill: pages 0 to 3 fill both arrays; page 0 is fenced, page 4 takes its way in the first array,
// and pages 1 to 3 go, so page 0 finds room in the first again, or in the second.
TEST(TwoArrays, CountRefillsInEither) {
  TranslationCache<u64> tlb({{{1, 2, {12}}, {1, 2, {12}}}, 1});
  for (u64 page = 0; page < 4; ++page) fill(tlb, page);
  tlb.drop_and_remember([](const EntryKey& where, u64) { return where.address == 0; });
  fill(tlb, 4);
  tlb.drop(at(2), 1);  // in the second array
  fill(tlb, 0);
  EXPECT_EQ(tlb.refills(), 1u);
}

// Skylake's second level: set = page[6:0] ^ page[13:7] (TLB;DR, USENIX Security 2022: XOR-7). Pages
// that are 128 apart share a set of a linear index, and are in different ones here: of page n * 128
// the set is n. So 13 of them all stay, where 12 ways hold no more than 12. Pages n * 128 + n are
// all in set 0: of the thirteen, page 0 having been used again, the last takes the place of n = 1.
TEST(XorIndex, FoldsAsManyBitsAsItHas) {
  ArrayShape array{128, 12, {12, 21}};
  array.index = SetIndex::Xor;
  TranslationCache<u64> tlb({{array}, 1});
  TranslationCache<u64> linear({{{128, 12, {12, 21}}}, 1});
  for (u64 n = 0; n < 13; ++n) {
    fill(tlb, n * 128);
    fill(linear, n * 128);
  }
  EXPECT_FALSE(use(linear, 0));
  for (u64 n = 0; n < 13; ++n) EXPECT_TRUE(use(tlb, n * 128)) << n;
  for (u64 n = 1; n < 12; ++n) fill(tlb, n * 129);
  EXPECT_TRUE(use(tlb, 0));
  fill(tlb, 12 * 129);
  EXPECT_FALSE(tlb.holds(at(129), 1));
  // Bits above the fourteen are in no set's number: 2^14 pages further is the same set.
  EXPECT_TRUE(use(tlb, 2 * 129));
  for (u64 n = 1; n <= 12; ++n) fill(tlb, n << 14);
  EXPECT_FALSE(tlb.holds(at(2 * 129), 1));
}
TEST(XorIndex, OneSetHasNothingToFold) {
  ArrayShape array{1, 2, {12}};
  array.index = SetIndex::Xor;
  TranslationCache<u64> tlb({{array}, 1});
  fill(tlb, 1);
  fill(tlb, 2);
  EXPECT_TRUE(use(tlb, 1));
  tlb.drop(at(1), 1);
  EXPECT_FALSE(use(tlb, 1));
  EXPECT_TRUE(use(tlb, 2));
}
TEST(XorIndex, DropsAndKeepsWhatAListWould) {
  ArrayShape array{16, 3, {12, 21}};
  array.index = SetIndex::Xor;
  keep_one_entry_of_each_page({{array, {8, 2, {12}}}, 1}, false);
}

// Least recently used, fully associative: what fewer ways hold, more ways hold, too (Mattson et
// al., "Evaluation Techniques for Storage Hierarchies"). So a larger TLB never misses more.
TEST(OneSet, NeverMissesMoreWithMoreWays) {
  std::mt19937_64 random(3);
  std::vector<u64> pages;
  for (u64 n = 0, page = 0; n < 20'000; ++n) {
    page = random() % 3 == 0 ? random() % 200 : page + random() % 3;
    pages.push_back(page);
  }
  u64 fewer = pages.size();
  for (u32 ways = 1; ways <= 80; ++ways) {
    TranslationCache<u64> tlb({{{1, ways, {12}}}, 1});
    u64 misses = 0;
    for (const u64 page : pages) {
      if (use(tlb, page)) continue;
      ++misses;
      fill(tlb, page);
    }
    EXPECT_LE(misses, fewer) << ways;
    fewer = misses;
  }
}

}  // namespace
}  // namespace nestwalk::models::tlb_structure_test
