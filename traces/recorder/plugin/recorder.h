/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The recorder: which of what the guest does becomes a record. Knows no version of QEMU's plugin
   interface; an adapter (api1.c) calls it, and offers the few services at the end. */
#ifndef NESTWALK_RECORDER_H
#define NESTWALK_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "decode.h"
#include "stream.h"

struct settings {
  enum architecture architecture;
  bool system, fetches, markers, track_guests, guest_only, tables;
  bool ordered; /* QEMU runs one vCPU at a time */
  uint32_t vcpus;
  uint64_t skip, max;
  uint64_t memory_base, memory_bytes;
  const char *memory_file, *out, *control;
};

/* A run of instructions in one page; a block has one or two. */
struct piece {
  uint64_t address, physical;
  uint32_t bytes, position;
  enum frame_kind frame_kind;
};

struct block {
  uint32_t instructions, pieces;
  struct piece piece[2];
};

struct instruction {
  const uint8_t *bytes;
  uint64_t address, physical;
  uint32_t size;
  enum frame_kind frame_kind;
};

bool recorder_start(const struct settings *);
void recorder_finish(void);

/* Blocks and operations live until recorder_forget_blocks. */
struct block *recorder_new_block(void);
void recorder_add_instruction(struct block *, const struct instruction *);
const struct operation *recorder_operation_of(const struct block *, const struct instruction *);
void recorder_forget_blocks(void);

/* What happens while the guest runs. */
void recorder_on_block(unsigned vcpu, const struct block *);
void recorder_on_access(unsigned vcpu, uint32_t position, const struct access *);
void recorder_on_operation(unsigned vcpu, const struct operation *);
/* Called before the instruction behind an operation, if it is in the same block. */
void recorder_after_operation(unsigned vcpu);
/* False while no access of this vCPU would be looked at. */
bool recorder_wants_accesses(unsigned vcpu);

/* Services of the adapter. A general register, as of the last executed instruction; false when
   this QEMU does not tell. */
bool emulator_read_register(unsigned vcpu, unsigned number, uint64_t *value);

#endif
