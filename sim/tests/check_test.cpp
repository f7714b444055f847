// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk check` of logs.

#include <fstream>
#include <nlohmann/json.hpp>

#include "program.hpp"

namespace nestwalk::sim::check_test {
namespace {

using ::testing::HasSubstr;

class Check : public Program {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder() / name) << text;
  }
  // One page unmapped under a guest that runs on processor 1.
  void write_unmap(const std::string& name, const std::string& fences) {
    write(name,
          "nestwalk-fence-log 1\n"
          "0 0 vm 1 ept root=0x10000 vmid=5\n"
          "0 0 store 0x10000 0 0x21007\n0 0 store 0x21000 0 0x22007\n"
          "0 0 store 0x22000 0 0x23007\n0 0 store 0x23028 0 0x95037\n"
          "0 1 enter 1\n"
          "7 0 begin unmap\n8 0 store 0x23028 0x95037 0\n" +
              fences + "9 0 end\n10 1 access 1 0x5008 0x5008 read\n");
  }
};

TEST_F(Check, AForgottenFenceIsAnErrorAndExitsWith3) {
  write_unmap("bad.log", "8 0 fence - invlpg [0x5000]\n");
  expect("nestwalk check bad.log", 3,
         "finding     times  line  operation  change    first GPA  processors  hits  issued\n"
         "wrong kind  1      9     unmap      unmapped  0x5000     1           1     invlpg (host) "
         "(VA "
         "0x5000)\n"
         "bad.log: 1 error, 0 warnings\n");
  const auto json = nlohmann::json::parse(run("nestwalk check --json bad.log").output);
  EXPECT_EQ(json["errors"], 1);
  EXPECT_EQ(json["findings"][0]["finding"], "wrong kind");
  EXPECT_EQ(json["findings"][0]["gpa"], 0x5000);
  EXPECT_EQ(json["findings"][0]["first_hit"]["position"], 12);
  // Lines: 1 the format, 2 the VM, 3 to 6 stores, 7 enter, 8 begin, 9 the store, 10 the fence, 11
  // end, 12 the access.
  const auto& finding = json["findings"][0];
  EXPECT_EQ(finding["stored"], (nlohmann::json{{"line", 9}, {"cycle", 8}, {"processor", 0}}));
  EXPECT_EQ(finding["issued_at"], (nlohmann::json{{"line", 10}, {"cycle", 8}, {"processor", 0}}));
  EXPECT_EQ(finding["violated"]["line"], 11);
  EXPECT_EQ(finding["violated"]["event"], "the operation returned");
  EXPECT_THAT(finding["reason"].get<std::string>(),
              HasSubstr("invlpg [0x5000] acts on the hypervisor's own translations"));
  EXPECT_THAT(run("nestwalk check --details bad.log").output,
              HasSubstr("issued: invlpg (host) (VA 0x5000) (bad.log:10)\n"
                        "  violated when the operation returned (bad.log:11)\n"));
  EXPECT_THAT(run("nestwalk check --details bad.log").output,
              HasSubstr("Intel SDM vol. 3C, \"Guidelines for Use of the INVEPT Instruction\""));
}

TEST_F(Check, ARightFenceIsSilent) {
  write_unmap("good.log", "8 1 fence - invept single-context, 0x10000\n");
  expect("nestwalk check good.log", 0, "good.log: 0 errors, 0 warnings\n");
  expect("cat good.log | nestwalk check -", 0, "-: 0 errors, 0 warnings\n");
}

TEST_F(Check, ALogMayBeCompressed) {
  write_unmap("good.log", "8 1 fence - invept single-context, 0x10000\n");
  run("gzip -k good.log; zstd -q good.log; xz -k good.log; head -c 100 good.log.gz > cut.gz");
  expect("nestwalk check good.log.gz", 0, "good.log.gz: 0 errors, 0 warnings\n");
  expect("nestwalk check good.log.zst", 0, "good.log.zst: 0 errors, 0 warnings\n");
  expect("nestwalk check - < good.log.xz", 0, "-: 0 errors, 0 warnings\n");
  expect("nestwalk check cut.gz", 4,
         "nestwalk: cut.gz: at byte 100: expected the end of its compressed data, found that the "
         "file ends early\n");
}

// The hottest place first: `twice` fences in vain two times, `once` one time.
TEST_F(Check, SaysWhereInTheHypervisor) {
  write_unmap("log",
              "8 1 fence - invept single-context, 0x10000 @flush\n"
              "8 1 fence - invept single-context, 0x10000 @once+0x4\n"
              "8 1 fence - invept single-context, 0x10000 @twice+0x8\n"
              "8 1 fence - invept single-context, 0x10000 @twice+0x8\n");
  const std::string issued = "invept single-context (EPTP 0x10000)\n";
  expect("nestwalk check log", 0,
         "finding  times  line  at         operation  change  first GPA  processors  hits  issued\n"
         "excess   2      12    twice+0x8  -          -       -          -           0     " +
             issued +
             "excess   1      11    once+0x4   -          -       -          -           0     " +
             issued + "log: 0 errors, 3 warnings\n");
  EXPECT_THAT(run("nestwalk check --details log").output,
              HasSubstr(", log:12, at twice+0x8; 2 times\n"));
  const auto json = nlohmann::json::parse(run("nestwalk check --json log").output);
  EXPECT_EQ(json["findings"][1]["site"], "twice+0x8");
}

