// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// EL2, where QEMU starts, with the MMU off; and from EL2 to the guest and back.

  .section .text.start, "ax"
  .globl start
start:
  ldr x0, =stack_top
  mov sp, x0
  ldr x0, =bss_begin
  ldr x1, =bss_end
1:str xzr, [x0], #8
  cmp x0, x1
  b.lo 1b
  ldr x0, =vectors
  msr vbar_el2, x0
  isb
  bl payload_main

  .text
  .macro unexpected
  .balign 0x80
  mrs x0, esr_el2
  mrs x1, elr_el2
  mrs x2, far_el2
  b unexpected_trap
  .endm

  .balign 0x800
vectors:
  .rept 8
  unexpected
  .endr
  .balign 0x80                  // synchronous, from a lower EL that is AArch64
  b leave_guest
  .rept 7
  unexpected
  .endr

// void enter_guest(GuestRegisters*)
  .globl enter_guest
enter_guest:
  stp x29, x30, [sp, #-112]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  str x0, [sp, #96]
  ldr x2, [x0, #16]
  ldp x0, x1, [x0]
  eret
leave_guest:
  ldr x3, [sp, #96]
  stp x0, x1, [x3]
  str x2, [x3, #16]
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp x29, x30, [sp], #112
  ret

// Where the second processor begins, in EL2: x0 points to its stack.
  .globl second_processor
second_processor:
  mov sp, x0
  ldr x1, =vectors
  msr vbar_el2, x1
  isb
  b second_main
