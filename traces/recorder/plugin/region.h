/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The region of interest: begins at a marker or at once, skips N data accesses, takes at most M.
   At its begin and its end the recorder stops the vCPU until whoever listens on the control
   socket has looked at the machine. */
#ifndef NESTWALK_REGION_H
#define NESTWALK_REGION_H

#include <stdbool.h>
#include <stdint.h>

enum region_state { REGION_WAITING, REGION_SKIPPING, REGION_RECORDING, REGION_OVER };

/* Read on every access, changed a few times in a run. */
extern volatile enum region_state region_state;

/* What one vCPU may do before it has to ask again. */
struct allowance {
  uint64_t accesses;
  bool recorded;
};

bool region_start(bool markers, uint64_t skip, uint64_t max, uint32_t vcpus, const char *control);
void region_begin(void);
void region_end(void);
/* More accesses for this vCPU; false when the region is not open. */
bool region_allow(struct allowance *);
/* Called with the region still open, just before its end is announced. */
void region_at_end(void (*flush)(void));

#endif
