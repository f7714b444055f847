/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writes the recording stream of ../STREAM.md: records of one vCPU gather in a chunk; a chunk
   leaves whole, in one piece, so that a stream that ends early is whole up to its last chunk. */
#ifndef NESTWALK_STREAM_H
#define NESTWALK_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "decode.h"

enum { kPageShift = 12, kKnownPages = 4096, kChunkBytes = 1 << 18, kLongestRecord = 64 };

enum access_class { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

/* What is known about the physical side of an access. */
enum frame_kind { FRAME_NONE, FRAME_MEMORY, FRAME_DEVICE };

struct access {
  enum access_class class;
  enum frame_kind frame_kind;
  uint32_t bytes;
  uint64_t address, physical;
};

enum event_kind {
  EVENT_SWITCH,
  EVENT_FENCE,
  EVENT_GUEST_ENTRY,
  EVENT_GUEST_EXIT,
  EVENT_PHASE,
  EVENT_TABLE,
  EVENT_ENTRY,
  EVENT_EXIT_STATE,
  EVENT_TIME
};

struct stream_header {
  enum architecture architecture;
  uint32_t flags, vcpus;
  uint64_t memory_base, memory_bytes;
};

enum {
  STREAM_SYSTEM = 1,
  STREAM_FETCHES = 2,
  STREAM_GUEST_ONLY = 4,
  STREAM_TABLES = 8,
  STREAM_ORDERED = 16
};

struct totals {
  uint64_t records, reads, writes, fetches, events, instructions, accesses_seen;
};

struct chunk {
  uint8_t *bytes, *at;
  uint32_t vcpu, records;
  uint64_t instructions, last_instructions; /* at the chunk's start, at the last record */
  uint64_t clock; /* of the last record, where the vCPUs share one */
  uint64_t last_address[2];                 /* of data, of fetches */
  uint64_t page[kKnownPages], frame[kKnownPages];
};

/* Opens a file, a FIFO, or with "fd:N" what is open already. */
bool stream_open(const char *path, const struct stream_header *);
/* Records of one vCPU go to one chunk, in order. Ends the process when out of memory. */
struct chunk *stream_chunk(uint32_t vcpu);
/* `now` counts the instructions of the vCPU up to and including that of the record. */
void stream_access(struct chunk *, uint64_t now, const struct access *);
void stream_event(struct chunk *, uint64_t now, enum event_kind, const uint8_t *payload,
                  size_t bytes);
void stream_flush(struct chunk *);
/* The last chunk, which says that the recording ended in order. */
void stream_close(const struct totals *);

/* LEB128; returns the place behind it. */
static inline uint8_t *put_varint(uint8_t *at, uint64_t value) {
  while (value >= 128) {
    *at++ = (uint8_t)(value | 128);
    value >>= 7;
  }
  *at++ = (uint8_t)value;
  return at;
}

#endif
