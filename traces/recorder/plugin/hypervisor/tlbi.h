// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

// AArch64: the text of maintenance instructions.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// `tlbi ipas2e1is, 0x40` of an instruction word and its register's value. False: it is no TLBI, or
/// one of EL2's own translations or of EL3's. At most `size` bytes.
bool tlbi_text(uint32_t word, uint64_t value, char *text, size_t size);
/// Does TLBI act on the guests' regime, EL1&0, whatever HCR_EL2.TGE says?
bool tlbi_names_el1(uint32_t word);
bool tlbi_broadcasts(uint32_t word);
/// `dsb ish`; NULL for none, or one that waits for loads alone.
const char *dsb_text(uint32_t word);
