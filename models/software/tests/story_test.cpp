// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What is told of an access: every cycle, in order.

#include <numeric>
#include <random>

#include "world.hpp"

namespace nestwalk::software::story_test {
namespace {

using models::WitnessStep;

class Listener final : public AccessListener {
 public:
  u64 next_wanted(u64 number) override { return number; }
  void on_story(const AccessStory& story) override {
    Cycle at = story.begin;
    for (const WitnessStep& step : story.steps) {
      EXPECT_EQ(step.start, at) << step.kind->name;
      at += step.cycles;
    }
    EXPECT_EQ(at, story.begin + story.latency) << story.number;
    sum += story.latency;
    last.assign(story.steps.begin(), story.steps.end());
  }
  Cycle sum = 0;
  std::vector<WitnessStep> last;
};

GuestShape guest(GuestTables tables) {
  GuestShape shape;
  shape.tables = tables;
  shape.memory = {{0, u64{64} << 20}};
  return shape;
}
HypervisorShape lazy() {
  HypervisorShape shape;
  shape.backing = Backing::Lazy;
  shape.hardware_dirty = false;
  return shape;
}

struct Told {
  const models::StepKind* kind;
  Cycle cycles;
  friend bool operator==(const Told& left, const Told& right) {
    return left.kind == right.kind && left.cycles == right.cycles;
  }
  friend void PrintTo(const Told& told, std::ostream* out) {
    *out << told.kind->name << ' ' << told.cycles;
  }
};

// The first page of a guest without tables of its own. The root is empty: one entry is read. The
// engine looks the address up in the root, and makes tables of levels 2, 1 and 0 and a page, each a
// frame and zeroed; it links the page, the tables below, and last what the walker can reach.
TEST(Story, TellsAFirstTouchStepByStep) {
  using namespace models::step;
  World world(guest(GuestTables::None), lazy());
  Listener listener;
  world.streams[0].read(0x5000);
  world.vm.vcpu(0).tell(listener);
  world.run();
  const auto part = [](Part which) { return &kPartSteps[static_cast<std::size_t>(which)]; };
  std::vector<Told> told;
  for (const WitnessStep& step : listener.last) {
    if (step.kind != part(Part::Tables)) told.push_back({step.kind, step.cycles});
  }
  std::vector<Told> expected = {{&kFirstTlb, kTlb},
                                {&kNestedEntry, kReference},
                                {&kNestedFault, 0},
                                {part(Part::Exit), kExit},
                                {part(Part::Handler), kHandler}};
  for (unsigned frame = 0; frame < 4; ++frame) {
    expected.push_back({part(Part::Frames), kFrame});
    expected.push_back({part(Part::Zeroing), kZero});
  }
  expected.push_back({part(Part::Entry), kEntry});
  expected.push_back({&kFirstTlb, kTlb});
  for (unsigned level = 0; level < 4; ++level) expected.push_back({&kNestedEntry, kReference});
  expected.push_back({&kData, kReference});
  EXPECT_EQ(told, expected);

  // Entries of tables: one more write than there are tables, each 10 cycles; each is told with what
  // it became, and the last read of the walk is the leaf that was written.
  u64 writes = 0;
  u64 leaf = 0;
  for (const WitnessStep& step : listener.last) {
    if (step.kind == part(Part::Tables)) {
      EXPECT_EQ(step.cycles, kReference);
      writes += step.before != step.value ? 1 : 0;
    }
    if (step.kind == &kNestedEntry && step.nested_level == 0) leaf = step.value;
  }
  EXPECT_EQ(writes, 4u);
  EXPECT_NE(leaf, 0u);
  EXPECT_EQ(listener.last.back().address & (kFrameBytes - 1), 0u);
  EXPECT_EQ(leaf & ~u64{0xfff} & addrspace::low_mask(52), listener.last.back().address);
}

// Whatever happens to an access, its steps have no gap, and all stories together are the latencies.
class Stories : public testing::TestWithParam<std::tuple<Architecture, u32>> {};

TEST_P(Stories, AddUp) {
  const auto [architecture, window] = GetParam();
  for (const GuestTables tables : {GuestTables::None, GuestTables::FirstTouch}) {
    World world(guest(tables), lazy(), architecture, 2, overlapping(window));
    std::mt19937_64 random(2);
    Listener listeners[2];
    for (u32 n = 0; n < 2; ++n) {
      world.vm.vcpu(n).tell(listeners[n]);
      for (unsigned count = 0; count < 2000; ++count) {
        const u64 address = random() % (u64{65} << 20);
        GuestAccess access{address, 0, 0, static_cast<u32>(random() % 5),
                           static_cast<AccessKind>(random() % 3)};
        if (random() % 4 == 0) access.facts |= GuestAccess::kDependent;
        world.streams[n].add(access);
        if (count % 97 != 0) continue;
        const auto kind = static_cast<HostOperation::Kind>(random() % HostOperation::kKinds);
        const u64 at = random() % (u64{60} << 20) & ~u64{0xfff};
        world.streams[n].add(
            GuestEvent{random() % 7, HostOperation{kind, Gpa(at), 4 * kFrameBytes}});
      }
    }
    world.run();
    for (u32 n = 0; n < 2; ++n) {
      EXPECT_EQ(world.vm.vcpu(n).stopped(), std::nullopt);
      EXPECT_EQ(listeners[n].sum, world.latencies(n) + world.counts(n).untranslatable_cycles);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Stories,
                         testing::Combine(testing::Values(Architecture::X86_64,
                                                          Architecture::AArch64,
                                                          Architecture::RiscV64),
                                          testing::Values(1u, 4u)));

}  // namespace
}  // namespace nestwalk::software::story_test
