// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// `nestwalk check` on storms and traces.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "program.hpp"

namespace nestwalk::sim::check_trace_test {
namespace {

constexpr const char* kStorm =
    "nestwalk check --storm accesses=600 period=20 bytes=4M --arch all --json";

nlohmann::json runs_of(const Result& outcome) {
  return nlohmann::json::parse(outcome.output)["runs"];
}

using CheckStorm = Program;
using CheckRules = Program;
using CheckTrace = Program;

// A burst of 512 pages has more separate changes than the engine lists.
TEST_F(CheckStorm, FindsNothingUnderThePreciseFences) {
  for (const char* const more : {"", " burst=512"}) {
    const Result outcome = run(std::string(kStorm) + more + " --strict");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    const auto runs = runs_of(outcome);
    ASSERT_EQ(runs.size(), 4u);  // an extension each
    for (const auto& each : runs) {
      EXPECT_EQ(each["errors"], 0) << each["machine"];
      EXPECT_EQ(each["warnings"], 0) << each["machine"];
      EXPECT_GT(each["statistics"]["engine.fences"], 0) << each["machine"];
    }
  }
}

// What a TLB prefetcher has brought obeys the fences, too; and where one is left out, it shows.
TEST_F(CheckStorm, FindsWithATlbPrefetcherWhatItFindsWithoutOne) {
  for (const char* const policy : {"next_page", "distance"}) {
    const std::string storm = std::string(kStorm) + " --set machine.tlb.prefetcher.degree=4" +
                              " --set machine.tlb.prefetcher.policy=" + policy;
    const Result outcome = run(storm + " --strict");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    const auto runs = runs_of(outcome);
    ASSERT_EQ(runs.size(), 4u);
    for (const auto& each : runs) {
      EXPECT_EQ(each["errors"], 0) << each["machine"];
      EXPECT_GT(each["statistics"]["tlb.prefetch.filled"], 0) << each["machine"];
    }
    EXPECT_EQ(run(storm + " --set hypervisor.drop_fence=2").exit_code, 3);
  }
}

// axaddrspace 0.3.0: INVLPG, TLBI VAE2IS and HFENCE.VVMA reach no second stage.
TEST_F(CheckStorm, FindsTheWrongKindUnderTheOriginalsEverywhere) {
  // Where flags are software's, a stale clean entry faults for ever, and the run ends early.
  const Result outcome =
      run(std::string(kStorm) + " --policy original-0.3.0 --set hypervisor.hardware_dirty=true");
  EXPECT_EQ(outcome.exit_code, 3);
  for (const auto& each : runs_of(outcome)) {
    bool found = false;
    for (const auto& finding : each["findings"])
      found = found || finding["finding"] == "wrong kind";
    EXPECT_TRUE(found) << each["machine"];
  }
}

// axaddrspace 0.5.17 issues the same, and HFENCE.GVMA, on the hart that edits: right for one vCPU.
// With two, the other one's copies stay: at each return, and when the memory is given back.
TEST_F(CheckStorm, FindsTheOtherHartUnderTheLaterOriginals) {
  for (const unsigned vcpus : {1u, 2u}) {
    const Result outcome = run(std::string(kStorm) + " vcpus=" + std::to_string(vcpus) +
                               " --policy original-0.5.17 2>/dev/null");
    const auto runs = runs_of(outcome);
    ASSERT_EQ(runs.size(), 4u);
    for (const auto& each : runs) {
      const bool riscv = each["machine"] == "kunminghu";
      std::set<std::string> errors;
      for (const auto& finding : each["findings"]) {
        if (finding["severity"] == "error") errors.insert(finding["finding"].get<std::string>());
      }
      SCOPED_TRACE(each["machine"].get<std::string>() + ", vCPUs: " + std::to_string(vcpus));
      if (!riscv) {
        EXPECT_THAT(errors, testing::IsSupersetOf({"wrong kind", "use after free"}));
      } else if (vcpus == 1) {
        EXPECT_THAT(errors, testing::IsEmpty());
      } else {
        EXPECT_THAT(errors, testing::ElementsAre("use after free", "wrong processors"));
      }
    }
  }
}

// Few pages and many operations: accesses of one vCPU are under way, with translations that were
// right when they were used, while another one's operation and its fences end.
TEST_F(CheckStorm, AccessesMayEndAfterTheFencesThatTheyWereBefore) {
  for (const char* const accesses : {"300", "1000"}) {
    for (const char* const bytes : {"64K", "256K"}) {
      const Result outcome = run(std::string("nestwalk check --storm accesses=") + accesses +
                                 " bytes=" + bytes + " --arch all --policy precise 2>&1");
      EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    }
  }
}

// Their TLBI VAE2IS leaves the stage-2 entry that made an access fault, and the guest faults again
// and again where the tables have permitted it for long.
TEST_F(CheckStorm, FindsTheFaultThatRepeatsForEver) {
  const Result outcome =
      run("nestwalk check --storm accesses=4000 --json -p cortex-a76 --policy original-0.3.0 "
          "2>/dev/null");
  EXPECT_EQ(outcome.exit_code, 5);  // incomplete: nobody knows what else it would find
  const auto each = runs_of(outcome)[0];
  EXPECT_NE(each["ended_early"].get<std::string>().find("faults for ever"), std::string::npos);
  nlohmann::json::number_unsigned_t repeated = 0;
  for (const auto& finding : each["findings"]) {
    if (finding["finding"] != "repeated fault") continue;
    EXPECT_EQ(finding["severity"], "error");
    repeated += finding["count"].get<nlohmann::json::number_unsigned_t>();
  }
  EXPECT_GT(repeated, 100u);
}

TEST_F(CheckStorm, FindsAFenceThatWasLeftOut) {
  const Result outcome =
      run("nestwalk check --storm accesses=600 period=20 bytes=4M --json --set "
          "hypervisor.drop_fence=2");
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_GT(runs_of(outcome)[0]["errors"], 0);
}

TEST_F(CheckRules, AreReadAndFollowed) {
  const std::string file = (folder() / "rules.json").string();
  std::ofstream(file) << R"({"x86_64": [{"when": ["unmapped", "less_permission", "moved", "cleaned",
    "resized", "memory_type", "table"], "issue": ["invept single-context"]}]})";
  const std::string storm =
      "nestwalk check --storm accesses=600 period=20 bytes=4M --json --policy ";
  EXPECT_EQ(run(storm + file + " 2>&1").exit_code, 0);
  std::ofstream(file) << R"({"x86_64": [{"when": ["unmaped"], "issue": []}]})";
  const Result outcome = run(storm + file + " 2>&1");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.output.find("x86_64.0.when: expected a change, found 'unmaped'"),
            std::string::npos)
      << outcome.output;
}

