// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Who is next: of tags, of what is scheduled, of vCPUs that a trace orders, on a core.

#include <gtest/gtest.h>

#include "nestwalk/software/agenda.hpp"
#include "nestwalk/software/cores.hpp"
#include "nestwalk/software/recorded_order.hpp"
#include "nestwalk/software/tag_pool.hpp"

namespace nestwalk::software::turns_test {
namespace {

using Running = std::vector<TagPool::Holder*>;

TEST(TagPool, HandsOutTagsInTurn) {
  TagPool pool(3);
  TagPool::Holder a, b;
  EXPECT_FALSE(pool.is_current(a));
  EXPECT_FALSE(pool.renew(a, Running{}));
  EXPECT_FALSE(pool.renew(b, Running{}));
  EXPECT_EQ(a.tag, 1);
  EXPECT_EQ(b.tag, 2);
  EXPECT_TRUE(pool.is_current(a));
}

// Three tags, and a fourth holder: all are taken back, but that of the one that runs, 2. So the new
// one gets 1, the next one 3, and the one after that ends a generation again.
TEST(TagPool, TakesAllBackButThoseInUse) {
  TagPool pool(3);
  TagPool::Holder holders[6];
  for (int n = 0; n < 3; ++n) EXPECT_FALSE(pool.renew(holders[n], Running{}));
  EXPECT_TRUE(pool.renew(holders[3], Running{&holders[1]}));
  EXPECT_EQ(holders[3].tag, 1);
  EXPECT_TRUE(pool.is_current(holders[1]));
  EXPECT_EQ(holders[1].tag, 2);
  EXPECT_FALSE(pool.is_current(holders[0]));
  EXPECT_FALSE(pool.is_current(holders[2]));
  EXPECT_FALSE(pool.renew(holders[4], Running{&holders[1]}));
  EXPECT_EQ(holders[4].tag, 3);
  EXPECT_TRUE(pool.renew(holders[5], Running{&holders[1], &holders[4]}));
  EXPECT_EQ(holders[5].tag, 1);
  EXPECT_FALSE(pool.is_current(holders[3]));
}

// The second of three runs when all are taken back, and keeps 2; then it leaves. Until the next
// generation 2 is its own all the same: the others get 1 and 3.
TEST(TagPool, GivesNobodyWhatSomebodyKept) {
  TagPool pool(3);
  TagPool::Holder holders[6];
  for (int n = 0; n < 3; ++n) pool.renew(holders[n], Running{});
  EXPECT_TRUE(pool.renew(holders[3], Running{&holders[1]}));
  EXPECT_FALSE(pool.renew(holders[4], Running{}));
  EXPECT_EQ(holders[3].tag, 1);
  EXPECT_EQ(holders[4].tag, 3);
  EXPECT_TRUE(pool.is_current(holders[1]));
  // In the next one it is anybody's.
  EXPECT_TRUE(pool.renew(holders[5], Running{}));
  EXPECT_FALSE(pool.is_current(holders[1]));
  EXPECT_EQ(holders[5].tag, 1);
  EXPECT_FALSE(pool.renew(holders[0], Running{}));
  EXPECT_EQ(holders[0].tag, 2);
}

TEST(Agenda, IsInTheOrderOfTime) {
  using Kind = HostOperation::Kind;
  const auto named = [](Kind kind) {
    HostOperation operation;
    operation.kind = kind;
    return operation;
  };
  Agenda agenda({{named(Kind::LogHarvest), 100, 50, 3},
                 {named(Kind::Zap), 150, 0, 1},
                 {named(Kind::LogStop), 500, 0, 1}});
  std::vector<std::pair<Cycle, Kind>> order;
  while (agenda.next() != models::kNever) {
    const Cycle at = agenda.next();
    order.emplace_back(at, agenda.take().kind);
  }
  EXPECT_EQ(order, (std::vector<std::pair<Cycle, Kind>>{{100, Kind::LogHarvest},
                                                        {150, Kind::LogHarvest},
                                                        {150, Kind::Zap},
                                                        {200, Kind::LogHarvest},
                                                        {500, Kind::LogStop}}));
}

class Walker final : public RecordedOrder::Member {
 public:
  u64 clock() const override { return at; }
  bool is_through() const override { return through; }
  void watch(u64 clock) override { watched = clock; }
  void go_on() override { ++went_on; }
  u64 at = 0;
  bool through = false;
  u64 watched = RecordedOrder::kNobody;
  int went_on = 0;
};

TEST(RecordedOrder, LetsNobodyGoBeforeThoseBehind) {
  RecordedOrder order;
  Walker a, b;
  order.add(a);
  order.add(b);
  // b begins where a gets to after 1000 instructions; a goes on at 2000.
  b.at = 1000;
  EXPECT_FALSE(order.reach(b));
  EXPECT_EQ(a.watched, 1000u);
  a.at = 999;
  order.moved();
  EXPECT_EQ(b.went_on, 0);
  a.at = 1000;  // at equal clocks the lower one goes first
  order.moved();
  EXPECT_EQ(b.went_on, 0);
  a.at = 2000;
  EXPECT_FALSE(order.reach(a));
  EXPECT_EQ(b.went_on, 1);
  EXPECT_EQ(b.watched, 2000u);
  EXPECT_EQ(a.watched, RecordedOrder::kNobody);
  b.at = 2000;
  order.moved();
  EXPECT_EQ(a.went_on, 1);
  EXPECT_EQ(b.watched, RecordedOrder::kNobody);
}

TEST(RecordedOrder, WaitsForNobodyWhoHasEnded) {
  RecordedOrder order;
  Walker a, b;
  order.add(a);
  order.add(b);
  b.at = 1000;
  EXPECT_FALSE(order.reach(b));
  a.through = true;
  order.moved();
  EXPECT_EQ(b.went_on, 1);
}

class Guestlike final : public models::Actor {
 public:
  void on_cycle(u32) override { ++turns; }
  int turns = 0;
};

// A slice of 100: who came at 10 has to go at 110, if somebody waits.
TEST(Cores, AreGivenUpAfterASliceIfSomebodyWaits) {
  Cores cores(2, 100);
  Guestlike a, b;
  EXPECT_TRUE(cores.ask(0, a, 10));
  EXPECT_EQ(cores.attention(0), models::kNever);
  EXPECT_FALSE(cores.must_give_up(0, 1000));
  EXPECT_FALSE(cores.ask(0, b, 20));
  EXPECT_EQ(cores.attention(0), 110u);
  EXPECT_FALSE(cores.must_give_up(0, 109));
  EXPECT_TRUE(cores.must_give_up(0, 110));
  EXPECT_FALSE(cores.ask(0, a, 110));
  cores.give_up(0, 110);
  EXPECT_EQ(b.turns, 1);
  EXPECT_EQ(a.turns, 0);
  EXPECT_EQ(cores.attention(0), 210u);
  cores.give_up(0, 150);
  EXPECT_EQ(a.turns, 1);
  EXPECT_EQ(cores.attention(0), models::kNever);
}

TEST(Cores, AskForAttentionWhenAnAlarmIsDue) {
  Cores cores(1, 100);
  Guestlike a, b;
  EXPECT_TRUE(cores.ask(0, a, 0));
  cores.set_alarm(0, 70);
  EXPECT_EQ(cores.attention(0), 70u);
  EXPECT_FALSE(cores.ask(0, b, 5));
  EXPECT_EQ(cores.attention(0), 70u);
  cores.set_alarm(0, 300);
  EXPECT_EQ(cores.attention(0), 100u);
  // The alarm was a's.
  cores.give_up(0, 100);
  EXPECT_EQ(cores.attention(0), models::kNever);
}

}  // namespace
}  // namespace nestwalk::software::turns_test
