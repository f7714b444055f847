# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# VMRUN and #VMEXIT.

  .text
# void enter_guest(GuestRegisters*, u64 vmcb), after CLGI. VMRUN keeps of our registers RAX and RSP, and of the
# guest's in the VMCB; FS, GS, TR and LDTR stay ours, which the guest does not use.
  .globl enter_guest
enter_guest:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  pushq %rdi
  movq %rsi, %rax
  movq 16(%rdi), %rdx
  movq 8(%rdi), %rsi
  movq (%rdi), %rdi
  vmrun %rax
  stgi
  popq %rax
  movq %rdi, (%rax)
  movq %rsi, 8(%rax)
  movq %rdx, 16(%rax)
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret

# The NMI that kicked the guest, when STGI lets it in.
  .globl ignore_nmi
ignore_nmi:
  iretq
