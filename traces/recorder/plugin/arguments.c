/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_number(const char *text, uint64_t *value) {
  char *end;
  errno = 0;
  *value = strtoull(text, &end, 0);
  return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
}

static bool parse_switch(const char *text, bool *value) {
  *value = strcmp(text, "on") == 0;
  return *value || strcmp(text, "off") == 0;
}

static bool parse_guests(const char *text, struct settings *settings) {
  settings->guest_only = strcmp(text, "only") == 0;
  settings->track_guests = settings->guest_only || strcmp(text, "track") == 0;
  return settings->track_guests || strcmp(text, "off") == 0;
}

/* Of a program: QEMU does not say how many there will be. */
static bool parse_threads(const char *text, struct settings *settings) {
  uint64_t threads;
  bool good = !settings->system && parse_number(text, &threads) && threads - 1 < 1024;
  if (good) settings->vcpus = (uint32_t)threads;
  return good;
}

static bool parse(const char *name, const char *value, struct settings *settings) {
  if (strcmp(name, "out") == 0) return settings->out = value, true;
  if (strcmp(name, "control") == 0) return settings->control = value, true;
  if (strcmp(name, "memory") == 0) return settings->memory_file = value, true;
  if (strcmp(name, "memory_base") == 0) return parse_number(value, &settings->memory_base);
  if (strcmp(name, "memory_bytes") == 0) return parse_number(value, &settings->memory_bytes);
  if (strcmp(name, "skip") == 0) return parse_number(value, &settings->skip);
  if (strcmp(name, "max") == 0) return parse_number(value, &settings->max);
  if (strcmp(name, "threads") == 0) return parse_threads(value, settings);
  if (strcmp(name, "fetch") == 0) return parse_switch(value, &settings->fetches);
  if (strcmp(name, "tables") == 0) return parse_switch(value, &settings->tables);
  if (strcmp(name, "ordered") == 0) return parse_switch(value, &settings->ordered);
  if (strcmp(name, "markers") == 0) return parse_switch(value, &settings->markers);
  return strcmp(name, "guests") == 0 && parse_guests(value, settings);
}

static bool refuse(const char *what, const char *argument) {
  fprintf(stderr, "nestwalk-record: %s: %s\n", what, argument);
  return false;
}

bool parse_arguments(int count, char **arguments, struct settings *settings) {
  settings->max = UINT64_MAX;
  settings->fetches = true;
  for (int i = 0; i < count; ++i) {
    char *value = strchr(arguments[i], '=');
    char *name = value ? strndup(arguments[i], (size_t)(value - arguments[i])) : NULL;
    bool good = name && parse(name, value + 1, settings);
    free(name);
    if (!good) return refuse("an argument is unknown, or its value is wrong", arguments[i]);
  }
  if (!settings->out) return refuse("an argument is missing", "out=FILE");
  return true;
}
