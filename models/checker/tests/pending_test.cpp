// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Fences that may wait: until the processor faults, until it enters the guest, until the tag of a
// VM is used again. Each case is told to the adversary as well.

#include "both.hpp"
#include "log_world.hpp"

namespace nestwalk::checker::pending_test {
namespace {

constexpr Architecture kX86 = Architecture::X86_64;
constexpr Architecture kArm = Architecture::AArch64;
constexpr Architecture kRiscV = Architecture::RiscV64;
constexpr Architecture kAll[] = {kX86, kArm, kRiscV};

std::string with_all_entries(Architecture architecture, const std::string& lines) {
  std::string text;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) text += with_entries(architecture, line);
  return text;
}

/// What is found; the adversary agrees whether there is an error among it.
std::string found_in(Architecture architecture, const std::string& lines,
                     const std::string& start = "") {
  Both both;
  std::istringstream in((start.empty() ? preamble(architecture) : start) +
                        with_all_entries(architecture, lines));
  both.reader.read(in, "log", both.tee);
  both.checker.finish();
  EXPECT_EQ(both.adversary.harmed(), both.checker.errors() != 0) << lines << names_of(both.checker);
  return names_of(both.checker);
}

/// On one processor, all of the VM; AArch64: not broadcast.
std::string local_fence(Architecture architecture, int processor) {
  const std::string p = std::to_string(processor);
  switch (architecture) {
    case kX86:
      return "5 " + p + " fence - invept single-context, 0x10000\n";
    case kArm:
      return "5 " + p + " fence 1 dsb ish\n5 " + p + " fence 1 tlbi vmalls12e1\n5 " + p +
             " fence 1 dsb ish\n";
    case kRiscV:
      return "5 " + p + " fence - hfence.gvma zero, 5\n";
  }
  return "";
}

std::string publish(Architecture architecture) {
  return architecture == kArm ? "1 0 fence 1 dsb ishst\n" : "";
}

// More permission -------------------------------------------------------------------------------

// One rule for all architectures: the old entry can only refuse what is permitted now, and the
// fence is due where that happens.
//   x86      The EPT violation removes the entry that caused it: SDM vol. 3C, "Operations that
//            Invalidate Cached Mappings". No fence at all.
//   AArch64  No break-before-make for a change of permission alone (Arm ARM D8, "Using
//            break-before-make"), and until the TLBI either permission may be used ("TLB
//            maintenance"): the entry that made an access fault may stay until a TLBI, and that of
//            the processor that faults will do.
//   RISC-V   "For the special cases of increasing the permissions on a leaf PTE and changing an
//            invalid PTE to a valid leaf, software may choose to execute the SFENCE.VMA lazily.
//            After modifying the PTE but before executing SFENCE.VMA, either the new or old
//            permissions will be used. In the latter case, a page-fault exception might occur, at
//            which point software should execute SFENCE.VMA" (privileged spec, "Supervisor
//            Memory-Management Fence Instruction"; HFENCE.GVMA is alike).

// GPA 0x9000 read-only, and cached so by both; then a write faults on processor 1.
std::string read_only(Architecture architecture) {
  // Not invalid: 0x2400 as an operand.
  const std::string fences =
      architecture == kRiscV
          ? "1 0 fence - hfence.gvma 0x2400, 5\n1 1 fence - hfence.gvma 0x2400, 5\n"
          : "";
  return preamble(architecture) + with_entries(architecture, "1 0 store 0x23048 0 R9") +
         publish(architecture) + fences;
}

TEST(MorePermission, NeedsNoFenceOnOtherProcessors) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    // What KVM does on AArch64: the processor that faulted fences its own TLB. Processor 0 goes on
    // with the narrower entry.
    const std::string relaxed =
        "2 1 fault 1 0x9000 write\n2 1 exit 1\n3 0 enter 1\n3 1 begin fault\n"
        "3 1 store 0x23048 R9 L9\n" +
        local_fence(architecture, 1) + "6 1 end\n7 1 enter 1\n";
    const std::string found = found_in(architecture, relaxed, read_only(architecture));
    // INVEPT is not needed even there.
    EXPECT_EQ(found, architecture == kX86 ? "excess" : "over-broad");
  }
}

