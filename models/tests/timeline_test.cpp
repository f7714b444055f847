// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Timelines of the preset `simple`, worked out by hand from the rules in README.md.
//
// Where things lie. Frames are handed out from 0 upwards; a row of memory holds two, and rows take
// turns over 16 banks, so frame f is in bank f / 2.
//
//   frame  0  EPT level 3 (root)           frame  7  the data of page 0
//          1  the engine's own                    8  EPT level 1 for guest-physical 0
//          2  guest level 3 (root)                9  EPT level 0 for guest-physical 0
//          3  EPT level 2                        10  guest level 2
//          4  EPT level 1 for the tables         11  guest level 1
//          5  EPT level 0 for the tables         12  guest level 0
//          6  the engine's own                   13  the data of page 1

#include <gtest/gtest.h>

#include "fence_names.hpp"
#include "guest_tables.hpp"
#include "nestwalk/machines/preset.hpp"
#include "nestwalk/models/fences/fence_unit.hpp"
#include "nestwalk/models/machine/machine.hpp"
#include "nestwalk/models/machine/player.hpp"

namespace nestwalk::models::timeline_test {
namespace {

using addrspace::LongMode;

class Timeline : public testing::Test {
 protected:
  explicit Timeline(u32 slots = 1, u32 cores = 1, u64 pages = 2)
      : machine(shape(slots, cores), addrspace::kGiB), tables(machine, pages) {
    for (u32 n = 0; n < cores; ++n) machine.core(n).mmu->set_regime(tables.regime);
    machine.core(0).mmu->keep_walks(true);
  }
  static MachineShape shape(u32 slots, u32 cores) {
    MachineShape simple = load_preset(NESTWALK_PRESETS "/simple.json").shape;
    simple.mmu.walker.slots = slots;
    simple.cores = cores;
    return simple;
  }

  Hpa frame(u64 number) { return machine.memory().base() + number * kFrameBytes; }
  // As if the guest had run before: 2^40 is entry 2 of the root, and entry 0 of the others.
  void set_accessed_flags() {
    for (const Hpa entry : {frame(2) + 2 * 8, frame(10), frame(11)}) {
      ASSERT_NE(machine.memory().load(entry), 0u);
      machine.memory().store(entry, machine.memory().load(entry) | LongMode::kAccessed);
    }
  }
  static Mmu::Request page(u64 number, AccessKind access = AccessKind::Read) {
    return {GuestTables::kBase + number * kFrameBytes, access, true};
  }
  // Not at t - 1, but at t.
  void expect_finished_at(const Player& player, Cycle at) {
    machine.wheel().run_until(at - 1);
    EXPECT_FALSE(player.finished());
    machine.wheel().run_until(at);
    EXPECT_TRUE(player.finished());
    EXPECT_EQ(player.finished_at(), at);
  }
  Mmu& mmu() { return *machine.core(0).mmu; }

  Machine machine;
  GuestTables tables;
};

// first TLB 1, second TLB 9                                                        ->   10
// guest walk cache 1                                                               ->   11
// guest level 3:  nested TLB 1, nested walk cache 1                                ->   13
//   EPT level 3   L2 10, L3 40, empty bank 150                                     ->  213
//   EPT level 2   the same, bank 1                                                 ->  413
//   EPT level 1   the same, bank 2                                                 ->  613
//   EPT level 0   the row of level 1 is open: 10 + 40 + 100                        ->  763
//   the entry     in the row of EPT level 2: 150                                   ->  913
// guest level 2:  nested TLB 1; the nested walk cache 1 knows EPT level 0          ->  915
//   EPT level 0   in the line that was read before: L2 10                          ->  925
//   the entry     bank 5: 200                                                      -> 1125
// guest level 1:  1 + 1 + 10, and the entry in that row: 150                       -> 1287
// guest level 0:  1 + 1 + 10, and the entry in bank 6: 200                         -> 1499
// the data:       nested TLB 1; the nested walk cache 1 knows EPT level 2          -> 1501
//   EPT level 2   another line of that open row: 150                               -> 1651
//   EPT level 1   bank 4: 200                                                      -> 1851
//   EPT level 0   in that row: 150                                                 -> 2001
constexpr Cycle kColdTranslation = 2001;

TEST_F(Timeline, AColdTranslationTakes2001Cycles) {
  set_accessed_flags();
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0)};
  player.play(accesses, 0);
  expect_finished_at(player, kColdTranslation);
  EXPECT_EQ(Hpa(player.outcome().host), frame(7));
  // 4 + 1 for the root; three times 1 + 1; 3 for the data. Three hits in the nested walk cache,
  // and one for the data.
  u32 reads = 0;
  u32 hits = 0;
  for (u32 n = 0; n < mmu().last_walk().count; ++n) {
    (mmu().last_walk().references[n].served == Served::WalkCache ? hits : reads) += 1;
  }
  EXPECT_EQ(reads, 14u);
  EXPECT_EQ(hits, 4u);
}

