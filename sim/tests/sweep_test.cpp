// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk sweep` as a user runs it.

#include <fstream>
#include <nlohmann/json.hpp>

#include "program.hpp"

namespace nestwalk::sim::sweep_test {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using Json = nlohmann::json;

class Sweep : public Program {
 protected:
  void SetUp() override {
    const Result made = run("nestwalk trace gen random bytes=2M accesses=5000 -o t.nwt 2>&1");
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  void expect_begin(const std::string& command, int exit_code, const std::string& begin) {
    const Result result = run("nestwalk sweep " + command + " 2>&1");
    EXPECT_EQ(result.exit_code, exit_code) << command << "\n" << result.output;
    EXPECT_THAT(result.output, StartsWith(begin)) << command;
  }
  Json exported(const std::string& file) {
    const Result result = run("nestwalk sweep --export json " + file);
    EXPECT_EQ(result.exit_code, 0);
    return Json::parse(result.output);
  }
};

constexpr const char* kSix =
    "t.nwt -p simple --policy lazy --policy eager --vary walker.slots=1..3 -o r.sqlite ";

TEST_F(Sweep, IsTheSameAsRunsOfItsPoints) {
  expect_begin(kSix, 0, "sweep: 6 points, 6 done\n6 runs made now, 0 points known before\n");
  const Json cases = exported("r.sqlite")["cases"];
  ASSERT_EQ(cases.size(), 6u);
  const Result alone =
      run("nestwalk run t.nwt -p simple --policy eager --set walker.slots=2 --json");
  EXPECT_EQ(cases[4]["of"]["walker.slots"], "2");
  EXPECT_EQ(cases[4]["of"]["policy"], "eager");
  // The file has them in the order of their names.
  const Json statistics = Json::parse(alone.output)["statistics"];
  for (const auto& [name, value] : statistics.items()) {
    EXPECT_EQ(cases[4]["statistics"][name], value) << name;
  }
}

TEST_F(Sweep, NeverMakesARunTwice) {
  expect_begin(kSix, 0, "sweep: 6 points, 6 done\n6 runs made now, 0 points known before\n");
  expect_begin(kSix, 0, "sweep: 6 points, 6 done\n0 runs made now, 6 points known before\n");
  // Another sweep, with two more points.
  expect_begin(std::string(kSix) + "--vary walker.slots=1..4 --name more", 2,
               "--vary walker.slots=1: machine.walker.slots is set already");
  expect_begin(
      "t.nwt -p simple --policy lazy --policy eager --vary machine.walker.slots=1..4 --name more "
      "-o r.sqlite",
      0, "more: 8 points, 8 done\n2 runs made now, 6 points known before\n");
  // The same values, said in another way.
  expect_begin(
      "t.nwt -p simple --policy hypervisor.backing=lazy --set walker.slots=2 --name same "
      "-o r.sqlite",
      0, "same: 1 point, 1 done\n0 runs made now, 1 point known before\n");
  // Another trace of the same name.
  run("nestwalk trace gen random bytes=2M accesses=5001 -o t.nwt");
  expect_begin(kSix, 0, "sweep: 6 points, 6 done\n6 runs made now, 0 points known before\n");
}

TEST_F(Sweep, MakesARunOnceForPointsThatAreTheSame) {
  expect_begin("t.nwt -p simple --vary walker.slots=2,2,3 -o r.sqlite", 0,
               "sweep: 3 points, 3 done\n2 runs made now, 0 points known before\n");
  expect_begin("t.nwt -p simple --vary walker.slots=2,2,3 -o r.sqlite", 0,
               "sweep: 3 points, 3 done\n0 runs made now, 3 points known before\n");
}

TEST_F(Sweep, HasARowForEachPointThatFails) {
  // simple has 64 slots at most.
  const Result result =
      run("nestwalk sweep t.nwt -p simple --vary walker.slots=63..66 -o r.sqlite 2>&1");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.output, HasSubstr("walker.slots=65 failed: "));
  EXPECT_THAT(result.output, HasSubstr("walker.slots is 65, not a number from 1 to 64"));
  EXPECT_THAT(result.output, HasSubstr("sweep: 4 points, 2 done, 2 failed\n"));
  const Json cases = exported("r.sqlite")["cases"];
  ASSERT_EQ(cases.size(), 4u);
  EXPECT_EQ(cases[1]["complete"], true);
  EXPECT_EQ(cases[2]["complete"], false);
  // The host has 1G: eager backing of 4G ends early, and would again.
  const std::string little =
      "t.nwt -p simple --policy lazy --policy eager --set guest.memory=4G --set host.memory=1G "
      "--name little -o r.sqlite";
  EXPECT_THAT(run("nestwalk sweep " + little + " 2>&1").output,
              HasSubstr("little: 2 points, 1 done, 1 ended early\n2 runs made now"));
  EXPECT_THAT(run("nestwalk sweep " + little + " 2>&1").output, HasSubstr("0 runs made now"));
}

TEST_F(Sweep, IsRefusedWhereNoPointCanBeRun) {
  expect_begin("t.nwt -p simple --vary walker.slot=1,2 -o r.sqlite", 2,
               "--vary walker.slot=1: walker is unknown\n");
  expect_begin("t.nwt -p simple --vary walker.slots=70,80 -o r.sqlite", 2,
               NESTWALK_PRESETS "/simple.json: walker.slots is 70, not a number from 1 to 64\n");
  expect_begin("t.nwt -p simple", 2, "nestwalk sweep: into which file? --output FILE\n");
  expect_begin("t.nwt -o r.sqlite", 2, "nestwalk sweep: which machine? --preset NAME");
  expect_begin("-p simple -o r.sqlite", 2, "nestwalk sweep: which trace?\n");
  expect_begin("none.nwt -p simple -o r.sqlite", 4, "nestwalk: none.nwt: ");
  EXPECT_FALSE(std::filesystem::exists(folder() / "r.sqlite"));
  expect_begin("t.nwt -p simple -o t.nwt", 4, "nestwalk: t.nwt: file is not a database\n");
  expect_begin("--list t.nwt", 4, "nestwalk: t.nwt: file is not a database\n");
  expect_begin("t.nwt -p simple -o none/r.sqlite", 2,
               "nestwalk: none/r.sqlite: cannot be written: No such file or directory\n");
  run("python3 -c \"import sqlite3; c = sqlite3.connect('other.sqlite'); "
      "c.execute('CREATE TABLE sweep(x)'); c.commit()\"");
  expect_begin("t.nwt -p simple -o other.sqlite", 4,
               "nestwalk: other.sqlite: is not a file of nestwalk sweep\n");
}

TEST_F(Sweep, IsDescribedByAFile) {
  std::filesystem::create_directory(folder() / "plans");
  std::ofstream(folder() / "plans/tlb.json") << R"({
    "format": "nestwalk-sweep", "version": 1, "traces": ["../t.nwt"], "presets": ["simple"],
    "policies": ["lazy", "eager"], "set": {"guest.memory": "256M"},
    "vary": [{"walker.slots": [1, 2]}, {"core.kind": ["in-order"]}]})";
  expect_begin("plans/tlb.json -o r.sqlite", 0, "tlb: 4 points, 4 done\n");
  // The command line has another policy, and another axis.
  expect_begin("plans/tlb.json --policy linear --vary guest.seed=1,2,3 --dry-run", 0,
               "0  walker.slots=1, core.kind=in-order, guest.seed=1\n");
  std::ofstream(folder() / "bad.json")
      << R"({"format": "nestwalk-sweep", "version": 1, "tarces": []})";
  expect_begin("bad.json -o r.sqlite", 4,
               "nestwalk: bad.json: there is no key \"tarces\" in sweeps\n");
  std::ofstream(folder() / "bad.json")
      << R"({"format": "nestwalk-sweep", "version": 1, "vary": [{"a": 1}]})";
  expect_begin(
      "bad.json -o r.sqlite", 4,
      "nestwalk: bad.json: vary[0]: a: expected a list of values, or a range as text, found 1\n");
}

