// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

#include "tables.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { kPage = 4096, kEntries = 512 };

/// What was told of a page.
struct page {
  int8_t level;  // -1: no table's any more
  bool linked;   // walks reach it
  uint64_t told[kEntries];
};

static struct log *out;
static const struct entry_format *entries;
static uint8_t *memory;
static uint64_t base, size;
static struct page **pages;
static bool *guests;  // pages that a leaf ever named

void log_line(struct log *log, unsigned processor, const char *format, ...) {
  fprintf(log->file, "%" PRIu64 " %u ", ++log->lines, processor);
  va_list arguments;
  va_start(arguments, format);
  vfprintf(log->file, format, arguments);
  va_end(arguments);
  fputc('\n', log->file);
}

void tables_init(struct log *log, const struct entry_format *format, uint64_t *at, uint64_t first,
                 uint64_t bytes) {
  out = log;
  entries = format;
  memory = (uint8_t *)at;
  base = first;
  size = bytes;
  pages = calloc(bytes / kPage, sizeof *pages);
  guests = calloc(bytes / kPage, sizeof *guests);
  if (!pages || !guests) abort();
}

void tables_end(void) {
  for (uint64_t n = 0; n < size / kPage; ++n) free(pages[n]);
  free(pages);
  free(guests);
}

static bool is_memory(uint64_t address) { return address - base < size; }

uint64_t *tables_memory(uint64_t address) {
  return is_memory(address) ? (uint64_t *)(memory + (address - base)) : NULL;
}

static struct page **page_of(uint64_t address) { return &pages[(address - base) / kPage]; }

static struct page *table_of(uint64_t address) {
  struct page *const page = is_memory(address) ? *page_of(address) : NULL;
  return page && page->level >= 0 ? page : NULL;
}

bool tables_is_table(uint64_t address) { return table_of(address) != NULL; }

bool tables_is_followed(uint64_t root) {
  const struct page *page = table_of(root);
  return page && page->linked;
}

static void forget(unsigned processor, uint64_t address, struct page *page) {
  log_line(out, processor, "free 0x%" PRIx64 " 4096", address);
  memset(page, 0, sizeof *page);
  page->level = -1;
}

static void change(unsigned processor, uint64_t slot, const char *site);

/// What a table holds is told before walks reach it.
static bool link_page(unsigned processor, uint64_t address, int level, const char *site) {
  if (!is_memory(address)) {
    fprintf(out->file, "# a table outside of the machine's memory, at 0x%" PRIx64 "\n", address);
    return false;
  }
  struct page **const at = page_of(address);
  if (*at && (*at)->level >= 0 && (*at)->level != level) forget(processor, address, *at);
  if (!*at) *at = calloc(1, sizeof **at);
  if (!*at) abort();
  (*at)->level = (int8_t)level;
  (*at)->linked = true;
  for (unsigned n = 0; n < kEntries; ++n) change(processor, address + 8 * n, site);
  return true;
}

static void note_leaf(uint64_t entry, int level) {
  uint64_t address;
  if (!entries->leaf(entry, level, &address)) return;
  const uint64_t bytes = (uint64_t)kPage << 9 * level;
  for (uint64_t at = address & ~(bytes - 1), end = at + bytes; at != end; at += kPage) {
    if (is_memory(at)) guests[(at - base) / kPage] = true;
  }
}

static void change(unsigned processor, uint64_t slot, const char *site) {
  struct page *const page = *page_of(slot);
  uint64_t *const told = &page->told[slot % kPage / 8];
  const uint64_t before = *told, after = *tables_memory(slot);
  if (before == after) return;
  uint64_t old, table;
  const bool had = entries->table(before, page->level, &old);
  const bool has = entries->table(after, page->level, &table);
  if (has) link_page(processor, table, page->level - 1, site);
  if (had && !(has && old == table)) {
    struct page *const unlinked = table_of(old);
    if (unlinked) unlinked->linked = false;
  }
  note_leaf(after, page->level);
  *told = after;
  log_line(out, processor, "store 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64 " @%s", slot, before,
           after, site);
}

bool tables_follow(unsigned processor, uint64_t root, int levels, unsigned count,
                   const char *site) {
  for (unsigned n = 0; n < count; ++n) {
    if (!link_page(processor, root + (uint64_t)n * kPage, levels - 1, site)) return false;
  }
  return true;
}

unsigned tables_stored(unsigned processor, uint64_t address, uint64_t bytes, const char *site) {
  const uint64_t before = out->lines;
  for (uint64_t slot = address & ~UINT64_C(7); slot < address + bytes; slot += 8) {
    struct page *const page = table_of(slot);
    // What is stored into a table that walks reach no more counts when they reach it again.
    if (page && page->linked) change(processor, slot, site);
  }
  return (unsigned)(out->lines - before);
}

bool tables_are_used(uint64_t first, uint64_t bytes) {
  for (uint64_t at = first; at < first + bytes; at += kPage) {
    if (is_memory(at) && (guests[(at - base) / kPage] || table_of(at))) return true;
  }
  return false;
}

void tables_freed(unsigned processor, uint64_t first, uint64_t bytes) {
  log_line(out, processor, "free 0x%" PRIx64 " 0x%" PRIx64, first, bytes);
  for (uint64_t at = first; at < first + bytes; at += kPage) {
    if (!is_memory(at)) continue;
    guests[(at - base) / kPage] = false;
    struct page *const table = table_of(at);
    if (!table) continue;
    memset(table, 0, sizeof *table);
    table->level = -1;
  }
}