// The same as KVM has it for one page, neither too much nor too little; and on processor 0, where
// it is of no use to processor 1.
TEST(MorePermission, OnePageIsFencedWhereItFaulted) {
  for (const Architecture architecture : {kArm, kRiscV}) {
    SCOPED_TRACE(to_string(architecture));
    const auto fenced_on = [&](const std::string& p) {
      std::string text;
      const std::vector<std::string> arm = {"dsb ishst", "tlbi ipas2e1, 0x9", "dsb ish",
                                            "tlbi vmalle1", "dsb ish"};
      const std::vector<std::string> riscv = {"hfence.gvma 0x2400, 5"};
      for (const std::string& each : architecture == kArm ? arm : riscv) {
        text += "5 " + p + " fence 1 " + each + "\n";
      }
      return text;
    };
    const std::string start =
        "2 1 fault 1 0x9000 write\n2 1 exit 1\n3 0 enter 1\n3 1 begin fault\n"
        "3 1 store 0x23048 R9 L9\n";
    const std::string end = "6 1 end\n7 1 enter 1\n";
    const std::string again = "8 1 fault 1 0x9000 write\n8 1 exit 1\n9 1 enter 1\n";
    EXPECT_EQ(found_in(architecture, start + fenced_on("1") + end, read_only(architecture)), "");
    // Processor 0 faults in its turn, and is fenced in its turn.
    const std::string other = "8 0 fault 1 0x9000 write\n8 0 exit 1\n";
    EXPECT_EQ(found_in(architecture,
                       start + fenced_on("1") + end + other + fenced_on("0") + "9 0 enter 1\n",
                       read_only(architecture)),
              "");
    EXPECT_EQ(found_in(architecture, start + fenced_on("1") + end + other + "9 0 enter 1\n",
                       read_only(architecture)),
              "repeated fault");
    if (architecture == kArm) continue;  // where fences of a processor order its own stores alone
    EXPECT_EQ(found_in(architecture, start + fenced_on("0") + end + again, read_only(architecture)),
              "repeated fault");
  }
}

TEST(MorePermission, TheFaultThatAStaleEntryCausesIsToBeFenced) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    // Processor 0 widens while processor 1 is in the guest; 1 faults where the tables permit the
    // access, and the handler finds nothing to do.
    const std::string widened = "2 0 begin protect\n2 0 store 0x23048 R9 L9\n" +
                                publish(architecture) +
                                "3 0 end\n4 1 fault 1 0x9000 write\n4 1 exit 1\n";
    const bool x86 = architecture == kX86;
    EXPECT_EQ(found_in(architecture, widened + "6 1 enter 1\n", read_only(architecture)),
              x86 ? "" : "repeated fault");
    if (x86) continue;
    EXPECT_EQ(found_in(architecture, widened + local_fence(architecture, 1) + "6 1 enter 1\n",
                       read_only(architecture)),
              "");
    // Another processor's fence is none of processor 1's.
    EXPECT_EQ(found_in(architecture, widened + local_fence(architecture, 0) + "6 1 enter 1\n",
                       read_only(architecture)),
              "repeated fault");
    // A fault elsewhere says nothing about this entry.
    const std::string elsewhere = "2 0 begin protect\n2 0 store 0x23048 R9 L9\n" +
                                  publish(architecture) +
                                  "3 0 end\n4 1 fault 1 0xb000 write\n4 1 exit 1\n6 1 enter 1\n";
    EXPECT_EQ(found_in(architecture, elsewhere, read_only(architecture)), "");
  }
}

