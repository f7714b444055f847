# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# From M-mode, where QEMU starts, to HS-mode; and from HS-mode to the guest and back.

  .section .text.start, "ax"
  .globl start
start:
  csrr t0, mhartid
  bnez t0, park                 # one hart is enough
  la sp, stack_top
  la t0, bss_begin
  la t1, bss_end
1:sd zero, 0(t0)
  addi t0, t0, 8
  bltu t0, t1, 1b
  li t0, -1                     # PMP: everything is permitted below M-mode, else nothing would be
  csrw pmpaddr0, t0
  li t0, 0x1f
  csrw pmpcfg0, t0
  # HS-mode gets all exceptions that a guest or itself can cause, but its own ecall (9).
  li t0, 0xf0b5ff & ~(1 << 9)
  csrw medeleg, t0
  la t0, machine_trap
  csrw mtvec, t0
  li t0, 3 << 11                # mstatus.MPP = S
  csrc mstatus, t0
  li t0, 1 << 11
  csrs mstatus, t0
  la t0, trap
  csrw stvec, t0
  csrw sscratch, zero
  la t0, payload_main
  csrw mepc, t0
  mret
park:
  wfi
  j park

  .balign 4
machine_trap:                   # nothing that we do leads here
  csrr a0, mcause
  csrr a1, mepc
  csrr a2, mtval
  j unexpected_trap

# sscratch is 0 while the hypervisor runs, and holds its stack while the guest does.
  .balign 4
trap:
  csrrw sp, sscratch, sp
  bnez sp, leave_guest
  csrrw sp, sscratch, sp
  csrr a0, scause
  csrr a1, sepc
  csrr a2, stval
  j unexpected_trap

# void enter_guest(GuestRegisters*)
  .globl enter_guest
enter_guest:
  addi sp, sp, -112
  sd ra, 0(sp)
  sd s0, 8(sp)
  sd s1, 16(sp)
  sd s2, 24(sp)
  sd s3, 32(sp)
  sd s4, 40(sp)
  sd s5, 48(sp)
  sd s6, 56(sp)
  sd s7, 64(sp)
  sd s8, 72(sp)
  sd s9, 80(sp)
  sd s10, 88(sp)
  sd s11, 96(sp)
  sd a0, 104(sp)
  csrw sscratch, sp
  ld a2, 16(a0)
  ld a1, 8(a0)
  ld a0, 0(a0)
  sret
leave_guest:
  sd t0, -8(sp)
  ld t0, 104(sp)
  sd a0, 0(t0)
  sd a1, 8(t0)
  sd a2, 16(t0)
  csrw sscratch, zero
  ld ra, 0(sp)
  ld s0, 8(sp)
  ld s1, 16(sp)
  ld s2, 24(sp)
  ld s3, 32(sp)
  ld s4, 40(sp)
  ld s5, 48(sp)
  ld s6, 56(sp)
  ld s7, 64(sp)
  ld s8, 72(sp)
  ld s9, 80(sp)
  ld s10, 88(sp)
  ld s11, 96(sp)
  addi sp, sp, 112
  ret
