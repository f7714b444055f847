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

// By hand. On processor 0, `flush` issues INVEPT for an unmapped page, and once more in vain; 1,
// which is in the guest, is interrupted for one. INVEPT takes 100 cycles, an interrupt 2000 for the
// IPI and 300 for the exit. EPT with 4 levels: a walk makes 5 x 5 - 1 = 24 references, of 10 cycles
// in L2. Processor 1 uses GPA 0x6000 before and after: one refill, of its fence's; and 0x7000 only
// before. 0 ran the guest, and left it: what its first fence removed is in no access. In all, 100
// of excess and 2 x 100 + 2300 = 2500 of the others; of 2 processors with 100,000 cycles each the
// former are 0.05 %.
TEST_F(Check, FencesOfALogHaveAPrice) {
  const std::string invept = "fence - invept single-context, 0x10000 @flush+0x8\n";
  write("log",
        "nestwalk-fence-log 1\n"
        "0 0 vm 1 ept root=0x10000 vmid=5\n"
        "0 0 store 0x10000 0 0x21007\n0 0 store 0x21000 0 0x22007\n"
        "0 0 store 0x22000 0 0x23007\n0 0 store 0x23028 0 0x95037\n"
        "0 0 store 0x23030 0 0x96037\n0 0 store 0x23038 0 0x97037\n"
        "0 0 enter 1\n0 1 enter 1\n0 0 exit 1\n"
        "1 1 access 1 0x6000 0x6000 read\n2 1 access 1 0x7000 0x7000 read\n"
        "7 0 begin unmap\n8 0 store 0x23028 0x95037 0\n"
        "9 0 " +
            invept + "10 1 " + invept + "11 0 " + invept +
            "12 0 end\n100000 1 access 1 0x6008 0x6008 write\n");
  const std::string priced =
      "nestwalk check log -p sapphire-rapids --set machine.fence.local_cycles=100 --set "
      "machine.fence.ipi_cycles=2000 --set machine.software.exit_cycles=300 --set "
      "machine.caches.l2.latency_cycles=10";
  EXPECT_THAT(
      run(priced).output,
      HasSubstr(
          "\non sapphire-rapids:\n"
          "  flush+0x8 in unmap: 1 invept single-context that nothing needed: 100 cycles; 0 "
          "refills, at most 0 cycles\n"
          "  flush+0x8: 1 invept single-context: 100 cycles, and 2,300 of 1 interrupts; 1 refills, "
          "at most 240 cycles\n"
          "  flush+0x8 in unmap: 1 invept single-context: 100 cycles; 0 refills, at most 0 cycles\n"
          "  in all: 100 cycles of fences that nothing needed, 2,500 of the others\n"
          "  the former are 0.05% of the logged time: 100,000 cycles of each of 2 processors\n"
          "  a refill: 24 references without walk caches, from L2: 240 cycles. They are of the "
          "log's accesses, with TLBs that lose nothing else\n"));
  const auto prices = nlohmann::json::parse(run(priced + " --json").output)["prices"][0];
  EXPECT_EQ(prices["machine"], "sapphire-rapids");
  EXPECT_EQ(prices["cycles"], (nlohmann::json{{"excess", 100}, {"others", 2500}}));
  EXPECT_EQ(prices["fences"][1]["refill_cycles"], 240);
  EXPECT_EQ(prices["logged"]["excess_share"], 100.0 / 200000);
  expect("nestwalk check log -p cortex-a76", 2,
         "nestwalk check: the log is of vmx, and cortex-a76 has stage2\n");
}

// By hand. Two TLBI VMALLS12E1IS of a VM of which nothing changed: 2 x 700 cycles. By address, each
// would be TLBI IPAS2E1IS and VMALLE1IS: 2 x (700 + 700). The second one finds a processor that was
// not in the guest since the first: so that the bound is all TLBs of one processor, once. With an
// IPA of 40 bits a walk starts at level 1, of 3: 4 x 4 - 1 = 15 references. The cycles count the
// lines.
TEST_F(Check, ABoundOfRefillsIsSaidToBeOne) {
  write("log",
        "nestwalk-fence-log 1\n1 0 vm 1 stage2-4k root=0x10000 vmid=5\n"
        "2 0 store 0x10000 0 0x22003\n3 0 store 0x22000 0 0x23003\n"
        "4 0 store 0x23028 0 0x957ff\n5 0 fence 1 dsb ishst\n6 0 enter 1\n7 0 exit 1\n"
        "8 0 fence 1 tlbi vmalls12e1is @p2m\n9 0 fence 1 dsb ish\n"
        "10 0 fence 1 tlbi vmalls12e1is @p2m\n11 0 fence 1 dsb ish\n");
  const std::string priced =
      "nestwalk check log -p cortex-a76 --set machine.fence.broadcast_cycles=700 --set "
      "machine.caches.l2.latency_cycles=10";
  const auto prices = nlohmann::json::parse(run(priced + " --json").output)["prices"][0];
  ASSERT_EQ(prices["fences"].size(), 1u);
  const auto& fences = prices["fences"][0];
  EXPECT_EQ(fences["use"], "excess");
  EXPECT_EQ(fences["issue_cycles"], 1400);
  EXPECT_EQ(fences["by_address"]["fences"], "tlbi ipas2e1is, tlbi vmalle1is");
  EXPECT_EQ(fences["by_address"]["cycles"], 2800);
  EXPECT_EQ(fences["refills_are"], "a bound");
  // 48 entries for fetches, 48 for data, 256 x 5 in the second level (Cortex-A76 TRM A5.1).
  EXPECT_EQ(prices["tlb_entries"], 48 + 48 + 256 * 5);
  EXPECT_EQ(fences["refills"], 48 + 48 + 256 * 5);
  EXPECT_EQ(fences["refill_cycles"], (48 + 48 + 256 * 5) * 15 * 10);
  EXPECT_FALSE(prices.contains("logged"));
  EXPECT_THAT(run(priced).output,
              HasSubstr("p2m: 2 tlbi vmalls12e1is that nothing needed: 1,400 cycles; at most 1,376 "
                        "refills, at most 206,400 cycles; by address (tlbi ipas2e1is, tlbi "
                        "vmalle1is) they would cost 2,800 cycles\n"));
}

}  // namespace
}  // namespace nestwalk::sim::check_test
