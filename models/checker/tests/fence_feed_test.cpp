// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// A virtual machine of the models is checked while it runs.

#include "nestwalk/checker/fence_feed.hpp"

#include <gmock/gmock.h>

#include "nestwalk/checker/checker.hpp"
#include "world.hpp"

namespace nestwalk::checker::fence_feed_test {
namespace {

using software::Backing;
using software::World;

software::GuestShape physical() {
  software::GuestShape shape;
  shape.tables = software::GuestTables::None;
  return shape;
}

// A page is read, taken away, and read again: the one operation that needs a fence, and has one
// INVEPT.
std::vector<Failure> failures(u64 drop_fence) {
  software::HypervisorShape hypervisor;
  hypervisor.drop_fence = drop_fence;
  World world(physical(), hypervisor);
  Checker checker;
  FenceFeed feed(checker, world.machine, world.vm);
  world.vm.watch(feed);
  world.streams[0].read(0x5000);
  world.streams[0].add(
      {0, software::HostOperation{software::HostOperation::Kind::Zap, addrspace::Gpa(0x5000),
                                  addrspace::kFrameBytes}});
  world.streams[0].read(0x5000);
  world.run();
  checker.finish();
  EXPECT_EQ(world.vm.has_left_out_fence(), drop_fence != 0);
  std::vector<Failure> found;
  for (const Finding& each : checker.findings()) found.push_back(each.failure);
  return found;
}

TEST(FenceFeed, TellsWhetherAFenceWasMade) {
  EXPECT_THAT(failures(0), testing::IsEmpty());
  EXPECT_THAT(failures(1), testing::Contains(Failure::Missing));
}

std::string refusal(Backing backing, u32 cores) {
  software::HypervisorShape hypervisor;
  hypervisor.backing = backing;
  World world(physical(), hypervisor, addrspace::Architecture::X86_64, cores);
  Checker checker;
  try {
    const FenceFeed feed(checker, world.machine, world.vm);
  } catch (const software::ShapeError& error) {
    return error.what();
  }
  return "";
}

TEST(FenceFeed, HasToBeOfASecondStageOfTheEngine) {
  EXPECT_EQ(refusal(Backing::Lazy, 1), "");
  EXPECT_THAT(refusal(Backing::None, 1), testing::HasSubstr("a second stage of the engine"));
}

TEST(FenceFeed, HasToBeOfFewEnoughCores) {
  EXPECT_EQ(refusal(Backing::Lazy, kMostProcessors), "");
  EXPECT_THAT(refusal(Backing::Lazy, kMostProcessors + 1),
              testing::HasSubstr("at most 64 cores, not on 65"));
}

}  // namespace
}  // namespace nestwalk::checker::fence_feed_test
