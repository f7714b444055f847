// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Registers of nested faults, put together by hand from the manuals' tables.
#include "nestwalk/addrspace/nested_fault.hpp"

#include <gtest/gtest.h>

namespace nestwalk::addrspace::nested_fault_test {
namespace {

using Cause = NestedFault::Cause;

constexpr u64 bit(unsigned n) { return u64{1} << n; }

// AMD APM vol. 2, 15.25.6: P 0, R/W 1, U/S 2, RSV 3, I/D 4, final address 32, guest's tables 33.
constexpr u64 kUserAccess = bit(2), kFinal = bit(32), kTables = bit(33);

TEST(NestedPageFault, SaysWhatTheAccessWas) {
  EXPECT_EQ(svm::nested_page_fault(kFinal | kUserAccess, 0x4000'0123),
            (NestedFault{Gpa(0x4000'0123), kRead, false, true, Cause::NotPresent}));
  EXPECT_EQ(svm::nested_page_fault(kFinal | kUserAccess | bit(1), 0x1008).access, kWrite);
  EXPECT_EQ(svm::nested_page_fault(kFinal | kUserAccess | bit(4), 0x1008).access, kExecute);
}

// "Host table walks for guest page tables are always treated as data writes", of fetches as well.
TEST(NestedPageFault, NeedsGuestTablesWritable) {
  EXPECT_EQ(svm::nested_page_fault(kTables | kUserAccess | bit(1) | bit(0), 0x5ff8),
            (NestedFault{Gpa(0x5ff8), kWrite, true, true, Cause::Permission}));
}

TEST(NestedPageFault, SaysWhy) {
  const auto cause = [](u64 more) {
    return svm::nested_page_fault(kFinal | kUserAccess | bit(1) | more, 0).cause;
  };
  EXPECT_EQ(cause(0), Cause::NotPresent);
  EXPECT_EQ(cause(bit(0)), Cause::Permission);
  EXPECT_EQ(cause(bit(0) | bit(3)), Cause::Malformed);
  // A shadow stack's (bit 6) is an access like another.
  EXPECT_EQ(cause(bit(6)), Cause::NotPresent);
  // The reverse map table's, whatever the tables say.
  EXPECT_EQ(cause(bit(0) | bit(31)), Cause::Other);
  EXPECT_EQ(cause(bit(31)), Cause::Other);
}

// Intel SDM vol. 3C: read 0, write 1, fetch 2; what the entries permit 5:3; linear address 7, and
// translated to this one 8.
TEST(EptViolation, SaysWhatTheAccessWasAndWhatIsPermitted) {
  EXPECT_EQ(vmx::ept_violation(bit(1) | bit(7) | bit(8), 0x4000'0123),
            (NestedFault{Gpa(0x4000'0123), kWrite, false, true, Cause::NotPresent}));
  EXPECT_EQ(vmx::ept_violation(bit(2) | bit(3) | bit(4) | bit(7) | bit(8), 0x1000),
            (NestedFault{Gpa(0x1000), kExecute, false, true, Cause::Permission}));
  // With accessed and dirty flags, the guest's walk reads and writes.
  EXPECT_EQ(vmx::ept_violation(bit(0) | bit(1) | bit(5) | bit(7), 0x5ff8),
            (NestedFault{Gpa(0x5ff8), kRead | kWrite, true, true, Cause::Permission}));
  // No linear address, so no walk of the guest's: loading PDPTEs, for instance.
  EXPECT_FALSE(vmx::ept_violation(bit(0), 0).for_table);
}

TEST(EptViolation, MisconfigurationsHaveNoQualification) {
  EXPECT_EQ(vmx::ept_misconfiguration(0x7000),
            (NestedFault{Gpa(0x7000), kNoAccess, false, true, Cause::Malformed}));
}

// Arm ARM, "ESR_EL2": EC 31:26 (0x20 fetch, 0x24 data), WnR 6, S1PTW 7, fault status 5:0. HPFAR_EL2
// has bits 47:12 of the address from bit 4 on.
constexpr u64 kFetchAbort = u64{0x20} << 26, kDataAbort = u64{0x24} << 26;
constexpr u64 kTranslation = 0b000111, kAccessFlag = 0b001011, kPermission = 0b001111;  // level 3

TEST(NestedAbort, SaysWhatTheAccessWas) {
  EXPECT_EQ(stage2::nested_abort(kDataAbort | kTranslation, 0x40'0010, 0xffff'0000'0123),
            (NestedFault{Gpa(0x4000'1123), kRead, false, true, Cause::NotPresent}));
  EXPECT_EQ(stage2::nested_abort(kDataAbort | bit(6) | kTranslation, 0x10, 0).access, kWrite);
  // WnR is of data aborts.
  EXPECT_EQ(stage2::nested_abort(kFetchAbort | kTranslation, 0x10, 0).access, kExecute);
}

// The offset in FAR_EL2 is that of the access.
TEST(NestedAbort, OfAWalkHasNoOffset) {
  EXPECT_EQ(stage2::nested_abort(kFetchAbort | bit(7) | kPermission, 0x50, 0x123),
            (NestedFault{Gpa(0x5000), kRead, true, true, Cause::Permission}));
}

// "HPFAR_EL2": written for translation, access flag and address size faults, and for permission
// faults of walks; else UNKNOWN.
TEST(NestedAbort, KnowsWhereOnlyIfTheRegisterWasWritten) {
  const auto of = [](u64 status) { return stage2::nested_abort(kDataAbort | status, 0x10, 0); };
  EXPECT_TRUE(of(kTranslation).located);
  EXPECT_TRUE(of(kAccessFlag).located);
  EXPECT_TRUE(of(0b000001).located);
  EXPECT_FALSE(of(kPermission).located);
  EXPECT_FALSE(of(0b010000).located);  // synchronous external abort
}

TEST(NestedAbort, SaysWhy) {
  const auto cause = [](u64 status) {
    return stage2::nested_abort(kDataAbort | status, 0x10, 0).cause;
  };
  for (u64 level = 0; level < 4; ++level) {
    EXPECT_EQ(cause(0b000000 | level), Cause::Malformed) << level;
    EXPECT_EQ(cause(0b000100 | level), Cause::NotPresent) << level;
    EXPECT_EQ(cause(0b001000 | level), Cause::Permission) << level;
    EXPECT_EQ(cause(0b001100 | level), Cause::Permission) << level;
  }
  EXPECT_EQ(cause(0b101001), Cause::Malformed);   // address size, level -1
  EXPECT_EQ(cause(0b101011), Cause::NotPresent);  // translation, level -1
  EXPECT_EQ(cause(0b010000), Cause::Other);       // synchronous external abort
  EXPECT_EQ(cause(0b110000), Cause::Other);       // TLB conflict
}

// RISC-V privileged architecture: 20 fetch, 21 load, 23 store; htval has the address without its
// two lowest bits, which stval has; implicit accesses are aligned, and htinst says which they are.
TEST(GuestPageFault, SaysWhatTheAccessWas) {
  EXPECT_EQ(hext::guest_page_fault(21, 0x4000'0122 >> 2, 0x7003, 0),
            (NestedFault{Gpa(0x4000'0123), kRead, false, true, Cause::Unknown}));
  EXPECT_EQ(hext::guest_page_fault(23, 0x400, 0, 0x102023).access, kWrite);
  EXPECT_EQ(hext::guest_page_fault(20, 0x400, 0, 0).access, kExecute);
}

TEST(GuestPageFault, OfAWalkIsAnAlignedReadOrWrite) {
  EXPECT_EQ(hext::guest_page_fault(20, 0x5ff8 >> 2, 0x7002, 0x3000),
            (NestedFault{Gpa(0x5ff8), kRead, true, true, Cause::Unknown}));
  EXPECT_EQ(hext::guest_page_fault(23, 0x5ff8 >> 2, 0x7003, 0x3020),
            (NestedFault{Gpa(0x5ff8), kWrite, true, true, Cause::Unknown}));
}

}  // namespace
}  // namespace nestwalk::addrspace::nested_fault_test
