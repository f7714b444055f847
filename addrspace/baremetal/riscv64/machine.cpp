// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// RISC-V with the H extension, on the board that QEMU calls virt.

#include "machine.hpp"

namespace nestwalk::baremetal {
namespace {

// The assembler knows the hypervisor's registers by number only (privileged architecture, "CSR
// Listing").
constexpr unsigned kHstatus = 0x600, kHedeleg = 0x602, kHtval = 0x643, kHtinst = 0x64a;
constexpr unsigned kHgatp = 0x680, kVsatp = 0x280;
constexpr unsigned kSstatus = 0x100, kSepc = 0x141, kScause = 0x142, kStval = 0x143;

template <unsigned kCsr>
u64 read_csr() {
  u64 value;
  asm volatile("csrr %0, %1" : "=r"(value) : "i"(kCsr) : "memory");
  return value;
}
template <unsigned kCsr>
void write_csr(u64 value) {
  asm volatile("csrw %1, %0" : : "r"(value), "i"(kCsr) : "memory");
}
template <unsigned kCsr>
void set_bits(u64 bits) {
  asm volatile("csrs %1, %0" : : "r"(bits), "i"(kCsr) : "memory");
}

constexpr u64 kSpv = u64{1} << 7, kSpvp = u64{1} << 8;  // hstatus: sret enters VS-mode
constexpr u64 kSpp = u64{1} << 8, kSpie = u64{1} << 5;  // sstatus

constexpr u64 kEcallFromGuest = 10;
constexpr u64 kFetchFault = 20, kLoadFault = 21, kStoreFault = 23;

volatile u8* uart() { return reinterpret_cast<volatile u8*>(kDevice.page.value()); }

}  // namespace

const char kMachineName[] = "riscv64";
// NS16550: the scratch register is the eighth.
const DevicePage kDevice{Hpa(0x1000'0000), 7};

void put(char c) {
  constexpr unsigned kLineStatus = 5;
  constexpr u8 kEmpty = 0x20;
  while ((uart()[kLineStatus] & kEmpty) == 0) {
  }
  uart()[0] = static_cast<u8>(c);
}

void stop(bool success) {
  // SiFive's test finisher: pass, or fail with a code in the upper half.
  volatile u32* const finisher = reinterpret_cast<volatile u32*>(0x10'0000);
  *finisher = success ? 0x5555 : 0x1'3333;
  for (;;) {
  }
}

extern "C" void enter_guest(GuestRegisters* registers);

void start_hypervisor() { write_csr<kHedeleg>(0); }

void select_vm(const VmTag& space, u64 guest_root) {
  write_csr<kVsatp>(guest_root);
  write_csr<kHgatp>(space.root_register);
  // HLV and HSV act with the rights of the guest's kernel.
  set_bits<kHstatus>(kSpvp);
}

Exit run_guest_from(u64& pc, GuestRegisters& registers) {
  write_csr<kSepc>(pc);
  set_bits<kHstatus>(kSpv | kSpvp);
  write_csr<kSstatus>((read_csr<kSstatus>() & ~kSpie) | kSpp);
  enter_guest(&registers);
  pc = read_csr<kSepc>();

  Exit exit;
  exit.syndrome = read_csr<kScause>();
  switch (exit.syndrome) {
    case kEcallFromGuest:
      exit.why = Exit::Why::Hypercall;
      break;
    case kFetchFault:
    case kLoadFault:
    case kStoreFault:
      exit.why = Exit::Why::NestedFault;
      exit.fault = hext::guest_page_fault(exit.syndrome, read_csr<kHtval>(), read_csr<kStval>(),
                                          read_csr<kHtinst>());
      break;
    default:
      break;
  }
  return exit;
}

// A world switch would flush QEMU's TLB; HLV does not switch.
u64 load_as_guest(u64 address) {
  u64 value;
  asm volatile(".option push\n\t.option arch, +h\n\thlv.d %0, (%1)\n\t.option pop"
               : "=r"(value)
               : "r"(address)
               : "memory");
  return value;
}

void sync_code() { asm volatile("fence.i" : : : "memory"); }

}  // namespace nestwalk::baremetal
