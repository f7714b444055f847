// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

#include "tlbi.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// Arm ARM C5.5, "A64 System instructions for TLB maintenance": op1, CRm and op2. CRn is 8, or 9
// with nXS, which says the same of translations.
struct row {
  uint8_t op1, crm, op2;
  const char *name;
};
#define DOMAINS(op1, local, inner, outer, op2, name) \
  {op1, local, op2, name}, {op1, inner, op2, name "is"}, { op1, outer, op2, name "os" }
static const struct row rows[] = {
    DOMAINS(0, 7, 3, 1, 0, "vmalle1"),    DOMAINS(0, 7, 3, 1, 1, "vae1"),
    DOMAINS(0, 7, 3, 1, 2, "aside1"),     DOMAINS(0, 7, 3, 1, 3, "vaae1"),
    DOMAINS(0, 7, 3, 1, 5, "vale1"),      DOMAINS(0, 7, 3, 1, 7, "vaale1"),
    DOMAINS(0, 6, 2, 5, 1, "rvae1"),      DOMAINS(0, 6, 2, 5, 3, "rvaae1"),
    DOMAINS(0, 6, 2, 5, 5, "rvale1"),     DOMAINS(0, 6, 2, 5, 7, "rvaale1"),
    DOMAINS(4, 7, 3, 1, 4, "alle1"),      DOMAINS(4, 7, 3, 1, 6, "vmalls12e1"),
    {4, 4, 1, "ipas2e1"},   {4, 0, 1, "ipas2e1is"},   {4, 4, 0, "ipas2e1os"},
    {4, 4, 2, "ripas2e1"},  {4, 0, 2, "ripas2e1is"},  {4, 4, 3, "ripas2e1os"},
    {4, 4, 5, "ipas2le1"},  {4, 0, 5, "ipas2le1is"},  {4, 4, 4, "ipas2le1os"},
    {4, 4, 6, "ripas2le1"}, {4, 0, 6, "ripas2le1is"}, {4, 4, 7, "ripas2le1os"},
};

static const struct row *row_of(uint32_t word) {
  if ((word & 0xfff8e000) != 0xd5088000) return NULL;
  const unsigned op1 = word >> 16 & 7, crm = word >> 8 & 15, op2 = word >> 5 & 7;
  for (unsigned n = 0; n < sizeof rows / sizeof *rows; ++n) {
    if (rows[n].op1 == op1 && rows[n].crm == crm && rows[n].op2 == op2) return &rows[n];
  }
  return NULL;
}

bool tlbi_text(uint32_t word, uint64_t value, char *text, size_t size) {
  const struct row *const row = row_of(word);
  if (!row) return false;
  if (!strncmp(row->name, "vmall", 5) || !strncmp(row->name, "alle1", 5))
    snprintf(text, size, "tlbi %s", row->name);
  else
    snprintf(text, size, "tlbi %s, 0x%" PRIx64, row->name, value);
  return true;
}

bool tlbi_broadcasts(uint32_t word) {
  const struct row *const row = row_of(word);
  return row && row->name[strlen(row->name) - 1] == 's';
}

bool tlbi_names_el1(uint32_t word) { return (word >> 16 & 7) == 4; }

const char *dsb_text(uint32_t word) {
  static const char *const texts[16] = {[2] = "dsb ishst",  [3] = "dsb ish",   [6] = "dsb nshst",
                                        [7] = "dsb nsh",    [10] = "dsb ishst", [11] = "dsb ish",
                                        [14] = "dsb st",    [15] = "dsb sy"};
  if ((word & 0xfffff3ff) == 0xd503323f) {
    // nXS: of all accesses, by domain.
    static const char *const waits[4] = {"dsb ish", "dsb nsh", "dsb ish", "dsb sy"};
    return waits[word >> 10 & 3];
  }
  return (word & 0xfffff0ff) == 0xd503309f ? texts[word >> 8 & 15] : NULL;
}