// The handler that widens has answered the fault, and the old entry may cost one more. That one is
// spurious: who does not fence then is never done.
TEST(MorePermission, AFaultThatIsAnsweredMayCostAnotherOne) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const std::string answered =
        "2 1 fault 1 0x9000 write\n2 1 exit 1\n3 1 begin fault\n"
        "3 1 store 0x23048 R9 L9\n" +
        std::string(architecture == kArm ? "3 1 fence 1 dsb ishst\n" : "") +
        "6 1 end\n7 1 enter 1\n";
    const std::string again = "8 1 fault 1 0x9000 write\n8 1 exit 1\n";
    EXPECT_EQ(found_in(architecture, answered, read_only(architecture)), "");
    EXPECT_EQ(found_in(architecture, answered + again + "9 1 enter 1\n", read_only(architecture)),
              architecture == kX86 ? "" : "repeated fault");
  }
}

// A fault that the old entry did not cause, or that may be none of its, accuses nobody.
TEST(MorePermission, AFaultOfAnotherKindIsNoneOfTheStaleEntrys) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const std::string widened =
        "2 0 begin protect\n2 0 store 0x23048 R9 L9\n" + publish(architecture) + "3 0 end\n";
    const std::string back = "4 1 exit 1\n6 1 enter 1\n";
    // The old entry permits reads; and what the access was may not be known.
    for (const char* const fault : {"4 1 fault 1 0x9000 read\n", "4 1 fault 1 0x9000\n"}) {
      EXPECT_EQ(found_in(architecture, widened + fault + back, read_only(architecture)), "")
          << fault;
    }
    // A write to memory that is read-only for good is emulated each time. The tables forbid it,
    // whatever is cached.
    const std::string mapped =
        "2 0 begin map\n2 0 store 0x23048 0 R9\n" + publish(architecture) + "3 0 end\n";
    const std::string writes = "4 1 fault 1 0x9000 write\n4 1 exit 1\n6 1 enter 1\n";
    EXPECT_EQ(found_in(architecture, mapped + writes + writes), "");
  }
}

// The invalid entry refuses the reads that the read-only one, which came later, permits.
TEST(MorePermission, TheOldestEntryThatIsLeftCounts) {
  const std::string lines =
      "2 0 begin map\n2 0 store 0x23040 0 R8\n2 0 store 0x23040 R8 L8\n3 0 end\n"
      "4 1 fault 1 0x8000 read\n4 1 exit 1\n";
  EXPECT_EQ(found_in(kRiscV, lines + "6 1 enter 1\n"), "repeated fault");
  EXPECT_EQ(found_in(kRiscV, lines + "5 1 fence - hfence.gvma 0x2000, 5\n6 1 enter 1\n"), "");
}

// An entry that can only refuse led nowhere else. The adversary is not asked: it knows no TLBs.
TEST(MorePermission, ExcusesNoWrongHit) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const std::string text =
        read_only(architecture) +
        with_all_entries(architecture, "2 0 begin protect\n2 0 store 0x23048 R9 L9\n" +
                                           publish(architecture) + "3 0 end\n");
    EXPECT_EQ(check_text(text + "4 1 access 1 0x9000 0x9000 read 0x99000\n")->names(), "");
    EXPECT_EQ(check_text(text + "4 1 access 1 0x9000 0x9000 read 0x77000\n")->names(), "wrong hit");
  }
}

// The address is right, but no table ever permitted the write, or none does any more.
TEST(MorePermission, AWriteWhereNoTablePermitsOneIsAWrongHit) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const std::string text = read_only(architecture);
    EXPECT_EQ(check_text(text + "4 1 access 1 0x9000 0x9000 read 0x99000\n")->names(), "");
    EXPECT_EQ(check_text(text + "4 1 access 1 0x9000 0x9000 write 0x99000\n")->names(),
              "wrong hit");
  }
}

