// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// machine.hpp says what each does. x0: address, x1: value, x2: other.

  .section .rodata.guest, "a"
  .balign 8
  .globl guest_begin, guest_end, guest_count, guest_load, guest_store, guest_jump
  .globl guest_device, guest_rewrite, guest_watch, guest_landing
guest_begin:
guest_count:
  add x1, x1, #1
  hvc #0
guest_load:
  ldr x1, [x0]
  hvc #0
guest_store:
  str x1, [x0]
  hvc #0
guest_jump:
  br x0
guest_device:
  str w1, [x0]
  ldr w1, [x0]
  hvc #0
guest_rewrite:
  ldr x3, [x0]
  str x1, [x2]
  ldr x1, [x0]
  hvc #0
guest_watch:                    // for ever: what it sees, and how often it looked
  ldr x1, [x0]
  str x1, [x2]
  add x3, x3, #1
  dmb ish
  str x3, [x2, #8]
  b guest_watch
guest_landing:
  mov x1, #0x5a
  hvc #0
guest_end:
