// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The importer of valgrind's lackey.

#include "import_fixture.hpp"

namespace nestwalk::traces::import_lackey_test {
namespace {

using testing::HasSubstr;

// Counted by hand in samples/lackey.txt: I is an instruction, M a read and a write.
Stream lackey_sample() {
  return {gva(kFetch, 0x401ab70, 3, 1), gva(kFetch, 0x401ab73, 5, 1), gva(kWrite, 0x1fff000680, 16),
          gva(kFetch, 0x401b7ab, 2, 1), gva(kFetch, 0x401b7ad, 7, 1), gva(kRead, 0x4033e06, 1),
          gva(kWrite, 0x4033e06, 1),    gva(kFetch, 0x401b7b4, 4, 1), gva(kFetch, 0x401b7b8, 7, 1),
          gva(kWrite, 0x4033ad0, 8),    gva(kFetch, 0x491b407, 2, 1)};
}

TEST(LackeyImport, RealSampleGivesItsRecords) {
  const Imported imported = import_sample(request_for("lackey"), "lackey.txt");
  EXPECT_EQ(imported.stream(), lackey_sample());
  EXPECT_EQ(imported.header.lacks, kUserLacks | kNoDependence);
  EXPECT_EQ(imported.header.mode, Mode::User);
  // The sample is the begin of the summary alone.
  EXPECT_THAT(imported.reports, testing::ElementsAre(HasSubstr("without lackey's summary")));
}

TEST(LackeyImport, EachInputIsAVcpuAndTheirOrderIsNotKnown) {
  const Imported imported =
      import_texts(request_for("lackey"), {" L 1000,8\n", "I  2000,4\n S 3000,2"});
  ASSERT_EQ(imported.streams.size(), 2U);
  EXPECT_EQ(imported.streams[0], (Stream{gva(kRead, 0x1000, 8)}));
  EXPECT_EQ(imported.streams[1], (Stream{gva(kFetch, 0x2000, 4, 1), gva(kWrite, 0x3000, 2)}));
  EXPECT_TRUE(imported.header.lacks & kNoOrder);
}

TEST(LackeyImport, AccessAcrossPagesBecomesTwoRecords) {
  EXPECT_EQ(import_text("lackey", " L 1ffc,8\n").stream(),
            (Stream{gva(kRead, 0x1ffc, 4), gva(kRead, 0x2000, 4, 0, kContinues)}));
}

TEST(LackeyImport, MalformedLinesAreNamed) {
  for (const char* line :
       {"hello", "I 1000,4", " L 1000", " L ,8", " L 1000,", " L 1000,8 ", " X 1000,8", " L 1000,0",
        " L 1000,4097", " L 11112222333344445,8", " L 1000,8\x01"}) {
    EXPECT_THAT(import_error("lackey", std::string("I  1000,4\n") + line),
                HasSubstr("input0: line 2: expected 'I  ADDRESS,SIZE'"))
        << line;
  }
}

// Lackey counts the instructions that it tells of: lk_main.c adds to n_guest_instrs at each of
// them.
TEST(LackeyImport, ATotalThatIsNotThatOfTheLinesIsAnError) {
  const std::string lines = "I  1000,4\n L 2000,8\nI  1004,4\n";
  EXPECT_EQ(import_error("lackey", lines + "==7==   guest instrs:  2\n"), "");
  EXPECT_EQ(import_error("lackey", lines + "==7==   guest instrs:  1,002\n"),
            "input0: line 4: expected as many instructions as lines of them, 2, found 1002");
  // Only data were kept.
  EXPECT_EQ(import_error("lackey", " L 2000,8\n==7==   guest instrs:  1,002\n"), "");
}

// With --trace-children=yes, and without a %p in --log-file.
TEST(LackeyImport, LinesOfTwoProcessesAreAnError) {
  const std::string lines = "==7== Lackey, an example Valgrind tool\nI  1000,4\n";
  EXPECT_EQ(import_error("lackey", lines + "==7== Counted 0 calls to main()\n"), "");
  EXPECT_EQ(import_error("lackey", lines + "==8== Lackey, an example Valgrind tool\n"),
            "input0: line 3: expected lines of process 7 (--log-file=NAME.%p has a file for each), "
            "found one of process 8");
  // --time-stamp=yes puts the time before it.
  EXPECT_THAT(import_error("lackey", lines + "==00:00:00:00.417 8== Jccs:\n"),
              HasSubstr("found one of process 8"));
}

TEST(LackeyImport, WhatFollowsTheSummaryIsAnError) {
  EXPECT_EQ(import_error("lackey", "I  1000,4\n==7==   guest instrs:  1\nI  1004,4\n"),
            "input0: line 3: expected no accesses after lackey's summary, found 'I  1004,4'");
}

TEST(LackeyImport, InputWithoutItsSummaryIsReported) {
  const std::string line = "I  1000,4\n";
  EXPECT_THAT(import_text("lackey", line).reports,
              testing::ElementsAre("not in the trace: the end: inputs without lackey's summary may "
                                   "have been cut (1)"));
  EXPECT_THAT(import_text("lackey", line + "==7==   guest instrs:  1\n").reports,
              testing::IsEmpty());
}

TEST(LackeyImport, AccessBeyondTheAddressSpaceIsAnError) {
  EXPECT_EQ(
      import_error("lackey", " L fffffffffffffffc,8\n"),
      "input0: line 1: expected an access within 64-bit addresses, found one beyond their end");
  EXPECT_EQ(import_error("lackey", " L fffffffffffffff8,8\n"), "");
}

}  // namespace
}  // namespace nestwalk::traces::import_lackey_test