// Nobody ran it when its root was given back, so nobody held anything.
TEST(UseAfterFree, AVmThatIsEnteredWithoutItsRoot) {
  const std::string text =
      "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000\n0 0 store 0x10000 0 0x21007\n";
  const std::string enter = "3 1 enter 1\n";
  EXPECT_EQ(check_text(text + enter)->names(), "");
  EXPECT_EQ(check_text(text + "2 0 free 0x10000 0x1000\n" + enter)->names(), "use after free");
  EXPECT_EQ(check_text(text + "2 0 free 0x11000 0x1000\n" + enter)->names(), "");
}

// What was freed is the host's until it is taken, in a log that says when that is.
TEST(UseAfterFree, ATableInMemoryThatIsFree) {
  const std::string start =
      "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000\n0 0 store 0x10000 0 0x21007\n"
      "0 0 store 0x21000 0 0x22007\n";
  const std::string enter = "1 1 enter 1\n";
  const std::string taken = "1 0 alloc 0x30000 0x2000\n", freed = "2 0 free 0x30000 0x1000\n";
  const std::string again = "2 0 alloc 0x30000 0x1000\n";
  const std::string fill = "3 0 store 0x30000 0 0x99037\n";
  const std::string link = "4 0 store 0x22008 0 0x30007\n";
  const auto names = [&](const std::string& text) { return check_text(start + text)->names(); };
  EXPECT_EQ(names(enter + taken + fill + link), "");
  EXPECT_EQ(names(enter + taken + freed + fill + link), "use after free");
  EXPECT_EQ(names(enter + taken + freed + again + fill + link), "");
  EXPECT_EQ(names(enter + freed + taken + fill + link), "");
  // This log does not tell of what is taken.
  EXPECT_EQ(names(enter + freed + fill + link), "");
  // A table below the one that is linked; and one that is linked before the VM runs.
  const std::string above = "3 0 store 0x23000 0 0x30007\n4 0 store 0x21008 0 0x23007\n";
  EXPECT_EQ(names(enter + taken + freed + above), "use after free");
  EXPECT_EQ(names(taken + freed + fill + link + enter), "use after free");
  EXPECT_EQ(names(taken + freed + fill + link + "5 0 store 0x22008 0x30007 0\n" + enter), "");
  // It was found once; the rest follows from that.
  const auto found = check_text(start + enter + taken + freed + fill + link + again +
                                "5 1 access 1 0x200000 0x200000 read 0x99000\n");
  EXPECT_EQ(found->names(), "use after free");
  EXPECT_EQ(found->checker.findings().size(), 1u);
  // The root, of a VM that runs when the log begins.
  EXPECT_EQ(names(taken + freed + "5 0 vm 2 ept root=0x30000 processors=4\n"), "use after free");
  EXPECT_EQ(names(taken + freed + "5 0 vm 2 ept root=0x30000\n5 2 enter 2\n"), "use after free");
}

// While the processor that faulted is in another guest, nothing of this one faults.
TEST(MorePermission, TheFenceIsDueWhenTheSameGuestIsEnteredAgain) {
  constexpr const char* kOthers[] = {"ept", "stage2-4k", "sv39x4"};
  for (const Architecture architecture : {kArm, kRiscV}) {
    SCOPED_TRACE(to_string(architecture));
    const std::string other = "2 0 vm 2 " +
                              std::string(kOthers[static_cast<unsigned>(architecture)]) +
                              " root=0x40000 vmid=6\n";
    const std::string widened = other + "2 0 begin protect\n2 0 store 0x23048 R9 L9\n" +
                                publish(architecture) +
                                "3 0 end\n4 1 fault 1 0x9000 write\n4 1 exit 1\n"
                                "5 1 enter 2\n5 1 exit 2\n";
    EXPECT_EQ(found_in(architecture, widened, read_only(architecture)), "");
    EXPECT_EQ(found_in(architecture, widened + "6 1 enter 1\n", read_only(architecture)),
              "repeated fault");
    EXPECT_EQ(found_in(architecture, widened + local_fence(architecture, 1) + "6 1 enter 1\n",
                       read_only(architecture)),
              "");
  }
}

