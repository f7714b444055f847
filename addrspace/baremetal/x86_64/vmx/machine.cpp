// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// x86-64 in VMX root operation, as the firmware of a machine in Bochs. (Intel SDM vol. 3C, "VM
// entries", and appendix A and B for the numbers.)

#include <initializer_list>

#include "machine.hpp"
#include "x86_64/processor.hpp"

namespace nestwalk::baremetal {
namespace {

// VMCS ---------------------------------------------------------------------------------------

enum Field : u64 {
  kVpid = 0x0000,
  kGuestEs = 0x0800,
  kGuestCs = 0x0802,
  kGuestLdtr = 0x080c,
  kGuestTr = 0x080e,
  kHostEs = 0x0c00,
  kHostCs = 0x0c02,
  kHostTr = 0x0c0c,
  kEptPointer = 0x201a,
  kGuestPhysical = 0x2400,
  kLinkPointer = 0x2800,
  kPinControls = 0x4000,
  kProcessorControls = 0x4002,
  kExceptions = 0x4004,
  kExitControls = 0x400c,
  kEntryControls = 0x4012,
  kSecondaryControls = 0x401e,
  kExitReason = 0x4402,
  kGuestEsLimit = 0x4800,
  kGuestLdtrLimit = 0x480c,
  kGuestTrLimit = 0x480e,
  kGuestGdtrLimit = 0x4810,
  kGuestIdtrLimit = 0x4812,
  kGuestEsRights = 0x4814,
  kGuestCsRights = 0x4816,
  kGuestLdtrRights = 0x4820,
  kGuestTrRights = 0x4822,
  kQualification = 0x6400,
  kGuestCr0 = 0x6800,
  kGuestCr3 = 0x6802,
  kGuestCr4 = 0x6804,
  kGuestRip = 0x681e,
  kGuestRflags = 0x6820,
  kHostCr0 = 0x6c00,
  kHostCr3 = 0x6c02,
  kHostCr4 = 0x6c04,
  kHostTrBase = 0x6c0a,
  kHostGdtrBase = 0x6c0c,
  kHostIdtrBase = 0x6c0e,
  kHostRip = 0x6c16,
};

u64 read(Field field) {
  u64 value;
  asm volatile("vmread %1, %0" : "=r"(value) : "r"(u64{field}) : "cc");
  return value;
}
void write(u64 field, u64 value) {
  bool failed;
  asm volatile("vmwrite %2, %1" : "=@ccbe"(failed) : "r"(field), "r"(value));
  must(!failed);
}

struct Region {
  alignas(kFrameBytes) u8 bytes[kFrameBytes];
};
Region vmxon_region, vmcs_region;
u64 launched;

/// The wanted controls, and those that the processor does not run without.
u64 controls(u64 wanted, u32 capability) {
  const u64 allowed = read_msr(capability);
  must((wanted & ~(allowed >> 32)) == 0);
  return (wanted | (allowed & 0xffff'ffff)) & (allowed >> 32);
}

void write_controls(u64 basic) {
  constexpr u64 kSecondary = u64{1} << 31, kEpt = 1 << 1, kUseVpid = 1 << 5, kLongMode = 1 << 9;
  const bool true_controls = (basic >> 55 & 1) != 0;  // IA32_VMX_TRUE_*
  write(kPinControls, controls(0, true_controls ? 0x48d : 0x481));
  write(kProcessorControls, controls(kSecondary, true_controls ? 0x48e : 0x482));
  write(kExitControls, controls(kLongMode, true_controls ? 0x48f : 0x483));
  write(kEntryControls, controls(kLongMode, true_controls ? 0x490 : 0x484));
  write(kSecondaryControls, controls(kEpt | kUseVpid, 0x48b));
  write(kExceptions, 0xffff'ffff);  // every exception of the guest's is unexpected
  write(kLinkPointer, ~u64{0});
}

extern "C" void leave_guest();

void write_host() {
  for (u64 field = kHostEs; field <= kHostTr; field += 2) {
    write(field, field == kHostCs ? kCode : kData);
  }
  write(kHostCr0, read_cr0());
  write(kHostCr3, read_cr3());
  write(kHostCr4, read_cr4());
  for (u64 field = 0x6c06; field <= 0x6c12; field += 2) write(field, 0);  // bases; SYSENTER
  write(kHostGdtrBase, reinterpret_cast<u64>(gdt));
  write(kHostIdtrBase, idt_base());
  write(kHostRip, reinterpret_cast<u64>(leave_guest));
}

void write_guest() {
  constexpr u64 kUnusable = 0x1'0000, kCode64 = 0xa09b, kData32 = 0xc093, kBusyTss = 0x8b;
  for (u64 n = 0; n < 12; n += 2) {  // ES, CS, SS, DS, FS, GS
    write(kGuestEs + n, kGuestEs + n == kGuestCs ? kCode : kData);
    write(kGuestEsLimit + n, 0xffff'ffff);
    write(kGuestEsRights + n, kGuestEsRights + n == kGuestCsRights ? kCode64 : kData32);
  }
  write(kGuestLdtr, 0);
  write(kGuestLdtrLimit, 0);
  write(kGuestLdtrRights, kUnusable);
  write(kGuestTr, 0);
  write(kGuestTrLimit, 0x67);
  write(kGuestTrRights, kBusyTss);
  write(kGuestGdtrLimit, 0);
  write(kGuestIdtrLimit, 0);
  for (u64 field = 0x6806; field <= 0x6818; field += 2) write(field, 0);  // bases
  write(kGuestCr0, read_cr0());
  write(kGuestCr4, read_cr4());
  write(0x681a, 0x400);  // DR7
  write(kGuestRflags, 2);
  // RSP, pending exceptions, SYSENTER, interruptibility, activity, debug control.
  for (const u64 field : {u64{0x681c}, u64{0x6822}, u64{0x6824}, u64{0x6826}, u64{0x482a},
                          u64{0x4824}, u64{0x4826}, u64{0x2802}}) {
    write(field, 0);
  }
}

void enter_vmx_operation(u64 basic) {
  constexpr u32 kFeatureControl = 0x3a;
  if ((read_msr(kFeatureControl) & 1) == 0) write_msr(kFeatureControl, 5);  // VMX, and locked
  const u64 cr0 = (read_cr0() | read_msr(0x486)) & read_msr(0x487);
  const u64 cr4 = (read_cr4() | u64{1} << 13 | read_msr(0x488)) & read_msr(0x489);
  asm volatile("mov %0, %%cr0\n\tmov %1, %%cr4" : : "r"(cr0), "r"(cr4) : "memory");
  const u32 revision = static_cast<u32>(basic) & 0x7fff'ffff;
  __builtin_memcpy(vmxon_region.bytes, &revision, sizeof(revision));
  __builtin_memcpy(vmcs_region.bytes, &revision, sizeof(revision));
  const u64 vmxon_at = reinterpret_cast<u64>(&vmxon_region);
  const u64 vmcs_at = reinterpret_cast<u64>(&vmcs_region);
  bool failed;
  asm volatile("vmxon %1" : "=@ccbe"(failed) : "m"(vmxon_at) : "memory");
  must(!failed);
  asm volatile("vmclear %1" : "=@ccbe"(failed) : "m"(vmcs_at) : "memory");
  must(!failed);
  asm volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(vmcs_at) : "memory");
  must(!failed);
}

}  // namespace

const char kMachineName[] = "x86_64-vmx";

void stop(bool success) {
  // Bochs stops at the first, and its script goes on with "quit"; the second is a panic.
  if (success) asm volatile("xchgw %bx, %bx");
  for (const char* text = "Shutdown"; *text != 0; ++text) out(0x8900, static_cast<u8>(*text));
  for (;;) asm volatile("cli\n\thlt");
}

extern "C" u64 enter_guest(GuestRegisters* registers, u64 launched);

void start_hypervisor() {
  catch_exceptions();
  const u64 basic = read_msr(0x480);
  enter_vmx_operation(basic);
  write_controls(basic);
  write_host();
  write_guest();
}

void select_vm(const VmTag& space, u64 guest_root) {
  write(kEptPointer, space.root_register);
  write(kVpid, space.vmid);
  write(kGuestCr3, guest_root);
}

Exit run_guest_from(u64& pc, GuestRegisters& registers) {
  constexpr u64 kVmcall = 18, kEptViolation = 48, kEptMisconfiguration = 49;
  write(kGuestRip, pc);
  Exit exit;
  exit.syndrome = enter_guest(&registers, launched);
  if (exit.syndrome != 0) return exit;
  launched = 1;
  pc = read(kGuestRip);

  const u64 reason = read(kExitReason);
  const u64 qualification = read(kQualification);
  exit.syndrome = reason | qualification << 16;
  if (reason == kVmcall) exit.why = Exit::Why::Hypercall;
  if (reason == kEptViolation || reason == kEptMisconfiguration) {
    const u64 gpa = read(kGuestPhysical);
    exit.why = Exit::Why::NestedFault;
    exit.fault = reason == kEptViolation ? vmx::ept_violation(qualification, gpa)
                                         : vmx::ept_misconfiguration(gpa);
  }
  return exit;
}

}  // namespace nestwalk::baremetal
