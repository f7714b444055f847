/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "arena.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { kSlabBytes = 1 << 20, kAlignment = 16 };

struct slab {
  struct slab *next;
  size_t used;
};

static struct slab *slabs;
static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

static void new_slab(void) {
  struct slab *slab = calloc(1, kSlabBytes);
  if (!slab) {
    fprintf(stderr, "nestwalk-record: out of memory\n");
    abort();
  }
  slab->next = slabs;
  slab->used = kAlignment;
  slabs = slab;
}

void *arena_take(size_t bytes) {
  size_t rounded = (bytes + kAlignment - 1) & ~(size_t)(kAlignment - 1);
  pthread_mutex_lock(&taking);
  if (!slabs || slabs->used + rounded > kSlabBytes) new_slab();
  void *taken = (char *)slabs + slabs->used;
  slabs->used += rounded;
  pthread_mutex_unlock(&taking);
  return taken;
}

void arena_forget(void) {
  pthread_mutex_lock(&taking);
  while (slabs) {
    struct slab *next = slabs->next;
    free(slabs);
    slabs = next;
  }
  pthread_mutex_unlock(&taking);
}