// In parts, of which one is made twice and one is missing at first.
TEST_F(Sweep, IsUnitedFromItsParts) {
  const std::string sweep = "t.nwt -p simple --vary walker.slots=1..7 --vary guest.seed=1,2 ";
  expect_begin(sweep + "--shard 1/3 -o 1.sqlite", 0, "sweep: 14 points, 5 done, 9 open\n");
  expect_begin(sweep + "--shard 2/3 -o 2.sqlite", 0, "sweep: 14 points, 5 done, 9 open\n");
  expect_begin(sweep + "--shard 3/3 -o 3.sqlite", 0, "sweep: 14 points, 4 done, 10 open\n");
  expect_begin("--merge 1.sqlite 2.sqlite -o all.sqlite", 5, "sweep: 14 points, 10 done, 4 open\n");
  expect_begin("--merge 2.sqlite 3.sqlite -o all.sqlite", 0, "sweep: 14 points, 14 done\n");
  expect_begin(sweep + "-o all.sqlite", 0,
               "sweep: 14 points, 14 done\n0 runs made now, 14 points known before\n");
  expect_begin(sweep + "-o whole.sqlite", 0, "sweep: 14 points, 14 done\n14 runs made now");
  EXPECT_EQ(exported("all.sqlite"), exported("whole.sqlite"));
  // Parts of different sweeps.
  expect_begin("t.nwt -p simple --vary walker.slots=1..8 --shard 1/3 -o other.sqlite", 0, "");
  // What was merged before stays.
  expect_begin("--merge 1.sqlite other.sqlite -o new.sqlite", 4,
               "nestwalk: other.sqlite: has another");
  expect_begin("--list new.sqlite", 0, "sweep: 14 points, 5 done, 9 open\n");
  expect_begin("--merge other.sqlite -o all.sqlite", 4,
               "nestwalk: other.sqlite: has another sweep of the name sweep than all.sqlite: ");
  expect_begin(sweep + "--shard 0/3 -o x.sqlite", 2,
               "nestwalk sweep: --shard 0/3: parts are 1 to 3");
  expect_begin(sweep + "--shard 4/3 -o x.sqlite", 2,
               "nestwalk sweep: --shard 4/3: parts are 1 to 3");
  expect_begin(sweep + "--shard 4 -o x.sqlite", 2, "nestwalk sweep: --shard 4: not PART/PARTS");
}

