// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "comparisons/draws.hpp"

#include <gmock/gmock.h>

#include <set>

namespace nestwalk::sim::draws_test {
namespace {

using addrspace::u64;
using testing::ElementsAre;

std::vector<u64> values_of(const Guess& guess, u64 parts) {
  std::vector<u64> values;
  for (u64 part = 0; part < parts; ++part) values.push_back(value_at(guess, part, parts));
  return values;
}

TEST(Draws, HalfOfARangeIsUpToTheGuess) {
  // 6 to 10 in steps of one, 10 to 18 in steps of two.
  EXPECT_THAT(values_of({"a", 10, 6, 18, false, true}, 8), ElementsAre(6, 7, 8, 9, 10, 12, 14, 16));
  // At the end of its range there is no other half.
  EXPECT_THAT(values_of({"a", 0, 0, 1, false, true}, 4), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(values_of({"a", 12, 10, 12, false, true}, 6), ElementsAre(10, 10, 11, 11, 12, 12));
  // Exponents 2 to 3 to 5: 2, 2.25, 2.5, 2.75, then 3, 3.5, 4, 4.5, rounded.
  EXPECT_THAT(values_of({"a", 8, 4, 32, true, true}, 8), ElementsAre(4, 4, 8, 8, 8, 16, 16, 32));
  // The largest there can be.
  const Guess large{"a", 1u << 31, 0, 0xffff'ffff, false, true};
  const u64 parts = kMostDraws * kStratumParts;
  EXPECT_EQ(value_at(large, 0, parts), 0u);
  EXPECT_EQ(value_at(large, parts / 2, parts), 1u << 31);
  EXPECT_EQ(value_at(large, parts - 1, parts) >> 8, 0xff'ffffu);
}

TEST(Draws, EachStratumOfEachGuessHasOneDraw) {
  const Guesses guesses = guesses_of(Configuration(preset_file("zen4")));
  ASSERT_GT(guesses.varied.size(), 20u);
  std::set<std::vector<u64>> orders;
  for (const Guess& guess : guesses.varied) {
    std::vector<u64> strata;
    for (const u64 place : places_of("zen4", guess, 50, 1)) {
      strata.push_back(place / kStratumParts);
    }
    orders.insert(strata);
    std::sort(strata.begin(), strata.end());
    for (u64 n = 0; n < 50; ++n) EXPECT_EQ(strata[n], n) << guess.path;
  }
  EXPECT_EQ(orders.size(), guesses.varied.size());  // which do not go with each other
}

TEST(Draws, DependOnTheSeedAndTheNames) {
  const Guess guess{"walker.slots", 2, 1, 4, false, false};
  const std::vector<u64> places = places_of("zen4", guess, 20, 1);
  EXPECT_EQ(places_of("zen4", guess, 20, 1), places);
  EXPECT_NE(places_of("zen4", guess, 20, 2), places);
  EXPECT_NE(places_of("zen3", guess, 20, 1), places);
  Guess other = guess;
  other.path = "walker.step_cycles";
  EXPECT_NE(places_of("zen4", other, 20, 1), places);
}

// By a program in another language: FNV-1a of "zen4/walker.slots" (0x42417ea1f78eee12) and the seed
// fill SplitMix64, that xoshiro256**; a shuffle from the end, then 16 bits for each.
TEST(Draws, AreTheSameOnEveryMachine) {
  EXPECT_THAT(places_of("zen4", {"walker.slots", 2, 1, 4, false, false}, 4, 1),
              ElementsAre(194482, 74305, 30418, 240547));
}

// Pairs of a value and "guess..." in the preset's own text.
void count_guesses(const Json& place, unsigned& words, unsigned& numbers, unsigned& ranges,
                   unsigned& zeros) {
  const bool is_pair = place.is_array() && place.size() >= 2 && place[1].is_string();
  if (is_pair && place[1].get<std::string>().starts_with("guess")) {
    ++(place[0].is_number() ? numbers : words);
    if (place.size() == 4) ++ranges;
    if (place[0] == 0 && place.size() == 2) ++zeros;
  } else if (place.is_structured() && !is_pair) {
    for (const auto& [key, value] : place.items()) {
      count_guesses(value, words, numbers, ranges, zeros);
    }
  }
}

TEST(Draws, AllGuessesAreVariedOrCounted) {
  for (const std::string& name : preset_names()) {
    const Configuration configuration(preset_file(name));
    const Guesses guesses = guesses_of(configuration);
    unsigned words = 0, numbers = 0, ranges = 0, zeros = 0;
    count_guesses(configuration.document()["machine"], words, numbers, ranges, zeros);
    EXPECT_EQ(guesses.words, words) << name;
    EXPECT_EQ(guesses.with_range(), ranges) << name;
    EXPECT_EQ(guesses.zeros, zeros) << name;
    EXPECT_EQ(guesses.total(), words + numbers) << name;
    EXPECT_EQ(guesses.of_user, 0u) << name;
  }
}

TEST(Draws, WhatTheUserSetIsVariedWithinARangeOnly) {
  Configuration configuration(preset_file("simple"));
  const Guesses before = guesses_of(configuration);
  configuration.set("walker.slots=3");
  configuration.set(R"(core.width=[3, "guess of mine", 2, 4])");
  const Guesses after = guesses_of(configuration);
  EXPECT_EQ(after.of_user, 1u);
  EXPECT_EQ(after.with_range(), 1u);
  EXPECT_EQ(after.total(), before.total());
}

TEST(Draws, NumbersWithoutARangeAreVariedFromHalfToTwiceWithinWhatTheyMayBe) {
  Configuration configuration(preset_file("simple"));
  configuration.set(R"(walker.slots=[5, "guess"])");         // 1 to 64
  configuration.set(R"(core.width=[20, "guess"])");          // 1 to 32
  configuration.set(R"(caches.line_bytes=[256, "guess"])");  // 16 to 256
  std::vector<std::array<u64, 2>> ranges;
  for (const Guess& guess : guesses_of(configuration).varied) {
    if (guess.path == "walker.slots" || guess.path == "core.width" ||
        guess.path == "caches.line_bytes") {
      ranges.push_back({guess.least, guess.most});
    }
  }
  using Range = std::array<u64, 2>;
  EXPECT_THAT(ranges, testing::UnorderedElementsAre(Range{3, 10}, Range{10, 32}, Range{128, 256}));
}

Guess latency(const char* path, u64 value) { return {path, value, 1, 100, false, true}; }

TEST(Draws, AMachineThatIsRefusedBecomesOneThatIsNot) {
  Configuration configuration(preset_file("simple"));  // latencies 4, 14 and 54; 16 banks
  ASSERT_EQ(configuration.value_at("machine.caches.l3.latency_cycles")[0], 54);
  ASSERT_EQ(configuration.value_at("machine.memory.banks")[0], 16);
  configuration.set("memory.bank_groups=4");
  // The second level comes first, and with it alone has to be less than 54, the third one's. Banks
  // have to be a multiple of four: towards 16.
  EXPECT_THAT(permitted_values({latency("caches.l2.latency_cycles", 14),
                                latency("caches.l3.latency_cycles", 54),
                                {"memory.banks", 16, 8, 32, false, true},
                                {"tlb.data.arrays[0].ways", 4, 2, 8, false, true}},
                               {60, 55, 9, 7}, configuration, {configuration}),
              ElementsAre(53, 55, 12, 7));
}

// A row has 2^20 bytes at most. In steps of one the way there would take 2^30 of them.
TEST(Draws, PowersOfTwoAreMendedByHalves) {
  const Configuration configuration(preset_file("simple"));
  const u64 own = configuration.value_at("machine.memory.row_bytes")[0];
  EXPECT_THAT(permitted_values({{"memory.row_bytes", own, 256, u64{1} << 31, true, true}},
                               {u64{1} << 31}, configuration, {configuration}),
              ElementsAre(u64{1} << 20));
}

// A policy's third level at 30 cycles: the second one's 40 would do on the preset alone.
TEST(Draws, AreWhatTheMachinePermitsUnderEachPolicy) {
  const Configuration preset(preset_file("simple"));
  Configuration policy = preset;
  policy.set("caches.l3.latency_cycles=30");
  const std::vector<Guess> guesses = {latency("caches.l2.latency_cycles", 14),
                                      latency("caches.l3.latency_cycles", 54)};
  EXPECT_THAT(permitted_values(guesses, {40, 60}, preset, {preset}), ElementsAre(40, 60));
  EXPECT_THAT(permitted_values(guesses, {40, 60}, preset, {preset, policy}), ElementsAre(29, 60));
  // One that is refused without a draw, too, decides nothing.
  Configuration refused = preset;
  refused.set("caches.l3.latency_cycles=3");
  EXPECT_THAT(permitted_values(guesses, {40, 60}, preset, {preset, refused}), ElementsAre(40, 60));
}

TEST(Draws, NumbersThatWereSetSinceStay) {
  Configuration before(preset_file("simple"));
  before.set(R"(walker.slots=[2, "guess", 1, 4])");
  Configuration configuration = before;
  configuration.set("caches.l2.latency_cycles=14");  // the preset's own
  configuration.set("machine.tlb.data.arrays.0.ways.0=4");
  configuration.set(R"(memory.banks=[16, "guess", 8, 32])");
  configuration.vary_machine({{"walker.slots", 3},
                              {"caches.l2.latency_cycles", 15},
                              {"caches.l3.latency_cycles", 55},
                              {"tlb.data.arrays[0].ways", 7},
                              {"memory.banks", 8},
                              {"caches.l4.sets", 2}},
                             before);
  const auto value = [&](const char* path) { return configuration.value_at(path)[0]; };
  EXPECT_EQ(value("machine.walker.slots"), 3);  // --set gave it a range
  EXPECT_EQ(value("machine.caches.l2.latency_cycles"), 14);
  EXPECT_EQ(value("machine.caches.l3.latency_cycles"), 55);
  EXPECT_EQ(value("machine.tlb.data.arrays.0.ways"), 4);
  EXPECT_EQ(value("machine.memory.banks"), 16);
}

}  // namespace
}  // namespace nestwalk::sim::draws_test
