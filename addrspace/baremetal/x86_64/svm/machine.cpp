// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// x86-64 with AMD-V, as the firmware of a machine in QEMU. (AMD APM vol. 2, chapter 15, and
// appendix B and C for the VMCB and the exit codes.)

#include "machine.hpp"
#include "x86_64/processor.hpp"

namespace nestwalk::baremetal {
namespace {

struct [[gnu::packed]] Segment {
  u16 selector, attributes;
  u32 limit;
  u64 base;
};

// Appendix B, "VMCB, Control Area" and "State Save Area": what is used here.
struct [[gnu::packed]] Vmcb {
  u8 unused_000[0x008];
  u32 exceptions;
  u32 intercepts, more_intercepts;
  u8 unused_014[0x058 - 0x014];
  u32 asid;
  u8 tlb_control;
  u8 unused_05d[0x070 - 0x05d];
  u64 exit_code, exit_info_1, exit_info_2;
  u8 unused_088[0x090 - 0x088];
  u64 nested_control;
  u8 unused_098[0x0b0 - 0x098];
  u64 nested_cr3;
  u8 unused_0b8[0x400 - 0x0b8];
  Segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
  u8 unused_4a0[0x4d0 - 0x4a0];
  u64 efer;
  u8 unused_4d8[0x548 - 0x4d8];
  u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
  u8 unused_580[0x668 - 0x580];
  u64 pat;
  u8 unused_670[kFrameBytes - 0x670];
};
static_assert(sizeof(Vmcb) == kFrameBytes);

constexpr u16 kAsids = 4;
struct alignas(kFrameBytes) Processor {
  Vmcb vmcb;
  u8 host_save_area[kFrameBytes];
  svm::TlbControl controls[kAsids];  // of each ASID: what its next VMRUN here has to flush
};
Processor processors[kProcessors];

constexpr u64 kExitNmi = 0x61, kExitVmmcall = 0x81, kExitNestedFault = 0x400;

constexpr u32 kVmCr = 0xc001'0114, kHostSaveArea = 0xc001'0117, kEfer = 0xc000'0080;
constexpr u64 kSvmDisabled = 1 << 4, kSvmEnable = 1 << 12;

void write_guest(Vmcb& vmcb) {
  constexpr u32 kInterceptShutdown = u32{1} << 31, kInterceptNmi = 1 << 1;
  constexpr u32 kInterceptVmrun = 1, kInterceptVmmcall = 2;
  constexpr u16 kCode64 = 0xa9b, kData32 = 0xc93;
  vmcb.exceptions = 0xffff'ffff;  // every exception of the guest's is unexpected
  vmcb.intercepts = kInterceptShutdown | kInterceptNmi;
  vmcb.more_intercepts = kInterceptVmrun | kInterceptVmmcall;
  vmcb.nested_control = 1;
  vmcb.es = vmcb.ss = vmcb.ds = {kData, kData32, 0xffff'ffff, 0};
  vmcb.cs = {kCode, kCode64, 0xffff'ffff, 0};
  vmcb.efer = read_msr(kEfer);
  vmcb.cr0 = read_cr0();
  vmcb.cr4 = read_cr4();
  vmcb.dr6 = 0xffff'0ff0;
  vmcb.dr7 = 0x400;
  vmcb.rflags = 2;
  vmcb.pat = kResetPat;
}

extern "C" void enter_guest(GuestRegisters* registers, u64 vmcb);
extern "C" const u8 ignore_nmi[];

void start(Processor& processor) {
  constexpr u64 kNmi = 2;
  catch_exceptions();
  handle_exception(kNmi, ignore_nmi);
  must((read_msr(kVmCr) & kSvmDisabled) == 0);
  write_msr(kEfer, read_msr(kEfer) | kSvmEnable);
  write_msr(kHostSaveArea, reinterpret_cast<u64>(processor.host_save_area));
  write_guest(processor.vmcb);
}

void select(Vmcb& vmcb, const VmTag& space, u64 guest_root) {
  vmcb.nested_cr3 = space.root_register;
  vmcb.asid = space.vmid;
  vmcb.cr3 = guest_root;
}

Exit run(unsigned processor, u64& pc, GuestRegisters& registers) {
  Vmcb& vmcb = processors[processor].vmcb;
  vmcb.rip = pc;
  asm volatile("clgi" : : : "memory");
  vmcb.tlb_control = next_vmrun(processor, static_cast<u16>(vmcb.asid)).take();
  enter_guest(&registers, reinterpret_cast<u64>(&vmcb));
  pc = vmcb.rip;

  Exit exit;
  exit.syndrome = (vmcb.exit_code & 0xffff) | vmcb.exit_info_1 << 16;
  if (vmcb.exit_code == kExitVmmcall) exit.why = Exit::Why::Hypercall;
  if (vmcb.exit_code == kExitNestedFault) {
    exit.why = Exit::Why::NestedFault;
    exit.fault = svm::nested_page_fault(vmcb.exit_info_1, vmcb.exit_info_2);
  }
  return exit;
}

}  // namespace

const char kMachineName[] = "x86_64-svm";

void stop(bool success) {
  // QEMU's isa-debug-exit: its status is never 0, so emulate.sh knows what success is.
  out(0xf4, success ? 0x10 : 0x11);
  for (;;) asm volatile("cli\n\thlt");
}

void start_hypervisor() { start(processors[0]); }
void select_vm(const VmTag& space, u64 guest_root) {
  select(processors[0].vmcb, space, guest_root);
}
Exit run_guest_from(u64& pc, GuestRegisters& registers) { return run(0, pc, registers); }

namespace {

struct Task {
  VmTag space;
  u64 guest_root;
  u64 pc;
  GuestRegisters registers;
} task;
alignas(16) u8 stack[16 * kKiB];
bool second_runs;
volatile u64 second_exits;

void send_to_second(u32 command) {
  volatile u32* const apic = reinterpret_cast<volatile u32*>(0xfee0'0000);
  apic[0x310 / 4] = 1 << 24;
  apic[0x300 / 4] = command;
}

}  // namespace

extern "C" {
extern const u64 second_stack;
const u64 second_stack = reinterpret_cast<u64>(stack) + sizeof(stack);
[[noreturn]] void second_main();
}
void second_main() {
  start(processors[1]);
  select(processors[1].vmcb, task.space, task.guest_root);
  for (;;) {
    const Exit exit = run(1, task.pc, task.registers);
    second_exits = second_exits + 1;
    // Where a page is missing, the first processor is about to put one. After anything unexpected
    // the first processor will miss this one.
    const bool kicked = processors[1].vmcb.exit_code == kExitNmi;
    if (!kicked && exit.why != Exit::Why::NestedFault) break;
  }
  for (;;) asm volatile("hlt");
}

void start_second_processor(const VmTag& space, u64 guest_root, u64 pc,
                            const GuestRegisters& registers) {
  constexpr u32 kInit = 0x4500, kStartup = 0x4600, kPage = 0xff;
  task = {space, guest_root, pc, registers};
  second_runs = true;
  send_to_second(kInit);
  for (unsigned n = 0; n < 1'000'000; ++n) asm volatile("pause");
  send_to_second(kStartup | kPage);
}

svm::TlbControl& next_vmrun(unsigned processor, u16 asid) {
  must(asid < kAsids);
  return processors[processor].controls[asid];
}

void kick_second_processor() {
  constexpr u32 kNmi = 0x4400;
  if (!second_runs) return;
  const u64 before = second_exits;
  send_to_second(kNmi);
  while (second_exits == before) asm volatile("pause");
}

u8 last_tlb_control() { return processors[0].vmcb.tlb_control; }

}  // namespace nestwalk::baremetal