// A run that failed elsewhere, since its process was killed, is there once it was made.
TEST_F(Sweep, TakesARunFromAPartInPlaceOfAFailedOne) {
  const std::string sweep = "t.nwt -p simple --vary walker.slots=1..2 ";
  expect_begin(sweep + "-o whole.sqlite", 0, "sweep: 2 points, 2 done\n");
  run("cp whole.sqlite failed.sqlite; python3 -c \"import sqlite3; "
      "c = sqlite3.connect('failed.sqlite'); c.execute('DELETE FROM statistic WHERE run = (SELECT "
      "run FROM point WHERE point = 0)'); "
      "c.execute('UPDATE run SET state = \\\"failed\\\", reason = \\\"died: Killed\\\" WHERE run = "
      "(SELECT run FROM point WHERE point = 0)'); "
      "c.commit()\"");
  EXPECT_THAT(
      run("nestwalk sweep --list failed.sqlite").output,
      HasSubstr("sweep: 2 points, 1 done, 1 failed\n  walker.slots=1 failed: died: Killed\n"));
  run("cp failed.sqlite again.sqlite");
  expect_begin("--merge whole.sqlite -o failed.sqlite", 0, "sweep: 2 points, 2 done\n");
  EXPECT_EQ(exported("failed.sqlite"), exported("whole.sqlite"));
  // Not the other way round.
  expect_begin("--merge again.sqlite -o whole.sqlite", 0, "sweep: 2 points, 2 done\n");
  // The sweep tries it again, and only that.
  expect_begin(sweep + "-o again.sqlite", 0,
               "sweep: 2 points, 2 done\n1 run made now, 1 point known before\n");
}

