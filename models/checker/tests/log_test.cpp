// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Logs that contradict themselves end with one line; no log does anything else than that or give
// a result.

#include <filesystem>
#include <fstream>
#include <random>

#include "both.hpp"
#include "log_world.hpp"

namespace nestwalk::checker::log_test {
namespace {

constexpr Architecture kX86 = Architecture::X86_64;
constexpr Architecture kArm = Architecture::AArch64;
constexpr Architecture kRiscV = Architecture::RiscV64;
constexpr Architecture kAll[] = {kX86, kArm, kRiscV};

/// Why the log is refused; empty: it is not.
std::string refusal_of(const std::string& text) {
  try {
    check_text(text);
  } catch (const LogError& error) {
    return error.what();
  }
  return "";
}
std::string refusal_after_preamble(Architecture architecture, const std::string& lines) {
  std::istringstream in(lines);
  std::string text = preamble(architecture);
  for (std::string line; std::getline(in, line);) text += with_entries(architecture, line);
  return refusal_of(text);
}

// The preamble of x86 has 12 lines, that of AArch64 13, that of RISC-V 11.
TEST(Refusal, TablesThatLeadToThemselves) {
  // The table at 0x22000 holds entries of level 1.
  const std::string self = refusal_after_preamble(kX86, "1 0 store 0x22010 0 0x22007\n");
  EXPECT_EQ(self,
            "log: line 13: expected a table that does not lead to itself, found the one at "
            "0x22000");
  EXPECT_EQ(
      refusal_after_preamble(kArm, "1 0 store 0x22010 0 0x10003\n"),
      "log: line 14: expected a table that does not lead to itself, found the one at 0x10000");
  // sv39x4: a root of four frames, of which this is the last.
  EXPECT_EQ(
      refusal_after_preamble(kRiscV, "1 0 store 0x22010 0 " + hex(0x13000 >> 2 | 1) + "\n"),
      "log: line 12: expected a table that does not lead to itself, found the one at 0x13000");
  // To each other, before either is linked: 0x31000 to 0x32000 and back.
  const std::string pair = "1 0 store 0x31000 0 0x32007\n1 0 store 0x32000 0 0x31007\n";
  EXPECT_EQ(refusal_after_preamble(kX86, pair), "");
  EXPECT_EQ(refusal_after_preamble(kX86, pair + "1 0 store 0x21008 0 0x31007\n"), "");
  EXPECT_EQ(
      refusal_after_preamble(kX86, pair + "1 0 store 0x10008 0 0x31007\n"),
      "log: line 15: expected a table that does not lead to itself, found the one at 0x31000");
  // A VM that finds such tables.
  EXPECT_EQ(refusal_of("nestwalk-fence-log 1\n0 0 store 0x10000 0 0x10007\n"
                       "0 0 vm 1 ept root=0x10000\n"),
            "log: line 3: expected a table that does not lead to itself, found the one at 0x10000");
}

// Its leaves would be counted as often as there are ways to them.
TEST(Refusal, ATableThatIsLinkedTooOften) {
  std::string text =
      "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000\n"
      "0 0 store 0x10000 0 0x20007\n";
  // Three tables of level 2 whose 512 entries all lead to the one at 0x30000.
  for (u64 n = 0; n < 512; ++n) text += "0 0 store " + hex(0x20000 + 8 * n) + " 0 0x30007\n";
  text += "0 0 store 0x10008 0 0x20007\n";  // twice 512
  EXPECT_EQ(refusal_of(text), "");
  // 517 lines so far.
  EXPECT_EQ(refusal_of(text + "\n0 0 store 0x10010 0 0x20007\n"),
            "log: line 518: expected a table that is linked at most 1024 times, found the one at "
            "0x30000");
}

TEST(Refusal, WhatContradictsTheLinesBefore) {
  const std::string start = "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000 processors=3\n";
  EXPECT_EQ(refusal_of(start + "0 1 exit 1\n0 1 exit 1\n"),
            "log: line 4: expected a processor that is in VM 1, found one in no guest");
  EXPECT_EQ(refusal_of(start + "0 1 exit 1\n0 1 enter 1\n0 1 exit 1\n"), "");
  EXPECT_EQ(refusal_of(start + "0 1 exit 1\n0 2 destroy 1\n"),
            "log: line 4: expected a VM that every processor has left, found one that runs");
  EXPECT_EQ(refusal_of(start + "0 1 exit 1\n0 0 exit 1\n0 2 destroy 1\n"), "");
  EXPECT_EQ(refusal_of("nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000 vmid=1 root=0x20000\n"),
            "log: line 2: expected each property once, found \"root=0x20000\"");
  EXPECT_EQ(refusal_of("nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000 dirty dirty\n"),
            "log: line 2: expected each property once, found \"dirty\"");
}

// A and D of EPT are bits 8 and 9: hardware sets them in what is there, and where it keeps them.
TEST(Refusal, FlagsThatNoHardwareSet) {
  const auto log = [](const std::string& property, const std::string& lines) {
    return "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000" + property + "\n" + lines;
  };
  const std::string stored = "0 0 store 0x10000 0 0x21007\n";
  EXPECT_EQ(refusal_of(log(" dirty", stored + "0 0 store 0x10000 0x21107 0\n")), "");
  EXPECT_EQ(refusal_of(log("", stored + "0 0 store 0x10000 0x21107 0\n")),
            "log: line 4: expected what was stored there, 0x21007, found \"0x21107\"");
  EXPECT_EQ(refusal_of(log(" dirty", "0 0 store 0x10000 0x300 0\n")),
            "log: line 3: expected what was stored there, 0x0, found \"0x300\"");
}

// Of NAPOT pages, a change concerns more than the entry. Root, 0x22000, 0x23000: GPA 0x5000. The
// page's number ends in 1000, and the group of 64 KiB begins at 0x90000.
TEST(Refusal, NapotPages) {
  const std::string start =
      "nestwalk-fence-log 1\n0 0 vm 1 sv39x4 root=0x10000\n0 0 store 0x10000 0 0x8801\n"
      "0 0 store 0x22000 0 0x8c01\n";
  EXPECT_EQ(refusal_of(start + "0 0 store 0x23028 0 0x240df\n"), "");
  EXPECT_EQ(refusal_of(start + "0 0 store 0x23028 0 0x80000000000260df\n"),
            "log: line 5: expected leaves without RISC-V's N bit, since NAPOT pages are not "
            "checked, found a NAPOT page at 0x90000");
}

// What a VM does is told where it runs.
TEST(Refusal, AccessesAndFaultsOfAnotherVm) {
  const std::string start =
      "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000 processors=1\n"
      "0 0 vm 2 ept root=0x20000 processors=2\n0 2 enter 2\n";
  EXPECT_EQ(refusal_of(start + "0 2 access 2 0 0 read\n0 2 fault 2 0\n"), "");
  EXPECT_EQ(refusal_of(start + "0 0 access 1 0 0 read\n0 1 access 2 0 0 read\n"), "");
  EXPECT_EQ(refusal_of(start + "0 2 access 1 0 0 read\n"),
            "log: line 5: expected a processor that is in VM 1, found one in VM 2");
  EXPECT_EQ(refusal_of(start + "0 3 access 1 0 0 read\n"),
            "log: line 5: expected a processor that is in VM 1, found one in no guest");
  EXPECT_EQ(refusal_of(start + "0 0 exit 1\n0 0 access 1 0 0 read\n"),
            "log: line 6: expected a processor that is in VM 1, found one in no guest");
  EXPECT_EQ(refusal_of(start + "0 2 fault 1 0\n"),
            "log: line 5: expected a processor that is in VM 1, found one in VM 2");
  // Its hypervisor tells of it after the exit.
  EXPECT_EQ(refusal_of(start + "0 2 exit 2\n0 2 fault 2 0\n"), "");
}

// A processor is in one guest at a time.
TEST(Refusal, AProcessorInTwoVms) {
  const std::string start =
      "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000\n"
      "0 0 vm 2 ept root=0x20000 processors=2\n";
  const std::string in_none =
      "log: line 6: expected a processor that is in VM 2, found one in no guest";
  EXPECT_EQ(refusal_of(start + "0 1 enter 1\n0 1 exit 1\n0 1 access 2 0x5000 0x5000 read\n"),
            in_none);
  EXPECT_EQ(refusal_of(start + "0 1 enter 1\n0 1 exit 1\n0 1 exit 2\n"), in_none);
  // It was not in VM 2 any more, which nobody runs.
  EXPECT_EQ(refusal_of(start + "0 1 enter 1\n0 0 destroy 2\n"), "");
  // An access says that it is.
  const std::string reads = start + "0 1 access 2 0x5000 0x5000 read\n";
  EXPECT_EQ(refusal_of(reads + "0 1 enter 1\n"),
            "log: line 5: expected a processor that is in no guest, found one in VM 2");
  EXPECT_EQ(refusal_of(reads + "0 1 exit 2\n0 1 enter 1\n0 1 exit 1\n0 1 enter 2\n"), "");
  // So does a VM that claims it, where another does or where its entries and exits were told.
  const std::string claim = "0 0 vm 3 ept root=0x30000 processors=6\n";
  EXPECT_EQ(
      refusal_of(start + claim),
      "log: line 4: expected processors that are in no other VM, found processor 1, which may "
      "be in VM 2");
  const std::string told = "expected processors that entered and left no VM yet, found processor 1";
  EXPECT_EQ(refusal_of(start + "0 1 enter 1\n" + claim), "log: line 5: " + told);
  EXPECT_EQ(refusal_of(start + "0 1 enter 1\n0 1 exit 1\n" + claim), "log: line 6: " + told);
  EXPECT_EQ(refusal_of(start + "0 1 exit 2\n" + claim), "log: line 5: " + told);
  EXPECT_EQ(refusal_of(start + "0 1 access 2 0 0 read\n" + claim), "log: line 5: " + told);
  EXPECT_EQ(refusal_of(start + "0 2 begin x\n0 2 end\n0 0 vm 3 ept root=0x30000 processors=4\n"),
            "");
}

// Its fence for the first VM is due when it enters that one.
TEST(Log, AProcessorThatEntersAnotherVmHasLeftTheFirst) {
  for (const Architecture architecture : kAll) {
    const std::string other = architecture == kX86   ? "ept"
                              : architecture == kArm ? "stage2-4k"
                                                     : "sv39x4";
    const std::string entry = with_entries(architecture, "1 0 store 0x23028 L5 0\n");
    const auto found = [&](const std::string& end) {
      std::string text = preamble(architecture, "dirty processors=4") + "0 1 exit 1\n";
      text += "0 0 vm 2 " + other + " root=0x40000 vmid=6\n0 2 enter 2\n";
      return check_text(text + "1 0 begin unmap\n" + entry + "2 0 end\n" + end)->names();
    };
    EXPECT_EQ(found(""), "") << other;
    EXPECT_EQ(found("3 2 exit 2\n3 2 enter 1\n"), "missing") << other;
  }
}

std::string refusal_of_vm(const std::string& properties) {
  const std::string refusal = refusal_of("nestwalk-fence-log 1\n0 0 vm 1 " + properties + "\n");
  const std::string place = "log: line 2: ";
  return refusal.rfind(place, 0) == 0 ? refusal.substr(place.size()) : refusal;
}

// EPTP: memory type in 2:0, the levels less one in 5:3, accessed and dirty flags in 6, supervisor
// shadow stacks in 7; 11:8 and 63:52 are reserved (SDM vol. 3C, "Format of Extended-Page-Table
// Pointer").
TEST(Refusal, AnEptpThatIsNoneOfItsVm) {
  for (const char* const eptp : {"0x1001e", "0x10018", "0x1009e", "0x10098"}) {
    EXPECT_EQ(refusal_of_vm(std::string("ept root=0x10000 register=") + eptp), "") << eptp;
  }
  EXPECT_EQ(refusal_of_vm("ept root=0x10000 levels=5 register=0x10026"), "");
  for (const char* const eptp : {"0x1005e", "0x10058", "0x100de"}) {
    EXPECT_EQ(refusal_of_vm(std::string("ept root=0x10000 dirty register=") + eptp), "") << eptp;
  }
  const std::string another = " or another EPTP of this VM, with bit 6 if it is dirty, found ";
  const std::string expected = "expected register=0x1001e" + another;
  // The first three have bit 6: the processor sets the flags of which the log says that it keeps
  // none ("Accessed and Dirty Flags for EPT").
  for (const char* const eptp :
       {"0x1005e", "0x10058", "0x100de", "0x7701e", "0x10026", "0x1001f", "0x1001c", "0x1011e",
        "0x1081e", "0x1000000001001e", "0x800000000001001e", "0x10000", "0"}) {
    EXPECT_EQ(refusal_of_vm(std::string("ept root=0x10000 register=") + eptp),
              expected + "\"register=" + eptp + "\"");
  }
  EXPECT_EQ(refusal_of_vm("ept register=0x1001e root=0x10000 levels=5"),
            "expected register=0x10026" + another + "\"register=0x1001e\"");
  // Nothing sets dirty flags.
  EXPECT_EQ(refusal_of_vm("ept root=0x10000 dirty register=0x1001e"),
            "expected register=0x1005e" + another + "\"register=0x1001e\"");
}

// VTTBR_EL2: VMID in 63:48, the root, CnP in bit 0. hgatp: MODE in 63:60, VMID in 57:44, the root
// over 4096.
TEST(Refusal, AVttbrOrHgatpThatIsNoneOfItsVm) {
  EXPECT_EQ(refusal_of_vm("stage2-4k root=0x10000 vmid=5 register=0x5000000010000"), "");
  EXPECT_EQ(refusal_of_vm("stage2-4k root=0x10000 vmid=5 register=0x5000000010001"), "");
  for (const char* const vttbr : {"0x10000", "0x5000000012000", "0x5000000010002", "5", "0"}) {
    EXPECT_EQ(refusal_of_vm(std::string("stage2-4k root=0x10000 vmid=5 register=") + vttbr),
              std::string("expected register=0x5000000010000 or another VTTBR_EL2 of this VM, "
                          "found \"register=") +
                  vttbr + "\"");
  }
  EXPECT_EQ(refusal_of_vm("sv39x4 root=0x10000 vmid=5 register=0x8000500000000010"), "");
  EXPECT_EQ(refusal_of_vm("sv48x4 root=0x10000 vmid=5 register=0x9000500000000010"), "");
  EXPECT_EQ(refusal_of_vm("sv57x4 root=0x10000 vmid=5 register=0xa000500000000010"), "");
  for (const char* const hgatp : {"5", "0", "0x10000", "0x9000500000000010", "0x8000600000000010",
                                  "0x8000500000000014", "0x8400500000000010"}) {
    EXPECT_EQ(refusal_of_vm(std::string("sv39x4 root=0x10000 vmid=5 register=") + hgatp),
              std::string("expected register=0x8000500000000010, the hgatp of this VM, "
                          "found \"register=") +
                  hgatp + "\"");
  }
}

// A root of the size of its table: Sv*x4 four frames; AArch64 what is left of the IPA above the
// levels below, up to 16 tables of a granule.
TEST(Refusal, ARootWhereNoneCanBe) {
  struct Row {
    const char* format;
    const char* well;
    const char* bad;
    const char* expected;
  };
  const Row rows[] = {
      {"ept", "0xffffffffff000", "0x10000000000000", "52 bits, a multiple of 4096"},
      {"ept", "0x11000", "0x11800", "52 bits, a multiple of 4096"},
      {"ept levels=5", "0x11000", "0x11008", "52 bits, a multiple of 4096"},
      {"sv39x4", "0xffffffffffc000", "0x11000", "56 bits, a multiple of 16384"},
      {"sv48x4", "0x14000", "0x12000", "56 bits, a multiple of 16384"},
      {"sv57x4", "0x14000", "0x100000000000000", "56 bits, a multiple of 16384"},
      // 39 bits are three levels of one table; each bit more doubles the root.
      {"stage2-4k ipa=39", "0xfffffffff000", "0x1000000000000", "48 bits, a multiple of 4096"},
      {"stage2-4k", "0x12000", "0x11000", "48 bits, a multiple of 8192"},
      {"stage2-4k ipa=43", "0x20000", "0x18000", "48 bits, a multiple of 65536"},
      // Four levels, of which the highest has 2^(48 - 39) entries.
      {"stage2-4k ipa=48", "0x11000", "0x11010", "48 bits, a multiple of 4096"},
      // Two levels of 64 KiB pages: 16 + 13 bits below, 2^11 entries of 8 bytes.
      {"stage2-64k", "0x14000", "0x12000", "48 bits, a multiple of 16384"},
      // 16 KiB: 14 + 11 + 11 bits below, and 2^(47 - 36) entries.
      {"stage2-16k ipa=47", "0x14000", "0x12000", "48 bits, a multiple of 16384"},
  };
  for (const Row& row : rows) {
    const std::string start = std::string(row.format) + " root=";
    EXPECT_EQ(refusal_of_vm(start + row.well), "");
    EXPECT_EQ(refusal_of_vm(start + row.bad), std::string("expected a root of ") + row.expected +
                                                  ", found \"root=" + row.bad + "\"");
  }
}

// hgatp has 14 bits for it, VTTBR_EL2 and the VPID 16.
TEST(Refusal, AVmidThatIsTooWide) {
  EXPECT_EQ(refusal_of_vm("sv39x4 root=0x10000 vmid=0x3fff"), "");
  EXPECT_EQ(refusal_of_vm("sv39x4 vmid=0x4005 root=0x10000"),
            "expected a VMID of 14 bits, found \"vmid=0x4005\"");
  for (const char* const format : {"ept", "stage2-4k"}) {
    const std::string start = std::string(format) + " root=0x10000 vmid=";
    EXPECT_EQ(refusal_of_vm(start + "0xffff"), "");
    EXPECT_EQ(refusal_of_vm(start + "0x10000"),
              "expected a VMID of 16 bits, found \"vmid=0x10000\"");
  }
  for (const char* const name : {"hfence", "hinval"}) {
    const std::string start = std::string("1 0 fence - ") + name;
    EXPECT_EQ(refusal_after_preamble(kRiscV, start + ".gvma zero, 0x3fff\n"), "");
    EXPECT_EQ(refusal_after_preamble(kRiscV, start + ".gvma 0x1400, 0x4005\n"),
              std::string("log: line 12: expected an instruction of hext that fences, found \"") +
                  name + ".gvma 0x1400, 0x4005\"");
    // An ASID has 16.
    EXPECT_EQ(refusal_after_preamble(kRiscV, start + ".vvma zero, 0xffff\n"), "");
  }
}

// No page is smaller than 4096 bytes.
TEST(Refusal, AnAccessThatNoTranslationMakes) {
  const auto refusal = [](const std::string& vm, const std::string& access) {
    return refusal_of("nestwalk-fence-log 1\n0 0 vm 1 " + vm +
                      " root=0x40000\n0 1 enter 1\n0 1 access 1 " + access + "\n");
  };
  EXPECT_EQ(refusal("ept", "0x9678 0x5678 read 0x95678"), "");
  EXPECT_EQ(refusal("ept", "0x9234 0x5678 read"),
            "log: line 4: expected a guest-physical address that ends like the guest-virtual one, "
            "found \"0x5678\"");
  EXPECT_EQ(refusal("ept", "0x9678 0x5678 write 0x95000"),
            "log: line 4: expected a host address that ends like the guest-physical one, found "
            "\"0x95000\"");
  struct Row {
    const char* vm;
    unsigned bits;       ///< of guest-physical addresses
    unsigned host_bits;  ///< of physical ones
  };
  const Row rows[] = {{"ept", 48, 52},        {"ept levels=5", 52, 52},
                      {"stage2-4k", 40, 48},  {"stage2-4k ipa=32", 32, 48},
                      {"stage2-16k", 40, 48}, {"stage2-64k ipa=48", 48, 48},
                      {"sv39x4", 41, 56},     {"sv48x4", 50, 56},
                      {"sv57x4", 59, 56}};
  for (const Row& row : rows) {
    const u64 size = u64{1} << row.bits;
    const u64 host_size = u64{1} << row.host_bits;
    EXPECT_EQ(refusal(row.vm, "0xfff " + hex(size - 1) + " read " + hex(host_size - 1)), "");
    EXPECT_EQ(refusal(row.vm, "0 " + hex(size) + " read"),
              "log: line 4: expected a guest-physical address of " + std::to_string(row.bits) +
                  " bits, found \"" + hex(size) + "\"");
    EXPECT_EQ(refusal(row.vm, "0 0 read " + hex(host_size)),
              "log: line 4: expected a host address of " + std::to_string(row.host_bits) +
                  " bits, found \"" + hex(host_size) + "\"");
  }
}

// A guest may touch what is above all that its second stage can map: that faults. What the tables
// say of the address without its upper bits has no part in it.
TEST(Log, AFaultAboveTheTablesIsNoFaultInThem) {
  constexpr unsigned kBits[] = {48, 40, 41};
  constexpr const char* kFences[] = {"invept single-context, 0x10000", "tlbi vmalls12e1",
                                     "hfence.gvma zero, 5"};
  for (const Architecture architecture : kAll) {
    const auto number = static_cast<unsigned>(architecture);
    const std::string wait = architecture == kArm ? "3 1 fence 1 dsb ish\n" : "";
    const auto found = [&](u64 gpa) {
      return check_text(preamble(architecture) + "2 1 fault 1 " + hex(gpa) +
                        " read\n2 1 exit 1\n3 1 begin fault\n" + wait + "3 1 fence 1 " +
                        kFences[number] + "\n" + wait + "3 1 end\n4 1 enter 1\n")
          ->names();
    };
    // Where the tables permit the access, a stale entry may be the cause, and the fence is right.
    EXPECT_EQ(found(0x5000), "") << to_string(architecture);
    EXPECT_EQ(found(u64{1} << kBits[number] | 0x5000), "excess") << to_string(architecture);
  }
  const std::string start = "nestwalk-fence-log 1\n0 0 vm 1 ";
  const auto refusal = [&](const std::string& vm, const std::string& gpa) {
    return refusal_of(start + vm + " root=0x10000\n0 1 fault 1 " + gpa + "\n");
  };
  // No guest-physical address is wider than these; with Bare, RISC-V has any.
  EXPECT_EQ(refusal("ept", "0xfffffffffffff"), "");
  EXPECT_EQ(refusal("ept", "0x10000000000000"),
            "log: line 3: expected a guest-physical address of 52 bits, found "
            "\"0x10000000000000\"");
  EXPECT_EQ(refusal("stage2-4k ipa=32", "0xff00000005000"), "");
  EXPECT_EQ(refusal("stage2-4k ipa=32", "0x100000000000000"),
            "log: line 3: expected a guest-physical address of 56 bits, found "
            "\"0x100000000000000\"");
  EXPECT_EQ(refusal("sv39x4", "0xffffffffffffffff"), "");
}

TEST(Refusal, APropertyOfAnotherExtension) {
  struct Row {
    const char* format;
    std::vector<std::string> own;
    std::string named;
  };
  const Row rows[] = {{"ept", {"levels=4", "no-single"}, "levels=, dirty or no-single"},
                      {"stage2-16k", {"ipa=40", "ns"}, "ipa=, dirty or ns"},
                      {"sv39x4", {"svvptc"}, "dirty or svvptc"}};
  const std::vector<std::string> all = {"levels=4", "no-single", "ipa=40", "ns", "svvptc", "=4"};
  for (const Row& row : rows) {
    for (const std::string& word : all) {
      const bool own = std::count(row.own.begin(), row.own.end(), word) != 0;
      const std::string refusal = std::string("expected a property of ") + row.format +
                                  ": root=, vmid=, register=, processors=, " + row.named +
                                  ", found \"" + word + "\"";
      EXPECT_EQ(refusal_of_vm(std::string(row.format) + " root=0x40000 dirty " + word),
                own ? "" : refusal);
    }
  }
}

// Of VMs with one VMID or root, hypervisors run one at a time, or fence between them; RISC-V harts
// may have no VMIDs at all, and a VPID may be a processor's of the VM.
TEST(Log, TellsOfVmsThatShareTheirTags) {
  for (const char* const format : {"ept", "stage2-4k", "sv39x4"}) {
    const std::string end = std::string(format) + " root=0x10000 vmid=5\n";
    EXPECT_EQ(refusal_of("nestwalk-fence-log 1\n0 0 vm 1 " + end + "0 0 vm 2 " + end +
                         "0 0 enter 1\n0 1 enter 2\n"),
              "");
  }
}

TEST(Refusal, MemoryThatIsTakenOrFreedTwice) {
  const std::string start = "nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000\n";
  const std::string taken = start + "0 0 alloc 0x20000 0x4000\n";
  EXPECT_EQ(refusal_of(taken + "0 0 alloc 0x1f000 0x2000\n"),
            "log: line 4: expected memory that is not taken already, found 0x20000");
  EXPECT_EQ(refusal_of(taken + "0 0 free 0x21000 0x1000\n0 0 alloc 0x21000 0x1000\n"), "");
  EXPECT_EQ(refusal_of(taken + "0 0 free 0x21000 0x1000\n0 0 free 0x20000 0x4000\n"),
            "log: line 5: expected memory that is not free already, found 0x21000");
  EXPECT_EQ(refusal_of(taken + "0 0 free 0x21000 0x1000\n0 0 alloc 0x21000 0x2000\n"),
            "log: line 5: expected memory that is not taken already, found 0x22000");
  EXPECT_EQ(refusal_of(taken + "0 0 free 0x1f000 0x1000\n0 0 free 0x24000 0x1000\n"), "");
  // This log does not tell of what is taken.
  EXPECT_EQ(refusal_of(start + "0 0 free 0x20000 0x1000\n0 0 free 0x20000 0x1000\n"), "");
}

// 52 bits on x86, 48 on AArch64 and 56 on RISC-V, as of roots and of where an access was.
TEST(Refusal, HostAddressesThatAreTooWide) {
  struct Case {
    const char* format;
    unsigned bits;
  };
  constexpr Case kCases[] = {{"ept", 52}, {"npt", 52}, {"stage2-4k", 48}, {"sv39x4", 56}};
  for (const Case& each : kCases) {
    SCOPED_TRACE(each.format);
    const unsigned bits = each.bits;
    const std::string header = "nestwalk-fence-log 1\n";
    const std::string vm = std::string("0 0 vm 1 ") + each.format + " root=0x10000\n";
    const u64 beyond = u64{1} << bits;
    const auto message = [&](int line, u64 found) {
      return "log: line " + std::to_string(line) + ": expected host memory of " +
             std::to_string(bits) + " bits, found " + models::hex(found);
    };
    const auto events = [](u64 last_frame) {
      const std::string frame = models::hex(last_frame);
      return std::vector<std::pair<std::string, u64>>{
          {"0 0 store " + models::hex(last_frame + 0xff8) + " 0 0\n", last_frame + 0xff8},
          {"0 0 free " + frame + " 0x1000\n", last_frame + 0xfff},
          {"0 0 alloc " + frame + " 0x1000\n", last_frame + 0xfff}};
    };
    for (const auto& [event, last] : events(beyond - 0x1000)) {
      EXPECT_EQ(refusal_of(header + vm + event), "");
      EXPECT_EQ(refusal_of(header + event + vm), "");
    }
    for (const auto& [event, last] : events(beyond)) {
      EXPECT_EQ(refusal_of(header + vm + event), message(3, last));
      // The VM says which machine it was.
      EXPECT_EQ(refusal_of(header + event + vm), message(3, last));
    }
    EXPECT_EQ(refusal_of(header + vm + "0 0 free " + models::hex(beyond - 0x1000) + " 0x2000\n"),
              message(3, beyond + 0xfff));
  }
}

// Against one flag for each of 256 addresses.
TEST(AddressSet, IsASetOfAddresses) {
  std::mt19937_64 random(2026);
  AddressSet set;
  std::array<bool, 256> naive{};
  const u64 base = ~u64{0} - 255;  // up to the last address there is
  for (int n = 0; n < 20000; ++n) {
    const u64 first = random() % 256;
    const u64 bytes = 1 + random() % std::min<u64>(256 - first, 40);
    const auto begin = naive.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = begin + static_cast<std::ptrdiff_t>(bytes);
    const auto found = std::find(begin, end, true);
    const auto expected =
        found == end ? std::nullopt : std::optional(base + static_cast<u64>(found - naive.begin()));
    ASSERT_EQ(set.find(base + first, bytes), expected) << n;
    const bool adds = random() % 2 == 0;
    adds ? set.add(base + first, bytes) : set.remove(base + first, bytes);
    std::fill(begin, end, adds);
  }
}

TEST(Refusal, TheAllocationOfATableThatIsLinked) {
  EXPECT_EQ(refusal_after_preamble(kX86, "1 0 alloc 0x20000 0x8000\n"),
            "log: line 13: expected memory without a table that is linked, found the one at "
            "0x21000");
  // Hypervisors map memory, all of it for instance, that they allocate elsewhere.
  EXPECT_EQ(refusal_after_preamble(kX86, "1 0 alloc 0x95000 0x1000\n"), "");
  EXPECT_EQ(refusal_after_preamble(kX86, "1 0 store 0x22000 T 0\n1 0 alloc 0x23000 0x1000\n"), "");
  // What was freed while it was linked is the hypervisor's mistake, and not the log's.
  EXPECT_EQ(refusal_after_preamble(kX86, "1 0 free 0x23000 0x1000\n1 0 alloc 0x23000 0x1000\n"),
            "");
}

// Hypervisors fence when they start. Nothing of any VM is cached by then.
TEST(Log, MayBeginBeforeTheFirstVm) {
  for (const char* const fence :
       {"invept all-context", "tlbi alle1is", "dsb ish", "hfence.gvma zero, zero"}) {
    const auto checked = check_text(
        std::string("nestwalk-fence-log 1\n0 0 begin start\n0 0 fence - ") + fence +
        "\n0 0 free 0x1000 0x1000\n0 0 end\n" + "0 0 vm 1 ept root=0x10000\n0 0 enter 1\n");
    EXPECT_EQ(checked->names(), "") << fence;
  }
  EXPECT_EQ(refusal_of("nestwalk-fence-log 1\n0 0 fence - nop\n"),
            "log: line 2: expected an instruction that fences, found \"nop\"");
}

// Anything at all ------------------------------------------------------------------------------

std::vector<std::string> known_logs() {
  std::vector<std::string> logs;
  for (const auto& each : std::filesystem::directory_iterator(NESTWALK_CHECKER_CASES)) {
    std::ifstream in(each.path());
    logs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  std::sort(logs.begin(), logs.end());
  const char* const kLife =
      "1 0 begin edit\n1 0 store 0x23028 L5 0\n1 1 fault 1 0x5000 write\n1 1 exit 1\n"
      "2 0 free 0x95000 0x1000\n2 1 enter 1\n3 0 store 0x22000 T T2\n3 0 free 0x23000 0x1000\n"
      "3 0 store 0x24000 0 L5\n4 0 end\n4 0 store 0x24000 L5 M5\n4 1 access 1 0 0 write 0x95000\n"
      "5 1 exit 1\n5 0 exit 1\n5 0 destroy 1\n";
  for (const Architecture architecture : kAll) {
    std::istringstream in(kLife);
    std::string text = preamble(architecture);
    for (std::string line; std::getline(in, line);) text += with_entries(architecture, line);
    logs.push_back(text);
  }
  return logs;
}

/// Whole lines, whole words, and digits are exchanged, repeated and left out.
class Mutator {
 public:
  explicit Mutator(u64 seed) : random_(seed) {}

  std::string mutate(const std::string& log) {
    std::vector<std::string> lines = split(log, '\n');
    for (u64 n = 1 + below(4); n != 0; --n) step(lines);
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    return text;
  }

 private:
  static std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, at);) parts.push_back(part);
    return parts;
  }
  u64 below(u64 limit) { return random_() % limit; }
  template <class T>
  std::ptrdiff_t any(const std::vector<T>& of) {
    return static_cast<std::ptrdiff_t>(below(of.size()));
  }

