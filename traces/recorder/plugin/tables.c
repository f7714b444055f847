/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "tables.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest_memory.h"

enum { kShift = 12, kPageBytes = 1 << kShift, kEntries = 512, kRoots = 64, kMaxLevels = 5 };

/* What is known of one page of guest memory. */
struct page {
  uint8_t level;       /* of the table in it, from the leaves, plus one; 0: it holds none */
  uint8_t stage;       /* enum table_stage */
  uint32_t references; /* from entries and registers */
  uint64_t address;    /* of the page, as its stage calls it */
  uint64_t *entries;   /* what a table above the leaves held when last looked at */
};

struct shape {
  enum table_stage stage;
  uint8_t levels, root_bits;
};

/* The root that guests' addresses go through. */
struct second_stage {
  struct shape shape;
  uint64_t root;
};

static enum architecture architecture;
static enum table_stage stage_of_guests;
static struct tables_listener listener;
static struct shape shapes[kRoots];
static struct second_stage second;
static struct page *pages;
static uint64_t first_page, page_count;
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;

void tables_start(enum architecture wanted, enum table_stage guests,
                  const struct tables_listener *wanted_listener) {
  architecture = wanted;
  stage_of_guests = guests;
  listener = *wanted_listener;
  first_page = guest_memory_base() >> kShift;
  page_count = guest_memory_bytes() >> kShift;
  pages = calloc(page_count + 1, sizeof *pages);
  if (!pages) abort();
}

void tables_describe_root(unsigned code, enum table_stage stage, unsigned levels,
                          unsigned root_bits) {
  if (code >= kRoots || levels > kMaxLevels) return;
  shapes[code] = (struct shape){stage, (uint8_t)levels, (uint8_t)root_bits};
}

/* The upper or lower half of AArch64's addresses, by TCR_EL1's TxSZ. */
static void describe_half(unsigned code, unsigned size) {
  unsigned bits = 64 - size - kShift, levels = (bits + 8) / 9;
  if (size < 16 || size > 39) return;
  tables_describe_root(code, stage_of_guests, levels, bits - 9 * (levels - 1));
}

void tables_on_control(unsigned code, uint64_t value) {
  enum { kCr3 = 3, kCr4 = 4, kTtbr0 = 16, kTtbr1 = 17, kTcr = 20, kSatp = 32 };
  unsigned mode = (unsigned)(value >> 60);
  switch (code) {
    case kCr4: /* LA57 */
      tables_describe_root(kCr3, stage_of_guests, value >> 12 & 1 ? 5 : 4, 9);
      break;
    case kTcr:
      describe_half(kTtbr0, value & 0x3f);
      describe_half(kTtbr1, value >> 16 & 0x3f);
      break;
    case kSatp:
      if (mode >= 8 && mode <= 10) tables_describe_root(kSatp, stage_of_guests, mode - 5, 9);
      break;
    default:
      break;
  }
}

bool tables_of_guest(unsigned code) {
  return code < kRoots && shapes[code].levels && shapes[code].stage == STAGE_GUEST;
}

static struct page *page_at(uint64_t physical) {
  uint64_t index = (physical >> kShift) - first_page;
  return index < page_count ? &pages[index] : NULL;
}

enum entry_kind { ENTRY_INVALID, ENTRY_LEAF, ENTRY_TABLE };

/* What an entry is, and the address in it. Intel SDM volume 3, 4.5; Arm ARM D8.3; RISC-V
   privileged manual, "Sv39". */
static enum entry_kind decode_entry(uint64_t entry, unsigned level, uint64_t *address) {
  if (!(entry & 1)) return ENTRY_INVALID;
  switch (architecture) {
    case ARCH_X86_64:
      *address = entry & 0x000ffffffffff000;
      return level == 0 || (entry & 0x80 && level <= 2) ? ENTRY_LEAF : ENTRY_TABLE;
    case ARCH_AARCH64:
      *address = entry & 0x0000fffffffff000;
      return level == 0 || !(entry & 2) ? ENTRY_LEAF : ENTRY_TABLE;
    default:
      *address = (entry >> 10 & 0xfffffffffff) << kShift;
      return entry & 0xe ? ENTRY_LEAF : ENTRY_TABLE;
  }
}

/* Through the second stage; false when it does not map the address. */
static bool locate(uint64_t guest_physical, uint64_t *physical) {
  uint64_t table = second.root;
  for (unsigned level = second.shape.levels; level-- > 0;) {
    unsigned shift = kShift + 9 * level;
    unsigned bits = level == second.shape.levels - 1u ? second.shape.root_bits : 9;
    uint64_t index = guest_physical >> shift & ((1ull << bits) - 1);
    const uint64_t *entry = guest_memory_at(table + index * sizeof *entry);
    enum entry_kind kind = entry ? decode_entry(*entry, level, &table) : ENTRY_INVALID;
    if (kind == ENTRY_INVALID) return false;
    uint64_t low = (1ull << shift) - 1;
    *physical = (table & ~low) | (guest_physical & low);
    if (kind == ENTRY_LEAF) return true;
  }
  return false;
}

/* A table, as its stage calls it and where it is. */
struct place {
  uint64_t address, physical;
};

