// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The importer of KVM's trace events.

#include "import_fixture.hpp"

namespace nestwalk::traces::import_kvm_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr u64 kKvmLacks =
    kNoHpa | kNoSize | kNoInstructions | kNoDependence | kNoSpaces | kNoFences | kNoHypervisor;

TEST(KvmImport, NestedPageFaultOfSvmIsAnAccessAndItsExit) {
  const Imported imported = import_sample(request_for("kvm"), "kvm-x86.txt");
  // Bit 1 of the error code is a write; 0x400 is VMEXIT_NPF.
  EXPECT_EQ(imported.stream(),
            (Stream{gpa(kWrite, 0x200000, 0), happens(VmExit{0x400, 0x200000006, Gpa(0x200000)}),
                    happens(VmEntry{})}));
  EXPECT_EQ(imported.header.lacks, kKvmLacks | kNoGva);
  EXPECT_EQ(imported.header.mode, Mode::GuestPhysical);
  EXPECT_EQ(imported.header.architecture, Architecture::X86_64);
  EXPECT_THAT(imported.reports,
              ElementsAre("not in the trace: kvm_entry (1)", "not in the trace: kvm_exit (1)"));
}

TEST(KvmImport, EptViolationsOfSeveralVcpusKeepTheirNumbersAndOrder) {
  const Imported imported = import_sample(request_for("kvm"), "kvm-ept.txt");
  ASSERT_EQ(imported.streams.size(), 8U);
  // 0x181 reads, 0x182 writes; 48 is the exit reason of an EPT violation.
  EXPECT_EQ(imported.streams[5],
            (Stream{happens(TimeSync{86'581'928'000}), gpa(kRead, 0x113600002, 0),
                    happens(VmExit{48, 0x181, Gpa(0x113600002)})}));
  EXPECT_EQ(imported.streams[7],
            (Stream{happens(TimeSync{86'581'936'000}), gpa(kWrite, 0x113674000, 0),
                    happens(VmExit{48, 0x182, Gpa(0x113674000)})}));
}

TEST(KvmImport, StageTwoAbortOfArmHasBothAddresses) {
  const Imported imported = import_sample(request_for("kvm"), "kvm-arm64.txt");
  // 0x82000005 >> 26 = 0x20: an instruction abort.
  EXPECT_EQ(imported.stream(),
            (Stream{both(kFetch, 0x40001000, 0x40001000, 0),
                    happens(VmExit{0x20, 0x82000005, Gpa(0x40001000)}), happens(VmEntry{})}));
  EXPECT_EQ(imported.header.lacks, kKvmLacks);
  EXPECT_EQ(imported.header.architecture, Architecture::AArch64);
}

TEST(KvmImport, ArmAbortOfAWalkHasNoVirtualAddressAndOthersTakeTheOffsetFromIt) {
  const std::string line = "v-1 [000] 1.0: kvm_guest_fault: ipa 0x8000000, hsr ";
  // 0x92000045: data abort (0x24), WnR. 0x920000c5 adds S1PTW.
  EXPECT_EQ(import_text("kvm", line + "0x92000045, hxfar 0xf8420, pc 0x0\n").stream(),
            (Stream{both(kWrite, 0xf8420, 0x8000420, 0),
                    happens(VmExit{0x24, 0x92000045, Gpa(0x8000420)})}));
  EXPECT_EQ(import_text("kvm", line + "0x920000c5, hxfar 0xf8420, pc 0x0\n").stream(),
            (Stream{gpa(kWrite, 0x8000000, 0), happens(VmExit{0x24, 0x920000c5, Gpa(0x8000000)})}));
}

TEST(KvmImport, ATimeThatGoesBackIsAnError) {
  const auto fault = [](const std::string& time) {
    return "v-1 [000] " + time +
           ": kvm_page_fault: vcpu 0 rip 0x1 address 0x2000 error_code 0x182\n";
  };
  EXPECT_EQ(import_error("kvm", fault("1.5") + fault("1.5")), "");
  EXPECT_THAT(import_error("kvm", fault("1.5") + fault("1.4")),
              HasSubstr("line 2: expected records in the order of time, from 1500000000 ns on, "
                        "found one of 1400000000 ns"));
}

TEST(KvmImport, EventsThatContradictEachOtherAreAnError) {
  const auto error = [](const std::string& line, const std::string& before = "") {
    return import_error("kvm", before + "v-1 [000] 1.2: " + line + "\n");
  };
  // Class 0x16 is an HVC.
  EXPECT_THAT(error("kvm_guest_fault: ipa 0x8000000, hsr 0x5a000000, hxfar 0x8, pc 0x4"),
              HasSubstr("expected a syndrome of an abort (class 0x20 or 0x24), found one of class "
                        "0x16"));
  EXPECT_THAT(
      error("kvm_page_fault: vcpu 0 rip 0x1 address 0x2000 address 0x3000 error_code 0x181"),
      HasSubstr("expected address once"));
  EXPECT_THAT(error("kvm_page_fault: vcpu 1 rip 0x1 address 0x2000 error_code 0x182",
                    "v-1 [000] 1.1: kvm_exit: vcpu 0 reason EPT_VIOLATION rip 0x1 info1 0x182\n"),
              HasSubstr("expected a fault of vCPU 0, as its thread said, found one of vCPU 1"));
  ImportRequest request = request_for("kvm");
  request.architecture = Architecture::RiscV64;
  EXPECT_THROW(
      import_texts(request, {"v-1 [000] 1.2: kvm_page_fault: vcpu 0 rip 0x1 address 0x2000 "
                             "error_code 0x182\n"}),
      InputError);
}

// arch/x86/kvm: EXITINFO1 and EXITINFO2 are the code and address of a nested page fault, and the
// exit qualification is the code of an EPT violation.
TEST(KvmImport, FaultThatIsNotAsItsExitSaysIsAnError) {
  const std::string place = "v-1 [000] 1.0: ";
  const auto error = [&](const std::string& exit, const std::string& fault,
                         const std::string& between = "") {
    return import_error("kvm", place + "kvm_exit: vcpu 0 reason " + exit + "\n" + between + place +
                                   "kvm_page_fault: vcpu 0 " + fault + "\n");
  };
  const std::string npf = "npf rip 0x10 info1 0x100000006 info2 0x800000002000";
  EXPECT_EQ(error(npf, "rip 0x10 address 0x800000002000 error_code 0x100000006"), "");
  // Cut to 32 bits; without SME's bit, 47; with what KVM adds for private memory, bit 49.
  EXPECT_EQ(error(npf, "rip 0x10 address 0x2000 error_code 0x6"), "");
  EXPECT_EQ(error(npf, "rip 0x10 address 0x2000 error_code 0x2000100000006"), "");
  EXPECT_THAT(error(npf, "rip 0x10 address 0x2000 error_code 0x100000004"),
              HasSubstr("line 2: expected the error code 0x100000006, as the exit before it, found "
                        "0x100000004"));
  EXPECT_THAT(
      error(npf, "rip 0x10 address 0x3000 error_code 0x100000006"),
      HasSubstr("expected the address 0x800000002000, as the exit before it, found 0x3000"));
  EXPECT_THAT(error(npf, "rip 0x14 address 0x2000 error_code 0x100000006"),
              HasSubstr("expected a fault at 0x10, as the exit before it, found one at 0x14"));

  const std::string ept = "EPT_VIOLATION rip 0x10 info 182 0";
  EXPECT_EQ(error(ept, "rip 0x10 address 0x2000 error_code 0x182"), "");
  EXPECT_THAT(error(ept, "rip 0x10 address 0x2000 error_code 0x181"),
              HasSubstr("expected the error code 0x182, as the exit before it, found 0x181"));
  // tdx_handle_ept_violation says a write (2) of all private memory.
  EXPECT_EQ(error(ept, "rip 0x0 address 0x2000 error_code 0x2"), "");
  EXPECT_THAT(error("EPT_VIOLATION rip 0x10", "rip 0x10 address 0x2000 error_code 0x100000006"),
              HasSubstr("expected the code of an EPT violation, as the exit before it"));
  // Where events were lost, the exit may be another one's.
  EXPECT_EQ(
      error(npf, "rip 0x14 address 0x3000 error_code 0x100000004", "CPU:0 [LOST 17 EVENTS]\n"), "");
  EXPECT_EQ(error("hlt rip 0x10 info1 0x0 info2 0x0",
                  "rip 0x14 address 0x3000 error_code 0x100000004", "CPU:0 [LOST 17 EVENTS]\n"),
            "");
}

TEST(KvmImport, AbortOfArmThatIsNotAsItsExitSaysIsAnError) {
  const std::string place = "v-1 [000] 1.0: ", entry = place + "kvm_entry: PC: 0x4\n";
  const auto error = [&](const std::string& exit, const std::string& pc) {
    return import_error("kvm", place + "kvm_exit: " + exit + ", PC: 0x40001000\n" + place +
                                   "kvm_guest_fault: ipa 0x8000000, hsr 0x92000045, hxfar 0xf8420, "
                                   "pc " +
                                   pc + "\n" + entry);
  };
  EXPECT_EQ(error("TRAP: HSR_EC: 0x0024 (DABT_LOW)", "0x40001000"), "");
  // 0x92000045 is of class 0x24.
  EXPECT_THAT(error("TRAP: HSR_EC: 0x0020 (IABT_LOW)", "0x40001000"),
              HasSubstr("line 2: expected a syndrome of class 0x20, as the exit before it, found "
                        "one of class 0x24"));
  EXPECT_THAT(error("TRAP: HSR_EC: 0x0024 (DABT_LOW)", "0x40001004"),
              HasSubstr("expected a fault at 0x40001000, as the exit before it"));
  for (const char* const exit : {"TRAP: HSR_EC: 0x0016 (HVC64)", "IRQ: HSR_EC: 0x0000 (UNKNOWN)"}) {
    EXPECT_THAT(error(exit, "0x40001000"),
                HasSubstr("line 3: expected one exit of a thread for each of its faults, found "
                          "'ipa 0x8000000, hsr 0x92000045"));
  }
  // The ipa of a page, or one whose offset is hxfar's.
  const auto fault = [&](const std::string& ipa) {
    return import_error(
        "kvm", place + "kvm_guest_fault: ipa " + ipa + ", hsr 0x92000045, hxfar 0xf8420, pc 0x0\n");
  };
  EXPECT_EQ(fault("0x8000420"), "");
  EXPECT_THAT(fault("0x8000428"),
              HasSubstr("expected an ipa of a page, or with the offset of hxfar "
                        "0xf8420 in it, found 0x8000428"));
}

TEST(KvmImport, FaultThatIsThereTwiceIsAnErrorWhereEntriesAndExitsAreTold) {
  const std::string place = "v-1 [000] 1.0: ", entry = place + "kvm_entry: vcpu 0\n";
  const std::string exit = place + "kvm_exit: vcpu 0 reason EPT_VIOLATION rip 0x1 info1 0x182\n";
  const std::string fault = place + "kvm_page_fault: vcpu 0 address 0x2000 error_code 0x182\n";
  const std::string lost = "CPU:0 [LOST 17 EVENTS]\n";
  EXPECT_EQ(import_error("kvm", fault + fault), "");
  EXPECT_EQ(import_error("kvm", entry + fault + entry + fault + entry), "");
  EXPECT_EQ(import_error("kvm", exit + fault + exit + fault + exit), "");
  EXPECT_THAT(
      import_error("kvm", exit + fault + fault + entry),
      HasSubstr("line 4: expected one exit of a thread for each of its faults, found 'vcpu 0 "
                "address 0x2000 error_code 0x182'"));
  EXPECT_THAT(import_error("kvm", entry + fault + fault + exit), HasSubstr("line 4: expected one"));
  // Events may be lost, or turned off one after the other; a buffer that was overwritten begins
  // later than others.
  EXPECT_EQ(import_error("kvm", exit + fault + "##### CPU 1 buffer started ####\n" + fault + entry),
            "");
  EXPECT_EQ(import_error("kvm", exit + fault + lost + fault + entry), "");
  EXPECT_EQ(import_error("kvm", exit + fault + fault + lost + entry), "");
  EXPECT_EQ(import_error("kvm", exit + fault + fault + fault), "");
}

TEST(KvmImport, ExitOfAnotherVcpuThanTheThreadEnteredIsAnError) {
  const std::string place = "v-1 [000] 1.0: ";
  const std::string exit = place + "kvm_exit: vcpu 1 reason EPT_VIOLATION rip 0x1 info1 0x182\n" +
                           place + "kvm_page_fault: vcpu 1 address 0x2000 error_code 0x182\n";
  const auto entry = [&](const std::string& vcpu) {
    return place + "kvm_entry: vcpu " + vcpu + "\n";
  };
  EXPECT_EQ(import_error("kvm", entry("0") + entry("1") + exit + entry("0")), "");
  EXPECT_THAT(
      import_error("kvm", entry("0") + exit),
      HasSubstr("line 2: expected an exit of vCPU 0, which its thread entered, found one of "
                "vCPU 1"));
}

// Two threads that run a vCPU of one number are perhaps of two VMs.
TEST(KvmImport, VcpuThatSeveralThreadsRunIsReported) {
  const auto fault = [](const std::string& task) {
    return task + " [000] 1.0: kvm_page_fault: vcpu 0 address 0x2000 error_code 0x182\n";
  };
  EXPECT_THAT(import_text("kvm", fault("v-1") + fault("v-1")).reports, testing::IsEmpty());
  EXPECT_THAT(import_text("kvm", fault("v-1") + fault("w-2")).reports,
              ElementsAre("not in the trace: the VM of a vCPU, where several threads ran it (1)"));
}

TEST(KvmImport, TrapsOfArmAreExitsWithTheirClass) {
  // Arm ARM, ESR_EL2.EC: 0b000001 is a trapped WFI or WFE, 0b010110 an HVC of AArch64. The events
  // have no more of the syndrome. An interrupt has no class.
  const std::string task = " CPU 0/KVM-712 [001] d..1. 81.25";
  const Imported imported =
      import_text("kvm", task + "0010: kvm_entry: PC: 0xffff800010a3f6b4\n" +  //
                             task +
                             "0020: kvm_guest_fault: ipa 0x8000000, hsr 0x92000045, hxfar "
                             "0xf8420, pc 0xffff800010a3f6b0\n" +
                             task + "0030: kvm_entry: PC: 0xffff800010a3f6b4\n" +  //
                             task +
                             "0040: kvm_exit: TRAP: HSR_EC: 0x0001 (WFx), PC: "
                             "0xffff800010a3f6b4\n" +
                             task + "0050: kvm_entry: PC: 0xffff800010a3f6b8\n" + task +
                             "0060: kvm_exit: IRQ: HSR_EC: 0x0000 (UNKNOWN), PC: "
                             "0xffff800010a3f6bc\n" +
                             task + "0070: kvm_entry: PC: 0xffff800010a3f6bc\n" + task +
                             "0080: kvm_exit: TRAP: HSR_EC: 0x0016 (HVC64), PC: "
                             "0xffff80001002b1c4\n");
  EXPECT_EQ(imported.stream(), (Stream{both(kWrite, 0xf8420, 0x8000420, 0),
                                       happens(VmExit{0x24, 0x92000045, Gpa(0x8000420)}),
                                       happens(VmEntry{}), happens(VmExit{0b000001, 0, {}}),
                                       happens(VmEntry{}), happens(VmExit{0b010110, 0, {}})}));
  EXPECT_EQ(imported.header.architecture, Architecture::AArch64);
  EXPECT_THAT(imported.reports,
              ElementsAre("not in the trace: kvm_entry (2)", "not in the trace: kvm_exit (1)"));
}

TEST(KvmImport, AbortOfArmIsOneExitWhetherOrNotItIsASecondStageFault) {
  const std::string place = "v-1 [000] 1.0: ";
  const std::string abort = place + "kvm_exit: TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x40001000\n";
  const std::string fault =
      place + "kvm_guest_fault: ipa 0x8000000, hsr 0x92000045, hxfar 0xf8420, pc 0x40001000\n";
  const std::string entry = place + "kvm_entry: PC: 0x40001000\n";
  const auto access = both(kWrite, 0xf8420, 0x8000420, 0);
  const auto exit = happens(VmExit{0x24, 0x92000045, Gpa(0x8000420)});
  EXPECT_EQ(import_text("kvm", abort + fault + entry).stream(),
            (Stream{access, exit, happens(VmEntry{})}));
  // An external abort: no fault follows, and nothing more is known.
  EXPECT_EQ(import_text("kvm", abort + entry + abort + fault).stream(),
            (Stream{happens(VmExit{0x24, 0, {}}), happens(VmEntry{}), access, exit}));
  EXPECT_THAT(import_error("kvm", place + "kvm_exit: TRAP: HSR_EC: 0x0040 (?), PC: 0x0\n"),
              HasSubstr("line 1: expected a class of 6 bits"));
}

TEST(KvmImport, GuestPageFaultOfRiscVDuringAWalkHasThePhysicalAddressOfTheEntry) {
  const Imported imported = import_sample(request_for("kvm"), "kvm-riscv.txt");
  // HTVAL 0x2008040e << 2 = 0x80201038; HTINST 0x3000 reads an entry; 0x15 is a load.
  EXPECT_EQ(imported.stream(),
            (Stream{gpa(kRead, 0x80201038, 0), happens(VmExit{0x15, 0x3000, Gpa(0x80201038)}),
                    happens(VmEntry{})}));
  EXPECT_EQ(imported.header.architecture, Architecture::RiscV64);
}

TEST(KvmImport, GuestPageFaultOfRiscVOutsideAWalkHasBothAddresses) {
  // 0x17 is a store; GPA 0x80500 << 2 | 3 = 0x201403.
  EXPECT_EQ(
      import_text("kvm",
                  "v-1 [000] 1.0: kvm_exit: SEPC:0x8, SCAUSE:0x17, STVAL:0xffff403, "
                  "HTVAL:0x80500, HTINST:0x0\n")
          .stream(),
      (Stream{both(kWrite, 0xffff403, 0x201403, 0), happens(VmExit{0x17, 0, Gpa(0x201403)})}));
}

TEST(KvmImport, ReportOfTraceCmdHasTheSameEvents) {
  EXPECT_EQ(import_text("kvm",
                        "cpus=1\n"
                        " CPU 0/KVM-86    [000]     2.862895: kvm_page_fault:       vcpu 0 "
                        "rip 0x1000 address 0x200000 error_code 0x100000010\n")
                .stream(),
            (Stream{gpa(kFetch, 0x200000, 0), happens(VmExit{0x400, 0x100000010, Gpa(0x200000)})}));
}

TEST(KvmImport, FaultThatDoesNotSayItsVcpuIsOfTheVcpuThatItsThreadEntered) {
  // Two threads, whose events interleave; numbering the threads would swap the vCPUs.
  const Imported imported =
      import_text("kvm",
                  "a-11 [000] 1.000000: kvm_entry: vcpu 1\n"
                  "b-10 [001] 1.000001: kvm_entry: vcpu 0\n"
                  "a-11 [000] 1.000002: kvm_exit: reason EPT_VIOLATION rip 0x1 info 182 0\n"
                  "b-10 [001] 1.000003: kvm_exit: reason EPT_VIOLATION rip 0x1 info 181 0\n"
                  "b-10 [001] 1.000004: kvm_page_fault: address 2000 error_code 181\n"
                  "a-11 [000] 1.000005: kvm_page_fault: address 1000 error_code 182\n");
  ASSERT_EQ(imported.streams.size(), 2U);
  EXPECT_EQ(imported.streams[0],
            (Stream{gpa(kRead, 0x2000, 0), happens(VmExit{48, 0x181, Gpa(0x2000)})}));
  EXPECT_EQ(imported.streams[1], (Stream{happens(TimeSync{1'000'005'000}), gpa(kWrite, 0x1000, 0),
                                         happens(VmExit{48, 0x182, Gpa(0x1000)})}));
}

TEST(KvmImport, FaultWhoseVcpuNothingSaysIsAnErrorUnlessThreadsAreNumbered) {
  const std::string fault = "v-7 [000] 1.0: kvm_page_fault: address 1000 error_code 182\n";
  EXPECT_THAT(import_error("kvm", fault), HasSubstr("line 1: expected 'vcpu N', or a kvm_entry"));
  // What another thread says is not about this one.
  EXPECT_THAT(import_error("kvm", "v-8 [000] 0.9: kvm_entry: vcpu 0\n" + fault),
              HasSubstr("line 2: expected 'vcpu N'"));
  EXPECT_EQ(import_text("kvm", fault, {"vcpus=threads"}).stream(),
            (Stream{gpa(kWrite, 0x1000, 0), happens(VmExit{48, 0x182, Gpa(0x1000)})}));
}

TEST(KvmImport, CodeThatIsCutTo32BitsIsOfWhatTheExitSays) {
  const std::string place = "v-1 [000] 1.0: ";
  const std::string fault = place + "kvm_page_fault: address 1000 error_code 14\n";
  const auto exit = [&](const std::string& reason) {
    return place + "kvm_exit: vcpu 0 reason " + reason + " rip 0x1";
  };
  // SVM: bit 4 is a fetch. The exit's first word of information is the whole code.
  EXPECT_EQ(import_text("kvm", exit("npf") + "\n" + fault).stream(),
            (Stream{gpa(kFetch, 0x1000, 0), happens(VmExit{0x400, 0x14, Gpa(0x1000)})}));
  EXPECT_EQ(
      import_text("kvm", exit("npf") + " info1 0x0000000100000014 info2 0x1000\n" + fault).stream(),
      (Stream{gpa(kFetch, 0x1000, 0), happens(VmExit{0x400, 0x1'0000'0014, Gpa(0x1000)})}));
  // VMX: bit 2 is a fetch.
  EXPECT_EQ(import_text("kvm", exit("EPT_VIOLATION") + "\n" + fault).stream(),
            (Stream{gpa(kFetch, 0x1000, 0), happens(VmExit{48, 0x14, Gpa(0x1000)})}));
  EXPECT_THAT(import_error("kvm", exit("EXCEPTION_NMI") + "\n" + fault),
              HasSubstr("line 2: expected a fault of EPT or NPT, found one of shadow paging"));
  // An exit before the last entry says nothing.
  EXPECT_THAT(import_error("kvm", exit("npf") + "\n" + place + "kvm_entry: vcpu 0\n" + fault),
              HasSubstr("line 3: expected the code of a nested page fault (bit 32 or 33)"));
}

TEST(KvmImport, FaultsOfTwoArchitecturesAreAnError) {
  EXPECT_THAT(
      import_error("kvm",
                   "v-1 [000] 1.0: kvm_page_fault: vcpu 0 address 1000 error_code 182\n"
                   "v-1 [000] 1.1: kvm_guest_fault: ipa 0x1000, hsr 0x92000045, hxfar 0x1000, "
                   "pc 0x0\n"),
      HasSubstr("line 2: expected a fault of the architecture of those before"));
}

TEST(KvmImport, LostEventsAreReported) {
  const std::string fault =
      "v-1 [000] 1.0: kvm_page_fault: vcpu 0 address 1000 error_code 100000004\n";
  EXPECT_THAT(import_text("kvm", fault + "CPU:2 [LOST 17 EVENTS]\n").reports,
              ElementsAre("not in the trace: places where the kernel lost events (1)"));
}

// Documentation/trace/ftrace.rst: entries-written counts those that were overwritten, too.
TEST(KvmImport, OverwrittenBuffersAreReported) {
  const std::string fault =
      "v-1 [000] 1.0: kvm_page_fault: vcpu 0 address 1000 error_code 100000004\n";
  const auto reports = [&](const std::string& entries) {
    return import_text("kvm",
                       "# entries-in-buffer/entries-written: " + entries + "   #P:2\n" + fault)
        .reports;
  };
  EXPECT_THAT(reports("600/600"), testing::IsEmpty());
  EXPECT_THAT(reports("600/60000"),
              ElementsAre("not in the trace: buffers that were overwritten (1)"));
}

// What an import says is known before the trace is written, where it counts the vCPUs first.
TEST(KvmImport, LostEventsAreInTheProvenance) {
  ImportRequest request = request_for("kvm");
  const std::string text =
      "v-1 [000] 1.0: kvm_page_fault: vcpu 0 address 1000 error_code 100000004\n"
      "CPU:2 [LOST 17 EVENTS]\n";
  const std::pair<std::string, std::string> lost{"not in the trace",
                                                 "places where the kernel lost events (1)"};
  EXPECT_THAT(import_texts(request, {text}).header.provenance, testing::Contains(lost));
  request.vcpus = 1;
  EXPECT_THAT(import_texts(request, {text}).header.provenance,
              testing::Not(testing::Contains(lost)));
}

TEST(KvmImport, MalformedLinesAreNamed) {
  const std::string place = "v-1 [000] 1.0: ";
  for (const char* line : {"garbage", "v-1 1.0: kvm_exit: x", "v-1 [000] kvm_exit: x",
                           "v [000] 1.0: kvm_exit: x", "v-1 [000] 1.0: kvm_exit x"}) {
    EXPECT_THAT(import_error("kvm", line),
                HasSubstr("expected 'TASK-PID [CPU] SECONDS: EVENT: ...'"))
        << line;
  }
  EXPECT_THAT(import_error("kvm", place + "kvm_page_fault: address 0x1000"),
              HasSubstr("line 1: expected error_code and a number"));
  EXPECT_THAT(
      import_error("kvm", place + "kvm_page_fault: vcpu 0 address 0x1000 error_code 0x10"),
      HasSubstr("expected the code of a nested page fault (bit 32 or 33) or EPT violation"));
  EXPECT_THAT(import_error("kvm", place + "kvm_page_fault: vcpu 4096 address 0x1 error_code 0x1"),
              HasSubstr("expected a vCPU below 4096"));
}

}  // namespace
}  // namespace nestwalk::traces::import_kvm_test
