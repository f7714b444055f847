// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

#include "symbols.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct symbol {
  uint64_t address;
  char *name;
};
static struct symbol *symbols;
static size_t count;

static int by_address(const void *a, const void *b) {
  const uint64_t left = ((const struct symbol *)a)->address;
  const uint64_t right = ((const struct symbol *)b)->address;
  return left < right ? -1 : left > right;
}

void symbols_read(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) {
    perror(path);
    exit(1);
  }
  size_t room = 0;
  uint64_t address;
  char name[256];
  while (fscanf(file, "%" SCNx64 " %255s", &address, name) == 2) {
    if (name[0] == '.' || name[0] == '$') continue;  // an assembler's own
    if (count == room) {
      room = room ? 2 * room : 1024;
      symbols = realloc(symbols, room * sizeof *symbols);
      if (!symbols) abort();
    }
    symbols[count++] = (struct symbol){address, strdup(name)};
  }
  fclose(file);
  qsort(symbols, count, sizeof *symbols, by_address);
}

/// The last symbol at or below the address.
static const struct symbol *at(uint64_t address) {
  size_t low = 0, high = count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (symbols[middle].address <= address)
      low = middle + 1;
    else
      high = middle;
  }
  return low ? &symbols[low - 1] : NULL;
}

void symbols_describe(uint64_t address, char *text, size_t size) {
  const uint64_t longest = 1 << 16;  // a function's; beyond is what no symbol covers
  const struct symbol *found = at(address);
  if (found && address - found->address < longest)
    snprintf(text, size, "%s+0x%" PRIx64, found->name, address - found->address);
  else
    snprintf(text, size, "0x%" PRIx64, address);
}

uint64_t symbols_find(const char *name, uint64_t *end) {
  for (size_t n = 0; n < count; ++n) {
    if (strcmp(symbols[n].name, name) != 0) continue;
    size_t next = n + 1;
    while (next < count && symbols[next].address == symbols[n].address) ++next;
    *end = next < count ? symbols[next].address : symbols[n].address + 4096;
    return symbols[n].address;
  }
  return 0;
}
