// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/traces/summary.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>

#include "nestwalk/traces/random.hpp"

namespace nestwalk::traces::summary_test {
namespace {

TEST(PageReuse, CountsTheOtherPagesInBetween) {
  PageReuse reuse;
  EXPECT_EQ(reuse.access({1}), PageReuse::kFirst);
  EXPECT_EQ(reuse.access({1}), 0U);
  EXPECT_EQ(reuse.access({2}), PageReuse::kFirst);
  EXPECT_EQ(reuse.access({3}), PageReuse::kFirst);
  EXPECT_EQ(reuse.access({2}), 1U);
  EXPECT_EQ(reuse.access({2}), 0U);
  EXPECT_EQ(reuse.access({1}), 2U);
}

TEST(PageReuse, AgreesWithAListInOrderOfUse) {
  // More accesses than it has positions, so that it numbers its pages anew.
  PageReuse reuse;
  std::list<u64> pages;
  Random random(1);
  for (int n = 0; n < 200'000; ++n) {
    const u64 page = random.below(1 + random.below(40));
    const auto found = std::find(pages.begin(), pages.end(), page);
    const u64 expected = found == pages.end()
                             ? PageReuse::kFirst
                             : static_cast<u64>(std::distance(pages.begin(), found));
    if (found != pages.end()) pages.erase(found);
    pages.push_front(page);
    ASSERT_EQ(reuse.access({page}), expected);
  }
}

Access read_of(u64 gva) { return {Gva(gva), Gpa(), Hpa(), 2, 8, AccessKind::Read, kGvaKnown}; }

Chunk chunk_of(const std::vector<Access>& accesses, u64 root = 0) {
  Chunk chunk;
  chunk.root = root;
  chunk.accesses = accesses;
  return chunk;
}

TEST(Summary, CountsPagesOfEachSize) {
  Summary summary(100);
  // Two pages next to each other, one in the next 2 MiB, one in the next GiB.
  summary.add(chunk_of({read_of(0), read_of(4096), read_of(2 << 20), read_of(1 << 30)}));
  EXPECT_EQ(summary.pages(12), 4U);
  EXPECT_EQ(summary.pages(21), 3U);
  EXPECT_EQ(summary.pages(30), 2U);
  EXPECT_EQ(summary.accesses(AccessKind::Read), 4U);
  EXPECT_EQ(summary.instructions(), 8U);
}

TEST(Summary, PagesOfAnotherAddressSpaceAreOtherPages) {
  Summary summary(100);
  summary.add(chunk_of({read_of(0)}, 0x1000));
  summary.add(chunk_of({read_of(0)}, 0x2000));
  EXPECT_EQ(summary.spaces(), 2U);
  EXPECT_EQ(summary.pages(12), 2U);
}

TEST(Summary, ManyAddressSpacesStayApart) {
  // A page number has 52 bits, so there is no room for 4097 spaces above it. The second page is the
  // last one of all: one more would be the next space's first.
  Summary summary(1 << 20);
  constexpr u64 kSpaces = 5000;
  for (u64 root = 0; root < kSpaces; ++root) {
    summary.add(chunk_of({read_of(0), read_of(~u64{0} & ~u64{4095})}, root));
  }
  EXPECT_EQ(summary.spaces(), kSpaces);
  EXPECT_EQ(summary.pages(12), 2 * kSpaces);
  EXPECT_EQ(summary.pages(21), 2 * kSpaces);
  EXPECT_EQ(summary.pages(30), 2 * kSpaces);
}

TEST(Summary, RootsAndAsidsThatLookAlikeTogetherAreOtherSpaces) {
  Summary summary(100);
  Chunk chunk = chunk_of({}, u64{1} << 48);
  summary.add(chunk);
  chunk.root = 0;
  chunk.asid = 1;
  summary.add(chunk);
  EXPECT_EQ(summary.spaces(), 2U);
}

TEST(Summary, WorkingSetCountsThePagesOfEachWindow) {
  Summary summary(4);
  // 0 0 1 0 | 2 2 2 2 | 2 3
  std::vector<Access> accesses;
  for (const u64 page : std::vector<u64>{0, 0, 1, 0, 2, 2, 2, 2, 2, 3})
    accesses.push_back(read_of(page << 12));
  summary.add(chunk_of(accesses));
  EXPECT_EQ(summary.working_sets(), (std::vector<u64>{2, 1, 2}));
  // First: 4 pages. Same again: 0 after 0, 2 after 2 four times. One other: 0 after 1.
  EXPECT_EQ(summary.first_accesses(), 4U);
  EXPECT_EQ(summary.reuse()[0], 5U);
  EXPECT_EQ(summary.reuse()[1], 1U);
}

}  // namespace
}  // namespace nestwalk::traces::summary_test