TEST(MorePermission, TheSameGoesForNewEntriesWhereInvalidOnesAreCached) {
  const std::string mapped =
      "2 0 begin map\n2 0 store 0x23040 0 L8\n3 0 end\n"
      "4 1 fault 1 0x8000 read\n4 1 exit 1\n";
  EXPECT_EQ(found_in(kRiscV, mapped + "6 1 enter 1\n"), "repeated fault");
  EXPECT_EQ(found_in(kRiscV, mapped + "5 1 fence - hfence.gvma 0x2000, 5\n6 1 enter 1\n"), "");
  EXPECT_EQ(found_in(kRiscV, mapped + "6 1 enter 1\n", preamble(kRiscV, "dirty svvptc")), "");
  EXPECT_EQ(found_in(kX86, mapped + "6 1 enter 1\n"), "");
}

// A new table is linked, and its leaf fenced by address, which leaves the invalid entry above it
// cached: "rs1 != x0: the fence orders only reads and writes made to leaf page table entries". A
// fault below the table that the tables did not permit is not that entry's, and is answered by the
// new leaf. Where they did permit it, the fence has to be for all addresses.
TEST(MorePermission, WhatIsLeftOfANewTableWaitsForItsOwnFault) {
  const std::string linked =
      "2 0 begin map\n2 0 store 0x24000 0 L8\n2 0 store 0x22010 0 T2\n"
      "2 0 fence - hfence.gvma 0x100000, 5\n2 1 fence - hfence.gvma 0x100000, 5\n3 0 end\n";
  // GPA 0x401000, which nobody mapped yet, is 0x100400 as an operand.
  const std::string answered =
      "4 1 fault 1 0x401000 read\n4 1 exit 1\n5 1 begin fault\n5 1 store 0x24008 0 L9\n"
      "5 0 fence - hfence.gvma 0x100400, 5\n5 1 fence - hfence.gvma 0x100400, 5\n5 1 end\n"
      "6 1 enter 1\n";
  EXPECT_EQ(found_in(kRiscV, linked + answered), "");
  const std::string spurious = "4 1 fault 1 0x400000 read\n4 1 exit 1\n";
  EXPECT_EQ(found_in(kRiscV, linked + spurious + "6 1 enter 1\n"), "repeated fault");
  EXPECT_EQ(
      found_in(kRiscV, linked + spurious + "5 1 fence - hfence.gvma 0x100000, 5\n6 1 enter 1\n"),
      "repeated fault");
  EXPECT_EQ(found_in(kRiscV, linked + spurious + "5 1 fence - hfence.gvma zero, 5\n6 1 enter 1\n"),
            "");
}

// Widened, then narrowed, before any fence: the first, narrow entry says what the tables say again,
// and would do no harm. But the wide one may have been cached in between, so that all processors
// need the fence.
TEST(MorePermission, WidenedThenNarrowedNeedsTheFenceOfTheWideEntry) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const std::string both = "2 0 begin protect\n2 0 store 0x23048 R9 L9\n" +
                             publish(architecture) + "2 0 store 0x23048 L9 R9\n" +
                             publish(architecture);
    const std::string end = "6 0 end\n7 0 enter 1\n";
    EXPECT_EQ(found_in(architecture, both + end, read_only(architecture)), "missing");
    const std::string fences = local_fence(architecture, 0) + local_fence(architecture, 1);
    EXPECT_EQ(found_in(architecture, both + fences + end, read_only(architecture)),
              architecture == kX86 ? "" : "over-broad");
  }
}

