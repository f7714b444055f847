/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What an instruction does to address translation, decoded from its bytes. */
#ifndef NESTWALK_DECODE_H
#define NESTWALK_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum architecture { ARCH_UNKNOWN, ARCH_X86_64, ARCH_AARCH64, ARCH_RISCV64 };

enum operation_kind {
  OPERATION_NONE,
  OPERATION_SWITCH,       /* writes a register that translation depends on */
  OPERATION_FENCE,        /* invalidates translations, or waits for that */
  OPERATION_GUEST_ENTRY,  /* vmrun */
  OPERATION_RETURN,       /* eret, sret: to a less privileged level, perhaps into a guest */
  OPERATION_EXIT_STATE,   /* reads a register that says why a guest was left */
  OPERATION_MARKER        /* one of the harmless encodings that a workload marks its phases with */
};

/* Where the value of an operand is to be found. */
enum operand_form {
  OPERAND_ABSENT,   /* the instruction has none, or it is the zero register: all of them */
  OPERAND_KNOWN,    /* `value` is it */
  OPERAND_REGISTER, /* general register `base` */
  OPERAND_MEMORY,   /* address: base + (index << scale) + value; an absent register is kNoRegister */
  OPERAND_UNKNOWN   /* cannot be had */
};

enum { kNoRegister = 0xff };

struct operand {
  uint8_t form, base, index, scale;
  uint64_t value;
};

struct operation {
  uint8_t kind;
  uint16_t code; /* which register, fence or phase: the numbers of STREAM.md */
  struct operand operand[2];
  uint64_t address, physical, next; /* of the instruction, and of the one behind it */
  uint32_t position;                /* in its block */
};

/* Fills kind, code and operands; the kind is OPERATION_NONE for nearly every instruction. */
struct operation decode(enum architecture, const uint8_t *bytes, size_t size, uint64_t address);

#endif