TEST_F(Timeline, TheDataFollowTheTranslation) {
  set_accessed_flags();
  Player player(machine, 0);
  // L1 4, L2 10, L3 40, empty bank 3: 150. Again: first TLB 1, L1 4.
  const Mmu::Request accesses[] = {page(0), page(0)};
  player.play(accesses, 0);
  expect_finished_at(player, kColdTranslation + 204 + 5);
}

TEST_F(Timeline, AnUpdateOfFlagsIsAnotherAccessToTheEntry) {
  // Three tables without accessed flag: each time the line is in L2 by then, 10.
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0)};
  player.play(accesses, 0);
  expect_finished_at(player, kColdTranslation + 3 * 10);
  EXPECT_NE(machine.memory().load(frame(10)) & LongMode::kAccessed, 0u);
}

TEST_F(Timeline, AHitInTheSecondLevelCostsBoth) {
  set_accessed_flags();
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request first[] = {page(0)};
  player.play(first, 0);
  machine.wheel().run();
  mmu().data_tlb().drop_if([](const EntryKey&, const Translation&) { return true; });
  // 1 + 9, and it is in the first level again: 1.
  const Mmu::Request again[] = {page(0), page(0)};
  player.play(again, 3000);
  expect_finished_at(player, 3011);
}

// `simple`, with a TLB of two entries for stores, 2 cycles. The data TLB, for loads, takes 1, the
// second level 9. All pages are in the second level, dirty, and in neither of the first.
class StoreTlb : public testing::Test {
 protected:
  StoreTlb() : machine(shape(), addrspace::kGiB), tables(machine, 4) {
    mmu().set_regime(tables.regime);
    for (u64 page = 0; page < 4; ++page) write(page);
    for (auto* const tlb : {&mmu().data_tlb(), &mmu().store_tlb()}) {
      tlb->drop_if([](const EntryKey&, const Translation&) { return true; });
    }
  }
  static MachineShape shape() {
    MachineShape simple = load_preset(NESTWALK_PRESETS "/simple.json").shape;
    simple.mmu.store_tlb = {{{1, 2, {12}}}, 2};
    return simple;
  }
  static u64 at(u64 page) { return GuestTables::kBase + page * kFrameBytes; }
  Cycle access(u64 page, AccessKind kind) {
    Player player(machine, 0, Player::Data::Skip);
    const Mmu::Request one[] = {{at(page), kind, true}};
    const Cycle began = machine.wheel().now() + 1;
    player.play(one, began);
    machine.wheel().run();
    return player.finished_at() - began;
  }
  Cycle read(u64 page) { return access(page, AccessKind::Read); }
  Cycle write(u64 page) { return access(page, AccessKind::Write); }
  Mmu& mmu() { return *machine.core(0).mmu; }

  Machine machine;
  GuestTables tables;
};

