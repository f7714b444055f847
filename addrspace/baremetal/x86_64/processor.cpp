// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "x86_64/processor.hpp"

namespace nestwalk::baremetal {
namespace {

extern "C" const u8 exceptions[];
struct Gate {
  u64 low, high;
};
Gate idt[32];

}  // namespace

// The local APIC's task priority, which nothing looks at while interrupts are off.
const DevicePage kDevice{Hpa(0xfee0'0000), 0x80};

void put(char c) { out(0xe9, static_cast<u8>(c)); }

u64 idt_base() { return reinterpret_cast<u64>(idt); }

void handle_exception(u64 vector, const u8* handler) {
  const u64 at = reinterpret_cast<u64>(handler);
  idt[vector] = {(at & 0xffff) | kCode << 16 | u64{0x8e} << 40 | (at >> 16 & 0xffff) << 48,
                 at >> 32};
}

void catch_exceptions() {
  for (u64 n = 0; n < 32; ++n) handle_exception(n, exceptions + 16 * n);
  struct [[gnu::packed]] {
    u16 limit;
    u64 base;
  } const where{sizeof(idt) - 1, idt_base()};
  asm volatile("lidt %0" : : "m"(where));
}

// Processors see to that themselves.
void sync_code() {}

}  // namespace nestwalk::baremetal