static bool find(enum table_stage stage, uint64_t address, struct place *found) {
  *found = (struct place){address, address};
  return stage != STAGE_GUEST || locate(address, &found->physical);
}

/* The table that an entry of this page points to; false for leaves and invalid entries. */
static bool next_table(const struct page *page, uint64_t entry, struct place *table) {
  unsigned level = page->level - 1u;
  uint64_t address;
  return level > 0 && decode_entry(entry, level, &address) == ENTRY_TABLE &&
         find(page->stage, address, table);
}

static void unlink_table(struct place);

static void forget_table(struct page *page) {
  struct page former = *page;
  struct place child;
  *page = (struct page){0};
  for (int i = 0; former.entries && i < kEntries; ++i) {
    if (next_table(&former, former.entries[i], &child)) unlink_table(child);
  }
  free(former.entries);
}

static void unlink_table(struct place table) {
  struct page *page = page_at(table.physical);
  if (page && page->level && --page->references == 0) forget_table(page);
}

static void link_table(struct place table, enum table_stage stage, unsigned level, void *context) {
  const uint64_t page_mask = ~(uint64_t)(kPageBytes - 1);
  struct page *page = page_at(table.physical);
  const uint64_t *memory = guest_memory_at(table.physical & page_mask);
  if (!page || !memory) return;
  if (page->level == level + 1) {
    ++page->references;
    return;
  }
  /* It was a table of another level, which nobody has taken apart: a root of a dead process. */
  if (page->level) forget_table(page);
  *page = (struct page){.level = (uint8_t)(level + 1),
                        .stage = (uint8_t)stage,
                        .references = 1,
                        .address = table.address & page_mask};
  if (context) listener.on_table(context, stage, page->address, level, memory);
  if (level == 0) return;
  page->entries = malloc(kPageBytes);
  if (!page->entries) abort();
  memcpy(page->entries, memory, kPageBytes);
  /* A dead process' tables may still point here; when they are taken apart on the way, this page
     stays: somebody links it. */
  ++page->references;
  for (int i = 0; i < kEntries; ++i) {
    struct place child;
    if (next_table(page, page->entries[i], &child)) link_table(child, stage, level - 1, context);
  }
  if (page->references > 1) --page->references;
}

static void change_entry(struct page *page, uint64_t physical, uint64_t value, void *context) {
  unsigned index = physical / sizeof value % kEntries;
  uint64_t before = page->entries ? page->entries[index] : 0;
  struct place child;
  if (page->entries && before == value) return;
  uint64_t address = page->address + index * sizeof value;
  if (context) listener.on_entry(context, page->stage, address, value);
  if (!page->entries) return;
  page->entries[index] = value;
  /* The new one first: where both are the same it must not be forgotten in between. */
  if (next_table(page, value, &child)) {
    link_table(child, page->stage, page->level - 2u, context);
  }
  if (next_table(page, before, &child)) unlink_table(child);
}

/* A root whose page went through other hands may have changed by stores that plugins do not see
   (AArch64's dc zva). */
static void look_again(struct page *page, uint64_t physical, void *context) {
  physical &= ~(uint64_t)(kPageBytes - 1);
  const uint64_t *memory = guest_memory_at(physical);
  if (!page->entries || memcmp(page->entries, memory, kPageBytes) == 0) return;
  for (unsigned i = 0; i < kEntries && page->entries; ++i) {
    change_entry(page, physical + i * sizeof *memory, memory[i], context);
  }
}

static uint64_t root_address(uint64_t value) {
  if (architecture == ARCH_RISCV64) return (value & 0xfffffffffff) << kShift;
  return value & (architecture == ARCH_X86_64 ? 0x000ffffffffff000 : 0x0000fffffffff000);
}

static void link_root(const struct shape *shape, uint64_t root, void *context) {
  unsigned level = shape->levels - 1u;
  uint64_t bytes = sizeof(uint64_t) << shape->root_bits;
  for (uint64_t at = root; at < root + bytes; at += kPageBytes) {
    struct place table;
    if (!find(shape->stage, at, &table)) continue;
    struct page *page = page_at(table.physical);
    if (page && page->level == level + 1) look_again(page, table.physical, context);
    if (page && page->level != level + 1) link_table(table, shape->stage, level, context);
  }
}

void tables_on_root(unsigned code, uint64_t value, void *context) {
  if (!pages || code >= kRoots || shapes[code].levels == 0) return;
  const struct shape *shape = &shapes[code];
  uint64_t root = root_address(value);
  pthread_mutex_lock(&changing);
  /* The hypervisor itself runs without one. */
  if (shape->stage == STAGE_SECOND && page_at(root)) second = (struct second_stage){*shape, root};
  link_root(shape, root, context);
  pthread_mutex_unlock(&changing);
}

void tables_on_store(uint64_t physical, uint32_t bytes, void *context) {
  struct page *page = pages ? page_at(physical) : NULL;
  if (!page || !page->level) return;
  pthread_mutex_lock(&changing);
  uint64_t entry = physical & ~(uint64_t)7;
  for (; page->level && entry < physical + bytes; entry += sizeof(uint64_t)) {
    const uint64_t *memory = guest_memory_at(entry);
    if (memory) change_entry(page, entry, *memory, context);
  }
  pthread_mutex_unlock(&changing);
}