TEST_F(CheckRules, GroupsOfPagesAreNotJudged) {
  for (const std::string arch : {"aarch64", "riscv64"}) {
    const Result refused = run("nestwalk check --storm accesses=600 --arch " + arch +
                               " --set hypervisor.contiguous=true 2>&1");
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_THAT(refused.output,
                testing::HasSubstr("hypervisor.contiguous=true is not supported yet"));
  }
}

TEST_F(CheckRules, AWordThatIsNearNoneIsToldWhichThereAre) {
  std::ofstream(folder() / "r.json")
      << R"({"x86_64": [{"when": ["unmapped"], "issue": ["everything"]}]})";
  const Result far = run("nestwalk check --storm accesses=600 --policy r.json 2>&1");
  EXPECT_EQ(far.exit_code, 2);
  EXPECT_THAT(far.output,
              testing::HasSubstr("expected an instruction, found 'everything'; there are "));
  EXPECT_THAT(far.output, testing::Not(testing::HasSubstr("''")));
}

// A guest that maps pages where they are touched first, and elsewhere than the trace does: of a
// fork, two processes have the same page in the trace, and each its own here.
TEST_F(CheckTrace, PagesOfAGuestThatFollowsNoTraceAreItsOwn) {
  ASSERT_EQ(run("nestwalk trace gen fork accesses=2000 bytes=64K slice=1000 -o t.nwt").exit_code,
            0);
  for (const char* const tables : {"first-touch", "recorded"}) {
    const Result outcome =
        run(std::string("nestwalk check t.nwt --set guest.tables=") + tables + " 2>&1");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  }
}

// Tables that are replayed say where a page is: its virtual address is not its guest-physical one.
TEST_F(CheckTrace, PagesOfReplayedTablesAreWhereTheTraceSays) {
  for (const char* const trace : {"x86_64", "aarch64", "riscv64"}) {
    const Result outcome =
        run(std::string("nestwalk trace cut " NESTWALK_TRACE_SAMPLES "/") + trace +
            "-linux.nwt --count 5000 -o t.nwt && nestwalk check t.nwt --arch " + trace +
            " --set guest.tables=replayed 2>&1");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  }
}

}  // namespace
}  // namespace nestwalk::sim::check_trace_test
