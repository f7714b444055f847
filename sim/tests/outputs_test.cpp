// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What becomes of outputs when the program is interrupted, or the system refuses memory, files or
// space.

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "program.hpp"

namespace nestwalk::sim::outputs_test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Json = nlohmann::ordered_json;

#define PROGRAM "'" NESTWALK_PROGRAM "'"

constexpr const char* kInterrupted = "nestwalk: interrupted\n";

/// So many reads for `trace import --from lackey`, which do not compress well.
std::string scattered(unsigned reads) {
  return "awk \"BEGIN { for (n = 0; n < " + std::to_string(reads) +
         "; ++n) printf \\\" L %x,8\\n\\\", (n * n * 40503) % 4294967296 }\"";
}

class Outputs : public Program {
 protected:
  void SetUp() override {
    must("nestwalk trace gen random bytes=1M accesses=20000 -o t.nwt");
    write_suite();
  }
  /// Of two runs of t.nwt.
  void write_suite() {
    std::ofstream(folder() / "s.json") << R"({"format": "nestwalk-suite", "version": 1,
        "baseline": "b.json", "cases": [
          {"name": "one", "trace": "t.nwt", "preset": "simple"},
          {"name": "two", "trace": "t.nwt", "preset": "zen4"}]})";
  }
  void must(const std::string& command) {
    const Result result = run("{ " + command + "; } 2>&1");
    ASSERT_EQ(result.exit_code, 0) << command << "\n" << result.output;
  }
  std::string content(const std::string& file) { return run("cat " + file).output; }
  /// What is half written is hidden: no name but these is there.
  void expect_files(const std::string& names) {
    EXPECT_EQ(run("ls -A | tr \"\\n\" \" \"").output, names);
  }
  void expect_one_line(const std::string& command, int exit_code, const std::string& part) {
    const Result result = run("{ " + command + "; } 2>&1 >/dev/null");
    EXPECT_EQ(result.exit_code, exit_code) << command << "\n" << result.output;
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << command << "\n"
                                                                               << result.output;
    EXPECT_THAT(result.output, HasSubstr(part)) << command;
  }
};

// Files that outgrow 1 KiB. Each was something else before.
TEST_F(Outputs, FailedWriteLeavesTheOldFileAndNothingElse) {
  must(
      "sed s/simple/rocket-h/ s.json >other.json; nestwalk gate other.json --update; rm "
      "other.json; "
      "for name in o.nwt o.0.nwt o.xml o.md; do echo precious >$name; done; cp b.json "
      "changed.json; " +
      scattered(2000) + " >lackey");
  const std::string before = run("ls -A | tr \"\\n\" \" \"").output;
  const std::string why =
      ": cannot be written: File too large; raise the limit on a file's size (ulimit -f)\n";
  for (const auto& [command, file] :
       {std::pair<std::string, std::string>{"trace gen random accesses=100000 -o o.nwt", "o.nwt"},
        {"trace import --from lackey lackey -o o.nwt", "o.nwt"},
        {"trace cut t.nwt -o o.nwt", "o.nwt"},
        {"trace merge t.nwt t.nwt -o o.nwt", "o.nwt"},
        {"trace split t.nwt --prefix o", "o.0.nwt"},
        {"gate s.json --junit o.xml", "o.xml"},
        {"gate s.json --markdown o.md", "o.md"}}) {
    expect_one_line("(ulimit -f 1; nestwalk " + command + ")", 1, "nestwalk: " + file + why);
    EXPECT_EQ(content(file), "precious\n") << command;
  }
  expect_one_line("(ulimit -f 1; nestwalk gate s.json --update)", 1, "nestwalk: b.json" + why);
  EXPECT_EQ(run("cmp b.json changed.json").exit_code, 0);
  expect_one_line("(ulimit -f 1; nestwalk run -p simple t.nwt -o new/d)", 1,
                  "nestwalk: new/d/config.resolved.json" + why);
  expect_files(before);
}

TEST_F(Outputs, InterruptedCommandLeavesTheOldFileAndNothingElse) {
  must("echo precious >o.nwt");
  for (const char* const signal : {"INT", "TERM", "HUP"}) {
    // It writes for minutes.
    expect(std::string("timeout --preserve-status -s ") + signal +
               " 1 " PROGRAM " trace gen random accesses=10G -o o.nwt",
           5, kInterrupted);
    EXPECT_EQ(content("o.nwt"), "precious\n");
    expect_files("o.nwt s.json t.nwt ");
  }
  // Nobody writes to the pipe.
  expect("mkfifo pipe; { " PROGRAM " trace import pipe -o new.nwt & sleep 0.5; kill $!; wait $!; }",
         5, kInterrupted);
  must("rm pipe");
  expect_files("o.nwt s.json t.nwt ");
}

