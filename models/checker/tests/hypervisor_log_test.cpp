// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What logs of recorded hypervisors say besides: barriers of one processor, tasks that go from one
// processor to another, and where in the hypervisor something was done.

#include "both.hpp"
#include "log_world.hpp"

namespace nestwalk::checker::hypervisor_log_test {
namespace {

constexpr Architecture kArm = Architecture::AArch64;

std::string with_all_entries(const std::string& lines) {
  std::string text;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) text += with_entries(kArm, line);
  return text;
}

/// What is found; the adversary agrees whether there is an error among it.
std::string found_in(const std::string& text) {
  Both both;
  std::istringstream in(text);
  both.reader.read(in, "log", both.tee);
  both.checker.finish();
  EXPECT_EQ(both.adversary.harmed(), both.checker.errors() != 0) << text << names_of(both.checker);
  return names_of(both.checker);
}

/// GPA 0x5000 is at 0x95000; processor 0 alone has run the guest.
const std::string kAlone =
    "nestwalk-fence-log 1\n0 0 vm 1 stage2-4k root=0x10000 vmid=5\n" +
    with_all_entries(
        "0 0 store 0x10000 0 0x22003\n0 0 store 0x22000 0 T\n"
        "0 0 store 0x23028 0 L5\n0 0 fence 1 dsb ishst\n0 0 enter 1\n0 0 exit 1\n");

/// Processor 0 unmaps the page, issues these, and enters again.
std::string unmapped_with(std::initializer_list<const char*> fences) {
  std::string text = kAlone + "1 0 begin unmap\n" + with_all_entries("1 0 store 0x23028 L5 0\n");
  for (const char* fence : fences) text += std::string("1 0 fence 1 ") + fence + "\n";
  return text + "2 0 end\n3 0 enter 1\n";
}

// A DSB NSH completes TLBIs that are not broadcast, a DSB ISH those that are as well; walks by the
// processors of the DSB's shareability domain see the stores before it (Arm ARM B2, "Data
// Synchronization Barrier", and D8, "TLB maintenance"). Linux flushes one processor by DSB NSHST,
// TLBI VMALLE1, DSB NSH.
TEST(NonShareableBarrier, IsEnoughForAFenceOfOneProcessor) {
  EXPECT_EQ(found_in(unmapped_with(
                {"dsb nshst", "tlbi ipas2e1, 0x5", "dsb nsh", "tlbi vmalle1", "dsb nsh"})),
            "");
  EXPECT_EQ(found_in(unmapped_with({"dsb nshst", "tlbi vmalls12e1", "dsb nsh"})),
            "over-broad");  // but right
}

TEST(NonShareableBarrier, IsNeededAsOthersAre) {
  EXPECT_EQ(found_in(unmapped_with({"tlbi ipas2e1, 0x5", "dsb nsh", "tlbi vmalle1", "dsb nsh"})),
            "too early");
  EXPECT_EQ(found_in(unmapped_with({"dsb nshst", "tlbi ipas2e1, 0x5", "dsb nsh", "tlbi vmalle1"})),
            "not completed");
  // What only stores wait for completes no TLBI.
  EXPECT_EQ(found_in(unmapped_with({"dsb nshst", "tlbi vmalls12e1", "dsb nshst"})),
            "not completed, over-broad");
}

TEST(NonShareableBarrier, DoesNotCompleteWhatIsBroadcast) {
  EXPECT_EQ(found_in(unmapped_with({"dsb ishst", "tlbi vmalls12e1is", "dsb nsh"})),
            "not completed, over-broad");
  EXPECT_EQ(found_in(unmapped_with({"dsb ishst", "tlbi vmalls12e1is", "dsb nsh", "dsb ish"})),
            "over-broad");
}

TEST(NonShareableBarrier, DoesNotOrderTheStoreForOtherProcessors) {
  EXPECT_EQ(found_in(unmapped_with({"dsb nshst", "tlbi vmalls12e1is", "dsb ish"})), "too early");
}

// A new entry is found by the walks of the processor that stored it, and not yet by those of
// others.
TEST(NonShareableBarrier, ShowsANewEntryToItsOwnProcessor) {
  const std::string mapped = kAlone + "1 0 begin map\n" +
                             with_all_entries("1 0 store 0x23048 0 L9\n") +
                             "1 0 fence 1 dsb nshst\n2 0 end\n3 0 enter 1\n";
  EXPECT_EQ(found_in(mapped), "");
  EXPECT_EQ(check_text(mapped + "4 1 enter 1\n")->names(), "not completed");
  EXPECT_EQ(check_text(mapped + "4 0 fence 1 dsb ishst\n4 1 enter 1\n")->names(), "");
}

// Processor 0 write-protects the page and has not waited for its TLBI yet when processor 1 takes it
// away and maps another page there, by a whole sequence of its own: nothing is left of either
// entry.
TEST(Flight, OfOneProcessorIsOvertakenByTheWholeSequenceOfAnother) {
  const auto overtaken = [](const std::string& sequence) {
    return check_text(kAlone + "1 1 enter 1\n1 1 exit 1\n1 0 begin protect\n" +
                      with_all_entries("1 0 store 0x23028 L5 R5\n") +
                      "1 0 fence 1 dsb ishst\n1 0 fence 1 tlbi vmalls12e1is\n1 1 begin move\n" +
                      with_all_entries("2 1 store 0x23028 R5 0\n") + "2 1 fence 1 dsb ishst\n" +
                      sequence + with_all_entries("3 1 store 0x23028 0 L6\n") +
                      "3 1 fence 1 dsb ishst\n3 1 end\n4 0 fence 1 dsb ish\n4 0 end\n")
        ->names();
  };
  EXPECT_EQ(overtaken("2 1 fence 1 tlbi ipas2e1is, 0x5\n2 1 fence 1 dsb ish\n"
                      "2 1 fence 1 tlbi vmalle1is\n2 1 fence 1 dsb ish\n"),
            "over-broad");
  EXPECT_EQ(overtaken("2 1 fence 1 tlbi ipas2e1is, 0x5\n2 1 fence 1 dsb ish\n"
                      "2 1 fence 1 tlbi vmalle1is\n"),
            "break before make, over-broad");
}

/// What unmapping GPA 0x5000 needs, on a processor.
std::string fences_on(const std::string& processor) {
  std::string text;
  for (const char* fence :
       {"dsb ishst", "tlbi ipas2e1is, 0x5", "dsb ish", "tlbi vmalle1is", "dsb ish"}) {
    text += "2 " + processor + " fence 1 " + fence + "\n";
  }
  return text;
}

// An operation is a task's. One that unmaps interrupts another one: what it has not fenced is owed
// when it returns, not when the one that it interrupted does.
TEST(Task, HasItsOwnOperation) {
  const auto interrupts = [](const std::string& inside, const std::string& afterwards) {
    return check_text(kAlone +
                      "1 1 enter 1\n1 0 task 8\n1 0 begin other\n1 0 task 7\n1 0 begin unmap\n" +
                      with_all_entries("1 0 store 0x23028 L5 0\n") + inside +
                      "1 0 end\n1 0 task 8\n" + afterwards + "3 0 end\n")
        ->names();
  };
  EXPECT_EQ(interrupts(fences_on("0"), ""), "");
  EXPECT_EQ(interrupts("", fences_on("0")), "missing");
}

TEST(Task, GoesOnOnAnotherProcessor) {
  const auto moves = [](const std::string& inside, const std::string& afterwards) {
    return check_text(kAlone + "1 0 enter 1\n1 2 task 7\n1 2 begin unmap\n" +
                      with_all_entries("1 2 store 0x23028 L5 0\n") +
                      "1 2 fence 1 dsb ishst\n1 2 task 8\n1 3 task 7\n" + inside + "2 3 end\n" +
                      afterwards);
  };
  EXPECT_EQ(moves(fences_on("3"), "")->names(), "");
  const auto missing = moves("", fences_on("3"));
  ASSERT_EQ(missing->names(), "missing");
  EXPECT_EQ(missing->checker.findings()[0].operation, "unmap");
}

// VMIDs are VMs', not vCPUs': two vCPUs that take turns on a processor have the same one, and the
// same ASIDs may be of different address spaces in each. Where the same vCPU goes on, nothing has
// to go.
TEST(Task, IsAVcpuBeforeWhichWhatAnotherOneLeftHasToGo) {
  const auto entered_as = [](const char* vcpu, const char* fence) {
    return check_text(kAlone + "1 0 task 7\n1 0 enter 1\n1 0 exit 1\n1 0 task " + vcpu +
                      "\n2 0 fence 1 " + fence + "\n2 0 fence - dsb nsh\n3 0 enter 1\n")
        ->names();
  };
  EXPECT_EQ(entered_as("8", "tlbi vmalle1"), "");
  EXPECT_EQ(entered_as("7", "tlbi vmalle1"), "excess");
  EXPECT_EQ(entered_as("8", "tlbi vmalle1is"), "excess");  // others are not concerned
}

TEST(Task, EndsItsOperations) {
  try {
    check_text("nestwalk-fence-log 1\n0 0 task 7\n0 0 begin edit\n0 0 task 8\n");
    FAIL();
  } catch (const LogError& error) {
    EXPECT_STREQ(error.what(),
                 "log: line 3: expected an end of the operation that processor 0 begins here, "
                 "found the end of the log");
  }
}

// A finding is of one place: that of the store that is not fenced, or of a fence that is too much.
TEST(Site, IsPartOfAFinding) {
  const auto checked = check_text(
      kAlone + "1 0 begin unmap\n" + with_all_entries("1 0 store 0x23028 L5 0 @unmap_page+0x10\n") +
      "2 0 end\n2 0 fence 1 tlbi vmalle1 @flush+0x4\n"
      "3 0 fence 1 tlbi vmalle1 @flush+0x4\n3 0 fence 1 tlbi vmalle1 @other\n3 0 enter 1\n");
  std::map<std::string, u64> sites;
  for (const Finding& each : checked->checker.findings()) sites[each.site] += each.count;
  EXPECT_EQ(sites,
            (std::map<std::string, u64>{{"flush+0x4", 2}, {"other", 1}, {"unmap_page+0x10", 1}}));
}

TEST(Site, IsTheLastWordAndHasAName) {
  const auto refusal = [](const std::string& line) -> std::string {
    try {
      check_text("nestwalk-fence-log 1\n" + line + "\n");
    } catch (const LogError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal("0 0 store 0x1000 0 1 @"),
            "log: line 2: expected a place behind @, found \"@\"");
  EXPECT_EQ(refusal("0 0 store 0x1000 0 @here"),
            "log: line 2: expected the entry after, found the end of the line");
  EXPECT_EQ(refusal("0 0 enter 1 @here"),
            "log: line 2: expected the number of a VM that was created, found \"1\"");
  EXPECT_EQ(refusal("0 0 free 0x1000 0x1000 @here"), "");
  EXPECT_EQ(refusal("0 0 begin @name\n0 0 end"), "");
}

}  // namespace
}  // namespace nestwalk::checker::hypervisor_log_test
