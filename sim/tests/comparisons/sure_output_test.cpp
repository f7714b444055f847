// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What `nestwalk compare --sure` says of what it found.

#include <gmock/gmock.h>

#include "comparisons/sure.hpp"

namespace nestwalk::sim::sure_output_test {
namespace {

using testing::HasSubstr;
using testing::Not;

// Two runs on a machine with so many guesses, all of which go with the time of the first one.
Sure found(unsigned draws, unsigned guesses, const Spread& ratio) {
  Sure sure{draws, 1, {{"m", {}, {}}}, {}, {}, {}};
  for (unsigned n = 0; n < guesses; ++n) {
    const Guess guess{"guess" + std::to_string(n), 10, 5, 20, false, n == 0};
    sure.machines[0].guesses.varied.push_back(guess);
    sure.machines[0].varied.push_back({guess, {}, {0.9, 0.1}});
  }
  for (const char* const name : {"one", "other"}) {
    Case own{name, Json::object(), ""};
    own.values = UsedValues{};
    sure.runs.push_back({own, 0, {{"mean", false, {1, 1, 1, 2, 2.5, 3}}}});
  }
  sure.orders.push_back({0, 1, false, "time.cycles", draws, ratio});
  sure.effects = {{"time.cycles of one", {}, {0}}, {"other : one", {}, {0}}};
  return sure;
}

std::string text_of(const Sure& sure) { return formatted(sure, "table"); }
std::string text_of(const Spread& ratio) { return text_of(found(200, 1, ratio)); }

TEST(SureOutput, RatiosHaveDigitsThatSayWhichTimeIsLonger) {
  const auto ratio = [](double least, double most) { return Spread{most, least, 0, 0, 0, most}; };
  EXPECT_THAT(text_of(ratio(5.539, 20.641)),
              HasSubstr("one takes less time than other in 200 of 200 draws: other takes 5.54 to "
                        "20.64 times as long (time.cycles)\n"));
  EXPECT_THAT(text_of(ratio(1.00042, 1.2)), HasSubstr("takes 1.0004 to 1.2000 times"));
  EXPECT_THAT(text_of(ratio(0.99961, 1)), HasSubstr("takes 0.9996 to 1.0000 times"));
  EXPECT_THAT(text_of(ratio(2.001, 2.0014)), HasSubstr("takes 2.0010 to 2.0014 times"));
  EXPECT_THAT(text_of(ratio(1.00042, 1.00042)), HasSubstr("takes 1.0004 times"));
  EXPECT_THAT(text_of(ratio(1, 1)), HasSubstr("takes 1.00 times"));
}

TEST(SureOutput, SaysHowManyCorrelationsAreNotShown) {
  const Spread ratio{2, 2, 2, 2, 2, 2};
  EXPECT_THAT(text_of(found(200, 8, ratio)), Not(HasSubstr(" more\n")));
  const std::string text = text_of(found(200, 11, ratio));
  EXPECT_THAT(text, HasSubstr("\nguess7 "));
  EXPECT_THAT(text, Not(HasSubstr("\nguess8 ")));
  EXPECT_THAT(text, testing::EndsWith("\nand 3 more: JSON and CSV have all\n"));
}

// 3.5 / sqrt(12) is more than 1, 3.5 / sqrt(13) is less.
TEST(SureOutput, FewDrawsHaveNoCorrelations) {
  const Spread ratio{2, 2, 2, 2, 2, 2};
  const std::string few = "\ntoo few draws for rank correlations\n";
  EXPECT_THAT(text_of(found(13, 1, ratio)), testing::EndsWith(few));
  EXPECT_THAT(text_of(found(13, 1, ratio)), Not(HasSubstr("beyond")));
  EXPECT_THAT(text_of(found(14, 1, ratio)), HasSubstr("\nno guess of m has a rank correlation "
                                                      "beyond 0.97, the noise of 14 draws\n"));
}

TEST(SureOutput, CountsGuesses) {
  const Spread ratio{2, 2, 2, 2, 2, 2};
  EXPECT_THAT(text_of(found(1, 1, ratio)),
              HasSubstr("1 draw varies 1 of m's 1 guess (1 within the preset's range)\n"
                        "one takes less time than other in 1 of 1 draw: "));
  Sure sure = found(200, 3, ratio);
  Guesses& guesses = sure.machines[0].guesses;
  guesses.words = 2;
  guesses.zeros = 1;
  EXPECT_THAT(text_of(sure), HasSubstr("200 draws vary 3 of m's 6 guesses (1 within the preset's "
                                       "range, 2 from half to twice the value); not varied: 2 "
                                       "words, 1 of value 0\n"));
  guesses.varied.clear();
  EXPECT_THAT(text_of(sure), HasSubstr("no guess of m is varied: 2 words, 1 of value 0\n"));
  guesses = {};
  EXPECT_THAT(text_of(sure), HasSubstr("m has no guesses\n"));
}

// Its preset, least, median and most are whole.
TEST(SureOutput, AFractionIsOneThoughItsValuesAreWhole) {
  const Sure sure = found(200, 1, {1, 1, 1.25, 2, 2.5, 3});
  const Json json = as_json(sure);
  EXPECT_EQ(json["cases"][0]["statistics"]["mean"].dump(),
            R"({"preset":1.0,"least":1.0,"p5":1.0,"median":2.0,"p95":2.5,"most":3.0})");
  EXPECT_EQ(json["orders"][0]["ratio"]["p5"], 1.25);
  EXPECT_THAT(text_of(sure), testing::ContainsRegex("mean +1.000000 +1.000000 +2.000000 +3.00"));
}

}  // namespace
}  // namespace nestwalk::sim::sure_output_test