// Long runs, of which some are over when the signal comes.
TEST_F(Sweep, GoesOnWhereItWasInterrupted) {
  run("nestwalk trace gen random bytes=64M accesses=100000 -o long.nwt");
  const std::string sweep = "long.nwt -p zen4 --vary guest.seed=1..8 -j1 -o r.sqlite";
  const Result result =
      run("'" NESTWALK_PROGRAM "' sweep " + sweep +
          " 2> messages & pid=$!; until nestwalk sweep --list r.sqlite 2> /dev/null | grep -q ' "
          "[1-9] done'; "
          "do sleep 0.02; done; kill -INT $pid; wait $pid; echo exit $?; cat messages");
  EXPECT_THAT(result.output, HasSubstr("exit 5"));
  EXPECT_THAT(result.output, HasSubstr("interrupted: the same command goes on with the "));
  const auto count = [&](const char* state) {
    return std::stoi(
        run(std::string("python3 -c \"import sqlite3; print(sqlite3.connect('r.sqlite')."
                        "execute('SELECT count(*) FROM points WHERE state = \\\"") +
            state + "\\\"').fetchone()[0])\"")
            .output);
  };
  const int done = count("done");
  EXPECT_EQ(count("open"), 8 - done);
  expect_begin(sweep, 0,
               "sweep: 8 points, 8 done\n" + std::to_string(8 - done) + " run" +
                   (done == 7 ? "" : "s") + " made now, " + std::to_string(done) + " point" +
                   (done == 1 ? "" : "s") + " known before\n");
  run("nestwalk sweep long.nwt -p zen4 --vary guest.seed=1..8 -o whole.sqlite");
  EXPECT_EQ(exported("r.sqlite"), exported("whole.sqlite"));
}

TEST_F(Sweep, KeepsItsFileFromAnotherOne) {
  const Result result = run("exec 9> r.sqlite.lock; flock 9; '" NESTWALK_PROGRAM "' sweep " +
                            std::string(kSix) + "2>&1");
  EXPECT_EQ(result.output, "r.sqlite: another sweep is writing it\n");
  EXPECT_EQ(result.exit_code, 2);
  expect_begin(kSix, 0, "sweep: 6 points, 6 done\n");
  EXPECT_FALSE(std::filesystem::exists(folder() / "r.sqlite.lock"));
}

// What the documents say that pandas and others do.
TEST_F(Sweep, IsReadWithTheViewsOfTheFile) {
  expect_begin(kSix, 0, "");
  const Result rows =
      run("python3 -c \"import sqlite3; c = sqlite3.connect('r.sqlite'); "
          "print(*c.execute('SELECT point, preset, policy, state FROM points WHERE point > "
          "3').fetchall()); "
          "print(*c.execute('SELECT value FROM tidy WHERE point = 4 AND statistic = "
          "\\\"access.total\\\"')"
          ".fetchone())\"");
  EXPECT_EQ(rows.output, "(4, 'simple', 'eager', 'done') (5, 'simple', 'eager', 'done')\n5000\n");
  const Result csv = run("nestwalk sweep --export csv r.sqlite -s 'walk.count'");
  EXPECT_THAT(
      csv.output,
      StartsWith(
          "run,point,trace,preset,policy,walker.slots,outcome,core,values,guesses,walk.count\n"
          "\"lazy, walker.slots=1\",0,t.nwt,simple,lazy,1,whole,"));
}

// Lists of texts differ in all their elements, not in the first alone.
TEST_F(Sweep, TellsListsApart) {
  expect_begin(
      R"(t.nwt -p simple --vary 'guest.memory=["0+8M","4G+1G"],["0+8M","8G+2M"]' -o r.sqlite)", 0,
      "sweep: 2 points, 2 done\n2 runs made now");
}