// The first writer is half way when the second one begins and ends.
TEST_F(Outputs, OfTwoWritersEachLeavesAWholeFile) {
  must(scattered(20000) +
       " >half; mkfifo pipe; "
       "cat half half | nestwalk trace import --from lackey -o first.nwt; "
       "nestwalk trace gen zipf accesses=500000 -o second.nwt");
  const Result between = run(
      "nestwalk trace import --from lackey pipe -o o.nwt & writer=$!; exec 3>pipe; cat half >&3; "
      "until [ -n \"$(find . -name \"o.nwt\" -size +0 -o -name \".*\" -type f -size +0)\" ]; do "
      "sleep 0.05; done; nestwalk trace gen zipf accesses=500000 -o o.nwt; "
      "cmp <(nestwalk trace cat o.nwt) <(nestwalk trace cat second.nwt) 2>&1; "
      "cat half >&3; exec 3>&-; wait $writer");
  EXPECT_EQ(between.exit_code, 0);
  EXPECT_EQ(between.output, "");
  EXPECT_EQ(run("cmp <(nestwalk trace cat o.nwt) <(nestwalk trace cat first.nwt) 2>&1").output, "");
}

TEST_F(Outputs, PipesAndDevicesAreWrittenAndLinksFollowed) {
  const std::string gen = "nestwalk trace gen random accesses=10 -o ";
  must(gen + "plain.nwt");
  must(gen + "/dev/stdout | cmp - plain.nwt");
  must(gen + "- >redirected; cmp redirected plain.nwt");
  must(gen + "/dev/stdout >redirected; cmp redirected plain.nwt");
  must("mkfifo pipe; cat pipe >copy & " + gen + "pipe; wait $!; cmp copy plain.nwt; test -p pipe");
  must(gen + "/dev/null; test -c /dev/null");
  must("mkdir sub; ln -s sub/real.nwt link; " + gen +
       "link; test -L link; "
       "cmp sub/real.nwt plain.nwt; " +
       gen + "link; test -L link");
  must("chmod 640 sub/real.nwt; " + gen + "link; test $(stat -c %a sub/real.nwt) = 640");
  expect_one_line(gen + "sub", 2, "nestwalk: sub: cannot be written: Is a directory");
  expect_one_line(gen + "none/a", 2, "nestwalk: none/a: cannot be written: No such file or direct");
}

TEST_F(Outputs, FullDiskLeavesTheOldFile) {
  const std::string disk =
      "unshare -rm bash -c \"mkdir -p disk; mount -t tmpfs -o size=64k none disk && ";
  if (run(disk + "true\" 2>&1").exit_code != 0) GTEST_SKIP() << "no file system can be mounted";
  const std::string why = ": cannot be written: No space left on device\n";
  const Result traced =
      run(disk + "echo precious >disk/o.nwt; " PROGRAM
                 " trace gen random accesses=100000 -o disk/o.nwt 2>&1; echo \\$?; ls -A disk; "
                 "cat disk/o.nwt\"");
  EXPECT_EQ(traced.output, "nestwalk: disk/o.nwt" + why + "1\no.nwt\nprecious\n");
  const Result replayed =
      run(disk + "head -c 50000 /dev/zero >disk/zero; " PROGRAM
                 " run -p simple t.nwt -o disk/d 2>&1; echo \\$?; ls -A disk disk/d\"");
  EXPECT_THAT(replayed.output, HasSubstr(why + "1\n"));
  EXPECT_THAT(replayed.output, testing::Not(HasSubstr("run.json")));
}

