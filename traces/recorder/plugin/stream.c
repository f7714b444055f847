/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kVersion = 1, kHeaderBytes = 64, kChunkHeaderBytes = 32, kEventClass = 3 };
enum { kInstructionsFollow = 3, kSizeFollows = 7 };
enum { kEndOfStream = 0xffffffff };

static int descriptor = -1;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static uint64_t chunks_written;

static void put_u32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }
static void put_u64(uint8_t *at, uint64_t value) { memcpy(at, &value, sizeof value); }

/* A recording that cannot be written is over: the reader has gone or the disk is full. */
static void write_all(const uint8_t *from, size_t bytes) {
  while (bytes > 0 && descriptor >= 0) {
    ssize_t written = write(descriptor, from, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      fprintf(stderr, "nestwalk-record: cannot write the stream: %s\n", strerror(errno));
      descriptor = -1;
      return;
    }
    from += written;
    bytes -= (size_t)written;
  }
}

bool stream_open(const char *path, const struct stream_header *header) {
  bool inherited = strncmp(path, "fd:", 3) == 0;
  descriptor = inherited ? atoi(path + 3)
                         : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    fprintf(stderr, "nestwalk-record: cannot open %s: %s\n", path, strerror(errno));
    return false;
  }
  uint8_t bytes[kHeaderBytes] = "nwrecord";
  put_u32(bytes + 8, kVersion);
  put_u32(bytes + 12, kHeaderBytes);
  put_u32(bytes + 16, header->architecture);
  put_u32(bytes + 20, header->flags);
  put_u32(bytes + 24, header->vcpus);
  put_u32(bytes + 28, kPageShift);
  put_u64(bytes + 32, header->memory_base);
  put_u64(bytes + 40, header->memory_bytes);
  write_all(bytes, sizeof bytes);
  return descriptor >= 0;
}

static void forget(struct chunk *chunk) {
  chunk->at = chunk->bytes + kChunkHeaderBytes;
  chunk->records = 0;
  chunk->instructions = chunk->last_instructions;
  memset(chunk->last_address, 0, sizeof chunk->last_address);
  memset(chunk->page, 0xff, sizeof chunk->page); /* no page has this number */
}

struct chunk *stream_chunk(uint32_t vcpu) {
  struct chunk *chunk = calloc(1, sizeof *chunk);
  if (chunk) chunk->bytes = malloc(kChunkBytes);
  if (!chunk || !chunk->bytes) {
    fprintf(stderr, "nestwalk-record: out of memory\n");
    abort();
  }
  chunk->vcpu = vcpu;
  forget(chunk);
  return chunk;
}

void stream_flush(struct chunk *chunk) {
  if (chunk->records == 0) return;
  size_t payload = (size_t)(chunk->at - chunk->bytes) - kChunkHeaderBytes;
  memcpy(chunk->bytes, "NWCK", 4);
  put_u32(chunk->bytes + 4, chunk->vcpu);
  put_u32(chunk->bytes + 8, (uint32_t)payload);
  put_u32(chunk->bytes + 12, chunk->records);
  put_u64(chunk->bytes + 24, chunk->instructions);
  pthread_mutex_lock(&writing);
  put_u64(chunk->bytes + 16, chunks_written++);
  write_all(chunk->bytes, payload + kChunkHeaderBytes);
  pthread_mutex_unlock(&writing);
  forget(chunk);
}

static uint64_t zigzag(uint64_t difference) {
  return difference << 1 ^ (uint64_t)((int64_t)difference >> 63);
}

/* What came before a vCPU's first record is no part of the recording. */
static void start_counting(struct chunk *chunk, uint64_t now) {
  chunk->instructions = chunk->last_instructions = now;
}

/* Begins a record: its first byte, and the instructions since the last one if they do not fit. */
static uint8_t *begin(struct chunk *chunk, uint64_t now, unsigned tag) {
  if (chunk->at > chunk->bytes + kChunkBytes - kLongestRecord) stream_flush(chunk);
  if (chunk->last_instructions == 0) start_counting(chunk, now);
  /* An instruction that the emulator had to begin again may seem to lie before the last one. */
  uint64_t since = now > chunk->last_instructions ? now - chunk->last_instructions : 0;
  uint8_t *at = chunk->at;
  ++chunk->records;
  chunk->last_instructions += since;
  chunk->clock += since;
  if (since < kInstructionsFollow) {
    *at++ = (uint8_t)(tag | (unsigned)since << 6);
    return at;
  }
  *at++ = (uint8_t)(tag | kInstructionsFollow << 6);
  return put_varint(at, since);
}

static unsigned size_code(uint32_t bytes) {
  bool power = (bytes & (bytes - 1)) == 0 && bytes > 0 && bytes <= 64;
  return power ? (unsigned)__builtin_ctz(bytes) : kSizeFollows;
}

void stream_access(struct chunk *chunk, uint64_t now, const struct access *access) {
  /* First, for it may forget what is known. */
  if (chunk->at > chunk->bytes + kChunkBytes - kLongestRecord) stream_flush(chunk);
  uint64_t page = access->address >> kPageShift;
  uint64_t frame = 0;
  if (access->frame_kind != FRAME_NONE) {
    frame = (access->physical >> kPageShift << 1 | (access->frame_kind == FRAME_DEVICE)) + 1;
  }
  unsigned place = page % kKnownPages;
  bool news = chunk->page[place] != page || chunk->frame[place] != frame;
  unsigned size = size_code(access->bytes);
  uint8_t *at = begin(chunk, now, access->class | size << 2 | (unsigned)news << 5);
  if (size == kSizeFollows) at = put_varint(at, access->bytes);
  uint64_t *last = &chunk->last_address[access->class == ACCESS_FETCH];
  at = put_varint(at, zigzag(access->address - *last));
  *last = access->address;
  if (news) {
    at = put_varint(at, frame);
    chunk->page[place] = page;
    chunk->frame[place] = frame;
  }
  chunk->at = at;
}

void stream_event(struct chunk *chunk, uint64_t now, enum event_kind kind, const uint8_t *payload,
                  size_t bytes) {
  if (chunk->at + bytes > chunk->bytes + kChunkBytes - kLongestRecord) stream_flush(chunk);
  uint8_t *at = begin(chunk, now, kEventClass | (unsigned)kind << 2);
  at = put_varint(at, bytes);
  memcpy(at, payload, bytes);
  chunk->at = at + bytes;
}

void stream_close(const struct totals *totals) {
  uint8_t bytes[kChunkHeaderBytes + sizeof *totals] = "NWCK";
  put_u32(bytes + 4, kEndOfStream);
  put_u32(bytes + 8, sizeof *totals);
  put_u64(bytes + 16, chunks_written);
  memcpy(bytes + kChunkHeaderBytes, totals, sizeof *totals);
  write_all(bytes, sizeof bytes);
  if (descriptor >= 0) close(descriptor);
  descriptor = -1;
}