TEST_F(Sweep, IsMadeInPartsInOneFile) {
  const std::string sweep = "t.nwt -p simple --vary walker.slots=1..4 -o r.sqlite ";
  expect_begin(sweep + "--shard 1/2", 0, "sweep: 4 points, 2 done, 2 open\n2 runs made now");
  expect_begin(sweep + "--shard 2/2", 0, "sweep: 4 points, 4 done\n2 runs made now");
}

// Equal points are one run, whichever parts they are in.
TEST_F(Sweep, MakesARunOnceInAllParts) {
  const std::string sweep = "t.nwt -p simple --vary walker.slots=1,1,1,2 ";
  expect_begin(sweep + "--shard 1/2 -o 1.sqlite", 0,
               "sweep: 4 points, 3 done, 1 open\n1 run made now");
  expect_begin(sweep + "--shard 2/2 -o 2.sqlite", 5,
               "sweep: 4 points, 1 done, 3 open\n1 run made now");
  expect_begin("--merge 1.sqlite 2.sqlite -o all.sqlite", 0, "sweep: 4 points, 4 done\n");
}

// Halves of the same sweep of two traces of one name.
TEST_F(Sweep, IsNotUnitedFromPartsOfOtherTraces) {
  run("mkdir a b; cp t.nwt a; nestwalk trace gen random bytes=2M accesses=4000 -o b/t.nwt");
  expect_begin("a/t.nwt -p simple --vary walker.slots=1..4 --shard 1/2 -o 1.sqlite", 0, "");
  expect_begin("b/t.nwt -p simple --vary walker.slots=1..4 --shard 2/2 -o 2.sqlite", 0, "");
  expect_begin("--merge 1.sqlite 2.sqlite -o all.sqlite", 4,
               "nestwalk: 2.sqlite: has another sweep of the name sweep than all.sqlite: ");
  expect_begin("--merge 1.sqlite -o 1.sqlite", 2,
               "nestwalk sweep: --merge 1.sqlite: is the output, too\n");
}

TEST_F(Sweep, SaysEachTimeThatSomethingIsMissing) {
  const std::string sweep = "t.nwt -p simple --vary walker.slots=64,65 -o r.sqlite";
  for (int twice = 0; twice < 2; ++twice) {
    EXPECT_EQ(run("nestwalk sweep " + sweep + " 2> /dev/null").exit_code, 5);
  }
  EXPECT_EQ(run("nestwalk sweep --merge r.sqlite -o m.sqlite").exit_code, 5);
  EXPECT_THAT(run("nestwalk sweep t.nwt -p simple --vary walker.slots=1,2 -o r.sqlite 2>&1").output,
              HasSubstr("there was another sweep of the name sweep, whose points are replaced"));
  expect_begin("t.nwt -p simple -s 'wlak.*' -o r.sqlite", 2,
               "nestwalk sweep: --statistics wlak.*: ");
  for (const char* const file : {"''", ":memory:", "-"}) {
    EXPECT_EQ(run(std::string("nestwalk sweep t.nwt -p simple -o ") + file + " 2>&1").exit_code, 2);
  }
}

// A signal that only the process of a run gets: the point stays open.
TEST_F(Sweep, TriesARunAgainThatASignalEnded) {
  run("nestwalk trace gen random bytes=64M accesses=400000 -o long.nwt");
  const std::string sweep = "long.nwt -p zen4 --vary walker.slots=1,2 -j1 -o r.sqlite";
  const Result result =
      run("'" NESTWALK_PROGRAM "' sweep " + sweep +
          " > out 2>&1 & pid=$!; until child=$(cat /proc/$pid/task/$pid/children) && [ -n "
          "\"$child\" ]; do sleep 0.02; done; "
          "sleep 0.3; kill -TERM $child; wait $pid; echo exit $?; cat out");
  EXPECT_THAT(result.output, HasSubstr("exit 5"));
  EXPECT_THAT(result.output, HasSubstr("sweep: 2 points, 1 done, 1 open\n"));
  expect_begin(sweep, 0, "sweep: 2 points, 2 done\n1 run made now, 1 point known before\n");
}

}  // namespace
}  // namespace nestwalk::sim::sweep_test
