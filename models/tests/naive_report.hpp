// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the registers say about a fault: a second time, bit by bit from the manuals.
#pragma once

#include "naive_translator.hpp"
#include "nestwalk/models/translation/fault_report.hpp"

namespace nestwalk::models::naive {

// Intel SDM vol. 3A, "Page-Fault Exceptions"; vol. 3C, "Exit Qualification for EPT Violations".
inline X86Report x86_registers(const Answer& a, u64 address, AccessKind access, bool user,
                               bool ept_flags) {
  X86Report report;
  report.linear_address = address;
  const bool write = access == AccessKind::Write, fetch = access == AccessKind::Execute;
  if (a.kind == FaultKind::BusError) {
    report.event = X86Report::Event::BusError;
  } else if (a.nested && a.kind == FaultKind::Malformed) {
    report.event = X86Report::Event::EptMisconfiguration;
    report.guest_physical = a.guest_physical;
  } else if (a.nested) {
    report.event = X86Report::Event::EptViolation;
    report.guest_physical = a.guest_physical;
    u64 q = 0;
    // A guest's table: read, or written to set flags; with EPT's own flags always both.
    if (a.for_table ? !a.table_write || ept_flags : !write && !fetch) q |= 1;
    if (a.for_table ? a.table_write || ept_flags : write) q |= 2;
    if (!a.for_table && fetch) q |= 4;
    q |= u64{a.kind == FaultKind::Permission ? a.granted : 0} << 3;
    q |= 1 << 7;
    if (!a.for_table) q |= 1 << 8;
    report.qualification = q;
  } else if (a.kind == FaultKind::BadAddress) {
    report.event = X86Report::Event::GeneralProtection;
  } else {
    report.event = X86Report::Event::PageFault;
    unsigned code = 0;
    if (a.kind != FaultKind::NotPresent) code |= 1;
    if (write) code |= 2;
    if (user) code |= 4;
    if (a.kind == FaultKind::Malformed) code |= 8;
    if (fetch) code |= 16;
    report.error_code = static_cast<u16>(code);
  }
  return report;
}

// Arm ARM D24, "ESR_EL2": EC, IL, and the ISS of instruction and data aborts.
inline ArmReport arm_registers(const Answer& a, u64 address, AccessKind access, bool user) {
  ArmReport report;
  const bool fetch = access == AccessKind::Execute;
  u64 ec = fetch ? 0b100000 : 0b100100;
  if (!a.nested && !user) ec += 1;  // taken without a change of Exception level
  // Arm counts down to 3; level -1 has codes of its own.
  const bool minus_one = a.level == 4;
  const u64 level = minus_one ? 0 : 3 - a.level;
  u64 code = 0;
  if (a.kind == FaultKind::BadAddress) code = 0b000100;
  if (a.kind == FaultKind::NotPresent) code = minus_one ? 0b101011 : 0b000100 + level;
  if (a.kind == FaultKind::Malformed) code = minus_one ? 0b101001 : level;
  if (a.kind == FaultKind::AccessFlag) code = 0b001000 + level;
  if (a.kind == FaultKind::Permission) code = 0b001100 + level;
  if (a.kind == FaultKind::BusError) code = minus_one ? 0b010011 : 0b010100 + level;
  if (a.for_table) code |= 1 << 7;  // S1PTW
  if (!fetch && (a.for_table ? a.table_write : access == AccessKind::Write)) code |= 1 << 6;  // WnR
  report.to_el2 = a.nested;
  report.esr = ec << 26 | u64{1} << 25 | code;
  report.far = address;
  if (a.nested) report.hpfar = field(a.guest_physical, 51, 12) << 4;
  return report;
}

// RISC-V privileged spec, "Supervisor Cause Register", "Hypervisor Trap Value Register",
// "Transformed Instruction or Pseudoinstruction for mtinst or htinst".
inline RiscvReport riscv_registers(const Answer& a, u64 address, AccessKind access) {
  RiscvReport report;
  report.tval = address;
  const bool write = access == AccessKind::Write, fetch = access == AccessKind::Execute;
  if (a.kind == FaultKind::BusError) {
    report.cause = fetch ? 1 : write ? 7 : 5;
  } else if (!a.nested) {
    report.cause = fetch ? 12 : write ? 15 : 13;
  } else {
    report.cause = fetch ? 20 : write ? 23 : 21;
    report.to_hypervisor = true;
    report.htval = a.guest_physical / 4;
    if (a.for_table) report.htinst = a.table_write ? 0x3020 : 0x3000;
  }
  return report;
}

}  // namespace nestwalk::models::naive