  void step(std::vector<std::string>& lines) {
    if (lines.size() < 2) return;
    const auto at = lines.begin() + any(lines);
    switch (below(8)) {
      case 0:
        lines.erase(at);
        return;
      case 1: {
        const std::string copy = *at;
        lines.insert(lines.begin() + any(lines), copy);
        return;
      }
      case 2:
        std::swap(*at, lines[below(lines.size())]);
        return;
      case 3: {
        const u64 byte = below(at->size() + 1);
        if (byte < at->size()) (*at)[byte] = static_cast<char>(below(256));
        return;
      }
      default:
        change_word(lines, *at);
    }
  }
  void change_word(const std::vector<std::string>& lines, std::string& line) {
    std::vector<std::string> words = split(line, ' ');
    if (words.empty()) return;
    const std::vector<std::string> others = split(lines[below(lines.size())], ' ');
    std::string& word = words[below(words.size())];
    switch (below(4)) {
      case 0:
        if (!others.empty()) word = others[below(others.size())];
        break;
      case 1:
        word = hex(random_() >> below(64) << below(16));
        break;
      case 2:
        word = std::to_string(below(70));
        break;
      default:
        word += word;
    }
    line.clear();
    for (const std::string& each : words) line.append(each).append(" ");
  }

  std::mt19937_64 random_;
};

TEST(Log, GivesAResultOrOneLineWhateverItSays) {
#ifdef NESTWALK_SANITIZED
  constexpr u64 kTries = 4'000;
#else
  constexpr u64 kTries = 20'000;
#endif
  const std::vector<std::string> logs = known_logs();
  u64 results = 0;
  for (u64 seed = 0; seed < kTries; ++seed) {
    const std::string text = Mutator(seed).mutate(logs[seed % logs.size()]);
    Both both;
    std::istringstream in(text);
    try {
      both.reader.read(in, "log", both.tee);
      both.checker.finish();
      for (const Finding& finding : both.checker.findings()) EXPECT_NE(describe(finding), "");
      ++results;
    } catch (const LogError& error) {
      EXPECT_EQ(std::string(error.what()).rfind("log: line ", 0), 0u) << error.what();
      EXPECT_NE(std::string(error.what()).find(": expected "), std::string::npos) << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    } catch (const std::exception& error) {
      ADD_FAILURE() << "seed " << seed << ": " << error.what() << "\n" << text;
      return;
    }
  }
  EXPECT_GT(results, kTries / 20);
}

}  // namespace
}  // namespace nestwalk::checker::log_test
