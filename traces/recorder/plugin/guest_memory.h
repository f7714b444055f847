/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The guest's memory as QEMU has mapped it: a file that the machine's main memory lies in. */
#ifndef NESTWALK_GUEST_MEMORY_H
#define NESTWALK_GUEST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* `file` holds `bytes` of guest memory from physical address `base` on. */
void guest_memory_describe(const char *file, uint64_t base, uint64_t bytes);
uint64_t guest_memory_base(void);
uint64_t guest_memory_bytes(void);
/* Also when it is not known which addresses are memory. */
bool guest_memory_has(uint64_t physical);
/* Where QEMU keeps it; NULL when it is not in guest memory. */
const void *guest_memory_at(uint64_t physical);
/* The physical address of a place in QEMU's own memory; false when it is not in guest memory. */
bool guest_memory_address(const void *host, uint64_t *physical);

#endif
