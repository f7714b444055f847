// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

// The symbols of the hypervisor's kernel, as /proc/kallsyms has them.
#pragma once

#include <stddef.h>
#include <stdint.h>

/// Lines of address (hexadecimal) and name, in any order. Exits with a message if it cannot be read.
void symbols_read(const char *path);
/// `name+0x1c`, or the address where there is no symbol. At most `size` bytes.
void symbols_describe(uint64_t address, char *text, size_t size);
/// The address of a name and that of the symbol behind it; 0 where it is not known.
uint64_t symbols_find(const char *name, uint64_t *end);
