// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What the processor's registers say about a fault.
#pragma once

#include "nestwalk/models/translation/fault.hpp"

namespace nestwalk::models {

/// x86-64: to the hypervisor an EPT violation or misconfiguration, to the guest a page fault.
struct X86Report {
  enum class Event : u8 {
    PageFault,
    GeneralProtection,
    EptViolation,
    EptMisconfiguration,
    BusError
  };
  Event event = Event::PageFault;
  u16 error_code = 0;      ///< page fault
  u64 linear_address = 0;  ///< CR2, or the guest-linear address of the exit
  u64 qualification = 0;   ///< EPT violation
  u64 guest_physical = 0;  ///< EPT violation and misconfiguration
  friend bool operator==(const X86Report&, const X86Report&) = default;
};

/// AArch64: ESR_EL2 and its like for the second stage, ESR_EL1 for the first.
struct ArmReport {
  bool to_el2 = false;
  u64 esr = 0;
  u64 far = 0;
  u64 hpfar = 0;  ///< EL2: IPA[51:12] in bits 43:4
  friend bool operator==(const ArmReport&, const ArmReport&) = default;
};

/// RISC-V: a trap to HS for guest-page faults, to VS for the others.
struct RiscvReport {
  bool to_hypervisor = false;
  u64 cause = 0;   ///< scause or vscause
  u64 tval = 0;    ///< stval or vstval
  u64 htval = 0;   ///< guest-physical address >> 2
  u64 htinst = 0;  ///< a pseudoinstruction for an implicit access, else 0
  friend bool operator==(const RiscvReport&, const RiscvReport&) = default;
};

X86Report x86_report(const Fault& fault);
/// Arm counts levels from the other end: its level is 3 minus ours, -1 for the fifth.
ArmReport arm_report(const Fault& fault);
RiscvReport riscv_report(const Fault& fault);

}  // namespace nestwalk::models
