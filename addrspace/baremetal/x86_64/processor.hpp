// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What both hypervisors on x86-64 need of the processor.
#pragma once

#include "machine.hpp"

namespace nestwalk::baremetal {

inline u64 read_msr(u32 number) {
  u32 low, high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
  return u64{high} << 32 | low;
}
inline void write_msr(u32 number, u64 value) {
  asm volatile("wrmsr"
               :
               : "c"(number), "a"(static_cast<u32>(value)), "d"(static_cast<u32>(value >> 32)));
}
inline u64 read_cr0() {
  u64 value;
  asm volatile("mov %%cr0, %0" : "=r"(value));
  return value;
}
inline u64 read_cr3() {
  u64 value;
  asm volatile("mov %%cr3, %0" : "=r"(value));
  return value;
}
inline u64 read_cr4() {
  u64 value;
  asm volatile("mov %%cr4, %0" : "=r"(value));
  return value;
}
inline void out(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

inline void must(bool fine) {
  if (!fine) __builtin_trap();
}

inline constexpr u64 kCode = 0x18, kData = 0x10;  // selectors, see boot.S
extern "C" const u8 gdt[];

/// From now on an exception in the hypervisor ends the run with a report, unless its vector has a
/// handler.
void catch_exceptions();
void handle_exception(u64 vector, const u8* handler);
u64 idt_base();

}  // namespace nestwalk::baremetal
