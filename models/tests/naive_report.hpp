// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the registers say about a fault: a second time, bit by bit from the manuals.
#pragma once

#include "naive_translator.hpp"
#include "nestwalk/models/translation/fault_report.hpp"

namespace nestwalk::models::naive {

// Intel SDM vol. 3A, "Page-Fault Exceptions"; vol. 3C, "Exit Qualification for EPT Violations".
inline FaultReport x86_registers(const Answer& a, u64 address, AccessKind access, bool user,
                                 bool ept_flags) {
  const bool write = access == AccessKind::Write, fetch = access == AccessKind::Execute;
  if (a.kind == FaultKind::BusError) return {"bus error"};
  if (a.nested && a.kind == FaultKind::Malformed) {
    return {"EPT misconfiguration", true, {{{"guest-physical address", a.guest_physical}}}};
  }
  if (a.nested) {
    u64 q = 0;
    // A guest's table: read, or written to set flags; with EPT's own flags always both.
    if (a.for_table ? !a.table_write || ept_flags : !write && !fetch) q |= 1;
    if (a.for_table ? a.table_write || ept_flags : write) q |= 2;
    if (!a.for_table && fetch) q |= 4;
    q |= u64{a.kind == FaultKind::Permission ? a.granted : 0} << 3;
    q |= 1 << 7;
    if (!a.for_table) q |= 1 << 8;
    return {"EPT violation",
            true,
            {{{"exit qualification", q},
              {"guest-physical address", a.guest_physical},
              {"guest-linear address", address}}}};
  }
  if (a.kind == FaultKind::BadAddress) return {"general protection"};
  u64 code = 0;
  if (a.kind != FaultKind::NotPresent) code |= 1;
  if (write) code |= 2;
  if (user) code |= 4;
  if (a.kind == FaultKind::Malformed) code |= 8;
  if (fetch) code |= 16;
  return {"page fault", false, {{{"error code", code}, {"CR2", address}}}};
}

// AMD APM vol. 2, 15.25.6 "Nested versus Guest Page Faults, Fault Ordering".
inline FaultReport svm_registers(const Answer& a, u64 address, AccessKind access, bool user) {
  if (!a.nested || a.kind == FaultKind::BusError) {
    return x86_registers(a, address, access, user, true);
  }
  u64 info = 1 << 2;  // always a user's
  if (a.kind == FaultKind::Permission || a.kind == FaultKind::Malformed) info |= 1 << 0;
  if (a.for_table || access == AccessKind::Write) info |= 1 << 1;
  if (a.kind == FaultKind::Malformed) info |= 1 << 3;
  if (!a.for_table && access == AccessKind::Execute) info |= 1 << 4;
  info |= a.for_table ? u64{1} << 33 : u64{1} << 32;
  return {"nested page fault", true, {{{"EXITINFO1", info}, {"EXITINFO2", a.guest_physical}}}};
}

// Arm ARM D24, "ESR_EL2": EC, IL, and the ISS of instruction and data aborts.
inline FaultReport arm_registers(const Answer& a, u64 address, AccessKind access, bool user) {
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
  const u64 syndrome = ec << 26 | u64{1} << 25 | code;
  const char* event = fetch ? "instruction abort" : "data abort";
  if (!a.nested) return {event, false, {{{"ESR_EL1", syndrome}, {"FAR_EL1", address}}}};
  const u64 hpfar = field(a.guest_physical, 51, 12) << 4;
  return {event, true, {{{"ESR_EL2", syndrome}, {"FAR_EL2", address}, {"HPFAR_EL2", hpfar}}}};
}

// RISC-V privileged spec, "Supervisor Cause Register", "Hypervisor Trap Value Register",
// "Transformed Instruction or Pseudoinstruction for mtinst or htinst".
inline FaultReport riscv_registers(const Answer& a, u64 address, AccessKind access) {
  const bool write = access == AccessKind::Write, fetch = access == AccessKind::Execute;
  std::string_view event = fetch   ? "instruction guest-page fault"
                           : write ? "store/AMO guest-page fault"
                                   : "load guest-page fault";
  if (a.kind == FaultKind::BusError) {
    event = fetch   ? "instruction access fault"
            : write ? "store/AMO access fault"
                    : "load access fault";
    const u64 cause = fetch ? 1 : write ? 7 : 5;
    return {event, false, {{{"vscause", cause}, {"vstval", address}}}};
  }
  if (!a.nested) {
    event = fetch ? "instruction page fault" : write ? "store/AMO page fault" : "load page fault";
    const u64 cause = fetch ? 12 : write ? 15 : 13;
    return {event, false, {{{"vscause", cause}, {"vstval", address}}}};
  }
  const u64 cause = fetch ? 20 : write ? 23 : 21;
  const u64 instruction = !a.for_table ? 0 : a.table_write ? 0x3020 : 0x3000;
  return {event,
          true,
          {{{"scause", cause},
            {"stval", address},
            {"htval", a.guest_physical / 4},
            {"htinst", instruction}}}};
}

}  // namespace nestwalk::models::naive
