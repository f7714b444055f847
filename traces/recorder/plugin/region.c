/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

#include "region.h"

#include <errno.h>
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
static uint64_t left, most, share;
static int control = -1;
static void (*at_end)(void);

static bool connect_control(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  bool fits = strlen(path) < sizeof address.sun_path;
  if (fits) strcpy(address.sun_path, path);
  control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fits && connect(control, (struct sockaddr *)&address, sizeof address) == 0) return true;
  fprintf(stderr, "nestwalk-record: cannot reach the control socket %s: %s\n", path,
          fits ? strerror(errno) : "its name is too long");
  return false;
}

/* Tells the other side, and waits for one byte: the machine stands still meanwhile. When the other
   side has gone the guest runs on. */
static void gate(const char *line) {
  if (control < 0) return;
  char answer;
  size_t length = strlen(line);
  bool told = send(control, line, length, MSG_NOSIGNAL) == (ssize_t)length;
  while (told && recv(control, &answer, 1, 0) < 0 && errno == EINTR) continue;
}

static void start_recording(void) {
  gate("begin\n");
  left = most;
  region_state = REGION_RECORDING;
}

static void finish(void) {
  region_state = REGION_OVER;
  if (at_end) at_end();
  gate("end\n");
}

bool region_start(bool markers, uint64_t skip, uint64_t max, uint32_t vcpus, const char *path) {
  left = skip;
  most = max;
  share = vcpus == 1 ? UINT64_MAX : kShare;
  region_state = markers ? REGION_WAITING : REGION_SKIPPING;
  return !path || connect_control(path);
}

void region_begin(void) {
  pthread_mutex_lock(&changing);
  bool waiting = region_state == REGION_WAITING;
  if (waiting && left > 0) region_state = REGION_SKIPPING;
  if (waiting && left == 0) start_recording();
  pthread_mutex_unlock(&changing);
}

void region_end(void) {
  pthread_mutex_lock(&changing);
  if (region_state == REGION_RECORDING) finish();
  pthread_mutex_unlock(&changing);
}

bool region_allow(struct allowance *allowance) {
  pthread_mutex_lock(&changing);
  if (region_state == REGION_SKIPPING && left == 0) start_recording();
  if (region_state == REGION_RECORDING && left == 0) finish();
  bool open = region_state == REGION_SKIPPING || region_state == REGION_RECORDING;
  if (open) {
    allowance->accesses = left < share ? left : share;
    allowance->recorded = region_state == REGION_RECORDING;
    left -= allowance->accesses;
  }
  pthread_mutex_unlock(&changing);
  return open;
}

void region_at_end(void (*flush)(void)) { at_end = flush; }
