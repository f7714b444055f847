# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# machine.hpp says what each does. a0: address, a1: value, a2: other.

  .section .rodata.guest, "a"
  .option norvc
  .balign 8
  .globl guest_begin, guest_end, guest_count, guest_load, guest_store, guest_jump
  .globl guest_device, guest_rewrite, guest_landing
guest_begin:
guest_count:
  addi a1, a1, 1
  ecall
guest_load:
  ld a1, 0(a0)
  ecall
guest_store:
  sd a1, 0(a0)
  ecall
guest_jump:
  jr a0
guest_device:
  sb a1, 0(a0)
  lbu a1, 0(a0)
  ecall
guest_rewrite:
  ld t0, 0(a0)
  sd a1, 0(a2)
  ld a1, 0(a0)
  ecall
guest_landing:
  li a1, 0x5a
  ecall
guest_end:
