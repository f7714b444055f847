// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "sweeps/axis.hpp"

#include <gmock/gmock.h>

#include "program/exit_code.hpp"

namespace nestwalk::sim::axis_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Rows = std::vector<std::vector<std::string>>;

std::string refusal_of(const std::string& text) {
  try {
    (void)axis_from(text);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Axis, HasValuesOfListsAndRanges) {
  EXPECT_THAT(values_of_range("1..4", ""), ElementsAre("1", "2", "3", "4"));
  EXPECT_THAT(values_of_range("0..64+16", ""), ElementsAre("0", "16", "32", "48", "64"));
  EXPECT_THAT(values_of_range("512..8192*2", ""),
              ElementsAre("512", "1024", "2048", "4096", "8192"));
  EXPECT_THAT(values_of_range("64K..1M*4", ""), ElementsAre("64K", "256K", "1M"));
  EXPECT_THAT(values_of_range("1..8*3", ""), ElementsAre("1", "3"));  // 9 is more
  EXPECT_THAT(values_of_range("0.1..0.4+0.1", ""), ElementsAre("0.1", "0.2", "0.3", "0.4"));
  EXPECT_THAT(values_of_range("lazy", ""), ElementsAre("lazy"));
  EXPECT_THAT(values_of_range("0x80000000+512M", ""), ElementsAre("0x80000000+512M"));
  EXPECT_THAT(axis_from("a=1,4..6,9").rows,
              ElementsAre(ElementsAre("1"), ElementsAre("4"), ElementsAre("5"), ElementsAre("6"),
                          ElementsAre("9")));
}

TEST(Axis, EndsAtTheLargestNumber) {
  EXPECT_THAT(values_of_range("999999999999998..999999999999999", ""),
              ElementsAre("999999999999998", "999999999999999"));
}

TEST(Axis, KeepsJsonInOnePiece) {
  EXPECT_EQ(axis_from(R"(a=[1,2],{"b":[3,4]},"x,y")").rows,
            (Rows{{"[1,2]"}, {R"({"b":[3,4]})"}, {R"("x,y")"}}));
}

TEST(Axis, MovesValuesTogether) {
  const Axis axis = axis_from("sets,ways=64:4,128..512*2:8..32*2");
  EXPECT_THAT(axis.paths, ElementsAre("sets", "ways"));
  EXPECT_EQ(axis.rows, (Rows{{"64", "4"}, {"128", "8"}, {"256", "16"}, {"512", "32"}}));
}

TEST(Axis, SaysWhatIsWrong) {
  EXPECT_THAT(refusal_of("a"), HasSubstr("not PATH=VALUE"));
  EXPECT_THAT(refusal_of("a="), HasSubstr("not PATH=VALUE"));
  EXPECT_THAT(refusal_of("a=1,,2"), HasSubstr("a value is missing"));
  EXPECT_THAT(refusal_of("a,=1:2"), HasSubstr("a path is missing"));
  EXPECT_THAT(refusal_of("walker.slots,machine.walker.slots=1:2"), HasSubstr("twice"));
  EXPECT_THAT(refusal_of("a,b=1:2,3"), HasSubstr("expected 2 values with colons between them"));
  EXPECT_THAT(refusal_of("a,b=1..4:1..3"), HasSubstr("1..4 has 4 values, 1..3 has 3"));
  EXPECT_THAT(refusal_of("a=4..1"), HasSubstr("4 is more than 1"));
  EXPECT_THAT(refusal_of("a=1..4+0"), HasSubstr("never comes to its end"));
  EXPECT_THAT(refusal_of("a=0..4*2"), HasSubstr("never comes to its end"));
  EXPECT_THAT(refusal_of("a=1..4*1"), HasSubstr("never comes to its end"));
  EXPECT_THAT(refusal_of("a=1..x"), HasSubstr("1..x is not FIRST..LAST"));
  EXPECT_THAT(refusal_of("a=1..70000"), HasSubstr("more than 65536 values"));
}

TEST(Axis, IsAnObjectOfListsInAFile) {
  const auto json = models::Json::parse(R"({"sets": "64..256*2", "ways": [4, "8", true]})");
  EXPECT_EQ(axis_from(json, "vary[0]").rows, (Rows{{"64", "4"}, {"128", "8"}, {"256", "true"}}));
  const auto uneven = models::Json::parse(R"({"sets": [1, 2], "ways": [4]})");
  EXPECT_THROW(axis_from(uneven, "vary[0]"), UsageError);
  EXPECT_THROW(axis_from(models::Json::parse(R"({"sets": 4})"), ""), UsageError);
  EXPECT_THROW(axis_from(models::Json::parse("{}"), ""), UsageError);
}

}  // namespace
}  // namespace nestwalk::sim::axis_test
