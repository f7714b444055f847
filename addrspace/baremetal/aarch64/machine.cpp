// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// AArch64 at EL2, on the board that QEMU calls virt.

#include "machine.hpp"

namespace nestwalk::baremetal {
namespace {

#define READ(reg)                                             \
  ([] {                                                       \
    u64 value;                                                \
    asm volatile("mrs %0, " #reg : "=r"(value) : : "memory"); \
    return value;                                             \
  }())
#define WRITE(reg, value) asm volatile("msr " #reg ", %0" : : "r"(u64{value}) : "memory")

constexpr u64 kHcrRw = u64{1} << 31, kHcrVm = 1;  // EL1 is AArch64; stage 2 is on
// SCTLR_EL1: its RES1 bits; M turns stage 1 on.
constexpr u64 kSctlrRes1 = 0x30d0'0800, kSctlrM = 1;
// TCR_EL1: 39 bits in TTBR0, walks write-back and inner shareable, TTBR1 off.
constexpr u64 kTcr = (64 - 39) | u64{1} << 8 | u64{1} << 10 | u64{3} << 12 | u64{1} << 23;
constexpr u64 kSpsrEl1h = 0x3c5;  // EL1 on its own stack pointer, interrupts masked

constexpr u64 kHypercall = 0x16, kFetchAbort = 0x20, kDataAbort = 0x24;

volatile u32* uart() { return reinterpret_cast<volatile u32*>(kDevice.page.value()); }

}  // namespace

const char kMachineName[] = "aarch64";
// PL011: UARTIBRD, the integer part of the baud rate's divisor.
const DevicePage kDevice{Hpa(0x900'0000), 0x24};

void put(char c) {
  constexpr unsigned kFlags = 0x18 / 4;
  constexpr u32 kFull = 0x20;
  while ((uart()[kFlags] & kFull) != 0) {
  }
  uart()[0] = static_cast<u8>(c);
}

void stop(bool success) {
  // Semihosting SYS_EXIT: ADP_Stopped_ApplicationExit and the status.
  const u64 block[2] = {0x2'0026, success ? u64{0} : u64{1}};
  register u64 operation asm("x0") = 0x18;
  register const u64* argument asm("x1") = block;
  for (;;) asm volatile("hlt #0xf000" : "+r"(operation) : "r"(argument) : "memory");
}

extern "C" void enter_guest(GuestRegisters* registers);

void start_hypervisor() {
  if (READ(CurrentEL) >> 2 != 2) stop(false);  // EL1: virtualization=on is missing
  WRITE(hcr_el2, kHcrRw | kHcrVm);
  WRITE(cptr_el2, 0x33ff);  // no traps
}

void select_vm(const VmTag& space, u64 guest_root) {
  WRITE(mair_el1, GuestFormat::kDefaultMair);
  WRITE(tcr_el1, kTcr);
  WRITE(ttbr0_el1, guest_root);
  WRITE(sctlr_el1, kSctlrRes1 | (guest_root != 0 ? kSctlrM : 0));
  WRITE(vtcr_el2, space.control_register);
  WRITE(vttbr_el2, space.root_register);
  asm volatile("isb" : : : "memory");
}

Exit run_guest_from(u64& pc, GuestRegisters& registers) {
  WRITE(elr_el2, pc);
  WRITE(spsr_el2, kSpsrEl1h);
  enter_guest(&registers);
  pc = READ(elr_el2);

  Exit exit;
  exit.syndrome = READ(esr_el2);
  const u64 what = exit.syndrome >> 26;
  if (what == kHypercall) {
    exit.why = Exit::Why::Hypercall;
  } else if (what == kFetchAbort || what == kDataAbort) {
    exit.why = Exit::Why::NestedFault;
    exit.fault = stage2::nested_abort(exit.syndrome, READ(hpfar_el2), READ(far_el2));
  }
  return exit;
}

namespace {
struct Second {
  VmTag space;
  u64 guest_root;
  u64 pc;
  GuestRegisters registers;
} second;
alignas(16) u8 second_stack[16 * kKiB];
}  // namespace

extern "C" void second_processor();
extern "C" [[noreturn]] void second_main();
void second_main() {
  start_hypervisor();
  select_vm(second.space, second.guest_root);
  // Where a page is missing, the first processor is about to put one.
  while (run_guest_from(second.pc, second.registers).why == Exit::Why::NestedFault) {
  }
  // It should not have stopped; the first processor will miss it.
  for (;;) asm volatile("wfe");
}

void start_second_processor(const VmTag& space, u64 guest_root, u64 pc,
                            const GuestRegisters& registers) {
  second = {space, guest_root, pc, registers};
  // PSCI CPU_ON: processor 1, where it begins, and its stack.
  register u64 function asm("x0") = 0xc400'0003;
  register u64 target asm("x1") = 1;
  register u64 entry asm("x2") = reinterpret_cast<u64>(second_processor);
  register u64 context asm("x3") = reinterpret_cast<u64>(second_stack) + sizeof(second_stack);
  asm volatile("dsb sy\n\tsmc #0"
               : "+r"(function), "+r"(target), "+r"(entry), "+r"(context)
               :
               : "memory");
}

void sync_code() { asm volatile("ic ialluis\n\tdsb ish\n\tisb" : : : "memory"); }

}  // namespace nestwalk::baremetal
