// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fences that may wait: until the tag of a VM is used again. Each case is told to the adversary as
// well.

#include "both.hpp"
#include "log_world.hpp"

namespace nestwalk::checker {
namespace {

constexpr Architecture kX86 = Architecture::X86_64;
constexpr Architecture kArm = Architecture::AArch64;
constexpr Architecture kRiscV = Architecture::RiscV64;
constexpr Architecture kAll[] = {kX86, kArm, kRiscV};

std::string with_all_entries(Architecture architecture, const std::string& lines) {
  std::string text;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) text += with_entries(architecture, line);
  return text;
}

/// What is found; the adversary agrees whether there is an error among it.
std::string found_in(Architecture architecture, const std::string& lines,
                     const std::string& start = "") {
  Both both;
  std::istringstream in((start.empty() ? preamble(architecture) : start) +
                        with_all_entries(architecture, lines));
  both.reader.read(in, "log", both.tee);
  both.checker.finish();
  EXPECT_EQ(both.adversary.harmed(), both.checker.errors() != 0) << lines << names_of(both.checker);
  return names_of(both.checker);
}

// The end of a VM -------------------------------------------------------------------------------

TEST(Destroy, ClosesWhatIsOpenAndKeepsTheTag) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const char* const kFormats[] = {"ept", "stage2-4k", "sv39x4"};
    const std::string format = kFormats[static_cast<unsigned>(architecture)];
    // Nothing is fenced: both processors may hold the page and the table.
    const std::string ended =
        "1 1 exit 1\n2 0 begin unmap\n2 0 store 0x23028 L5 0\n2 0 end\n"
        "3 0 destroy 1\n4 0 free 0x95000 0x1000\n4 0 free 0x96000 0x1000\n"
        "4 0 free 0x23000 0x1000\n4 0 free 0x10000 0x1000\n";
    EXPECT_EQ(found_in(architecture, ended), "");
    // The adversary keeps no tags.
    const std::string lines = preamble(architecture) + with_all_entries(architecture, ended);
    const std::string next = "6 0 vm 2 " + format + " root=0x10000 vmid=5\n";
    EXPECT_EQ(check_text(lines + next)->names(), "tag reused");
  }
}

// TLBI before, DSB after: the tag is clean once that is done.
TEST(Destroy, AFenceThatIsUnderWayCleansTheTag) {
  const std::string ended = preamble(kArm) +
                            "1 1 exit 1\n2 0 fence 1 tlbi vmalls12e1is\n"
                            "3 0 destroy 1\n";
  const std::string next = "6 0 vm 2 stage2-4k root=0x50000 vmid=5\n";
  EXPECT_EQ(check_text(ended + next)->names(), "excess, tag reused");
  EXPECT_EQ(check_text(ended + "4 0 fence 1 dsb ish\n" + next)->names(), "excess");
}

TEST(Destroy, InTheMiddleOfAnOperation) {
  const std::string ended =
      "1 1 exit 1\n2 0 begin release\n2 0 store 0x23028 L5 0\n2 0 fence 1 dsb ishst\n"
      "2 0 fence 1 tlbi ipas2e1is, 0x5\n3 0 destroy 1\n3 0 fence 1 dsb ish\n4 0 end\n";
  EXPECT_EQ(found_in(kArm, ended), "");
}

}  // namespace
}  // namespace nestwalk::checker
