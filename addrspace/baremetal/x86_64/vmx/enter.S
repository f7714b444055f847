# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# VM entry and exit.

  .text
# u64 enter_guest(GuestRegisters*, u64 launched): 0, or what went wrong: 1 VMfailInvalid, 2
# VMfailValid.
  .globl enter_guest, leave_guest
enter_guest:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  pushq %rdi
  movl $0x6c14, %eax             # host RSP
  vmwrite %rsp, %rax
  testq %rsi, %rsi
  movq 16(%rdi), %rdx
  movq 8(%rdi), %rsi
  movq (%rdi), %rdi
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
  movq %rdi, (%rax)
  movq %rsi, 8(%rax)
  movq %rdx, 16(%rax)
  addq $16, %rsp
  xorl %eax, %eax
3:popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret
