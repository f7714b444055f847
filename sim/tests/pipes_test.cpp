// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Traces and logs from pipes, and compressed, are read as files are.

#include <nlohmann/json.hpp>

#include "program.hpp"

namespace nestwalk::sim::pipes_test {
namespace {

using ::testing::HasSubstr;

class Pipes : public Program {
 protected:
  void SetUp() override {
    ASSERT_EQ(run("nestwalk trace gen zipf accesses=2000 -o t.nwt && gzip -k t.nwt && "
                  "xz -k t.nwt && zstd -q t.nwt && mkfifo fifo")
                  .exit_code,
              0);
  }
  /// Commands that read the trace, each in its own way; %s is where it is.
  static constexpr const char* kFrom[] = {
      "%s t.nwt.gz",           "%s t.nwt.xz",
      "%s t.nwt.zst",          "cat t.nwt | %s -",
      "cat t.nwt.xz | %s -",   "%s - < t.nwt",
      "%s <(cat t.nwt)",       "cat t.nwt | %s /dev/stdin",
      "%s /dev/stdin < t.nwt", "{ cat t.nwt > fifo & }; %s fifo"};

  void expect_same(const std::string& command, const std::string& filter) {
    const Result plain = run(command + " t.nwt" + filter);
    ASSERT_EQ(plain.exit_code, 0);
    ASSERT_NE(plain.output, "");
    for (std::string each : kFrom) {
      each.replace(each.find("%s"), 2, command);
      EXPECT_EQ(run(each + filter + " 2>&1").output, plain.output) << each;
    }
  }
};

// Nothing of the results says where the trace was: names of files are left out.
constexpr const char* kStatistics =
    " | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"statistics\"])'";

TEST_F(Pipes, RunIsTheSame) { expect_same("nestwalk run -p simple --json", kStatistics); }

TEST_F(Pipes, CompareIsTheSame) {
  expect_same("nestwalk compare -p simple --policy lazy --policy eager --json",
              " | grep -v '\"trace\"\\|host_seconds\\|\"verdict\"'");
}

TEST_F(Pipes, ExplainIsTheSame) { expect_same("nestwalk explain -p simple --worst 1", ""); }

TEST_F(Pipes, CheckIsTheSame) { expect_same("nestwalk check --arch all", ""); }

TEST_F(Pipes, TwoTracesMayBeFromTwoPipes) {
  const std::string run_two = "nestwalk run -p simple --json ";
  EXPECT_EQ(run(run_two + "<(cat t.nwt) <(zstdcat t.nwt.zst)" + kStatistics).output,
            run(run_two + "t.nwt t.nwt" + kStatistics).output);
}

TEST_F(Pipes, WhatIsNoTraceIsReadNoFurtherThanItsBegin) {
  for (const char* const command : {"run", "compare", "explain"}) {
    expect(std::string("(ulimit -t 20; yes | nestwalk ") + command + " -p simple -)", 4,
           "nestwalk: <stdin>: at byte 0: expected a nestwalk trace (89 4e 57 54 0d 0a 1a 0a), "
           "found 79 0a 79 0a 79 0a 79 0a\n");
  }
  expect("nestwalk run -p simple /dev/null", 4,
         "nestwalk: /dev/null: at byte 0: expected a nestwalk trace (89 4e 57 54 0d 0a 1a 0a), "
         "found an empty file\n");
}

TEST_F(Pipes, LeaveNoTemporaryFilesBehind) {
  run("mkdir temporary; cat t.nwt | TMPDIR=$PWD/temporary nestwalk run -p simple -");
  expect("ls -A temporary", 0, "");
  expect("cat t.nwt | TMPDIR=$PWD/none nestwalk run -p simple -", 2,
         "nestwalk: the folder for temporary files ($TMPDIR): cannot be written: No such file "
         "or directory\n");
}

TEST_F(Pipes, LogsAreReadFromThem) {
  const std::string log = NESTWALK_CASES "/axaddrspace-a7.log";
  const std::string plain = run("nestwalk check --details " + log).output;
  ASSERT_THAT(plain, HasSubstr("wrong processors"));
  run("cp " + log + " log; gzip -k log; xz -k log; zstd -q log");
  const auto expect_found = [&](std::string name, const std::string& command) {
    std::string expected = plain;
    for (std::size_t at = 0; (at = expected.find(log, at)) != std::string::npos;) {
      expected.replace(at, log.size(), name);
      at += name.size();
    }
    EXPECT_EQ(run(command).output, expected) << command;
  };
  expect_found("-", "cat log | nestwalk check --details -");
  expect_found("-", "nestwalk check --details - < log.xz");
  expect_found("/dev/stdin", "zstdcat log.zst | nestwalk check --details /dev/stdin");
  expect_found("fifo", "{ cat log.gz > fifo & }; nestwalk check --details fifo");
  expect_found("/dev/fd/63", "nestwalk check --details <(cat log)");
}

}  // namespace
}  // namespace nestwalk::sim::pipes_test