TEST_F(StoreTlb, IsFilledByStoresAlone) {
  EXPECT_EQ(read(0), 1u + 9u);
  EXPECT_EQ(write(0), 2u + 9u);
  EXPECT_EQ(write(0), 2u);
  EXPECT_EQ(read(0), 1u);
}
TEST_F(StoreTlb, IsFilledTogetherWithTheOneForLoads) {
  EXPECT_EQ(write(0), 2u + 9u);
  EXPECT_EQ(read(0), 1u);
  // By a walk as well.
  for (auto* const tlb : {&mmu().data_tlb(), &mmu().store_tlb(), &mmu().second_tlb()}) {
    tlb->drop_if([](const EntryKey&, const Translation&) { return true; });
  }
  EXPECT_GT(write(0), 2u + 9u);
  EXPECT_EQ(write(0), 2u);
  EXPECT_EQ(read(0), 1u);
}
// The third page takes the place of the first: it holds two. That of loads has all of them.
TEST_F(StoreTlb, HasItsOwnSize) {
  for (const u64 page : {0u, 1u, 2u}) EXPECT_EQ(write(page), 2u + 9u);
  EXPECT_EQ(write(1), 2u);
  EXPECT_EQ(write(2), 2u);
  EXPECT_EQ(read(0), 1u);
  EXPECT_EQ(write(0), 2u + 9u);
}
// All cycles of translations are in some sum.
TEST_F(StoreTlb, ItsHitsAndCyclesAreThoseOfStores) {
  const Mmu::Counts before = mmu().counts();
  const Cycle cycles = mmu().cycles();
  const Cycle spent = write(0) + write(0) + read(0) + read(1) + read(1);
  EXPECT_EQ(spent, 11u + 2u + 1u + 10u + 1u);
  EXPECT_EQ(mmu().cycles() - cycles, spent);
  EXPECT_EQ(mmu().counts().inline_hits[1] - before.inline_hits[1], 1u);
  EXPECT_EQ(mmu().counts().inline_hits[0] - before.inline_hits[0], 2u);
  EXPECT_EQ(mmu().counts().second_hits() - before.second_hits(), 2u);
}
TEST_F(StoreTlb, LosesWhatFaultsForget) {
  write(0);
  write(1);
  ASSERT_TRUE(mmu().store_tlb().holds(at(0), tables.regime.combined));
  mmu().forget(tables.regime, at(0), Fault{});
  EXPECT_FALSE(mmu().store_tlb().holds(at(0), tables.regime.combined));
  EXPECT_TRUE(mmu().store_tlb().holds(at(1), tables.regime.combined));
}

// The neighbour's walk: first and second TLB 10, guest walk cache 1 knows guest level 0, its entry
// is in a line of L2: 10. Nested TLB 1, nested walk cache 1 knows EPT level 0, and that line: 10.
constexpr Cycle kNeighboursWalk = 1 + 10 + 1 + 1 + 10;

TEST_F(Timeline, AWarmWalkReadsTwoEntries) {
  set_accessed_flags();
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0), page(1)};
  player.play(accesses, 0);
  expect_finished_at(player, kColdTranslation + 10 + kNeighboursWalk);
  EXPECT_EQ(Hpa(player.outcome().host), frame(13));
}

TEST_F(Timeline, TwoMissesToOnePageShareAWalk) {
  set_accessed_flags();
  Player one(machine, 0, Player::Data::Skip);
  Player other(machine, 0, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0)};
  one.play(accesses, 0);
  other.play(accesses, 0);
  // The second looks into the first TLB again when the walk is over: 1.
  expect_finished_at(one, kColdTranslation);
  expect_finished_at(other, kColdTranslation + 1);
  EXPECT_EQ(mmu().counts().walks(), 1u);
  EXPECT_EQ(mmu().counts().merged, 1u);
}

TEST_F(Timeline, WithOneSlotTheSecondPageWaits) {
  set_accessed_flags();
  Player one(machine, 0, Player::Data::Skip);
  Player other(machine, 0, Player::Data::Skip);
  const Mmu::Request first[] = {page(0)};
  const Mmu::Request second[] = {page(1)};
  one.play(first, 0);
  other.play(second, 0);
  expect_finished_at(one, kColdTranslation);
  expect_finished_at(other, kColdTranslation + kNeighboursWalk);
}

