/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Memory for blocks and operations: taken piecemeal, given back all at once. */
#ifndef NESTWALK_ARENA_H
#define NESTWALK_ARENA_H

#include <stddef.h>

/* Zeroed. Safe from several threads. Ends the process when out of memory. */
void *arena_take(size_t bytes);
void arena_forget(void);

#endif
