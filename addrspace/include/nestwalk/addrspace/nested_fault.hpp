// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What a processor reports of an access that the nested tables refused: from its registers to what
// `AddressSpace::handle_fault` takes.
#pragma once

#include "nestwalk/addrspace/address.hpp"
#include "nestwalk/addrspace/flags.hpp"

namespace nestwalk::addrspace {

struct NestedFault {
  /// `Unknown`: the registers do not say. `Other`: not the tables' doing, so that `handle_fault`
  /// would find nothing to mend and the guest would fault again.
  enum class Cause : u8 { Unknown, NotPresent, Permission, Malformed, Other };

  Gpa gpa{};
  Access access{};         ///< what the entry must permit; more than one of an EPT violation
  bool for_table = false;  ///< the walk of the guest's own tables needed it
  bool located = true;     ///< else `gpa` is not known (Arm)
  Cause cause = Cause::Unknown;

  friend constexpr bool operator==(const NestedFault&, const NestedFault&) = default;
};

constexpr bool fault_bit(u64 value, unsigned n) { return (value >> n & 1) != 0; }

namespace vmx {

/// The exit qualification of an EPT violation, and the guest-physical address (Intel SDM vol. 3C,
/// "Exit Qualification for EPT Violations").
constexpr NestedFault ept_violation(u64 qualification, u64 guest_physical) {
  using Cause = NestedFault::Cause;
  constexpr u64 kAccess = 7, kPermitted = 7 << 3;
  // Bit 7: there is a linear address; bit 8: and the access was to what it translates to.
  return {.gpa = Gpa(guest_physical),
          .access = Access(static_cast<u8>(qualification & kAccess)),
          .for_table = fault_bit(qualification, 7) && !fault_bit(qualification, 8),
          .cause = (qualification & kPermitted) != 0 ? Cause::Permission : Cause::NotPresent};
}
/// Of an EPT misconfiguration nothing but the address is reported.
constexpr NestedFault ept_misconfiguration(u64 guest_physical) {
  return {.gpa = Gpa(guest_physical), .cause = NestedFault::Cause::Malformed};
}

}  // namespace vmx

namespace svm {

/// EXITINFO1 and EXITINFO2 of VMEXIT_NPF (AMD APM vol. 2, 15.25.6 "Nested versus Guest Page Faults,
/// Fault Ordering"). An error code as of a page fault: P 0, R/W 1, U/S 2, RSV 3, I/D 4. U/S is set
/// of every access. Walks of the guest's tables are writes. Of a guest with SEV the C-bit is masked
/// before (15.34.6 "Page Table Support"); of another it is a bit of the address like any.
constexpr NestedFault nested_page_fault(u64 exit_info_1, u64 exit_info_2) {
  using Cause = NestedFault::Cause;
  const auto bit = [&](unsigned n) { return fault_bit(exit_info_1, n); };
  // 31: refused by the reverse map table (15.36.10 "RMP and VMPL Access Checks").
  return {.gpa = Gpa(exit_info_2),
          .access = bit(4)   ? kExecute
                    : bit(1) ? kWrite
                             : kRead,
          .for_table = bit(33),
          .cause = bit(31)  ? Cause::Other
                   : bit(3) ? Cause::Malformed
                   : bit(0) ? Cause::Permission
                            : Cause::NotPresent};
}

}  // namespace svm

namespace stage2 {

/// ESR_EL2, HPFAR_EL2 and FAR_EL2 of an instruction or data abort from a lower exception level (Arm
/// ARM D24, "ESR_EL2", "HPFAR_EL2").
constexpr NestedFault nested_abort(u64 esr, u64 hpfar, u64 far) {
  using Cause = NestedFault::Cause;
  constexpr u64 kFetchAbort = 0x20;
  constexpr u64 kPageMask = low_mask(12);
  const bool for_table = fault_bit(esr, 7);  // S1PTW
  // Fault status: above its two bits of level, or, from level -1, as a whole.
  const u64 status = esr & 0x3f;
  const bool size = status >> 2 == 0b0000 || status == 0b101001;
  const bool translation = status >> 2 == 0b0001 || status == 0b101011;
  const bool access_flag = status >> 2 == 0b0010;
  const bool permission = status >> 2 == 0b0011;
  const bool fetch = esr >> 26 == kFetchAbort;
  return {// FAR is the virtual address: its offset is that of the access, not of the table's entry.
          .gpa = Gpa(hpfar >> 4 << 12 | (for_table ? 0 : far & kPageMask)),
          .access = for_table           ? kRead
                    : fetch             ? kExecute
                    : fault_bit(esr, 6) ? kWrite  // WnR
                                        : kRead,
          .for_table = for_table,
          // HPFAR is not written for a permission fault of the access itself.
          .located = size || translation || access_flag || (permission && for_table),
          .cause = translation                 ? Cause::NotPresent
                   : permission || access_flag ? Cause::Permission
                   : size                      ? Cause::Malformed
                                               : Cause::Other};
}

}  // namespace stage2

namespace hext {

/// scause, htval, stval and htinst of a guest-page fault (RISC-V privileged architecture, "Traps
/// from VS/VU-mode", "Transformed Instruction or Pseudoinstruction for mtinst or htinst"). Nothing
/// says why the tables refused.
constexpr NestedFault guest_page_fault(u64 scause, u64 htval, u64 stval, u64 htinst) {
  constexpr u64 kFetch = 20, kStore = 23;
  // Of implicit accesses, with 64-bit entries.
  constexpr u64 kTableRead = 0x3000, kTableWrite = 0x3020;
  const bool for_table = htinst == kTableRead || htinst == kTableWrite;
  // Entries are aligned.
  return {.gpa = Gpa(htval << 2 | (for_table ? 0 : stval & 3)),
          .access = htinst == kTableWrite ? kWrite
                    : for_table           ? kRead
                    : scause == kFetch    ? kExecute
                    : scause == kStore    ? kWrite
                                          : kRead,
          .for_table = for_table};
}

}  // namespace hext

}  // namespace nestwalk::addrspace
