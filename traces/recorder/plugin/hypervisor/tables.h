// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

// The second-stage tables of the guests: what was told of them, and what stores change.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/// How the entries of an architecture are read; levels count from the leaves, 0.
struct entry_format {
  /// Does the entry lead to a table?
  bool (*table)(uint64_t entry, int level, uint64_t *address);
  /// Does it translate?
  bool (*leaf)(uint64_t entry, int level, uint64_t *address);
};

/// The machine's memory, and where the log goes. Lines begin with a number of their own.
struct log {
  FILE *file;
  uint64_t lines;
};
void log_line(struct log *log, unsigned processor, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void tables_init(struct log *log, const struct entry_format *format, uint64_t *memory,
                 uint64_t base, uint64_t bytes);
void tables_end(void);
/// The eight bytes there; NULL where there is no memory.
uint64_t *tables_memory(uint64_t address);
/// Follows a root from now on, and tells what is in it already. Says whether it is memory.
bool tables_follow(unsigned processor, uint64_t root, int levels, unsigned pages,
                   const char *site);
bool tables_is_followed(uint64_t root);
/// Is this page one of a table? For stores: by far the most are not.
bool tables_is_table(uint64_t address);
/// Tells what a store changed; how many entries.
unsigned tables_stored(unsigned processor, uint64_t address, uint64_t bytes, const char *site);
/// Did a guest have one of these pages, or is one a table?
bool tables_are_used(uint64_t first, uint64_t bytes);
/// They were freed.
void tables_freed(unsigned processor, uint64_t first, uint64_t bytes);
