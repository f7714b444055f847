// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/spec.hpp"

#include <gmock/gmock.h>

#include <set>

namespace nestwalk::sim::spec_test {
namespace {

using testing::ElementsAre;

SweepSpec spec_with(std::vector<std::string> axes) {
  SweepSpec spec;
  spec.traces = {"t.nwt"};
  spec.presets = {"simple"};
  for (const std::string& text : axes) spec.axes.push_back(axis_from(text));
  return spec;
}

std::vector<std::string> names_of(const SweepPoints& points) {
  std::vector<std::string> names;
  for (std::size_t n = 0; n < points.size(); ++n) {
    names.push_back(name_of(points.at(n), points.spec()));
  }
  return names;
}

TEST(SweepPoints, CombineAllValues) {
  SweepSpec spec = spec_with({"a=1,2", "b=3,4"});
  spec.policies = {"lazy", "eager"};
  EXPECT_THAT(
      names_of(SweepPoints(spec)),
      ElementsAre("lazy, a=1, b=3", "lazy, a=1, b=4", "lazy, a=2, b=3", "lazy, a=2, b=4",
                  "eager, a=1, b=3", "eager, a=1, b=4", "eager, a=2, b=3", "eager, a=2, b=4"));
}

TEST(SweepPoints, GoSideBySide) {
  SweepSpec spec = spec_with({"a=1,2", "b=3,4"});
  spec.design = Design::Zip;
  EXPECT_THAT(names_of(SweepPoints(spec)), ElementsAre("a=1, b=3", "a=2, b=4"));
  spec.axes[0] = axis_from("a=1,2,3");
  EXPECT_THROW(SweepPoints{spec}, UsageError);
}

// Each of 4 values of 8 points' axis twice, each of 8 values of the other once, whatever the seed.
TEST(SweepPoints, OfALatinHypercubeUseEachValueEvenly) {
  for (const addrspace::u64 seed : {1u, 2u, 3u}) {
    SweepSpec spec = spec_with({"a=1..4", "b=1..8"});
    spec.design = Design::LatinHypercube;
    spec.samples = 8;
    spec.seed = seed;
    const SweepPoints points(spec);
    ASSERT_EQ(points.size(), 8u);
    std::multiset<std::string> a, b;
    for (std::size_t n = 0; n < 8; ++n) {
      a.insert(points.at(n).varied[0].second);
      b.insert(points.at(n).varied[1].second);
    }
    for (const char* const value : {"1", "2", "3", "4"}) EXPECT_EQ(a.count(value), 2u) << value;
    EXPECT_EQ(std::set<std::string>(b.begin(), b.end()).size(), 8u);
  }
}

// More values than points: one of each fourth, from its middle.
TEST(SweepPoints, OfALatinHypercubeAreSpreadOverManyValues) {
  SweepSpec spec = spec_with({"a=0..99"});
  spec.design = Design::LatinHypercube;
  spec.samples = 4;
  const SweepPoints points(spec);
  std::set<int> values;
  for (std::size_t n = 0; n < 4; ++n) values.insert(std::stoi(points.at(n).varied[0].second));
  EXPECT_THAT(values, ElementsAre(12, 37, 62, 87));
}

TEST(SweepPoints, AreNotEndlesslyMany) {
  EXPECT_THROW(SweepPoints(spec_with({"a=1..60000", "b=1..60000", "c=1..60000"})), UsageError);
  EXPECT_EQ(SweepPoints(spec_with({"a=1..1000", "b=1..1000"})).size(), 1'000'000u);
  EXPECT_THROW(SweepPoints(spec_with({"a=1..1000", "b=1..1001"})), UsageError);
}

}  // namespace
}  // namespace nestwalk::sim::spec_test

// SystemC's library wants it.
extern "C" int sc_main(int, char**) { return 0; }
