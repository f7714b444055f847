// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

#include <inttypes.h>
#include <stdio.h>

#include "isa.h"

enum { kPriv = 32, kHgatp, kHstatus, kMstatus, kScause, kHtval };
static const char *const names[] = {
    "zero", "ra", "sp", "gp", "tp",  "t0",  "t1", "t2", "fp", "s1", "a0", "a1", "a2", "a3", "a4",
    "a5",   "a6", "a7", "s2", "s3",  "s4",  "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4",
    "t5",   "t6", "priv", "hgatp", "hstatus", "mstatus", "scause", "htval", NULL};

enum { kSret = 0x10200073, kMret = 0x30200073 };
static const uint64_t kFrames = UINT64_C(0xfffffffffff);

static bool table(uint64_t entry, int level, uint64_t *address) {
  *address = (entry >> 10 & kFrames) << 12;
  return level > 0 && (entry & 0xf) == 1;
}
static bool leaf(uint64_t entry, int level, uint64_t *address) {
  (void)level;
  *address = (entry >> 10 & kFrames) << 12;
  return (entry & 1) && (entry & 0xe);
}

static bool is_hypervisor(unsigned processor, uint64_t block) {
  (void)block;
  const uint64_t privilege = read_register(processor, kPriv);
  if (privilege == 0) return false;
  // hstatus.SPV is cleared by SRET into the guest and set by a trap out of it.
  return privilege == 3 || !is_in_guest(processor) || (read_register(processor, kHstatus) >> 7 & 1);
}

static bool uses_task_stack(unsigned processor) { return read_register(processor, kPriv) == 1; }

static bool may_store(const struct instruction *i) {
  (void)i;
  return true;
}

static bool is_return(const struct instruction *i) {
  return i->size == 2 ? (i->word & 0xffff) == 0x8082 : i->word == 0x8067;
}

// By funct7 of SYSTEM instructions with funct3 and rd 0 (privileged specification, "Hypervisor
// Instructions", and Svinval).
static const struct {
  uint8_t funct7;
  const char *name;
} fences[] = {{0x11, "hfence.vvma"},
              {0x31, "hfence.gvma"},
              {0x13, "hinval.vvma"},
              {0x33, "hinval.gvma"}};

static const char *fence_name(uint32_t word) {
  if ((word & 0x7fff) != 0x73) return NULL;
  for (unsigned n = 0; n < sizeof fences / sizeof *fences; ++n) {
    if (fences[n].funct7 == word >> 25) return fences[n].name;
  }
  if (word == 0x18000073) return "sfence.w.inval";
  return word == 0x18100073 ? "sfence.inval.ir" : NULL;
}

static bool writes_hgatp(uint32_t word) {
  return (word & 0x7f) == 0x73 && (word >> 12 & 3) == 1 && word >> 20 == 0x680;
}

static bool is_watched(const struct instruction *i) {
  if (i->size != 4) return false;
  return i->word == kSret || i->word == kMret || fence_name(i->word) || writes_hgatp(i->word);
}

/// False where there is no second stage.
static bool guest_of(uint64_t hgatp, struct guest *guest) {
  static const char *const formats[] = {"sv39x4", "sv48x4", "sv57x4"};
  const uint64_t mode = hgatp >> 60;
  if (mode < 8 || mode > 10) return false;
  *guest = (struct guest){.root = (hgatp & kFrames) << 12,
                          .levels = (int)mode - 5,
                          .pages = 4,
                          .tag = hgatp >> 44 & 0x3fff,
                          .format = formats[mode - 8]};
  return guest->root != 0;
}

static void enter(unsigned processor, const struct site *site) {
  struct guest guest;
  if (guest_of(read_register(processor, kHgatp), &guest))
    guest_entered(processor, &guest, NULL, site->address);
}

static void fence(unsigned processor, const struct site *site, const char *name) {
  const unsigned rs1 = site->word >> 15 & 31, rs2 = site->word >> 20 & 31;
  // For a fence of another VM, its VMID alone is put into hgatp.
  const uint64_t hgatp = read_register(processor, kHgatp);
  uint64_t owner = (hgatp & kFrames) << 12;
  if (owner == 0) owner = owner_of_tag(hgatp >> 44 & 0x3fff);
  if (name[0] == 's') return fenced(processor, owner, site->address, "%s", name);
  char operands[2][24] = {"zero", "zero"};
  const unsigned registers[2] = {rs1, rs2};
  for (unsigned n = 0; n < 2; ++n) {
    if (registers[n])
      snprintf(operands[n], sizeof *operands, "0x%" PRIx64,
               read_register(processor, (int)registers[n]));
  }
  fenced(processor, owner, site->address, "%s %s, %s", name, operands[0], operands[1]);
}

static void executed(unsigned processor, const struct site *site) {
  const uint32_t word = site->word;
  const char *const name = fence_name(word);
  if (name) return fence(processor, site, name);
  if (word == kSret) {
    if (read_register(processor, kHstatus) >> 7 & 1) enter(processor, site);
  } else if (word == kMret) {
    const uint64_t status = read_register(processor, kMstatus);
    if ((status >> 39 & 1) && (status >> 11 & 3) != 3) enter(processor, site);
  } else {
    struct guest guest;
    const unsigned source = word >> 15 & 31;
    const uint64_t value = word >> 12 & 4 ? source : read_register(processor, (int)source);
    if (guest_of(value, &guest)) root_loaded(processor, &guest, site->address);
  }
}

static struct fault why_left(unsigned processor, uint64_t block) {
  (void)block;
  struct fault fault = {false, 0, ""};
  if (read_register(processor, kPriv) == 3) return fault;
  const uint64_t cause = read_register(processor, kScause);
  static const char *const accesses[] = {"execute", "read", "", "write"};
  if (cause < 20 || cause > 23 || cause == 22) return fault;
  return (struct fault){true, read_register(processor, kHtval) << 2, accesses[cause - 20]};
}

const struct isa riscv64 = {.target = "riscv64",
                            .registers = names,
                            .stack = 2,
                            .arguments = {10, 11, 12},
                            .format = {table, leaf},
                            .is_hypervisor = is_hypervisor,
                            .uses_task_stack = uses_task_stack,
                            .may_store = may_store,
                            .is_return = is_return,
                            .is_watched = is_watched,
                            .executed = executed,
                            .why_left = why_left};
