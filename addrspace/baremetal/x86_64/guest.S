# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# machine.hpp says what each does. rdi: address, rsi: value, rdx: other.

#if defined(NESTWALK_SVM)
#define HYPERCALL vmmcall
#else
#define HYPERCALL vmcall
#endif

  .section .rodata.guest, "a"
  .balign 8
  .globl guest_begin, guest_end, guest_count, guest_load, guest_store, guest_jump
  .globl guest_device, guest_rewrite, guest_watch, guest_landing
guest_begin:
guest_count:
  incq %rsi
  HYPERCALL
guest_load:
  movq (%rdi), %rsi
  HYPERCALL
guest_store:
  movq %rsi, (%rdi)
  HYPERCALL
guest_jump:
  jmp *%rdi
guest_device:
  movl %esi, (%rdi)
  movl (%rdi), %esi
  HYPERCALL
guest_rewrite:
  movq (%rdi), %rax
  movq %rsi, (%rdx)
  movq (%rdi), %rsi
  HYPERCALL
guest_watch:                     # for ever: what it sees, and how often it looked
  movq (%rdi), %rsi
  movq %rsi, (%rdx)
  incq 8(%rdx)
  jmp guest_watch
guest_landing:
  movl $0x5a, %esi
  HYPERCALL
guest_end:
