// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// One more extension: its own file, and the line below that puts it into a machine.

#include <gmock/gmock.h>

#include "nestwalk/checker/checker.hpp"
#include "nestwalk/checker/fence_feed.hpp"
#include "nestwalk/checker/log.hpp"
#include "toy_extension.hpp"
#include "world.hpp"

namespace nestwalk::software::fourth_extension_test {
namespace {

models::MachineShape toy_machine(u32 cores) {
  models::MachineShape shape = easy(Architecture::X86_64, cores);
  shape.extension = &toy::kToy;
  return shape;
}

// A guest with its own tables and two vCPUs; the hypervisor takes pages away and makes others
// read-only while both run.
class FourthExtension : public testing::Test {
 protected:
  explicit FourthExtension(const addrspace::FencePolicy* policy = &addrspace::FencePolicy::Precise)
      : world(guest_shape(), hypervisor_shape(policy), toy_machine(2)) {
    feed.emplace(checker, world.machine, world.vm);
    world.vm.watch(*feed);
    for (u32 vcpu = 0; vcpu < 2; ++vcpu) {
      for (u32 n = 0; n < 400; ++n) {
        const u64 page = (vcpu * 7 + n * 5) % 32;
        world.streams[vcpu].read(page * kFrameBytes, 50);
      }
    }
  }
  void run() {
    world.run();
    checker.finish();
  }

  World world;
  checker::Checker checker;
  std::optional<checker::FenceFeed> feed;

 private:
  static GuestShape guest_shape() {
    GuestShape shape;
    shape.levels = 4;
    return shape;
  }
  static HypervisorShape hypervisor_shape(const addrspace::FencePolicy* policy) {
    HypervisorShape shape;
    shape.levels = 3;
    shape.fences = policy;
    return shape;
  }
};

void zap_now_and_then(World& world) {
  using Kind = HostOperation::Kind;
  // The guest's frames are the lowest of its memory.
  for (u64 n = 0; n < 8; ++n) {
    GuestEvent zap;
    zap.detail = HostOperation{Kind::Zap, Gpa(n * kFrameBytes), 2 * kFrameBytes};
    world.streams[0].add(zap);
    for (u64 page = 0; page < 32; ++page) world.streams[0].read(page * kFrameBytes, 20);
  }
}

TEST_F(FourthExtension, RunsAGuestUnderTheChecker) {
  zap_now_and_then(world);
  run();
  EXPECT_EQ(checker.errors(), 0u);
  EXPECT_EQ(checker.warnings(), 0u);
  const FenceCounts& fences = world.vm.hypervisor().fence_counts();
  EXPECT_GE(fences.by_cause[static_cast<std::size_t>(HostOperation::Kind::Zap)], 8u);
  EXPECT_EQ(fences.interrupts, 0u);  // they broadcast
}

class WithoutFences : public FourthExtension {
 protected:
  // Rules of which none applies.
  WithoutFences() : FourthExtension(&kOwnRules) {}
};

TEST_F(WithoutFences, IsFoundOut) {
  zap_now_and_then(world);
  run();
  EXPECT_GE(checker.errors(), 8u);
  EXPECT_THAT(describe(checker.findings().front()),
              testing::AllOf(testing::HasSubstr("missing"), testing::HasSubstr("TOYFLUSH"),
                             testing::HasSubstr("the toy's manual")));
}

// A log of it: a page is unmapped, and another page's translation is flushed.
TEST(FourthExtensionsLog, IsJudgedByItsOwnRules) {
  constexpr const models::Extension* kAll[] = {&toy::kToy};
  const auto findings = [&](const std::string& operand) {
    checker::LogReader reader(kAll);
    checker::Checker checker;
    std::istringstream log(
        "nestwalk-fence-log 1\n"
        "0 0 vm 1 toy root=0x10000\n"
        "1 0 store 0x10000 0 0x5001\n"  // level 2: the table at 0x14000
        "2 0 store 0x14000 0 0x6001\n"  // level 1: the table at 0x18000
        "3 0 store 0x18000 0 0x80df\n"  // the leaf for GPA 0
        "4 0 enter 1\n"
        "5 0 exit 1\n"
        "6 0 begin unmap\n"
        "7 0 store 0x18000 0x80df 0\n"
        "8 0 fence 1 toyflush page, " +
        operand +
        "\n"
        "9 0 end\n"
        "10 0 enter 1\n");
    reader.read(log, "a log", checker);
    checker.finish();
    std::vector<std::string> names;
    for (const auto& each : checker.findings()) names.push_back(text_of(each.failure).name);
    return names;
  };
  EXPECT_THAT(findings("0x0"), testing::IsEmpty());
  EXPECT_THAT(findings("0x100000"), testing::ElementsAre("wrong operand"));
}

}  // namespace
}  // namespace nestwalk::software::fourth_extension_test
