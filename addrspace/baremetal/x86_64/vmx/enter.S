# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# VM entry and exit.

#include "x86_64/switch.inc"

  .text
# u64 enter_guest(GuestRegisters*, u64 launched): 0, or what went wrong: 1 VMfailInvalid, 2
# VMfailValid.
  .globl enter_guest, leave_guest
enter_guest:
  keep_ours
  movl $0x6c14, %eax             # host RSP
  vmwrite %rsp, %rax
  testq %rsi, %rsi
  load_guest
  jnz 1f
  vmlaunch
  jmp 2f
1:vmresume
2:movl $1, %eax
  movl $2, %ecx
  cmovncq %rcx, %rax
  popq %rdi
  jmp 3f
leave_guest:
  pushq %rax
  movq 8(%rsp), %rax
  store_guest
  addq $16, %rsp
  xorl %eax, %eax
3:return_with_ours