// A real fence takes 100 cycles to act, and takes more away than the walk's progress.
struct FenceAt : Actor {
  FenceAt(Machine& machine, const FenceRequest& request) : unit(machine), fence(request) {}
  void on_cycle(u32 what) override {
    if (what == 0) unit.issue(0, fence, Reach::Own, *this, 1);
  }
  FenceUnit unit;
  FenceRequest fence;
};
TEST_F(Timeline, InvvpidInTheMiddleLeavesTheNestedWalkCache) {
  set_accessed_flags();
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0)};
  player.play(accesses, 0);
  FenceAt fence(machine, {vmx::kInvvpidSingle, 0, 1});
  machine.wheel().schedule(400, fence, 0);
  // It acts in 500. In 613 the walk begins again: 3, and EPT level 1 from L2, 10.
  expect_finished_at(player, kColdTranslation + 13);
}
TEST_F(Timeline, InveptInTheMiddleTakesTheNestedWalkCacheToo) {
  set_accessed_flags();
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0)};
  player.play(accesses, 0);
  FenceAt fence(machine, {vmx::kInveptSingle, tables.regime.nested.root});
  machine.wheel().schedule(400, fence, 0);
  // In 613: 3, and EPT levels 3, 2 and 1 from L2, 10 each.
  expect_finished_at(player, kColdTranslation + 33);
  EXPECT_EQ(mmu().last_walk().restarts, 1u);
}
// In cycle 2001 the fence acts first: it was issued in 1901 before the last read came to memory,
// since it was scheduled before that. Everything is in L2 by then: guest walk cache 1; four times
// the nested TLB and the guest's entry, 1 + 10; nested TLB, nested walk cache and EPT level 0, 12.
TEST_F(Timeline, AFenceInTheLastCycleMakesTheWalkBeginAgain) {
  set_accessed_flags();
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0)};
  player.play(accesses, 0);
  FenceAt fence(machine, {vmx::kInvvpidSingle, 0, 1});
  machine.wheel().schedule(kColdTranslation - 100, fence, 0);
  expect_finished_at(player, kColdTranslation + 1 + 4 * (1 + 10) + 12);
}
TEST_F(Timeline, AFenceAfterItTakesWhatItCached) {
  set_accessed_flags();
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0)};
  player.play(accesses, 0);
  FenceAt fence(machine, {vmx::kInvvpidSingle, 0, 1});
  machine.wheel().schedule(kColdTranslation - 99, fence, 0);
  expect_finished_at(player, kColdTranslation);
  EXPECT_NE(mmu().data_tlb().find(GuestTables::kBase, tables.regime.combined), nullptr);
  machine.wheel().run_until(kColdTranslation + 1);
  EXPECT_EQ(mmu().data_tlb().find(GuestTables::kBase, tables.regime.combined), nullptr);
}

