// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Accesses that wait for nobody are played on a way of their own. Whoever wants to hear of an
// access has it played on the usual one: with a listener for all, and without, everything is the
// same.

#include <cstring>
#include <random>

#include "world.hpp"

namespace nestwalk::software::at_once_test {
namespace {

using models::ReplacementKind;

class Deaf final : public AccessListener {
 public:
  u64 next_wanted(u64 number) override { return number; }
  void on_story(const AccessStory&) override {}
};

constexpr u64 kMemory = u64{64} << 20;

// Small caches of every kind, so that each is hit and missed often.
models::MachineShape machine(Architecture architecture, u32 cores, ReplacementKind replacement) {
  models::MachineShape shape = easy(architecture, cores);
  shape.mmu.data_tlb = {{{2, 4, {12}, replacement}, {1, 24, {21, 30}, replacement}}, 1};
  shape.mmu.fetch_tlb = {{{1, 6, {12, 21, 30}, replacement}}, 2};
  shape.mmu.store_tlb = {{{1, 5, {12, 21, 30}, replacement}}, 3};
  shape.mmu.second_tlb = {{{8, 4, {12, 21}, replacement}}, 6};
  shape.mmu.walker.guest_walk_cache = {{{1, 4, {21}}, {1, 2, {30, 39}}}, 1};
  shape.mmu.walker.nested_walk_cache = {{{1, 4, {21}}, {1, 2, {30, 39}}}, 1};
  shape.mmu.walker.nested_tlb = {{{1, 8, {12, 21, 30}}}, 1};
  shape.l1d = models::DataCacheShape{8, 2, 4, 4, replacement};
  shape.l1i = models::DataCacheShape{4, 2, 3, 4, replacement};
  shape.l2 = models::DataCacheShape{32, 4, 11, 8, replacement};
  shape.l3 = models::DataCacheShape{64, 20, 31, 8, replacement};
  shape.walks_enter_at = models::Served::L2;
  shape.memory = {.channels = 2,
                  .banks = 4,
                  .bank_groups = 2,
                  .row_bytes = 4096,
                  .controller_ps = 30'000,
                  .tcl_ps = 26'000,
                  .trcd_ps = 20'000,
                  .trp_ps = 20'000,
                  .tras_ps = 40'000,
                  .tccd_ps = 8'000,
                  .tburst_ps = 4'000};
  shape.software.instructions_per_1000_cycles = 700;
  return shape;
}

GuestShape guest(GuestTables tables) {
  GuestShape shape;
  shape.tables = tables;
  shape.memory = {{0, kMemory}};
  return shape;
}

// Mostly in few pages and lines, now and then anywhere, also where no memory is.
void fill(ListStream& stream, GuestTables tables, std::mt19937_64& random) {
  for (unsigned n = 0; n < 6000; ++n) {
    const u64 pages[] = {6, 60, 2000, (kMemory >> 12) + 64};
    const u64 page = random() % pages[random() % 16 < 11 ? 0 : random() % 4];
    GuestAccess access{page << 12 | (random() % 4 << 6), 0, 0,
                       static_cast<u32>(random() % (random() % 50 == 0 ? 9000 : 6)),
                       static_cast<AccessKind>(random() % 3)};
    if (tables == GuestTables::Recorded && random() % 8 != 0) {
      // Two address spaces, and sometimes another page than before.
      access.guest_physical = access.address ^ (random() % 500 == 0 ? u64{7} : u64{3}) << 14;
      access.facts |= GuestAccess::kGuestPhysical;
      if (access.guest_physical >= kMemory) access.facts = GuestAccess::kAddress;
    }
    if (random() % 200 == 0) access.facts = 0;
    stream.add(access);
    if (random() % 400 != 0) continue;
    const u64 at = random() % kMemory & ~u64{0xfff};
    switch (random() % 4) {
      case 0:
        stream.add(GuestEvent{random() % 9, GuestPhase{}});
        break;
      case 1:
        stream.add(GuestEvent{random() % 9, GuestSwitch{1 + random() % 2}});
        break;
      case 2:
        stream.add(GuestEvent{random() % 9, GuestFence{random() % 2 == 0, false, at, 4096}});
        break;
      default: {
        constexpr HostOperation::Kind kKinds[] = {
            HostOperation::Kind::Zap, HostOperation::Kind::Protect, HostOperation::Kind::LogStart,
            HostOperation::Kind::LogHarvest};
        const u64 bytes = (1 + random() % 8) * kFrameBytes;
        stream.add(GuestEvent{random() % 9, HostOperation{kKinds[random() % 4], Gpa(at), bytes}});
      }
    }
  }
}

template <class T>
bool same(const T& left, const T& right) {
  static_assert(std::has_unique_object_representations_v<T>);
  return std::memcmp(&left, &right, sizeof left) == 0;
}
bool same(const Distribution& left, const Distribution& right) {
  const auto ours = left.bins();
  const auto theirs = right.bins();
  return std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end(),
                    same<Distribution::Bin>);
}

/// In order: as plain as can be; fetches that run ahead, and a store buffer that is often full.
models::CoreShape core(bool has_buffers) {
  models::CoreShape core;
  if (!has_buffers) return core;
  core.store_buffer = 3;
  core.forward_cycles = 2;
  core.hides_fetch_hits = true;
  return core;
}

class AtOnce : public testing::TestWithParam<std::tuple<Architecture, GuestTables, u32, bool>> {};

TEST_P(AtOnce, ChangesNothing) {
  const auto [architecture, tables, cores, has_buffers] = GetParam();
  unsigned seed = 0;
  for (const auto replacement :
       {ReplacementKind::Lru, ReplacementKind::TreePlru, ReplacementKind::Random}) {
    for (const bool eager : {false, true}) {
      HypervisorShape policy;
      policy.backing = eager ? Backing::Eager : Backing::Lazy;
      const models::MachineShape shape =
          with_core(machine(architecture, cores, replacement), core(has_buffers));
      ++seed;
      World usual(guest(tables), policy, shape);
      World at_once(guest(tables), policy, shape);
      std::vector<Deaf> listeners(cores);
      for (u32 n = 0; n < cores; ++n) {
        usual.vm.vcpu(n).tell(listeners[n]);
        for (World* const world : {&usual, &at_once}) {
          std::mt19937_64 random(n + 10 * seed);
          fill(world->streams[n], tables, random);
        }
      }
      usual.run();
      at_once.run();
      for (u32 n = 0; n < cores; ++n) {
        ASSERT_EQ(at_once.vm.vcpu(n).stopped(), std::nullopt);
        EXPECT_EQ(at_once.counts(n).total(), usual.counts(n).total());
        EXPECT_EQ(at_once.counts(n).end, usual.counts(n).end);
        EXPECT_TRUE(same(at_once.counts(n), usual.counts(n)));
        EXPECT_TRUE(same(at_once.vm.vcpu(n).mmu_totals(), usual.vm.vcpu(n).mmu_totals()));
        EXPECT_TRUE(same(at_once.vm.vcpu(n).latencies(), usual.vm.vcpu(n).latencies()));
      }
      EXPECT_TRUE(
          same(at_once.machine.hierarchy().dram_counts(), usual.machine.hierarchy().dram_counts()));
      EXPECT_EQ(at_once.vm.work().entries_written, usual.vm.work().entries_written);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, AtOnce,
    testing::Combine(
        testing::Values(Architecture::X86_64, Architecture::AArch64, Architecture::RiscV64),
        testing::Values(GuestTables::None, GuestTables::FirstTouch, GuestTables::Recorded),
        testing::Values(1u, 2u), testing::Bool()));

}  // namespace
}  // namespace nestwalk::software::at_once_test
