// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The importers of ChampSim's two record sizes. samples/make says what the samples hold.

#include "import_fixture.hpp"

namespace nestwalk::traces::import_champsim_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ChampSimImport, SampleGivesItsRecordsAndTheDependencesThatRegistersTell) {
  const Imported imported = import_sample(request_for("champsim"), "champsim.bin");
  EXPECT_EQ(imported.stream(),
            (Stream{gva(kFetch, 0x401000, 0, 1), gva(kRead, 0x10037856c00, 0),
                    // Its only source was loaded by the read before.
                    gva(kFetch, 0x401004, 0, 1), gva(kRead, 0x20000000, 0, 0, kDependent),
                    gva(kFetch, 0x401008, 0, 1), gva(kWrite, 0x30000008, 0, 0, kDependent),
                    gva(kFetch, 0x40100c, 0, 1),
                    // 14 was computed from what was loaded, 12 not: the address may be either.
                    gva(kFetch, 0x401010, 0, 1), gva(kRead, 0x40000010, 0),
                    // Relative to the instruction pointer.
                    gva(kFetch, 0x401014, 0, 1), gva(kRead, 0x40000018, 0),
                    // Reads where the read before says, and writes without another dependence.
                    gva(kFetch, 0x401018, 0, 1), gva(kRead, 0x40000020, 0, 0, kDependent),
                    gva(kWrite, 0x40000028, 0), gva(kFetch, 0x40101c, 0, 1)}));
  EXPECT_EQ(imported.header.lacks, kUserLacks | kNoSize);
  EXPECT_THAT(imported.reports,
              ElementsAre("not in the trace: accesses that may depend on the read before (1)"));
}

TEST(ChampSimImport, CloudSuiteSampleGivesItsRecordsAndAddressSpaces) {
  const Imported imported = import_sample(request_for("cloudsuite"), "cloudsuite.bin");
  EXPECT_EQ(imported.stream(),
            (Stream{happens(SpaceSwitch{0, 7, Precision::Exact}), gva(kFetch, 0x10000, 0, 1),
                    gva(kRead, 0x2000, 0), gva(kRead, 0x3008, 0), gva(kFetch, 0x10004, 0, 1),
                    gva(kWrite, 0x2000, 0), happens(SpaceSwitch{0, 9, Precision::Exact}),
                    gva(kFetch, 0x20000, 0, 1)}));
  EXPECT_EQ(imported.header.lacks, (kUserLacks & ~u64{kNoSpaces}) | kNoSize | kNoDependence);
}

// A record of registers and a read; registers as ChampSim numbers them.
std::string instruction(std::vector<u8> to, std::vector<u8> of, u64 read) {
  std::string record(64, '\0');
  record[2] = 0x40;
  std::copy(to.begin(), to.end(), record.begin() + 10);
  std::copy(of.begin(), of.end(), record.begin() + 12);
  for (std::size_t n = 0; n < 8; ++n) record[32 + n] = static_cast<char>(read >> 8 * n);
  return record;
}

bool last_is_dependent(const std::vector<std::string>& instructions) {
  std::string text;
  for (const std::string& record : instructions) text += record;
  return std::get<Access>(import_text("champsim", text).stream().back()).has(kDependent);
}

TEST(ChampSimImport, DependenceGoesThroughRegisters) {
  const std::string load = instruction({3}, {4}, 0x1000);
  EXPECT_TRUE(last_is_dependent({load, instruction({5}, {3}, 0x2000)}));
  EXPECT_TRUE(last_is_dependent({load, instruction({7}, {3}, 0), instruction({5}, {7}, 0x2000)}));
  EXPECT_TRUE(
      last_is_dependent({load, instruction({7}, {3, 9}, 0), instruction({5}, {7}, 0x2000)}));
}

TEST(ChampSimImport, DependenceEndsWhereTheRegisterGetsAnotherValueOrAnotherReadComes) {
  const std::string load = instruction({3}, {4}, 0x1000);
  EXPECT_FALSE(last_is_dependent({load, instruction({3}, {9}, 0), instruction({5}, {3}, 0x2000)}));
  EXPECT_FALSE(
      last_is_dependent({load, instruction({9}, {8}, 0x3000), instruction({5}, {3}, 0x2000)}));
}

TEST(ChampSimImport, WhatRegistersDoNotTellIsNotFlagged) {
  const std::string load = instruction({3}, {4}, 0x1000);
  // XOR 3,3 or NEG 3.
  EXPECT_FALSE(last_is_dependent({load, instruction({3}, {3}, 0), instruction({5}, {3}, 0x2000)}));
  // POP: the stack pointer is a destination, but not what was loaded.
  EXPECT_FALSE(
      last_is_dependent({instruction({6, 3}, {6}, 0x1000), instruction({6}, {6}, 0x1008)}));
  // RET: the stack pointer is the only destination that is written down.
  EXPECT_FALSE(last_is_dependent({instruction({6}, {6}, 0x1000), instruction({3}, {6}, 0x1008)}));
  // LODS: two destinations, one is the pointer.
  EXPECT_FALSE(
      last_is_dependent({instruction({3, 7}, {7}, 0x1000), instruction({3}, {7}, 0x1008)}));
}

TEST(ChampSimImport, TruncatedOrAbsurdRecordsAreNamed) {
  const std::string sample = read_sample("champsim.bin");
  EXPECT_EQ(
      import_error("champsim", sample.substr(0, 100)),
      "input0: at byte 64: expected a record of 64 bytes, found the end of the input after 36");
  std::string absurd = sample;
  absurd[64 + 8] = 2;
  EXPECT_THAT(import_error("champsim", absurd),
              HasSubstr("at byte 64: expected a record with 0 or 1 for is_branch"));
  EXPECT_THAT(import_error("cloudsuite", sample), HasSubstr("expected a record of 96 bytes"));
}

}  // namespace
}  // namespace nestwalk::traces::import_champsim_test