class NinePages : public Timeline {
 protected:
  NinePages() : Timeline(1, 1, 9) {}
};
TEST_F(NinePages, EightEntriesShareALineOfTheTable) {
  set_accessed_flags();
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request first[] = {page(0)};
  player.play(first, 0);
  machine.wheel().run();
  // Page 7: its entries, of both stages, are in the lines of page 0's: 10 + 1 + 10 + 1 + 1 + 10.
  const Mmu::Request seventh[] = {page(7)};
  player.play(seventh, 10'000);
  expect_finished_at(player, 10'000 + 10 + kNeighboursWalk);
  // Page 8: both are in the next lines, in banks 6 and 4. Each table was the last thing that was
  // read there, so its row is open: L3 40 and 100 more.
  const Mmu::Request eighth[] = {page(8)};
  player.play(eighth, 20'000);
  expect_finished_at(player, 20'000 + 10 + kNeighboursWalk + 2 * (40 + 100));
}

class TwoSlots : public Timeline {
 protected:
  TwoSlots() : Timeline(2) {}
};
TEST_F(TwoSlots, NeighboursWalkInStepAndShareEveryLine) {
  set_accessed_flags();
  Player one(machine, 0, Player::Data::Skip);
  Player other(machine, 0, Player::Data::Skip);
  const Mmu::Request first[] = {page(0)};
  const Mmu::Request second[] = {page(1)};
  one.play(first, 0);
  other.play(second, 0);
  machine.wheel().run_until(kColdTranslation - 1);
  EXPECT_FALSE(one.finished() || other.finished());
  machine.wheel().run_until(kColdTranslation);
  EXPECT_TRUE(one.finished() && other.finished());
  EXPECT_EQ(mmu().counts().walks(), 2u);
}

class TwoCores : public Timeline {
 protected:
  TwoCores() : Timeline(1, 2) {}
};
TEST_F(TwoCores, OneCyclesHeadStartLeavesTheOtherWaitingForTheSameLines) {
  set_accessed_flags();
  Player one(machine, 0, Player::Data::Skip);
  Player other(machine, 1, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0)};
  one.play(accesses, 0);
  other.play(accesses, 1);
  // The second core looks into L3 a cycle after the first one: the line is on its way, and both get
  // it in the same cycle. From there they read in step to the end.
  expect_finished_at(one, kColdTranslation);
  machine.wheel().run_until(kColdTranslation);
  EXPECT_TRUE(other.finished());
  EXPECT_EQ(other.finished_at(), kColdTranslation);
}

TEST_F(Timeline, AFenceInTheMiddleMakesTheWalkBeginAgain) {
  set_accessed_flags();
  Player player(machine, 0, Player::Data::Skip);
  const Mmu::Request accesses[] = {page(0)};
  player.play(accesses, 0);
  // In cycle 500 the walk waits for EPT level 1, which comes in 613. It begins again there: guest
  // walk cache, nested TLB and nested walk cache 3, the last knows EPT level 1, which is in L2 now:
  // 10, instead of the 0 of going on.
  machine.wheel().run_until(500);
  mmu().walker().restart_if([](const WalkRequest&) { return true; });
  expect_finished_at(player, kColdTranslation + 3 + 10);
  EXPECT_EQ(mmu().last_walk().restarts, 1u);
}

// Translates one page after the other, and says what comes next: nothing, the truth, or a lie.
class Foreteller final : private Actor, private Upcoming {
 public:
  enum class Says : u8 { Nothing, Truth, Lies };
  static constexpr u64 kPages = 10'000;  // 20 tables of smallest pages; the walk caches know 16

  Foreteller(Machine& machine, Says says) : machine_(machine), says_(says) {
    machine.wheel().schedule(0, *this, 0);
    machine.wheel().run();
  }
  Cycle end() const { return end_; }

 private:
  static constexpr u64 kAccesses = 2000;
  static u64 address(u64 n) { return GuestTables::kBase + n * n * 7 % kPages * kFrameBytes; }

  void on_cycle(u32) override {
    while (next_ != kAccesses) {
      const Mmu::Request request{address(next_++), AccessKind::Read, true, nullptr,
                                 says_ == Says::Nothing ? nullptr : this};
      if (!machine_.core(0).mmu->translate(request, *this, 0, outcome_)) return;
    }
    end_ = machine_.wheel().now();
  }
  u64 upcoming(u32 others) const override {
    return says_ == Says::Truth ? address(next_ + others) : ~u64{0} / (next_ + others);
  }

  Machine& machine_;
  Says says_;
  u64 next_ = 0;
  Cycle end_ = 0;
  Mmu::Outcome outcome_;
};

TEST(Foresight, ChangesNothingEvenIfItIsWrong) {
  using Says = Foreteller::Says;
  const auto times = [](Says says) {
    Machine machine(load_preset(NESTWALK_PRESETS "/simple.json").shape, addrspace::kGiB);
    const GuestTables tables(machine, Foreteller::kPages);
    Mmu& mmu = *machine.core(0).mmu;
    mmu.set_regime(tables.regime);
    const Foreteller foreteller(machine, says);
    return std::vector<u64>{foreteller.end(), mmu.counts().walks(), mmu.counts().references,
                            machine.hierarchy().dram_counts().row_hits};
  };
  const std::vector<u64> silent = times(Says::Nothing);
  EXPECT_EQ(times(Says::Truth), silent);
  EXPECT_EQ(times(Says::Lies), silent);
}

TEST(Quantum, DoesNotChangeAnything) {
  const auto times = [](Cycle quantum) {
    MachineShape shape = load_preset(NESTWALK_PRESETS "/simple.json").shape;
    shape.cores = 3;
    Machine machine(shape, addrspace::kGiB);
    GuestTables tables(machine, 300);
    std::vector<std::unique_ptr<Player>> players;
    std::vector<std::vector<Mmu::Request>> accesses(3);
    for (u32 n = 0; n < 3; ++n) {
      machine.core(n).mmu->set_regime(tables.regime);
      for (u64 k = 0; k < 2000; ++k) {
        const u64 page = (k * k * 7 + k * 13 + n * 5) % 300;
        accesses[n].push_back({GuestTables::kBase + page * kFrameBytes + (k % 64) * 64,
                               k % 3 == 0 ? AccessKind::Write : AccessKind::Read, true});
      }
      players.push_back(std::make_unique<Player>(machine, n));
      players[n]->play(accesses[n], n * 17);
    }
    while (machine.wheel().next() != kNever) {
      const Cycle next = machine.wheel().next();
      machine.wheel().run_until(quantum == kNever ? kNever - 1 : next + quantum - 1);
    }
    std::vector<u64> result;
    for (u32 n = 0; n < 3; ++n) {
      const Mmu::Counts& counts = machine.core(n).mmu->counts();
      result.insert(result.end(), {players[n]->finished_at(), counts.first_hits(),
                                   counts.second_hits(), counts.walks(), counts.references});
    }
    return result;
  };
  const std::vector<u64> unlimited = times(kNever);
  EXPECT_GT(unlimited[0], 10'000u);
  EXPECT_EQ(times(1), unlimited);
  EXPECT_EQ(times(1000), unlimited);
}

}  // namespace
}  // namespace nestwalk::models::timeline_test
