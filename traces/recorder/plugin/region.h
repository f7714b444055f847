/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The region of interest: begins at a marker or at once, skips N data accesses, takes at most M.
   At its begin and at its end, between two blocks, the recorder asks whoever listens on the
   control socket what to do; the protocol is in README.md. */
#ifndef NESTWALK_REGION_H
#define NESTWALK_REGION_H

#include <stdbool.h>
#include <stdint.h>

enum region_state {
  REGION_WAITING,   /* for the marker */
  REGION_SKIPPING,
  REGION_STARTING,  /* asks at every block whether to record */
  REGION_RECORDING,
  REGION_ENDING,    /* asks at every block whether to go on */
  REGION_OVER
};

/* Read on every access, changed a few times in a run. */
extern volatile enum region_state region_state;

/* What one vCPU may do before it has to ask again, while the region stays in that state. */
struct allowance {
  uint64_t accesses;
  enum region_state state;
};

/* A register that a table tree hangs on, as the other side describes it. */
struct tracked_register {
  unsigned code, levels, root_bits, stage; /* enum table_stage */
  uint64_t value;
};

struct region_settings {
  bool markers;
  uint64_t skip, max;
  uint32_t vcpus;
  const char *control;
  void (*track)(const struct tracked_register *); /* for each of them, before recording begins */
};

bool region_start(const struct region_settings *);
/* At a marker. */
void region_begin(void);
void region_end(void);
/* At a block in the states STARTING and ENDING. `detail` goes to the other side. */
void region_ask(uint64_t detail);
/* More accesses for this vCPU; false when none may be recorded or skipped now. */
bool region_allow(struct allowance *);

#endif
