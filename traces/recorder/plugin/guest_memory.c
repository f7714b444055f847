/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "guest_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *file;
static uint64_t base, bytes;
static const char *host_begin;

void guest_memory_describe(const char *wanted_file, uint64_t wanted_base, uint64_t wanted_bytes) {
  file = wanted_file;
  base = wanted_base;
  bytes = wanted_bytes;
}

/* QEMU maps the memory after it has loaded plugins, so it is looked for at the first need. */
static const char *find_mapping(void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[4352], path[4097];
  uint64_t begin, end, offset;
  const char *found = NULL;
  while (maps && !found && fgets(line, sizeof line, maps)) {
    int fields = sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %4096[^\n]", &begin,
                        &end, &offset, path);
    bool ours = fields == 4 && offset == 0 && strcmp(path, file) == 0 && end - begin >= bytes;
    if (ours) found = (const char *)(uintptr_t)begin;
  }
  if (maps) fclose(maps);
  return found;
}

uint64_t guest_memory_base(void) { return base; }
uint64_t guest_memory_bytes(void) { return bytes; }

static const char *mapping(void) {
  if (!host_begin && file) host_begin = find_mapping();
  return host_begin;
}

bool guest_memory_has(uint64_t physical) { return bytes == 0 || physical - base < bytes; }

const void *guest_memory_at(uint64_t physical) {
  uint64_t offset = physical - base;
  return offset < bytes && mapping() ? mapping() + offset : NULL;
}

bool guest_memory_address(const void *host, uint64_t *physical) {
  if (!host || !mapping()) return false;
  uint64_t offset = (uint64_t)((const char *)host - mapping());
  if (offset >= bytes) return false;
  *physical = base + offset;
  return true;
}
