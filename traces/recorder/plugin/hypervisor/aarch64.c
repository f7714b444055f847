// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: GPL-2.0-or-later

#include <string.h>

#include "isa.h"
#include "tlbi.h"

enum {
  kSp = 31, kCpsr, kVttbr, kVtcr, kHcr, kSpsr, kEsr, kHpfar, kFar,
};
static const char *const names[] = {
    "x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",  "x9",  "x10", "x11", "x12", "x13",
    "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
    "x28", "x29", "x30", "sp",  "cpsr", "VTTBR_EL2", "VTCR_EL2", "HCR_EL2", "SPSR_EL2", "ESR_EL2",
    "HPFAR_EL2", "FAR_EL2", NULL};

static const uint64_t kAddress = UINT64_C(0xfffffffff000);  // 4 KiB granule, 48 bits
enum { kWriteVttbr = 0xd51c2100 };

static bool table(uint64_t entry, int level, uint64_t *address) {
  *address = entry & kAddress;
  return level > 0 && (entry & 3) == 3;
}
static bool leaf(uint64_t entry, int level, uint64_t *address) {
  *address = entry & kAddress;
  return (entry & 3) == (level == 0 ? 3 : 1);
}

static unsigned exception_level(unsigned processor) {
  return read_register(processor, kCpsr) >> 2 & 3;
}
static bool hcr_vm(uint64_t hcr) { return hcr & 1; }
static bool hcr_tge(uint64_t hcr) { return hcr >> 27 & 1; }
static bool hcr_e2h(uint64_t hcr) { return hcr >> 34 & 1; }

static bool is_hypervisor(unsigned processor, uint64_t block) {
  (void)block;
  const unsigned level = exception_level(processor);
  const uint64_t hcr = read_register(processor, kHcr);
  // The host of a hypervisor without VHE is at EL1, too, but without a second stage.
  return level >= 2 || (level == 1 && (!hcr_vm(hcr) || hcr_tge(hcr)));
}

static bool uses_task_stack(unsigned processor) {
  return exception_level(processor) == 1 || hcr_e2h(read_register(processor, kHcr));
}

static bool may_store(const struct instruction *i) { return (i->word & 0x0a000000) == 0x08000000; }

static bool is_eret(uint32_t word) {
  return word == 0xd69f03e0 || word == 0xd69f0bff || word == 0xd69f0fff;
}
static bool is_return(const struct instruction *i) {
  return i->word == 0xd65f03c0 || i->word == 0xd65f0bff || i->word == 0xd65f0fff;
}

static bool is_watched(const struct instruction *i) {
  char text[64];
  return (i->word & 0xffffffe0) == kWriteVttbr || is_eret(i->word) || dsb_text(i->word) ||
         tlbi_text(i->word, 0, text, sizeof text);
}

/// False where the granule is not 4 KiB.
static bool guest_of(unsigned processor, uint64_t vttbr, struct guest *guest) {
  static char format[64];
  const uint64_t vtcr = read_register(processor, kVtcr);
  if (vtcr >> 14 & 3) return false;
  const int bits = 64 - (int)(vtcr & 63), levels = 2 + (int)(vtcr >> 6 & 3);
  const int indexed = bits - (12 + 9 * (levels - 1));
  snprintf(format, sizeof format, "stage2-4k ipa=%d", bits);
  *guest = (struct guest){.root = vttbr & kAddress,
                          .levels = levels,
                          .pages = indexed > 9 ? 1u << (indexed - 9) : 1,
                          .tag = vttbr >> 48,
                          .format = format};
  return guest->root != 0;
}

static void eret(unsigned processor, const struct site *site) {
  if (exception_level(processor) != 2) return;
  const uint64_t hcr = read_register(processor, kHcr);
  if (!hcr_vm(hcr) || hcr_tge(hcr) || (read_register(processor, kSpsr) >> 2 & 3) >= 2) return;
  struct guest guest;
  if (guest_of(processor, read_register(processor, kVttbr), &guest))
    guest_entered(processor, &guest, NULL, site->address);
}

static void tlbi(unsigned processor, const struct site *site) {
  // A host's own: with VHE at EL2 while TGE is set, without it at EL1.
  if (!tlbi_names_el1(site->word) &&
      (exception_level(processor) < 2 || hcr_tge(read_register(processor, kHcr))))
    return;
  char text[64];
  const unsigned operand = site->word & 31;
  tlbi_text(site->word, operand == 31 ? 0 : read_register(processor, (int)operand), text,
            sizeof text);
  fenced(processor, read_register(processor, kVttbr) & kAddress, site->address, "%s", text);
  fence_waits(processor, tlbi_broadcasts(site->word) ? kWaitElsewhere : kWaitHere);
}

static void dsb(unsigned processor, const struct site *site, const char *text) {
  const enum wait reach = strstr(text, "nsh") ? kWaitHere : kWaitElsewhere;
  const bool stores_alone = text[strlen(text) - 1] == 't';
  if (wait_for(processor, reach, stores_alone)) fenced(processor, 0, site->address, "%s", text);
}

static void executed(unsigned processor, const struct site *site) {
  const char *const barrier = dsb_text(site->word);
  if (barrier) return dsb(processor, site, barrier);
  if (is_eret(site->word)) return eret(processor, site);
  if ((site->word & 0xffffffe0) != kWriteVttbr) return tlbi(processor, site);
  struct guest guest;
  const unsigned source = site->word & 31;
  const uint64_t value = source == 31 ? 0 : read_register(processor, (int)source);
  if (guest_of(processor, value, &guest)) root_loaded(processor, &guest, site->address);
}

// Arm ARM D24, "ESR_EL2": EC 0x20 is an instruction abort, 0x24 a data abort, of a lower exception
// level. The syndrome is that of the last synchronous exception: others leave it as it was.
static struct fault why_left(unsigned processor, uint64_t block) {
  struct fault fault = {false, 0, ""};
  if ((block & 0x780) != 0x400) return fault;
  const uint64_t esr = read_register(processor, kEsr);
  const unsigned class = esr >> 26 & 0x3f;
  if (class != 0x20 && class != 0x24) return fault;
  const bool walk = esr >> 7 & 1;  // S1PTW
  const bool write = esr >> 6 & 1;
  const uint64_t page = (read_register(processor, kHpfar) >> 4 & 0xffffffffff) << 12;
  fault = (struct fault){true, page, class == 0x20 ? "execute" : write ? "write" : "read"};
  if (walk)
    fault.access = "";
  else
    fault.address |= read_register(processor, kFar) & 0xfff;
  return fault;
}

const struct isa aarch64 = {.target = "aarch64",
                            .registers = names,
                            .stack = kSp,
                            .arguments = {0, 1, 2},
                            .format = {table, leaf},
                            .is_hypervisor = is_hypervisor,
                            .uses_task_stack = uses_task_stack,
                            .may_store = may_store,
                            .is_return = is_return,
                            .is_watched = is_watched,
                            .executed = executed,
                            .why_left = why_left};
