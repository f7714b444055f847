/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Follows the page tables in the guest's memory while it runs: which pages hold tables, and every
   entry that is written in them. Reads entries where QEMU keeps them, since version 1 of the plugin
   interface gives addresses of stores but no values. */
#ifndef NESTWALK_TABLES_H
#define NESTWALK_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "decode.h"

/* A guest's tables lie where the second stage has them. */
enum table_stage { STAGE_ONLY, STAGE_GUEST, STAGE_SECOND };

/* Told of what is new. Addresses are physical ones of the stage that the table belongs to: those of
   a guest's tables are the guest's. `level` counts from the leaves, entries are 512. */
struct tables_listener {
  void (*on_table)(void *context, enum table_stage, uint64_t address, unsigned level,
                   const uint64_t *entries);
  void (*on_entry)(void *context, enum table_stage, uint64_t address, uint64_t value);
};

/* `guests` is the stage that switches of the guest are about. */
void tables_start(enum architecture, enum table_stage guests, const struct tables_listener *);
/* The register `code` holds a root of such a tree; the second stage comes first. */
void tables_describe_root(unsigned code, enum table_stage, unsigned levels, unsigned root_bits);
/* A register of the guest that decides how its roots are used has this value now. */
void tables_on_control(unsigned code, uint64_t value);
/* Whether the register is one of a guest. */
bool tables_of_guest(unsigned code);
/* Without a context nobody is told of what is there: the other side has seen it. */
void tables_on_root(unsigned code, uint64_t register_value, void *context);
/* After a store. Cheap when it went elsewhere, as nearly all do. */
void tables_on_store(uint64_t physical, uint32_t bytes, void *context);

#endif
