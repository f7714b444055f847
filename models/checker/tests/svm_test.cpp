// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AMD-V: what flushes nested translations, and when it has to come (AMD APM vol. 2, 15.16 "TLB
// Control"). Each case is told to the adversary as well.

#include "both.hpp"
#include "log_world.hpp"

namespace nestwalk::checker::svm_test {
namespace {

// P, R/W, U/S, A and D: 0x67. GPA 0x5000 is at 0x95000. Both processors ran the guest, and
// processor 1 is in it.
std::string start(const std::string& properties = "") {
  return "nestwalk-fence-log 1\n0 0 vm 1 npt root=0x10000 vmid=5 " + properties +
         "\n"
         "0 0 store 0x10000 0 0x21007\n"
         "0 0 store 0x21000 0 0x22007\n"
         "0 0 store 0x22000 0 0x23007\n"
         "0 0 store 0x23028 0 0x95067\n"
         "0 0 enter 1\n0 1 enter 1\n0 0 exit 1\n";
}

std::string found_in(const std::string& log) {
  Both both;
  std::istringstream in(log);
  both.reader.read(in, "log", both.tee);
  both.checker.finish();
  EXPECT_EQ(both.adversary.harmed(), both.checker.errors() != 0) << log << names_of(both.checker);
  return names_of(both.checker);
}

/// Processor 0 unmaps the page and issues the fence; so does processor 1, having left the guest;
/// then both enter.
std::string with(const std::string& fence, const std::string& other) {
  std::string text = "1 0 begin unmap\n1 0 store 0x23028 0x95067 0\n1 1 exit 1\n";
  if (!fence.empty()) text += "1 0 fence - " + fence + "\n";
  text += "2 0 end\n";
  if (!other.empty()) text += "3 1 fence - " + other + "\n";
  return text + "4 1 enter 1\n4 0 enter 1\n";
}
std::string with(const std::string& fence) { return with(fence, fence); }

TEST(Svm, AnUnmappedPageNeedsAFlushOfTheAsidAtVmrunOnEachProcessor) {
  EXPECT_EQ(found_in(start() + with("vmrun tlb_control=3, 5")), "");
  EXPECT_EQ(found_in(start() + with("")), "missing");
  EXPECT_EQ(found_in(start() + with("vmrun tlb_control=3, 5", "")), "wrong processors");
  EXPECT_EQ(found_in(start() + with("vmrun tlb_control=3, 6")), "excess, wrong tag");
}

TEST(Svm, AllAsidsAreTooManyWhereASingleOneCanBeFlushed) {
  EXPECT_EQ(found_in(start() + with("vmrun tlb_control=1")), "over-broad");
  EXPECT_EQ(found_in(start("no-flush-by-asid") + with("vmrun tlb_control=1")), "");
}

// Nested translations that are merged with the guest's global pages stay.
TEST(Svm, TheFlushMayNotSpareGlobalPages) {
  EXPECT_EQ(found_in(start() + with("vmrun tlb_control=7, 5")), "wrong kind");
}

TEST(Svm, LinearAddressesSelectNoNestedTranslation) {
  for (const char* fence : {"invlpg [0x5000]", "mov cr3", "invlpga 5, 0x5000"}) {
    EXPECT_EQ(found_in(start() + with(fence)), "excess, wrong kind") << fence;
  }
}

TEST(Svm, ProcessorsInsideTheGuestHaveToLeaveItForAVmrun) {
  const std::string stays =
      "1 0 begin unmap\n1 0 store 0x23028 0x95067 0\n1 0 fence - vmrun tlb_control=3, 5\n"
      "2 0 end\n";
  EXPECT_EQ(found_in(start() + stays + "4 0 enter 1\n"), "wrong processors");
}

// A processor that has left the guest translates nothing for it until its VMRUN, which flushes; one
// that stays inside uses what it keeps, whatever it does later.
TEST(Svm, MemoryMayGoBeforeTheVmrunOfAProcessorThatHasLeft) {
  const std::string left = "1 1 exit 1\n";
  const std::string flushes = "4 1 fence - vmrun tlb_control=3, 5\n4 1 enter 1\n";
  const auto freed = [](const std::string& before, const std::string& after) {
    return found_in(start() + before +
                    "1 0 begin unmap\n1 0 store 0x23028 0x95067 0\n"
                    "1 0 free 0x95000 0x1000\n2 0 end\n" +
                    after);
  };
  EXPECT_EQ(freed(left, flushes), "");
  EXPECT_EQ(freed(left, "4 1 enter 1\n"), "missing, use after free");
  EXPECT_EQ(freed(left, "4 1 fence - invlpga 5, 0x5000\n4 1 enter 1\n"),
            "excess, use after free, wrong kind");
  EXPECT_EQ(freed("", left + flushes), "missing, use after free");
}

// By INVLPGB, all processors are done at TLBSYNC, and not before.
TEST(Svm, MemoryGoesAfterTlbsync) {
  const std::string fence = "1 0 fence - invlpgb asid nested, 5\n";
  const std::string sync = "1 0 fence - tlbsync\n";
  const std::string free = "1 0 free 0x95000 0x1000\n";
  const auto freed = [](const std::string& rest) {
    return found_in(start() + "1 0 begin unmap\n1 0 store 0x23028 0x95067 0\n" + rest +
                    "2 0 end\n");
  };
  EXPECT_EQ(freed(fence + sync + free), "");
  EXPECT_EQ(freed(fence + free + sync), "use after free");
  EXPECT_EQ(freed(free + fence + sync), "use after free");
}

TEST(Svm, InvlpgbReachesTheProcessorsInsideAndIsCompleteAtTlbsync) {
  const auto broadcast = [](const std::string& fences) {
    return found_in(start() + "1 0 begin unmap\n1 0 store 0x23028 0x95067 0\n" + fences +
                    "2 0 end\n4 0 enter 1\n");
  };
  EXPECT_EQ(broadcast("1 0 fence - invlpgb asid nested, 5\n1 0 fence - tlbsync\n"), "");
  EXPECT_EQ(broadcast("1 0 fence - invlpgb asid nested, 5\n"), "not completed");
  EXPECT_EQ(broadcast("1 0 fence - invlpgb asid nested, 5\n1 1 fence - tlbsync\n"),
            "not completed");
  EXPECT_EQ(broadcast("1 0 fence - invlpgb asid, 5\n1 0 fence - tlbsync\n"), "wrong kind");
  EXPECT_EQ(broadcast("1 0 fence - invlpgb asid nested, 6\n1 0 fence - tlbsync\n"), "wrong tag");
}

TEST(Svm, NewEntriesAndMorePermissionNeedNothing) {
  EXPECT_EQ(found_in(start() + "1 0 store 0x23030 0 0x96065\n1 0 store 0x23030 0x96065 0x96067\n"
                               "2 0 enter 1\n"),
            "");
}

TEST(Svm, AnAsidIsUsedAgainAfterAFlush) {
  const std::string ends = "1 1 exit 1\n1 0 destroy 1\n";
  const std::string again = "3 0 vm 2 npt root=0x50000 vmid=5\n4 0 enter 2\n4 1 enter 2\n";
  EXPECT_EQ(found_in(start() + ends +
                     "2 0 fence - vmrun tlb_control=3, 5\n"
                     "2 1 fence - vmrun tlb_control=3, 5\n" +
                     again),
            "");
  EXPECT_EQ(check_text(start() + ends + again)->names(), "tag reused");
  // Another root under it is no help, and the same root under another ASID no harm.
  EXPECT_EQ(check_text(start() + ends + "3 0 vm 2 npt root=0x10000 vmid=6\n4 0 enter 2\n")->names(),
            "");
}

// KVM and Xen number ASIDs on each processor anew: what one has left under 5, no other one can hit.
TEST(Svm, AnAsidIsEachProcessorsOwn) {
  const std::string ended =
      "1 1 exit 1\n2 0 destroy 1\n2 1 fence - vmrun tlb_control=3, 5\n"
      "3 0 vm 2 npt root=0x50000 vmid=5\n";
  EXPECT_EQ(check_text(start() + ended + "4 1 enter 2\n")->names(), "");
  EXPECT_EQ(check_text(start() + ended + "4 1 enter 2\n5 0 enter 2\n")->names(), "tag reused");
}

TEST(Svm, ALogMayNameNcr3WithItsCacheBits) {
  EXPECT_EQ(found_in(start("register=0x10018")), "");  // PWT and PCD
  EXPECT_ANY_THROW(check_text(start("register=0x1001e")));
}

}  // namespace
}  // namespace nestwalk::checker::svm_test
