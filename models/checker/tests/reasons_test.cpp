// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Why a fence does not do, in words, and where in the log each of the three stands: the store, the
// fence, and what came before the right fence did.

#include <gmock/gmock.h>

#include "log_world.hpp"

namespace nestwalk::checker::reasons_test {
namespace {

constexpr auto kX86 = Architecture::X86_64;
constexpr auto kArm = Architecture::AArch64;
constexpr auto kRiscV = Architecture::RiscV64;

// Of the operation's lines, the first is the line after `begin`.
u64 first_line(Architecture architecture) {
  const std::string before = operation(architecture, {});
  // Without `end` and `enter`, which follow.
  return static_cast<u64>(std::count(before.begin(), before.end(), '\n')) - 2 + 1;
}

struct Case {
  const char* name;
  Architecture architecture;
  std::vector<std::string> lines;
  Failure failure;
  const char* reason;
  u64 issued;  ///< which of the lines; 0: none
};

const Case kCases[] = {
    {"Missing",
     kX86,
     {"0 store 0x23028 L5 0"},
     Failure::Missing,
     "no fence follows the store, and processor 1 may use the old entry",
     0},
    // Processor 0 has its second-stage entry removed, and so has 1; merged entries go on 0 alone.
    {"LocalInsteadOfBroadcast",
     kArm,
     {"0 store 0x23028 L5 0", "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2le1is, 0x5",
      "0 fence 1 dsb ish", "0 fence 1 tlbi vmalle1", "0 fence 1 dsb ish"},
     Failure::WrongProcessors,
     "tlbi vmalle1 is right for what was merged with the guest's own translation, and was executed "
     "on processor 0 alone; it acts on the processor that executes it, and processor 1 ran the VM "
     "and may use the old entry: broadcasting is missing, as by tlbi vmalle1is",
     5},
    {"LocalSecondStage",
     kArm,
     {"0 store 0x23028 L5 0", "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2e1, 0x5",
      "0 fence 1 dsb ish", "0 fence 1 tlbi vmalle1", "0 fence 1 dsb ish"},
     Failure::WrongProcessors,
     "tlbi ipas2e1, 0x5 is right, and was executed on processor 0 alone; it acts on the processor "
     "that executes it, and processor 1 ran the VM and may use the old entry: broadcasting is "
     "missing, as by tlbi ipas2e1is",
     3},
    {"OneCpuOnly",
     kX86,
     {"0 store 0x23028 L5 0", "0 fence - invept single-context, 0x10000"},
     Failure::WrongProcessors,
     "invept single-context, 0x10000 is right, and was executed on processor 0 alone; it acts on "
     "the processor that executes it, and processor 1 ran the VM and may use the old entry: each "
     "of these has to execute it, too",
     2},
    {"HostsOwn",
     kX86,
     {"0 store 0x23028 L5 0", "0 fence - invlpg [0x5000]"},
     Failure::WrongKind,
     "invlpg [0x5000] acts on the hypervisor's own translations (VPID or ASID 0), and on nothing "
     "of the guest's",
     2},
    {"OwnRegime",
     kArm,
     {"0 store 0x23028 L5 0", "0 fence 1 dsb ishst", "0 fence 1 tlbi vae2is, 0x5",
      "0 fence 1 dsb ish"},
     Failure::WrongKind,
     "tlbi vae2is, 0x5 acts on the hypervisor's own translations, and on nothing of the guest's",
     3},
    {"MergedStays",
     kArm,
     {"0 store 0x23028 L5 0", "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2le1is, 0x5",
      "0 fence 1 dsb ish"},
     Failure::WrongKind,
     "tlbi ipas2le1is, 0x5 removes second-stage entries; what was merged with the guest's own "
     "translation stays: tlbi vmalle1is has to follow",
     3},
    {"FirstStage",
     kRiscV,
     {"0 store 0x23028 L5 0", "0 fence 1 hfence.vvma"},
     Failure::WrongKind,
     "hfence.vvma zero, zero removes what the guest's own tables translate; the second-stage entry "
     "stays cached, and is merged again",
     2},
    {"OtherVmid",
     kRiscV,
     {"0 store 0x23028 L5 0", "1 fence 1 hfence.gvma 0x1400, 6"},
     Failure::WrongTag,
     "hfence.gvma 0x1400, 6 is for VMID 6, and the VM's is 5",
     2},
    {"OtherRoot",
     kX86,
     {"0 store 0x23028 L5 0", "1 fence - invept single-context, 0x20000"},
     Failure::WrongTag,
     "invept single-context, 0x20000 is for the root 0x20000, and the VM's is 0x10000",
     2},
    // rs1 is GPA >> 2: 0x6000 >> 2 = 0x1800, and 0x5000 >> 2 = 0x1400.
    {"OtherAddress",
     kRiscV,
     {"0 store 0x23028 L5 0", "1 fence 1 hfence.gvma 0x1800, 5"},
     Failure::WrongOperand,
     "hfence.gvma 0x1800, 5 names GPA 0x6000, and the entry is of GPA 0x5000: rs1 of that is "
     "0x1400, the address shifted right by 2",
     2},
    // The operand's unit is 4 KiB: 0x5000 << 12 = 0x5000000.
    {"Unshifted",
     kArm,
     {"0 store 0x23028 L5 0", "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2e1is, 0x5000",
      "0 fence 1 dsb ish", "0 fence 1 tlbi vmalle1is", "0 fence 1 dsb ish"},
     Failure::Unshifted,
     "tlbi ipas2e1is, 0x5000 names GPA 0x5000000, and the entry is of GPA 0x5000: the operand of "
     "that is 0x5, the IPA shifted right by 12",
     3},
    {"NoDsb",
     kArm,
     {"0 store 0x23028 L5 0", "0 fence 1 dsb ishst", "0 fence 1 tlbi vmalls12e1is"},
     Failure::NotCompleted,
     "nothing waits until tlbi vmalls12e1is is carried out: dsb ish has to follow on processor 0, "
     "which issued it",
     3},
    {"NotVisible",
     kArm,
     {"0 store 0x23040 0 L5"},
     Failure::NotCompleted,
     "no barrier makes the store visible to the walks of processor 1: dsb ishst has to follow it",
     0},
    {"NoBarrierBefore",
     kArm,
     {"0 store 0x23028 L5 0", "0 fence 1 tlbi vmalls12e1is", "0 fence 1 dsb ish"},
     Failure::TooEarly,
     "nothing orders the store before tlbi vmalls12e1is, which may be carried out while walks see "
     "the old entry: dsb ishst has to stand between them",
     2},
    {"BeforeTheStore",
     kRiscV,
     {"0 fence 1 hfence.gvma 0x1400, 5", "1 fence 1 hfence.gvma 0x1400, 5", "0 store 0x23028 L5 0"},
     Failure::TooEarly,
     "hfence.gvma 0x1400, 5 was executed before the store: afterwards, the old entry could be "
     "cached again",
     1},
    {"LeavesOfATable",
     kArm,
     {"0 store 0x22000 T 0", "0 fence 1 dsb ishst", "0 fence 1 tlbi ipas2le1is, 0x5",
      "0 fence 1 dsb ish", "0 fence 1 tlbi vmalle1is", "0 fence 1 dsb ish"},
     Failure::LeafOnly,
     "tlbi ipas2le1is, 0x5 removes leaves alone, and what changed is a table at level 1: cached "
     "copies of the table stay",
     3},
    {"InPlace",
     kArm,
     {"0 store 0x23028 L5 M5", "0 fence 1 dsb ishst", "0 fence 1 tlbi vmalls12e1is",
      "0 fence 1 dsb ish"},
     Failure::BreakBeforeMake,
     "one store replaced the valid entry; it has to be made invalid, fenced, and only then written "
     "anew, while processors 0-1 may use the old entry",
     0},
    {"Freed",
     kX86,
     {"0 store 0x23028 L5 0", "0 free 0x95000 0x1000", "0 fence - invept single-context, 0x10000",
      "1 fence - invept single-context, 0x10000"},
     Failure::UseAfterFree,
     "the memory was freed while processor 1 may use the old entry: no fence follows the store, "
     "and "
     "processor 1 may use the old entry",
     0},
    {"InVain",
     kX86,
     {"0 fence - invept single-context, 0x10000"},
     Failure::Excess,
     "nothing that invept single-context, 0x10000 removes had to go: its operation had changed no "
     "entry",
     1},
    {"All",
     kArm,
     {"0 store 0x23028 L5 0", "0 fence 1 dsb ishst", "0 fence 1 tlbi vmalls12e1is",
      "0 fence 1 dsb ish"},
     Failure::OverBroad,
     "tlbi vmalls12e1is removes everything of the VM, and 1 entry needs a fence",
     3},
};

class Reasons : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, Reasons, testing::ValuesIn(kCases),
                         [](const auto& made) { return std::string(made.param.name); });

TEST_P(Reasons, SayWhatIsMissingAndWhereEachStands) {
  const Case& each = GetParam();
  const auto checked = check_text(operation(each.architecture, each.lines));
  const auto& findings = checked->checker.findings();
  const auto found = std::find_if(findings.begin(), findings.end(), [&](const Finding& finding) {
    return finding.failure == each.failure;
  });
  ASSERT_NE(found, findings.end()) << checked->names();
  EXPECT_EQ(found->reason, each.reason);
  const u64 first = first_line(each.architecture);
  EXPECT_EQ(found->issued.empty(), each.issued == 0) << found->issued;
  EXPECT_EQ(found->issued_when.line, each.issued == 0 ? 0 : first + each.issued - 1);
  if (found->severity() == Severity::Warning) return;
  const auto is_store = [](const std::string& line) {
    return line.find("store") != std::string::npos;
  };
  const auto store = std::find_if(each.lines.begin(), each.lines.end(), is_store);
  EXPECT_EQ(found->when.line, first + static_cast<u64>(store - each.lines.begin()));
  // What is owed is judged when the operation returns; but break-before-make with the store, and
  // freed memory when it is freed: the second line of that case.
  const u64 end = first + each.lines.size();
  const bool at_once = each.failure == Failure::BreakBeforeMake;
  const bool freed = each.failure == Failure::UseAfterFree;
  EXPECT_EQ(found->violated.line, at_once ? found->when.line : freed ? first + 1 : end);
  EXPECT_STREQ(found->violation, at_once ? "the entry was stored"
                                 : freed ? "memory was freed"
                                         : "the operation returned");
}

// Processor 0 unmaps, outside the guest; it owes its fence until it enters.
TEST(ReasonsOfEntries, AreWhereTheProcessorEnters) {
  const auto checked = check_text(
      operation(kX86, {"0 store 0x23028 L5 0", "1 fence - invept single-context, 0x10000"}));
  const Finding& finding = checked->checker.findings().at(0);
  EXPECT_EQ(finding.failure, Failure::WrongProcessors);
  EXPECT_STREQ(finding.violation, "the processor entered the guest");
  EXPECT_EQ(finding.violated.line, first_line(kX86) + 3);  // after the two and `end`
  EXPECT_THAT(finding.reason, testing::HasSubstr("and processor 0 ran the VM"));
}

TEST(ReasonsOfPlaces, NameFileLineAndFunction) {
  Moment when;
  EXPECT_EQ(place_text(when, "a.log"), "");
  when.line = 12;
  EXPECT_EQ(place_text(when, "a.log"), "a.log:12");
  EXPECT_EQ(place_text(when, ""), "line 12");
  when.site = "unmap+0x1c";
  EXPECT_EQ(place_text(when, "a.log"), "a.log:12, at unmap+0x1c");
  when.line = 0;
  EXPECT_EQ(place_text(when, "a.log"), "at unmap+0x1c");
}

}  // namespace
}  // namespace nestwalk::checker::reasons_test
