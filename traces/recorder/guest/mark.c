/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: Apache-2.0 */

/* mark begin | end | 2..255: executes one marker, so that shell scripts can mark their phases. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "marker.h"

/* One function of eight bytes for each code: the marker and a return. */
__asm__(
    ".pushsection .text, \"ax\"\n"
    ".balign 16\n"
#if defined(__riscv)
    ".option push\n.option norvc\n"
#endif
    "markers:\n"
    ".set code, 0\n"
    ".rept 256\n" MARKER_INSTRUCTION("code") "\n"
    "ret\n"
    ".set code, code + 1\n"
    ".endr\n"
#if defined(__riscv)
    ".option pop\n"
#endif
    ".popsection\n");
extern const char markers[];

static int code_of(const char *word) {
  if (strcmp(word, "begin") == 0) return 1;
  if (strcmp(word, "end") == 0) return 0;
  int code = atoi(word);
  return code >= 2 && code <= 255 ? code : -1;
}

int main(int count, char **arguments) {
  int code = count == 2 ? code_of(arguments[1]) : -1;
  if (code < 0) {
    fprintf(stderr, "usage: mark begin | end | 2..255\n");
    return 2;
  }
  void (*mark)(void);
  const char *chosen = markers + 8 * code;
  memcpy(&mark, &chosen, sizeof mark);
  mark();
  return 0;
}
