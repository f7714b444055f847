/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "region.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* With several vCPUs, each takes this many accesses at a time from what is left. */
enum { kShare = 4096 };

volatile enum region_state region_state = REGION_WAITING;
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;
static struct region_settings settings;
static uint64_t left, share;
static FILE *control;

static bool connect_control(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  bool fits = strlen(path) < sizeof address.sun_path;
  if (fits) strcpy(address.sun_path, path);
  int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fits && connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0) {
    control = fdopen(descriptor, "r+");
    return control != NULL;
  }
  fprintf(stderr, "nestwalk-record: cannot reach the control socket %s: %s\n", path,
          fits ? strerror(errno) : "its name is too long");
  close(descriptor);
  return false;
}

bool region_start(const struct region_settings *wanted) {
  settings = *wanted;
  left = settings.skip;
  share = settings.vcpus == 1 ? UINT64_MAX : kShare;
  region_state = settings.markers ? REGION_WAITING : REGION_SKIPPING;
  return !settings.control || connect_control(settings.control);
}

/* Says where the region is and obeys the answer: lines of "track", then "wait" or "go". True for
   "go", and when nobody is there to ask. */
static bool ask(const char *where, uint64_t detail) {
  char line[128];
  if (!control) return true;
  fprintf(control, "%s %" PRIx64 "\n", where, detail);
  fflush(control);
  while (fgets(line, sizeof line, control)) {
    struct tracked_register tracked;
    if (strcmp(line, "wait\n") == 0) return false;
    int fields = sscanf(line, "track %u %u %u %u %" SCNx64, &tracked.code, &tracked.stage,
                        &tracked.levels, &tracked.root_bits, &tracked.value);
    if (fields != 5) return true;
    settings.track(&tracked);
  }
  return true;
}

void region_ask(uint64_t detail) {
  pthread_mutex_lock(&changing);
  if (region_state == REGION_STARTING && ask("begin", detail)) {
    left = settings.max;
    region_state = REGION_RECORDING;
  }
  if (region_state == REGION_ENDING && ask("end", detail)) region_state = REGION_OVER;
  pthread_mutex_unlock(&changing);
}

void region_begin(void) {
  pthread_mutex_lock(&changing);
  if (region_state == REGION_WAITING) region_state = left ? REGION_SKIPPING : REGION_STARTING;
  pthread_mutex_unlock(&changing);
}

void region_end(void) {
  pthread_mutex_lock(&changing);
  if (region_state == REGION_RECORDING) region_state = REGION_ENDING;
  pthread_mutex_unlock(&changing);
}

bool region_allow(struct allowance *allowance) {
  pthread_mutex_lock(&changing);
  if (region_state == REGION_SKIPPING && left == 0) region_state = REGION_STARTING;
  if (region_state == REGION_RECORDING && left == 0) region_state = REGION_ENDING;
  bool open = region_state == REGION_SKIPPING || region_state == REGION_RECORDING;
  if (open) {
    allowance->accesses = left < share ? left : share;
    allowance->state = region_state;
    left -= allowance->accesses;
  }
  pthread_mutex_unlock(&changing);
  return open;
}
