// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#pragma once

#include <gtest/gtest.h>

#include "nestwalk/models/translation/lone_walk.hpp"

namespace nestwalk::models {

/// A walk that has begun now is over after so many cycles, and not one before.
inline void expect_takes(Wheel& wheel, const LoneWalk& walk, Cycle cycles) {
  const Cycle start = wheel.now();
  wheel.run_until(start + cycles - 1);
  EXPECT_FALSE(walk.done());
  wheel.run_until(start + cycles);
  EXPECT_TRUE(walk.done());
  wheel.run();
  EXPECT_EQ(walk->record().end - start, cycles);
}

}  // namespace nestwalk::models