// Until the frame changes: the narrow entry, never fenced, leads to the old frame then.
TEST(MorePermission, TheOldFrameIsNotFreedBeforeTheFence) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const std::string widened =
        "2 0 begin protect\n2 0 store 0x23048 R9 L9\n" + publish(architecture) + "3 0 end\n";
    const std::string gone = "4 0 begin unmap\n4 0 store 0x23048 L9 0\n" + publish(architecture);
    const std::string end = "6 0 free 0x99000 0x1000\n6 0 end\n7 0 enter 1\n";
    EXPECT_EQ(found_in(architecture, widened + gone + end, read_only(architecture)),
              "missing, use after free");
    const std::string fences = local_fence(architecture, 0) + local_fence(architecture, 1);
    EXPECT_EQ(found_in(architecture, widened + gone + fences + end, read_only(architecture)),
              architecture == kX86 ? "" : "over-broad");
  }
}

// The end of a VM -------------------------------------------------------------------------------

TEST(Destroy, ClosesWhatIsOpenAndKeepsTheTag) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const char* const kFormats[] = {"ept", "stage2-4k", "sv39x4"};
    const std::string format = kFormats[static_cast<unsigned>(architecture)];
    // Nothing is fenced: both processors may hold the page and the table.
    const std::string ended =
        "1 1 exit 1\n2 0 begin unmap\n2 0 store 0x23028 L5 0\n2 0 end\n"
        "3 0 destroy 1\n4 0 free 0x95000 0x1000\n4 0 free 0x96000 0x1000\n"
        "4 0 free 0x23000 0x1000\n4 0 free 0x10000 0x1000\n";
    EXPECT_EQ(found_in(architecture, ended), "");
    // The adversary keeps no tags.
    const std::string lines = preamble(architecture) + with_all_entries(architecture, ended);
    const std::string next = "6 0 vm 2 " + format + " root=0x10000 vmid=5\n7 1 enter 2\n";
    EXPECT_EQ(check_text(lines + next)->names(), "tag reused");
  }
}

// TLBI before, DSB after: the tag is clean once that is done.
TEST(Destroy, AFenceThatIsUnderWayCleansTheTag) {
  const std::string ended = preamble(kArm) +
                            "1 1 exit 1\n2 0 fence 1 tlbi vmalls12e1is\n"
                            "3 0 destroy 1\n";
  const std::string next = "6 0 vm 2 stage2-4k root=0x50000 vmid=5\n7 0 enter 2\n";
  EXPECT_EQ(check_text(ended + next)->names(), "excess, tag reused");
  EXPECT_EQ(check_text(ended + "4 0 fence 1 dsb ish\n" + next)->names(), "excess");
}

TEST(Destroy, InTheMiddleOfAnOperation) {
  const std::string ended =
      "1 1 exit 1\n2 0 begin release\n2 0 store 0x23028 L5 0\n2 0 fence 1 dsb ishst\n"
      "2 0 fence 1 tlbi ipas2e1is, 0x5\n3 0 destroy 1\n3 0 fence 1 dsb ish\n4 0 end\n";
  EXPECT_EQ(found_in(kArm, ended), "");
}

// Processors outside the guest ------------------------------------------------------------------

// While a processor is outside, no translation of the guest's is used:
//   x86      mappings are created and used in VMX non-root operation alone (SDM vol. 3C, "Creating
//            and Using Cached Translation Information").
//   AArch64  at EL2, the registers of the EL1&0 regime are not used for speculative accesses; walks
//            that began before the exception may go on until a DSB (Arm ARM D8, "Out-of-context
//            translation regimes"). A host at EL1 has HCR_EL2.VM = 0, and no second stage.
//   RISC-V   hgatp is "active [...] unless the effective privilege mode is U and hstatus.HU=0":
//            a speculative HLV may walk and read. What it reads changes nothing, and the fence
//            before the entry removes what it cached; but a walk through a table may set A.

