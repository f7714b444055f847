// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/models/translation/fault_report.hpp"

namespace nestwalk::models {
namespace {

constexpr u64 bit(unsigned n, bool set = true) { return u64{set ? 1u : 0u} << n; }

// Intel SDM vol. 3C, "Exit Qualification for EPT Violations".
u64 ept_qualification(const Fault& fault) {
  const bool read = fault.for_table || fault.access == AccessKind::Read;
  const bool write = fault.for_table ? fault.table_write || fault.reads_as_writes
                                     : fault.access == AccessKind::Write;
  const bool fetch = !fault.for_table && fault.access == AccessKind::Execute;
  // For a table: an update with A/D off is a write alone; with A/D on, every access is both.
  const bool read_too = read && (!fault.table_write || fault.reads_as_writes);
  return bit(0, read_too) | bit(1, write) | bit(2, fetch) | u64{fault.granted.bits()} << 3 |
         bit(7) | bit(8, !fault.for_table);
}

// Arm ARM, "ISS encoding for an exception from a Data Abort": the fault status code.
u64 fault_status(const Fault& fault) {
  const unsigned level = 3u - fault.level;  // of -1, the low bits count differently
  const bool minus_one = fault.level == 4;
  switch (fault.kind) {
    case FaultKind::BadAddress:
      return 0b000100;  // a translation fault at level 0
    case FaultKind::NotPresent:
      return minus_one ? 0b101011 : 0b000100 | level;
    case FaultKind::Malformed:
      return minus_one ? 0b101001 : 0b000000 | level;  // address size
    case FaultKind::AccessFlag:
      return 0b001000 | level;
    case FaultKind::Permission:
      return 0b001100 | level;
    case FaultKind::BusError:
      if (fault.of_data) return 0b010000;              // external abort, not on a walk
      return minus_one ? 0b010011 : 0b010100 | level;  // on a walk
    case FaultKind::None:
      break;
  }
  return 0;
}

}  // namespace

X86Report x86_report(const Fault& fault) {
  X86Report report;
  report.linear_address = fault.virtual_address;
  if (fault.kind == FaultKind::BusError) {
    report.event = X86Report::Event::BusError;
    return report;
  }
  if (fault.nested) {
    report.guest_physical = fault.guest_physical;
    report.event = X86Report::Event::EptMisconfiguration;
    if (fault.kind == FaultKind::Malformed) return report;
    report.event = X86Report::Event::EptViolation;
    report.qualification = ept_qualification(fault);
    return report;
  }
  if (fault.kind == FaultKind::BadAddress) {
    report.event = X86Report::Event::GeneralProtection;
    return report;
  }
  // Intel SDM vol. 3A, "Page-Fault Exceptions": P, W/R, U/S, RSVD, I/D.
  const bool reserved = fault.kind == FaultKind::Malformed;
  report.error_code =
      static_cast<u16>(bit(0, reserved || fault.kind == FaultKind::Permission) |
                       bit(1, fault.access == AccessKind::Write) | bit(2, fault.user) |
                       bit(3, reserved) | bit(4, fault.access == AccessKind::Execute));
  return report;
}

ArmReport arm_report(const Fault& fault) {
  constexpr u64 kInstructionAbort = 0x20, kDataAbort = 0x24;  // from a lower Exception level
  const bool fetch = fault.access == AccessKind::Execute;
  // An access of EL1 that EL1 takes comes from the same level: one more.
  const u64 same_level = !fault.nested && !fault.user ? 1 : 0;
  const bool write = fault.for_table ? fault.table_write : fault.access == AccessKind::Write;
  const u64 status = fault_status(fault) | bit(7, fault.for_table) | bit(6, write && !fetch);
  ArmReport report;
  report.to_el2 = fault.nested;
  report.esr = ((fetch ? kInstructionAbort : kDataAbort) + same_level) << 26 | bit(25) | status;
  report.far = fault.virtual_address;
  if (fault.nested) report.hpfar = fault.guest_physical >> 12 << 4;
  return report;
}

RiscvReport riscv_report(const Fault& fault) {
  // Privileged spec, "Supervisor Cause Register": read, write, execute.
  static constexpr u64 kPageFault[] = {13, 15, 12};
  static constexpr u64 kGuestPageFault[] = {21, 23, 20};
  static constexpr u64 kAccessFault[] = {5, 7, 1};
  const unsigned access = static_cast<unsigned>(fault.access);
  RiscvReport report;
  report.tval = fault.virtual_address;
  if (fault.kind == FaultKind::BusError) {
    report.cause = kAccessFault[access];
    return report;
  }
  if (!fault.nested) {
    report.cause = kPageFault[access];
    return report;
  }
  report.to_hypervisor = true;
  report.cause = kGuestPageFault[access];
  report.htval = fault.guest_physical >> 2;
  // "Transformed Instruction or Pseudoinstruction for mtinst or htinst": a 64-bit read or write for
  // VS-stage translation.
  if (fault.for_table) report.htinst = fault.table_write ? 0x3020 : 0x3000;
  return report;
}

}  // namespace nestwalk::models
