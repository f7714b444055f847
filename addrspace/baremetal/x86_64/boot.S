# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# From reset to long mode, without a BIOS: we are in its place.

  .set identity, 0x10000         # our own tables: the first 4 GiB, by 2 MiB

  .section .reset, "ax"
  .code16
  .globl reset
reset:
  ljmp $0xf000, $(real_mode - 0xf0000)

  .section .boot, "ax"
# A startup IPI of vector 0xff begins here, too.
real_mode:
  ljmp $0xf000, $(1f - 0xf0000)
1:cli
  movw %cs, %ax
  movw %ax, %ds
  lgdtl (gdt_register - 0xf0000)
  movl %cr0, %eax
  orl $1, %eax                   # PE
  movl %eax, %cr0
  ljmpl $0x08, $protected_mode

  .code32
protected_mode:
  movl $0x10, %eax
  movl %eax, %ds
  movl %eax, %es
  movl %eax, %ss
  movl %eax, %fs
  movl %eax, %gs
#if defined(NESTWALK_SVM)
  movl $0x1b, %ecx               # APIC base: bit 8 on the first processor
  rdmsr
  testl $0x100, %eax
  jz second_processor
#endif
  movl $identity, %edi
  movl $(6 * 4096 / 4), %ecx
  xorl %eax, %eax
  rep stosl
  movl $(identity + 0x1003), identity
  movl $(identity + 0x2003), identity + 0x1000
  movl $(identity + 0x3003), identity + 0x1008
  movl $(identity + 0x4003), identity + 0x1010
  movl $(identity + 0x5003), identity + 0x1018
  movl $(identity + 0x2000), %edi
  movl $0x83, %eax               # present, writable, large
  movl $2048, %ecx
1:movl %eax, (%edi)
  addl $0x200000, %eax
  addl $8, %edi
  loop 1b
second_processor:
  movl $identity, %eax
  movl %eax, %cr3
  movl %cr4, %eax
  orl $0x20, %eax                # PAE
  movl %eax, %cr4
  movl $0xc0000080, %ecx         # EFER
  rdmsr
  orl $0x900, %eax               # LME, NXE
  wrmsr
  movl %cr0, %eax
  orl $0x80000000, %eax          # PG
  movl %eax, %cr0
  ljmpl $0x18, $long_mode

  .code64
long_mode:
#if defined(NESTWALK_SVM)
  movl $0x1b, %ecx
  rdmsr
  testl $0x100, %eax
  movq second_stack, %rsp
  jz second_main
#endif
  movq $bss_begin, %rdi
  movq $bss_end, %rcx
  subq %rdi, %rcx
  xorl %eax, %eax
  rep stosb
  movq $stack_top, %rsp
  call payload_main

  .balign 8
  .globl gdt
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff       # 0x08: code, 32 bits
  .quad 0x00cf93000000ffff       # 0x10: data
  .quad 0x00af9b000000ffff       # 0x18: code, 64 bits
gdt_register:
  .word . - gdt - 1
  .long gdt

# Exceptions of our own: 16 bytes a vector.
  .text
  .balign 16
  .globl exceptions
exceptions:
  .set vector, 0
  .rept 32
  .balign 16
  pushq $vector
  jmp exception
  .set vector, vector + 1
  .endr
exception:
  popq %rdi
  movq (%rsp), %rsi              # the address, or an error code
  movq 8(%rsp), %rdx             # and then the address
  andq $-16, %rsp
  call unexpected_trap