TEST_F(Outputs, NoMemoryIsOneLineAndExitsWith1) {
#ifdef NESTWALK_SANITIZED
  GTEST_SKIP() << "a sanitizer's shadow takes more than all limits";
#endif
  // With less than that the dynamic linker fails, with 127. Libraries begin with allocations.
  for (const int mebibytes : {12, 13, 14, 15}) {
    const Result result = run("{ (ulimit -v " + std::to_string(mebibytes << 10) +
                              "; nestwalk run -p simple t.nwt); } 2>&1");
    if (result.exit_code == 127) continue;
    EXPECT_EQ(result.exit_code, 1) << mebibytes;
    EXPECT_THAT(result.output, StartsWith("nestwalk: out of memory; ")) << mebibytes;
  }
  for (const int mebibytes : {16, 20, 32, 64, 128, 256, 600}) {
    const std::string limit = "(ulimit -v " + std::to_string(mebibytes << 10) + "; nestwalk ";
    expect_one_line(limit + "run -p simple t.nwt)", 1,
                    "nestwalk: out of memory; raise the limit (ulimit -v");
    expect_one_line(limit + "run -p simple t.nwt -o d)", 1, "nestwalk: out of memory; ");
    expect_one_line(limit + "explain -p simple t.nwt)", 1, "nestwalk: out of memory; ");
    expect_one_line(limit + "check t.nwt)", 1, "out of memory; ");
    expect_one_line(limit + "compare -p simple t.nwt --policy lazy)", 1, "out of memory; ");
    const Result gated = run(limit + "gate s.json --update) 2>&1");
    EXPECT_EQ(gated.exit_code, 1) << mebibytes;
    EXPECT_THAT(gated.output, HasSubstr("out of memory; ")) << mebibytes;
    EXPECT_THAT(gated.output, testing::Not(HasSubstr("internal"))) << mebibytes;
  }
  expect_one_line("(ulimit -v 20480; nestwalk trace gen random accesses=1M -o o.nwt)", 1,
                  "nestwalk: out of memory; ");
  expect_files("s.json t.nwt ");
}

// Every number of files that a command may have, from none beside its streams.
TEST_F(Outputs, TooManyOpenFilesIsSaidWhateverCouldNotBeOpened) {
#ifdef NESTWALK_SANITIZED
  GTEST_SKIP() << "sanitizers need files of their own to look at memory";
#endif
  must(
      "nestwalk gate s.json --update; nestwalk run -p simple t.nwt -o d; nestwalk trace gen smp "
      "vcpus=20 "
      "accesses=10 -o many.nwt; printf \"%s\\n\" \"vm x86_64 vmid=1\" >log");
  const std::string before = run("ls -A | tr \"\\n\" \" \"").output;
  unsigned refused = 0;
  for (const char* const command :
       {"run -p simple t.nwt", "run -p simple t.nwt -o d --force", "gate s.json",
        "gate d --baseline b.json --update", "compare -p simple t.nwt", "compare d", "check t.nwt",
        "explain -p simple t.nwt", "trace cat t.nwt", "trace split many.nwt --prefix /dev/null/x",
        "trace cut t.nwt -o d/cut.nwt"}) {
    for (int files = 4; files <= 7; ++files) {
      const Result result = run("{ (ulimit -n " + std::to_string(files) + "; nestwalk " + command +
                                "); } 2>&1 >/dev/null");
      const std::string what = std::to_string(files) + " files: " + command + "\n" + result.output;
      EXPECT_THAT(result.output, testing::Not(HasSubstr("internal error"))) << what;
      EXPECT_THAT(result.output, testing::Not(HasSubstr("tolerance"))) << what;
      if (result.exit_code != 1) continue;
      ++refused;
      EXPECT_THAT(result.output, HasSubstr("Too many open files; raise the limit on open files "
                                           "(ulimit -n)\n"))
          << what;
    }
  }
  EXPECT_GT(refused, 5u);
  EXPECT_EQ(run("ls -A | tr \"\\n\" \" \"").output, before);
}

TEST_F(Outputs, ReaderThatLeavesIsAnErrorOfTheWriter) {
  must("nestwalk trace gen random accesses=100000 -o long.nwt");
  for (const char* const command :
       {"trace cat long.nwt", "run -p simple t.nwt", "config schema",
        "trace gen random accesses=1M", "compare -p simple t.nwt --format csv --all"}) {
    expect(
        std::string("{ { sleep 0.3; nestwalk ") + command + "; } | true; exit ${PIPESTATUS[0]}; }",
        1, "nestwalk: <stdout>: cannot be written: Broken pipe\n");
  }
  // The pipe is full before head has read its byte and gone.
  expect("nestwalk trace cat long.nwt 2>error | head -c 1 >one; echo ${PIPESTATUS[0]}", 0, "1\n");
  EXPECT_EQ(content("error"), "nestwalk: <stdout>: cannot be written: Broken pipe\n");
}

// Interrupted after a second, of several.
class Interrupted : public Outputs {
 protected:
  void SetUp() override {
    must("nestwalk trace gen random bytes=1G accesses=10M -o long.nwt; cp long.nwt t.nwt");
    write_suite();
  }
  /// The program alone gets the signal, not its children.
  Result interrupt(const std::string& command, const char* signal = "TERM") {
    return run(std::string(PROGRAM " ") + command + " 2>error & sleep 1; kill -" + signal +
               " $!; wait $!");
  }
};

TEST_F(Interrupted, RunExitsWith5AndItsResultsSaySo) {
  for (const char* const signal : {"INT", "TERM"}) {
    EXPECT_EQ(interrupt("run -p simple long.nwt --force -o d", signal).exit_code, 5);
    EXPECT_EQ(content("error"), "nestwalk: the run ended early: interrupted\n");
    for (const char* const file : {"d/run.json", "d/stats.json"}) {
      const Json json = Json::parse(content(file));
      EXPECT_EQ(json["complete"], false);
      EXPECT_EQ(json["ended_early"], "interrupted");
    }
    EXPECT_THAT(content("d/stats.txt"),
                StartsWith("# incomplete: the run ended early: interrupted\n"));
  }
  // What was written is no result to build on.
  const Result compared = run("nestwalk compare d 2>&1");
  EXPECT_EQ(compared.exit_code, 5);
  EXPECT_THAT(compared.output, HasSubstr("nestwalk: d ended early: interrupted\n"));
  expect("nestwalk gate d --baseline b.json --update", 5,
         "nestwalk: d ended early: interrupted\n"
         "nestwalk: b.json: is not updated: not every run is complete\n");
  EXPECT_FALSE(std::filesystem::exists(folder() / "b.json"));
}

TEST_F(Interrupted, CommandsOfManyRunsExitWith5) {
  const Result gated = interrupt("gate s.json --update -j1");
  EXPECT_EQ(gated.exit_code, 5);
  EXPECT_EQ(content("error"),
            "nestwalk: one ended early: interrupted\n"
            "nestwalk: two ended early: interrupted\n"
            "nestwalk: b.json: is not updated: not every run is complete\n");
  EXPECT_FALSE(std::filesystem::exists(folder() / "b.json"));
  const Result compared = interrupt("compare -p simple long.nwt --json", "INT");
  EXPECT_EQ(compared.exit_code, 5);
  const Json cases = Json::parse(compared.output)["cases"];
  EXPECT_EQ(cases[0]["complete"], false);
  EXPECT_EQ(cases[1]["ended_early"], "interrupted");
  for (const char* const command :
       {"check long.nwt", "explain -p simple long.nwt",
        "explain -p simple long.nwt --access 9000000",
        "compare -p simple --break-even --set guest.memory=16G --policy lazy --policy eager",
        "compare -p simple --storm accesses=2M --policy precise --vcpus 8,16"}) {
    EXPECT_EQ(interrupt(command).exit_code, 5) << command;
    EXPECT_THAT(content("error"), HasSubstr("interrupted\n")) << command;
  }
}

TEST_F(Interrupted, SecondSignalEndsTheProgramAndLeavesNothing) {
  expect("{ " PROGRAM
         " run -p simple long.nwt -o new/d & sleep 1; kill -TERM $!; kill -INT $!; wait $!; }",
         5, kInterrupted);
  expect_files("long.nwt s.json t.nwt ");
}

TEST_F(Interrupted, TwoRunsDoNotMixInADirectory) {
  const Result result = run(
      PROGRAM
      " run -p simple long.nwt -o d >/dev/null 2>error & sleep 1; nestwalk run -p simple long.nwt "
      "--force -o d 2>&1; echo $?; kill $!; wait $!");
  EXPECT_EQ(result.output, "d: another run is writing it\n2\n");
  EXPECT_EQ(Json::parse(content("d/run.json"))["command"], "nestwalk run -p simple long.nwt -o d");
}

// A row of the manual's table: "| 0 | done |"; of the help: "  0  done".
std::string rows_of(const std::string& text, const char* pattern) {
  const std::regex row(pattern);
  std::string rows;
  for (std::sregex_iterator at(text.begin(), text.end(), row), end; at != end; ++at) {
    rows += at->str(1) + " " + at->str(2) + "\n";
  }
  return rows;
}

TEST_F(Outputs, ExitCodesAreThoseOfTheManual) {
  const std::string help = rows_of(run("nestwalk --help").output, "\n  ([0-9])  ([^\n]*)");
  EXPECT_THAT(help, StartsWith("0 done\n1 "));
  EXPECT_THAT(help, HasSubstr("\n5 incomplete: "));
  EXPECT_EQ(rows_of(run("cat " NESTWALK_README).output, "\n\\| ([0-9]) \\| ([^\n]*) \\|"), help);
  EXPECT_EQ(rows_of(run("nestwalk man").output, "\n.TP\n.B ([0-9])\n([^\n]*)"), help);
}

}  // namespace
}  // namespace nestwalk::sim::outputs_test
