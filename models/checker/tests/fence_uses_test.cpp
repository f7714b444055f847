// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/checker/fence_uses.hpp"

#include <gtest/gtest.h>

#include "nestwalk/addrspace/extension/vmx.hpp"

namespace nestwalk::checker::fence_uses_test {
namespace {

constexpr u32 kVm = 1;

class FenceUsesTest : public testing::Test {
 protected:
  u32 fence(std::string_view site = "a") {
    Moment when;
    when.site = site;
    return uses_.add(when, addrspace::vmx::kInveptSingle, 0, false);
  }
  const FenceUse::Counts& counts(std::size_t place = 0) {
    found_ = uses_.uses();
    return found_.at(place).of(Use::Needed);
  }
  FenceUses uses_;
  std::vector<FenceUse> found_;
};

TEST_F(FenceUsesTest, WhoDidNotEnterAgainHasNothingToLose) {
  uses_.entered(kVm, 0);
  for (int n = 0; n < 3; ++n) uses_.remove(fence(), kVm, 0, false);
  EXPECT_EQ(counts().emptied, 1u);
  uses_.entered(kVm, 0);
  for (int n = 0; n < 3; ++n) uses_.remove(fence(), kVm, 0, true);  // inside, it fills them again
  EXPECT_EQ(counts().emptied, 4u);
  EXPECT_EQ(counts().fences, 6u);
  uses_.remove(fence(), kVm, 1, false);  // never was there
  EXPECT_EQ(counts().emptied, 4u);
}

// Each refill is of the first fence since the last access that took the page.
TEST_F(FenceUsesTest, ARefillIsOfTheFirstFenceThatTookThePage) {
  uses_.accessed(kVm, 0, 0x5000);
  uses_.accessed(kVm, 0, 0x6000);
  uses_.remove(fence("by address"), kVm, 0, 0x5000, 0x1000);
  uses_.remove(fence("all"), kVm, 0, true);
  uses_.accessed(kVm, 0, 0x5010);  // by address
  uses_.accessed(kVm, 0, 0x5020);  // a hit
  uses_.accessed(kVm, 0, 0x6000);  // all
  uses_.accessed(kVm, 0, 0x7000);  // new: of nobody
  EXPECT_EQ(counts(0).refills, 1u);
  EXPECT_EQ(counts(0).pages, 1u);
  EXPECT_EQ(counts(1).refills, 1u);
  // Of a range that is larger than what was used: 0x5000, 0x6000 and 0x7000 are in it.
  uses_.remove(fence("range"), kVm, 0, 0, u64{1} << 30);
  for (const u64 gpa : {0x5000u, 0x6000u, 0x7000u}) uses_.accessed(kVm, 0, gpa);
  EXPECT_EQ(counts(2).refills, 3u);
  EXPECT_EQ(counts(2).pages, u64{1} << 18);
}

TEST_F(FenceUsesTest, CountsAreByPlaceAndUse) {
  const u32 first = fence("a");
  const u32 second = fence("a");
  const u32 third = fence("b");
  uses_.judge(second, Use::Excess);
  uses_.judge(third, Use::OverBroad);
  uses_.cover(third, 2);
  const auto found = uses_.uses();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].of(Use::Needed).fences, 1u) << first;
  EXPECT_EQ(found[0].of(Use::Excess).fences, 1u);
  EXPECT_EQ(found[1].of(Use::OverBroad).fences, 1u);
  EXPECT_EQ(found[1].of(Use::OverBroad).covered, 2u);
}

}  // namespace
}  // namespace nestwalk::checker::fence_uses_test