std::string kicked(Architecture architecture, const std::string& store) {
  return "1 1 exit 1\n2 0 begin unmap\n2 0 store " + store + "\n" + publish(architecture) +
         local_fence(architecture, 0);
}

TEST(Outside, MemoryMayBeFreedBeforeTheFenceThatComesBeforeTheEntry) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const std::string broad = architecture == kX86 ? "" : "over-broad";
    const std::string freed =
        kicked(architecture, "0x23028 L5 0") + "6 0 free 0x95000 0x1000\n6 0 end\n7 0 enter 1\n";
    EXPECT_EQ(found_in(architecture, freed), broad);
    EXPECT_EQ(found_in(architecture, freed + local_fence(architecture, 1) + "9 1 enter 1\n"),
              broad);
    // Without its fence, or before it.
    EXPECT_EQ(found_in(architecture, freed + "9 1 enter 1\n"),
              (broad.empty() ? "" : broad + ", ") + "use after free, wrong processors");
    EXPECT_EQ(found_in(architecture, freed + "8 1 enter 1\n" + local_fence(architecture, 1)),
              (broad.empty() ? "" : broad + ", ") + "use after free, wrong processors");
  }
}

TEST(Outside, AnEntryBeforeTheOperationReturnsUsesWhatWasFreed) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const std::string lines = kicked(architecture, "0x23028 L5 0") +
                              "6 0 free 0x95000 0x1000\n6 1 enter 1\n" +
                              local_fence(architecture, 1) + "7 0 end\n8 0 enter 1\n";
    EXPECT_EQ(found_in(architecture, lines),
              architecture == kX86 ? "use after free" : "over-broad, use after free");
  }
}

TEST(Outside, OneThatIsInsideDoesNotWait) {
  for (const Architecture architecture : kAll) {
    SCOPED_TRACE(to_string(architecture));
    const std::string lines = "2 0 begin unmap\n2 0 store 0x23028 L5 0\n" + publish(architecture) +
                              "6 0 free 0x95000 0x1000\n" + local_fence(architecture, 0) +
                              local_fence(architecture, 1) + "7 0 end\n8 0 enter 1\n";
    EXPECT_EQ(found_in(architecture, lines),
              architecture == kX86 ? "use after free" : "over-broad, use after free");
  }
}

TEST(Outside, MemoryThatTheTablesStillLeadToDoesNotWait) {
  for (const Architecture architecture : kAll) {
    EXPECT_EQ(found_in(architecture, "1 1 exit 1\n2 0 free 0x95000 0x1000\n"), "use after free");
  }
}

TEST(Outside, ATableThatMayStillBeWalkedIsNoted) {
  const std::string freed = "6 0 free 0x23000 0x1000\n6 0 end\n7 0 enter 1\n";
  EXPECT_EQ(found_in(kX86, kicked(kX86, "0x22000 T 0") + freed), "");
  EXPECT_EQ(found_in(kRiscV, kicked(kRiscV, "0x22000 T 0") + freed), "freed while outside");
  // Once hgatp holds another VM's root, nothing of this one is walked.
  const std::string other =
      "1 0 vm 2 sv39x4 root=0x40000 vmid=6\n1 1 exit 1\n1 1 enter 2\n"
      "1 1 exit 2\n1 1 enter 1\n1 1 exit 1\n1 1 enter 2\n";
  std::string unlinked = kicked(kRiscV, "0x22000 T 0");
  unlinked.erase(0, unlinked.find('\n') + 1);
  EXPECT_EQ(found_in(kRiscV, other + unlinked + freed), "");
  // A DSB waits for the walks that were under way.
  EXPECT_EQ(found_in(kArm, kicked(kArm, "0x22000 T 0") + freed), "freed while outside");
  EXPECT_EQ(found_in(kArm, kicked(kArm, "0x22000 T 0") + "5 1 fence 1 dsb ish\n" + freed), "");
}

}  // namespace
}  // namespace nestwalk::checker::pending_test
