// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The engine's operations at random: checker and adversary, which share no rule, agree.

#include <gmock/gmock.h>

#include "both.hpp"
#include "engine_log.hpp"

namespace nestwalk::checker {
namespace {

#ifdef NESTWALK_SANITIZED
constexpr u64 kOperations = 5'000;
#else
constexpr u64 kOperations = 50'000;
#endif

template <class Shape>
class Storms : public testing::Test {
 protected:
  void run(const FencePolicy& policy, u64 operations, u64 seed) {
    LineFeed feed(*both_);
    EngineLog<Shape> engine(policy, feed.lines());
    Storm<Shape> storm(engine, seed);
    for (u64 n = 0; n < operations && both_->checker.forgotten() == 0; ++n) {
      storm.step();
      probe(storm, n);
    }
    feed.stop();
    both_->checker.finish();
  }
  // The guest's accesses on processor 1.
  void probe(Storm<Shape>& storm, u64 n) {
    Access access;
    access.when = {1, n};
    access.vm = 1;
    access.position = n;
    access.gpa = storm.place(8).value();
    access.gva = access.gpa;
    access.write = storm.below(2) != 0;
    Adversary::Wrong wrong{};
    const bool hit = both_->adversary.would_hit(1, 1, access.gpa, access.write, wrong);
    if (hit) {
      ++hits_;
      EXPECT_TRUE(both_->checker.is_open(1, 1, access.gpa)) << n << " " << std::hex << access.gpa;
    }
    both_->checker.accessed(access);
  }

  std::unique_ptr<Both> both_ = std::make_unique<Both>();
  u64 hits_ = 0;
};
using Shapes = testing::Types<OnEpt, OnStage2, OnGStage>;
TYPED_TEST_SUITE(Storms, Shapes);

TYPED_TEST(Storms, WithThePrecisePolicyNeitherFindsAnything) {
  this->run(FencePolicy::Precise, kOperations, 1);
  EXPECT_EQ(this->both_->checker.errors(), 0u);
  EXPECT_FALSE(this->both_->adversary.harmed());
  EXPECT_EQ(this->hits_, 0u);
  EXPECT_EQ(this->both_->checker.warnings(), 0u);
  for (const Finding& finding : this->both_->checker.findings()) ADD_FAILURE() << describe(finding);
}

TYPED_TEST(Storms, AStaleHitImpliesAnOpenObligation) {
  // Nothing that it issues does anything: copies pile up until there are too many to watch.
  for (u64 seed = 1; seed <= 5; ++seed) {
    this->both_ = std::make_unique<Both>();
    this->run(FencePolicy::Original030, 500, seed);
    EXPECT_GT(this->both_->checker.errors(), 0u);
    EXPECT_TRUE(this->both_->adversary.harmed());
  }
  EXPECT_GT(this->hits_, 0u);
}

}  // namespace
}  // namespace nestwalk::checker