TEST_F(Check, WasteIsAWarningUnlessStrict) {
  const std::string once = "8 1 fence - invept single-context, 0x10000\n";
  write_unmap("twice.log", once + once);
  EXPECT_EQ(run("nestwalk check twice.log").exit_code, 0);
  EXPECT_THAT(run("nestwalk check twice.log").output, HasSubstr("excess"));
  EXPECT_EQ(run("nestwalk check --strict twice.log").exit_code, 3);
}

TEST_F(Check, ABadLineIsNamedAndExitsWith4) {
  const auto expect_bad = [&](const std::string& lines, const std::string& message) {
    write("log", lines);
    expect("nestwalk check log", 4, "nestwalk: log: " + message + "\n");
  };
  const std::string start = "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000\n";
  expect_bad("", "line 1: expected \"nestwalk-fence-log 1\", found the end of the file");
  expect_bad("hello\n", "line 1: expected \"nestwalk-fence-log 1\", found \"hello\"");
  expect_bad(start + "x 0 end\n", "line 3: expected a cycle, found \"x\"");
  expect_bad(start + "0 64 end\n", "line 3: expected a processor from 0 to 63, found \"64\"");
  expect_bad(start + "0 0 enter 2\n",
             "line 3: expected the number of a VM that was created, found \"2\"");
  expect_bad(start + "0 0 store 0x1001 0 0\n",
             "line 3: expected an entry's address, a multiple of 8, found \"0x1001\"");
  expect_bad(start + "0 0 store 0x1000 0\n",
             "line 3: expected the entry after, found the end of the line");
  expect_bad(start + "0 0 fence 1 tlbi vmalle1is\n",
             "line 3: expected an instruction of vmx that fences, found \"tlbi vmalle1is\"");
  expect_bad(start + "0 0 vm 1 ept root=0x1000\n",
             "line 3: expected a number that no VM had, found \"1\"");
  expect_bad(start + "0 0 end\n",
             "line 3: expected an operation that began, found the end of none");
  expect_bad(start + "0 0 exit 1\n",
             "line 3: expected a processor that is in VM 1, found one in no guest");
  expect_bad(start + "0 0 enter 1\n0 0 enter 1\n",
             "line 4: expected a processor that is in no guest, found one in VM 1");
  expect_bad(start + "0 0 enter 1\n0 0 destroy 1\n",
             "line 4: expected a VM that every processor has left, found one that runs");
  expect_bad(start + "0 0 destroy 1\n0 0 enter 1\n",
             "line 4: expected a VM that is there still, found one that was destroyed");
  expect_bad(start + "0 0 store 0x1000 0 0x5007\n0 0 store 0x1000 0x6007 0\n",
             "line 4: expected what was stored there, 0x5007, found \"0x6007\"");
  expect_bad(start + "0 0 store 0x1000 0x6007 0\n",
             "line 3: expected what was stored there, 0x0, found \"0x6007\"");
  expect_bad(start + "0 0 store 0x10000 0 0x10007\n",
             "line 3: expected a table that does not lead to itself, found the one at 0x10000");
  expect_bad(start + "0 0 begin x\n0 1 begin y\n0 1 begin z\n0 1 end\n0 0 end\n",
             "line 4: expected an end of the operation that processor 1 begins here, found the end "
             "of the log");
  expect_bad(start + "0 0 begin x\n0 0 end now\n",
             "line 4: expected the end of the line, found \"now\"");
  expect_bad(
      start + "0 0 vm 2 sv39 root=0\n",
      "line 3: expected ept, npt, stage2-4k, stage2-16k, stage2-64k, sv39x4, sv48x4 or sv57x4, "
      "found \"sv39\"");
}

// Flags that a walk set, and memory that was given back and taken again, contradict nothing.
TEST_F(Check, WhatTheHardwareSetsMayBeInAnEntryBefore) {
  write("log",
        "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000 dirty\n"
        "0 0 store 0x10000 0 0x21007\n0 0 store 0x10000 0x21107 0\n"
        "0 0 store 0x30000 0 0x40037\n0 0 free 0x30000 0x1000\n0 0 alloc 0x30000 0x1000\n"
        "0 0 store 0x30000 0 0x50037\n");
  expect("nestwalk check log", 0, "log: 0 errors, 0 warnings\n");
}

}  // namespace
}  // namespace nestwalk::sim::check_test
