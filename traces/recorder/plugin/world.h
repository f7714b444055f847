/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Tells when a vCPU runs a nested guest. QEMU's plugin interface does not say so; the order of
   instructions does: see world.c. */
#ifndef NESTWALK_WORLD_H
#define NESTWALK_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "decode.h"

/* Where a block of code begins. */
struct place {
  uint64_t address, physical;
};

struct world {
  bool in_guest;
  bool returned;                /* the last block ended with a return */
  struct place last_return;     /* that return, */
  uint64_t behind_return;       /* and the address behind it */
  struct place entry;           /* the instruction that enters guests, once known */
  struct place exit;            /* where guests come back to */
};

enum world_change { WORLD_SAME, WORLD_ENTERED, WORLD_LEFT, WORLD_ENTERED_AND_LEFT };

/* After a return or a guest entry was executed. */
enum world_change world_on_operation(struct world *, enum architecture, const struct operation *);
/* Before the first instruction of a block. */
enum world_change world_on_block(struct world *, enum architecture, struct place);

#endif
